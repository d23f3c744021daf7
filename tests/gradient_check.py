"""Hold a gradient against what it is the gradient of: central differences along random unit directions, float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.engine import losses
from backprop_cli.engine.losses import CrossEntropy, Loss, MeanSquaredError, loss_and_gradient
from backprop_cli.engine.network import Network, append_ones

Array = NDArray[Any]  # of floats

LOSSES: dict[str, Loss] = {
    **{name: kind() for name, kind in losses.LOSSES.items()},
    "smoothed": CrossEntropy(label_smoothing=0.1),
    "mse_sigmoid": MeanSquaredError(output="sigmoid"),
}

STEP = 1e-5
TOLERANCE = 1e-6


def relative_error(loss_of: Callable[[Array], float], at: Array, gradient: Array, *, n_directions: int = 8) -> float:
    """Return |slopes measured - slopes claimed| / |slopes claimed|, over several random unit directions at once.

    Args:
        loss_of: The function; may not keep or change what it is given.
        at: Where it is looked at, any shape, float64.
        gradient: What is claimed to be its gradient there, the same shape.
        n_directions: How many directions; their slopes are compared together, as one alone may be close to 0.
    """
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((n_directions, *at.shape))
    directions /= np.sqrt((directions.reshape(n_directions, -1) ** 2).sum(axis=1)).reshape(-1, *[1] * at.ndim)
    measured = [(loss_of(at + STEP * d) - loss_of(at - STEP * d)) / (2 * STEP) for d in directions]
    claimed = [float((gradient * d).sum()) for d in directions]
    return float(np.linalg.norm(np.subtract(measured, claimed)) / np.linalg.norm(claimed))


def network_errors(
    network: Network, loss: Loss, inputs: Array, labels: NDArray[np.integer[Any]], *, dropout_seed: int | None = None
) -> tuple[float, float]:
    """Return the relative errors of a float64 network's gradients: with respect to parameters, and to inputs.

    Args:
        network: What is checked; its parameters are put back.
        loss: At the end of it.
        inputs: (batch, n_inputs), float64.
        labels: (batch,).
        dropout_seed: Given: dropout is on, and every forward pass draws the same mask.
    """
    workspace = network.workspace(len(inputs))
    params = network.params.copy()

    def forward(rows: Array) -> Array:
        rng = None if dropout_seed is None else np.random.default_rng(dropout_seed)
        return network.forward(append_ones(rows), workspace, rng=rng)

    def loss_at_params(vector: Array) -> float:
        network.params[...] = vector
        return loss_and_gradient(loss, forward(inputs), labels)[0]

    def loss_at_inputs(rows: Array) -> float:
        return loss_and_gradient(loss, forward(rows), labels)[0]

    _, grad_logits = loss_and_gradient(loss, forward(inputs), labels)
    grad_inputs = network.backward(grad_logits, workspace, to_inputs=True)
    assert grad_inputs is not None
    grads, grad_inputs = network.grads.copy(), grad_inputs.copy()
    params_error = relative_error(loss_at_params, params, grads)
    network.params[...] = params
    return params_error, relative_error(loss_at_inputs, inputs, grad_inputs)


OFF = 1.0005  # a twentieth of a percent


def with_slope_off(right: Callable[[Array, Array, Array], None]) -> Callable[[Array, Array, Array], None]:
    """Return an activation whose slope is off by a twentieth of a percent."""

    def wrong(z: Array, a: Array, slope: Array) -> None:
        right(z, a, slope)
        slope *= OFF

    return wrong


def with_gradient_off(right: Callable[..., Array]) -> Callable[..., Array]:
    """Return a loss's `gradient` that is off by a twentieth of a percent."""

    def wrong(self: Any, outputs: Array, targets: Array, out: Array, buffers: Any = None) -> Array:
        right(self, outputs, targets, out, buffers)
        out *= OFF
        return out

    return wrong
