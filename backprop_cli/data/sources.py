"""Where labelled pictures come from: scikit-learn's digits, or a file."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.augment import AugmentSettings
from backprop_cli.data.dataset import Dataset, load_digits
from backprop_cli.data.splits import SplitKind, Splits, split
from backprop_cli.errors import DataError, require

MAX_UNPACKED = 4 * 1024**3  # bytes


@dataclass(frozen=True)
class DataSettings:
    """What is trained on, and how it is split, scaled and augmented.

    Attributes:
        source: `digits`; FILE.npz with `images` (n, height, width), `labels` (n,) and perhaps `groups` (n,); or a
            folder with `images.npy` and `labels.npy` (and `groups.npy`), of any size: the pictures stay on the disk.
        test_source: The same, for a test part of its own; null: the test part is split off `source`.
        split: `writers` (whole writers, the last ones for test), `stratified` or `ordered`; null: `writers` where it
            is known who wrote what, else `stratified`.
        split_seed: Of `stratified`: the split belongs to the data, `seed` to the training. 0 to 2^32 - 1.
        validation_size: Share of all rows, in [0, 1); 0: none, and the last epoch is kept.
        test_size: Share of all rows, in [0, 1); 0: none.
        scaling: `centered`: (x / max - mean per pixel) / one global sd; `unit`: x / max.
        max_value: What full ink is, > 0; null: the data set's own (16 for digits), else the largest training value.
        augment: Random warps of the training part, drawn afresh each epoch; null: none.
    """

    source: str = "digits"
    test_source: str | None = None
    split: SplitKind | None = None
    split_seed: int = 0
    validation_size: float = 0.1
    test_size: float = 0.2
    scaling: Literal["centered", "unit"] = "centered"
    max_value: float | None = None
    augment: AugmentSettings | None = None

    def __post_init__(self) -> None:
        val, test, full = self.validation_size, self.test_size, self.max_value or 1.0
        left = "test_size: together with validation_size it leaves nothing to train on"
        require(
            *_usable("source", self.source),
            *_usable("test_source", self.test_source),
            (0.0 <= val < 1.0, f"validation_size: {val} is not in [0, 1)"),
            (0.0 <= test < 1.0, f"test_size: {test} is not in [0, 1)"),
            (not (val < 1.0 and test < 1.0) or val + test < 1.0, left),
            (0 <= self.split_seed < 2**32, f"split_seed: {self.split_seed} is not in 0 to 4,294,967,295"),
            (self.max_value != 0 and 0.0 < full <= 1e9, f"max_value: {self.max_value} is not above 0 and at most 1e9"),
        )


def _usable(key: str, source: str | None) -> list[tuple[bool, str]]:
    """Return the rules that a source may be a file name."""
    return [
        (source != "", f"{key}: empty; digits or a file is wanted"),
        ("\0" not in (source or ""), f"{key}: a file's name cannot hold a NUL character"),
    ]


def load_source(source: str) -> Dataset:
    """Return the data set that `data.source` names.

    Raises:
        DataError: There is no such source, or it is not what it should be.
    """
    if source == "digits":
        return load_digits()
    path = Path(source)
    if path.suffix.lower() == ".npz":
        return _load_npz(path)
    if path.is_dir():
        return _map_folder(path)
    raise DataError(
        f'data.source: "{source}" is neither digits nor a file that ends in .npz nor a folder of images.npy, labels.npy'
    )


def split_dataset(dataset: Dataset, settings: DataSettings) -> Splits:
    """Return the parts of `dataset`; with a test source of its own, all of it is training and validation."""
    return split(
        settings.split or ("stratified" if dataset.groups is None else "writers"),
        dataset.labels,
        dataset.groups,
        validation_size=settings.validation_size,
        test_size=0.0 if settings.test_source else settings.test_size,
        seed=settings.split_seed,
    )


def _load_npz(path: Path) -> Dataset:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_headers(path, archive)
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("images", "labels", "groups") if name in arrays}
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; a file of plain arrays is wanted") from error
    except Exception as error:  # zipfile and NumPy raise a dozen kinds for a broken file
        raise DataError(f"{path}: not an npz file of plain arrays ({error})") from error
    if not {"images", "labels"} <= found.keys():
        raise DataError(f"{path}: needs the arrays images and labels")
    return dataset_of(str(path), **found)


def _map_folder(folder: Path) -> Dataset:
    """Return the arrays of a folder; the pictures are mapped, not read, so there may be more than memory holds."""
    found = {}
    for name in ("images", "labels", "groups"):
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
            raise DataError(f"{path}: not a plain array ({error})") from error
    return dataset_of(str(folder), **found)


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


def dataset_of(name: str, images: NDArray[Any], labels: NDArray[Any], groups: NDArray[Any] | None = None) -> Dataset:
    """Return a checked data set; classes are the labels that occur, in order, as text.

    Raises:
        DataError: Shapes, types or values that do not fit.
    """
    if images.ndim != 3 or images.dtype.kind not in "uif" or 0 in images.shape:
        raise DataError(f"{name}: images must be numbers of shape (n, height, width), not {images.shape}")
    if labels.shape != (len(images),) or labels.dtype.kind not in "uiU":
        raise DataError(f"{name}: labels must be {len(images):,} whole numbers or names, not {labels.shape}")
    if groups is not None and (groups.shape != labels.shape or groups.dtype.kind not in "uiU"):
        raise DataError(f"{name}: groups must be {len(images):,} whole numbers or names, not {groups.shape}")
    if images.dtype.kind != "u" and not (np.isfinite(images).all() and images.min() >= 0):
        raise DataError(f"{name}: images must be finite and at least 0")
    classes, indices = np.unique(labels, return_inverse=True)
    if not 2 <= len(classes) <= 1000:
        raise DataError(f"{name}: {len(classes):,} classes; 2 to 1,000 are wanted")
    return Dataset(
        name=name,
        pictures=images,
        labels=indices.astype(np.int64),
        classes=tuple(str(c) for c in classes),
        max_value=0.0,
        groups=None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64),
    )
