"""Random warps of a batch of digits: other hands, the same digits.

A whole batch is warped at once. Each output pixel looks up a position in its picture: the positions of all pixels of
all pictures are one product, (coefficients of each picture) @ (what each coefficient does to each pixel).

What lies between two pixels is their blend, or, sharper, is counted again in a bitmap. The digits are counts of ink in
blocks of 4x4 bitmap pixels; in a bitmap with these counts every window of 4x4 can be counted, at every quarter of a
pixel, so that a warped digit is as sharp as a real one; a blend is duller.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Array
from backprop_cli.data.normalize import BLOCK, bitmap, window_counts
from backprop_cli.errors import require

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class Limits(ABC):
    """How far digits may be warped: each number is drawn from U(-limit, limit) for each of them.

    Attributes:
        rotation: Degrees, 0 to 180.
        log_scale: Logarithm of the scale, for each axis apart, 0 to 2.
        shear: Pixels sideways per pixel down, 0 to 2.
        shift: Pixels, for each axis apart, 0 to 100.
        elastic: Pixels, at each point of a coarse grid, for each axis apart, 0 to 100.
        gamma: Logarithm of the exponent that every pixel is raised to, 0 to 3.
        noise: Standard deviation of Gaussian noise on every pixel, as a share of full ink, 0 to 1.
        probability: Share of pictures that are changed at all, 0 to 1.

    Source: Simard et al. 2003, section 2 (affine and elastic distortions of digits).
    """

    kind: str = ""
    rotation: float = 0.0
    log_scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    probability: float = 1.0

    grids: ClassVar[tuple[int, ...]]  # points along one side, of each elastic field

    def __post_init__(self) -> None:
        highest = {"rotation": 180.0, "log_scale": 2.0, "shear": 2.0, "shift": 100.0, "elastic": 100.0, "gamma": 3.0}
        limits = [
            (name, getattr(self, name), high) for name, high in (highest | {"noise": 1.0, "probability": 1.0}).items()
        ]
        ranges = [
            (0.0 <= value <= high, f"{name}: {value} is not between 0 and {high:g}") for name, value, high in limits
        ]
        require(*ranges, *self.rules())

    def rules(self) -> list[tuple[bool, str]]:
        """Return what else must hold for the settings."""
        return []

    @property
    def points_per_pixel(self) -> int:
        """How many points along one side of a pixel a warp can look up."""
        return 1

    @abstractmethod
    def draw_elastic(self, n: int, n_points: int, rng: Generator) -> Array:
        """Return how far each point of a grid is moved in n pictures, (2, n, n_points)."""


@dataclass(frozen=True)
class Warps(Limits):
    """Random warps of the training part, drawn afresh each epoch.

    Attributes:
        kind: `warps`.
        shift: Pixels of the picture, for each axis apart, 0 to 100.
        elastic: Pixels of the picture, at each point of a 4x4 grid, for each axis apart, 0 to 100.
        interpolation: What lies between pixels. `bilinear`: the blend of four. `bitmap`: counted again in a bitmap that
            has the picture's counts, which must be whole numbers from 0 to 16; it takes 16 bytes a pixel and more.
            `auto`: `bitmap` where the pictures are such counts and it takes no more than 1 GB, else `bilinear`.
    """

    kind: Literal["warps"] = "warps"
    interpolation: Literal["bilinear", "bitmap", "auto"] = "bilinear"

    grids = (4,)

    @property
    def points_per_pixel(self) -> int:
        """Four along one side with `bitmap`."""
        return BLOCK if self.interpolation == "bitmap" else 1

    def draw_elastic(self, n: int, n_points: int, rng: Generator) -> Array:
        """Return uniform moves, (2, n, n_points)."""
        return _uniform(rng, self.elastic, (2, n, n_points))


def sampling_points(pictures: NDArray[Any], limits: Limits) -> NDArray[Any]:
    """Return the values that warps of these pictures look up, with a margin of one pixel without ink.

    Args:
        pictures: (n, height, width), numbers of at least 0.
        limits: Those of the warps; with four points along a pixel (`bitmap`) whole numbers from 0 to 16 are required.

    Returns:
        With one point along a pixel its value, (n, height + 2, width + 2), float32; with four a count for each quarter
        of a pixel, (n, 4 height + 5, 4 width + 5), uint8: work to be done once, not for every pass.

    Raises:
        ValueError: `bitmap` with other numbers.
    """
    if limits.points_per_pixel == BLOCK:
        return window_counts(bitmap(pictures, rounds=1), 1)
    n, height, width = pictures.shape
    points = np.zeros((n, height + 2, width + 2), np.float32)
    points[:, 1:-1, 1:-1] = pictures
    return points


def augment(points: NDArray[Any], limits: Limits, rng: Generator, max_value: float = 1.0) -> Array:
    """Return warped copies.

    Args:
        points: From `sampling_points`, with the same limits.
        limits: How far the warps go.
        rng: Draws them.
        max_value: Full ink of the pictures, > 0.

    Returns:
        (n, height, width), float32, from 0 to 1; what lay outside a picture is 0.
    """
    n, per_pixel = len(points), limits.points_per_pixel
    height, width = ((side - 1) // per_pixel - 1 for side in points.shape[1:])
    changed = np.less(rng.random(n, dtype=np.float32), limits.probability)
    coefficients = _draw_coefficients(n, limits, rng)
    coefficients[:, ~changed] = 0.0
    positions = coefficients.reshape(2 * n, -1) @ _basis(height, width, limits.grids)
    warped = _look_up(points, positions.reshape(2, n, height * width), per_pixel, width)
    warped *= np.float32(1.0 / max_value)
    if limits.gamma:
        exponent = np.exp(_uniform(rng, limits.gamma, (n, 1)))
        exponent[~changed] = 1.0
        np.power(warped, exponent, out=warped)
    if limits.noise:
        noise = rng.standard_normal(warped.shape, dtype=np.float32)
        noise *= limits.noise * changed[:, None]
        warped += noise
        np.clip(warped, 0.0, 1.0, out=warped)
    return warped.reshape(n, height, width)


def _uniform(rng: Generator, limit: float, shape: tuple[int, ...]) -> Array:
    drawn = rng.random(shape, dtype=np.float32)
    drawn *= 2.0 * limit
    drawn -= limit
    return drawn


def _draw_coefficients(n: int, limits: Limits, rng: Generator) -> Array:
    """Return how far each picture's pixels look away from themselves, (2, n, 3 + points of the elastic grids).

    First rows (y), then columns (x); each as a constant, times y, times x, and at the points of the elastic grids.
    """
    angle = _uniform(rng, math.radians(limits.rotation), (n,))
    scale_y, scale_x = np.exp(_uniform(rng, limits.log_scale, (2, n)))
    shear = _uniform(rng, limits.shear, (n,))
    n_points = [grid * grid for grid in limits.grids]
    coefficients = np.empty((2, n, 3 + sum(n_points)), np.float32)
    coefficients[..., 0] = _uniform(rng, limits.shift, (2, n))
    cosine, sine = np.cos(angle), np.sin(angle)
    # [y', x'] = rotation @ shear @ scale @ [y, x]; the identity is taken off, since these are differences
    coefficients[0, :, 1] = (cosine + sine * shear) * scale_y - 1.0
    coefficients[0, :, 2] = sine * scale_x
    coefficients[1, :, 1] = (cosine * shear - sine) * scale_y
    coefficients[1, :, 2] = cosine * scale_x - 1.0
    np.concatenate([limits.draw_elastic(n, k, rng) for k in n_points], axis=2, out=coefficients[..., 3:])
    return coefficients


@lru_cache(maxsize=8)
def _basis(height: int, width: int, grids: tuple[int, ...]) -> Array:
    """Return what each coefficient does to each pixel, (., height * width): 1, y, x from the center, elastic."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y -= (height - 1) / 2.0
    x -= (width - 1) / 2.0
    hats = [(_hats(grid, height), _hats(grid, width)) for grid in grids]
    fields = [np.einsum("iy,jx->ijyx", down, across).reshape(-1, height * width) for down, across in hats]
    return np.vstack([np.ones_like(y).ravel(), y.ravel(), x.ravel(), *fields])


