"""Tables of pictures, a row an answer: read as the rows were that a model was trained on, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Array
from backprop_cli.config.config import config_of
from backprop_cli.data.arrangement import (
    Arrangement,
    are_own_counts,
    arrangement_of,
    even_rows,
    ink_of_arrays,
    is_of_digits,
)
from backprop_cli.data.dataset import Dataset
from backprop_cli.data.normalize import FULL_COUNT, bitmap
from backprop_cli.data.sources import DataSettings, load_labels, load_rows
from backprop_cli.errors import DataError, UsageError
from backprop_cli.predictor import lies_transposed

if TYPE_CHECKING:
    from backprop_cli.predictor import Predictor

BATCH = 1024  # rows that are answered together


A_ROW = "expected as many numbers as in the other rows, each finite and at least 0"


class Batch(NamedTuple):
    """Rows of a table.

    Attributes:
        numbers: Of the rows, from 0; those of bad rows, which were left out, are missing.
        seen: What a model's network sees of each, (n, height, width).
        even: Whether all pixels of a row are alike, (n,).
    """

    numbers: list[int]
    seen: Array
    even: NDArray[np.bool_]


def batches(predictor: Predictor, source: str) -> Iterator[Batch]:
    """Yield the rows of a table, some at a time; bad ones are left out.

    Raises:
        DataError: The table is not there, not what it should be, or its rows are none that the model reads.
    """
    dataset, arrangement = _arranged(predictor, source)
    for start in range(0, len(dataset), BATCH):
        rows = np.asarray(dataset.pictures[start : start + BATCH])
        numbers = [dataset.number_of(row) for row in range(start, start + len(rows))]
        yield Batch(numbers, _seen(predictor, rows, arrangement), even_rows(rows))
    if dataset.n_skipped:  # those behind the last
        yield Batch([len(dataset) + dataset.n_skipped], np.empty((0, *predictor.picture_size)), np.empty(0, np.bool_))


def one_row(predictor: Predictor, source: str, number: int) -> tuple[Array, int | None]:
    """Return one row of a table, counted from 0, as a model's network sees it, (height, width), and its class if known.

    Raises:
        DataError: As `batches`.
        UsageError: There is no such row.
    """
    dataset, arrangement = _arranged(predictor, source)
    row = dataset.row_of(number)
    if row is None:
        last = len(dataset) + dataset.n_skipped - 1
        problem = f"its rows are counted from 0 to {last}" if number > last else f"a bad row; {A_ROW}"
        raise UsageError(f"{source}:{number}: {problem}")
    seen: Array = _seen(predictor, np.asarray(dataset.pictures[row : row + 1]), arrangement)[0]
    return seen, _class_of(predictor, source, number)


def _class_of(predictor: Predictor, source: str, number: int) -> int | None:
    """Return the class of a row, an index into the model's; None where its table does not say it."""
    settings = _settings(predictor)
    with suppress(DataError):  # a table without labels
        labeled = load_labels(source, settings)
        if (row := labeled.row_of(number)) is None:
            return None
        name = labeled.classes[labeled.labels[row]]
        return predictor.classes.index(name) if name in predictor.classes else None
    return None


def _settings(predictor: Predictor) -> DataSettings:
    return config_of(predictor.model.config, where=f"{predictor.where}: config").data


def _arranged(predictor: Predictor, source: str) -> tuple[Dataset, Arrangement | None]:
    """Return the rows of a table, and how they are meant; None for counts in the digits' own form."""
    settings = _settings(predictor)
    dataset = load_rows(source, settings)
    arrangement = None
    if not are_own_counts(dataset.pictures):
        judge = lies_transposed if is_of_digits(predictor.classes) else None
        arrangement = arrangement_of(
            dataset, invert=settings.invert, transpose=settings.transpose, max_value=settings.max_value, judge=judge
        )
    if predictor.sees_rows and dataset.picture_size != predictor.picture_size:
        wanted, found = ("x".join(map(str, size)) for size in (predictor.picture_size, dataset.picture_size))
        raise DataError(f"{source}: the model reads pictures of {wanted} as they are; these are of {found}")
    return dataset, arrangement


def _seen(predictor: Predictor, rows: Array, arrangement: Arrangement | None) -> Array:
    """Return some rows as the network sees them."""
    form, full = predictor.form, predictor.scaling.max_value
    if form.layout is not None and arrangement is not None:
        return np.asarray(ink_of_arrays(rows, arrangement) * full)
    if predictor.sees_rows and form.layout is None:  # of before a model kept how they lie
        return rows
    if arrangement is None and rows.shape[1:] == form.picture and form.layout is None:
        return np.asarray(rows * (full / FULL_COUNT))
    ink = bitmap(rows).astype(np.float32) if arrangement is None else ink_of_arrays(rows, arrangement)
    return np.asarray(form.seen(ink) * full)
