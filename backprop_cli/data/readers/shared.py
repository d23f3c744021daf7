"""What all readers of labeled pictures share: files opened safely, bad rows counted, names turned into classes."""

from __future__ import annotations

import gzip
import math
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Rows
from backprop_cli.data.dataset import Dataset
from backprop_cli.data.layout import Layout
from backprop_cli.data.normalize import Slant
from backprop_cli.errors import DataError, reason_of
from backprop_cli.files import open_regular

MAX_UNPACKED = 4 * 1024**3  # bytes
MAX_PIXELS = 100_000_000  # of one picture, as of files
MAX_ROWS = 100_000_000
MAX_TOLD = 10  # bad rows that a message names
MAX_ALIKE = 3  # where all of them are bad
MAX_NAME = 100  # characters of a class's name
LARGEST = float(np.finfo(np.float32).max)
A_PIXEL = "expected a finite number of at least 0"
_GZIP = b"\x1f\x8b"  # how such a file begins. Source: RFC 1952, section 2.3.1
LEAST_INK = 1e-9  # full ink that inputs can be divided by


Header = Literal["auto", "yes", "no"]
ProgressCallback = Callable[[int, int], None] | None  # is told how many picture files of how many have been read


@dataclass(frozen=True, eq=False, repr=False)
class Wanted:
    """How a source is to be read.

    Attributes:
        picture: Height and width to which picture files are brought; arrays have theirs already.
        slant: How the digits of picture files are set upright.
        skip_bad: Leave out bad rows and unreadable pictures instead of refusing the source.
        progress: Is told how many picture files of how many have been read.
        layout: How the ink of picture files is laid instead, for a network that sees rows as they are.
        only_pictures: Labels are not asked for, and those that are there are not looked at.
        label: Where the labels are: a column's name, `first` or `last` (of columns, or of the words of a picture's
            name); None: find out.
        header: Whether the first row of a table names the columns.
        one_class: Whether one class will do.
    """

    picture: tuple[int, int] = (8, 8)
    slant: Slant = "moments"
    skip_bad: bool = False
    progress: ProgressCallback = None
    layout: Layout | None = None
    only_pictures: bool = False
    label: str | None = None
    header: Header = "auto"
    one_class: bool = False


class BadRows:
    """Rows of a source that cannot be used: all of them are counted, the first ones told.

    Attributes:
        n: How many.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.n = 0
        self._told: list[str] = []

    def add(self, where: object, problem: str) -> None:
        """Note one.

        Args:
            where: The file, and the line or row in it.
            problem: What is wrong with it.
        """
        self.n += 1
        if self.n <= MAX_TOLD:
            self._told.append(f"{where}: {problem}")

    def raise_if_bad(self, n_good: int, *, skip: bool) -> None:
        """Refuse the source unless there are no bad rows, or they are to be skipped and good ones are left.

        Raises:
            DataError: With a line for each bad row, at most 12.
        """
        if n_good and (skip or not self.n):
            return
        if not self.n:
            raise DataError(f"{self.source}: no rows; expected labeled pictures")
        rows = f"{self.n:,} bad row{'s' * (self.n > 1)}"
        if not n_good:
            raise DataError(f"{self.source}: {rows} and no good one", *self._told[:MAX_ALIKE])
        more = [f"{self.source}: and {self.n - MAX_TOLD:,} more"] if self.n > MAX_TOLD else []
        remedy = f"data.skip_bad: true leaves {'them' if self.n > 1 else 'it'} out"
        raise DataError(f"{self.source}: {rows}; {remedy}", *self._told, *more)


def open_data(path: Path) -> BinaryIO:
    """Open a regular file of data.

    Raises:
        DataError: It is not there, or no regular file.
    """
    try:
        return open_regular(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def parted(source: str, ending: str | tuple[str, ...]) -> tuple[str, str | None]:
    """Return the name of a file and the part that stands behind a `#`, unless there is a file of the whole name."""
    name, _, part = source.rpartition("#")
    is_part = part.isalpha() and name.lower().endswith(ending) and not Path(source).exists()
    return (name, part) if is_part else (source, None)


def looked_into(folder: Path) -> list[Path]:
    """Return what lies in a folder, in order; nothing where it may not be looked into: that is said when it is read."""
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a file that may be packed with gzip, whatever its name says: browsers unpack and keep the name.

    Raises:
        DataError: It is not there, no regular file, or damaged (also while it is read inside the block).
    """
    with open_data(path) as file:
        try:
            is_packed = file.read(2) == _GZIP
            file.seek(0)
            yield gzip.GzipFile(fileobj=file) if is_packed else file  # type: ignore[misc]
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: damaged ({reason_of(error)})") from error


