"""Strokes of pens: hairlines made thicker, and even strokes drawn around the skeletons of digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Float32Array

if TYPE_CHECKING:
    from numpy.random import Generator

INK = 0.5  # from which a pixel counts as drawn
LEAST_WIDTH = 3.0  # pixels of 48, about 2 of 32: what is thinner breaks when it is warped
HALF_WIDTHS = (0.6, 3.8)  # pixels of 48: from a fine pen to a marker


def distances(inks: Float32Array) -> Float32Array:
    """Return how far each pixel is from the skeleton of its digit, in pixels, (n, height, width)."""
    from scipy.ndimage import distance_transform_edt  # takes half a second, and only training needs it

    return np.stack(
        [
            distance_transform_edt(~skeleton).astype(np.float32)
            if skeleton.any()
            else np.full(skeleton.shape, np.inf, "f4")
            for skeleton in skeletons(inks >= INK)
        ]
    )


def thickened(inks: Float32Array, away: Float32Array) -> Float32Array:
    """Return digits, (n, height, width) from 0 to 1, whose hairlines are wide enough not to break when warped.

    Args:
        inks: As they are.
        away: Their `distances`.
    """
    return np.maximum(inks, _stroke(away, LEAST_WIDTH / 2.0 * inks.shape[1] / 48.0))


def even_strokes(away: Float32Array, rng: Generator) -> Float32Array:
    """Return digits, (n, height, width) from 0 to 1, redrawn along their skeletons, each with a pen of any width.

    Args:
        away: Their `distances`.
        rng: Draws the widths.
    """
    low, high = np.log(HALF_WIDTHS)
    half_widths = np.exp(rng.uniform(low, high, (len(away), 1, 1))) * away.shape[1] / 48.0
    return _stroke(away, half_widths.astype(np.float32))


def _stroke(away: Float32Array, half_width: float | Float32Array) -> Float32Array:
    """Return strokes of a width around skeletons, their edges one pixel soft."""
    stroke: Float32Array = np.clip(np.float32(0.5) + half_width - away, 0.0, 1.0, dtype=np.float32)
    return stroke


def skeletons(drawn: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return lines one pixel wide in the middle of strokes, (n, height, width); ends and loops stay.

    Source: Zhang and Suen 1984, a fast parallel algorithm for thinning digital patterns.
    """
    ink = np.pad(drawn, ((0, 0), (1, 1), (1, 1)))
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            ring = _neighbors(ink)
            n_inked = ring.sum(axis=0)
            n_steps = (~ring & np.roll(ring, -1, axis=0)).sum(axis=0)  # from paper to ink, once around
            above, right, below, left = ring[0], ring[2], ring[4], ring[6]
            if first:
                is_edge = ~(above & right & below) & ~(right & below & left)
            else:
                is_edge = ~(above & right & left) & ~(above & below & left)
            removed = ink & (n_inked >= 2) & (n_inked <= 6) & (n_steps == 1) & is_edge
            ink &= ~removed
            changed |= bool(removed.any())
    return ink[:, 1:-1, 1:-1]


def _neighbors(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the eight neighbors of every pixel, clockwise from the one above, (8, n, height, width)."""
    moves = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
    return np.stack([np.roll(ink, (-down, -right), axis=(1, 2)) for down, right in moves])
