"""A config's data to look at: a digit of each class, or one row; as it is, or as training sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backprop_cli.api.pictures import row_place
from backprop_cli.arrays import Array
from backprop_cli.config.config import Config
from backprop_cli.data.augment import augment, sampling_points
from backprop_cli.data.copies import Copies, warped_copies
from backprop_cli.errors import ArgumentError, UsageError
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.files import clean

N_CLASSES, N_TOGETHER, N_WARPS = 10, 5, 6  # classes shown, pictures drawn at a time, warps of one row
NO_ROW = "not the name of a row, such as digits:555, train.csv:17, or a picture in a folder of folders"
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


def data_row(config: Config, row: int | str, *, augmented: bool = False) -> DataRow:
    """Return one row of a config's data.

    Args:
        config: All settings.
        row: Its number, from 0; or its name, which takes the place of `data.source`: `train.csv:17`, `digits:555`, or a
            picture in a folder of folders, `mypics/3/a.png`.
        augmented: Show warps of it, as training might see them.

    Raises:
        ArgumentError: There is no such row; or to augment, but the config does not say how.
        DataError: The data is not there, or not what it should be.
    """
    number: int | None = None if isinstance(row, str) else row
    if isinstance(row, str):
        source, number = _place(row)
        config = replace(config, data=replace(config.data, source=source, split=None))
    experiment = _experiment(config, augmented=augmented)
    dataset = experiment.split_data.dataset
    index = _position(row, dataset.paths) if number is None else number
    if not 0 <= index < len(dataset):
        problem = f"rows are counted from 0 to {len(dataset) - 1}"
        raise UsageError(f"{row}: {problem}") if isinstance(row, str) else ArgumentError(f"index {index}: {problem}")
    return DataRow(
        name=dataset.row_name(index),
        label=dataset.classes[dataset.labels[index]],
        part=_part(experiment, index),
        counts=np.asarray(dataset.pictures[index]),
        pictures=_pictures(experiment, [index] * (N_WARPS if augmented else 1), augmented=augmented),
    )


def _place(name: str) -> tuple[str, int | None]:
    """Return the source that a row's name begins with, and its number; None for a picture in a folder of folders."""
    source, _, number = name.partition(":")
    if source in ("digits", "pens") and number.isdecimal():
        return source, int(number)
    if (place := row_place(name)) is not None:
        return place
    if not Path(name).is_file():
        raise UsageError(f"{name}: {NO_ROW}")
    return str(Path(name).parent.parent), None


def _position(name: int | str, paths: Sequence[str] | None) -> int:
    """Return which row a picture file is."""
    wanted = Path(str(name))
    found = next((k for k, path in enumerate(paths or ()) if Path(path) == wanted), None)
    if found is None:
        raise UsageError(f"{name}: {NO_ROW}")
    return found


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