def class_order(names: Iterable[str]) -> list[str]:
    """Return the different names in order: by number if all are whole numbers, else by letter."""
    different = set(names)
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", name) for name in different):
        return sorted(different, key=lambda name: (int(name), name))
    return sorted(different)


def check_classes(name: str, classes: list[str], least: int = 2) -> None:
    """Refuse names of classes that nobody could tell apart, and too few or too many.

    Raises:
        DataError: With the reason.
    """
    if not least <= len(classes) <= 1000:
        raise DataError(f"{name}: {len(classes):,} classes; expected 2 to 1,000")
    for text in classes:
        if not is_name(text):
            raise DataError(f'{name}: the class "{text[:MAX_NAME]}" is not 1 to {MAX_NAME} printable characters')


def is_name(text: str) -> bool:
    """Return whether a text may be the name of a class."""
    return 0 < len(text) <= MAX_NAME and text.isprintable()


def as_bytes_if_exact(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels, any shape, as bytes where that loses nothing, else as float32."""
    if pixels.min(initial=0) >= 0 and pixels.max(initial=0) <= 255:
        small = pixels.astype(np.uint8)
        if np.array_equal(small, pixels):
            return small
    return pixels.astype(np.float32)


def dataset_of(
    name: str,
    images: NDArray[Any],
    labels: NDArray[Any] | list[str] | None,
    groups: NDArray[Any] | list[str] | None = None,
    *,
    max_value: float = 0.0,
    n_skipped: int = 0,
    skip_bad: bool = False,
    numbers: Rows | None = None,
) -> Dataset:
    """Return a checked data set; classes are the labels that occur, as text, in the order of `class_order`.

    Args:
        name: What messages call it.
        images: (n, height, width), finite and at least 0.
        labels: Whole numbers or names, (n,); None to read only the pictures: then there are no classes. Names
            as a list take no more memory for one that is long.
        groups: Whole numbers or names, (n,); None where it is not known who wrote what.
        max_value: Full ink; 0: the largest training value.
        n_skipped: How many bad rows were left out.
        skip_bad: Skip rows with pixels that are not numbers, instead of refusing all.
        numbers: Of the rows in their source, where some were left out, (n,).

    Raises:
        DataError: Shapes, types or values that do not fit.
    """
    if images.dtype.kind == "b":
        images = images.astype(np.uint8)
    if images.ndim != 3 or images.dtype.kind not in "uif" or 0 in images.shape:
        raise DataError(f"{name}: images must be numbers of shape (n, height, width), not {kind_of(images)}")
    if len(images) > MAX_ROWS or math.prod(images.shape[1:]) > MAX_PIXELS:
        raise DataError(f"{name}: images are {kind_of(images)}; at most 100 million, of 100 megapixels each, are read")
    texts: list[str] | None = None
    if isinstance(labels, list):
        texts, labels = _numbered(labels)
    if isinstance(groups, list):
        _, groups = _numbered(groups)
    if labels is not None:
        labels = _checked_labels(name, len(images), labels, groups)
    if images.dtype.kind != "u":  # bytes are always fit, and there may be more of them than anybody wants to read twice
        least, most = float(images.min()), float(images.max())
        is_around_0 = -1.0 <= least < 0.0 and most <= 1.0  # as PyTorch often has it
        if not (is_around_0 or (least >= 0 and most <= LARGEST)):  # not a number is neither
            n_all, good = len(images), _fit_rows(name, images, skip_bad=skip_bad)
            images, numbers = images[good], good if numbers is None else numbers[good]
            labels, groups = (None if array is None else array[good] for array in (labels, groups))
            n_skipped += n_all - len(images)
            least, most = float(images.min()), float(images.max())
        if least >= 0 and 0 < most < LEAST_INK:
            raise DataError(f"{name}: images hold nothing above {LEAST_INK:g}")
    if labels is None:
        unlabeled = np.zeros(len(images), np.int64)
        return Dataset(name, images, unlabeled, (), max_value, n_skipped=n_skipped, numbers=numbers)
    if labels.dtype.kind == "U" and labels.astype("=U").view(np.uint32).max(initial=0) > sys.maxunicode:
        raise DataError(f"{name}: labels hold something that is not text")
    found, indices = np.unique(labels, return_inverse=True)
    names = [str(label) if texts is None else texts[label] for label in found]
    classes = class_order(names)
    check_classes(name, classes, least=1)  # whether one will do knows who asked for it
    place = {text: k for k, text in enumerate(classes)}
    return Dataset(
        name=name,
        pictures=images,
        labels=np.array([place[text] for text in names])[indices],
        classes=tuple(classes),
        max_value=max_value,
        groups=None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64),
        n_skipped=n_skipped,
        numbers=numbers,
    )


def _numbered(texts: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the different texts in order, and for each text its number among them, (n,)."""
    different = sorted(set(texts))
    place = {text: k for k, text in enumerate(different)}
    return different, np.fromiter((place[text] for text in texts), np.int64, len(texts))


def kind_of(array: NDArray[Any]) -> str:
    """Return the type and the shape of an array, in words, none of which may go on for long."""
    return f"{str(array.dtype)[:40]} of shape {str(array.shape)[:100]}"


def _checked_labels(name: str, n: int, labels: NDArray[Any], groups: NDArray[Any] | None) -> NDArray[Any]:
    """Return labels of an accepted type, (n,); whole numbers may be kept as floats.

    Raises:
        DataError: They, or the groups, are of another type or shape.
    """
    if labels.dtype.kind == "f" and labels.shape == (n,):
        with np.errstate(over="ignore", invalid="ignore"):
            exact = labels.astype(np.float64)
        if (np.abs(exact) < 2**53).all() and not (exact % 1).any():
            labels = exact.astype(np.int64)
    for what, array in (("labels", labels), ("groups", groups)):
        if array is not None and (array.shape != (n,) or array.dtype.kind not in "uiU"):
            wanted = f"{what} must be {n:,} whole numbers or names"
            raise DataError(f"{name}: {wanted}, not {kind_of(array)}")
    return labels


def _fit_rows(name: str, images: NDArray[Any], *, skip_bad: bool) -> Rows:
    """Return which rows hold nothing but ink.

    Raises:
        DataError: Bad rows are not to be left out; the first ones are named.
    """
    bad, flat = BadRows(name), images.reshape(len(images), -1)
    finite = np.isfinite(flat).all(axis=1)
    is_around_0 = bool(finite.any()) and -1.0 <= flat[finite].min() < 0.0 and flat[finite].max() <= 1.0
    with np.errstate(over="ignore"):  # of float16 none is larger
        good = finite & (is_around_0 | ((flat >= 0.0).all(axis=1) & (flat <= LARGEST).all(axis=1)))
    for row in np.flatnonzero(~good):
        bad.add(f"{name}:{row}", f"some pixels are not valid; {A_PIXEL} for each, or all of them from -1 to 1")
    bad.raise_if_bad(int(good.sum()), skip=skip_bad)
    return np.flatnonzero(good)


def square_side(where: str, n_pixels: int) -> int:
    """Return the side of the square that pixels make."""
    side = math.isqrt(max(0, n_pixels))
    if n_pixels < 1 or side * side != n_pixels:
        raise DataError(
            f"{where}: {n_pixels:,} pixels beside the label; expected a square number, such as 64 or 784 (an npz with "
            "images, (n, height, width), holds pictures of any shape)"
        )
    return side
