import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backprop_cli.data.augment import Warps, augment, sampling_points
from backprop_cli.data.copies import Copies
from backprop_cli.data.dataset import load_digits
from backprop_cli.data.normalize import bitmap, window_counts

Array = NDArray[Any]

PICTURES = (load_digits().pictures[:200] / np.float32(16.0)).astype(np.float32)
EVERYTHING = Warps(rotation=20, log_scale=0.2, shear=0.2, shift=1, elastic=0.7, gamma=0.5, noise=0.1)


class ChosenRng:
    """Draws what it is told: every uniform number at one end of its interval, every normal number `normal`."""

    def __init__(self, *, low: bool = False, normal: float = 0.0) -> None:
        self.uniform = np.float32(0.0) if low else np.nextafter(np.float32(1.0), np.float32(0.0))
        self.normal = np.float32(normal)

    def random(self, shape: Any, dtype: Any) -> Array:
        return np.full(shape, self.uniform, dtype)

    def standard_normal(self, shape: Any, dtype: Any) -> Array:
        return np.full(shape, self.normal, dtype)


def dot(*places: tuple[int, int], size: int = 9) -> Array:
    """Return a picture with full ink at some (row, column), seen from its center; down and right are positive."""
    picture = np.zeros((size, size), np.float32)
    for row, column in places:
        picture[size // 2 + row, size // 2 + column] = 1.0
    return picture


def augmented(pictures: Array, settings: Warps, rng: Any) -> Array:
    return np.asarray(augment(sampling_points(pictures, settings), settings, rng))


def warped(picture: Array, *, low: bool = False, normal: float = 0.0, **settings: float) -> Array:
    rng: Any = ChosenRng(low=low, normal=normal)
    return np.asarray(augmented(picture[None], Warps(**settings), rng)[0])


@pytest.mark.parametrize("low", [False, True])
def test_a_shift_moves_ink_up_and_left_or_down_and_right(low: bool) -> None:
    moved = dot((2, 1)) if low else dot((-2, -3))
    np.testing.assert_allclose(warped(dot((0, -1)), low=low, shift=2.0), moved, atol=1e-5)


def test_half_a_pixel_of_shift_spreads_ink_over_four() -> None:
    expected = np.zeros((9, 9))
    expected[3:5, 3:5] = 0.25
    np.testing.assert_allclose(warped(dot((0, 0)), shift=0.5), expected, atol=1e-5)


def test_what_is_shifted_out_is_gone_and_what_comes_in_is_0() -> None:
    assert warped(np.ones((5, 5), np.float32), shift=100.0).max() < 0.002
    np.testing.assert_allclose(warped(np.ones((5, 5), np.float32), shift=4.0), dot((-2, -2), size=5), atol=2e-3)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize(("degrees", "low", "quarters"), [(90, False, 1), (90, True, -1), (180, False, 2)])
def test_a_rotation_by_quarters_turns_the_picture_about_its_center(
    degrees: int, low: bool, quarters: int, size: int
) -> None:
    picture = np.random.default_rng(0).random((size, size), dtype=np.float32)
    np.testing.assert_allclose(warped(picture, low=low, rotation=degrees), np.rot90(picture, quarters), atol=1e-4)


def test_a_rotation_by_45_degrees_brings_an_axis_to_a_diagonal() -> None:
    turned = warped(dot((0, 4)), rotation=45.0)  # 4 to the right: 4 / sqrt(2) = 2.83 up and to the right
    np.testing.assert_allclose(np.unravel_index(turned.argmax(), turned.shape), (1, 7))


@pytest.mark.parametrize(("low", "before", "after"), [(False, 4, 2), (True, 2, 4)])
def test_a_scale_of_2_halves_or_doubles_distances_from_the_center(low: bool, before: int, after: int) -> None:
    scaled = warped(dot((0, before), (before, 0)), low=low, log_scale=math.log(2.0))
    np.testing.assert_allclose(scaled[4 + after, 4], 1.0, atol=1e-4)
    np.testing.assert_allclose(scaled[4, 4 + after], 1.0, atol=1e-4)


def test_a_shear_of_1_makes_an_upright_line_a_diagonal() -> None:
    upright = dot(*((row, 0) for row in range(-4, 5)))
    np.testing.assert_allclose(warped(upright, shear=1.0), np.fliplr(np.eye(9)), atol=1e-4)
    np.testing.assert_allclose(warped(upright, low=True, shear=1.0), np.eye(9), atol=1e-4)


def test_a_rotation_comes_after_the_shear_and_the_shear_after_the_scale() -> None:
    upright = dot(*((row, 0) for row in range(-4, 5)))
    np.testing.assert_allclose(warped(upright, rotation=180.0, shear=1.0), np.fliplr(np.eye(9)), atol=1e-4)
    # seen from the result: (y, x) = (0, 2) is scaled to (0, 4), which the shear leaves, turned to (4, 0)
    turned = warped(dot((4, 0)), rotation=90.0, log_scale=math.log(2.0), shear=1.0)
    np.testing.assert_allclose(turned[4, 6], 1.0, atol=1e-4)
    sheared = warped(dot((3, -1)), rotation=90.0, shear=1.0)  # (1, 2) is sheared to (1, 3), turned to (3, -1)
    np.testing.assert_allclose(sheared, dot((1, 2)), atol=1e-4)


def test_a_shear_leaves_the_rows_where_they_are() -> None:
    np.testing.assert_allclose(warped(dot((0, -2), (0, 3)), shear=1.0), dot((0, -2), (0, 3)), atol=1e-5)


def test_an_elastic_field_that_is_the_same_everywhere_is_a_shift() -> None:
    np.testing.assert_allclose(warped(dot((0, -1)), elastic=2.0), dot((-2, -3)), atol=1e-5)


def test_an_elastic_field_bends() -> None:
    bent = augmented(PICTURES[:1], Warps(elastic=1.0), np.random.default_rng(0))
    assert np.abs(bent - PICTURES[:1]).max() > 0.1


@pytest.mark.parametrize(("low", "exponent"), [(False, 2.0), (True, 0.5)])
def test_gamma_raises_every_pixel_to_a_power(low: bool, exponent: float) -> None:
    picture = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)
    np.testing.assert_allclose(warped(picture, low=low, gamma=math.log(2.0)), picture**exponent, atol=1e-5)


