"""A picture enters once: whatever a person gives becomes the same grid, or an error that says what would be right."""

from __future__ import annotations

import io
import os
import pathlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SAMPLES
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import backprop_cli as backprop
from backprop_cli.api.pictures import PictureInput, expanded, picture_input
from backprop_cli.data.dataset import load_digits

PICTURE = SAMPLES / "4-1419.png"
MODEL = backprop.load("pretrained")


class ArrayLike:
    """What torch and pandas have: something that NumPy can make an array of."""

    def __init__(self, levels: Any) -> None:
        self.levels = levels

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.levels


class Own(Image.Image):
    """A picture as libraries around Pillow make them."""

    def __init__(self, picture: Image.Image) -> None:
        super().__init__()
        self._im, self._mode, self._size, self.info = picture.im, picture.mode, picture.size, {}


def given_picture(source: Any) -> PictureInput:
    return picture_input(source, MODEL.predictor)


def test_the_same_picture_is_the_same_input_however_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    content, picture = PICTURE.read_bytes(), Image.open(PICTURE)
    picture.load()
    levels = np.asarray(picture.convert("L"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    rgb = np.stack([levels] * 3, axis=2)
    ways = {
        "path": PICTURE,
        "text": str(PICTURE),
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "stdin": "-",
        "picture": picture,
        "gray": levels,
        "one channel": levels[:, :, None],
        "RGB": rgb,
        "RGBA": np.concatenate([rgb, np.full_like(rgb[:, :, :1], 255)], axis=2),
        "floats": levels / 255.0,
        "float32": (levels / 255.0).astype(np.float32),
        "Fortran order": np.asfortranarray(levels),
        "an open file": io.BytesIO(content),
        "PathLike": pathlib.PurePath(PICTURE),
        "an array of another kind": ArrayLike(levels),
        "a class of one's own": Own(picture),
        "masked": np.ma.masked_array(levels),
        "a view": np.repeat(levels, 2, axis=1)[:, ::2],
    }
    expected = given_picture(PICTURE)
    assert expected.error is None
    for name, source in ways.items():
        found = given_picture(source)
        assert found.error is None, name
        np.testing.assert_array_equal(found.grid, expected.grid, name)
        np.testing.assert_array_equal(found.ink, expected.ink, name)
    names = [given_picture(ways[name]).name for name in ("path", "bytes", "picture", "gray")]
    assert names == [str(PICTURE), "bytes", "picture", "array"]


def test_what_is_given_is_left_as_it_is() -> None:
    picture = Image.open(PICTURE).convert("RGB")
    picture.getexif()[0x0112] = 6  # lies on its side
    before, levels = picture.tobytes(), np.asarray(picture)
    given_picture(picture)
    assert (picture.tobytes(), picture.size, picture.getexif()[0x0112]) == (before, picture.size, 6)
    given_picture(levels)
    assert levels.tobytes() == before


def test_a_picture_that_lies_on_its_side_is_turned_as_its_file_is() -> None:
    upright = Image.open(PICTURE).convert("L")
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    again = Image.open(io.BytesIO(buffer.getvalue()))
    np.testing.assert_array_equal(given_picture(again).grid, given_picture(upright).grid)


def test_bool_arrays_are_pictures() -> None:
    strokes = np.zeros((40, 40), np.bool_)
    strokes[5:35, 18:23] = True
    assert MODEL.predict(strokes).predicted == MODEL.predict(strokes.astype(np.float64)).predicted == "1"


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros(64), r"array of shape \(64,\): one picture is \(height, width\), or with 3 or 4 channels"),
        (np.zeros((3, 28, 28, 3)), "array of shape"),
        (np.zeros((28, 28, 2)), "array of shape"),
        (np.zeros((0, 28)), "array of shape"),
        (np.zeros((28, 28), object), "array of object: a picture is uint8, or from 0 to 1"),
        (np.full((28, 28), "x"), "array of <U1"),
        (np.zeros((28, 28), complex), "array of complex128"),
        (np.linspace(0, 16, 784).reshape(28, 28), "array of float64 from 0 to 16: a picture is uint8, or from 0 to 1"),
        (np.linspace(-1, 1, 784).reshape(28, 28), "array of float64 from -1 to 1"),
        (np.full((28, 28), np.nan), "array of float64 from nan to nan"),
        (np.full((28, 28), 200), "array of int64 from 200 to 200"),
        (np.full((16, 16), 16, np.uint8), r"array of \(16, 16\) up to 16: too dark"),
    ],
)
def test_an_array_that_is_no_picture_names_the_other_call(array: Any, problem: str) -> None:
    with pytest.raises(backprop.ArgumentError, match=problem) as caught:
        MODEL.predict(array)
    assert "predict_proba takes what the network itself sees" in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("source", [5, None, 0.5, {"a": 1}, object(), [[0, 1], [1, 0]], io.StringIO("x")])
