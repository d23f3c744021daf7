"""Arrays in the shapes and under the names that people keep them: which is which, and what each row is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.shared import MAX_PIXELS, MAX_UNPACKED, Wanted, dataset_of, kind_of
from backprop_cli.errors import DataError

Kind = Literal["images", "labels", "groups"]
Part = Literal["train", "validation", "test"]
NAMES: dict[Kind, tuple[str, ...]] = {
    "images": ("images", "image", "x", "data", "pixels", "pictures", "features", "inputs", "input"),
    "labels": ("labels", "label", "y", "target", "targets", "digits", "classes", "class"),
    "groups": ("groups", "group", "writers", "writer"),
}
PARTS: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training", "tr"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "te", "t10k"),
}
GRAY = (0.299, 0.587, 0.114)  # what red, green and blue weigh. Source: ITU-R BT.601, section 2.5.1
MAX_CLASSES = 1000
MAX_LABELS = 1024**3  # bytes
MAX_LABEL = 4096  # bytes
_PART = 2**22  # numbers that are worked on at a time
PLAIN = (
    "python -c \"import numpy; d = numpy.load('FILE.npz', allow_pickle=True); numpy.savez('plain.npz', "
    "images=numpy.stack(d['images']), labels=d['labels'].astype(str))\""
)


def part_named(word: str) -> Part | None:
    """Return the part of the data that a word stands for; None for any other word."""
    return next((part for part, words in PARTS.items() if word.lower() in words), None)


def kind_and_part(name: str) -> tuple[Kind, Part | None] | None:
    """Return what an array holds by its name, such as `x_train` or `TestImages`; None where it says nothing."""
    words = re.findall(r"t10k|[A-Z]?[a-z]+|[A-Z]+(?![a-z])", re.sub(r"^([xyXY])(?=t[er])", r"\1_", name))
    parts = [part for word in words if (part := part_named(word))]
    rest = "".join(word.lower() for word in words if not part_named(word))
    kinds = [kind for kind, known in NAMES.items() if rest in known]
    return (kinds[0], parts[0] if parts else None) if kinds and len(parts) <= 1 else None


def chosen_arrays(where: str, shapes: Mapping[str, tuple[int, ...]], part: Part | None) -> dict[Kind, str]:
    """Return which array holds what, by their names; where those say nothing, by their shapes.

    Args:
        where: What messages call the file.
        shapes: Of all arrays in it.
        part: Which part to read; None: the one that is trained on.

    Raises:
        DataError: No array can be the pictures, or two can.
    """
    named: dict[tuple[Kind, Part | None], str] = {}
    for name in shapes:
        if (found := kind_and_part(name)) is not None:
            named[found] = min(named.get(found, name), name, key=_order)
    wanted: tuple[Part | None, ...] = (None, "train") if part is None else (part,)
    for one in wanted:
        if ("images", one) in named:
            return {kind: named[kind, one] for kind in NAMES if (kind, one) in named}
    return _by_shape(where, shapes) if part is None and not named else _unnamed(where, shapes)


def _order(name: str) -> int:
    """Return how far behind an array's name comes among those that say the same: `images` before `data`."""
    words = [word for known in NAMES.values() for word in known]
    return next((k for k, word in enumerate(words) if word in name.lower()), len(words))


def test_part(names: Iterable[str]) -> Part | None:
    """Return which part of a file's arrays are a test of its own; None: there is none."""
    found = {kind_and_part(name) for name in names}
    has = [part for part in ("test", "validation") if {("images", part), ("labels", part)} <= found]
    return has[0] if has else None  # type: ignore[return-value]


