"""A file of arrays: NumPy's npz. `mnist.npz#test` names the part of it that Keras calls x_test and y_test."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.arrays import (
    Part,
    chosen_arrays,
    dataset_of_arrays,
    objects_refused,
    part_named,
    test_part,
)
from backprop_cli.data.readers.shared import MAX_UNPACKED, Wanted, open_data, parted
from backprop_cli.data.readers.zip_directory import opened_zip
from backprop_cli.errors import DataError, reason_of

MAX_ARRAYS = 1000

Header = tuple[tuple[int, ...], np.dtype[Any]]


def matches(source: str) -> bool:
    """Return whether a source is a file of arrays, by its name."""
    return parted(source, ".npz")[0].lower().endswith(".npz")


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the arrays of a file, or of the part of it that stands behind a `#`.

    Raises:
        DataError: It is not there, too large, damaged, or lacks an array.
    """
    name, part = parted(source, ".npz")
    with open_data(Path(name)) as file:
        return read(source, file, wanted, part=part)


def read(source: str, file: IO[bytes], wanted: Wanted, *, part: str | None) -> Dataset:
    """Return the arrays of an open file.

    Args:
        source: Its name, with the part.
        file: May be walked through in any order.
        wanted: Whether labels are, and so on.
        part: Which part of it; None: the one that is trained on.

    Raises:
        DataError: As `load`.
    """
    name = source if part is None else source.removesuffix(f"#{part}")
    try:
        with opened_zip(name, file) as archive:
            headers = _headers(name, archive)
        if part is not None and part_named(part) is None:
            raise DataError(f"{source}: the parts of a file are called train, test and validation")
        wanted_part = None if part is None else part_named(part)
        names = chosen_arrays(source, {key: shape for key, (shape, _) in headers.items()}, wanted_part)
        for key in names.values():
            if headers[key][1].hasobject:
                raise DataError(objects_refused(f"{name}: {key}"))
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            used = {kind: key for kind, key in names.items() if kind == "images" or not wanted.only_pictures}
            found = {kind: arrays[key] for kind, key in used.items()}
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}; expected a file of plain arrays") from error
    except Exception as error:  # zipfile and NumPy raise a dozen kinds for a broken file
        raise DataError(f"{name}: not an npz file of plain arrays ({reason_of(error)})") from error
    return dataset_of_arrays(source, found, wanted)


def test_source(source: str) -> str | None:
    """Return the part of a file that is a test of its own, as a source; None: it has none."""
    name, part = parted(source, ".npz")
    if part is not None:
        return None
    try:
        with open_data(Path(name)) as file:
            found = test_part_of(file)
    except DataError:  # said when it is read
        return None
    return found and f"{name}#{found}"


def test_part_of(file: IO[bytes]) -> Part | None:
    """Return which part of an open file is a test of its own; None: there is none, or it cannot be read."""
    try:
        with opened_zip("", file) as archive:
            return test_part(entry.removesuffix(".npy") for entry in archive.namelist())
    except Exception:  # said when it is read
        return None


def _headers(name: str, archive: zipfile.ZipFile) -> dict[str, Header]:
    """Return shape and type of each array, before anything is allocated for them.

    Raises:
        DataError: They are larger than allowed.
        ValueError: One is larger than its own file, or no array.
    """
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise DataError(f"{name}: more than 4 GB unpacked")
    if len(entries) > MAX_ARRAYS:
        raise DataError(f"{name}: more than {MAX_ARRAYS:,} arrays")
    headers = {}
    for entry in entries:
        if not entry.filename.endswith(".npy"):
            continue
        with archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            if not dtype.hasobject and math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
                raise ValueError(f"the size of {entry.filename} is not what its header says")
        headers[entry.filename.removesuffix(".npy")] = (shape, dtype)
    return headers
