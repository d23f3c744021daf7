"""Pictures with their labels, how they are scaled, and how they come in chunks; scikit-learn's digits."""

from __future__ import annotations

import gzip
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Array, Labels, Rows
from backprop_cli.data.augment import Warps, augment, sampling_points
from backprop_cli.data.normalize import BLOCK, Slant

if TYPE_CHECKING:
    from numpy.random import Generator

    from backprop_cli.data.arrangement import Arrangement
    from backprop_cli.data.extra import Mixture


# The first row of each writer group in scikit-learn's digits, which stand in the order they were collected.
# Source: INRIA scikit-learn course, "Sample grouping".
WRITER_BOUNDARIES = (0, 130, 256, 386, 516, 646, 776, 915, 1029, 1157, 1287, 1415, 1545, 1667, 1797)

CHUNK_FLOATS = 262_144  # about 1 MB of inputs at a time: they stay in the cache for the steps that use them
PRESCALED_FLOATS = 16_777_216  # up to 64 MB of inputs are scaled once; more are scaled chunk by chunk


@dataclass(frozen=True)
class Dataset:
    """Labeled pictures.

    Attributes:
        name: What it is called, and its rows after it.
        pictures: (n, height, width), ink high; integers or floats from 0 to `max_value`.
        labels: Indices into `classes`, (n,).
        classes: What the labels mean.
        max_value: Full ink.
        groups: Which writer each row is by, (n,); None where that is not known.
        slant: How slanted digits were set upright (see `normalize`): what a picture needs to look like these.
        n_skipped: How many bad rows of the source were left out.
        is_raw: Its rows stay as their source has them, so that a picture has to be laid like them.
        arrangement: How arrays were understood; None for what needs no understanding.
        paths: The picture file of each row; None where rows are not files.
        numbers: The number of each row in its source, where some were left out; None: as they stand.
        has_test_last: Its last rows are meant for the test.
        even_rows: Rows of arrays whose pixels are all alike, as they came.
        notes: What is to be known of how it was read, in words.
    """

    name: str
    pictures: NDArray[Any]
    labels: Labels
    classes: tuple[str, ...]
    max_value: float
    groups: Labels | None = None
    slant: Slant = "edges"
    n_skipped: int = 0
    is_raw: bool = False
    arrangement: Arrangement | None = None
    paths: tuple[str, ...] | None = None
    numbers: Rows | None = None
    has_test_last: bool = False
    even_rows: Rows | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        _, height, width = self.pictures.shape
        return height, width

    def row_name(self, row: int) -> str:
        """Return what commands call a row, and take it by: its picture file, or such as `digits:555`."""
        return f"{self.name}:{self.number_of(row)}" if self.paths is None else self.paths[row]

    def number_of(self, row: int) -> int:
        """Return the number of a row in its source, from 0; of those left out too there is one."""
        return row if self.numbers is None else int(self.numbers[row])

    def row_of(self, number: int) -> int | None:
        """Return the row with this number in its source; None where it was left out, or never was."""
        if self.numbers is None:
            return number if 0 <= number < len(self) else None
        found = int(np.searchsorted(self.numbers, number))
        return found if found < len(self) and self.numbers[found] == number else None


def load_digits() -> Dataset:
    """Return scikit-learn's 1,797 digits of 8x8 counts from 0 to 16, with their 14 writer groups.

    They are read from the file that the installed scikit-learn carries, since importing `sklearn.datasets` takes more
    than a second; should the file ever move, that import is what is left.

    Source: UCI "Optical Recognition of Handwritten Digits", test part (Alpaydin and Kaynak 1998).
    """
    path = _digits_path()
    if path is not None:
        text = gzip.decompress(path.read_bytes()).replace(b"\n", b",")
        table = np.fromstring(text, np.uint8, sep=",").reshape(-1, 65)
        pictures, labels = table[:, :64], table[:, 64]
    else:
        from sklearn.datasets import load_digits as sklearn_digits

        bunch = sklearn_digits()
        pictures, labels = bunch.data, bunch.target
    return Dataset(
        name="digits",
        pictures=pictures.astype(np.uint8).reshape(-1, 8, 8),
        labels=labels.astype(np.int64),
        classes=tuple("0123456789"),
        max_value=16.0,
        groups=np.repeat(np.arange(len(WRITER_BOUNDARIES) - 1), np.diff(WRITER_BOUNDARIES)),
    )


