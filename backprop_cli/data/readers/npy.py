"""One array of pictures without labels, NumPy's npy: to be read, not to be trained on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.shared import Wanted, dataset_of
from backprop_cli.errors import DataError, reason_of


def matches(source: str) -> bool:
    """Return whether a source is one array, by its name."""
    path = Path(source)
    return path.name.lower().endswith(".npy") and not path.is_dir()


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the pictures of an array, (n, height, width) or (n, pixels of a square); they are mapped, not read.

    Raises:
        DataError: It is not there, damaged, or labels are wanted.
    """
    path = Path(source)
    if not wanted.only_pictures:
        raise DataError(f"{path}: holds no labels; a folder with images.npy and labels.npy is wanted, or an npz")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # NumPy raises a dozen kinds for a broken file
        raise DataError(f"{path}: not a plain array ({reason_of(error)})") from error
    if images.ndim == 2 and math.isqrt(images.shape[1]) ** 2 == images.shape[1]:
        images = images.reshape(len(images), math.isqrt(images.shape[1]), -1)
    return dataset_of(str(path), images, None)
