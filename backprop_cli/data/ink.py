"""Gray picture -> ink: which way round it is, what stands out from its ground, and which of that is the digit.

    gray -> polarity -> ground -> contrast -> regions, without lines, frames and edges -> ink, 0 ground .. 1 drawn

What speaks against the ink being one digit is said in words, see picture_warnings.py. Shares below were chosen on
photo-like pictures made of MNIST digits (benchmarks/pictures.py).
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Float32Array
from backprop_cli.data.picture_warnings import warnings_of
from backprop_cli.data.regions import (
    Bitmap,
    Regions,
    edge_contact,
    largest_within,
    mean_within,
    regions_of,
    smallest_within,
)
from backprop_cli.errors import PictureError

Invert = Literal["auto", "yes", "no"]

LEAST_CONTRAST = 0.04
"""Strongest ink below which a picture counts as blank, as a share of its ground."""

_FLAT = (0.02, 0.25, 0.4)
"""A flat ground needs no estimate from place to place: greatest spread of its gray levels along the border (between
the quartiles), and least share of the picture that is of these levels (otherwise it is a frame). Where a digit fills
the picture: least share of what is lighter than ink that is of the lightest level."""

_SMOOTHING = 0.015
"""Side of the window that grain is smoothed in, as a share of the picture's shorter side."""

_OUTLINE = 0.1
"""Side of the window around what is drawn in which its soft outlines lie, as a share of the shorter side."""

_GROUND_WINDOW = 0.24
"""Side of the window that must be wider than any stroke, as a share of the picture's shorter side."""

_LEAST_SKEWNESS = 0.25
"""Skewness that tells which way round a picture is; less has no side."""

_DARKEST_GROUND = 0.4
"""Level that a ground in the shadow is taken to have at least, as a share of the brightest: below, noise counts more
than ink."""

_LINE = (0.04, 0.3, 0.8, 0.03)
"""A thin line: greatest thickness, as a share of the shorter side; least length of its pieces, and of all together, as
shares of the picture's width (or height). A ruled one ends at most so far from both edges; what ends before is a
stroke, or a side of a frame."""

_PANEL = (16, 0.75, 0.98)
"""A panel that a digit stands on: least pixels of its sides, and least share of its box and of its box's edges that it
fills."""

EDGE_CONTACT = 0.3
"""Share of an edge that a region touches if it is a desk, a border or a shadow and no stroke."""

_LEAST_NEIGHBOR = 0.035
"""Area from which a region near the main one belongs to the digit, as a share of the main one's."""


@dataclass(frozen=True)
class Ink:
    """What is drawn on a picture.

    Attributes:
        levels: Bright ink on 0, in [0, 1], (height, width); one half lies where ink and ground part.
        warnings: What speaks against its being one digit, in words.
    """

    levels: Float32Array
    warnings: tuple[str, ...] = ()


def ink_of(gray: NDArray[np.floating], invert: Invert = "auto") -> Ink:
    """Find the digit on a picture: what stands out from its ground and is neither line, frame nor edge.

    Args:
        gray: Gray levels from 0 (black) to 1 (white), (height, width).
        invert: "no" for dark ink on a light background, "yes" for light on dark, "auto" to find out.

    Returns:
        The ink, stretched so that strokes reach 1.

    Raises:
        PictureError: If nothing stands out (the caller knows the file's name and puts it in front).
    """
    levels = np.asarray(gray, dtype=np.float32)
    contrast = contrast_in(levels, invert)
    drawn = contrast > otsu_threshold(contrast)
    regions, chosen = digit_among(drawn)
    if invert == "auto" and (panel := _panel(regions, chosen)) is not None:
        with suppress(PictureError):  # nothing on it: then it is what there is
            return _on_panel(levels, panel)
    contrast[~_surroundings(regions.bitmap(chosen), drawn)] = 0
    return Ink(stretched(contrast, otsu_threshold(contrast)), warnings_of(levels, drawn, regions, chosen))


