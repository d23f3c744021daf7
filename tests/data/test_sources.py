import io
import math
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers import npz as npz_reader
from backprop_cli.data.readers.shared import dataset_of
from backprop_cli.data.sources import DataSettings, load_source, split_dataset
from backprop_cli.errors import DataError

IMAGES = np.arange(6 * 3 * 4, dtype=np.uint8).reshape(6, 3, 4)
LABELS = np.array([7, 2, 7, 2, 9, 7])
SHAPE = "images must be numbers of shape (n, height, width)"


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def npy(shape: tuple[int, ...], descr: str = "<f8", data: bytes = b"") -> bytes:
    """Return an npy file whose header claims a shape, whatever its data."""
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_source(str(path))
    return str(caught.value)


def test_digits_are_the_digits() -> None:
    assert len(load_source("digits")) == 1797


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_becomes_a_data_set_with_classes_in_order(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "my.npz"
    save(path, images=IMAGES, labels=LABELS, groups=np.array(["b", "b", "a", "a", "a", "c"]))
    data = load_source(str(path))
    np.testing.assert_array_equal(data.pictures, IMAGES)
    assert data.labels.tolist() == [1, 0, 1, 0, 2, 1]
    assert data.classes == ("2", "7", "9")
    assert data.groups is not None
    assert data.groups.tolist() == [1, 1, 0, 0, 0, 2]
    assert data.picture_size == (3, 4)
    assert data.name == str(path)


def test_groups_may_be_left_out_and_other_arrays_are_not_looked_at(tmp_path: Path) -> None:
    path = npz(tmp_path / "my.npz", images=IMAGES, labels=LABELS, extra=np.array([{}], dtype=object))
    assert load_source(str(path)).groups is None


def test_labels_may_be_names_and_pictures_floats(tmp_path: Path) -> None:
    path = npz(tmp_path / "my.npz", images=IMAGES / 7.0, labels=np.array(["ö", "x", "ö", "x", "x", "x"]))
    data = load_source(str(path))
    assert data.classes == ("x", "ö")
    np.testing.assert_array_equal(data.pictures, IMAGES / 7.0)


def test_names_that_are_whole_numbers_are_in_their_order(tmp_path: Path) -> None:
    data = load_source(str(npz(tmp_path / "my.npz", images=IMAGES, labels=LABELS.astype(str) + np.array("0"))))
    assert (data.classes, data.labels.tolist()) == (("20", "70", "90"), [1, 0, 1, 0, 2, 1])
    data = dataset_of("a", IMAGES, np.array(["10", "9", "2", "9", "9", "9"]))
    assert (data.classes, data.labels.tolist()) == (("2", "9", "10"), [2, 1, 0, 1, 1, 1])


def test_the_ending_may_be_in_capitals(tmp_path: Path) -> None:
    npz(tmp_path / "my.npz", images=IMAGES, labels=LABELS).rename(tmp_path / "MY.NPZ")
    assert len(load_source(str(tmp_path / "MY.NPZ"))) == 6


# ---- refusals ------------------------------------------------------------------------------------------------------


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(DataError, match=r'^data.source: "digit" is not one of digits, pens, openml:NAME, FILE.npz, '):
        load_source("digit")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.npz") == f"{tmp_path}/no.npz: there is no such file"


def test_a_folder_with_such_a_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    assert refusal(tmp_path / "folder.npz").startswith(f"{tmp_path}/folder.npz: ")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    assert refusal(tmp_path / "pipe.npz") == f"{tmp_path}/pipe.npz: not a regular file"


@pytest.mark.parametrize("missing", ["images", "labels"])
def test_a_missing_array_is_refused(missing: str, tmp_path: Path) -> None:
    arrays = {"images": IMAGES, "labels": LABELS, "other": LABELS}
    del arrays[missing]
    words = {"images": "needs the arrays images and labels (or X and y, ", "labels": "holds no labels; "}
    assert refusal(npz(tmp_path / "a.npz", **arrays)).startswith(f"{tmp_path}/a.npz: {words[missing]}")


@pytest.mark.parametrize("name", ["images", "labels", "groups"])
def test_an_array_of_python_objects_is_refused_and_not_unpickled(name: str, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"images": IMAGES, "labels": LABELS, "groups": LABELS}
    arrays[name] = arrays[name].astype(object)
    message = refusal(npz(tmp_path / "a.npz", **arrays))
    assert message.startswith(f"{tmp_path}/a.npz: {name}: holds Python objects, which may run code and are not read; ")
    assert "numpy.load('FILE.npz', allow_pickle=True); numpy.savez('plain.npz', " in message


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES[0, 0]}, f"{SHAPE}, not uint8 of shape (4,)"),
        ({"images": IMAGES[..., None, None]}, f"{SHAPE}, not uint8 of shape (6, 3, 4, 1, 1)"),
        (
            {"images": np.zeros((6, 5, 4, 2))},
            "an array of shape (6, 5, 4, 2); one channel or three (red, green, blue) are read",
        ),
        (
            {"images": IMAGES.reshape(6, 12)},
            "12 numbers per row are not a square number, such as 64 or 784; (n, height, width) holds pictures of any "
            "shape",
        ),
        ({"images": IMAGES[:0]}, f"{SHAPE}, not uint8 of shape (0, 3, 4)"),
        ({"images": IMAGES * 1j}, f"{SHAPE}, not complex128 of shape (6, 3, 4)"),
        ({"images": IMAGES.astype(str)}, f"{SHAPE}, not <U3 of shape (6, 3, 4)"),
        ({"labels": LABELS[:5]}, "labels must be 6 whole numbers or names, not int64 of shape (5,)"),
        ({"labels": np.eye(6)[:5]}, "labels must be 6 whole numbers or names, not int64 of shape (5,)"),
        (
            {"labels": np.eye(6) * 2},
            "labels: rows of 6 numbers, not all of them one 1 among zeros (one-hot)",
        ),
        ({"labels": LABELS * 1.5}, "labels must be 6 whole numbers or names, not float64 of shape (6,)"),
        ({"groups": LABELS[:5]}, "groups must be 6 whole numbers or names, not int64 of shape (5,)"),
        ({"groups": LABELS * 1.0}, "groups must be 6 whole numbers or names, not float64 of shape (6,)"),
        ({"images": IMAGES * math.nan}, "6 bad rows and no good one"),
        ({"images": np.where(IMAGES == 5, np.inf, 1.0)}, "1 bad row; data.skip_bad: true leaves it out"),
        ({"images": -IMAGES.astype(int)}, "6 bad rows and no good one"),
        ({"labels": np.zeros(6, int)}, "1 classes; expected 2 to 1,000"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", **{"images": IMAGES, "labels": LABELS, **arrays})
    assert refusal(path).splitlines()[0] == f"{path}: {message}"


def test_rows_of_arrays_that_cannot_be_used_are_named_and_may_be_left_out(tmp_path: Path) -> None:
    images = IMAGES.astype(np.float32)
    images[2, 0, 0], images[4, 1, 1] = math.nan, -3.0
    path = npz(tmp_path / "a.npz", images=images, labels=LABELS * 1.0, groups=LABELS)
    wrong = "some pixels are not valid; expected a finite number of at least 0 for each, or all of them from -1 to 1"
    assert refusal(path).splitlines()[1:] == [f"{path}:2: {wrong}", f"{path}:4: {wrong}"]
    found = load_source(str(path), skip_bad=True)
    assert (len(found), found.n_skipped, found.classes) == (4, 2, ("2", "7"))
    assert found.groups is not None
    assert len(found.groups) == 4


def test_more_than_1000_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"^many: 1,001 classes; expected 2 to 1,000$"):
        dataset_of("many", np.ones((1001, 1, 1)), np.arange(1001))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_npz_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    assert refusal(tmp_path / "a.npz").startswith(f"{tmp_path}/a.npz: ")


