"""Ink -> the grid of counts the data set has, and back: counts -> a plausible bitmap; for whole batches.

The digits of the data set were size-normalized by NIST to bitmaps of 32x32, in which the ink fills the height, is
about 20 wide, upright, and covers about 313 of the 1024 pixels whatever the digit; the numbers 0..16 count the ink
in blocks of 4x4. Undoing exactly that is what makes a foreign picture readable for a network trained on them.

What is ink and what is not is decided by comparing levels, and a straight stroke has many that are equal. So that the
same picture gives the same grid on every processor, nothing here hangs on the last bit of a sum: levels and weights
are multiples of powers of two, so coarse that float64 holds every sum of their products exactly. A BLAS may then add
them in any order, and with as many threads as it likes. What is rounded is rounded pixel by pixel.
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Float32Array
from backprop_cli.blas import blas_threads

Exact = NDArray[np.float64]  # multiples of a power of two
Level = TypeVar("Level", np.float64, np.bool_)
Slant = Literal["edges", "moments", "none"]

BLOCK = 4
"""Bitmap pixels along one side of a counted block, so that counts reach 16."""

FULL_COUNT = float(BLOCK * BLOCK)
"""The count of a block that is all ink."""

_INK = 0.5
"""Ink from which a pixel counts as drawn, in (0, 1)."""

_MASS = (280 / 1024, 345 / 1024)
"""Share of the bitmap that ink covers in the data set (313 +- 35 of 1024)."""

_WIDTH = (4 / 32, 20 / 32)
"""Least and usual width of a digit, as shares of the bitmap's width."""

_STRETCH = 1.5
"""How much wider a narrow digit may become, against its own proportions."""

_BLUR = 0.7 / 32
"""Standard deviation of the smoothing before the threshold, as a share of the bitmap's height."""

_LARGEST_SLANT = 0.7
"""Columns per row that the deskew by moments moves at most."""

_SIZE_STEP = 32
"""Pictures are padded to multiples of this to be worked on together."""

_CHUNK_PIXELS = 400_000
"""Pixels worked on at once: about 40 MB of intermediate arrays."""

_INK_BITS, _LEVEL_BITS, _WEIGHT_BITS = 12, 16, 16
"""Binary digits behind the point: of ink as it comes in, of levels between two steps, of the weights of each step. Two
weights and a level are multiplied at a time, which takes 48, and sums of such products stay below 32: 53 in all."""

_SUM_BITS = 24
"""Binary digits behind the point of weights before they are brought to the sum 1."""


