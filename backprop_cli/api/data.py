"""A config's data to look at: a digit of each class, or one row; as it is, or as training sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backprop_cli.arrays import Array
from backprop_cli.config.config import Config
from backprop_cli.data.augment import augment, sampling_points
from backprop_cli.data.copies import Copies, warped_copies
from backprop_cli.errors import ArgumentError
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.files import clean

N_CLASSES, N_TOGETHER, N_WARPS = 10, 5, 6  # classes shown, pictures drawn at a time, warps of one row
PARTS = {"train": "training", "validation": "validation", "test": "test"}


@dataclass(frozen=True, eq=False, repr=False)
class DataOverview:
    """A config's data as a whole.

    Attributes:
        name: Of the data set.
        n: Rows.
        picture_size: Height and width.
        classes: Their names.
        n_train: Rows to train on.
        n_val: Rows to choose by.
        n_test: Rows to look at once.
        pictures: The first training row of each class, of at most ten, (n, height, width), ink from 0 to 1.
    """

    name: str
    n: int
    picture_size: tuple[int, int]
    classes: tuple[str, ...]
    n_train: int
    n_val: int
    n_test: int
    pictures: Array

    def __repr__(self) -> str:
        size = "x".join(map(str, self.picture_size))
        return f"<DataOverview {clean(self.name)}: {self.n:,} pictures of {size}, {len(self.classes)} classes>"


@dataclass(frozen=True, eq=False, repr=False)
class DataRow:
    """One row of a config's data.

    Attributes:
        name: Such as `digits:555`.
        label: What it is.
        part: Where it is: `training`, `validation` or `test`; None for in no part.
        counts: Its pixels as they are, (height, width).
        pictures: Itself, or warps of it, (n, height, width), ink from 0 to 1.
    """

    name: str
    label: str
    part: str | None
    counts: Array
    pictures: Array

    def __repr__(self) -> str:
        return f"<DataRow {clean(self.name)}: {clean(self.label)}, in {self.part or 'no'} part>"


def data_overview(config: Config, *, augmented: bool = False) -> DataOverview:
    """Return a config's data as a whole.

    Args:
        config: All settings.
        augmented: Show pictures as training sees them.

    Raises:
        ArgumentError: To augment, but the config does not say how.
        DataError: The data is not there, or not what it should be.
    """
    experiment = _experiment(config, augmented=augmented)
    dataset, splits = experiment.split_data.dataset, experiment.split_data.splits
    labels = dataset.labels[splits.train]
    present = [k for k in range(len(dataset.classes)) if (labels == k).any()][:N_CLASSES]
    rows = [int(splits.train[(labels == k).argmax()]) for k in present]
    parts = [rows[start : start + N_TOGETHER] for start in range(0, len(rows), N_TOGETHER)]
    return DataOverview(
        name=dataset.name,
        n=len(dataset),
        picture_size=dataset.picture_size,
        classes=dataset.classes,
        n_train=len(splits.train),
        n_val=len(splits.val),
        n_test=len(splits.test),
        pictures=np.concatenate([_pictures(experiment, part, augmented=augmented) for part in parts]),
    )


def data_row(config: Config, index: int, *, augmented: bool = False) -> DataRow:
    """Return one row of a config's data.

    Args:
        config: All settings.
        index: Its number, from 0.
        augmented: Show warps of it, as training might see them.

    Raises:
        ArgumentError: There is no such row; or to augment, but the config does not say how.
        DataError: The data is not there, or not what it should be.
    """
    experiment = _experiment(config, augmented=augmented)
    dataset = experiment.split_data.dataset
    if not 0 <= index < len(dataset):
        raise ArgumentError(f"index {index}: rows are counted from 0 to {len(dataset) - 1}")
    return DataRow(
        name=f"{dataset.name}:{index}",
        label=dataset.classes[dataset.labels[index]],
        part=_part(experiment, index),
        counts=np.asarray(dataset.pictures[index]),
        pictures=_pictures(experiment, [index] * (N_WARPS if augmented else 1), augmented=augmented),
    )


def _experiment(config: Config, *, augmented: bool) -> Experiment:
    experiment = Experiment(config)
    if augmented and config.data.augment is None:
        raise ArgumentError("augmented: this config has no data.augment")
    return experiment


def _pictures(experiment: Experiment, rows: Sequence[int], *, augmented: bool) -> Array:
    """Return the pictures of rows, (n, height, width), ink from 0 to 1."""
    pictures, settings = experiment.split_data.dataset.pictures[rows], experiment.config.data.augment
    settings = experiment.warps or settings
    if not augmented or settings is None:
        return np.asarray(pictures / experiment.scaling.max_value)
    rng = np.random.default_rng(experiment.config.seed)
    if isinstance(settings, Copies):
        return warped_copies(pictures, settings, rng) / experiment.scaling.max_value
    points = sampling_points(pictures, settings)
    return np.asarray(augment(points, settings, rng, experiment.scaling.max_value))


def _part(experiment: Experiment, index: int) -> str | None:
    for name, words in PARTS.items():
        dataset, rows = experiment.split_data.select(name)
        if dataset is experiment.split_data.dataset and index in rows:
            return words
    return None
