"""Random warps of a batch of digits: other hands, the same digits.

A whole batch is warped at once. Each output pixel looks up a position in its picture: the positions of all pixels of
all pictures are one product, (coefficients of each picture) @ (what each coefficient does to each pixel).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.errors import require

if TYPE_CHECKING:
    from numpy.random import Generator

Array = NDArray[Any]  # of floats

ELASTIC_GRID = 4  # the elastic field is given at 4x4 points and interpolated in between
FINE_GRID = 6  # a second field, for digits that are warped large


@dataclass(frozen=True)
class AugmentSettings:
    """How far the warps go; each is drawn from U(-limit, limit) for each picture of each epoch.

    Attributes:
        rotation: Degrees, 0 to 180.
        log_scale: Logarithm of the scale, for each axis apart, 0 to 2.
        shear: Pixels sideways per pixel down, 0 to 2.
        shift: Pixels, for each axis apart, 0 to 100.
        elastic: Pixels, at each point of a 4x4 grid, for each axis apart, 0 to 100.
        gamma: Logarithm of the exponent that every pixel is raised to, 0 to 3.
        noise: Standard deviation of Gaussian noise on every pixel, as a share of full ink, 0 to 1.
        probability: Share of pictures that are changed at all, 0 to 1.
        through_normalizer: Warp the digits at 32 pixels high (so `shift` and `elastic` are pixels of those) and bring
            them back to size as `predict` does with a picture: what reading pictures takes. `elastic` is then the
            largest standard deviation of two normal fields, at 4x4 and at 6x6 points; each picture has strengths of
            its own. The copies are made once, before the first epoch.
        copies: How many of each digit `through_normalizer` makes, beside the digit itself, 1 to 1,000.
        thickness: Stroke weight, for `through_normalizer` alone, as a share of what is usual, 0 to 1.

    Source: Simard et al. 2003, section 2 (affine and elastic distortions of digits).
    """

    rotation: float = 0.0
    log_scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    probability: float = 1.0
    through_normalizer: bool = False
    copies: int = 30
    thickness: float = 0.0

    def __post_init__(self) -> None:
        limits = {"rotation": 180.0, "log_scale": 2.0, "shear": 2.0, "shift": 100.0, "elastic": 100.0, "gamma": 3.0}
        found = [
            (name, getattr(self, name), high)
            for name, high in {**limits, "noise": 1.0, "probability": 1.0, "thickness": 1.0}.items()
        ]
        needed = "thickness: needs through_normalizer"
        require(
            *((0.0 <= value <= high, f"{name}: {value} is not in 0 to {high:g}") for name, value, high in found),
            (1 <= self.copies <= 1000, f"copies: {self.copies} is not in 1 to 1,000"),
            (self.through_normalizer or not self.thickness, needed),
        )


def augment(pictures: Array, settings: AugmentSettings, rng: Generator) -> Array:
    """Return warped copies.

    Args:
        pictures: (n, height, width), float32, from 0 to 1; what lies outside a picture is 0.
        settings: How far the warps go.
        rng: Draws them.

    Returns:
        (n, height, width), float32, from 0 to 1.
    """
    n, height, width = pictures.shape
    changed = np.less(rng.random(n, dtype=np.float32), settings.probability)
    coefficients = _draw_coefficients(n, settings, rng)
    coefficients[:, ~changed] = 0.0
    positions = coefficients.reshape(2 * n, -1) @ _basis(height, width, _grids(settings))
    warped = _look_up(pictures, positions.reshape(2, n, height * width))
    if settings.gamma:
        exponent = np.exp(_uniform(rng, settings.gamma, (n, 1)))
        exponent[~changed] = 1.0
        np.power(warped, exponent, out=warped)
    if settings.noise:
        noise = rng.standard_normal(warped.shape, dtype=np.float32)
        noise *= settings.noise * changed[:, None]
        warped += noise
        np.clip(warped, 0.0, 1.0, out=warped)
    return warped.reshape(pictures.shape)


def _uniform(rng: Generator, limit: float, shape: tuple[int, ...]) -> Array:
    drawn = rng.random(shape, dtype=np.float32)
    drawn *= 2.0 * limit
    drawn -= limit
    return drawn


def _grids(settings: AugmentSettings) -> tuple[int, ...]:
    return (ELASTIC_GRID, FINE_GRID) if settings.through_normalizer else (ELASTIC_GRID,)


def _elastic(n: int, n_points: int, settings: AugmentSettings, rng: Generator) -> Array:
    """Return how far each point of a grid is moved, (2, n, n_points)."""
    if not settings.through_normalizer:
        return _uniform(rng, settings.elastic, (2, n, n_points))
    strength = settings.elastic * rng.random((n, 1), dtype=np.float32)
    return np.asarray(strength * rng.standard_normal((2, n, n_points), dtype=np.float32))


def _draw_coefficients(n: int, settings: AugmentSettings, rng: Generator) -> Array:
    """Return how far each picture's pixels look away from themselves, (2, n, 3 + points of the elastic grids).

    First rows (y), then columns (x); each as a constant, times y, times x, and at the points of the elastic grids.
    """
    angle = _uniform(rng, math.radians(settings.rotation), (n,))
    scale_y, scale_x = np.exp(_uniform(rng, settings.log_scale, (2, n)))
    shear = _uniform(rng, settings.shear, (n,))
    n_points = [grid * grid for grid in _grids(settings)]
    coefficients = np.empty((2, n, 3 + sum(n_points)), np.float32)
    coefficients[..., 0] = _uniform(rng, settings.shift, (2, n))
    cosine, sine = np.cos(angle), np.sin(angle)
    # [y', x'] = rotation @ shear @ scale @ [y, x]; the identity is taken off, since these are differences
    coefficients[0, :, 1] = (cosine + sine * shear) * scale_y - 1.0
    coefficients[0, :, 2] = sine * scale_x
    coefficients[1, :, 1] = (cosine * shear - sine) * scale_y
    coefficients[1, :, 2] = cosine * scale_x - 1.0
    np.concatenate([_elastic(n, k, settings, rng) for k in n_points], axis=2, out=coefficients[..., 3:])
    return coefficients


@lru_cache(maxsize=8)
def _basis(height: int, width: int, grids: tuple[int, ...]) -> Array:
    """Return what each coefficient does to each pixel, (., height * width): 1, y, x from the centre, elastic."""
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


def _look_up(pictures: Array, offsets: Array) -> Array:
    """Return each picture read at its pixels plus `offsets` (2, n, height * width), bilinear, zero outside."""
    n, height, width = pictures.shape
    padded = np.zeros((n, height + 2, width + 2), np.float32)
    padded[:, 1:-1, 1:-1] = pictures
    row, column = np.divmod(np.arange(height * width), width)
    y, x = offsets
    y += (row + 1).astype(np.float32)
    x += (column + 1).astype(np.float32)
    np.clip(y, 0.0, height + 0.999, out=y)
    np.clip(x, 0.0, width + 0.999, out=x)
    top, left = y.astype(np.int32), x.astype(np.int32)  # rounds down: positions are not negative
    y -= top
    x -= left
    stride = width + 2
    index = top
    index *= stride
    index += left
    index += np.arange(n, dtype=np.int32)[:, None] * ((height + 2) * stride)
    flat = padded.reshape(-1)
    upper, upper_right = _pair(flat, index)
    index += stride
    lower, lower_right = _pair(flat, index)
    for left_value, right_value in ((upper, upper_right), (lower, lower_right)):
        right_value -= left_value
        right_value *= x
        left_value += right_value
    lower -= upper
    lower *= y
    upper += lower
    return upper


def _pair(flat: Array, index: NDArray[np.int32]) -> tuple[Array, Array]:
    """Return the pixels at `index` and their right neighbours."""
    left = np.take(flat, index, mode="clip")
    index += 1
    right = np.take(flat, index, mode="clip")
    index -= 1
    return left, right
