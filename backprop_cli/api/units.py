"""What the units of a first layer look for: their weights as a picture, and the digits that excite each most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backprop_cli.arrays import Array, Rows
from backprop_cli.blas import blas_threads
from backprop_cli.data.dataset import Dataset

if TYPE_CHECKING:
    from backprop_cli.api.models import Model

MAX_PIXELS = 65_536  # of all pictures of weights together
MAX_ROWS = 10_000  # that are asked whom they excite
N_DIGITS = 4


@dataclass(frozen=True, eq=False)
class Excitement:
    """One digit that excites a unit.

    Attributes:
        sample: Its row, such as `digits:1234`.
        label: What it is.
        sum: Of the unit: inputs x weights + bias, before the activation.
        pixels: What the network saw, (height, width), ink from 0 to 1.
    """

    sample: str
    label: str
    sum: float
    pixels: Array


@dataclass(frozen=True, eq=False)
class Unit:
    """One unit of the first layer of a model's first network.

    Attributes:
        number: From 0.
        weights: From each pixel, (height, width).
        bias: Added to what they bring.
        excited_by: The digits that make its sum largest, the largest first; none without data.
    """

    number: int
    weights: Array
    bias: float
    excited_by: tuple[Excitement, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, without pixels."""
        digits = [{"sample": one.sample, "label": one.label, "sum": one.sum} for one in self.excited_by]
        return {"unit": self.number, "weights": self.weights.tolist(), "bias": self.bias, "excited_by": digits}


def first_layer_units(model: Model, rows: tuple[Dataset, Rows] | None, n_digits: int = N_DIGITS) -> tuple[Unit, ...]:
    """Return the units of the first layer, at most as many as `MAX_PIXELS` allows.

    Args:
        model: Its first network is looked at.
        rows: The digits to choose from: a data set and its rows; None: no digits.
        n_digits: How many for each unit.
    """
    layer = model.predictor.networks[0].layers[0]
    n_units = min(layer.fan_out, max(1, MAX_PIXELS // layer.fan_in))
    excited = [()] * n_units if rows is None else _excited(model, *rows, n_units, n_digits)
    return tuple(
        Unit(k, layer.weight[:, k].reshape(model.picture_size), float(layer.bias[k]), excited[k])
        for k in range(n_units)
    )


def _excited(model: Model, dataset: Dataset, rows: Rows, n_units: int, n_digits: int) -> list[tuple[Excitement, ...]]:
    """Return for each of the first units the digits that excite it most."""
    predictor, rows = model.predictor, rows[:MAX_ROWS]
    layer = predictor.networks[0].layers[0]
    with blas_threads(predictor.n_threads):
        inputs = predictor.scaling.apply(dataset.pictures[rows])
        sums = inputs @ layer.weight[:, :n_units] + layer.bias[:n_units]  # (rows, units)
    best = np.argsort(-sums, axis=0, kind="stable")[:n_digits]
    full = predictor.scaling.max_value

    def digit(k: int, unit: int) -> Excitement:
        row = int(rows[k])
        label = dataset.classes[dataset.labels[row]]
        return Excitement(dataset.row_name(row), label, float(sums[k, unit]), dataset.pictures[row] / full)

    return [tuple(digit(int(k), unit) for k in best[:, unit]) for unit in range(n_units)]
