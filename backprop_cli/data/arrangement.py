"""How arrays of pictures are meant: their range, which way round their ink is, how they are turned, whose classes.

Arrays come in whatever form a program has left them. What is certain is found, and they are turned into what a person
would see with bright ink on 0; what is not is a setting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Float32Array, Labels
from backprop_cli.data.dataset import Dataset
from backprop_cli.data.normalize import FULL_COUNT
from backprop_cli.errors import DataError

Invert = Literal["auto", "yes", "no"]
Judge = Callable[[Float32Array, Sequence[str]], bool | None]
"""Says whether digits, (n, height, width) with bright ink on 0 in [0, 1], lie transposed, by what they are (without
names, by how sure it is of them); None where it cannot tell."""

DIGITS = frozenset("0123456789")
RANGES = (1.0, FULL_COUNT, 255.0, 65535.0)  # what full ink usually is
SAMPLE = 2000  # rows that are looked at
JUDGED = 300  # rows that a network looks at
_OWN_SHARE = 0.9  # of counts that touch the first and the last row; of the digits all do


@dataclass(frozen=True)
class Arrangement:
    """How the arrays of a source were understood.

    Attributes:
        size: Height and width of the rows, as they come.
        low: What stands for no ink, or for full ink where `inverted`.
        high: The other end of the range.
        is_usual: The range is a usual one: from 0 to 1, 16, 255 or 65,535, from -1 to 1 or from -0.5 to 0.5.
        inverted: Their ink is dark on a light ground.
        transposed: Their rows are columns.
        doubt: What could not be found out, and the setting that says it; empty where all is clear.
    """

    size: tuple[int, int]
    low: float
    high: float
    is_usual: bool
    inverted: bool = False
    transposed: bool = False
    doubt: str = ""


def is_of_digits(classes: Sequence[str]) -> bool:
    """Return whether all classes are digits."""
    return set(classes) <= DIGITS


def are_own_counts(images: NDArray[Any]) -> bool:
    """Return whether arrays have the form of scikit-learn's digits: whole counts up to 16, ink from top to bottom."""
    sample = _sample(images)
    if sample.max(initial=0) > FULL_COUNT or sample.max(initial=0) <= 1 or not np.array_equal(sample, np.rint(sample)):
        return False
    touches = (sample[:, 0] > 0).any(axis=1) & (sample[:, -1] > 0).any(axis=1)
    return bool(touches.mean() >= _OWN_SHARE) and bool(images.max() <= FULL_COUNT)


def range_of(low: float, high: float) -> tuple[float, float, bool]:
    """Return the range that values from `low` to `high` come from, and whether it is a usual one."""
    if low < 0.0:
        far = 0.5 if max(-low, high) <= 0.5 else 1.0
        return -far, far, True
    usual = next((full for full in RANGES if full / 2.0 < high <= full), None)
    return 0.0, usual or high or 1.0, usual is not None


def ink_of_arrays(images: NDArray[Any], arrangement: Arrangement) -> Float32Array:
    """Return arrays as a person sees them, bright ink on 0 in [0, 1], (n, height, width)."""
    span = arrangement.high - arrangement.low
    ink = np.subtract(images, arrangement.low, dtype=np.float32) if arrangement.low else images.astype(np.float32)
    ink /= np.float32(span)
    if arrangement.inverted:
        np.subtract(np.float32(1.0), ink, out=ink)
    return ink.swapaxes(1, 2) if arrangement.transposed else ink


def has_dark_ink(ink: Float32Array) -> bool:
    """Return whether most of the border, or, if that is undecided, most of all is bright; (n, height, width)."""
    border = [ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1]]
    ground = float(np.median(np.concatenate([edge.ravel() for edge in border])))
    return ground > 0.75 or (ground >= 0.25 and float(ink.mean()) > 0.5)


