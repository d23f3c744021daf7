"""Digits in a row are found, each by itself, and read from left to right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLES, answer, document, refusal
from PIL import Image

from backprop_cli.data.digit_row import digits_in_row
from backprop_cli.errors import PictureError

DIGITS = ("4-1419", "1-1416", "3-", "0-", "7-", "5-")


def sample(digit: str) -> Path:
    return sorted(SAMPLES.glob(f"{digit}*.png"))[0]


def row_of(names: tuple[str, ...], path: Path, *, gap: int = 12, light: bool = False) -> str:
    """Write samples beside each other, on one ground; return what stands there."""
    parts = [np.asarray(Image.open(sample(name)).convert("L").resize((48, 64))) for name in names]
    parts = [255 - part if part[0].mean() < 128 else part for part in parts]  # dark on light, all of them
    blank = np.full((64, gap), 255, np.uint8)
    picture = np.pad(np.hstack([piece for part in parts for piece in (part, blank)]), 20, constant_values=255)
    Image.fromarray(255 - picture if light else picture).save(path)
    return "".join(name[0] for name in names)


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("names", [DIGITS, DIGITS[::-1], DIGITS[:1], ("5-", "5-", "1-")])
def test_the_digits_are_found_in_order_with_their_boxes(names: tuple[str, ...], light: bool, tmp_path: Path) -> None:
    row_of(names, tmp_path / "row.png", light=light)
    found = digits_in_row(tmp_path / "row.png")
    assert len(found) == len(names)
    lefts = [one.box[0] for one in found]
    assert lefts == sorted(lefts)
    for one in found:
        left, top, right, bottom = one.box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        assert one.levels.max() == 1.0
        assert not one.is_wide


def test_touching_digits_are_told_to_be_wide(tmp_path: Path) -> None:
    picture = np.full((60, 160), 255, np.uint8)
    picture[10:50, 20:24] = picture[10:50, 120:124] = picture[28:32, 20:124] = 0
    Image.fromarray(picture).save(tmp_path / "h.png")
    (one,) = digits_in_row(tmp_path / "h.png")
    assert one.is_wide


def test_a_blank_picture_has_no_row(tmp_path: Path) -> None:
    Image.new("L", (80, 40), 255).save(tmp_path / "blank.png")
    with pytest.raises(PictureError, match=r"blank\.png: blank"):
        digits_in_row(tmp_path / "blank.png")


def test_predict_reads_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = row_of(DIGITS, tmp_path / "row.png")
    (found,) = document("predict", "row.png", "--digits", "many")["predictions"]
    assert found["text"] == text
    assert [one["predicted"] for one in found["digits"]] == list(text)
    assert {"predicted", "probability", "box"} <= found["digits"][0].keys()
    assert answer("predict", "row.png", "--digits", "many").startswith(f"{text}   ({text[0]}: ")
    (tmp_path / "not.png").write_text("no picture")
    both = document("predict", "row.png", "not.png", "--digits", "many", code=1)["predictions"]
    assert both[0]["text"] == text
    assert "not a picture" in both[1]["error"]


def test_what_does_not_go_together_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--show" in refusal("predict", "x.png", "--digits", "many", "--show")
    assert "one digit each" in refusal("predict", "digits:3", "--digits", "many")


def test_pieces_that_stand_above_each_other_are_one_digit(tmp_path: Path) -> None:
    row_of(("3-", "0-", "5-"), tmp_path / "row.png")
    picture = np.array(Image.open(tmp_path / "row.png"))
    half = picture.shape[0] // 2
    picture[half - 1 : half + 2] = 255  # paper through the middle of all of them
    Image.fromarray(picture).save(tmp_path / "broken.png")
    assert len(digits_in_row(tmp_path / "broken.png")) == 3
