import gzip
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers import idx
from backprop_cli.data.sources import load_source
from backprop_cli.errors import DataError

IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
LABELS = np.array([7, 2, 7, 11], np.uint8)
HUGE = 2**32 - 1


def packed(array: Any, shape: tuple[int, ...] | None = None, magic: bytes | None = None) -> bytes:
    """Return an idx file, its header true or not."""
    shape = array.shape if shape is None else shape
    return (magic or bytes((0, 0, 8, len(shape)))) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


def written(folder: Path, images: bytes, labels: bytes | None = None, name: str = "train-images-idx3-ubyte") -> Path:
    pack = gzip.compress if name.endswith(".gz") else bytes
    (folder / name).write_bytes(pack(images))
    if labels is not None:
        (folder / name.replace("images", "labels").replace("idx3", "idx1")).write_bytes(pack(labels))
    return folder / name


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_source(str(path))
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz", "images.idx3-ubyte", "my-images-idx3.GZ"]
)
def test_a_pair_of_files_becomes_a_data_set(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, packed(IMAGES), packed(LABELS), name.replace(".GZ", ".gz"))
    data = load_source(str(path))
    np.testing.assert_array_equal(data.pictures, IMAGES)
    assert (data.classes, data.labels.tolist(), data.name) == (("2", "7", "11"), [1, 0, 1, 2], str(path))


def test_without_its_labels_it_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, packed(IMAGES))
    assert refusal(path) == f"{tmp_path}/train-labels-idx1-ubyte: there is no such file"
    assert refusal(tmp_path / "x-images-idx3") == f"{tmp_path}/x-images-idx3: there is no such file"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images-idx3")
    assert refusal(tmp_path / "images-idx3") == f"{tmp_path}/images-idx3: not a regular file"


@pytest.mark.parametrize("name", ["images-idx3", "images-idx3.gz"])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (b"", "not an idx3 file of unsigned bytes"),
        (packed(IMAGES)[:15], "not an idx3 file of unsigned bytes"),
        (packed(LABELS), "not an idx3 file of unsigned bytes"),
        (packed(IMAGES, magic=b"\0\0\x0d\x03"), "not an idx3 file of unsigned bytes"),
        (packed(IMAGES, magic=b"\0\0\x08\x01"), "not an idx3 file of unsigned bytes"),
        (packed(IMAGES)[:-1], "only 23 bytes follow its header, which says 24"),
        (packed(IMAGES) + b"\0", "more bytes follow its header, which says 24"),
        (packed(IMAGES, (60_000, 28, 28)), "only 24 bytes follow its header, which says 47,040,000"),
        (packed(IMAGES, (HUGE, HUGE, HUGE)), "more than 4 GB unpacked"),
        (packed(IMAGES, (0, 3, 2)), "more bytes follow its header, which says 0"),
        (packed(IMAGES[:0]), "images must be numbers of shape (n, height, width), not uint8 of shape (0, 3, 2)"),
        (packed(IMAGES[:3]), None),
    ],
)
def test_a_header_that_lies_is_refused(name: str, images: bytes, message: str | None, tmp_path: Path) -> None:
    n = 0 if len(images) == 16 else 4
    path = written(tmp_path, images, packed(LABELS[:n]), name)
    labels = path.with_name(name.replace("images", "labels").replace("idx3", "idx1"))
    expected = f"{path}: {message}" if message else f"{labels}: 4 labels, but {name} has 3 pictures"
    assert refusal(path) == expected


def test_a_bomb_is_unpacked_no_further_than_its_header_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, packed(np.zeros(50_000_000, np.uint8), (1, 1, 100)), packed(LABELS), "images-idx3.gz")
    read: list[int] = []
    inner = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        read.append(len(part := inner(self, size)))
        return part

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    assert "more bytes" in refusal(path)
    assert sum(read) < 1000


def test_the_limit_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, packed(IMAGES), packed(LABELS))
    monkeypatch.setattr(idx, "MAX_UNPACKED", 24)
    assert len(load_source(str(path))) == 4
    monkeypatch.setattr(idx, "MAX_UNPACKED", 23)
    assert refusal(path) == f"{path}: more than 4 GB unpacked"


def test_a_damaged_file_is_a_data_set_or_a_refusal(tmp_path: Path) -> None:
    path = written(tmp_path, packed(IMAGES), packed(LABELS), "images-idx3.gz")
    whole, rng, refusals = path.read_bytes(), np.random.default_rng(0), []
    for place in range(len(whole)):
        raw = bytearray(whole)
        raw[place] ^= int(rng.integers(1, 256))
        path.write_bytes(raw)
        try:
            assert isinstance(load_source(str(path)), Dataset)
        except DataError as error:
            refusals.append(str(error))
        path.write_bytes(whole[:place])
        assert refusal(path).startswith(str(path))
    assert all(line.startswith(str(path)) for line in refusals)


def test_a_header_of_nothing_many_times_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, packed(IMAGES[:0], (HUGE, 0, HUGE)), packed(LABELS[:0]))
    assert refusal(path) == f"{path}: more than 4 GB unpacked"
