"""The network of a config, its training rows, and nudges instead of a gradient."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from backprop_cli.blas import in_blas_threads
from backprop_cli.data.dataset import ChunkLoader
from backprop_cli.engine.blind import BlindGuess, sculpt
from backprop_cli.engine.minibatches import Minibatches
from backprop_cli.engine.network import EVALUATION_ROWS
from backprop_cli.experiment.experiment import Experiment


class BlindTrial:
    """What a config's first network learns without a gradient: from the same weights, on the same rows.

    The rows are those of the training part as they are: without warps, copies, dropout and further sources.

    Args:
        experiment: The config brought to life, untrained; its first network is changed.
        seed: Of the nudges.
    """

    def __init__(self, experiment: Experiment, seed: int) -> None:
        self._experiment, self._seed = experiment, seed
        self.network = experiment.networks[0]

    def _chunks(self, part: str) -> ChunkLoader:
        dataset, rows = self._experiment.split_data.select(part)
        size = min(EVALUATION_ROWS, len(rows))
        weights = self._experiment.row_weights(dataset.labels)
        return ChunkLoader(dataset.pictures, dataset.labels, rows, self._experiment.scaling, size, weights=weights)

    def train(self) -> Generator[BlindGuess]:
        """Nudge for ever; yield every guess."""
        config, rng = self._experiment.config, np.random.default_rng(self._seed)
        guesses = sculpt(self.network, config.loss, self._chunks("train"), rng)
        return in_blas_threads(guesses, config.training.threads)

    def val_accuracy(self) -> float | None:
        """Return the share of the validation part that it reads; None without one."""
        if not len(self._experiment.split_data.splits.val):
            return None
        minibatches = Minibatches(self.network, self._experiment.config.loss, EVALUATION_ROWS)
        return minibatches.evaluate(self._chunks("validation"))[1]
