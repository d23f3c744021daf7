"""What a data set was understood as, and what speaks against it before anything is learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Rows
from backprop_cli.data.arrangement import RANGES, even_rows
from backprop_cli.data.augment import Warps
from backprop_cli.data.dataset import Dataset
from backprop_cli.data.sources import DataSettings, source_of_test, split_kind
from backprop_cli.data.splits import Splits
from backprop_cli.errors import DataError
from backprop_cli.files import clean

MAX_ROWS = 1_000_000  # that are compared with each other
MOST_NAMED = 5  # rows, of those that a warning is about
MOST_CLASSES = 20  # whose rows are told one by one


def understood(dataset: Dataset) -> dict[str, Any]:
    """Return what a data set was understood as, as plain data."""
    height, width = dataset.picture_size
    found = dataset.arrangement
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    return {
        "source": dataset.name,
        "rows": len(dataset),
        "left_out": dataset.n_skipped,
        "size": list(found.size if found else dataset.picture_size),
        "range": [found.low, found.high] if found else [0.0, float(dataset.max_value or 16.0)],
        "inverted": found.inverted if found else False,
        "transposed": found.transposed if found else False,
        "classes": {name: int(n) for name, n in zip(dataset.classes, counts, strict=True)},
        "seen": "as it is" if dataset.is_raw or found is None else f"counted at {height}x{width}",
    }


def sentence(dataset: Dataset, settings: DataSettings | None = None, warps: Warps | None = None) -> str:
    """Return what a data set was understood as, and what was chosen by it, in one line."""
    facts = understood(dataset)
    (height, width), (low, high) = facts["size"], facts["range"]
    parts = [f"{facts['rows']:,} rows of {height}x{width}", f"{low:g} to {high:g}"]
    parts += ["dark ink on a light background"] if facts["inverted"] else []
    parts += ["rows are columns"] if facts["transposed"] else []
    parts += [facts["seen"]] if dataset.arrangement else []
    parts += [f"{dataset.n_skipped:,} bad row{'s' * (dataset.n_skipped > 1)} left out"] if dataset.n_skipped else []
    classes = facts["classes"]
    if len(classes) <= MOST_CLASSES:
        told = ", ".join(f"{clean(name)} ({n:,})" for name, n in classes.items())
    else:
        told = f"{min(classes.values()):,} to {max(classes.values()):,} rows each"
    text = f"{clean(dataset.name)}: {', '.join(parts)}; {len(classes)} classes: {told}"
    if settings is None:
        return text
    test_source = source_of_test(settings)
    text += f"; test {clean(test_source)}" if test_source is not None else ""
    return f"{text}; split {split_kind(dataset, settings)}" + (f", warps {warps.interpolation}" if warps else "")


def require_all_classes(dataset: Dataset, splits: Splits, settings: DataSettings) -> None:
    """Refuse a training part that lacks classes as the rows are sorted.

    Raises:
        DataError: With the setting that fixes it.
    """
    if settings.split == "ordered" and (missing := _missing(dataset, splits)):
        raise DataError(
            f"data.split: ordered leaves no {', '.join(missing)} to train on, as the rows of {dataset.name} are sorted "
            "by class; set data.split=stratified"
        )


def warnings_of(dataset: Dataset, test_dataset: Dataset, splits: Splits) -> Iterator[str]:
    """Say what speaks against a data set, each with counts and the first rows.

    Args:
        dataset: That is trained on.
        test_dataset: That the test part is of; the same without a test source.
        splits: Its parts.
    """
    name, arrangement = clean(dataset.name), dataset.arrangement
    if arrangement is not None and not arrangement.is_usual:
        usual = ", ".join(f"0..{full:g}" for full in RANGES)
        yield (
            f"{name}: values up to {arrangement.high:g} match none of {usual}; the largest is taken as full ink "
            "(set data.max_value for another)"
        )
    if arrangement is not None and arrangement.doubt:
        yield f"{name}: {arrangement.doubt}"
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    if (counts == 1).any():
        alone = np.flatnonzero(np.isin(dataset.labels, np.flatnonzero(counts == 1)))
        named = ", ".join(clean(dataset.classes[k]) for k in dataset.labels[alone][:MOST_NAMED])
        named += ", ..." * (len(alone) > MOST_NAMED)
        yield f"{name}: {_rows(dataset, alone)} alone in {named}: one row cannot be both trained on and measured"
    if missing := _missing(dataset, splits):
        yield f"{name}: no {', '.join(map(clean, missing))} in the training part, so it is never learned"
    if len(dataset) + len(test_dataset) > MAX_ROWS:
        return
    even = np.flatnonzero(even_rows(dataset.pictures)) if dataset.even_rows is None else dataset.even_rows
    if len(even):
        yield f"{name}: {_rows(dataset, even)} blank or full of ink: every pixel is the same"
    yield from _repeated(dataset, test_dataset, splits)


def _repeated(dataset: Dataset, test_dataset: Dataset, splits: Splits) -> Iterator[str]:
    """Say which pictures stand there twice where they should not."""
    name = clean(dataset.name)
    first: dict[bytes, int] = {}
    unlike = []
    for row, picture in enumerate(dataset.pictures):
        before = first.setdefault(picture.tobytes(), row)
        if dataset.labels[before] != dataset.labels[row]:
            unlike.append(row)
    if unlike:
        yield f"{name}: {_rows(dataset, unlike)} equal to others of another class"
    known = trained_on(dataset, splits.train, test_dataset.pictures[splits.test])
    if known:
        there = f"{clean(test_dataset.name)}: {_rows(test_dataset, splits.test[known])}"
        yield f"{there} of the test part, and trained on too: on them the test measures memory, not reading"


def trained_on(dataset: Dataset, train_rows: Rows, pictures: NDArray[Any]) -> list[int]:
    """Return the numbers of those pictures, (n, height, width), that are pixel for pixel among those trained on."""
    wanted = [picture.tobytes() for picture in np.asarray(pictures, np.float32)]
    sought = set(wanted)
    found: set[bytes] = set()
    for start in range(0, len(train_rows), 4096):
        chunk = np.asarray(dataset.pictures[train_rows[start : start + 4096]], np.float32)
        found.update(sought.intersection(picture.tobytes() for picture in chunk))
    return [number for number, picture in enumerate(wanted) if picture in found]


def _missing(dataset: Dataset, splits: Splits) -> list[str]:
    here = np.bincount(dataset.labels[splits.train], minlength=len(dataset.classes))
    return [dataset.classes[k] for k in np.flatnonzero(here == 0)]


def _rows(dataset: Dataset, rows: Sequence[int] | np.ndarray[Any, Any]) -> str:
    """Return "3 rows (4, 17, 20) are", the first ones named."""
    named = ", ".join(str(dataset.number_of(int(row))) for row in rows[:MOST_NAMED]) + (
        ", ..." if len(rows) > MOST_NAMED else ""
    )
    return f"{len(rows):,} row{'s' * (len(rows) > 1)} ({named}) {'are' if len(rows) > 1 else 'is'}"