def normalize(ink: NDArray[np.floating], *, picture: tuple[int, int] = (8, 8), slant: Slant = "edges") -> Float32Array:
    """Bring pictures of one size to the form of the data set.

    Args:
        ink: Pictures with bright ink on 0, in [0, 1], (n, H, W).
        picture: Rows and columns of the result.
        slant: "edges" lines up the left ends of a digit's top and bottom rows, as in the data set; "moments" takes
            the slant out before the digit is cropped; "none" leaves it.

    Returns:
        Counts of ink, whole numbers in [0, 16], (n, *picture); all 0 where a picture has no ink.

    Source: Garris et al. 1994, NIST form-based handprint recognition system (the normalization that is copied here).
    """
    if ink.ndim != 3:
        raise ValueError(f"ink: shape {ink.shape}; expected (n, height, width)")
    counts = np.zeros((len(ink), *picture), np.float32)
    size = max(ink.shape[1] * ink.shape[2], BLOCK * BLOCK * picture[0] * picture[1])
    step = max(1, _CHUNK_PIXELS // size)
    with blas_threads(1):  # on a busy machine two that wait for each other take forty times as long
        for start in range(0, len(ink), step):
            chunk = _rounded(ink[start : start + step], _INK_BITS)
            counts[start : start + step] = block_counts(_normalized_bitmaps(chunk, picture, slant))
    return counts


def normalize_many(
    inks: Sequence[NDArray[np.floating]], *, picture: tuple[int, int] = (8, 8), slant: Slant = "edges"
) -> Float32Array:
    """Bring pictures of any sizes, each (height, width), to the form of the data set; see `normalize`."""
    counts = np.zeros((len(inks), *picture), np.float32)
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, ink in enumerate(inks):
        groups[_padded(ink.shape[0]), _padded(ink.shape[1])].append(index)
    for shape, members in groups.items():
        batch = np.zeros((len(members), *shape), np.float32)
        for row, index in zip(batch, members, strict=True):
            height, width = inks[index].shape
            row[:height, :width] = inks[index]
        counts[members] = normalize(batch, picture=picture, slant=slant)
    return counts


def _padded(side: int) -> int:
    """Round up, so that pictures of nearly the same size share a batch."""
    return -(-side // _SIZE_STEP) * _SIZE_STEP


def block_counts(bitmaps: NDArray[np.bool_]) -> Float32Array:
    """Count the ink in blocks of 4x4: (n, 4 H, 4 W) -> whole numbers in [0, 16], (n, H, W)."""
    n, height, width = bitmaps.shape
    blocks = bitmaps.reshape(n, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    counts: Float32Array = blocks.sum(axis=(2, 4), dtype=np.float32)
    return counts


def window_counts(bitmaps: NDArray[np.bool_], margin: int) -> NDArray[np.uint8]:
    """Count the ink in the 4x4 windows that begin at every bitmap pixel, from `margin` blocks outside on.

    Args:
        bitmaps: (n, 4 H, 4 W).
        margin: Blocks without ink on every side, >= 0.

    Returns:
        Whole numbers in [0, 16], (n, 4 (H + 2 margin) - 3, 4 (W + 2 margin) - 3): every fourth is a block's count.
    """
    n, height, width = bitmaps.shape
    border = BLOCK * margin
    ink = np.zeros((n, height + 2 * border, width + 2 * border), np.uint8)
    ink[:, border : border + height, border : border + width] = bitmaps
    tall = ink[:, :-3] + ink[:, 1:-2] + ink[:, 2:-1] + ink[:, 3:]
    counts: NDArray[np.uint8] = tall[:, :, :-3] + tall[:, :, 1:-2] + tall[:, :, 2:-1] + tall[:, :, 3:]
    return counts


def bitmap(counts: NDArray[np.floating], *, rounds: int = 30) -> NDArray[np.bool_]:
    """Return the smoothest bitmaps that have exactly these block counts.

    Blurs and, in every block, keeps the `count` highest pixels, again and again with a narrowing blur.

    Args:
        counts: Whole numbers in [0, 16], (n, H, W).
        rounds: How often to blur and choose.

    Returns:
        Ink, (n, 4 H, 4 W).
    """
    numbers = np.asarray(counts)
    if numbers.ndim != 3 or not np.array_equal(numbers, np.clip(np.rint(numbers), 0, BLOCK * BLOCK)):
        raise ValueError(f"counts: shape {numbers.shape}; expected whole numbers 0..16 of shape (n, rows, columns)")
    bitmaps = np.zeros((len(numbers), BLOCK * numbers.shape[1], BLOCK * numbers.shape[2]), np.bool_)
    step = max(1, _CHUNK_PIXELS // max(1, bitmaps[:1].size))
    for start in range(0, len(numbers), step):
        bitmaps[start : start + step] = _smoothest_bitmaps(numbers[start : start + step].astype(np.int8), rounds)
    return bitmaps


def _smoothest_bitmaps(counts: NDArray[np.int8], rounds: int) -> NDArray[np.bool_]:
    """Alternate blur and choice, from a bicubic enlargement of the counts, (n, H, W), on."""
    ink = _highest_per_block(blurred(enlarged(counts, BLOCK), 0.7), counts)
    for sigma in np.linspace(1.6, 0.9, rounds - 1):
        ink = _highest_per_block(blurred(ink, sigma), counts)
    return ink


def _highest_per_block(levels: Float32Array, counts: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Mark the `counts` highest pixels of every 4x4 block; among equal ones the first."""
    n, height, width = counts.shape
    blocks = levels.reshape(n, height, BLOCK, width, BLOCK).transpose(2, 4, 0, 1, 3).reshape(BLOCK * BLOCK, -1)
    above = np.zeros(blocks.shape, np.int8)  # how many pixels of its block come before each one
    for k in range(1, BLOCK * BLOCK):
        behind = blocks[:k] >= blocks[k]  # (k, n H W): pixel k comes after these
        above[k] += behind.sum(axis=0, dtype=np.int8)
        above[:k] += ~behind
    chosen = above < counts.reshape(-1)
    return chosen.reshape(BLOCK, BLOCK, n, height, width).transpose(2, 3, 0, 4, 1).reshape(levels.shape)


def _normalized_bitmaps(ink: Exact, picture: tuple[int, int], slant: Slant) -> NDArray[np.bool_]:
    """Crop, scale, set the stroke mass, straighten and center: (n, H, W) -> (n, 4 rows, 4 columns)."""
    height, width = BLOCK * picture[0], BLOCK * picture[1]
    if slant == "moments":
        ink = deskewed(ink)
    drawn = ink >= _INK
    top, tall = _extent(np.any(drawn, axis=2))
    left, wide = _extent(np.any(drawn, axis=1))
    least, usual = (share * width for share in _WIDTH)
    new_wide = np.rint(np.clip(_STRETCH * height * wide / tall, least, usual))
    rows = resampling(top, tall, np.full(len(ink), height), ink.shape[1], height)  # (n, height, H)
    columns = resampling(left, wide, new_wide, ink.shape[2], width)  # (n, width, W)
    scaled = rows @ ink @ columns.swapaxes(1, 2)  # (n, height, width)
    levels = blurred(np.clip(scaled, 0, 1), _BLUR * height)
    return _centered(_with_usual_mass(levels) & np.any(drawn, axis=(1, 2), keepdims=True), straighten=slant == "edges")


def _extent(drawn: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first true place of each row of (n, length) and how many places lead to the last (all if none)."""
    first = drawn.argmax(axis=1)
    last = drawn.shape[1] - 1 - drawn[:, ::-1].argmax(axis=1)
    return first, last - first + 1


def _rounded(values: NDArray[np.floating], bits: int) -> Exact:
    """Return the nearest multiples of 2^-bits."""
    steps = float(2**bits)
    rounded: Exact = np.rint(np.asarray(values, np.float64) * steps) / steps
    return rounded


def _shares(weights: Exact, used: NDArray[np.bool_] | bool = True) -> Exact:
    """Return weights, (..., n), as multiples of 2^-16 whose sum is exactly 1; 0 where they are not `used`, (..., 1).

    The sums up to each weight are rounded, not the weights: so all of them come to exactly 1, forward and backward.
    """
    sums = np.cumsum(_rounded(weights, _SUM_BITS), axis=-1)
    shares = np.divide(sums, sums[..., -1:], out=np.zeros_like(sums), where=used)
    return np.diff(_rounded(shares, _WEIGHT_BITS), axis=-1, prepend=0.0)


def resampling(
    start: NDArray[np.number], length: NDArray[np.number], size: NDArray[np.number], n_inputs: int, n_outputs: int
) -> Exact:
    """Return matrices that draw inputs [start, start + length) on the middle `size` outputs, one for each picture.

    Bicubic (a = -0.5), widened where the picture shrinks, so that every input counts (antialiasing).

    Args:
        start: First input, (n,).
        length: Number of inputs, (n,).
        size: Number of outputs, (n,).
        n_inputs: Columns of each matrix.
        n_outputs: Rows of each matrix.

    Returns:
        Weights that sum to 1 over each output within `size`, else 0, (n, n_outputs, n_inputs).

    Source: Keys 1981, cubic convolution interpolation.
    """
    # Boxes repeat within a batch: each different one is worked out once.
    code = (np.asarray(start) * (n_inputs + 1) + length) * (n_outputs + 1) + size
    _, chosen, inverse = np.unique(code, return_index=True, return_inverse=True)
    start, length, size = (np.asarray(values, np.float64)[chosen, None, None] for values in (start, length, size))

    # Centers of pixels, in halves of a pixel from where the box begins: odd whole numbers.
    places = 2 * (np.arange(n_outputs)[:, None] - np.floor((n_outputs - size) / 2)) + 1  # (unique, n_outputs, 1)
    inputs = 2 * (np.arange(n_inputs) - start) + 1  # (unique, 1, n_inputs)
    weights = _cubic((inputs * size - places * length) / (2 * np.maximum(size, length)))
    weights *= (inputs > 0) & (inputs < 2 * length)
    return _shares(weights, (places > 0) & (places < 2 * size))[inverse]


def _cubic(distance: Exact) -> Exact:
    """Return the cubic convolution kernel with a = -0.5, 0 from 2 on."""
    x = np.minimum(np.abs(distance), 2)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, far)


def enlarged(levels: NDArray[Any], factor: int) -> Exact:
    """Return pictures, (n, H, W), drawn `factor` times as large, bicubic."""
    height, width = levels.shape[1:]
    down, across = (
        resampling(np.zeros(1), np.array([side]), np.array([factor * side]), side, factor * side)[0]
        for side in (height, width)
    )
    larger: Exact = down @ levels.astype(np.float64) @ across.T
    return larger


def blurred(levels: NDArray[Any], sigma: float) -> Float32Array:
    """Blur pictures, (n, H, W), with a Gaussian of standard deviation `sigma` pixels that is cut at the edges."""
    down, across = _gaussian(levels.shape[1], sigma), _gaussian(levels.shape[2], sigma)
    smooth: Exact = down @ _rounded(levels, _LEVEL_BITS) @ across.T
    return smooth.astype(np.float32)


@lru_cache(maxsize=64)
def _gaussian(length: int, sigma: float) -> Exact:
    """Return the matrix that blurs a column of `length`; its rows sum to 1."""
    # Decimal's exp is the same on every processor; beyond 6 standard deviations nothing is left of 24 binary digits.
    reach = range(min(length, int(6 * sigma) + 1))
    heights = np.zeros(length)
    heights[: len(reach)] = [float((Decimal(-k * k) / (2 * Decimal(sigma) ** 2)).exp()) for k in reach]
    places = np.arange(length)
    return _shares(heights[np.abs(places[:, None] - places)])


def _with_usual_mass(levels: Float32Array) -> NDArray[np.bool_]:
    """Threshold at one half, or where the mass of ink comes inside the usual range, (n, H, W)."""
    n, height, width = levels.shape
    flat = levels.reshape(n, -1)
    least, most = (round(share * height * width) for share in _MASS)
    mass = np.clip((flat >= _INK).sum(axis=1), least, most)
    faintest = np.take_along_axis(np.sort(flat, axis=1), height * width - mass[:, None], axis=1)
    return ((flat >= faintest) & (flat > 0)).reshape(levels.shape)


def deskewed(ink: Exact) -> Exact:
    """Take the slant out, x += a (y - mean y) with a = Sxy / Syy, on pictures padded so that nothing is lost."""
    height, width = ink.shape[1:]
    margin = int(np.ceil(_LARGEST_SLANT * height / 2))
    y, x = np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64)
    mass_of_rows, sum_of_rows = ink.sum(axis=2), ink @ x  # (n, height)
    mass = np.maximum(mass_of_rows.sum(axis=1), 2.0**-_INK_BITS)  # (n,)
    mean_y = mass_of_rows @ y / mass
    sxy = sum_of_rows @ y - mean_y * sum_of_rows.sum(axis=1)
    syy = mass_of_rows @ (y * y) - mean_y * (mass_of_rows @ y)
    slope = np.clip(sxy / np.maximum(syy, 1e-6), -_LARGEST_SLANT, _LARGEST_SLANT)
    moves = slope[:, None] * (y - mean_y[:, None])  # (n, height)
    return _rows_moved(np.pad(ink, ((0, 0), (0, 0), (margin, margin + 1))), _rounded(moves, _INK_BITS)[:, :, None])


def _rows_moved(pictures: Exact, moves: Exact) -> Exact:
    """Read every row, (n, H, W), `moves` pixels further right, (n, H, 1); between pixels linearly, outside is 0."""
    whole = np.floor(moves)
    part = moves - whole
    columns = np.arange(pictures.shape[2]) + whole.astype(np.int64)  # (n, H, W)
    return _rounded((1 - part) * _taken(pictures, columns) + part * _taken(pictures, columns + 1), _INK_BITS)


def _taken(pictures: NDArray[Level], columns: NDArray[np.int64]) -> NDArray[Level]:
    """Read the given columns of every row, (n, H, W); those outside the picture are 0."""
    width = pictures.shape[2]
    values: NDArray[Level] = np.take_along_axis(pictures, np.clip(columns, 0, width - 1), axis=2)
    values[(columns < 0) | (columns >= width)] = 0
    return values


def _centered(ink: NDArray[np.bool_], *, straighten: bool) -> NDArray[np.bool_]:
    """Move rows so that the digit stands in the middle, upright along its left edge if asked, (n, H, W)."""
    n, height, width = ink.shape
    left, wide = (values.reshape(n, height) for values in _extent(ink.reshape(n * height, width)))
    has_ink = np.any(ink, axis=2)  # (n, H)
    shift = np.zeros((n, height), np.int64)
    if straighten:
        top, tall = _extent(has_ink)
        bottom = top + tall - 1
        pictures = np.arange(n)
        ends = left[pictures, top], left[pictures, bottom]
        slope = (ends[1] - ends[0]) / np.maximum(tall - 1, 1)
        shift = np.rint(slope[:, None] * (np.arange(height) - top[:, None])).astype(np.int64)
    first = np.where(has_ink, left - shift, width).min(axis=1)
    behind = np.where(has_ink, left + wide - shift, -width).max(axis=1)
    offset = (first + behind - width) // 2
    columns = np.arange(width) + (shift + offset[:, None])[:, :, None]  # (n, H, W)
    return _taken(ink, columns)
