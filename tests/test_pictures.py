"""The maker of photo-like pictures in benchmarks: every kind is a file that opens, and equal seeds give equal files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from backprop_cli.data.image import read_picture
from backprop_cli.data.normalize import bitmap
from benchmarks.make_pictures import KINDS, Picture, make_pictures
from benchmarks.pictures import table

LABELS = load_digits().target[:40]
DIGITS = np.pad(np.uint8(255) * bitmap(load_digits().images[:40]), ((0, 0), (6, 6), (6, 6)))  # made up: 44x44

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF"}
SIZES = {"straight": (44, 44), "tiny": (10, 14), "huge": (4000, 3000)}
MODES = {"16-bit gray": "I;16", "palette": "P", "1-bit": "1", "cmyk jpeg": "CMYK", "black on nothing": "RGBA"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    return make_pictures(DIGITS, LABELS, tmp_path_factory.mktemp("pictures"), seed=3, per_kind=1)


def test_every_kind_is_written_opens_and_has_a_digit(made: list[Picture]) -> None:
    assert [picture.kind for picture in made] == list(KINDS)
    for path, kind, label in made:
        with Image.open(path) as image:
            assert image.format == FORMATS[path.suffix[1:]]
            assert kind not in SIZES or image.size == SIZES[kind]
            assert kind not in MODES or image.mode == MODES[kind]
            assert (image.getexif().get(0x0112, 1) != 1) == (kind == "turned by exif")
        assert 0 <= label <= 9
        assert (read_picture(path).levels > 0.5).any()


@pytest.mark.slow
def test_a_kind_depends_on_the_seed_and_its_name_only(made: list[Picture], tmp_path: Path) -> None:
    few = [name for name in KINDS if name != "huge"][::-1]
    again = make_pictures(DIGITS, LABELS, tmp_path / "again", seed=3, per_kind=2, kinds=few)
    other = make_pictures(DIGITS, LABELS, tmp_path / "other", seed=4, per_kind=1, kinds=few)
    first = {picture.kind: picture for picture in made}
    for same, different in zip(again[::2], other, strict=True):
        assert same.label == first[same.kind].label
        assert same.path.read_bytes() == first[same.kind].path.read_bytes()
        assert different.path.read_bytes() != first[same.kind].path.read_bytes()


def test_the_table_counts_by_kind() -> None:
    made = [Picture(Path(f"{n}.png"), "gif" if n < 2 else "webp", n) for n in range(4)]
    answers = {"0.png": ("0", True), "1.png": (None, False), "2.png": ("2", False), "3.png": ("3", False)}
    assert table(made, answers, "all") == [
        "| webp | 2 | 100.0 | 34.2 - 100.0 | 0 |",
        "| gif | 2 | 50.0 | 9.5 - 90.5 | 1 |",
        "| **all** | 4 | 75.0 | 30.1 - 95.4 | 1 |",
    ]