def _digits_path() -> Path | None:
    package = importlib.util.find_spec("sklearn")  # looks, does not import
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return path if path.is_file() else None


@dataclass(frozen=True)
class Scaling:
    """How pictures become inputs: (x / max_value - mean) / scale, pixel by pixel.

    Attributes:
        max_value: Full ink, > 0.
        mean: Per pixel, (height * width,).
        scale: One number for all pixels: border pixels, which hardly ever hold ink, would blow up one of their own.
    """

    max_value: float
    mean: Array
    scale: float

    @classmethod
    def fit(
        cls, kind: Literal["centered", "unit"], pictures: NDArray[Any], max_value: float, rows: Rows | None = None
    ) -> Scaling:
        """Return the scaling of the training part: `centered` has mean 0 and variance 1 over all, `unit` is x / max.

        Args:
            kind: `centered` or `unit`.
            pictures: (n, height, width), n >= 1.
            max_value: Full ink.
            rows: The training part; without it, all. Taken chunk by chunk: the pictures may be a mapped file.
        """
        n_inputs = pictures.shape[1] * pictures.shape[2]
        if kind == "unit":
            return cls(max_value, np.zeros(n_inputs, np.float32), 1.0)
        total, total_square = np.zeros(n_inputs), 0.0
        rows = np.arange(len(pictures)) if rows is None else rows
        for chunk in _parts(pictures, rows):
            part = chunk.reshape(-1, n_inputs) / float(max_value)
            total += part.sum(axis=0)
            total_square += float(np.einsum("ij,ij->", part, part))
        mean = total / len(rows)
        variance = total_square / (len(rows) * n_inputs) - float(np.mean(mean * mean))
        scale = float(np.float32(np.sqrt(max(variance, 0.0))))
        return cls(max_value, mean.astype(np.float32), scale if scale > 1e-6 else 1.0)

    def apply(self, pictures: NDArray[Any], out: Array | None = None, *, unit: bool = False) -> Array:
        """Return inputs, (n, height * width), float32.

        Args:
            pictures: (n, height, width) or (n, height * width).
            out: Where to write; may have gaps between its rows.
            unit: The pictures are already divided by `max_value`.
        """
        factor, offset = self.affine(unit=unit)
        out = np.multiply(pictures.reshape(len(pictures), -1), factor, out=out, dtype=np.float32)
        if offset.any():
            out -= offset
        return out

    def affine(self, *, unit: bool = False) -> tuple[np.float32, Array]:
        """Return factor and offset, (height * width,), float32: inputs are pictures * factor - offset."""
        factor = 1.0 / self.scale if unit else 1.0 / (self.scale * self.max_value)
        return np.float32(factor), self.mean / np.float32(self.scale)


def largest(pictures: NDArray[Any], rows: Rows) -> float:
    """Return the largest value in some rows, taken chunk by chunk."""
    return float(max(part.max() for part in _parts(pictures, rows)))


def are_counts(pictures: NDArray[Any], rows: Rows) -> bool:
    """Return whether some rows hold nothing but whole numbers from 0 to 16, as counts of 4x4 blocks do."""
    return all(
        bool(((part >= 0) & (part <= BLOCK * BLOCK) & (part == np.rint(part))).all()) for part in _parts(pictures, rows)
    )


