"""A file of arrays: NumPy's npz with `images`, `labels` and perhaps `groups`."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.shared import MAX_UNPACKED, Wanted, dataset_of, open_data
from backprop_cli.errors import DataError, reason_of


def matches(source: str) -> bool:
    """Return whether a source is a file of arrays, by its name."""
    return Path(source).name.lower().endswith(".npz")


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the arrays of a file.

    Raises:
        DataError: It is not there, too large, damaged, or lacks an array.
    """
    path = Path(source)
    try:
        with open_data(path) as file:
            with zipfile.ZipFile(file) as archive:
                _check_headers(path, archive)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                names = ("images",) if wanted.only_pictures else ("images", "labels", "groups")
                found = {name: arrays[name] for name in names if name in arrays}
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; a file of plain arrays is wanted") from error
    except Exception as error:  # zipfile and NumPy raise a dozen kinds for a broken file
        raise DataError(f"{path}: not an npz file of plain arrays ({reason_of(error)})") from error
    if "images" not in found or ("labels" not in found and not wanted.only_pictures):
        raise DataError(f"{path}: needs the array{' images' if wanted.only_pictures else 's images and labels'}")
    return dataset_of(str(path), found["images"], found.get("labels"), found.get("groups"), skip_bad=wanted.skip_bad)


def _check_headers(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse arrays that are larger than allowed, or than their own file, before anything is allocated for them."""
    if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
        raise DataError(f"{path}: more than 4 GB unpacked")
    for entry in archive.infolist():
        if entry.filename not in ("images.npy", "labels.npy", "groups.npy"):
            continue
        with archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            if dtype.hasobject:
                raise ValueError("Object arrays cannot be loaded")
            if math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
                raise ValueError(f"the size of {entry.filename} is not what its header says")
