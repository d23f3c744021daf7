"""How the ink of a data set's rows lies in them, and a picture's ink laid the same way.

Where rows are taken as they are, a picture has to look like one of them. So the model keeps what they have in common:
the height and width of the box that the ink fills, and whether its center of mass or that of the box stands still.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Array, Float32Array
from backprop_cli.data.normalize import deskewed, resampling

Fit = Literal["longer", "height", "width", "both"]
Center = Literal["mass", "box"]

_INK = 0.25  # from which a pixel counts as drawn
_SAME = 0.04  # spread of a box's side against its length, below which it is always the same
_EDGES = (1.0, 99.0)  # percentiles between which a row lies like the others
_SLACK = 1.0  # pixel, beyond these


@dataclass(frozen=True)
class Layout:
    """What the rows of a data set have in common.

    Attributes:
        fit: Which side of the ink's box is always the same: the longer one, its height, its width, or both.
        height: Of the box, in pixels, as usual.
        width: Of the box, in pixels, as usual.
        longer: Of both, in pixels, as usual.
        center: What stands still: the ink's center of mass, or that of its box.
        y: Where it stands, in pixels from the middle of the first row.
        x: Where it stands, in pixels from the middle of the first column.
        upright: The slant was taken out.
        least: The least usual height, width, y and x of a row.
        most: The largest usual ones.
    """

    fit: Fit
    height: float
    width: float
    longer: float
    center: Center
    y: float
    x: float
    upright: bool
    least: tuple[float, float, float, float]
    most: tuple[float, float, float, float]

    @classmethod
    def of(cls, ink: Float32Array) -> Self:
        """Return the layout of rows, (n, height, width), bright ink on 0 in [0, 1]; blank ones tell nothing."""
        drawn = ink[(ink >= _INK).any(axis=(1, 2))]
        if not len(drawn):
            raise ValueError("all rows are blank")
        top, tall, left, wide = _boxes(drawn)
        mass = _centers_of_mass(drawn)
        box = np.stack([top + (tall - 1) / 2.0, left + (wide - 1) / 2.0], axis=1)
        is_mass = mass.std(axis=0).sum() < box.std(axis=0).sum()
        where = mass if is_mass else box
        sides = {"longer": np.maximum(tall, wide), "height": tall, "width": wide}
        spreads = {name: float(values.std() / values.mean()) for name, values in sides.items()}
        is_both = spreads["height"] < _SAME and spreads["width"] < _SAME
        fit: Any = "both" if is_both else min(spreads, key=spreads.__getitem__)
        figures = np.stack([tall, wide, where[:, 0], where[:, 1]], axis=1)
        least, most = np.percentile(figures, _EDGES, axis=0)
        slopes = _slopes(drawn)
        return cls(
            fit=fit,
            height=float(np.median(tall)),
            width=float(np.median(wide)),
            longer=float(np.median(sides["longer"])),
            center="mass" if is_mass else "box",
            y=float(where[:, 0].mean()),
            x=float(where[:, 1].mean()),
            upright=bool(np.median(np.abs(slopes)) < 0.05),
            least=tuple(np.round(least - _SLACK, 3).tolist()),
            most=tuple(np.round(most + _SLACK, 3).tolist()),
        )

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Return what `to_dict` gave."""
        return cls(**{**plain, "least": tuple(plain["least"]), "most": tuple(plain["most"])})

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "least": list(self.least), "most": list(self.most)}

    def holds(self, ink: Float32Array) -> bool:
        """Return whether ink, (height, width) of the rows' own size, lies in it as theirs does."""
        if not (ink >= _INK).any():
            return False
        top, tall, left, wide = (int(values[0]) for values in _boxes(ink[None]))
        box = (top + (tall - 1) / 2.0, left + (wide - 1) / 2.0)
        where = _centers_of_mass(ink[None])[0] if self.center == "mass" else box
        figures = (tall, wide, *where)
        return all(low <= value <= high for low, value, high in zip(self.least, figures, self.most, strict=True))

    def laid(self, ink: Array, picture: tuple[int, int]) -> Float32Array:
        """Return ink of any size, bright on 0 in [0, 1], as a row of this size, (height, width), from 0 to 1."""
        if self.upright:
            ink = deskewed(np.asarray(ink, np.float64)[None])[0]
        if not (ink >= _INK).any():
            return np.zeros(picture, np.float32)
        top, tall, left, wide = (int(values[0]) for values in _boxes(np.asarray(ink)[None]))
        new_tall, new_wide = self._size(tall, wide)
        new_tall, new_wide = (
            min(max(1, round(side)), most) for side, most in zip((new_tall, new_wide), picture, strict=True)
        )
        down, across = (
            resampling(np.array([start]), np.array([length]), np.array([size]), n_in, n_out)[0]
            for start, length, size, n_in, n_out in (
                (top, tall, new_tall, ink.shape[0], picture[0]),
                (left, wide, new_wide, ink.shape[1], picture[1]),
            )
        )
        row = np.clip(down @ ink @ across.T, 0.0, 1.0).astype(np.float32)
        return self._centered(row)

    def _size(self, tall: int, wide: int) -> tuple[float, float]:
        if self.fit == "both":
            return self.height, self.width
        factor = {
            "longer": self.longer / max(tall, wide),
            "height": self.height / tall,
            "width": self.width / wide,
        }[self.fit]
        return tall * factor, wide * factor

    def _centered(self, row: Float32Array) -> Float32Array:
        """Move by whole pixels what stands still to where it stands."""
        if not (row >= _INK).any():
            return row
        top, tall, left, wide = (int(values[0]) for values in _boxes(row[None]))
        at = _centers_of_mass(row[None])[0] if self.center == "mass" else (top + (tall - 1) / 2, left + (wide - 1) / 2)
        moved = np.zeros_like(row)
        wanted = zip((self.y, self.x), at, row.shape, strict=True)
        steps = [round(min(max(want - have, -side), side)) for want, have, side in wanted]
        taken, put = zip(*(_overlap(step, side) for step, side in zip(steps, row.shape, strict=True)), strict=True)
        moved[put] = row[taken]
        return moved


