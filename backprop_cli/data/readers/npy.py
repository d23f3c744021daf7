"""One array of pictures, NumPy's npy; its labels lie beside it if they are needed, as `y_train.npy` does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.arrays import Kind, dataset_of_arrays, kind_and_part, objects_refused
from backprop_cli.data.readers.shared import Wanted, looked_into
from backprop_cli.errors import DataError, reason_of


def matches(source: str) -> bool:
    """Return whether a source is one array, by its name."""
    path = Path(source)
    return path.name.lower().endswith(".npy") and not path.is_dir()


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the pictures of an array, mapped, not read, with the labels beside it.

    Raises:
        DataError: It is not there, damaged, or labels are needed and none lie beside it.
    """
    path = Path(source)
    arrays: dict[Kind, NDArray[Any]] = {"images": mapped(path)}
    if not wanted.only_pictures:
        arrays["labels"] = mapped(_labels_beside(path))
    return dataset_of_arrays(str(path), arrays, wanted)


def test_source(source: str) -> str | None:
    """Return the array beside this one that is its test part, such as `x_test.npy`; None: there is none."""
    path = Path(source)
    beside = [path.with_name(re.sub("train", word, path.name)) for word in ("test", "val")]
    beside += [path.with_name(re.sub("Train", word, path.name)) for word in ("Test", "Val")]
    found = [one for one in beside if one != path and one.is_file() and _beside(one) is not None]
    return str(found[0]) if found else None


def _labels_beside(path: Path) -> Path:
    found = _beside(path)
    if found is None:
        raise DataError(
            f"{path}: holds no labels; expected y.npy beside X.npy, y_train.npy beside x_train.npy or labels.npy "
            "beside images.npy, or an npz with images and labels"
        )
    return found


def _beside(path: Path) -> Path | None:
    """Return the one array in the same folder that is called as the labels of this one would be."""
    own = kind_and_part(path.stem)
    if own is None or own[0] != "images":
        return None
    arrays = [one for one in looked_into(path.parent) if one.suffix.lower() == ".npy"]
    found = [one for one in arrays if kind_and_part(one.stem) == ("labels", own[1])]
    return found[0] if len(found) == 1 else None


def mapped(path: Path) -> NDArray[Any]:
    """Return the array of a file, mapped, not read.

    Raises:
        DataError: It is not there, or no plain array.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # NumPy raises a dozen kinds for a broken file
        if "Python objects" in str(error):
            raise DataError(objects_refused(str(path))) from error
        raise DataError(f"{path}: not a plain array ({reason_of(error)})") from error
    return array
