"""A network is its layer specs plus one vector of numbers.

`params` is that vector, `grads` its twin; every layer holds reshaped views into both. So an optimizer step, a copy of
the best epoch, a checkpoint and a gradient check are each one operation on one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from backprop_cli.arrays import Array
from backprop_cli.engine.layers import INITIALIZERS, Dense, LayerBuffers, LayerSpec
from backprop_cli.errors import quoted, require

if TYPE_CHECKING:
    from numpy.random import Generator

EVALUATION_ROWS = 1024  # rows per forward pass where no caller's batch size says otherwise


def append_ones(inputs: Array, dtype: Any = None) -> Array:
    """Return [inputs, 1], (rows, n_inputs + 1): the form in which inputs enter a network (see layers.py)."""
    extended = np.ones((len(inputs), inputs.shape[1] + 1), dtype or inputs.dtype)
    extended[:, :-1] = inputs
    return extended


@dataclass(frozen=True)
class NetworkSettings:
    """The shape of a network.

    Attributes:
        layers: The hidden layers, in order, at most 63; the softmax output layer is implied by the classes.
        initializer: How the weights of the hidden layers start.
    """

    layers: tuple[LayerSpec, ...] = (LayerSpec(64),)
    initializer: str = "he_normal"

    def __post_init__(self) -> None:
        names = ", ".join(INITIALIZERS)
        require(
            (len(self.layers) <= 63, f"layers: {len(self.layers)} are more than 63"),
            (self.initializer in INITIALIZERS, f"initializer: {quoted(self.initializer)} is not one of {names}"),
        )


class Workspace:
    """Every array of one forward and backward pass, for one batch size. Two workspaces: two passes in flight.

    Attributes:
        layers: The buffers of each layer, in order; `explain` reads activations and deltas from them.
        inputs: What the last forward pass was given, (batch, n_inputs + 1).
        grad_inputs: dLoss/dinputs of the last backward pass that was asked for it, (batch, n_inputs).
    """

    def __init__(self, network: Network, batch_size: int) -> None:
        self.layers = [LayerBuffers(batch_size, layer) for layer in network.layers]
        self.upward = list(zip(network.layers, self.layers, strict=True))  # layer, its own buffers
        self.downward = list(zip(network.layers[:0:-1], self.layers[-2::-1], strict=True))  # layer, buffers below it
        self.inputs: Array = np.empty((0, network.n_inputs + 1), network.params.dtype)
        self.grad_inputs: Array | None = None


class Network:
    """A multilayer perceptron that ends in logits; the loss owns softmax.

    Args:
        specs: The hidden layers, in order; may be empty (softmax regression).
        n_inputs: Numbers per example.
        n_classes: Number of logits, at least 2.
        dtype: float32 to train, float64 to check gradients.
        rng: Draws the first weights; without it all parameters are 0.
        initializer: A name in `INITIALIZERS`, for the hidden layers. The output layer always starts with variance
            1 / fan_in: logits of size one, so that the first guess is unsure.
    """

    def __init__(
        self,
        specs: Sequence[LayerSpec],
        n_inputs: int,
        n_classes: int,
        *,
        dtype: Any = np.float32,
        rng: Generator | None = None,
        initializer: str = "he_normal",
    ) -> None:
        self.specs, self.n_inputs, self.n_classes = tuple(specs), n_inputs, n_classes
        self._bind(np.zeros(count_params(specs, n_inputs, n_classes), dtype))
        if rng is not None:
            for layer in self.layers:
                name = "lecun_normal" if layer.is_output else initializer
                layer.weight[...] = INITIALIZERS[name](rng, layer.fan_in, layer.fan_out)

    def _bind(self, params: Array) -> None:
        """Make `params` this network's vector and cut every layer's views from it."""
        self._params, self._grads = params, np.zeros_like(params)
        self.layers: list[Dense] = []
        self.weight_slices: list[slice] = []  # the parts of `params` that are weights: what weight decay shrinks
        start = 0
        for spec, fan_in, fan_out in layer_shapes(self.specs, self.n_inputs, self.n_classes):
            stop = start + (fan_in + 1) * fan_out
            table, grad_table = (
                vector[start:stop].reshape(fan_in + 1, fan_out) for vector in (self._params, self._grads)
            )
            self.layers.append(Dense(spec, table, grad_table))
            self.weight_slices.append(slice(start, stop - fan_out))
            start = stop

    @property
    def params(self) -> Array:
        """All parameters, (n_params,). Write in place: `network.params[...] = x`."""
        return self._params

    @property
    def grads(self) -> Array:
        """dLoss/dparams of the last backward pass, (n_params,)."""
        return self._grads

    @property
    def n_params(self) -> int:
        """How many weights and biases there are."""
        return len(self._params)

    def workspace(self, batch_size: int) -> Workspace:
        """Return the buffers for passes over exactly `batch_size` rows."""
        return Workspace(self, batch_size)

    def forward(self, inputs: Array, workspace: Workspace, *, rng: Generator | None = None) -> Array:
        """Return the logits, (batch, n_classes): a view of the workspace.

        Args:
            inputs: [inputs, 1], (batch, n_inputs + 1); see `append_ones`.
            workspace: Made for this batch size.
            rng: Given in training only: dropout is on.
        """
        workspace.inputs = inputs
        for layer, buffers in workspace.upward:
            inputs = layer.forward(inputs, buffers, rng)
        return inputs

    def backward(self, grad_logits: Array, workspace: Workspace, *, to_inputs: bool = False) -> Array | None:
        """Fill `grads` from dLoss/dlogits, layer by layer from the last to the first.

        Args:
            grad_logits: (batch, n_classes).
            workspace: As `forward` left it.
            to_inputs: Also go through to the inputs.

        Returns:
            dLoss/dinputs, (batch, n_inputs), when asked for.
        """
        delta = grad_logits
        for layer, below in workspace.downward:
            layer.backward(below.outputs, delta, below.delta)
            below.delta *= below.slope
            delta = below.delta
        workspace.grad_inputs = np.empty((len(delta), self.n_inputs), delta.dtype) if to_inputs else None
        self.layers[0].backward(workspace.inputs, delta, workspace.grad_inputs)
        return workspace.grad_inputs

    def logits(self, inputs: Array) -> Array:
        """Return the logits of any number of plain rows, (rows, n_inputs) -> (rows, n_classes); dropout is off."""
        logits = np.empty((len(inputs), self.n_classes), self._params.dtype)
        for start in range(0, len(inputs), EVALUATION_ROWS):
            rows = append_ones(inputs[start : start + EVALUATION_ROWS], self._params.dtype)
            logits[start : start + len(rows)] = self.forward(rows, self.workspace(len(rows)))
        return logits

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the views: a plain copy would cut them from the vector, and training would change nothing."""
        return {name: getattr(self, name) for name in ("specs", "n_inputs", "n_classes", "_params")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.specs, self.n_inputs, self.n_classes = state["specs"], state["n_inputs"], state["n_classes"]
        self._bind(state["_params"].copy())


def layer_shapes(specs: Sequence[LayerSpec], n_inputs: int, n_classes: int) -> list[tuple[LayerSpec | None, int, int]]:
    """Return (spec, fan_in, fan_out) of each layer; the output layer, last, has no spec."""
    sizes = [n_inputs, *(spec.units for spec in specs), n_classes]
    return [(spec, fan_in, fan_out) for spec, (fan_in, fan_out) in zip([*specs, None], pairwise(sizes), strict=True)]


def count_params(specs: Sequence[LayerSpec], n_inputs: int, n_classes: int) -> int:
    """Return how many weights and biases such a network has, without making it."""
    return sum((fan_in + 1) * fan_out for _, fan_in, fan_out in layer_shapes(specs, n_inputs, n_classes))


def as_float64(network: Network) -> Network:
    """Return a copy that computes in float64."""
    return as_dtype(network, np.float64)


def as_dtype(network: Network, dtype: Any) -> Network:
    """Return a copy that computes in another type of floats."""
    copy = Network(network.specs, network.n_inputs, network.n_classes, dtype=dtype)
    copy.params[...] = network.params
    return copy


def layer_names(network: Network) -> list[str]:
    """Return `layer 1`, `layer 2`, ..., `output`."""
    return [*(f"layer {k}" for k in range(1, len(network.layers))), "output"]