def _hats(grid: int, length: int) -> Array:
    """Return linear interpolation from a grid's points to `length` pixels, (grid, length); each column sums to 1."""
    where = np.linspace(0.0, grid - 1.0, length, dtype=np.float32)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(where[None, :] - np.arange(grid, dtype=np.float32)[:, None])))


def _look_up(points: NDArray[Any], offsets: Array, per_pixel: int, width: int) -> Array:
    """Return each picture read at its pixels plus `offsets` (2, n, height * width), bilinear, zero outside.

    Args:
        points: From `sampling_points`.
        offsets: Pixels down and to the right; overwritten.
        per_pixel: Points along one side of a pixel.
        width: Pixels in a row of the picture.
    """
    n, n_rows, n_columns = points.shape
    row, column = np.divmod(np.arange(offsets.shape[2]), width)
    for positions, own, n_points in zip(offsets, (row, column), (n_rows, n_columns), strict=True):
        positions += (own + 1).astype(np.float32)
        positions *= per_pixel
        np.clip(positions, 0.0, n_points - 1.001, out=positions)
    y, x = offsets
    top, left = y.astype(np.int32), x.astype(np.int32)  # rounds down: positions are not negative
    y -= top
    x -= left
    index = top
    index *= n_columns
    index += left
    index += np.arange(n, dtype=np.int32)[:, None] * (n_rows * n_columns)
    flat = points.reshape(-1)
    upper, upper_right = _pair(flat, index)
    index += n_columns
    lower, lower_right = _pair(flat, index)
    for left_value, right_value in ((upper, upper_right), (lower, lower_right)):
        right_value -= left_value
        right_value *= x
        left_value += right_value
    lower -= upper
    lower *= y
    upper += lower
    return upper


def _pair(flat: NDArray[Any], index: NDArray[np.int32]) -> tuple[Array, Array]:
    """Return the values at `index` and their right neighbors."""
    left = np.take(flat, index, mode="clip")
    index += 1
    right = np.take(flat, index, mode="clip")
    index -= 1
    return left.astype(np.float32, copy=False), right.astype(np.float32, copy=False)