@pytest.mark.parametrize(("normal", "expected"), [(1.0, [0.2, 0.7, 1.0]), (-2.0, [0.0, 0.1, 0.6])])
def test_noise_is_added_to_every_pixel_and_cut_off_at_both_ends(normal: float, expected: list[float]) -> None:
    picture = np.array([[0.0, 0.5, 1.0]], np.float32)
    np.testing.assert_allclose(warped(picture, normal=normal, noise=0.2), [expected], atol=1e-6)


def test_noise_has_its_standard_deviation() -> None:
    gray = np.full((200, 8, 8), 0.5, np.float32)
    noise = augmented(gray, Warps(noise=0.1), np.random.default_rng(0)) - gray
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert abs(noise.mean()) < 0.005


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_share_of_the_pictures_is_changed_and_the_others_are_left_alone(probability: float) -> None:
    settings = Warps(**{**vars(EVERYTHING), "probability": probability})
    changed = (augmented(PICTURES, settings, np.random.default_rng(0)) != PICTURES).any(axis=(1, 2))
    assert changed.mean() == pytest.approx(probability, abs=0.08)


def test_pixels_stay_between_0_and_1_and_the_given_pictures_as_they_are() -> None:
    given = PICTURES.copy()
    changed = augmented(given, EVERYTHING, np.random.default_rng(0))
    assert changed.dtype == np.float32
    assert changed.shape == PICTURES.shape
    assert ((changed >= 0.0) & (changed <= 1.0)).all()
    np.testing.assert_array_equal(given, PICTURES)


