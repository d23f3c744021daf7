"""The files that MNIST and its relatives come in: idx3 for pictures, idx1 for labels, plain or packed with gzip.

    0 0 8 d | size of each of d dimensions, 4 bytes, big-endian | unsigned bytes

Source: LeCun, Cortes and Burges, the MNIST database of handwritten digits, "File formats".
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.shared import MAX_UNPACKED, Wanted, dataset_of, unpacked
from backprop_cli.errors import DataError

_PART = 2**20  # bytes


def matches(source: str) -> bool:
    """Return whether a source is an idx file of pictures, by its name."""
    path = Path(source)
    return "images" in path.name and "idx3" in path.name and not path.is_dir()


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the pictures of an idx file with the labels of the file beside it.

    Args:
        source: Such as `train-images-idx3-ubyte.gz`; the labels are then in `train-labels-idx1-ubyte.gz`.
        wanted: Whether labels are.

    Raises:
        DataError: One of both is not there, or not what it should be.
    """
    path = Path(source)
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    images = _read(path, 3)
    if wanted.only_pictures:
        return dataset_of(str(path), images, None)
    labels = _read(beside, 1)
    if len(images) != len(labels):
        raise DataError(f"{beside}: {len(labels):,} labels, but {path.name} has {len(images):,} pictures")
    return dataset_of(str(path), images, labels)


def _read(path: Path, n_dimensions: int) -> NDArray[np.uint8]:
    """Return the array of one file; memory is taken only for what is there, whatever the header says."""
    with unpacked(path) as file:
        header = file.read(4 + 4 * n_dimensions)
        if len(header) < 4 + 4 * n_dimensions or header[:4] != bytes((0, 0, 8, n_dimensions)):
            raise DataError(f"{path}: not an idx{n_dimensions} file of unsigned bytes")
        shape = struct.unpack(f">{n_dimensions}I", header[4:])
        size = math.prod(shape)
        if size > MAX_UNPACKED:
            raise DataError(f"{path}: more than 4 GB unpacked")
        content = bytearray()
        while len(content) <= size and (part := file.read(min(_PART, size + 1 - len(content)))):
            content += part
    if len(content) != size:
        found = "more" if len(content) > size else f"only {len(content):,}"
        raise DataError(f"{path}: {found} bytes follow its header, which says {size:,}")
    return np.frombuffer(content, np.uint8).reshape(shape)