def test_what_is_no_picture_at_all_is_refused(source: Any) -> None:
    with pytest.raises(backprop.UsageError, match="expected a path, bytes, a Pillow image or an array"):
        MODEL.predict(source)


def test_what_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    sources = [b"", b"GIF89a", str(tmp_path / "none.png"), tmp_path, "nul\0.png", "x" * 5000, Image.new("L", (9, 9))]
    for source in sources:
        found = given_picture(source)
        assert found.error is not None
        assert found.grid is None
        assert "\n" not in found.error
        with pytest.raises(backprop.PictureError):
            MODEL.predict(source)
        with pytest.raises(backprop.PictureError):
            _ = found.pixels
    assert given_picture(b"").error == "bytes: empty file; expected PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, HEIC or PNM"


def test_pictures_of_pillow_are_bounded_too() -> None:
    several = io.BytesIO()
    Image.new("L", (20, 20)).save(several, "GIF", save_all=True, append_images=[Image.new("L", (20, 20), 9)])
    assert "animated or of several pages" in str(given_picture(Image.open(several)).error)
    assert "more than 100 megapixels" in str(given_picture(Image.new("1", (20_000, 5_001))).error)
    cut = Image.open(io.BytesIO(PICTURE.read_bytes()[:300]))
    assert "damaged picture" in str(given_picture(cut).error)


def test_counts_reach_the_models_own_full_ink(work: Path) -> None:
    """A sample and its picture come in the counts that the model was trained on, whatever full ink is there."""
    by_full = {}
    for full in (1.0, 16.0, 255.0):
        change = {"training.epochs": 1, "data.max_value": full, "data.picture": "8x8"}
        model = backprop.train(backprop.load_config("quick", change), run_dir=False).model
        found = picture_input("digits:1419", model.predictor)
        assert found.max_value == full
        by_full[full] = found.pixels
        assert picture_input(PICTURE, model.predictor).grid is not None
    np.testing.assert_allclose(by_full[1.0], by_full[255.0])
    np.testing.assert_array_equal(by_full[16.0], load_digits().pictures[1419] / 16.0)


def test_folders_are_walked_in_order_and_only_folders(tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c.png").mkdir()
    inside = [str(tmp_path / "a.PNG"), str(tmp_path / "b.png")]
    assert list(expanded(tmp_path)) == list(expanded([str(tmp_path)])) == inside
    assert [list(expanded(one)) for one in ("-", "")] == [["-"], [""]]
    assert (
        list(expanded([tmp_path, "x.png", b""]))
        == list(expanded(iter([tmp_path, "x.png", b""])))
        == [*inside, "x.png", b""]
    )
    with pytest.raises(backprop.UsageError, match="no pictures in this folder"):
        expanded(tmp_path / "c.png")


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.float32, np.float64, np.bool_]),
        arrays.array_shapes(min_dims=2, max_dims=3, max_side=40),
        elements={"min_value": 0, "max_value": 1},
    )
)
def test_any_array_is_read_or_refused(array: np.ndarray[Any, Any]) -> None:
    channels = array.shape[2] if array.ndim == 3 else 1
    if channels in (1, 3, 4) and array.shape != (16, 16):
        found = given_picture(array)
        assert (found.grid is None) == (found.error is not None)


def test_a_picture_that_is_opened_lazily_may_be_shared_by_threads() -> None:
    expected = MODEL.predict(PICTURE).to_dict() | {"path": "picture"}
    for _ in range(5):
        shared, answers = Image.open(PICTURE), []
        threads = [threading.Thread(target=lambda s=shared, a=answers: a.append(MODEL.predict(s))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [answer.to_dict() for answer in answers] == [expected] * 6


def test_an_iterator_is_asked_for_one_picture_after_the_other() -> None:
    asked = []

    def pictures() -> Iterator[Any]:
        for k in range(3):
            asked.append(k)
            yield PICTURE

    answers = MODEL.predict_many(pictures())
    assert asked == []
    next(answers)
    assert asked == [0]
    assert len(list(answers)) == 2


def test_without_standard_input_there_is_nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(backprop.UsageError, match="-: there is no standard input to read"):
        MODEL.predict("-")


def test_too_much_on_standard_input_is_a_picture_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(os.urandom(1000) * 50_001)))
    assert given_picture("-").error == "-: larger than 50 MB; save the picture smaller"
