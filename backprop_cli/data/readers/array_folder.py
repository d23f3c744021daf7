"""A folder of arrays, such as `images.npy`, `labels.npy` and perhaps `groups.npy`; the pictures stay on the disk."""

from __future__ import annotations

from pathlib import Path

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers import npy
from backprop_cli.data.readers.arrays import NAMES, chosen_arrays, dataset_of_arrays, kind_and_part
from backprop_cli.data.readers.npy import mapped
from backprop_cli.data.readers.shared import Wanted, looked_into


def matches(source: str) -> bool:
    """Return whether a source is a folder with such a file, or with other arrays and no folders."""
    folder = Path(source)
    if not folder.is_dir():
        return False
    if any((folder / array).exists() for array in ("images.npy", "labels.npy")):
        return True
    inside = looked_into(folder)
    return any(path.suffix == ".npy" for path in inside) and not any(path.is_dir() for path in inside)


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the arrays of a folder; the pictures are mapped, not read, so there may be more than memory holds.

    Raises:
        DataError: An array is missing or damaged.
    """
    folder = Path(source)
    paths = {path.stem: path for path in looked_into(folder) if path.suffix == ".npy"}
    if {"images", "labels"} & set(paths):  # the names that are documented, whatever else lies there
        paths = {kind: folder / f"{kind}.npy" for kind in NAMES if kind in (*paths, "images", "labels")}
        paths = {kind: path for kind, path in paths.items() if kind == "images" or not wanted.only_pictures}
    arrays = {name: mapped(path) for name, path in paths.items()}
    chosen = chosen_arrays(source, {name: array.shape for name, array in arrays.items()}, None)
    return dataset_of_arrays(str(folder), {kind: arrays[name] for kind, name in chosen.items()}, wanted)


def test_source(source: str) -> str | None:
    """Return the array of test pictures beside those that are trained on; None: there is none."""
    found = [path for path in looked_into(Path(source)) if kind_and_part(path.stem) == ("images", "train")]
    return npy.test_source(str(found[0])) if len(found) == 1 else None