def test_a_plain_npy_under_an_npz_name_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    assert refusal(tmp_path / "a.npz").startswith(f"{tmp_path}/a.npz: not an npz file")


def test_a_zip_that_says_it_unpacks_to_more_than_4_gb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = npz(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    raw = bytearray(path.read_bytes())
    size_field = raw.index(b"PK\x01\x02") + 24  # of the first entry in the central directory
    raw[size_field : size_field + 4] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(raw)
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("unpacked"))
    assert refusal(path) == f"{path}: more than 4 GB unpacked"


def test_a_zip_at_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    monkeypatch.setattr(npz_reader, "MAX_UNPACKED", unpacked)
    assert len(load_source(str(path))) == 6
    monkeypatch.setattr(npz_reader, "MAX_UNPACKED", unpacked - 1)
    assert "unpacked" in refusal(path)


@pytest.mark.parametrize("shape", [(10**6, 3, 4), (10**13, 1, 1), (2**62, 8, 8), (-1, 3, 4), (6, 3, 10**30)])
def test_a_header_that_claims_more_than_there_is_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", images=npy(shape), labels=npy((6,), "<i8", LABELS.tobytes()))
    assert refusal(path).startswith(f"{path}: not an npz file of plain arrays")


@pytest.mark.parametrize("header", [b"{", b"{'descr': __import__('os')}", b"(" * 500, b"\xff\xfe", b"{'descr': '<f8'}"])
def test_a_header_that_makes_no_sense_is_refused(header: bytes, tmp_path: Path) -> None:
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"
    assert refusal(zipped(tmp_path / "a.npz", images=data, labels=data)).startswith(f"{tmp_path}/a.npz: not an npz")


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    path.write_bytes(raw)
    assert refusal(path).startswith(f"{path}: ")


