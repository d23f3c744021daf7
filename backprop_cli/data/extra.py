"""Further sources that only training sees: pens that no writer of the data set had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Labels
from backprop_cli.data.copies import Kind
from backprop_cli.errors import require


@dataclass(frozen=True)
class Extra:
    """A further source that only training sees: never validation, test, folds or calibration.

    Attributes:
        source: As `data.source`; `pens`: digits of open handwriting fonts, which travel in the package.
        share: Of every batch, in (0, 1); all of them together below 1. null: its rows come as often as those of
            `data.source`. Its groups (writers, families of fonts) come equally often.
        kinds: How copies of it are made, with `augment.kind: copies`; each of these equally often. `normalized`: from
            the digit as it was counted. `proportions`: from its own picture, in its own proportions. `even_stroke`:
            redrawn along its middle line, with a pen of any width.
    """

    source: str
    share: float | None = None
    kinds: tuple[Kind, ...] = ("normalized",)

    def __post_init__(self) -> None:
        require(
            (self.source != "", "source: empty; expected pens, a file or a folder"),
            (self.share is None or 0.0 < self.share < 1.0, f"share: {self.share} is not between 0 and 1"),
            (len(self.kinds) > 0, "kinds: expected at least one"),
        )


class Mixture:
    """What a pass is made of: every row of the first source once, and rows of the others, drawn again each time.

    Args:
        n_first: Rows of the first source; those of the others follow, source after source.
        groups: Of each other source: whose each row is; all groups come equally often.
        shares: Of each other source; None: as many as it has.

    Attributes:
        n_rows: Rows of a pass.
    """

    def __init__(self, n_first: int, groups: Sequence[Labels], shares: Sequence[float | None]) -> None:
        self.n_first = n_first
        n_by_count = n_first + sum(len(of) for of, share in zip(groups, shares, strict=True) if share is None)
        n_all = n_by_count / (1.0 - sum(share or 0.0 for share in shares))
        self._parts: list[tuple[int, Any, Any, Any]] = []  # how many are drawn; rows by group; where each begins; sizes
        start = n_first
        for of, share in zip(groups, shares, strict=True):
            _, sizes = np.unique(of, return_counts=True)
            n_drawn = len(of) if share is None else round(n_all * share)
            self._parts.append((n_drawn, start + np.argsort(of, kind="stable"), np.cumsum(sizes) - sizes, sizes))
            start += len(of)
        self.n_rows = n_first + sum(n_drawn for n_drawn, *_ in self._parts)

    def order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the rows of a pass, shuffled."""
        drawn = [np.arange(self.n_first)]
        for n_drawn, rows, starts, sizes in self._parts:
            group = rng.integers(0, len(sizes), n_drawn)
            drawn.append(rows[starts[group] + (rng.random(n_drawn) * sizes[group]).astype(np.int64)])
        return rng.permutation(np.concatenate(drawn))
