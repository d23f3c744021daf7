"""Arrays in the shapes and under the names that people keep them, all of them the same digits in the end."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers import arrays
from backprop_cli.data.readers.arrays import as_labels, as_pictures, chosen_arrays, kind_and_part
from backprop_cli.data.sources import DataSettings, load_source, source_of_test
from backprop_cli.errors import DataError

N = 12
PICTURES = np.random.default_rng(0).integers(0, 256, (N, 28, 28), np.uint8)
LABELS = np.arange(N) % 3
LATER = PICTURES[::-1]


def read(folder: Path, **arrays: Any) -> Dataset:
    np.savez(folder / "a.npz", **arrays)
    return load_source(str(folder / "a.npz"))


SHAPES: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "channel last": lambda a: a[..., None],
    "channel first": lambda a: a[:, None],
    "flat": lambda a: a.reshape(N, -1),
    "red, green, blue last": lambda a: np.repeat(a[..., None], 3, 3),
    "red, green, blue first": lambda a: np.repeat(a[:, None], 3, 1),
    "rows last": lambda a: np.moveaxis(a, 0, 2),
    "big-endian": lambda a: a.astype(">i4"),
    "Fortran order": np.asfortranarray,
    "64 bits": lambda a: a.astype(np.int64),
    "floats": lambda a: a.astype(np.float32),
    "half floats": lambda a: a.astype(np.float16),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_of_any_usual_shape_are_the_same_pictures(shape: str, tmp_path: Path) -> None:
    found = read(tmp_path, images=SHAPES[shape](PICTURES), labels=LABELS)
    np.testing.assert_array_equal(found.pictures, PICTURES)
    assert found.pictures.dtype.isnative
    assert found.pictures.flags.c_contiguous


def test_colors_are_weighed_as_eyes_do() -> None:
    color = np.zeros((1, 4, 4, 3), np.uint8)
    color[..., :] = (200, 100, 50)
    assert as_pictures("a", color).tolist() == [[[124] * 4] * 4]
    assert as_pictures("a", color.astype(np.float32) / 255).max() == pytest.approx(0.4875, abs=1e-3)


LABEL_SHAPES: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "column": lambda a: a[:, None],
    "row": lambda a: a[None],
    "one-hot": lambda a: np.eye(3, dtype=np.float32)[a],
    "one-hot of truth values": lambda a: np.eye(3, dtype=bool)[a],
    "whole floats": lambda a: a.astype(float),
    "text": lambda a: a.astype(str),
    "bytes": lambda a: a.astype("S1"),
    "big-endian": lambda a: a.astype(">i2"),
}


@pytest.mark.parametrize("shape", LABEL_SHAPES)
def test_labels_of_any_usual_shape_are_the_same_labels(shape: str, tmp_path: Path) -> None:
    found = read(tmp_path, images=PICTURES, labels=LABEL_SHAPES[shape](LABELS))
    assert (found.labels.tolist(), found.classes) == (LABELS.tolist(), ("0", "1", "2"))


def test_truth_values_are_two_classes(tmp_path: Path) -> None:
    assert read(tmp_path, images=PICTURES > 100, labels=LABELS > 1).classes == ("0", "1")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *((name, ("images", None)) for name in ("images", "X", "x", "data", "pixels")),
        *((name, ("labels", None)) for name in ("labels", "Y", "target", "class")),
        *((name, ("images", "train")) for name in ("x_train", "X_tr", "train_images", "trainX", "TrainImages")),
        *((name, ("labels", "test")) for name in ("y_test", "Y_te", "test_labels", "testY", "t10k_labels", "yte")),
        *((name, ("images", "validation")) for name in ("x_val", "valid_images", "X_dev")),
        *((name, None) for name in ("arr_0", "train", "xs", "x_train_test", "", "_", "images2 labels")),
    ],
)
def test_a_name_says_what_an_array_holds(name: str, meant: Any) -> None:
    assert kind_and_part(name) == meant


@given(st.text(max_size=30))
def test_any_name_is_understood_or_not_and_nothing_else(name: str) -> None:
    found = kind_and_part(name)
    assert found is None or found[0] in ("images", "labels", "groups")


def test_the_mnist_of_keras_is_source_and_test_source_in_one(tmp_path: Path) -> None:
    found = read(tmp_path, x_train=PICTURES, y_train=LABELS, x_test=LATER[:5], y_test=LABELS[:5])
    assert len(found) == N
    path = f"{tmp_path}/a.npz"
    assert source_of_test(DataSettings(path)) == f"{path}#test"
    assert source_of_test(DataSettings(path, test_source="b.npz")) == "b.npz"
    assert source_of_test(DataSettings(path, test_size=0.0)) is None
    part = load_source(f"{path}#test")
    np.testing.assert_array_equal(part.pictures, LATER[:5])
    assert part.row_name(3) == f"{path}#test:3"
    with pytest.raises(DataError, match=r"a.npz#tset: the parts of a file are called train, test and validation$"):
        load_source(f"{path}#tset")
    with pytest.raises(DataError, match=r"a.npz#validation: needs the arrays images and labels .*; it holds x_train"):
        load_source(f"{path}#validation")
    read(tmp_path, x_train=PICTURES, y_train=LABELS, x_val=LATER[:5], y_val=LABELS[:5])
    assert source_of_test(DataSettings(path)) == f"{path}#validation"
    read(tmp_path, images=PICTURES, labels=LABELS, x_test=LATER)
    assert source_of_test(DataSettings(path)) is None  # without labels


def test_a_number_sign_in_a_files_name_is_just_that(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz#test.npz", images=PICTURES, labels=LABELS)
    (tmp_path / "a.npz#test.npz").rename(tmp_path / "b.npz#test")
    np.savez(tmp_path / "b.npz", images=PICTURES[:6], labels=LABELS[:6])
    with pytest.raises(DataError, match="not one of digits"):
        load_source(f"{tmp_path}/b.npz#test")
    assert len(load_source(f"{tmp_path}/b.npz")) == 6


def test_arrays_without_names_are_told_by_their_shapes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", LABELS, PICTURES)
    assert len(load_source(str(tmp_path / "a.npz"))) == N
    np.savez(tmp_path / "a.npz", PICTURES, LABELS, PICTURES, LABELS)
    with pytest.raises(DataError, match=r"needs the arrays images and labels .*; it holds arr_0 \(12, 28, 28\), "):
        load_source(str(tmp_path / "a.npz"))
    both = {"data": (3, 16), "target": (3,), "images": (3, 4, 4), "target_names": (3,)}  # scikit-learn's own
    assert chosen_arrays("a", both, None) == {"images": "images", "labels": "target"}


def test_one_array_finds_its_labels_and_its_test_part_beside_it(tmp_path: Path) -> None:
    for name, array in [("x_train", PICTURES), ("y_train", LABELS), ("x_test", LATER), ("y_test", LABELS)]:
        np.save(tmp_path / f"{name}.npy", array)
    path = str(tmp_path / "x_train.npy")
    found = load_source(path)
    np.testing.assert_array_equal(found.pictures, PICTURES)
    assert found.labels.tolist() == LABELS.tolist()
    assert source_of_test(DataSettings(path)) == str(tmp_path / "x_test.npy")
    assert len(load_source(str(tmp_path))) == N  # the folder of them
    (tmp_path / "y_test.npy").unlink()
    assert source_of_test(DataSettings(path)) is None
    with pytest.raises(
        DataError, match=r"x_test.npy: holds no labels; expected y.npy beside X.npy, y_train.npy beside"
    ):
        load_source(str(tmp_path / "x_test.npy"))


def test_soft_labels_are_none() -> None:
    with pytest.raises(DataError, match=r"^a: rows of 2 numbers, not all of them one 1 among zeros \(one-hot\)$"):
        as_labels("a", np.array([[0.5, 0.5], [0.0, 1.0]]))


# ---- what is no data, or too much ----------------------------------------------------------------------------------


COLORS = np.repeat(PICTURES[..., None], 3, 3)
ODD: dict[str, dict[str, Any]] = {
    "one label": {"labels": LABELS[0]},
    "no labels of no classes": {"labels": np.zeros((0, 0))},
    "labels of no classes": {"labels": np.zeros((N, 0))},
    "long names": {"labels": np.full(N, b"a" * 5000)},
    "colors as text": {"images": COLORS.astype("U3")},
    "colors as times": {"images": COLORS.astype("M8[s]")},
    "complex colors": {"images": COLORS.astype(np.complex64)},
    "a picture alone": {"images": np.int64(3)},
    "many fields": {"images": np.zeros((N, 4, 4), [(f"f{k}", "u1") for k in range(200)])},
    "colors beyond all bounds": {"images": np.full(COLORS.shape, 1e308)},
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.filterwarnings("error")
def test_odd_arrays_are_refused_in_short_lines(odd: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, **({"images": PICTURES, "labels": LABELS} | ODD[odd]))
    assert all(len(line) < 300 + len(str(tmp_path)) and str(tmp_path) in line for line in caught.value.problems)


@pytest.mark.filterwarnings("error")
def test_half_floats_are_labels(tmp_path: Path) -> None:
    assert read(tmp_path, images=PICTURES, labels=LABELS.astype(np.float16)).labels.tolist() == LABELS.tolist()


def sparse(path: Path, shape: tuple[int, ...], dtype: str, *, fortran: bool = False) -> None:
    """Write an array of zeros that takes no room on the disk."""
    with path.open("wb") as file:
        header = {"descr": dtype, "fortran_order": fortran, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + math.prod(shape) * np.dtype(dtype).itemsize)


LARGE: dict[str, tuple[Any, Any]] = {
    "another byte order": (((N, 2**16, 2**16), ">f4"), None),
    "half floats": (((N, 2**16, 2**16), "<f2"), None),
    "colors": (((N, 2**15, 2**15, 3), "|u1"), None),
    "rows": (((2**33, 2, 2), "|u1"), None),
    "pixels": (((N, 2**16, 2**16), "|u1"), None),
    "labels": (None, ((2**31,), "<f8")),
    "names": (None, ((2**31,), "|S8")),
    "one-hot": (None, ((2**31, 10), "|u1")),
}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere zeros may take room")
@pytest.mark.parametrize("which", LARGE)
def test_mapped_arrays_that_would_be_brought_into_memory_are_bounded(which: str, tmp_path: Path) -> None:
    images, labels = LARGE[which]
    np.save(tmp_path / "images.npy", PICTURES)
    np.save(tmp_path / "labels.npy", LABELS)
    for name, header in (("images", images), ("labels", labels)):
        if header is not None:
            sparse(tmp_path / f"{name}.npy", *header)
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        load_source(str(tmp_path))


def test_colors_are_mixed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = as_pictures("a", COLORS)
    monkeypatch.setattr(arrays, "_PART", 28 * 28 * 3 * 5)
    np.testing.assert_array_equal(as_pictures("a", COLORS), whole)
    monkeypatch.setattr(arrays, "_PART", 5)
    np.testing.assert_array_equal(as_labels("a", np.eye(3)[LABELS]), LABELS)
