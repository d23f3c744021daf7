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


class WatchedDigit:
    """One digit, and what the network in training makes of it. Asking changes nothing in the training.

    Args:
        experiment: In training.
        row: Of its data set; None: the validation digit that the network finds hardest now, or without a validation
            part the training digit.

    Attributes:
        name: Such as `digits:1203`.
        picture: Its ink from 0 to 1, (height, width).
        label: What it is.
    """

    def __init__(self, experiment: Experiment, row: int | None = None) -> None:
        dataset, self._experiment = experiment.split_data.dataset, experiment
        row = self._hardest() if row is None else row
        self._row = np.array([row])
        self.name, self.label = dataset.row_name(row), dataset.classes[dataset.labels[row]]
        self.picture = np.clip(dataset.pictures[row] / experiment.scaling.max_value, 0.0, 1.0)

    def _hardest(self) -> int:
        """Return the row whose truth is the least likely to the network."""
        dataset, splits = self._experiment.split_data.dataset, self._experiment.split_data.splits
        rows = (splits.val if len(splits.val) else splits.train)[:WATCHED_AMONG]
        truth = self._probabilities(rows)[np.arange(len(rows)), dataset.labels[rows]]
        return int(rows[np.nan_to_num(truth).argmin()])

    def probabilities(self) -> dict[str, float]:
        """Return the probability of every class, by its name."""
        answer = np.nan_to_num(self._probabilities(self._row)[0])
        return dict(zip(self._experiment.split_data.dataset.classes, map(float, answer), strict=True))

    def _probabilities(self, rows: Rows) -> NDArray[Any]:
        experiment = self._experiment
        with np.errstate(all="ignore"), blas_threads(experiment.config.training.threads):
            inputs = experiment.scaling.apply(experiment.split_data.dataset.pictures[rows])
            return experiment.config.loss.probabilities(experiment.networks[experiment.member].logits(inputs))

    def guess(self) -> tuple[str, float]:
        """Return the likeliest class and its probability."""
        probabilities = self.probabilities()
        best = max(probabilities, key=lambda name: probabilities[name])
        return best, probabilities[best]
