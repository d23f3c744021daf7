"""Folders and zips of pictures as people and systems leave them, and idx files as others unpack them."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from backprop_cli.data.dataset import Dataset, load_digits
from backprop_cli.data.readers import zip_directory, zip_file
from backprop_cli.data.readers.shared import Wanted
from backprop_cli.data.sources import DataSettings, load_data, load_source, source_of_test, split_kind
from backprop_cli.errors import DataError

N = 30
DIGITS = load_digits()
LABELS = DIGITS.labels[:N].tolist()


def draw(path: Path, k: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ink = (DIGITS.pictures[k] * 15).repeat(3, 0).repeat(3, 1)
    Image.fromarray(255 - np.pad(ink, 3)).save(path)


def layout(folder: Path, name: str) -> Path:
    """Draw N digits into a folder, each where `name` says with its number, its label and its writer."""
    for k, y in enumerate(LABELS):
        draw(folder / name.format(k=k, y=y, writer=["anna", "ben", "carl", "dora"][k % 4]), k)
    return folder


def check(found: Dataset) -> None:
    assert len(found) == N
    assert found.classes == tuple("0123456789")
    assert np.bincount(found.labels).tolist() == np.bincount(LABELS).tolist()


WORKING = ["{y}/{k}.png", "train/{y}/{k}.png", "{y}/{writer}/{k}.png", "{y}_{k}.png"]


@pytest.mark.parametrize("name", [*WORKING, "Train/{y}/x{k}.PNG"])
def test_layouts_that_work(name: str, tmp_path: Path) -> None:
    found = load_source(str(layout(tmp_path / "mine", name)))
    check(found)
    assert found.notes == ()


def packed(folder: Path, target: Path, prefix: str = "") -> str:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, prefix + str(path.relative_to(folder)))
    return str(target)


@pytest.mark.parametrize("prefix", ["", "a/b/"])
@pytest.mark.parametrize("name", WORKING)
def test_they_work_inside_a_zip(name: str, prefix: str, tmp_path: Path) -> None:
    folder = layout(tmp_path / "mine", name)
    found, plain = load_source(packed(folder, tmp_path / "a.zip", prefix)), load_source(str(folder))
    np.testing.assert_array_equal(found.pictures, plain.pictures)
    np.testing.assert_array_equal(found.labels, plain.labels)
    assert found.row_name(3) == f"{tmp_path}/a.zip:3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "mine"]


@pytest.mark.parametrize("name", ["test", "val", "Valid", "testing"])
def test_a_folder_beside_train_is_its_test_part(name: str, tmp_path: Path) -> None:
    folder = layout(tmp_path / "mine", "train/{y}/{k}.png")
    for k in range(40, 60):
        draw(folder / name / str(DIGITS.labels[k]) / f"{k}.png", k)
    settings = DataSettings(str(folder))
    assert source_of_test(settings) == str(folder / name)
    check(load_data(settings))
    assert len(load_source(str(folder / name))) == 20
    inside = packed(folder, tmp_path / "a.zip")
    part = source_of_test(DataSettings(inside))
    assert part in (f"{inside}#test", f"{inside}#validation")
    np.testing.assert_array_equal(load_source(str(part)).pictures, load_source(str(folder / name)).pictures)


def test_of_three_parts_the_validation_pictures_are_learned_from_too(tmp_path: Path) -> None:
    folder = layout(tmp_path / "mine", "train/{y}/{k}.png")
    for k in range(40, 60):
        for part in ("valid", "test"):
            draw(folder / part / str(DIGITS.labels[k]) / f"{k}.png", k)
    found = load_source(str(folder))
    assert len(found) == N + 20
    assert found.notes == ("valid/ is joined to the training pictures, of which a part is for validation",)
    assert source_of_test(DataSettings(str(folder))) == str(folder / "test")


def test_folders_of_writers_are_groups(tmp_path: Path) -> None:
    found = load_source(str(layout(tmp_path / "mine", "{y}/{writer}/{k}.png")))
    assert found.groups is not None
    assert found.paths is not None
    writers = [Path(path).parent.name for path in found.paths]
    assert [["anna", "ben", "carl", "dora"][k] for k in found.groups] == writers
    assert split_kind(found, DataSettings()) == "writers"


def test_writers_may_come_first_where_the_inner_folders_are_digits(tmp_path: Path) -> None:
    found = load_source(str(layout(tmp_path / "mine", "{writer}/{y}/{k}.png")))
    check(found)
    assert found.groups is not None
    assert len(set(found.groups.tolist())) == 4


def test_folders_around_a_data_set_do_not_matter(tmp_path: Path) -> None:
    folder = layout(tmp_path / "outer", "mnist_png/train/{y}/{k}.png")
    draw(folder / "mnist_png/test/3/1.png", 3)
    check(load_source(str(folder)))
    assert source_of_test(DataSettings(str(folder))) == str(folder / "mnist_png/test")


def test_too_few_writers_are_no_groups(tmp_path: Path) -> None:
    for k, y in enumerate(LABELS):
        draw(tmp_path / f"mine/{y}/{'ab'[k % 2]}/{k}.png", k)
    assert load_source(f"{tmp_path}/mine").groups is None


def test_what_systems_leave_about_is_not_looked_at_and_other_files_are_said(tmp_path: Path) -> None:
    folder = layout(tmp_path / "mine", "{y}/{k}.png")
    for name in (
        ".DS_Store",
        "1/Thumbs.db",
        "desktop.ini",
        "1/._3.png",
        "__MACOSX/1/._3.png",
        ".ipynb_checkpoints/a.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    check(load_source(str(folder)))
    assert load_source(str(folder)).notes == ()
    check(load_source(packed(folder, tmp_path / "a.zip")))
    for name in ("notes.txt", "1/labels.csv", "2/scan.pdf", "3/deep/er/x.txt", "loose.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    found = load_source(str(folder))
    check(found)
    assert found.notes == ("5 files left out (not a picture of a class): labels.csv, scan.pdf, er and 2 more",)


def test_a_heic_is_never_passed_over(tmp_path: Path) -> None:
    folder = layout(tmp_path / "mine", "{y}/{k}.png")
    (folder / "3/IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    with pytest.raises(DataError, match=r"IMG_1.HEIC: "):
        load_source(str(folder))


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_source(str(folder))
    return caught.value.problems[-1]


def test_a_layout_that_does_not_work_is_told_what_does(tmp_path: Path) -> None:
    ways = "what works: CLASS/picture.png; train/CLASS/picture.png beside test/; CLASS_1.png, the class in its name"
    folder = layout(tmp_path / "empty", "{y}/{k}.png")
    (folder / "10").mkdir()
    assert refused(folder) == f"{folder}/10: no pictures in the folder of this class; {ways}"
    deep = layout(tmp_path / "deep", "a/{y}/b/c/{k}.png")
    assert refused(deep) == f"{deep}: {deep}/a/0/b/c is a folder in a folder in a folder; {ways}"
    for name in ("one/{k}.png", "scan {k}.png", "{writer}{k}.png"):
        assert refused(layout(tmp_path / name[:3], name)).endswith(ways)


def test_names_say_a_class_first_or_last(tmp_path: Path) -> None:
    check(load_source(str(layout(tmp_path / "first", "{y}_{k}.png"))))
    check(load_source(str(layout(tmp_path / "last", "{k:03}-{y}.png"))))
    check(load_source(str(layout(tmp_path / "middle", "img-{y}-writer{k}-7.png"))))
    for k in range(10):
        draw(tmp_path / f"few/img_{LABELS[k]}.png", k)
    assert load_source(f"{tmp_path}/few").labels.tolist() == list(range(10))
    for k, y in enumerate(LABELS):
        draw(tmp_path / f"both/{y}_{k // 10}.png", k)
    message = (
        "the first word of a picture's name or the last may be its class, such as in 0_0.png; set data.label=first or"
    )
    assert message in refused(tmp_path / "both")
    settings = DataSettings(f"{tmp_path}/both", label="first")
    check(load_data(settings))


# ---- zips ----------------------------------------------------------------------------------------------------------


def zipped(path: Path, **files: bytes) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return str(path)


TABLE = "\n".join(["label,a,b,c,d", *(f"{k % 3},0,1,2,{k}" for k in range(30))]).encode()


def test_a_table_or_an_npz_in_a_zip_is_read_in_place(tmp_path: Path) -> None:
    found = load_source(zipped(tmp_path / "a.zip", data__train_csv=TABLE))
    assert (len(found), found.classes, found.row_name(2)) == (30, ("0", "1", "2"), f"{tmp_path}/a.zip:2")
    pictures = DIGITS.pictures[:N]
    np.savez(tmp_path / "m.npz", x_train=pictures, y_train=LABELS, x_test=pictures[:9], y_test=LABELS[:9])
    path = zipped(tmp_path / "b.zip", m_npz=(tmp_path / "m.npz").read_bytes())
    assert len(load_source(path)) == N
    assert source_of_test(DataSettings(path)) == f"{path}#test"
    assert len(load_source(f"{path}#test")) == 9


def test_a_zip_of_something_else_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = zipped(tmp_path / "two.zip", train_csv=TABLE, test_csv=TABLE)
    assert refused(Path(two)) == f"{two}: holds train.csv, test.csv; unpack it, and name one of them"
    none = zipped(tmp_path / "none.zip", a_txt=b"x")
    assert refused(Path(none)) == f"{none}: holds a.txt; expected a table, an npz file or pictures; unpack it"
    (tmp_path / "bad.zip").write_bytes(b"PK no more")
    assert refused(tmp_path / "bad.zip").startswith(f"{tmp_path}/bad.zip: a damaged zip (")
    listed = zipped(tmp_path / "list.zip", a_csv=b"file,label\nx.png,1\ny.png,2\n")
    assert refused(Path(listed)) == f"{listed}: names picture files, which does not work inside a zip; unpack it"
    pictures = packed(layout(tmp_path / "mine", "{y}/{k}.png"), tmp_path / "p.zip")
    with pytest.raises(DataError, match="holds pictures; unpack it, and give the folder"):
        zip_file.load(pictures, Wanted(only_pictures=True))
    monkeypatch.setattr(zip_file, "MAX_UNPACKED", 100)
    assert "more than 4 GB unpacked" in refused(Path(two))
    monkeypatch.setattr(zip_file, "MAX_MEMBERS", 1)
    assert "than 1 files" in refused(Path(two))


def test_a_directory_that_lies_about_sizes_is_found_out(tmp_path: Path) -> None:
    path = Path(zipped(tmp_path / "a.zip", a_csv=TABLE + b"\n" * 100_000))
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\x01\x02") + 24
    raw[place : place + 4] = struct.pack("<I", len(TABLE))
    path.write_bytes(raw)
    try:
        assert len(load_source(str(path))) <= 30
    except DataError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017


@pytest.mark.parametrize("name", ["../../outside/0.png", "/etc/0.png", "a/../../0.png", "C:\\x\\0.png"])
def test_names_in_a_zip_never_become_paths(name: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.zip"
    folder = layout(tmp_path / "mine", "{y}/{k}.png")
    path.parent.mkdir()
    packed(folder, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, (folder / "0/0.png").read_bytes())
    before = sorted(tmp_path.rglob("*"))
    try:
        load_source(str(path))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
    assert sorted(tmp_path.rglob("*")) == before


def with_directory(path: Path, entries: bytes) -> Path:
    """Write a zip that is nothing but a directory, which claims no number of entries."""
    path.write_bytes(entries + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0, 0, len(entries), 0, 0))
    return path


def test_a_directory_is_bounded_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (b"PK\1\2" + bytes(42)) * 100_000
    monkeypatch.setattr(zip_directory, "MAX_READ", len(entries) - 1)
    monkeypatch.setattr(zipfile.ZipInfo, "__init__", lambda *a, **k: pytest.fail("an entry was made"))
    for name in ("a.zip", "a.npz"):
        path = with_directory(tmp_path / name, entries)
        assert refused(path) == f"{path}: a zip of too many files; unpack it"


@pytest.mark.parametrize("name", ["a.zip", "a.npz"])
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_zipfile_would_unpack_whole_is_not_unpacked(name: str, method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
        archive.writestr("images.npy", bytes(1000))
    assert (
        refused(tmp_path / name)
        == f"{tmp_path}/{name}: compressed by a method other than deflate; unpack it, or compress it again"
    )


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = Path(zipped(tmp_path / "a.zip", a_csv=TABLE))
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(raw)
    assert refused(path) == f"{path}: encrypted; unpack it"


def test_folders_and_names_in_a_zip_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*names: str) -> Path:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name in names:
                archive.writestr(name, b"")
        return tmp_path / "a.zip"

    assert refused(made("x" * 600 + ".csv")).endswith("a.zip: a name of more than 500 characters")
    assert refused(made(*(f"{k}/a.png" for k in range(3)), "3.png", "3.png/a.png")).endswith("have the same name")
    assert refused(made("3/a.png/b.png", "3/a.png")).endswith("have the same name")
    monkeypatch.setattr(zip_file, "MAX_FOLDERS", 9)
    told = refused(made(*(f"{k}/a.png" for k in range(10))))
    assert told.endswith("a.zip: more than 9 folders; unpack it, and give the folder")
    monkeypatch.setattr(Path, "is_dir", lambda self: "odd" in str(self) and pytest.fail("a name became a path"))
    assert "odd.csv" in refused(made("odd.csv", "odd.tsv"))


def test_pictures_in_no_folders_are_sorted_out_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, n_compared = layout(tmp_path / "mine", "{y}_{k}.png"), 0
    compare = Path.__eq__

    def counted(one: Path, other: object) -> bool:
        nonlocal n_compared
        n_compared += 1
        return compare(one, other)

    monkeypatch.setattr(type(folder), "__eq__", counted)
    monkeypatch.setattr(type(folder), "__hash__", Path.__hash__)
    check(load_source(str(folder)))
    assert n_compared < 4 * N


# ---- idx -----------------------------------------------------------------------------------------------------------


def idx(path: Path, array: NDArray[np.uint8], *, pack: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if pack else raw)


PICTURES = DIGITS.pictures[:N]
INDICES = DIGITS.labels[:N].astype(np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "source"),
    [
        ("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte", "MNIST"),
        ("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte", "MNIST/raw"),
        ("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte", "."),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", "train-images.idx3-ubyte"),
        ("TRAIN-IMAGES-IDX3-UBYTE", "TRAIN-LABELS-IDX1-UBYTE", "TRAIN-IMAGES-IDX3-UBYTE"),
        ("a/train-images-idx3-ubyte/train-images-idx3-ubyte", "a/train-labels-idx1-ubyte/train-labels-idx1-ubyte", "a"),
        (
            "train-images-idx3-ubyte/train-images-idx3-ubyte",
            "train-labels-idx1-ubyte/train-labels-idx1-ubyte",
            "train-images-idx3-ubyte/train-images-idx3-ubyte",
        ),
    ],
)
@pytest.mark.parametrize("pack", [False, True])
def test_idx_files_are_found_where_others_put_them(
    images: str, labels: str, source: str, pack: bool, tmp_path: Path
) -> None:
    idx(tmp_path / images, PICTURES, pack=pack)
    idx(tmp_path / labels, INDICES, pack=not pack)
    found = load_source(str(tmp_path / source))
    np.testing.assert_array_equal(found.pictures, PICTURES)
    np.testing.assert_array_equal(found.labels, INDICES)


def test_names_that_lie_about_being_packed_do_not_matter(tmp_path: Path) -> None:
    idx(tmp_path / "train-images-idx3-ubyte.gz", PICTURES)
    idx(tmp_path / "train-labels-idx1-ubyte.gz", INDICES)
    assert len(load_source(f"{tmp_path}/train-images-idx3-ubyte.gz")) == N


def test_the_t10k_files_of_a_folder_are_its_test_part(tmp_path: Path) -> None:
    for part, n in (("train", N), ("t10k", 9)):
        for pack in (False, True):  # torchvision leaves both
            suffix = ".gz" if pack else ""
            idx(tmp_path / f"MNIST/raw/{part}-images-idx3-ubyte{suffix}", PICTURES[:n], pack=pack)
            idx(tmp_path / f"MNIST/raw/{part}-labels-idx1-ubyte{suffix}", INDICES[:n], pack=pack)
    test = source_of_test(DataSettings(f"{tmp_path}/MNIST"))
    assert test == f"{tmp_path}/MNIST/raw/t10k-images-idx3-ubyte"
    assert len(load_source(test)) == 9
    assert len(load_source(f"{tmp_path}/MNIST")) == N
    idx(tmp_path / "MNIST/raw/emnist-letters-train-images-idx3-ubyte", PICTURES)
    with pytest.raises(DataError, match=r"holds emnist-letters-.*, train-images-idx3-ubyte; name one of these files$"):
        load_source(f"{tmp_path}/MNIST")
