"""Connected regions of a bitmap, and the filters by window that find them: the little morphology ink.py needs.

NumPy alone: importing scipy.ndimage takes longer than reading a photo.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Float32Array

Bitmap = NDArray[np.bool_]


@dataclass(frozen=True)
class Regions:
    """The connected regions of a bitmap, numbered from 0.

    Attributes:
        labels: Number of the region that each pixel belongs to, -1 outside, (H, W).
        areas: Pixels of each region, (n,).
        tops: First row; `bottoms`, `lefts`, `rights` likewise, the last ones included, (n,).
    """

    labels: NDArray[np.int64]
    areas: NDArray[np.int64]
    tops: NDArray[np.int64]
    bottoms: NDArray[np.int64]
    lefts: NDArray[np.int64]
    rights: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.areas)

    @property
    def heights(self) -> NDArray[np.int64]:
        """Rows of each region's box, (n,)."""
        return self.bottoms - self.tops + 1

    @property
    def widths(self) -> NDArray[np.int64]:
        """Columns of each region's box, (n,)."""
        return self.rights - self.lefts + 1

    def bitmap(self, chosen: NDArray[np.bool_]) -> Bitmap:
        """Return the pixels of the chosen regions, (n,) -> (H, W)."""
        return np.append(chosen, False)[self.labels]


def regions_of(bitmap: Bitmap) -> Regions:
    """Find the regions whose pixels touch, also by their corners.

    Rows are cut into runs; runs that touch in neighboring rows are joined.

    Args:
        bitmap: (H, W).

    Source: Hoshen and Kopelman 1976 (joining labels row by row).
    """
    height, width = bitmap.shape
    changes = np.diff(bitmap.astype(np.int8), axis=1, prepend=0, append=0)  # (H, W + 1)
    rows, firsts = np.nonzero(changes == 1)
    behinds = np.nonzero(changes == -1)[1]  # runs are [first, behind)
    stride = width + 2
    above = (rows - 1) * stride
    begin = np.searchsorted(rows * stride + behinds, above + firsts)  # runs of the row above that touch each run
    end = np.searchsorted(rows * stride + firsts, above + behinds, side="right")
    owner = _joined(begin.tolist(), end.tolist())
    n = int(owner.max(initial=-1)) + 1
    starts = np.zeros((height, width + 1), np.int64)
    starts[rows, firsts] = owner + 1
    starts[rows, behinds] -= owner + 1
    tops, lefts = np.full(n, height), np.full(n, width)
    bottoms, rights = np.full(n, -1), np.full(n, -1)
    for best, values in ((tops, rows), (lefts, firsts)):
        np.minimum.at(best, owner, values)
    for best, values in ((bottoms, rows), (rights, behinds - 1)):
        np.maximum.at(best, owner, values)
    areas = np.bincount(owner, behinds - firsts, n).astype(np.int64)
    return Regions(starts.cumsum(axis=1)[:, :-1] - 1, areas, tops, bottoms, lefts, rights)


def edge_contact(regions: Regions) -> NDArray[np.float64]:
    """Return the share of an edge of the picture that each region touches, at the edge it touches most, (n,)."""
    labels = regions.labels
    edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    contact: NDArray[np.float64] = np.max(
        [np.bincount(edge[edge >= 0], minlength=len(regions)) / len(edge) for edge in edges], axis=0
    )
    return contact


def _joined(begin: list[int], end: list[int]) -> NDArray[np.int64]:
    """Number the groups of runs, where run i touches the runs begin[i] to end[i] - 1 before it, (n,)."""
    parent = list(range(len(begin)))
    for run in range(len(begin)):
        for other in range(begin[run], end[run]):
            root = run
            while parent[root] != root:
                parent[root] = parent[parent[root]]
                root = parent[root]
            while parent[other] != other:
                parent[other] = parent[parent[other]]
                other = parent[other]
            parent[max(root, other)] = min(root, other)
    for run, earlier in enumerate(parent):  # in ascending order, so what a run points to is a root already
        parent[run] = parent[earlier]
    return np.unique(np.array(parent, np.int64), return_inverse=True)[1]


def largest_within(values: Float32Array, rows: int, columns: int) -> Float32Array:
    """Return the largest value within a window around each pixel; beyond the edges its pixels go on.

    Args:
        values: (H, W).
        rows: Height of the window, odd.
        columns: Width of the window, odd.

    Returns:
        (H, W).
    """
    for axis, window in enumerate((rows, columns)):
        values = np.swapaxes(_largest_in_rows(np.swapaxes(values, axis, 1), window), axis, 1)
    return values


def smallest_within(values: Float32Array, rows: int, columns: int) -> Float32Array:
    """Return the smallest value within a window around each pixel; see `largest_within`."""
    return -largest_within(-values, rows, columns)


def mean_within(values: Float32Array, rows: int, columns: int) -> Float32Array:
    """Return the mean within a window around each pixel; see `largest_within`."""
    for axis, window in enumerate((rows, columns)):
        sums = _continued(np.swapaxes(values, axis, 1), window).cumsum(axis=1, dtype=np.float64)
        sums = np.pad(sums, ((0, 0), (1, 0)))
        means = (sums[:, window:] - sums[:, :-window]) / window
        values = np.swapaxes(means.astype(np.float32), axis, 1)
    return values


def _largest_in_rows(values: Float32Array, window: int) -> Float32Array:
    """Return the largest of `window` neighbors in a row, (H, W), by doubling the reach."""
    length = values.shape[1]
    largest, reach = np.ascontiguousarray(_continued(values, window)), 1
    while reach < window:
        step = min(reach, window - reach)
        largest = np.maximum(largest[:, :-step], largest[:, step:])
        reach += step
    return largest[:, :length]


def _continued(values: Float32Array, window: int) -> Float32Array:
    """Repeat the first and last pixel of each row, so that a window around it is full."""
    return np.pad(values, ((0, 0), (window // 2, window // 2)), "edge")
