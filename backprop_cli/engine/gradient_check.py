"""Hold every gradient against what it is the gradient of: central differences in float64.

    dLoss/dw = (Loss(w + h) - Loss(w - h)) / 2 h + O(h^2)

Each weight is moved by itself, but many at once: to move weight (i, j) of a layer by h moves only column j of its
pre-activation, by h * inputs[:, i]. So only what follows is computed again, and the moved networks of many weights
stand under each other as the rows of one batch.

Errors are measured against the layer's largest gradient: of one tiny gradient alone nearly all is roundoff.

Source: Goodfellow et al. 2016, section 11.5; Griewank and Walther 2008, section 1 (the best h is near eps^(1/3)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Array
from backprop_cli.engine.losses import Loss, loss_and_gradient
from backprop_cli.engine.network import Network, Workspace, append_ones, layer_names
from backprop_cli.engine.optimizers import Adam

STEP = 1e-5
OTHER_STEPS = (1e-6, 1e-4, 1e-3)  # where STEP does not agree: close to a bend, or a gradient lost in roundoff
TOLERANCE = 1e-6
FAINT = 1e-6  # of the loss (taken as at least 0.001): smaller gradients are beyond what float64 can tell
JUMP = 1e-3  # a slope that changes so much within STEP has a kink there: relu's changes by 1

CHUNK_FLOATS = 131_072  # about 1 MB in each array of the moved networks

Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class LayerCheck:
    """How well the gradients of one layer agree with central differences.

    Attributes:
        name: `layer 1`, ..., `output`, or `inputs`.
        n: Gradients compared.
        max_relative_error: The largest |claimed - measured|, as a share of the layer's largest gradient (or of what
            float64 can tell, where that is more).
        median_relative_error: The middle one.
        kinks: Parameters that cannot be measured, as moving them carries a unit across a bend; not among the errors.
        largest_gradient: The largest |gradient| of the layer.
        is_faint: Even that is less than float64 can tell from nothing: the layer could not be checked.
        worst: Row (the input; `fan_in` is the bias) and column (the unit) of the largest error.
    """

    name: str
    n: int
    max_relative_error: float
    median_relative_error: float
    kinks: int
    largest_gradient: float
    is_faint: bool
    worst: tuple[int, int]

    @property
    def passed(self) -> bool:
        """Whether every gradient agrees."""
        return self.max_relative_error < TOLERANCE


@dataclass(frozen=True)
class GradientCheck:
    """What became of all gradients.

    Attributes:
        loss: The mean loss of the rows at which they were taken.
        layers: From the first to the output.
        inputs: The gradient with respect to the inputs, summed over the rows.
    """

    loss: float
    layers: tuple[LayerCheck, ...]
    inputs: LayerCheck

    @property
    def max_relative_error(self) -> float:
        """The largest error anywhere."""
        return max(check.max_relative_error for check in (*self.layers, self.inputs))

    @property
    def passed(self) -> bool:
        """Whether every gradient agrees."""
        return all(check.passed for check in (*self.layers, self.inputs))


@dataclass(frozen=True, eq=False)
class Propagation:
    """A batch that went through a network, and its blame back: one forward and one backward pass.

    Attributes:
        network: Its `grads` are those of this batch.
        loss: At the end of it.
        inputs: With their column of ones, (batch, n_inputs + 1).
        workspace: What both passes left in it.
        logits: (batch, n_classes).
        targets: What the output units should say, (batch, n_classes).
        outputs: What they say, (batch, n_classes).
        grad_inputs: dLoss/dinputs, (batch, n_inputs).
    """

    network: Network
    loss: Loss
    inputs: Array
    workspace: Workspace
    logits: Array
    targets: Array
    outputs: Array
    grad_inputs: Array


def propagate(network: Network, loss: Loss, inputs: Array, labels: NDArray[np.integer[Any]]) -> Propagation:
    """Send a batch through a network and its blame back, dropout off.

    Args:
        network: In float64; its `grads` are filled.
        loss: At the end of it.
        inputs: (batch, n_inputs).
        labels: (batch,).
    """
    rows, workspace = append_ones(inputs, network.params.dtype), network.workspace(len(inputs))
    logits = network.forward(rows, workspace)
    targets, outputs = loss.targets(labels, network.n_classes, logits.dtype), loss.outputs(logits)
    grad_logits = loss.gradient(outputs, targets, workspace.layers[-1].delta)
    grad_inputs = network.backward(grad_logits, workspace, to_inputs=True)
    assert grad_inputs is not None
    return Propagation(network, loss, rows, workspace, logits, targets, outputs, grad_inputs)


def check_gradients(
    network: Network,
    loss: Loss,
    inputs: Array,
    labels: NDArray[np.integer[Any]],
    *,
    at_most: int | None = None,
) -> GradientCheck:
    """Compare what `backward` claims with central differences, dropout off.

    Args:
        network: In float64; its `grads` are left as `backward` filled them.
        loss: At the end of it.
        inputs: (batch, n_inputs).
        labels: (batch,).
        at_most: Look only at so many parameters of a layer, those of the largest gradients; None: at all.

    Raises:
        ValueError: The network is not in float64.
    """
    if network.params.dtype != np.float64:
        raise ValueError(f"network: its parameters are {network.params.dtype}; a gradient check needs float64")
    return check_propagation(propagate(network, loss, inputs, labels), at_most=at_most)


def check_propagation(propagation: Propagation, *, at_most: int | None = None) -> GradientCheck:
    """Compare what a backward pass in float64 claims with central differences; see `check_gradients`."""
    probe, network = _Probe(propagation), propagation.network
    checks = []
    for k, (name, layer) in enumerate(zip(layer_names(network), network.layers, strict=True)):
        claimed = layer.grad_table.ravel()
        where = np.arange(len(claimed))
        if at_most is not None and len(where) > at_most:
            where = np.argpartition(np.abs(claimed), -at_most)[-at_most:]
        checks.append(_check(probe, k, name, claimed, where))
    return GradientCheck(
        probe.loss_value, tuple(checks), _check(probe, -1, "inputs", probe.grad_inputs, np.arange(network.n_inputs))
    )


def _check(probe: _Probe, k: int, name: str, claimed: Array, where: Indices) -> LayerCheck:
    """Compare the gradients `claimed` of layer k (-1: the inputs) at the flat indices `where`."""
    measured = probe.slope(k, where, STEP)
    faint = FAINT * max(probe.loss_value, 1e-3)
    largest = float(np.abs(claimed).max(initial=0.0))
    scale = max(largest, float(np.abs(measured).max(initial=0.0)), faint)
    errors = np.abs(measured - claimed[where]) / scale
    errors[~np.isfinite(errors)] = np.finfo(np.float64).max
    suspects = np.flatnonzero(~(errors < TOLERANCE))
    kinks = suspects[probe.has_kink(k, where[suspects])]
    suspects = np.setdiff1d(suspects, kinks)
    for step in OTHER_STEPS:  # a right gradient agrees with one of them, a wrong one with none
        again = np.abs(probe.slope(k, where[suspects], step) - claimed[where[suspects]]) / scale
        errors[suspects] = np.fmin(errors[suspects], again)
        suspects = suspects[~(errors[suspects] < TOLERANCE)]
    errors[kinks] = 0.0
    n_columns = probe.network.layers[k].fan_out if k >= 0 else 1
    row, column = divmod(int(where[errors.argmax()]), n_columns)
    return LayerCheck(
        name=name,
        n=len(where),
        max_relative_error=float(errors.max()),
        median_relative_error=float(np.median(errors)),
        kinks=len(kinks),
        largest_gradient=largest,
        is_faint=largest <= faint,
        worst=(row, column),
    )


class _Probe:
    """A network at one batch, and what its loss becomes when one parameter (or input) at a time is moved."""

    def __init__(self, propagation: Propagation) -> None:
        self.network, self.loss, self.inputs = propagation.network, propagation.loss, propagation.inputs
        self.batch_size, self.at, self.targets = len(self.inputs), propagation.workspace.layers, propagation.targets
        self.loss_value = float(self.loss.values(propagation.outputs, self.targets).mean())
        self.grad_inputs = np.asarray(propagation.grad_inputs.sum(axis=0))  # (n_inputs,)
        self.values = self.loss.fine_values(propagation.logits, self.targets)  # (batch,)

    def slope(self, k: int, where: Indices, step: float) -> Array:
        """Return (Loss(w + step) - Loss(w - step)) / (2 step) for each index, (n,)."""
        slopes = np.empty(len(where))
        for part in self._parts(k, len(where)):
            up, down = self._change(k, where[part], step), self._change(k, where[part], -step)
            slopes[part] = (up - down) / (2.0 * step)
        return slopes

    def has_kink(self, k: int, where: Indices) -> NDArray[np.bool_]:
        """Return for each index whether the slope of any unit jumps between w - STEP and w + STEP, (n,)."""
        found = np.zeros(len(where), np.bool_)
        for part in self._parts(k, len(where)):
            n = len(where[part])
            sides = []
            for step in (STEP, -STEP):
                own, buffers, _ = self._move(k, where[part], step)
                following = [layer.slope.reshape(n, -1) for layer in buffers[k + 1 : -1]]
                sides.append(np.concatenate([own.reshape(n, -1), *following], axis=1))
            found[part] = np.abs(sides[0] - sides[1]).max(axis=1, initial=0.0) > JUMP
        return found

    def _parts(self, k: int, n: int) -> Iterator[slice]:
        """Cut n indices so that the rows of one part fill about CHUNK_FLOATS."""
        width = max(layer.fan_out for layer in self.network.layers[k + 1 :] or self.network.layers[-1:])
        size = max(1, CHUNK_FLOATS // (self.batch_size * (width + 1)))
        return (slice(start, start + size) for start in range(0, n, size))

    def _change(self, k: int, where: Indices, step: float) -> Array:
        """Return Loss(w + step) - Loss(w) for each index, (n,)."""
        _, _, logits = self._move(k, where, step)
        targets = np.tile(self.targets, (len(where), 1))
        values = self.loss.fine_values(logits, targets).reshape(len(where), -1)  # (n, batch)
        return np.asarray((values - self.values).mean(axis=1))

    def _move(self, k: int, where: Indices, step: float) -> tuple[Array, list[Any], Array]:
        """Move each parameter of `where` by itself, and compute what follows.

        Returns:
            The slopes of the moved units, (n, batch); the buffers of all layers, those above k filled; and the
            logits, (n * batch, n_classes).
        """
        network, n = self.network, len(where)
        buffers = network.workspace(n * self.batch_size).layers
        if k < 0:
            unit, change, own = where, np.full((n, self.batch_size), step), np.zeros((n, 0))
        else:
            layer, at = network.layers[k], self.at[k]
            below = self.inputs if k == 0 else self.at[k - 1].outputs
            row, unit = np.divmod(where, layer.fan_out)
            moved = at.pre_activation.T[unit] + step * below.T[row]  # (n, batch)
            if layer.is_output:
                logits = np.tile(at.pre_activation, (n, 1)).reshape(n, self.batch_size, -1)
                logits[np.arange(n), :, unit] = moved
                return np.zeros((n, 0)), buffers, logits.reshape(n * self.batch_size, -1)
            activation, own = np.empty_like(moved), np.empty_like(moved)
            layer.activate(moved, activation, own)
            change = activation - at.activation.T[unit]
        # One unit of layer k has changed, so the next pre-activation by that change times the unit's row of weights.
        above = network.layers[k + 1]
        into = buffers[k + 1]
        moved = into.pre_activation.reshape(n, self.batch_size, -1)
        np.multiply(change[:, :, None], above.weight[unit][:, None, :], out=moved)
        moved += self.at[k + 1].pre_activation
        outputs = into.pre_activation
        if not above.is_output:
            above.activate(into.pre_activation, into.activation, into.slope)
            outputs = into.outputs
        for layer, buffer in zip(network.layers[k + 2 :], buffers[k + 2 :], strict=True):
            outputs = layer.forward(outputs, buffer)
        return own, buffers, outputs


@dataclass(frozen=True)
class Memorized:
    """Whether a network can overfit one batch, which one with a fault in it hardly ever can.

    Attributes:
        first_loss: Before the first step.
        last_loss: After the last.
        steps: How many there were.
        passed: The last loss is at most 1 % of the first.
    """

    first_loss: float
    last_loss: float
    steps: int
    passed: bool


def memorize(
    network: Network,
    loss: Loss,
    inputs: Array,
    labels: NDArray[np.integer[Any]],
    *,
    max_steps: int = 2000,
    learning_rate: float = 3e-3,
) -> Memorized:
    """Train the network in place on one batch, with Adam, no dropout and no smoothing, until 1 % of the loss is left.

    Args:
        network: Any; trained.
        loss: Label smoothing is left out: its loss cannot come close to 0.
        inputs: (batch, n_inputs).
        labels: (batch,).
        max_steps: When to give up.
        learning_rate: Of Adam.
    """
    loss = loss.down_to_zero()
    rows = append_ones(inputs, network.params.dtype)
    workspace, optimizer = network.workspace(len(rows)), Adam(learning_rate=learning_rate)
    memory, params = optimizer.init(network.n_params, network.params.dtype), network.params
    value, grad_logits = loss_and_gradient(loss, network.forward(rows, workspace), labels)
    first, step = value, 0
    while value > 0.01 * first and step < max_steps:
        network.backward(grad_logits, workspace)
        optimizer.step(params, network.grads, memory, learning_rate=learning_rate)
        value, grad_logits = loss_and_gradient(loss, network.forward(rows, workspace), labels)
        step += 1
    return Memorized(first, value, step, value <= 0.01 * first)
