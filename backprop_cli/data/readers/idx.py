"""The files that MNIST and its relatives come in: idx3 for pictures, idx1 for labels, plain or packed with gzip.

    0 0 8 d | size of each of d dimensions, 4 bytes, big-endian | unsigned bytes

Source: LeCun, Cortes and Burges, the MNIST database of handwritten digits, "File formats".
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.shared import MAX_UNPACKED, Wanted, dataset_of, looked_into, unpacked
from backprop_cli.errors import DataError

_PART = 2**20  # bytes
_PICTURES = re.compile(r"images?.*idx3|idx3.*images?", re.IGNORECASE)
_IS_TEST = re.compile(r"t10k|test", re.IGNORECASE)


def matches(source: str) -> bool:
    """Return whether a source is an idx file of pictures by its name, or a folder with such files."""
    path = Path(source)
    return bool(_PICTURES.search(path.name)) if not path.is_dir() else bool(_inside(path))


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the pictures of an idx file with the labels of the file beside it.

    Args:
        source: Such as `train-images-idx3-ubyte.gz`; the labels are then in `train-labels-idx1-ubyte`, `.gz` or not. Or
            the folder that they lie in, such as `MNIST`, which torchvision makes.
        wanted: Whether labels are.

    Raises:
        DataError: One of both is not there, or not what it should be.
    """
    path = _pictures(source)
    images = _read(path, 3)
    if wanted.only_pictures:
        return dataset_of(str(path), images, None)
    beside = _labels_of(path)
    labels = _read(beside, 1)
    if len(images) != len(labels):
        raise DataError(f"{beside}: {len(labels):,} labels, but {path.name} has {len(images):,} pictures")
    return dataset_of(str(path), images, labels)


def test_source(source: str) -> str | None:
    """Return the test file of a folder; None: it has none, or the source is a single file."""
    found = [path for path in _inside(Path(source)) if _IS_TEST.search(path.name)] if Path(source).is_dir() else []
    return str(found[0]) if len(found) == 1 else None


def _pictures(source: str) -> Path:
    """Return the file of pictures that a source is, or holds to train on.

    Raises:
        DataError: A folder holds several.
    """
    path = Path(source)
    if not path.is_dir():
        return path
    files = _inside(path)
    found = [file for file in files if not _IS_TEST.search(file.name)] or files
    if len(found) > 1:
        raise DataError(f"{source}: holds {', '.join(file.name for file in found)}; name one of these files")
    return found[0]


def _inside(folder: Path) -> list[Path]:
    """Return the files of pictures in a folder, in its `raw`, or each in a folder of its own name; packed ones once."""
    found = {}
    for path in sorted(_files(folder), reverse=True):  # x.gz before x, which then takes its place
        if _PICTURES.search(path.name):
            found[_unpacked_name(path)] = path
    return sorted(found.values())


def _files(folder: Path) -> Iterator[Path]:
    for one in (folder, folder / "raw", folder / "MNIST" / "raw"):
        for path in looked_into(one):
            if path.is_dir() and (path / path.name).is_file():
                yield path / path.name
            elif path.is_file():
                yield path


def _unpacked_name(path: Path) -> str:
    return path.name.lower().removesuffix(".gz")


def _labels_of(path: Path) -> Path:
    """Return the file of labels that belongs to one of pictures: packed or not, in a folder of its own name or not."""
    wanted = re.sub("(?i)images", "labels", re.sub("(?i)idx3", "idx1", _unpacked_name(path)))
    places = [path.parent, path.parent.parent] if path.parent.name == path.name else [path.parent]
    for place in places:
        for file in sorted(_files(place)):
            if _unpacked_name(file) in (wanted, wanted.replace("labels", "label")):
                return file
    beside = re.sub("images", "labels", re.sub("idx3", "idx1", path.name))
    return path.with_name(beside)  # whose absence is then said


def _read(path: Path, n_dimensions: int) -> NDArray[np.uint8]:
    """Return the array of one file; memory is taken only for what is there, whatever the header says."""
    with unpacked(path) as file:
        header = file.read(4 + 4 * n_dimensions)
        if len(header) < 4 + 4 * n_dimensions or header[:4] != bytes((0, 0, 8, n_dimensions)):
            raise DataError(f"{path}: not an idx{n_dimensions} file of unsigned bytes")
        shape = struct.unpack(f">{n_dimensions}I", header[4:])
        size = math.prod(shape)
        if math.prod(max(1, side) for side in shape) > MAX_UNPACKED:
            raise DataError(f"{path}: more than 4 GB unpacked")
        content = bytearray()
        while len(content) <= size and (part := file.read(min(_PART, size + 1 - len(content)))):
            content += part
    if len(content) != size:
        found = "more" if len(content) > size else f"only {len(content):,}"
        raise DataError(f"{path}: {found} bytes follow its header, which says {size:,}")
    return np.frombuffer(content, np.uint8).reshape(shape)
