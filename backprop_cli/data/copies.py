"""Warped copies of digits, brought back to size by the very steps that a picture goes through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Array, Float32Array
from backprop_cli.data.augment import Limits, augment, sampling_points
from backprop_cli.data.normalize import blurred, enlarged, normalize
from backprop_cli.data.strokes import even_strokes, thickened

if TYPE_CHECKING:
    from numpy.random import Generator


Kind = Literal["normalized", "proportions", "even_stroke"]
"""How copies are made: from a glyph as it was counted, from its own picture, or redrawn with another pen."""

HEIGHT = 32  # pixels, of the digits that are warped
MARGIN = 8  # pixels around them, for what a warp moves outward
CHUNK = 512  # digits at a time: their arrays stay within a few tens of MB

_BLUR_BEFORE, _BLUR_AFTER = 0.8, 0.7  # pixels: steps become slopes, which a threshold can move along
_SOFTNESS = 0.7  # levels from no ink to full ink
_THRESHOLDS = (0.15, 0.8)  # of the blurred strokes: thinner or thicker than these is no stroke any more


@dataclass(frozen=True)
class Copies(Limits):
    """Warped copies of the training part, made once, before the first epoch, and trained on beside it.

    The digits are warped at 32 pixels high and brought back to size as `predict` does with a picture: what reading
    pictures takes.

    Attributes:
        kind: `copies`.
        shift: Of 32 pixels, for each axis apart, 0 to 100.
        elastic: Of 32 pixels: the largest standard deviation of two normal fields, at 4x4 and at 6x6 points; each
            picture has strengths of its own. 0 to 100.
        noise: Standard deviation of Gaussian noise on every pixel that the network sees, drawn afresh each epoch, as a
            share of full ink, 0 to 1.
        thickness: Stroke weight, as a share of what is usual, 0 to 1.
        copies: How many of each digit, beside the digit itself, 1 to 1,000.
    """

    kind: Literal["copies"] = "copies"
    thickness: float = 0.0
    copies: int = 30

    grids = (4, 6)

    def rules(self) -> list[tuple[bool, str]]:
        """Return what else must hold for the settings."""
        return [
            (0.0 <= self.thickness <= 1.0, f"thickness: {self.thickness} is not between 0 and 1"),
            (1 <= self.copies <= 1000, f"copies: {self.copies} is not between 1 and 1,000"),
        ]

    def draw_elastic(self, n: int, n_points: int, rng: Generator) -> Array:
        """Return normal moves of a strength for each picture, (2, n, n_points)."""
        strength = self.elastic * rng.random((n, 1), dtype=np.float32)
        return np.asarray(strength * rng.standard_normal((2, n, n_points), dtype=np.float32))


def warped_copies(counts: NDArray[Any], settings: Copies, rng: Generator) -> NDArray[np.uint8]:
    """Return one warped copy of each digit.

    Args:
        counts: Whole numbers in [0, 16], (n, H, W).
        settings: How far the warps go.
        rng: Draws them.

    Returns:
        Counts again, (n, H, W).
    """
    copies = np.empty(counts.shape, np.uint8)
    for start in range(0, len(counts), CHUNK):
        chunk = counts[start : start + CHUNK].astype(np.float32) / 16.0
        large = enlarged(chunk, max(1, round(HEIGHT / chunk.shape[1])))
        copies[start : start + CHUNK] = normalize(
            _warped(large, settings, rng), picture=counts.shape[1:], slant="moments"
        )
    return copies


def pen_copies(
    inks: Float32Array, kind: Kind, picture: tuple[int, int], settings: Copies, rng: Generator, away: Float32Array
) -> NDArray[np.uint8]:
    """Return one warped copy of each glyph, made from its own picture.

    Args:
        inks: From 0 to 1, (n, height, width), in their own proportions.
        kind: `proportions` or `even_stroke`.
        picture: Height and width of the copies.
        settings: How far the warps go.
        rng: Draws them.
        away: The `distances` of the inks.

    Returns:
        Counts, (n, *picture).
    """
    copies = np.empty((len(inks), *picture), np.uint8)
    scale = inks.shape[1] / HEIGHT
    settings = replace(settings, elastic=settings.elastic * scale, shift=settings.shift * scale)
    if kind == "even_stroke":
        settings = replace(settings, thickness=0.0)
    for start in range(0, len(inks), CHUNK):
        part = slice(start, start + CHUNK)
        drawn = even_strokes(away[part], rng) if kind == "even_stroke" else thickened(inks[part], away[part])
        copies[part] = normalize(_warped(drawn, settings, rng), picture=picture, slant="moments")
    return copies


def _warped(large: NDArray[Any], settings: Copies, rng: Generator) -> NDArray[np.float32]:
    """Return warped digits of another stroke weight, with a margin; 0.5 where ink begins."""
    scale = large.shape[1] / HEIGHT
    margin = round(MARGIN * scale)
    large = np.pad(large, ((0, 0), (margin,) * 2, (margin,) * 2))
    points = sampling_points(blurred(large, _BLUR_BEFORE * scale), settings)
    warped = blurred(augment(points, replace(settings, noise=0.0), rng), _BLUR_AFTER * scale)
    thickness = rng.uniform(-settings.thickness, settings.thickness, (len(large), 1, 1)).astype(np.float32)
    peak = warped.max(axis=(1, 2), keepdims=True)
    threshold = np.minimum(np.clip(0.5 - 0.25 * thickness, *_THRESHOLDS), 0.8 * peak)
    return np.asarray(np.clip(0.5 + (warped - threshold) / _SOFTNESS, 0.0, 1.0))