def _by_shape(where: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[Kind, str]:
    """Return the one array that can be pictures, and the one that can be its labels."""
    images = [name for name, shape in shapes.items() if len(shape) >= 2 and math.prod(shape[1:]) >= 16]
    if len(images) != 1:
        return _unnamed(where, shapes)
    n = shapes[images[0]][0]
    labels = [name for name, shape in shapes.items() if name != images[0] and shape[:1] == (n,) and len(shape) <= 2]
    found: dict[Kind, str] = {"images": images[0]}
    return found | ({"labels": labels[0]} if len(labels) == 1 else {})


def _unnamed(where: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[Kind, str]:
    held = ", ".join(f"{name[:30]} {str(shape)[:50]}" for name, shape in list(shapes.items())[:8]) or "nothing"
    raise DataError(
        f"{where}: needs the arrays images and labels (or X and y, data and target, x_train and y_train); "
        f"it holds {held}"
    )


def as_pictures(where: str, array: NDArray[Any], n_labels: int | None = None) -> NDArray[Any]:
    """Return pictures as (n, height, width), in this machine's byte order.

    Args:
        where: What messages call the array.
        array: (n, height, width), (n, pixels of a square), with a channel of 1 or 3 (red, green, blue) in front or
            behind, or (height, width, n) where there are n labels.
        n_labels: How many labels there are; None where they are not known.

    Raises:
        DataError: It holds Python objects, or no pictures, or would have to be brought into memory and is too large.
    """
    _refuse_objects(where, array)
    if array.dtype.kind not in "buif":
        raise DataError(f"{where}: images must be numbers of shape (n, height, width), not {kind_of(array)}")
    if array.ndim == 3 and n_labels is not None and array.shape[0] != n_labels == array.shape[2]:
        array = np.moveaxis(array, 2, 0)
    if array.ndim == 4:
        array = _gray(where, array)
    if array.ndim == 2:
        side = math.isqrt(array.shape[1])
        if side * side != array.shape[1] or not side:
            raise DataError(
                f"{where}: {array.shape[1]:,} numbers per row are not a square number, such as 64 or 784; "
                "(n, height, width) holds pictures of any shape"
            )
        array = array.reshape(len(array), side, side)
    is_half = array.dtype.kind == "f" and array.dtype.itemsize == 2
    if _is_plain(array) and not is_half:
        return array
    _check_size(where, array)
    return np.ascontiguousarray(array, np.float32 if is_half else array.dtype.newbyteorder("="))


def _is_plain(array: NDArray[Any]) -> bool:
    return array.flags.c_contiguous and array.dtype.isnative


def _gray(where: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return (n, height, width) of pictures with a channel."""
    axis = next((axis for axis in (3, 1) if array.shape[axis] in (1, 3)), None)
    if axis is None:
        raise DataError(
            f"{where}: an array of shape {str(array.shape)[:100]}; one channel or three (red, green, blue) are read"
        )
    if array.shape[axis] == 1:
        one: NDArray[Any] = np.squeeze(array, axis)
        return one
    _check_size(where, array)
    colors = np.moveaxis(array, axis, 0)
    mixed = np.empty(colors.shape[1:], array.dtype if array.dtype.kind in "ui" else np.float32)
    n = max(1, _PART // max(1, math.prod(array.shape[1:])))
    for start in range(0, len(array), n):
        red, green, blue = colors[:, start : start + n]
        with np.errstate(over="ignore", invalid="ignore"):  # what is no pixel is refused later
            part = GRAY[0] * red + GRAY[1] * green + GRAY[2] * blue
            mixed[start : start + n] = np.rint(part) if array.dtype.kind in "ui" else part
    return mixed


def _check_size(where: str, array: NDArray[Any]) -> None:
    """Refuse to bring too much into memory, of what lies on the disk otherwise than it is used."""
    if array.nbytes > MAX_UNPACKED or math.prod(array.shape[1:]) > 3 * MAX_PIXELS:
        raise DataError(
            f"{where}: {kind_of(array)}; larger than 4 GB are read only as (n, height, width) in C order, of this "
            "machine's byte order"
        )


def as_labels(where: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return labels as (n,): whole numbers or text.

    Args:
        where: What messages call the array.
        array: (n,), a column or row of them, or one-hot, (n, classes).

    Raises:
        DataError: It is too large, holds Python objects, or rows of numbers that are not one-hot.
    """
    _refuse_objects(where, array)
    if array.ndim == 2 and 1 in array.shape:
        array = array.ravel()
    if array.ndim == 2 and 0 < array.shape[1] <= MAX_CLASSES and array.dtype.kind in "buif":
        array = _of_one_hot(where, array)
    if array.nbytes > MAX_LABELS or array.dtype.itemsize > MAX_LABEL:
        raise DataError(f"{where}: {kind_of(array)}; larger than 1 GB, or than {MAX_LABEL:,} bytes each")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def _of_one_hot(where: str, array: NDArray[Any]) -> NDArray[np.int64]:
    """Return where the 1 is in each row, (n,)."""
    if len(array) > MAX_LABELS // 8:
        raise DataError(f"{where}: {kind_of(array)}; too many rows")
    found = np.empty(len(array), np.int64)
    n = max(1, _PART // array.shape[1])
    for start in range(0, len(array), n):
        part = array[start : start + n]
        if not (((part == 0) | (part == 1)).all() and (part.sum(axis=1) == 1).all()):
            raise DataError(f"{where}: rows of {array.shape[1]} numbers, not all of them one 1 among zeros (one-hot)")
        found[start : start + n] = part.argmax(axis=1)
    return found


def _refuse_objects(where: str, array: NDArray[Any]) -> None:
    if array.dtype.hasobject:
        raise DataError(objects_refused(where))


def objects_refused(where: str) -> str:
    """Return why Python objects are not read, with the line that makes plain arrays of them."""
    return f"{where}: holds Python objects, which may run code and are not read; if you trust it: {PLAIN}"


def dataset_of_arrays(where: str, arrays: Mapping[Kind, NDArray[Any]], wanted: Wanted) -> Dataset:
    """Return a checked data set of arrays in any of these shapes.

    Raises:
        DataError: Labels are needed and missing, or an array is invalid.
    """
    labels = groups = None
    if not wanted.only_pictures:
        if "labels" not in arrays:
            raise DataError(f"{where}: holds no labels; expected an array labels (or y) with one label per picture")
        labels = as_labels(f"{where}: labels", arrays["labels"])
        groups = as_labels(f"{where}: groups", arrays["groups"]) if "groups" in arrays else None
    images = as_pictures(where, arrays["images"], None if labels is None else labels.size)
    return dataset_of(where, images, labels, groups, skip_bad=wanted.skip_bad)
