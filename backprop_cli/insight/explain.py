"""The guess, the loss, the blame and the correction for one picture, with the true numbers of one network.

All of it in float64, and every gradient held against central differences as it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backprop_cli.arrays import Array
from backprop_cli.engine.gradient_check import GradientCheck, Propagation, check_propagation, propagate
from backprop_cli.engine.losses import Loss
from backprop_cli.engine.network import Network, as_float64, layer_names

CHECKED_AT_MOST = 200_000  # gradients a layer held against central differences: the largest ones


@dataclass(frozen=True, eq=False)
class Trace:
    """One picture's way through a network and back, every number of it.

    Attributes:
        network: In float64; its `grads` are those of this picture.
        loss: At the end of it.
        label: The class that counts as the truth.
        inputs: What enters each layer, the last number a 1: (fan_in + 1,) each.
        pre_activations: z of each layer, (fan_out,) each; of the output layer the logits.
        slopes: da/dz of each hidden layer, (fan_out,) each.
        deltas: dLoss/dz of each layer, (fan_out,) each.
        grad_inputs: dLoss/dinputs, (n_inputs,).
        outputs: What the output units say, (n_classes,).
        targets: What they should say, (n_classes,).
        probabilities: The answer, (n_classes,).
        loss_value: Nats for cross-entropy.
    """

    network: Network
    loss: Loss
    label: int
    inputs: tuple[Array, ...]
    pre_activations: tuple[Array, ...]
    slopes: tuple[Array, ...]
    deltas: tuple[Array, ...]
    grad_inputs: Array
    outputs: Array
    targets: Array
    probabilities: Array
    loss_value: float


def trace(network: Network, loss: Loss, inputs: Array, label: int) -> Trace:
    """Send one picture through a network and its blame back.

    Args:
        network: In float64; its `grads` are filled.
        loss: At the end of it.
        inputs: (n_inputs,).
        label: Index of the true class.
    """
    return _trace_of(propagate(network, loss, inputs[None, :], np.array([label])), label)


def _trace_of(propagation: Propagation, label: int) -> Trace:
    layers, loss = propagation.workspace.layers, propagation.loss
    return Trace(
        network=propagation.network,
        loss=loss,
        label=label,
        inputs=(propagation.inputs[0], *(layer.outputs[0] for layer in layers[:-1])),
        pre_activations=tuple(layer.pre_activation[0] for layer in layers),
        slopes=tuple(layer.slope[0] for layer in layers[:-1]),
        deltas=tuple(layer.delta[0] for layer in layers),
        grad_inputs=propagation.grad_inputs[0],
        outputs=propagation.outputs[0],
        targets=propagation.targets[0],
        probabilities=loss.probabilities(propagation.logits)[0],
        loss_value=float(loss.fine_values(propagation.logits, propagation.targets)[0]),
    )


@dataclass(frozen=True)
class LayerBlame:
    """One layer on the way to the loss and back.

    Attributes:
        name: `layer 1`, ..., `output`.
        activation: Its name; `identity` for the output layer.
        fan_in: Numbers that enter.
        fan_out: Units.
        n_weights: Weights and biases.
        n_fired: Units whose pre-activation is above 0.
        largest: The units of the largest activations (of the output layer: logits) with them, the largest first.
        blame_share: Share of the sum of |gradient| over the whole network, in [0, 1].
        mean_abs_gradient: Mean of |gradient| over its weights and biases: big layers only look big.
        half_blame_count: How few of its weights and biases carry half of its blame.
        zero_gradient_count: How many get none at all.
        zero_inputs: Of these, those whose input is 0: a blank pixel, or a silent unit in the layer before.
        zero_deltas: Of the others, those into a unit that is silent itself: its slope is 0, or no blame reaches it.
    """

    name: str
    activation: str
    fan_in: int
    fan_out: int
    n_weights: int
    n_fired: int
    largest: tuple[tuple[int, float], ...]
    blame_share: float
    mean_abs_gradient: float
    half_blame_count: int
    zero_gradient_count: int
    zero_inputs: int
    zero_deltas: int


@dataclass(frozen=True)
class WeightBlame:
    """One weight: gradient = input * delta.

    Attributes:
        layer: Its layer's position, from 0.
        source: Which input it weighs; None for a bias, whose input is 1.
        target: Which unit it feeds.
        weight: Its value.
        input: What comes in through it.
        delta: dLoss/dz of the unit it feeds.
        gradient: dLoss/dweight.
        new_weight: After the correction at the first learning rate.
    """

    layer: int
    source: int | None
    target: int
    weight: float
    input: float
    delta: float
    gradient: float
    new_weight: float


@dataclass(frozen=True, eq=False)
class Correction:
    """One plain gradient step, params - learning_rate * gradient, and what came of it.

    Attributes:
        learning_rate: > 0.
        forecast_loss: Where a straight line would lead: loss - learning_rate * |gradient|^2.
        loss: Of the same picture afterward.
        probabilities: The new guess, (n_classes,).
        test_accuracy: On the whole test set afterward; None where there is none.
    """

    learning_rate: float
    forecast_loss: float
    loss: float
    probabilities: Array
    test_accuracy: float | None


@dataclass(frozen=True, eq=False)
class Explanation:
    """What one picture does to a network.

    Attributes:
        trace: All numbers of its pass.
        layers: From the first to the output.
        top_weights: The most blamed ones of each layer, going backward from the output.
        zero_gradient_count: How many weights and biases get no blame.
        half_blame_count: How few of them carry half of it.
        check: Every gradient against central differences.
        test_accuracy: On the whole test set before the correction; None where there is none.
        steps: The correction at each learning rate.
    """

    trace: Trace
    layers: tuple[LayerBlame, ...]
    top_weights: tuple[WeightBlame, ...]
    zero_gradient_count: int
    half_blame_count: int
    check: GradientCheck
    test_accuracy: float | None
    steps: tuple[Correction, ...]


def explain(
    network: Network,
    loss: Loss,
    inputs: Array,
    label: int,
    *,
    learning_rates: Sequence[float] = (0.01,),
    top: int = 3,
    test_accuracy_of: Callable[[Network], float] | None = None,
) -> Explanation:
    """Follow one picture through guess, loss, blame and correction.

    Args:
        network: Left as it is; all is done on a copy in float64.
        loss: At the end of it.
        inputs: (n_inputs,).
        label: Index of the true class.
        learning_rates: Of the corrections, at least one, each > 0.
        top: How many weights of each layer to name, and units.
        test_accuracy_of: Measures a network on the test set.
    """
    network = as_float64(network)
    propagation = propagate(network, loss, inputs[None, :], np.array([label]))
    check = check_propagation(propagation, at_most=CHECKED_AT_MOST)
    trace = _trace_of(propagation, label)
    magnitudes = np.abs(network.grads)
    layers, top_weights = blame_of(trace, top, learning_rates[0])
    return Explanation(
        trace=trace,
        layers=layers,
        top_weights=top_weights,
        zero_gradient_count=int(np.count_nonzero(magnitudes == 0.0)),
        half_blame_count=_half_count(magnitudes),
        check=check,
        test_accuracy=test_accuracy_of(network) if test_accuracy_of else None,
        steps=tuple(correct(trace, inputs, rate, test_accuracy_of) for rate in learning_rates),
    )


def corrections(
    network: Network,
    loss: Loss,
    inputs: Array,
    label: int,
    learning_rates: Sequence[float],
    accuracy_of: Callable[[Network], float] | None = None,
) -> tuple[float, tuple[Correction, ...]]:
    """Return the loss of a picture before any step, and what a step of each length comes to; see `explain`."""
    trace = _trace_of(propagate(as_float64(network), loss, inputs[None, :], np.array([label])), label)
    return trace.loss_value, tuple(correct(trace, inputs, rate, accuracy_of) for rate in learning_rates)


def blame_of(trace: Trace, top: int, learning_rate: float) -> tuple[tuple[LayerBlame, ...], tuple[WeightBlame, ...]]:
    """Return each layer's part of the blame, and the most blamed weights of each, going backward from the output.

    Args:
        trace: Of one picture; the network's `grads` are still those of it.
        top: How many weights of each layer to name, and units.
        learning_rate: Of the correction that the weights are told for.
    """
    positions = range(len(trace.network.layers))
    total = float(np.abs(trace.network.grads).sum())
    weights = (weight for k in reversed(positions) for weight in _top_weights(trace, k, top, learning_rate))
    return tuple(_layer_blame(trace, k, total, top) for k in positions), tuple(weights)


def _layer_blame(trace: Trace, k: int, total: float, top: int) -> LayerBlame:
    layer = trace.network.layers[k]
    z, entering = trace.pre_activations[k], trace.inputs[k]
    values = z if layer.is_output else trace.inputs[k + 1][:-1]
    largest = np.argsort(-values, kind="stable")[:top]
    magnitudes = np.abs(layer.grad_table)
    is_zero = magnitudes == 0.0  # (fan_in + 1, fan_out)
    return LayerBlame(
        name=layer_names(trace.network)[k],
        activation=layer.activation,
        fan_in=layer.fan_in,
        fan_out=layer.fan_out,
        n_weights=layer.table.size,
        n_fired=int(np.count_nonzero(z > 0.0)),
        largest=tuple((int(unit), float(values[unit])) for unit in largest),
        blame_share=float(magnitudes.sum()) / total if total else 0.0,
        mean_abs_gradient=float(magnitudes.mean()),
        half_blame_count=_half_count(magnitudes.ravel()),
        zero_gradient_count=int(np.count_nonzero(is_zero)),
        zero_inputs=int(np.count_nonzero(is_zero[entering == 0.0])),
        zero_deltas=int(np.count_nonzero(is_zero[entering != 0.0][:, trace.deltas[k] == 0.0])),
    )


def _half_count(magnitudes: Array) -> int:
    """Return how few of the magnitudes, (n,), make up half of their sum; 0 where that is 0."""
    ordered = np.sort(magnitudes)[::-1]
    running = np.cumsum(ordered)
    return int(np.searchsorted(running, 0.5 * running[-1])) + 1 if running[-1] > 0.0 else 0


def _top_weights(trace: Trace, k: int, top: int, learning_rate: float) -> list[WeightBlame]:
    """Return the weights and biases of layer k with the largest gradients, the largest first."""
    gradients = trace.network.layers[k].grad_table
    order = np.argsort(-np.abs(gradients), axis=None, kind="stable")[:top]
    places = [divmod(int(index), gradients.shape[1]) for index in order]
    return [_weight_blame(trace, k, row, target, learning_rate) for row, target in places]


def _weight_blame(trace: Trace, k: int, row: int, target: int, learning_rate: float) -> WeightBlame:
    """Return the figures of one weight of layer k, or of the bias in its last row."""
    layer = trace.network.layers[k]
    weight, gradient = float(layer.table[row, target]), float(layer.grad_table[row, target])
    return WeightBlame(
        layer=k,
        source=row if row < layer.fan_in else None,
        target=target,
        weight=weight,
        input=float(trace.inputs[k][row]),
        delta=float(trace.deltas[k][target]),
        gradient=gradient,
        new_weight=weight - learning_rate * gradient,
    )


def correct(
    trace: Trace, inputs: Array, learning_rate: float, test_accuracy_of: Callable[[Network], float] | None = None
) -> Correction:
    """Make one step on a copy of the network, whose `grads` are still those of the trace."""
    network, loss, grads = trace.network, trace.loss, trace.network.grads
    corrected = as_float64(network)
    params = corrected.params
    params -= learning_rate * grads
    with np.errstate(all="ignore"):  # far too long a step may overflow
        logits = corrected.logits(np.asarray(inputs[None, :], np.float64))
        return Correction(
            learning_rate=learning_rate,
            forecast_loss=trace.loss_value - learning_rate * float(grads @ grads),
            loss=float(loss.fine_values(logits, trace.targets[None, :])[0]),
            probabilities=loss.probabilities(logits)[0],
            test_accuracy=test_accuracy_of(corrected) if test_accuracy_of else None,
        )
