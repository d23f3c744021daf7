"""Tests of backprop_cli.data.ink and warnings: digits on all kinds of ground, and pictures that hold none."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nonsense import NONSENSE, Gray, as_picture
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

from backprop_cli.data.image import decode, read_picture
from backprop_cli.data.ink import Invert, ink_of
from backprop_cli.data.normalize import bitmap, normalize
from backprop_cli.errors import PictureError

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"
SIDE = 200


def placed_digit(row: int) -> Gray:
    """Return one digit, off the middle, bright ink on 0."""
    ink = Image.fromarray((255 * bitmap(load_digits().images[row : row + 1])[0]).astype(np.uint8))
    picture = Image.new("L", (SIDE, SIDE))
    picture.paste(ink.resize((112, 120), Image.Resampling.BICUBIC), (60, 40))
    return np.asarray(picture, np.float32) / 255


INK = placed_digit(4)
COUNTS = normalize(INK[None])[0]


def levels_of(gray: Gray, invert: Invert = "auto") -> Gray:
    return ink_of(gray, invert).levels


def mean_difference(gray: Gray) -> float:
    return float(np.abs(normalize(levels_of(gray)[None])[0] - COUNTS).mean())


def test_forced_polarity_is_obeyed() -> None:
    dark, light = 1 - INK, INK
    assert np.array_equal(levels_of(dark, "no"), levels_of(dark))
    assert np.array_equal(levels_of(light, "yes"), levels_of(light))
    assert np.array_equal(levels_of(dark), levels_of(light))
    with pytest.raises(PictureError, match="blank"):
        ink_of(dark, "yes")


def test_the_border_votes_even_where_ink_fills_the_picture() -> None:
    ring = np.ones((40, 40), np.float32)
    ring[4:-4, 4:-4] = 0  # a big dark block on a narrow light ground: more ink than ground
    assert levels_of(ring)[20, 20] == 1
    assert levels_of(1 - ring)[20, 20] == 1
    assert levels_of(ring)[0].max() == 0


@settings(max_examples=30)
@given(st.floats(0.05, 0.4), st.floats(0.6, 1))
def test_ink_does_not_depend_on_the_shades(low: float, high: float) -> None:
    dark = 1 - INK[::2, ::2]
    for levels in (low + (high - low) * dark, high - (high - low) * dark):
        ink = levels_of(levels)
        assert ink.min() == 0
        assert ink.max() == 1
        assert np.mean(np.abs(ink - (1 - dark))) < 0.01


Y, X = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j].astype(np.float32)
NOISE = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
PAPER = 0.9 - 0.75 * INK

SCENES: dict[str, Gray] = {
    "a shadow": PAPER * np.where(X + 0.4 * Y > 0.8, 0.5, 1) * (1 - 0.3 * Y),
    "a shadow on a board": 1 - (1 - 0.8 * INK) * (1 - 0.5 * X),
    "grain": PAPER + 0.04 * NOISE,
    "faint pencil on grain": 0.9 - 0.2 * INK + 0.02 * NOISE,
    "ruled lines": np.minimum(PAPER, np.where((np.arange(SIDE) % 40 < 2)[:, None], 0.4, 1)),
    "a grid": np.minimum(
        PAPER, np.where((np.add.outer(np.arange(SIDE), 0 * X[0]) % 25 < 1) | (X * SIDE % 25 < 1), 0.4, 1)
    ),
    "a frame": np.minimum(PAPER, np.where(np.maximum(abs(X - 0.5), abs(Y - 0.5)) > 0.48, 0.2, 1)),
    "a frame inside": np.minimum(PAPER, np.where(abs(np.maximum(abs(X - 0.5), abs(Y - 0.5)) - 0.45) < 0.01, 0.2, 1)),
    "a dark desk on two sides": np.where((X + 0.1 * Y < 0.12) | (Y > 0.93), 0.2 + 0.03 * NOISE, PAPER + 0.01 * NOISE),
    "a black corner": np.where(X + Y < 0.15, 0.05, PAPER),
    "a crumb": np.minimum(PAPER, np.where(np.hypot(X - 0.9, Y - 0.9) < 0.02, 0.2, 1)),
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_digit_is_the_same_on_every_ground(scene: str) -> None:
    assert mean_difference(np.clip(SCENES[scene], 0, 1)) < 1.0
    assert ink_of(np.clip(SCENES[scene], 0, 1)).warnings == ()


STROKES = {  # drawn at 96 pixels, dark on light: long and thin, and yet of the digit
    "the bar of a 7": [((8, 14), (86, 16)), ((86, 16), (40, 90))],
    "the bar of a 4": [((40, 8), (10, 60)), ((8, 60), (88, 60)), ((60, 30), (60, 92))],
    "a 1": [((48, 4), (48, 90))],
    "a 1 with a foot": [((48, 8), (48, 88)), ((10, 88), (88, 88))],
}


@pytest.mark.parametrize("name", STROKES)
def test_a_long_thin_stroke_that_ends_before_the_edge_is_kept(name: str) -> None:
    picture = Image.new("L", (96, 96), 255)
    for start, end in STROKES[name]:
        ImageDraw.Draw(picture).line([start, end], fill=0, width=2)
    gray = np.asarray(picture, np.float32) / 255
    drawn = gray < 0.5
    assert (levels_of(gray)[drawn] > 0.5).mean() > 0.95


@pytest.mark.parametrize("is_dark", [True, False])
def test_a_panel_is_the_ground_of_its_digit(is_dark: bool) -> None:
    panel = 0.05 + 0.9 * (INK if is_dark else 1 - INK)
    figure = np.full((2 * SIDE, 2 * SIDE), 1.0 if is_dark else 0.0, np.float32)
    figure[SIDE // 2 : SIDE // 2 + SIDE, SIDE // 2 : SIDE // 2 + SIDE] = panel
    figure[SIDE : SIDE + 6, 6:12] = 0.5  # a tick beside it
    assert mean_difference(figure) < 1.0


def test_a_thick_zero_is_no_panel() -> None:
    picture = Image.new("L", (96, 96), 255)
    ImageDraw.Draw(picture).rectangle((20, 10, 75, 85), outline=0, width=14)  # square, as some displays write it
    gray = np.asarray(picture, np.float32) / 255
    found = levels_of(gray)
    assert found.shape == gray.shape
    assert (found[gray < 0.5] > 0.5).mean() > 0.95


@pytest.mark.parametrize("row", range(10))
def test_digits_cropped_to_their_ink_stay_whole(row: int) -> None:
    ink = placed_digit(row)
    ink = ink[np.ix_(ink.any(axis=1), ink.any(axis=0))]
    for gray in (ink, 1 - ink):
        assert np.abs(levels_of(gray) - ink).mean() < 0.02


def test_blank_pictures_have_no_ink() -> None:
    for gray in (np.full((50, 50), 0.7), 0.7 + 0.001 * NOISE, np.zeros((1, 1)), np.ones((1, 320)), np.ones((2, 3))):
        with pytest.raises(PictureError, match="blank"):
            ink_of(np.asarray(gray, np.float32))


@settings(max_examples=50)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))
def test_pictures_of_few_pixels_have_ink_or_are_blank(height: int, width: int, seed: int) -> None:
    gray = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    try:
        ink = ink_of(gray)
    except PictureError:
        return
    assert ink.levels.shape == gray.shape
    assert ink.levels.max() == 1
    assert ink.levels.min() >= 0


N_OF_A_KIND = 30


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_doubted(kind: str) -> None:
    """Measured once on 100 of each with a fresh seed: all are doubted but 4 of noise and 1 checkerboard."""
    rng = np.random.default_rng(1)
    silent = 0
    for _ in range(N_OF_A_KIND):
        picture = io.BytesIO()
        as_picture(NONSENSE[kind](rng)).save(picture, "PNG")
        try:
            silent += not read_picture(picture.getvalue()).warnings
        except PictureError as error:
            assert "blank" in str(error)  # noqa: PT017
    assert silent <= 1


@pytest.mark.slow
def test_real_digits_are_hardly_doubted() -> None:
    """Measured on digits of other people: 19 of 2,000 of MNIST, 2 of 1,000 of USPS, none of our samples."""
    with (SAMPLES / "labels.csv").open(encoding="utf-8") as file:
        assert [ink_of(decode(SAMPLES / row["file"])).warnings for row in csv.DictReader(file)] == [()] * 30
    bitmaps = np.pad(bitmap(load_digits().images[:500]), ((0, 0), (8, 8), (8, 8)))
    doubted = [ink_of(np.kron(1.0 - ink, np.ones((4, 4)))).warnings for ink in bitmaps]
    assert sum(map(bool, doubted)) <= 0.02 * len(doubted)
