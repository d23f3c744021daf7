"""The digit that is watched while a network learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Rows
from backprop_cli.blas import blas_threads

if TYPE_CHECKING:
    from backprop_cli.experiment.experiment import Experiment

WATCHED_AMONG = 1000  # rows


class HardestDigit:
    """One digit, and what the network in training makes of it: the validation digit that it finds hardest now.

    Without a validation part it is one of the training digits. Asking changes nothing in the training.

    Args:
        experiment: In training.

    Attributes:
        name: Such as `digits:1203`.
        picture: Its ink from 0 to 1, (height, width).
        label: What it is.
    """

    def __init__(self, experiment: Experiment) -> None:
        dataset, splits = experiment.split_data.dataset, experiment.split_data.splits
        rows = (splits.val if len(splits.val) else splits.train)[:WATCHED_AMONG]
        self._experiment = experiment
        truth = self._probabilities(rows)[np.arange(len(rows)), dataset.labels[rows]]
        row = int(rows[np.nan_to_num(truth).argmin()])
        self._row = np.array([row])
        self.name, self.label = dataset.row_name(row), dataset.classes[dataset.labels[row]]
        self.picture = np.clip(dataset.pictures[row] / experiment.scaling.max_value, 0.0, 1.0)

    def _probabilities(self, rows: Rows) -> NDArray[Any]:
        experiment = self._experiment
        with np.errstate(all="ignore"), blas_threads(experiment.config.training.threads):
            inputs = experiment.scaling.apply(experiment.split_data.dataset.pictures[rows])
            return experiment.config.loss.probabilities(experiment.networks[experiment.member].logits(inputs))

    def guess(self) -> tuple[str, float]:
        """Return the likeliest class and its probability."""
        probabilities = self._probabilities(self._row)[0]
        best = int(probabilities.argmax())
        return self._experiment.split_data.dataset.classes[best], float(np.nan_to_num(probabilities[best]))
