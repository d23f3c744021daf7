"""Guess, loss, blame and correction of networks so small that all of it can be done by hand."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import CrossEntropy, Loss, MeanSquaredError
from backprop_cli.engine.network import Network
from backprop_cli.insight.explain import Explanation, explain, trace

Array = NDArray[Any]

INPUTS = np.array([1.0, -2.0, 0.0])


def by_hand(activation: str = "relu") -> Network:
    """Return 3 -> 3 -> 2; with relu the z of INPUTS are (2, -3, 0.5) and (1, 0)."""
    network = Network([LayerSpec(3, activation)], 3, 2, dtype=np.float64)
    hidden, output = network.layers
    hidden.weight[...] = [[1, 1, 0.5], [-0.5, 2, 0], [7, 8, 9]]
    hidden.bias[...] = [0, 0, 0]
    output.weight[...] = [[1, 0], [5, 5], [-2, 1]]
    output.bias[...] = [0, -0.5]
    return network


def explained(label: int = 1, loss: Loss | None = None, **options: Any) -> Explanation:
    return explain(by_hand(), loss or CrossEntropy(), INPUTS, label, **options)


# z = (2, -3, 0.5), relu (2, 0, 0.5); logits (1, 0); p = (e, 1) / (e + 1).
P = math.e / (math.e + 1)
DELTA = np.array([P, -P])  # p - t with the truth 1
BLAME = np.array([P, 0.0, -3 * P])  # on the hidden units: weight @ delta, silent ones stopped
GRAD_OUTPUT = np.outer([2, 0, 0.5, 1], DELTA)  # the bias last
GRAD_HIDDEN = np.outer([1, -2, 0, 1], BLAME)


def test_the_way_trace_of_one_picture() -> None:
    network = by_hand()
    there = trace(network, CrossEntropy(), INPUTS, 1)
    np.testing.assert_allclose(there.inputs[0], [1, -2, 0, 1])
    np.testing.assert_allclose(there.inputs[1], [2, 0, 0.5, 1])
    np.testing.assert_allclose(there.pre_activations[0], [2, -3, 0.5])
    np.testing.assert_allclose(there.pre_activations[1], [1, 0])
    np.testing.assert_allclose(there.slopes[0], [1, 0, 1])
    np.testing.assert_allclose(there.probabilities, [P, 1 - P])
    np.testing.assert_allclose(there.targets, [0, 1])
    np.testing.assert_allclose(there.deltas[1], DELTA)
    np.testing.assert_allclose(there.deltas[0], BLAME)
    np.testing.assert_allclose(there.grad_inputs, [P - 1.5 * P, -0.5 * P, 7 * P - 27 * P])
    assert there.loss_value == pytest.approx(-math.log(1 - P))
    np.testing.assert_allclose(network.layers[0].grad_table, GRAD_HIDDEN)
    np.testing.assert_allclose(network.layers[1].grad_table, GRAD_OUTPUT)


def test_the_pass_has_numbers_of_its_own() -> None:
    network = by_hand()
    first = trace(network, CrossEntropy(), INPUTS, 1)
    trace(network, CrossEntropy(), 5 * INPUTS, 0)
    np.testing.assert_allclose(first.deltas[1], DELTA)
    np.testing.assert_allclose(first.inputs[0], [1, -2, 0, 1])


def test_blame_by_layer() -> None:
    hidden, output = explained().layers
    sums = [np.abs(GRAD_HIDDEN).sum(), np.abs(GRAD_OUTPUT).sum()]
    assert (hidden.name, output.name) == ("layer 1", "output")
    assert [layer.blame_share for layer in (hidden, output)] == pytest.approx(np.array(sums) / sum(sums))
    assert [layer.mean_abs_gradient for layer in (hidden, output)] == pytest.approx([sums[0] / 12, sums[1] / 8])
    assert (hidden.fan_in, hidden.fan_out, hidden.n_weights, output.n_weights) == (3, 3, 12, 8)
    assert (hidden.n_fired, output.n_fired) == (2, 1)
    assert hidden.largest == ((0, 2.0), (2, 0.5), (1, 0.0))
    assert output.largest == ((0, pytest.approx(1.0)), (1, pytest.approx(0.0)))


def test_the_largest_activations_are_each_layers_own() -> None:
    network = Network([LayerSpec(3, "relu"), LayerSpec(2, "tanh")], 3, 2, dtype=np.float64)
    for layer, weight in zip(
        network.layers,
        [np.diag([1.0, 2.0, 3.0]), [[0.1, -0.2], [0.0, 0.0], [0.0, 0.3]], [[5.0, 0.0], [0.0, 9.0]]],
        strict=True,
    ):
        layer.weight[...] = weight
    found = explain(network, CrossEntropy(), np.array([1.0, 3.0, 2.0]), 0, top=2)
    first, second, output = found.layers
    assert first.largest == ((1, 6.0), (2, 6.0))  # of (1, 6, 6)
    a, b = math.tanh(0.1), math.tanh(1.6)
    assert second.largest == ((1, pytest.approx(b)), (0, pytest.approx(a)))
    assert output.largest == ((1, pytest.approx(9.0 * b)), (0, pytest.approx(5.0 * a)))
    assert (first.n_fired, second.n_fired, output.n_fired) == (3, 2, 2)
    p, slope = 1.0 / (1.0 + math.exp(9.0 * b - 5.0 * a)), [1.0 - a * a, 1.0 - b * b]
    np.testing.assert_allclose(found.trace.deltas[2], [p - 1.0, 1.0 - p])
    np.testing.assert_allclose(found.trace.deltas[1], np.array([5.0, 9.0]) * [p - 1.0, 1.0 - p] * slope)


def test_how_few_carry_half_and_how_many_none_and_why() -> None:
    found = explained()
    hidden, output = found.layers
    # |gradients| of the hidden layer in units of P: 1 2 0 1 and 3 6 0 3 (a blank pixel), unit 1 silent; 6 + 3 of 16
    assert hidden.half_blame_count == 2
    # of the output: 2 0 0.5 1, twice (unit 1 silent); 2 + 2 of 7
    assert output.half_blame_count == 2
    assert found.half_blame_count == 3  # 6 + 3 + 3 = 12 of 23 is more than half, 9 is not
    assert (hidden.zero_gradient_count, hidden.zero_inputs, hidden.zero_deltas) == (6, 3, 3)
    assert (output.zero_gradient_count, output.zero_inputs, output.zero_deltas) == (2, 2, 0)
    assert found.zero_gradient_count == 8


def test_how_few_carry_half_of_hardly_any_blame() -> None:
    network = by_hand()
    network.layers[1].bias[...] = [10, -10.5]  # a sure answer: all gradients are as before, times 1e-9
    found = explain(network, CrossEntropy(), INPUTS, 0)
    assert sum(layer.mean_abs_gradient * layer.n_weights for layer in found.layers) < 1e-6
    assert [layer.half_blame_count for layer in found.layers] == [2, 2]
    assert found.half_blame_count == 3


def test_the_most_blamed_weights_go_backward_and_are_written_out() -> None:
    found = explained(top=2, learning_rates=(0.5,)).top_weights
    assert [(weight.layer, weight.source, weight.target) for weight in found] == [
        (1, 0, 0),
        (1, 0, 1),
        (0, 1, 2),
        (0, 0, 2),
    ]
    first = found[0]
    assert (first.weight, first.input, first.delta) == (1.0, 2.0, pytest.approx(P))
    assert first.gradient == pytest.approx(2 * P)
    assert first.new_weight == pytest.approx(1 - 0.5 * 2 * P)
    biases = [weight for weight in explained(top=20).top_weights if weight.source is None]
    assert len(biases) == 5
    assert all(weight.input == 1.0 and weight.gradient == pytest.approx(weight.delta) for weight in biases)


def test_the_step_its_forecast_and_what_came_of_it() -> None:
    rate, seen = 0.1, []

    def accuracy(network: Network) -> float:
        seen.append(network.params.copy())
        return len(seen) / 10

    found = explained(learning_rates=(rate, 1e-6), test_accuracy_of=accuracy)
    square = float((GRAD_HIDDEN**2).sum() + (GRAD_OUTPUT**2).sum())
    step, tiny = found.steps
    loss = found.trace.loss_value
    assert step.forecast_loss == pytest.approx(loss - rate * square)
    assert tiny.loss == pytest.approx(tiny.forecast_loss, abs=1e-9)
    hidden = np.maximum([1, -2, 0, 1] @ (np.vstack([by_hand().layers[0].weight, np.zeros(3)]) - rate * GRAD_HIDDEN), 0)
    logits = [*hidden, 1] @ (np.vstack([by_hand().layers[1].weight, [0, -0.5]]) - rate * GRAD_OUTPUT)
    p = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(step.probabilities, p)
    assert step.loss == pytest.approx(-math.log(p[1]))
    assert (found.test_accuracy, step.test_accuracy, tiny.test_accuracy) == (0.1, 0.2, 0.3)
    np.testing.assert_array_equal(seen[0], by_hand().params)
    np.testing.assert_allclose(seen[1][:12].reshape(4, 3), by_hand().layers[0].table - rate * GRAD_HIDDEN)


def test_the_network_that_is_explained_stays_as_it_is() -> None:
    network = by_hand()
    network.grads[...] = 7
    before = network.params.copy()
    explain(network, CrossEntropy(), INPUTS, 0)
    np.testing.assert_array_equal(network.params, before)
    assert (network.grads == 7).all()


def test_a_network_in_float32_is_explained_in_float64() -> None:
    single = Network([LayerSpec(3)], 3, 2)
    single.params[...] = by_hand().params
    found = explain(single, CrossEntropy(), INPUTS.astype(np.float32), 1)
    assert found.trace.network.params.dtype == np.float64
    assert found.trace.loss_value == pytest.approx(-math.log(1 - P), rel=1e-14)


def test_the_deltas_of_squared_error_by_hand() -> None:
    p, t = np.array([P, 1 - P]), np.array([0, 1])
    of_softmax = p * (p - t - ((p - t) @ p))
    o = 1 / (1 + np.exp(-np.array([1.0, 0.0])))
    for output, delta, value in (
        ("softmax", of_softmax, ((p - t) ** 2).sum() / 2),
        ("sigmoid", (o - t) * o * (1 - o), ((o - t) ** 2).sum() / 2),
    ):
        there = trace(by_hand(), MeanSquaredError(output=output), INPUTS, 1)
        np.testing.assert_allclose(there.deltas[1], delta)
        assert there.loss_value == pytest.approx(value)
    np.testing.assert_allclose(there.probabilities, o / o.sum())


def test_smoothing_takes_from_the_truth() -> None:
    there = trace(by_hand(), CrossEntropy(label_smoothing=0.2), INPUTS, 1)
    np.testing.assert_allclose(there.targets, [0.1, 0.9])
    np.testing.assert_allclose(there.deltas[1], [P - 0.1, 1 - P - 0.9])


@pytest.mark.parametrize("activation", ["tanh", "gelu", "softplus"])
def test_every_gradient_is_checked_as_it_is_shown(activation: str) -> None:
    found = explain(by_hand(activation), CrossEntropy(), INPUTS, 1)
    assert found.check.passed
    assert [layer.n for layer in found.check.layers] == [12, 8]
    assert found.check.inputs.n == 3


def test_a_picture_without_any_blame() -> None:
    network = by_hand()
    network.layers[1].bias[...] = [1000, -1000]
    found = explain(network, CrossEntropy(), INPUTS, 0)
    assert found.half_blame_count == 0
    assert found.zero_gradient_count == 20
    assert [layer.blame_share for layer in found.layers] == [0, 0]
    assert found.steps[0].loss == 0
    assert found.steps[0].forecast_loss == 0


def test_a_step_far_too_long_leaves_the_finite_numbers_quietly() -> None:
    (step,) = explained(learning_rates=(1e300,)).steps
    assert not math.isfinite(step.loss)