def _panel(regions: Regions, chosen: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Return where the panel lies that a digit stands on, as in a screenshot or a figure; None where there is none.

    It is the main region, and fills its box along all four edges and most of the rest: no digit does.
    """
    main = int(np.where(chosen, regions.areas, 0).argmax())
    box = slice(regions.tops[main], regions.bottoms[main] + 1), slice(regions.lefts[main], regions.rights[main] + 1)
    filled = regions.bitmap(np.arange(len(regions)) == main)[box]
    if min(filled.shape) < _PANEL[0] or filled.mean() < _PANEL[1] or _border(filled).mean() < _PANEL[2]:
        return None
    return box


def _on_panel(levels: Float32Array, panel: tuple[slice, slice]) -> Ink:
    """Return the ink on a panel, whose outermost pixels are blends with what is around it."""
    inner = levels[panel][1:-1, 1:-1]
    return ink_of(inner, "yes" if np.median(inner) < np.median(levels) else "no")


# ---- polarity and ground ---------------------------------------------------------------------------------------------


def contrast_in(levels: Float32Array, invert: Invert) -> Float32Array:
    """Return by how much ink stands out from its ground, in [0, 1], (height, width); see `contrast_of`.

    Raises:
        PictureError: If nothing stands out.
    """
    blank = "blank: no ink found; the digit must stand out from its background"
    if np.ptp(levels) < LEAST_CONTRAST**2:  # even as a share of the darkest ground that counts; nothing to part
        raise PictureError(blank)
    light_ink = has_light_ink(levels) if invert == "auto" else invert == "yes"
    contrast = contrast_of(1 - levels if light_ink else levels)
    if contrast.max() < LEAST_CONTRAST:
        raise PictureError(blank)
    return contrast


def has_light_ink(levels: Float32Array) -> bool:
    """Tell whether the ink is lighter than its ground.

    Strokes are few pixels far from their surroundings, so the differences to these lean to the ink's side. Where they
    do not, ground is what most of the border is, or, if that is undecided, what most of the picture is.
    """
    if not _is_flat(levels):
        window = _odd(_GROUND_WINDOW * min(levels.shape))
        difference = mean_within(levels, 3, 3) - mean_within(mean_within(levels, window, window), window, window)
        margin = window // 4  # a desk that looks in beside the paper is no ink
        inner = difference[margin:-margin, margin:-margin] if margin else difference
        squares = np.multiply(inner, inner, dtype=np.float64)
        second, third = float(squares.mean()), float((squares * inner).mean())
        if third * third > _LEAST_SKEWNESS * _LEAST_SKEWNESS * second * second * second:  # powers are not exact
            return third > 0
    light = levels > otsu_threshold(levels)
    share = float(_border(light.astype(np.float32)).mean())
    if 0.4 < share < 0.6:
        share = float(light.mean())
    return share < 0.5


def contrast_of(paper: Float32Array) -> Float32Array:
    """Return by how much ink is darker than its ground, as a share of the ground, in [0, 1], (height, width).

    A flat ground is one level; otherwise it is what is left when all that is darker and narrower than a window is
    filled up (gray closing), smoothed.

    Args:
        paper: Dark ink on a light ground, (height, width).
    """
    smooth = paper if (grain := _odd(_SMOOTHING * min(paper.shape))) == 1 else mean_within(paper, grain, grain)
    if (is_flat := _is_flat(paper)) or _is_pure(paper):
        ground = float(np.median(_border(paper)) if is_flat else paper.max())
        flat: Float32Array = np.maximum(ground - smooth, 0) / max(ground, LEAST_CONTRAST)
        return flat
    window = _odd(_GROUND_WINDOW * min(paper.shape))
    filled = smallest_within(largest_within(smooth, window, window), window, window)
    blurred = mean_within(mean_within(filled, window, window), window, window)
    grounds = np.minimum(filled, blurred)  # beside a dark desk the paper's light must not spill over
    contrast = (grounds - smooth) / np.maximum(grounds, max(_DARKEST_GROUND * float(grounds.max()), LEAST_CONTRAST))
    return np.clip(contrast - np.median(contrast), 0, 1)


def _is_flat(levels: Float32Array) -> bool:
    """Tell whether the border is of one level, but for a few strokes that run into it, and much of the rest too."""
    low, middle, high = np.quantile(_border(levels), (0.25, 0.5, 0.75))
    spread, share, _ = _FLAT
    return bool(high - low <= spread and (np.abs(levels - middle) <= 2 * spread).mean() >= share)


def _is_pure(paper: Float32Array) -> bool:
    """Tell whether most that is lighter than the ink is of the very lightest level, as around digits cut out."""
    spread, _, share = _FLAT
    light = paper[paper > otsu_threshold(paper)]
    return light.size > 0 and bool((light >= light.max() - spread / 4).mean() >= share)


def _border(picture: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels along the four edges, (n,)."""
    return np.concatenate([picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]])


def _odd(side: float) -> int:
    """Return a window of about `side` pixels with a middle."""
    return 2 * int(side / 2) + 1


