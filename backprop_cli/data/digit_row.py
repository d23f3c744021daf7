"""Digits in a row: where each of them stands, and its ink by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Float32Array
from backprop_cli.data.image import as_picture_errors, decode, where_of
from backprop_cli.data.ink import EDGE_CONTACT, Invert, contrast_in, otsu_threshold, ruled_lines, stretched
from backprop_cli.data.regions import Regions, edge_contact, regions_of
from backprop_cli.errors import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_HEIGHT = 0.45
"""Height from which a region is a digit of its own, as a share of the tallest; lower ones belong to the nearest."""

LEAST_AREA = 0.01
"""Area from which a low region counts at all, as a share of the largest one's."""

OVERLAP = 0.5
"""Share of its width by which a region stands above or below another one if both are pieces of one digit."""

WIDEST = 1.6
"""Width above which a digit, as a share of its height, is perhaps two that touch."""


@dataclass(frozen=True)
class Found:
    """One digit of a row.

    Attributes:
        levels: Its ink by itself, bright on 0, in [0, 1], (height, width).
        box: Left, top, right, bottom, as shares of the picture's width and height, in [0, 1].
        is_wide: It is wider than digits are: perhaps two that touch.
    """

    levels: Float32Array
    box: tuple[float, float, float, float]
    is_wide: bool


def digits_in_row(source: Path | bytes | Image, invert: Invert = "auto", *, where: str | None = None) -> list[Found]:
    """Return the digits of a picture, from left to right.

    Digits that touch each other are taken for one.

    Args:
        source: A file, the content of one, or a picture of Pillow's.
        invert: "no" for dark ink on a light background, "yes" for light on dark, "auto" to find out.
        where: What messages call it; None: the file's path, or -.

    Raises:
        PictureError: The picture cannot be read, or is blank.
    """
    where = where_of(source) if where is None else where
    gray = decode(source, where)
    with as_picture_errors(where):
        contrast = contrast_in(gray, invert)
        threshold = otsu_threshold(contrast)
        drawn = contrast > threshold
        regions = regions_of(drawn & ~ruled_lines(drawn))
        if not len(regions):
            raise PictureError("blank: nothing but ruled lines")
    return [_found(contrast, threshold, regions, group) for group in _groups(regions)]


def _groups(regions: Regions) -> list[NDArray[np.int64]]:
    """Return the regions of each digit, from left to right."""
    usable = np.flatnonzero(edge_contact(regions) <= EDGE_CONTACT)
    usable = usable if len(usable) else np.arange(len(regions))
    heights = regions.heights[usable]
    is_digit = heights >= LEAST_HEIGHT * heights.max()
    digits = usable[is_digit]
    digits = digits[np.argsort(regions.lefts[digits], kind="stable")]
    parts = usable[~is_digit & (regions.areas[usable] >= LEAST_AREA * regions.areas[usable].max())]
    centers = (regions.lefts + regions.rights) / 2
    nearest = np.abs(centers[parts, None] - centers[digits]).argmin(axis=1)
    groups: list[NDArray[np.int64]] = []
    right = -1  # of the last group's digits
    for k, digit in enumerate(digits):
        left, width = regions.lefts[digit], regions.widths[digit]
        own = np.append(parts[nearest == k], digit)
        if groups and right + 1 - left > OVERLAP * min(width, regions.widths[groups[-1][-1]]):
            groups[-1] = np.concatenate([groups[-1], own])  # pieces of one digit stand above each other
        else:
            groups.append(own)
        right = max(right, int(regions.rights[digit]))
    return groups


def _found(contrast: Float32Array, threshold: float, regions: Regions, group: NDArray[np.int64]) -> Found:
    """Cut one digit out, with its soft outline."""
    height, width = contrast.shape
    top, bottom = int(regions.tops[group].min()), int(regions.bottoms[group].max())
    left, right = int(regions.lefts[group].min()), int(regions.rights[group].max())
    chosen = np.zeros(len(regions), np.bool_)
    chosen[group] = True
    rest = (contrast > threshold) & ~regions.bitmap(chosen)
    part = np.where(rest, 0, contrast)[max(0, top - 1) : bottom + 2, max(0, left - 1) : right + 2]
    box = (left / width, top / height, (right + 1) / width, (bottom + 1) / height)
    return Found(stretched(part, threshold), box, right - left > WIDEST * (bottom - top + 1))
