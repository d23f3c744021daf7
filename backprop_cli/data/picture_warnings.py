"""What speaks against the ink on a picture being one digit, in words.

Limits lie between what 3,000 real digits show (MNIST, USPS, photo-like pictures) and what nonsense does; both are
told beside each limit.
"""

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Float32Array
from backprop_cli.data.regions import Bitmap, Regions, edge_contact

_STEEPEST = 0.15
"""Greatest change of gray within 4 % of the shorter side, as a share of all change: below, there are only gradients."""

_RUNS = 3.2
"""Strokes that a row or column crosses on average: digits up to 2.8, noise 4."""

_RUNS_AT_EDGES = 1.9
"""Strokes that both rows and columns cross on average where the ink touches all four edges: checkerboards 2."""

_REGIONS = 6
"""Regions of at least a tenth of the main one's area: digits up to 5 unless they fall to pieces, noise 9 and more."""

_GATHERED = 0.7
"""Share of what stands out that is taken for the digit: in noise up to 0.64."""

_THICKNESS = 0.31
"""Thickness of strokes as a share of the digit's longer side: digits up to 0.28, squares and discs from 0.34 on."""

_ASPECT = (0.1, 2.2)
"""Width / height: digits 0.15 to 1.6 (one of 3,000 up to 3), lines beyond."""

_LINES = 0.9
"""Share of the ink that is ruled lines and frames: beside digits up to 0.64."""

_CUT_OFF = 0.15
"""Empty share of the picture opposite an edge that the ink touches: digits cropped to their ink up to 0.06."""


def warnings_of(gray: Float32Array, drawn: Bitmap, regions: Regions, chosen: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return what speaks against the chosen regions being one digit.

    Args:
        gray: The picture, (height, width).
        drawn: All that stands out from the ground, (height, width).
        regions: The regions of it, without ruled lines.
        chosen: Which regions were taken for the digit, (n,).
    """
    main = int(np.where(chosen, regions.areas, 0).argmax())
    ink = regions.bitmap(chosen)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    margins = np.array([rows[0], columns[0], len(ink) - 1 - rows[-1], ink.shape[1] - 1 - columns[-1]])
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    tall, wide = box.shape
    downward, across = _edges_in_rows(box.T), _edges_in_rows(box)
    aspect = wide / tall
    runs = sorted((downward / wide / 2, across / tall / 2))
    is_scattered = int(box.sum()) < _GATHERED * int(drawn.sum())
    found = {
        "no stroke has an edge; this looks like a gradient": _steepest_share(gray) < _STEEPEST,
        "this looks like noise or a pattern, not like strokes": runs[1] > _RUNS
        or (runs[0] > _RUNS_AT_EDGES and not margins.any())
        or (is_scattered and (regions.areas >= 0.1 * regions.areas[main]).sum() >= _REGIONS),
        "several shapes of a digit's size are side by side; show one digit at a time": _has_others(regions, main),
        "this looks like a filled shape, too thick for strokes": 2 * int(box.sum()) / (downward + across)
        > _THICKNESS * max(tall, wide),
        "this looks like a line or a frame, not like a digit": not _ASPECT[0] <= aspect <= _ASPECT[1]
        or regions.areas.sum() < (1 - _LINES) * drawn.sum()
        or _is_frame(box),
        "the ink touches the edge of the picture; the digit may be cut off": bool(
            (np.roll(margins, 2)[margins == 0] > _CUT_OFF * np.roll([*ink.shape, *ink.shape], 2)[margins == 0]).any()
        ),
    }
    return tuple(warning for warning, holds in found.items() if holds)


def _edges_in_rows(box: Bitmap) -> int:
    """Count the changes between ink and ground along all rows, from outside to outside."""
    return int(np.diff(box.astype(np.int8), axis=1, prepend=0, append=0).astype(np.bool_).sum())


def _steepest_share(gray: Float32Array) -> float:
    """Return the greatest change of gray within 4 % of the shorter side, as a share of all change."""
    step = max(1, round(0.04 * min(gray.shape)))
    down, across = np.abs(gray[step:] - gray[:-step]), np.abs(gray[:, step:] - gray[:, :-step])
    return max(float(down.max(initial=0)), float(across.max(initial=0))) / max(float(np.ptp(gray)), 1e-6)


def _has_others(regions: Regions, main: int) -> bool:
    """Tell whether another region of at least a fifth of the main one's area stands at its height, beside it."""
    shared = np.minimum(regions.bottoms, regions.bottoms[main]) - np.maximum(regions.tops, regions.tops[main]) + 1
    covered = np.minimum(regions.rights, regions.rights[main]) - np.maximum(regions.lefts, regions.lefts[main]) + 1
    beside = covered < 0.2 * np.minimum(regions.widths, regions.widths[main])
    at_edge = edge_contact(regions) > 0
    large = (regions.areas > 0.2 * regions.areas[main]) & (~at_edge | at_edge[main])
    return bool((large & beside & (shared > 0.5 * regions.heights[main])).any())


def _is_frame(box: Bitmap) -> bool:
    """Tell whether ink lies along all four sides of its box and not inside."""
    return bool(min(box[0].mean(), box[-1].mean(), box[:, 0].mean(), box[:, -1].mean()) > 0.8 and box.mean() < 0.5)
