"""The other pictures: rows of a model's own data, to choose from, and to see what a step does to them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from backprop_cli.api.pictures import SAMPLES, PictureInput, picture_input
from backprop_cli.arrays import Array, Labels, Rows
from backprop_cli.data.dataset import Dataset
from backprop_cli.engine.network import Network, as_dtype
from backprop_cli.errors import UsageError

if TYPE_CHECKING:
    from backprop_cli.api.models import Model

AT_MOST = 2000  # rows that are measured on: more would take too long to look on


@dataclass(frozen=True, eq=False)
class _Found:
    """The rows that are measured on.

    Attributes:
        dataset: Where they are.
        rows: Which, (n,).
        about: What they are, in words.
    """

    dataset: Dataset
    rows: Rows
    about: str

    @property
    def pictures(self) -> Array:
        return self.dataset.pictures[self.rows]

    @property
    def labels(self) -> Labels:
        return self.dataset.labels[self.rows]


class OtherPictures:
    """Pictures of a model's own data; they are read when they are first needed, which may take seconds."""

    def __init__(self, model: Model) -> None:
        self._model, self._predictor = model, model.predictor
        self._lock = threading.Lock()
        self._before: list[float] = []

    @property
    def has_samples(self) -> bool:
        """Whether there are rows to choose from, as far as can be told without reading them."""
        return self._is_digits or self._source not in (None, "digits")

    @property
    def _source(self) -> str | None:
        """Where the model's data were; its config is checked when they are read."""
        data = self._predictor.model.config.get("data")
        source = data.get("source") if isinstance(data, dict) else None
        return source if isinstance(source, str) else None

    @property
    def _is_digits(self) -> bool:
        return self._source == "digits" and self._predictor.classes == tuple("0123456789")

    def found(self) -> _Found:
        """Return the rows that are measured on: the test part, or without one those trained on.

        Raises:
            DataError: The data are gone, or no longer what they were.
            ConfigError: The model's config is not one of this version.
        """
        with self._lock:
            return self._found

    @cached_property
    def _found(self) -> _Found:
        from backprop_cli.experiment.run_data import load_model_data  # with all that reads configs: not at the start

        own = load_model_data(self._predictor.model, where=self._predictor.where, path=self._model.path)
        dataset, rows = own.select("test")
        about = "the test part of its own data"
        if len(rows) == 0:
            (dataset, rows), about = own.select("train"), "its own training data"
        return _Found(dataset, rows[:AT_MOST], about)

    def picture(self, number: int) -> PictureInput:
        """Return a row by its number, and what it is.

        Raises:
            UsageError: There is no such row.
        """
        if self._is_digits:  # known at once
            return picture_input(f"{SAMPLES}{number}", self._predictor)
        dataset = self.found().dataset
        if not 0 <= number < len(dataset):
            raise UsageError(f"{number}: rows are counted from 0 to {len(dataset) - 1}")
        full, grid = self._predictor.scaling.max_value, np.asarray(dataset.pictures[number], np.float32)
        return PictureInput(dataset.row_name(number), grid, full, label=int(dataset.labels[number]))

    def hardest(self) -> int:
        """Return the number of the row whose truth the model thinks least likely."""
        found = self.found()
        truth = self._predictor.probabilities(found.pictures)[np.arange(len(found.rows)), found.labels]
        return int(found.rows[truth.argmin()])

    def accuracy(self, networks: Sequence[Network]) -> dict[str, Any]:
        """Return how many are read rightly, by the model and by networks in its place, as plain data."""
        found = self.found()
        if not self._before:
            self._before.append(self._share(found, self._predictor.networks))
        now = self._before[0] if networks is self._predictor.networks else self._share(found, networks)
        return {"n": len(found.rows), "about": found.about, "before": self._before[0], "now": now}

    def _share(self, found: _Found, networks: Sequence[Network]) -> float:
        with np.errstate(all="ignore"):  # of numbers that are too large
            quick = [as_dtype(network, np.float32) for network in networks]
        answers = np.nan_to_num(self._predictor.answers(found.pictures, quick))
        return float((answers.argmax(axis=1) == found.labels).mean())
