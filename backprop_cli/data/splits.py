"""Which rows are trained on, chosen with, and looked at once: train, validation and test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Rows
from backprop_cli.errors import DataError

SplitKind = Literal["writers", "stratified", "ordered"]


@dataclass(frozen=True)
class Splits:
    """Row numbers of each part; they do not overlap.

    Attributes:
        train: Fit on.
        val: Choose with; may be empty.
        test: Look at once; may be empty.
    """

    train: Rows
    val: Rows
    test: Rows


def split(
    kind: SplitKind,
    labels: Rows,
    groups: Rows | None,
    *,
    validation_size: float,
    test_size: float,
    seed: int = 0,
) -> Splits:
    """Return the parts of a data set.

    Args:
        kind: `writers`: whole writer groups, the last ones for test, those before them for validation: people whom
            the network has never seen. `stratified`: at random, each class in proportion. `ordered`: from the end.
        labels: (n,).
        groups: Which writer each row is by, (n,); needed by `writers`.
        validation_size: Share of all rows, in [0, 1).
        test_size: Share of all rows, in [0, 1).
        seed: Of `stratified`.

    Raises:
        DataError: No groups for `writers`, or nothing left to train on.
    """
    rows: Rows = np.arange(len(labels))
    if kind == "writers":
        if groups is None:
            raise DataError("data.split: writers needs to know who wrote what; use stratified or ordered here")
        rows, test = _last_groups(rows, groups, test_size)
        train, val = _last_groups(rows, groups, validation_size, n_all=len(labels))
    elif kind == "stratified":
        rng = np.random.default_rng(seed)
        rows, test = _stratified(rows, labels, _n_rows(test_size, len(labels)), rng)
        train, val = _stratified(rows, labels, _n_rows(validation_size, len(labels)), rng)
    else:
        n_test, n_val = _n_rows(test_size, len(rows)), _n_rows(validation_size, len(rows))
        stop = len(rows) - n_test
        train, val, test = rows[: max(0, stop - n_val)], rows[max(0, stop - n_val) : stop], rows[stop:]
    if len(train) == 0:
        raise DataError(f"data: no rows are left to train on ({len(val):,} validation, {len(test):,} test)")
    return Splits(train, val, test)


def _n_rows(size: float, n_all: int) -> int:
    return math.ceil(round(size * n_all, 9))  # 0.07 * 100 is 7.000000000000001


def _last_groups(rows: Rows, groups: Rows, size: float, n_all: int | None = None) -> tuple[Rows, Rows]:
    """Cut the last whole groups off `rows`: at least one, as many as come nearest to the wanted number of rows."""
    if not size or not len(rows):
        return rows, rows[:0]
    wanted = size * (n_all or len(rows))
    mine = groups[rows]
    order = list(dict.fromkeys(mine.tolist()))  # as they first appear
    best: NDArray[np.bool_] = mine == order[-1]
    for start in range(len(order) - 1, -1, -1):
        chosen = np.isin(mine, order[start:])
        if abs(chosen.sum() - wanted) < abs(best.sum() - wanted):
            best = chosen
    return rows[~best], rows[best]


def _stratified(rows: Rows, labels: Rows, n_wanted: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Draw `n_wanted` rows, each class in proportion (largest remainders get the odd ones), and what is left."""
    classes, n_of_each = np.unique(labels[rows], return_counts=True)
    exact = n_of_each * (n_wanted / max(1, len(rows)))
    take = np.floor(exact).astype(int)
    odd = min(n_wanted, len(rows)) - take.sum()
    take[np.argsort(take - exact, kind="stable")[:odd]] += 1
    drawn = [rng.permutation(rows[labels[rows] == c])[:k] for c, k in zip(classes, take, strict=True)]
    chosen = np.isin(rows, np.concatenate(drawn)) if drawn else np.zeros(len(rows), bool)
    return rows[~chosen], rows[chosen]


def stratified_folds(labels: Rows, n_folds: int, seed: int) -> list[Rows]:
    """Return `n_folds` test parts, (about n / n_folds,) each, that cover every row once, each class in proportion."""
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    dealt = np.concatenate(by_class)  # dealt like cards: class after class, one row to each fold in turn
    return [np.sort(dealt[fold::n_folds]) for fold in range(n_folds)]


def group_folds(groups: Rows) -> list[Rows]:
    """Return one test part for each group."""
    return [np.flatnonzero(groups == group) for group in np.unique(groups)]