def test_a_damaged_file_is_a_data_set_or_a_refusal_and_never_anything_else(tmp_path: Path) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, images=IMAGES, labels=LABELS)
    whole, path, rng = packed.getvalue(), tmp_path / "a.npz", np.random.default_rng(0)
    n_refused = 0
    for trial in range(len(whole)):
        raw = bytearray(whole)
        raw[trial] ^= int(rng.integers(1, 256))
        path.write_bytes(raw)
        try:
            assert isinstance(load_source(str(path)), Dataset)
        except DataError:
            n_refused += 1
    for stop in range(0, len(whole), 7):
        path.write_bytes(whole[:stop])
        assert refusal(path).startswith(str(path))
    assert n_refused > len(whole) // 4


# ---- settings ------------------------------------------------------------------------------------------------------


def test_the_default_split_is_writers_where_they_are_known_else_stratified() -> None:
    known = dataset_of("a", np.ones((10, 1, 1)), np.arange(10) % 2, groups=np.repeat(np.arange(5), 2))
    assert split_dataset(known, DataSettings()).test.tolist() == [8, 9]
    unknown = dataset_of("a", np.ones((10, 1, 1)), np.arange(10) % 2)
    one, other = (split_dataset(unknown, DataSettings(split_seed=seed, test_size=0.5)).test.tolist() for seed in (0, 1))
    assert one != other
    assert split_dataset(known, DataSettings(split="ordered", validation_size=0.3)).val.tolist() == [5, 6, 7]


def test_with_a_test_source_nothing_is_split_off_for_the_test() -> None:
    parts = split_dataset(load_source("digits"), DataSettings(test_source="digits"))
    assert len(parts.test) == 0
    assert len(parts.train) + len(parts.val) == 1797


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_size": 1.0}, "validation_size: 1.0 is not in [0, 1)"),
        ({"test_size": -0.1}, "test_size: -0.1 is not in [0, 1)"),
        ({"test_size": math.nan}, "test_size: nan is not in [0, 1)"),
        (
            {"validation_size": 0.5, "test_size": 0.5},
            "test_size: together with validation_size it leaves nothing to train on",
        ),
        ({"split_seed": 2**32}, "split_seed: 4294967296 is not between 0 and 4,294,967,295"),
        ({"max_value": 0.0}, "max_value: 0.0 is not between 1e-9 and 1e9"),
        ({"source": ""}, "source: empty; expected digits, openml:NAME, a file or a folder"),
        ({"test_source": ""}, "test_source: empty; expected digits, openml:NAME, a file or a folder"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        DataSettings(**settings)


# ---- a folder of arrays --------------------------------------------------------------------------------------------


def write_folder(folder: Path, images: NDArray[Any], labels: NDArray[Any]) -> Path:
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    return folder


def test_the_pictures_of_a_folder_stay_on_the_disk(tmp_path: Path) -> None:
    images = np.arange(60, dtype=np.uint8).reshape(15, 2, 2)
    dataset = load_source(str(write_folder(tmp_path, images, np.arange(15) % 3)))
    assert isinstance(dataset.pictures, np.memmap)
    np.testing.assert_array_equal(dataset.pictures, images)
    assert dataset.classes == ("0", "1", "2")
    assert dataset.groups is None


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((3, 2, 2), np.uint8))
    with pytest.raises(DataError, match=r"labels.npy: there is no such file"):
        load_source(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'shape': (9999999,)"])
def test_a_folder_with_a_broken_array_is_refused(tmp_path: Path, content: bytes) -> None:
    write_folder(tmp_path, np.zeros((3, 2, 2), np.uint8), np.arange(3))
    (tmp_path / "images.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"images.npy: not a plain array"):
        load_source(str(tmp_path))


def test_an_array_of_objects_in_a_folder_is_not_unpickled(tmp_path: Path) -> None:
    write_folder(tmp_path, np.zeros((3, 2, 2), np.uint8), np.array([1, "a", None], object))
    with pytest.raises(DataError, match=r"labels.npy: holds Python objects, which may run code and are not read"):
        load_source(str(tmp_path))
