"""Rows, labels and weights as scikit-learn's users give them -> as the engine takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from sklearn.utils.class_weight import compute_sample_weight

from backprop_cli.arrays import Array, Labels, Rows
from backprop_cli.data.dataset import ChunkLoader, Scaling
from backprop_cli.data.splits import split
from backprop_cli.errors import DataError


class Table(NamedTuple):
    """Rows to train on or to measure on.

    Attributes:
        X: As they came, (n, n_features).
        labels: Indices into the classes, (n,).
        weights: What each counts for, above 0, (n,); None: all the same.
    """

    X: Array
    labels: Labels
    weights: Array | None

    def take(self, rows: Rows) -> Table:
        """Return some of the rows."""
        return Table(self.X[rows], self.labels[rows], None if self.weights is None else self.weights[rows])

    def parted(self, share: float, seed: int) -> tuple[Table, Table | None]:
        """Return what is trained on, and a share of the rows that is not, each class in proportion; None for 0.

        Raises:
            ValueError: Nothing is left to train on.
        """
        if not share:
            return self, None
        try:
            parts = split("stratified", self.labels, None, validation_size=share, test_size=0.0, seed=seed)
        except DataError as error:
            raise ValueError(f"validation_fraction: {share} leaves none of {len(self.X)} rows to train on") from error
        return self.take(parts.train), self.take(parts.val)

    def chunks(
        self, scaler: StandardScaler, batch_size: int, shuffle: np.random.Generator | None = None
    ) -> ChunkLoader:
        """Return the rows standardized, as the engine takes them, their weights 1 on average."""
        inputs = scaler.transform(self.X).astype(np.float32)[:, None, :]
        weights = None if self.weights is None else self.weights / self.weights.mean()
        plain, rows = Scaling(1.0, np.zeros(inputs.shape[2], np.float32), 1.0), np.arange(len(inputs))
        return ChunkLoader(inputs, self.labels, rows, plain, batch_size, shuffle=shuffle, weights=weights)


def table_of(
    X: Array, y: Array, classes: Array, sample_weight: Any, class_weight: str | Mapping[Any, float] | None
) -> Table:
    """Return rows with numbers for labels, without those of weight 0.

    Args:
        X: Checked, (n, n_features).
        y: Checked, (n,).
        classes: Sorted, (n_classes,).
        sample_weight: Of each row, (n,), >= 0, or None.
        class_weight: `balanced`, class -> weight, or None; multiplied with those of the rows.

    Raises:
        ValueError: Fewer than two classes, labels that are none of them, or weights that are not what they should be.
    """
    if len(classes) < 2:
        raise ValueError(f"y: one class only, {classes[0]!r}; at least two classes are needed")
    if not (is_known := np.isin(y, classes)).all():
        raise ValueError(f"y: {np.unique(y[~is_known])} are not among the earlier classes, {classes}")
    labels = np.searchsorted(classes, y)
    if sample_weight is None and class_weight is None:
        return Table(X, labels, None)
    weights = np.ones(len(y))
    if sample_weight is not None:
        weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, copy=True, input_name="sample_weight")
        if weights.shape != y.shape:
            raise ValueError(f"sample_weight.shape == {weights.shape}, expected {y.shape}")
        if weights.min() < 0.0:
            raise ValueError("sample_weight: Negative values are not allowed")
    if class_weight is not None and (here := weights > 0.0).any():
        weights[here] *= compute_sample_weight(class_weight, y[here])
    if not (here := weights > 0.0).any():
        raise ValueError("sample_weight, class_weight: every weight is zero")
    weights = weights[here]
    return Table(X[here], labels[here], None if weights.min() == weights.max() else weights)