def _overlap(step: int, side: int) -> tuple[slice, slice]:
    """Return what is left of a side that moves by `step`: where it is taken from, and where it is put."""
    return slice(max(0, -step), side - max(0, step)), slice(max(0, step), side + min(0, step))


def _boxes(ink: NDArray[Any]) -> tuple[NDArray[np.int64], ...]:
    """Return top, height, left and width of the boxes around what is drawn, (n,) each."""
    drawn = ink >= _INK
    rows, columns = np.any(drawn, axis=2), np.any(drawn, axis=1)
    top, left = rows.argmax(axis=1), columns.argmax(axis=1)
    return (
        top,
        rows.shape[1] - rows[:, ::-1].argmax(axis=1) - top,
        left,
        columns.shape[1] - columns[:, ::-1].argmax(axis=1) - left,
    )


def _centers_of_mass(ink: NDArray[Any]) -> NDArray[np.float64]:
    """Return (row, column) of each center, (n, 2)."""
    mass = np.maximum(ink.sum(axis=(1, 2), dtype=np.float64), 1e-9)
    return np.stack(
        [ink.sum(axis=3 - axis, dtype=np.float64) @ np.arange(ink.shape[axis]) / mass for axis in (1, 2)], axis=1
    )


def _slopes(ink: NDArray[Any]) -> NDArray[np.float64]:
    """Return columns per row that the ink leans by its moments, (n,)."""
    y, x = np.arange(ink.shape[1]), np.arange(ink.shape[2])
    center = _centers_of_mass(ink)
    away_y, away_x = y - center[:, :1], x - center[:, 1:]
    sxy = np.einsum("nyx,ny,nx->n", ink, away_y, away_x)
    syy = np.einsum("nyx,ny->n", ink, away_y * away_y)
    return np.asarray(sxy / np.maximum(syy, 1e-6))