def otsu_threshold(values: Float32Array) -> float:
    """Return the level that parts values in two groups with the least spread within.

    Source: Otsu 1979, a threshold selection method from gray-level histograms.
    """
    low, high = float(values.min()), float(values.max())
    if high == low:
        return high
    bins = ((values - low) * (255.999 / (high - low))).astype(np.int64)
    histogram = np.bincount(bins.ravel(), minlength=256).astype(np.float64)
    levels = np.arange(256)
    below = np.cumsum(histogram)[:-1]  # (255,), pixels up to each level
    above = histogram.sum() - below
    sum_below = np.cumsum(histogram * levels)[:-1]
    sum_above = (histogram * levels).sum() - sum_below
    between = (sum_below * above - sum_above * below) ** 2 / (below * above)  # the outer bins are never empty
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return low + (float(best.mean()) + 1) / 256 * (high - low)  # the middle of an empty valley


def stretched(contrast: Float32Array, threshold: float) -> Float32Array:
    """Map 0 to 0, the threshold to one half, and the usual contrast of strokes to 1, straight in between."""
    strokes = float(contrast[contrast > threshold].mean(dtype=np.float64))
    return np.interp(contrast, (0.0, threshold, max(strokes, threshold * 1.01)), (0.0, 0.5, 1.0)).astype(np.float32)


# ---- which of it is the digit ----------------------------------------------------------------------------------------


def digit_among(drawn: Bitmap) -> tuple[Regions, NDArray[np.bool_]]:
    """Return the regions without lines and frames, and which of them are the digit: the main one and its neighbors."""
    regions = regions_of(drawn & ~ruled_lines(drawn))
    if not len(regions):  # lines only
        regions = regions_of(drawn)
    contact = edge_contact(regions)
    # A desk, a border or a shadow lies along an edge; other things that touch one are less likely the digit too.
    main = int((regions.areas * np.where(contact > EDGE_CONTACT, 0.01, np.where(contact > 0, 0.25, 1))).argmax())
    near = _gap(regions, main) <= max(regions.heights[main], regions.widths[main]) / 2
    cut_off = (contact > 0) & (contact[main] == 0)
    return regions, near & ~cut_off & (regions.areas >= _LEAST_NEIGHBOR * regions.areas[main])


def ruled_lines(drawn: Bitmap) -> Bitmap:
    """Return the pixels of thin lines from edge to edge and of frames, but not where strokes cross them."""
    level, upright = _lines_across(drawn), _lines_across(drawn.T)
    is_frame = min(level.n_long, upright.n_long) >= 2
    return (level.long | upright.long.T) if is_frame else (level.ruled | upright.ruled.T)


class _Lines(NamedTuple):
    """Nearly horizontal thin lines: how many there are, the pixels of all, and of those from edge to edge."""

    n_long: int
    long: Bitmap
    ruled: Bitmap


def _lines_across(drawn: Bitmap) -> _Lines:
    height, width = drawn.shape
    if drawn.any(axis=0).mean() < _LINE[2]:
        return _Lines(0, np.zeros_like(drawn), np.zeros_like(drawn))
    thick = _odd(_LINE[0] * min(height, width))
    ink = drawn.astype(np.float32)
    # What is thinner than a line may be: ink that a window of that height does not fit in.
    strokes = largest_within(smallest_within(ink, thick + 2, 1), thick + 2, 1)
    tilted = largest_within(ink, 3, 1)  # slightly tilted lines go in steps
    piece = _odd(_LINE[1] * width)
    lines = largest_within(smallest_within(tilted, 1, piece), 1, piece) > 0
    found = regions_of(lines)
    thin, margin = ink > strokes, _LINE[3] * width
    is_long = found.widths >= _LINE[2] * width
    is_ruled = (found.lefts <= margin) & (found.rights >= width - 1 - margin)
    return _Lines(int(is_long.sum()), found.bitmap(is_long) & thin, found.bitmap(is_ruled) & thin)


def _gap(regions: Regions, main: int) -> NDArray[np.int64]:
    """Return how many pixels lie between the boxes of each region and of the main one, (n,)."""
    down = np.maximum(regions.tops - regions.bottoms[main], regions.tops[main] - regions.bottoms)
    across = np.maximum(regions.lefts - regions.rights[main], regions.lefts[main] - regions.rights)
    gap: NDArray[np.int64] = np.maximum(np.maximum(down, across), 0)
    return gap


def _surroundings(kept: Bitmap, drawn: Bitmap) -> Bitmap:
    """Return what was kept with its soft outlines, but nothing of the rest that was drawn, (height, width)."""
    reach = _odd(_OUTLINE * min(drawn.shape))
    near = largest_within(kept.astype(np.float32), reach, reach) > 0
    rest = largest_within((drawn & ~kept).astype(np.float32), 3, 3) > 0
    return kept | (near & ~rest)