def _parts(pictures: NDArray[Any], rows: Rows) -> Iterator[NDArray[Any]]:
    """Yield the pictures of some rows, about 1 MB of floats at a time: they may be a mapped file."""
    step = max(1, CHUNK_FLOATS // math.prod(pictures.shape[1:]))
    for start in range(0, len(rows), step):
        yield pictures[rows[start : start + step]]


class ChunkLoader:
    """A part of a data set as a network takes it: in chunks, shuffled, augmented, scaled, with a last column of ones.

    It is what `engine.training.Chunks` asks for.

    Args:
        pictures: (n, height, width), all of the data set.
        labels: (n,).
        rows: Which of them.
        scaling: Fitted on the training part.
        batch_size: All chunks but the last hold a multiple of it.
        shuffle: Given: every pass has an order of its own.
        warps: Given: every pass has warps of its own.
        warps_rng: Draws them.
        noise: Standard deviation of the noise on every input, as a share of full ink; `warps_rng` draws it.
        mixture: Given: what each pass is made of, instead of every row once.
        weights: Given: of every row of the data set, (n,), at least 0; they come with the labels.
    """

    def __init__(
        self,
        pictures: NDArray[Any],
        labels: Labels,
        rows: Rows,
        scaling: Scaling,
        batch_size: int,
        *,
        shuffle: Generator | None = None,
        warps: Warps | None = None,
        warps_rng: Generator | None = None,
        noise: float = 0.0,
        mixture: Mixture | None = None,
        weights: Array | None = None,
    ) -> None:
        self.weights = None if weights is None else weights[rows].astype(np.float32)
        self.pictures, self.labels, self.rows, self.scaling = pictures, labels[rows], rows, scaling
        self.shuffle, self.warps, self.warps_rng = shuffle, warps, warps_rng
        self.noise, self.mixture = np.float32(noise / scaling.scale), mixture
        self.n_rows = len(rows) if mixture is None else mixture.n_rows
        n_inputs = int(np.prod(pictures.shape[1:]))
        chunk = batch_size * max(1, CHUNK_FLOATS // (batch_size * (n_inputs + 1)))
        buffer = np.ones((min(chunk, self.n_rows), n_inputs + 1), np.float32)
        sizes = {len(buffer), self.n_rows % len(buffer)} if self.n_rows else set()
        self.chunks = {size: buffer[:size] for size in sizes}  # the same objects each time: views of them stay good
        self.chunk_size = len(buffer)
        self.flat = pictures.reshape(len(pictures), -1)
        self.points: NDArray[Any] | None = None  # what warps look up, where it is made once for all passes
        if warps is not None and warps.points_per_pixel > 1:
            self.points = sampling_points(pictures[rows], warps)
        self.scaled: Array | None = None  # every row of this part as inputs, where they are few and stay as they are
        if warps is None and len(rows) * n_inputs <= PRESCALED_FLOATS:
            self.scaled = np.ones((len(rows), n_inputs + 1), np.float32)
            scaling.apply(pictures[rows], self.scaled[:, :-1])
        n_raw = len(buffer) if self.scaled is None else 0
        self.raw = np.empty((n_raw, n_inputs), pictures.dtype)  # a chunk before it is scaled

    def __iter__(self) -> Iterator[tuple[Array, Labels] | tuple[Array, Labels, Array]]:
        order = self._order()
        for start in range(0, self.n_rows, self.chunk_size):
            picked = order[start : start + self.chunk_size]
            inputs = self.chunks[len(picked)]
            if self.scaled is not None:
                np.take(self.scaled, picked, axis=0, out=inputs, mode="clip")
            else:
                self._fill(inputs[:, :-1], picked)
            if self.noise and self.warps_rng is not None:
                inputs[:, :-1] += self.noise * self.warps_rng.standard_normal(inputs[:, :-1].shape, np.float32)
            if self.weights is None:
                yield inputs, self.labels.take(picked)
            else:
                yield inputs, self.labels.take(picked), self.weights.take(picked)

    def _order(self) -> NDArray[np.int64]:
        """Return which of `rows` a pass takes, one after the other."""
        if self.shuffle is None:
            return np.arange(self.n_rows)
        return self.shuffle.permutation(self.n_rows) if self.mixture is None else self.mixture.order(self.shuffle)

    def _fill(self, inputs: Array, picked: Rows) -> None:
        """Write the picked ones of `rows` as inputs, augmented where that is asked for."""
        warps, rng = self.warps, self.warps_rng
        if warps is None or rng is None:
            self.scaling.apply(self._raw(picked), inputs)
            return
        if self.points is not None:
            points = self.points[picked]
        else:
            points = sampling_points(self._raw(picked).reshape(-1, *self.pictures.shape[1:]), warps)
        self.scaling.apply(augment(points, warps, rng, self.scaling.max_value), inputs, unit=True)

    def _raw(self, picked: Rows) -> NDArray[Any]:
        """Return the picked ones of `rows` as they are, (., height * width)."""
        return np.take(self.flat, self.rows[picked], axis=0, out=self.raw[: len(picked)], mode="clip")
