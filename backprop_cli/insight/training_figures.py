"""The figures of a training as they are judged: one scale for every loss, and what is missing left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from backprop_cli.engine.losses import loss_of


@dataclass(frozen=True)
class Sizes:
    """How many rows there are in all, to train on (copies included) and to choose by, and how many classes."""

    n_rows: int
    n_train: int
    n_val: int
    n_classes: int


class TrainingFigures:
    """One network's training, ready to be judged.

    Attributes:
        losses: Of the training part, by epoch, with guessing as 1.
        val_losses: Of the validation part; empty without one.
        fresh: Where a network whose logits are all 0 begins on this scale.
        is_finished: It came to its own end.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], sizes: Sizes) -> None:
        self.rows, self.settings, self.sizes = rows, settings, sizes
        self.plain_losses = [float(row["loss"]) for row in rows]
        lowest, guessing, fresh = _scale(settings["loss"], sizes.n_classes)
        self.fresh = (fresh - lowest) / (guessing - lowest)
        self.losses = [(loss - lowest) / (guessing - lowest) for loss in self.plain_losses]
        plain = [figure(row, "val_loss") for row in rows]
        self.plain_val = [loss for loss in plain if loss is not None] if None not in plain else []
        self.val_losses = [(loss - lowest) / (guessing - lowest) for loss in self.plain_val]
        self.is_finished = is_finished(rows)
        self.specs: list[Mapping[str, Any]] = list(settings["network"]["layers"])
        self.best = min(self.val_losses or self.losses)

    def figures(self, name: str) -> list[list[float]]:
        """Return a figure by epoch and layer; empty where it was not recorded."""
        found = [by_layer(row, name) for row in self.rows]
        return [figures for figures in found if len(figures) == len(self.specs) + 1]

    @property
    def largest_step(self) -> float | None:
        """The largest update-to-weight ratio of any layer and epoch; None where it was not recorded."""
        return max((max(figures) for figures in self.figures("update_ratio")), default=None)

    def with_layers(self, key: str, value: Callable[[Any], Any]) -> str:
        """Return the change to layers with another value of one key, got from the one they have."""
        layers = [{**spec, key: value(spec[key])} for spec in self.specs]
        texts = [", ".join(f"{key}: {value}" for key, value in layer.items()) for layer in layers]
        return f"network.layers=[{', '.join(f'{{{text}}}' for text in texts)}]"


def has_layer_figures(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the rows tell each layer's figures; those of older versions do not."""
    return any(by_layer(row, "grad_norm") for row in rows)


def is_finished(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a training came to its own end; before that, only what cannot get better by itself is found."""
    return bool(rows) and rows[-1].get("stop_reason") in ("completed", "early_stopping")


def _scale(settings: Mapping[str, Any], n_classes: int) -> tuple[float, float, float]:
    """Return the least loss, that of giving every class the same probability, and that of logits that are all 0."""
    loss = loss_of(settings)
    targets = loss.targets(np.zeros(1, int), n_classes, np.float64)
    guess = np.full((1, n_classes), 1.0 / n_classes)
    fresh = loss.outputs(np.zeros((1, n_classes)))  # sigmoid units begin at 1/2, whatever the number of classes
    lowest, guessing, start = (float(loss.values(outputs, targets)[0]) for outputs in (targets, guess, fresh))
    return lowest, guessing, start


def fall(losses: Sequence[float], part: int) -> float:
    """Return by how much a loss fell in the last fifth, half or so of the epochs, on the mean and at its lowest."""
    return min(before - after for before, after in (latest(losses, part, fmean), latest(losses, part, min)))


def latest(losses: Sequence[float], part: int, what: Callable[[Sequence[float]], float]) -> tuple[float, float]:
    """Return the mean or lowest loss of the last fifth, half or so of the epochs, after that of as many before them."""
    n = max(1, len(losses) // part)
    return what(losses[-2 * n : -n] or losses[:1]), what(losses[-n:])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def figure(row: Mapping[str, Any], name: str) -> float | None:
    """Return a figure of an epoch; None if it was not recorded, or is not a number."""
    value = row.get(name)
    return float(value) if _is_number(value) else None  # type: ignore[arg-type]


def by_layer(row: Mapping[str, Any], name: str) -> list[float]:
    """Return a figure of an epoch by layer; empty where it was not recorded."""
    layers = row.get("layers")
    values = layers.get(name) if isinstance(layers, dict) else None
    return values if isinstance(values, list) and all(map(_is_number, values)) else []
