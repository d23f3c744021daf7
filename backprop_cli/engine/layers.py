"""One layer: an affine map, an activation and dropout; forward and backward are neighbors.

Rows are examples. The bias is the last row of the layer's table, and what enters a layer ends in a column of ones:

    table = [weight; bias]      (fan_in + 1, fan_out)
    z = [inputs, 1] @ table     (batch, fan_out), which is inputs @ weight + bias in one product
    a = f(z)

and backward, with delta = dLoss/dz:

    grad_table  = [inputs, 1].T @ delta     weight and bias gradient in one product
    grad_inputs = delta @ weight.T

Source: Goodfellow et al. 2016, algorithms 6.3 and 6.4; Srivastava et al. 2014, section 4 (dropout).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backprop_cli.arrays import Array
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.errors import quoted, require

if TYPE_CHECKING:
    from numpy.random import Generator

Initializer = Callable[["Generator", int, int], Array]


@dataclass(frozen=True)
class LayerSpec:
    """The settings of one hidden layer.

    Attributes:
        units: Number of neurons, 1 to 65,536.
        activation: The function that the sum of each goes through.
        dropout: Share of this layer's outputs set to 0 in a training step, in [0, 1); the others are scaled up.
    """

    units: int
    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        names = ", ".join(ACTIVATIONS)
        require(
            (1 <= self.units <= 65_536, f"units: {self.units} is not between 1 and 65,536"),
            (self.activation in ACTIVATIONS, f"activation: {quoted(self.activation)} is not one of {names}"),
            (0.0 <= self.dropout < 1.0, f"dropout: {self.dropout} is not in [0, 1)"),
        )


def _normal(variance: Callable[[int, int], float]) -> Initializer:
    return lambda rng, fan_in, fan_out: rng.normal(0.0, math.sqrt(variance(fan_in, fan_out)), (fan_in, fan_out))


def _uniform(variance: Callable[[int, int], float]) -> Initializer:
    def draw(rng: Generator, fan_in: int, fan_out: int) -> Array:
        limit = math.sqrt(3.0 * variance(fan_in, fan_out))  # the variance of U(-b, b) is b^2 / 3
        return rng.uniform(-limit, limit, (fan_in, fan_out))

    return draw


def _he(fan_in: int, fan_out: int) -> float:
    return 2.0 / fan_in


def _glorot(fan_in: int, fan_out: int) -> float:
    return 2.0 / (fan_in + fan_out)


def _lecun(fan_in: int, fan_out: int) -> float:
    return 1.0 / fan_in


# Weights at the start, (fan_in, fan_out), by name; biases start at 0.
# Sources: He et al. 2015, section 2.2; Glorot and Bengio 2010, equation 16; LeCun et al. 1998, section 4.6.
INITIALIZERS: dict[str, Initializer] = {
    "zeros": lambda rng, fan_in, fan_out: np.zeros((fan_in, fan_out)),
    "he_normal": _normal(_he),
    "he_uniform": _uniform(_he),
    "glorot_normal": _normal(_glorot),
    "glorot_uniform": _uniform(_glorot),
    "lecun_normal": _normal(_lecun),
    "lecun_uniform": _uniform(_lecun),
}


class LayerBuffers:
    """Everything one layer writes in one forward and backward pass of one batch size, allocated once.

    Attributes:
        pre_activation: z, (batch, fan_out).
        outputs: [activation, 1], (batch, fan_out + 1): what the next layer reads.
        activation: The view of `outputs` without the ones, (batch, fan_out).
        slope: da/dz, (batch, fan_out), dropout included; (0, fan_out) for logits, which are their own activation.
        delta: dLoss/dz, (batch, fan_out).
        mask: Dropout's factor for each unit: 0 or 1 / (1 - dropout), (batch, fan_out); None without dropout.
    """

    def __init__(self, batch_size: int, layer: Dense) -> None:
        shape, dtype = (batch_size, layer.fan_out), layer.table.dtype
        self.pre_activation = np.zeros(shape, dtype)
        self.delta = np.zeros(shape, dtype)
        self.slope = np.zeros((0 if layer.is_output else batch_size, layer.fan_out), dtype)
        self.mask = np.zeros(shape, dtype) if layer.dropout else None
        self.outputs = self.pre_activation if layer.is_output else np.ones((batch_size, layer.fan_out + 1), dtype)
        self.activation = self.outputs[:, : layer.fan_out]


class Dense:
    """A fully connected layer over a part of the network's flat vectors.

    Args:
        spec: The layer's settings; None for the output layer, whose outputs are the logits.
        table: The layer's part of `params`, (fan_in + 1, fan_out): the weight, then the bias as the last row.
        grad_table: The same part of `grads`.
    """

    def __init__(self, spec: LayerSpec | None, table: Array, grad_table: Array) -> None:
        self.table, self.grad_table = table, grad_table
        self.weight, self.bias = table[:-1], table[-1]  # (fan_in, fan_out), (fan_out,)
        self.grad_weight, self.grad_bias = grad_table[:-1], grad_table[-1]
        self.fan_in, self.fan_out = self.weight.shape
        self.is_output = spec is None
        self.activation = spec.activation if spec else "identity"
        self.activate = ACTIVATIONS[self.activation]
        self.dropout = spec.dropout if spec else 0.0

    def forward(self, inputs: Array, buffers: LayerBuffers, rng: Generator | None = None) -> Array:
        """Return f([inputs, 1] @ table), (batch, fan_out + 1) with its own ones; (batch, fan_out) for the logits.

        Args:
            inputs: (batch, fan_in + 1), the last column ones.
            buffers: Where everything is written.
            rng: Given in training only: dropout is on.
        """
        np.dot(inputs, self.table, out=buffers.pre_activation)
        if self.is_output:
            return buffers.pre_activation
        self.activate(buffers.pre_activation, buffers.activation, buffers.slope)
        if rng is not None and buffers.mask is not None:
            self._drop(buffers, buffers.mask, rng)
        return buffers.outputs

    def backward(self, inputs: Array, delta: Array, grad_inputs: Array | None = None) -> None:
        """Fill `grad_table` and, where it is given, `grad_inputs` from this layer's delta.

        Args:
            inputs: What `forward` was given, (batch, fan_in + 1).
            delta: dLoss/dz, (batch, fan_out).
            grad_inputs: Where to write dLoss/dinputs, (batch, fan_in).
        """
        np.dot(inputs.T, delta, out=self.grad_table)
        if grad_inputs is not None:
            np.dot(delta, self.weight.T, out=grad_inputs)

    def _drop(self, buffers: LayerBuffers, mask: Any, rng: Generator) -> None:
        """Silence a random share of the units, value and slope alike; scale the rest so that the mean stays."""
        rng.random(out=mask, dtype=mask.dtype)
        np.greater_equal(mask, self.dropout, out=mask, casting="unsafe")
        mask *= 1.0 / (1.0 - self.dropout)
        buffers.activation *= mask
        buffers.slope *= mask
