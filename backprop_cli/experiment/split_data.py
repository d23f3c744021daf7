"""A config's data: read, checked and split."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np

from backprop_cli.arrays import Rows
from backprop_cli.config.config import Config
from backprop_cli.config.mistakes import did_you_mean
from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.shared import ProgressCallback
from backprop_cli.data.sources import (
    DataSettings,
    ExtraRows,
    load_data,
    load_extra,
    load_test_data,
    source_of_test,
    split_dataset,
)
from backprop_cli.data.splits import Splits
from backprop_cli.errors import DataError
from backprop_cli.experiment.data_checks import require_all_classes, warnings_of
from backprop_cli.experiment.fingerprint import Fingerprint
from backprop_cli.predictor import lies_transposed

MOST_NAMED = 5  # classes that a message names


@dataclass(frozen=True, eq=False)
class SplitData:
    """What a config's data section comes to.

    Attributes:
        dataset: Training and validation, and the test part where it is split off.
        test_dataset: Where the test rows are; `dataset` itself without a test source.
        splits: Row numbers; those of `test` belong to `test_dataset`.
        extra: Further sources that only training sees.
        settings: What was read.
    """

    dataset: Dataset
    test_dataset: Dataset
    splits: Splits
    extra: tuple[ExtraRows, ...] = ()
    settings: DataSettings = field(default_factory=DataSettings)

    @classmethod
    def load(cls, config: Config, progress: ProgressCallback = None) -> Self:
        """Read the data that a config names, and split it.

        Args:
            config: All settings.
            progress: Is told how many picture files of how many have been read.

        Raises:
            DataError: It is not there, or not what it should be.
        """
        dataset = load_data(config.data, progress, lies_transposed)
        splits = split_dataset(dataset, config.data)
        require_all_classes(dataset, splits, config.data)
        extra = extra_rows(config.data, dataset, progress)
        if (test_source := source_of_test(config.data)) is None:
            return cls(dataset, dataset, splits, extra, config.data)
        test_dataset = load_test_data(config.data, dataset, progress, lies_transposed)
        if test_dataset.picture_size != dataset.picture_size:
            raise DataError(
                f"data.test_source: {test_source}: pictures of {size_text(test_dataset)} do not go with "
                f"those of {size_text(dataset)} that are trained on"
            )
        test_dataset = with_classes(test_dataset, dataset.classes, where=f"data.test_source: {test_source}")
        splits = replace(splits, test=np.arange(len(test_dataset)))
        return cls(dataset, test_dataset, splits, extra, config.data)

    @cached_property
    def fingerprints(self) -> dict[str, Fingerprint]:
        """What each source holds, by its key in the data section: `source`, `test_source`, `extra.0` ..."""
        datasets = {"source": self.dataset}
        if self.test_dataset is not self.dataset:
            datasets["test_source"] = self.test_dataset
        datasets |= {f"extra.{k}": one.dataset for k, one in enumerate(self.extra)}
        return {key: Fingerprint.of(dataset) for key, dataset in datasets.items()}

    @property
    def warnings(self) -> list[str]:
        """What is to be known of the data, in words: bad rows left out, and what speaks against the others."""
        both = list({id(found): found for found in (self.dataset, self.test_dataset)}.values())
        left_out = [
            f"{dataset.name}: {dataset.n_skipped:,} bad row{'s' * (dataset.n_skipped > 1)} left out"
            for dataset in both
            if dataset.n_skipped
        ]
        left_out += [f"{dataset.name}: {note}" for dataset in both for note in dataset.notes]
        if self.dataset is self.test_dataset and self.dataset.name == "digits":
            return left_out  # known to be sound
        return left_out + list(warnings_of(self.dataset, self.test_dataset, self.splits))

    def select(self, part: str) -> tuple[Dataset, Rows]:
        """Return the data set and the rows of `train`, `validation` or `test`."""
        rows = {"train": self.splits.train, "validation": self.splits.val, "test": self.splits.test}[part]
        return (self.test_dataset if part == "test" else self.dataset), rows


def extra_rows(settings: DataSettings, dataset: Dataset, progress: ProgressCallback = None) -> tuple[ExtraRows, ...]:
    """Return the further sources of `data.extra`, with the classes of the data set that they are trained on beside.

    Raises:
        DataError: One is not there, not what it should be, or has classes that the data set lacks.
    """
    found = []
    for one in load_extra(settings, dataset, progress, lies_transposed):
        where, extra = f"data.extra: {one.settings.source}", one.dataset
        if extra.picture_size != dataset.picture_size:
            raise DataError(
                f"{where}: pictures of {size_text(extra)} as they are do not match those of {size_text(dataset)}; "
                f"set data.picture={size_text(dataset)}"
            )
        if extra.max_value and dataset.max_value and extra.max_value != dataset.max_value:
            factor = np.float32(dataset.max_value / extra.max_value)
            extra = replace(extra, pictures=extra.pictures * factor, max_value=dataset.max_value)
        found.append(replace(one, dataset=with_classes(extra, dataset.classes, where=where)))
    return tuple(found)


def with_classes(dataset: Dataset, classes: tuple[str, ...], *, where: str) -> Dataset:
    """Return a data set with the classes of a model, some of which it may lack.

    Args:
        dataset: Another one than was trained on.
        classes: The model's.
        where: What messages call it.

    Raises:
        DataError: It has classes that the model does not know; the nearest that it knows are named.
    """
    if dataset.classes == classes:
        return dataset
    if unknown := [name for name in dataset.classes if name not in classes]:
        hints = [f'"{name}"{_nearest(name, classes)}' for name in unknown[:MOST_NAMED]]
        more = ", ..." if len(unknown) > MOST_NAMED else ""
        raise DataError(
            f"{where}: the model does not know the class{'es' * (len(unknown) > 1)} {', '.join(hints)}{more}; "
            f"it reads {', '.join(classes)}"
        )
    place = np.array([classes.index(name) for name in dataset.classes])
    return replace(dataset, labels=place[dataset.labels], classes=classes)


def _nearest(name: str, classes: tuple[str, ...]) -> str:
    """Return a hint at the class that was perhaps meant."""
    plain = name.strip().removesuffix(".0").lstrip("0") or "0"
    if plain in classes:
        return f' (did you mean "{plain}"?)'
    return f" ({hint.removeprefix('; ')})" if (hint := did_you_mean(name, classes)) else ""


def size_text(dataset: Dataset) -> str:
    """Return `8x8`."""
    return "{}x{}".format(*dataset.picture_size)