def test_the_generator_decides_everything() -> None:
    one, same, other = (augmented(PICTURES, EVERYTHING, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def test_every_picture_is_warped_in_its_own_way() -> None:
    same = np.repeat(PICTURES[:1], 20, axis=0)
    changed = augmented(same, Warps(rotation=20.0), np.random.default_rng(0))
    assert len({picture.tobytes() for picture in changed}) == 20


def test_a_picture_need_not_be_square() -> None:
    picture = np.random.default_rng(0).random((5, 11), dtype=np.float32)
    np.testing.assert_allclose(warped(picture, rotation=180.0), picture[::-1, ::-1], atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotation": 181.0}, "rotation: 181.0 is not between 0 and 180"),
        ({"log_scale": -0.1}, "log_scale: -0.1 is not between 0 and 2"),
        ({"shear": 2.5}, "shear: 2.5 is not between 0 and 2"),
        ({"shift": math.inf}, "shift: inf is not between 0 and 100"),
        ({"elastic": math.nan}, "elastic: nan is not between 0 and 100"),
        ({"gamma": 4.0}, "gamma: 4.0 is not between 0 and 3"),
        ({"noise": 1.5}, "noise: 1.5 is not between 0 and 1"),
        ({"probability": 1.5}, "probability: 1.5 is not between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Warps(**settings)
    with pytest.raises(ValueError, match=f"^{message}$"):
        Copies(**settings)


# ---- read in bitmaps -----------------------------------------------------------------------------------------------

COUNTS = load_digits().pictures[:200]


def recounted(rng: Any, **settings: Any) -> Array:
    chosen = Warps(interpolation="bitmap", **settings)
    return np.asarray(augment(sampling_points(COUNTS, chosen), chosen, rng, 16.0))


def test_a_bitmap_read_where_nothing_moves_has_the_pictures_own_counts() -> None:
    np.testing.assert_array_equal(recounted(np.random.default_rng(0)), PICTURES)


@pytest.mark.parametrize(("shift", "quarters"), [(0.25, 1), (0.75, 3), (1.0, 4)])
def test_a_bitmap_read_quarters_of_a_pixel_away_is_counted_anew_there(shift: float, quarters: int) -> None:
    ink = np.pad(bitmap(COUNTS, rounds=1), ((0, 0), (0, 4), (0, 4)))
    there = ink[:, quarters : 32 + quarters, quarters : 32 + quarters]
    expected = there.reshape(-1, 8, 4, 8, 4).sum(axis=(2, 4)) / 16.0
    np.testing.assert_allclose(recounted(ChosenRng(), shift=shift), expected, atol=1e-3)


def test_a_digit_read_in_its_bitmap_stays_sharper_than_a_blend() -> None:
    """Squared differences between neighbors: half a pixel's shift blends them away."""

    def contrast(pictures: Array) -> float:
        return float((np.diff(pictures, axis=1) ** 2).mean() + (np.diff(pictures, axis=2) ** 2).mean())

    settings = {"shift": 0.5, "rotation": 10.0}
    blended = augmented(PICTURES, Warps(**settings), np.random.default_rng(0))
    read = recounted(np.random.default_rng(0), **settings)
    assert contrast(blended) < 0.75 * contrast(PICTURES)
    assert contrast(read) == pytest.approx(contrast(PICTURES), rel=0.15)
    assert np.corrcoef(blended.ravel(), read.ravel())[0, 1] > 0.95  # the same warps


def test_gamma_noise_and_probability_hold_for_bitmaps_too() -> None:
    everything = {**vars(EVERYTHING), "interpolation": "bitmap", "probability": 0.3}
    settings = Warps(**everything)
    read = augment(sampling_points(COUNTS, settings), settings, np.random.default_rng(0), 16.0)
    assert (read != PICTURES).any(axis=(1, 2)).mean() == pytest.approx(0.3, abs=0.08)
    assert ((read >= 0.0) & (read <= 1.0)).all()


@pytest.mark.parametrize("counts", [COUNTS / 16.0, COUNTS + 1])
def test_a_bitmap_needs_counts(counts: Array) -> None:
    with pytest.raises(ValueError, match="expected whole numbers"):
        sampling_points(counts, Warps(interpolation="bitmap"))


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_every_window_of_4x4_is_counted(margin: int) -> None:
    ink = np.random.default_rng(0).random((3, 8, 12)) < 0.4
    padded = np.pad(ink, ((0, 0), (4 * margin,) * 2, (4 * margin,) * 2))
    expected = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(1, 2)).sum(axis=(3, 4))
    np.testing.assert_array_equal(window_counts(ink, margin), expected)
    assert window_counts(ink, margin).dtype == np.uint8
