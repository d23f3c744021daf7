"""Tests of backprop_cli.data.normalize."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from backprop_cli.data.normalize import (
    Slant,
    _gaussian,
    bitmap,
    block_counts,
    normalize,
    normalize_many,
    resampling,
)

Array = NDArray[np.float32]
SLANTS: tuple[Slant, ...] = ("edges", "moments", "none")

# The first digits of SHA-256, from a processor with AVX2; the same with other kernels and threads of BLAS.
GRIDS = {(8, 8): "e2271ed9", (16, 16): "c02157e7", (28, 28): "44ff962d"}
BITMAPS = "488dd08c"


@pytest.fixture(scope="module")
def digits() -> NDArray[np.float64]:
    images: NDArray[np.float64] = load_digits().images[:300]
    return images


@pytest.fixture(scope="module")
def bitmaps(digits: NDArray[np.float64]) -> Array:
    return bitmap(digits).astype(np.float32)


def enlarged(ink: Array, factor: int) -> Array:
    large: Array = np.repeat(np.repeat(ink, factor, axis=1), factor, axis=2)
    return large


def leaning_bar(slope: float, side: int = 60) -> Array:
    """Draw a thick bar that moves `slope` columns left per row downward."""
    y, x = np.mgrid[:side, : 2 * side]
    middle = side - slope * (y - side / 2)
    bar: Array = ((np.abs(x - middle) < 7) & (y >= 5) & (y < side - 5)).astype(np.float32)
    return bar[None]


def columns_of_row_ends(counts: Array) -> tuple[float, float]:
    columns = np.arange(counts.shape[1])
    top, bottom = counts[0], counts[-1]
    return float(columns @ top / top.sum()), float(columns @ bottom / bottom.sum())


def test_block_counts_of_a_hand_made_bitmap() -> None:
    ink = np.zeros((1, 8, 12), np.bool_)
    ink[0, :4, :4] = True
    ink[0, 5, 3:6] = True
    assert block_counts(ink).tolist() == [[[16, 0, 0], [1, 2, 0]]]


@settings(max_examples=40)
@given(arrays(np.int8, st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 16)))
def test_bitmap_has_exactly_the_counts(counts: NDArray[np.int8]) -> None:
    assert np.array_equal(block_counts(bitmap(counts.astype(np.float32))), counts)


def test_bitmap_is_smoother_than_a_bitmap_of_the_same_counts(digits: NDArray[np.float64], bitmaps: Array) -> None:
    def outline(ink: Array) -> float:
        return float(np.abs(np.diff(ink, axis=1)).sum() + np.abs(np.diff(ink, axis=2)).sum())

    one_round = bitmap(digits, rounds=1).astype(np.float32)
    assert outline(bitmaps) < 0.97 * outline(one_round)


@pytest.mark.parametrize("counts", [np.full((1, 8, 8), 17), np.full((1, 8, 8), 0.5), np.zeros((8, 8))])
def test_bitmap_refuses_what_are_no_counts(counts: NDArray[np.floating]) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        bitmap(counts)


def test_digits_of_the_data_set_stay_nearly_as_they_are(digits: NDArray[np.float64], bitmaps: Array) -> None:
    counts = normalize(bitmaps)
    plain = np.abs(normalize(bitmaps, slant="none") - digits).mean()
    assert np.abs(counts - digits).mean() < 1.5
    assert plain < 1.5
    assert np.abs(np.roll(digits, 1, axis=2) - digits).mean() > 3  # a shift by one column would show


def test_counts_have_the_range_and_mass_of_the_data_set(bitmaps: Array) -> None:
    thin = bitmaps.copy()
    thin[:, :, 1:] *= bitmaps[:, :, :-1]  # strokes one pixel thinner
    for ink in (bitmaps, thin):
        counts = normalize(ink)
        assert np.array_equal(counts, np.rint(counts))
        assert counts.min() == 0
        assert counts.max() == 16
        mass = counts.sum(axis=(1, 2))
        assert mass.min() >= 270  # 280-345, less what a strong shear pushes over the edge
        assert mass.max() <= 350  # 345, and equally dark pixels stay together


@pytest.mark.parametrize("slant", SLANTS)
def test_place_and_size_do_not_matter(bitmaps: Array, slant: Slant) -> None:
    counts = normalize(enlarged(bitmaps, 2), slant=slant)
    moved = np.pad(enlarged(bitmaps, 2), ((0, 0), (13, 40), (57, 9)))
    tripled = enlarged(bitmaps, 3)
    assert np.abs(normalize(moved, slant=slant) - counts).mean() < 0.05
    assert np.abs(normalize(tripled, slant=slant) - counts).mean() < 0.4


@pytest.mark.parametrize(("slant", "upright"), [("edges", True), ("moments", True), ("none", False)])
@pytest.mark.parametrize("slope", [-0.5, 0.5])
def test_slant_is_taken_out_where_asked(slant: Slant, upright: bool, slope: float) -> None:
    top, bottom = columns_of_row_ends(normalize(leaning_bar(slope), slant=slant)[0])
    assert (abs(top - bottom) < 0.3) == upright


def test_digits_stand_in_the_middle_and_fill_the_height() -> None:
    counts = normalize(np.pad(leaning_bar(0), ((0, 0), (0, 30), (40, 0))))[0]
    assert counts[0].sum() > 8
    assert counts[-1].sum() > 8
    assert np.abs(counts - counts[:, ::-1]).max() <= 4  # half a column, as the bar may be odd and the picture even


@pytest.mark.parametrize("picture", [(8, 8), (16, 16), (28, 28), (12, 8)])
def test_other_sizes_take_the_same_steps(bitmaps: Array, picture: tuple[int, int]) -> None:
    counts = normalize(enlarged(bitmaps[:40], 4), picture=picture)
    assert counts.shape == (40, *picture)
    share = counts.sum(axis=(1, 2)) / (16 * picture[0] * picture[1])
    assert share.min() > 0.25
    assert share.max() < 0.345
    if picture[0] == 16:
        eights = counts.reshape(40, 8, 2, 8, 2).mean(axis=(2, 4))
        assert np.abs(eights - normalize(enlarged(bitmaps[:40], 4))).mean() < 0.5


def test_no_ink_gives_zeros_and_spares_the_others(bitmaps: Array) -> None:
    ink = np.concatenate([np.zeros_like(bitmaps[:1]), bitmaps[:3]])
    for slant in SLANTS:
        counts = normalize(ink, slant=slant)
        assert not counts[0].any()
        assert np.array_equal(counts[1:], normalize(bitmaps[:3], slant=slant))


def test_smallest_pictures_are_taken() -> None:
    assert normalize(np.ones((2, 1, 1), np.float32)).shape == (2, 8, 8)
    assert normalize(np.zeros((0, 28, 28), np.float32)).shape == (0, 8, 8)
    assert normalize_many([]).shape == (0, 8, 8)


@settings(max_examples=40)
@given(
    arrays(
        np.float32, st.tuples(st.just(2), st.integers(1, 40), st.integers(1, 40)), elements=st.floats(0, 1, width=32)
    )
)
def test_any_ink_gives_whole_counts(ink: Array) -> None:
    for slant in SLANTS:
        counts = normalize(ink, slant=slant)
        assert np.isin(counts, np.arange(17)).all()


def test_pictures_of_many_sizes_equal_each_alone(bitmaps: Array) -> None:
    inks = [np.pad(enlarged(ink[None], 1 + index % 4)[0], index) for index, ink in enumerate(bitmaps[:24])]
    alone = np.concatenate([normalize(ink[None]) for ink in inks])
    together = normalize_many(inks)
    assert np.array_equal(together, alone)


def test_a_batch_equals_its_parts(bitmaps: Array) -> None:
    many = np.tile(enlarged(bitmaps, 4), (2, 1, 1))  # more than one chunk
    counts = normalize(many)
    assert np.array_equal(counts[:300], counts[300:])
    assert np.array_equal(counts[:5], normalize(many[:5]))


def test_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"ink: shape \(8, 8\); expected \(n, height, width\)"):
        normalize(np.zeros((8, 8), np.float32))


# ---- the last bit of a sum decides nothing -------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8, 8), (16, 16), pytest.param((28, 28), marks=pytest.mark.slow)])
def test_the_grids_of_all_digits_are_these_on_any_processor(shape: tuple[int, int]) -> None:
    ink = bitmap(load_digits().images).astype(np.float32)
    grids = normalize(ink, picture=shape, slant="edges" if shape == (8, 8) else "moments")  # as models have them
    assert hashlib.sha256(grids.astype(np.uint8).tobytes()).hexdigest().startswith(GRIDS[shape])


def test_bitmaps_are_these_on_any_processor() -> None:
    found = hashlib.sha256(np.packbits(bitmap(load_digits().images)).tobytes()).hexdigest()
    assert found.startswith(BITMAPS)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 31, 32, 64, 112])
@pytest.mark.parametrize("sigma", [0.35, 0.7, 1.6, 5.0])
def test_weights_are_multiples_of_a_power_of_two_and_sum_to_exactly_1(length: int, sigma: float) -> None:
    weights = _gaussian(length, sigma)
    assert np.array_equal(weights * 2**16, np.rint(weights * 2**16))
    assert (weights.sum(axis=1) == 1.0).all()
    assert np.array_equal(weights, weights[::-1, ::-1])  # the same from either end
    exact = np.exp(-0.5 * ((np.arange(length)[:, None] - np.arange(length)) / sigma) ** 2)
    np.testing.assert_allclose(weights, exact / exact.sum(axis=1, keepdims=True), atol=2.0**-15)


@settings(max_examples=60)
@given(st.integers(1, 90), st.integers(0, 40), st.integers(0, 40), st.integers(1, 70))
def test_so_are_those_that_resize(length: int, before: int, behind: int, size: int) -> None:
    n = before + length + behind
    one = np.array([length])
    weights = resampling(np.array([before]), one, np.array([size]), n, 70)[0]
    assert np.array_equal(weights * 2**16, np.rint(weights * 2**16))
    assert np.array_equal(weights.sum(axis=1), np.abs(weights).any(axis=1))  # 1 within the size, else 0
    assert np.abs(weights).any(axis=1).sum() == size
    assert not weights[:, :before].any()
    assert not weights[:, before + length :].any()
    mirrored = resampling(np.array([behind]), one, np.array([size]), n, 70)[0][::-1, ::-1]
    assert np.array_equal(weights, mirrored if (70 - size) % 2 == 0 else np.roll(mirrored, -1, axis=0))


def test_pixels_that_are_equal_stay_equal() -> None:
    """A straight bar has hundreds of them, and the threshold takes the value of one: all of them are ink, or none."""
    for width in range(3, 40):
        ink = np.zeros((1, 60, 120), np.float32)
        ink[0, 5:55, 40 : 40 + width] = 1
        for shape in ((8, 8), (16, 16), (28, 28)):
            grid = normalize(ink, picture=shape)[0]
            assert np.array_equal(grid[1:-1], np.broadcast_to(grid[1], grid[1:-1].shape)), "a row like any other"