def arrangement_of(
    dataset: Dataset,
    *,
    invert: Invert = "auto",
    transpose: bool | None = None,
    max_value: float | None = None,
    judge: Judge | None = None,
) -> Arrangement:
    """Return how the arrays of a source are meant.

    Args:
        dataset: As it was read; without classes, a table without labels.
        invert: "yes" for dark ink on a light background, "no" for bright on dark, "auto" to find out.
        transpose: Whether rows are columns; None to find out.
        max_value: Full ink, where it was said.
        judge: Finds out how digits lie.
    """
    images = dataset.pictures
    low, high, is_usual = range_of(float(images.min()), float(images.max()))
    found = Arrangement(dataset.picture_size, low, max_value or high, is_usual or max_value is not None)
    sample = _sample(images)
    dark = has_dark_ink(ink_of_arrays(sample, found)) if invert == "auto" else invert == "yes"
    found = replace(found, inverted=dark)
    height, width = dataset.picture_size
    if transpose is not None or height != width:
        return replace(found, transposed=bool(transpose))
    if not is_of_digits(dataset.classes):
        doubt = "whether rows are columns is unknown (as in EMNIST): set data.transpose=true if they are"
        if all(name.isdecimal() for name in dataset.classes):
            example = '{10: "0"}' if set(dataset.classes) == {str(k) for k in range(1, 11)} else "[a, b, ...]"
            doubt += f"; so are the names of classes {_listed(dataset.classes)}: set data.classes={example}"
        return replace(found, doubt=doubt)
    if judge is None:
        return found
    rows = spread(len(images), JUDGED)
    names = [dataset.classes[k] for k in dataset.labels[rows]] if dataset.classes else []
    return replace(found, transposed=bool(judge(ink_of_arrays(np.asarray(images[rows]), found), names)))


def as_own_counts(dataset: Dataset) -> Dataset:
    """Return counts that were divided by 16 as counts again, and other data sets as they are."""
    images = dataset.pictures
    if dataset.max_value or images.dtype.kind != "f" or not 0.0 <= images.min() <= images.max() <= 1.0:
        return dataset
    counts = images.astype(np.float32) * np.float32(FULL_COUNT)
    whole = np.rint(counts)
    is_exact = float(np.abs(counts - whole).max(initial=0.0)) < 1e-3 and are_own_counts(whole)
    if not is_exact:
        return dataset
    came = Arrangement(dataset.picture_size, 0.0, 1.0, is_usual=True)
    return replace(dataset, pictures=whole.astype(np.uint8), arrangement=came)


def as_it_is(dataset: Dataset, arrangement: Arrangement) -> Dataset:
    """Return arrays that stay as they are, but for what would stand in a person's way: bright ink on 0, upright."""
    images, full = dataset.pictures, arrangement.high - arrangement.low
    if arrangement.low or arrangement.inverted:
        images = ink_of_arrays(images, replace(arrangement, transposed=False)) * np.float32(full)
    if arrangement.transposed:
        images = np.ascontiguousarray(images.swapaxes(1, 2))
    return replace(dataset, pictures=images, max_value=full, is_raw=True, arrangement=arrangement)


def renamed(dataset: Dataset, classes: Sequence[str] | Mapping[str, str] | None) -> Dataset:
    """Return the data set with other names of its classes, in the order of `class_order`.

    Args:
        dataset: As it was read.
        classes: A name for each class, in their order, or from label to name; None leaves them.

    Raises:
        DataError: There are more or fewer names than classes, or a label is not there.
    """
    if classes is None:
        return dataset
    from backprop_cli.data.readers.shared import check_classes, class_order

    if isinstance(classes, Mapping):
        if missing := [label for label in classes if label not in dataset.classes]:
            raise DataError(f"data.classes: {dataset.name} has no {', '.join(missing)}, but {_listed(dataset.classes)}")
        names = [classes.get(label, label) for label in dataset.classes]
    else:
        names = list(classes)
    if len(names) != len(dataset.classes):
        raise DataError(
            f"data.classes: {len(names)} names for the {len(dataset.classes)} classes {_listed(dataset.classes)}"
        )
    order = class_order(names)
    check_classes(dataset.name, order, least=min(2, len(names)))
    place = np.array([order.index(name) for name in names])
    labels: Labels = place[dataset.labels]
    return replace(dataset, labels=labels, classes=tuple(order))


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")


def even_rows(pictures: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether all pixels of each picture are alike: blank, or full of ink, (n,)."""
    flat = pictures.reshape(len(pictures), -1)
    return np.asarray(flat.min(axis=1) == flat.max(axis=1))


def spread(n_all: int, n: int) -> NDArray[np.int64]:
    """Return `n` row numbers, or all, at even distances: data often come sorted."""
    return np.unique(np.linspace(0, n_all - 1, min(n, n_all)).astype(np.int64))


def _sample(images: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(images[spread(len(images), SAMPLE)])
