"""What a network sees of the ink on pictures: counted as the digits were, or laid like the rows it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from backprop_cli.arrays import Array, Float32Array
from backprop_cli.blas import blas_threads
from backprop_cli.data.layout import Layout
from backprop_cli.data.normalize import FULL_COUNT, Slant, normalize, normalize_many

FULL_BYTE = 255.0


class Form(NamedTuple):
    """How ink is brought before a network.

    Attributes:
        picture: Height and width of what it sees.
        slant: How slanted digits are set upright, where they are counted.
        layout: How the rows it was trained on lie, where they were taken as they are; None: counted.
    """

    picture: tuple[int, int]
    slant: Slant = "edges"
    layout: Layout | None = None

    @property
    def full(self) -> float:
        """What full ink is, where it is kept in whole numbers."""
        return FULL_COUNT if self.layout is None else FULL_BYTE

    def seen(self, inks: Sequence[Array] | Array) -> Float32Array:
        """Return ink, bright on 0 in [0, 1], as (n, *picture) from 0 to 1.

        Args:
            inks: Each (height, width) of any size; or all of one size, (n, height, width).
        """
        if self.layout is None:
            if isinstance(inks, np.ndarray):
                counts = normalize(inks, picture=self.picture, slant=self.slant)
            else:
                counts = normalize_many(inks, picture=self.picture, slant=self.slant)
            return counts / np.float32(FULL_COUNT)
        with blas_threads(1):
            return np.stack([self.layout.laid(ink, self.picture) for ink in inks])
