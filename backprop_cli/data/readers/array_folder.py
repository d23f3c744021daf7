"""A folder with `images.npy`, `labels.npy` and perhaps `groups.npy`; the pictures stay on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.shared import Wanted, dataset_of
from backprop_cli.errors import DataError, reason_of


def matches(source: str) -> bool:
    """Return whether a source is a folder with such a file."""
    folder = Path(source)
    return folder.is_dir() and any((folder / array).exists() for array in ("images.npy", "labels.npy"))


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the arrays of a folder; the pictures are mapped, not read, so there may be more than memory holds.

    Raises:
        DataError: An array is missing or damaged.
    """
    folder = Path(source)
    found = {}
    for name in ("images",) if wanted.only_pictures else ("images", "labels", "groups"):
        path = folder / f"{name}.npy"
        if not path.is_file():
            if name == "groups":
                continue
            raise DataError(f"{path}: there is no such file; a folder needs images.npy and labels.npy")
        try:
            found[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error
        except Exception as error:  # NumPy raises a dozen kinds for a broken file
            raise DataError(f"{path}: not a plain array ({reason_of(error)})") from error
    return dataset_of(str(folder), found["images"], found.get("labels"), found.get("groups"), skip_bad=wanted.skip_bad)
