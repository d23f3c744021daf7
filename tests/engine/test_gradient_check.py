from typing import Any

import numpy as np
import pytest
from gradient_check import LOSSES, with_gradient_off, with_slope_off
from numpy.typing import NDArray

from backprop_cli.engine import gradient_check
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.gradient_check import TOLERANCE, GradientCheck, Memorized, check_gradients, memorize
from backprop_cli.engine.layers import Dense, LayerSpec
from backprop_cli.engine.losses import CrossEntropy, Loss, MeanSquaredError, loss_and_gradient
from backprop_cli.engine.network import Network, append_ones, as_float64

Array = NDArray[Any]


def made(specs: list[LayerSpec], n_rows: int = 5) -> tuple[Network, Array, Array]:
    rng = np.random.default_rng(3)
    network = Network(specs, 6, 4, dtype=np.float64, rng=rng, initializer="glorot_normal")
    for layer in network.layers:
        layer.bias[...] = rng.normal(0.0, 0.3, layer.fan_out)
    return network, rng.standard_normal((n_rows, 6)), rng.integers(4, size=n_rows)


def checked(specs: list[LayerSpec], loss: Loss | None = None) -> GradientCheck:
    network, inputs, labels = made(specs)
    return check_gradients(network, loss or CrossEntropy(), inputs, labels)


def wrong_layers(check: GradientCheck) -> list[str]:
    return [layer.name for layer in check.layers if not layer.passed]


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_right_gradients_pass_all_of_them(activation: str, depth: int, loss: Loss) -> None:
    specs = [LayerSpec(units, activation) for units in (7, 6, 5)[:depth]]
    check = checked(specs, loss)
    assert check.passed
    assert check.max_relative_error < TOLERANCE / 10
    assert sum(layer.n for layer in check.layers) == made(specs)[0].n_params
    assert check.inputs.n == 6
    assert not any(layer.is_faint for layer in check.layers)


def test_the_slopes_are_those_of_a_loop_over_single_weights() -> None:
    network, inputs, labels = made([LayerSpec(5, "tanh"), LayerSpec(4, "silu")])
    rows = append_ones(inputs)
    probe = gradient_check._Probe(gradient_check.propagate(network, CrossEntropy(), inputs, labels))
    params, start, step = network.params, 0, 1e-4
    for k, layer in enumerate(network.layers):
        fast = probe.slope(k, np.arange(layer.table.size), step)
        for index in range(layer.table.size):
            values = []
            for sign in (1, -1):
                params[start + index] += sign * step
                logits = network.forward(rows, network.workspace(len(rows)))
                values.append(loss_and_gradient(CrossEntropy(), logits, labels)[0])
                params[start + index] -= sign * step
            assert fast[index] == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-10)
        start += layer.table.size


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_derivative_that_is_off_by_a_twentieth_of_a_percent_is_found(
    activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTIVATIONS, activation, with_slope_off(ACTIVATIONS[activation]))
    check = checked([LayerSpec(7, activation), LayerSpec(6, activation)])
    assert wrong_layers(check) == ["layer 1", "layer 2"]
    assert not check.inputs.passed
    assert check.layers[1].max_relative_error == pytest.approx(5e-4, rel=0.01)


def test_the_fault_is_in_the_last_layer_that_is_wrong() -> None:
    network, inputs, labels = made([LayerSpec(7, "gelu"), LayerSpec(6, "gelu"), LayerSpec(5, "gelu")])
    network.layers[1].activate = with_slope_off(ACTIVATIONS["gelu"])
    assert wrong_layers(check_gradients(network, CrossEntropy(), inputs, labels)) == ["layer 1", "layer 2"]


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_loss_gradient_that_is_off_is_found_from_the_output_on(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(loss), "gradient", with_gradient_off(type(loss).gradient))
    check = checked([LayerSpec(6, "tanh")], loss)
    assert wrong_layers(check) == ["layer 1", "output"]
    assert check.layers[-1].max_relative_error == pytest.approx(0.0005, rel=0.01)


def test_a_loss_value_that_is_off_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = MeanSquaredError.values
    monkeypatch.setattr(
        MeanSquaredError, "values", lambda self, outputs, targets: 1.0005 * right(self, outputs, targets)
    )
    assert wrong_layers(checked([LayerSpec(6, "tanh")], MeanSquaredError())) == ["layer 1", "output"]


def test_one_wrong_gradient_among_all_is_found_and_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Dense.backward

    def wrong(self: Dense, inputs: Array, delta: Array, grad_inputs: Array | None = None) -> None:
        right(self, inputs, delta, grad_inputs)
        if self.fan_out == 6:
            self.grad_table[3, 4] += 1e-4 * np.abs(self.grad_table).max()

    monkeypatch.setattr(Dense, "backward", wrong)
    check = checked([LayerSpec(7, "tanh"), LayerSpec(6, "tanh")])
    assert wrong_layers(check) == ["layer 2"]
    assert check.layers[1].worst == (3, 4)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("distance", [0.0, 1e-9, 2e-7, 3e-6])
def test_a_kink_is_no_error(activation: str, distance: float) -> None:
    network, inputs, labels = made([LayerSpec(7, activation), LayerSpec(6, activation)])
    workspace = network.workspace(len(inputs))
    for layer in network.layers[:2]:  # one unit of each hidden layer stands just above its bend, in one row
        network.forward(append_ones(inputs), workspace)
        buffers = workspace.layers[network.layers.index(layer)]
        layer.bias[2] += distance - buffers.pre_activation[1, 2]
    check = check_gradients(network, CrossEntropy(), inputs, labels)
    assert check.passed
    assert check.layers[0].kinks > 0
    assert check.layers[2].kinks == 0


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_a_wrong_gradient_is_not_taken_for_a_kink(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, activation, with_slope_off(ACTIVATIONS[activation]))
    check = checked([LayerSpec(7, activation), LayerSpec(6, activation)])
    assert wrong_layers(check) == ["layer 1", "layer 2"]
    assert [layer.kinks for layer in check.layers] == [0, 0, 0]


@pytest.mark.parametrize("margin", [5.0, 20.0, 30.0])
def test_gradients_of_a_sure_answer_are_checked_as_well(margin: float) -> None:
    network, inputs, _ = made([LayerSpec(7, "tanh")], n_rows=1)
    network.layers[1].bias[...] = [0, 0, 0, margin]
    check = check_gradients(network, CrossEntropy(), inputs, np.array([3]))
    assert check.loss < 10 * np.exp(-margin) + 1e-12
    assert check.passed
    assert check.layers[1].is_faint == (margin > 25)


def test_gradients_that_vanish_on_their_way_down_are_called_faint() -> None:
    network, inputs, labels = made([LayerSpec(8, "sigmoid")] * 16)
    check = check_gradients(network, CrossEntropy(), inputs, labels)
    assert check.passed
    assert check.layers[0].is_faint
    assert not check.layers[-1].is_faint


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_fine_values_are_those_of_the_loss(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0.0, 3.0, (20, 4)), loss.targets(rng.integers(4, size=20), 4, np.float64)
    np.testing.assert_allclose(
        loss.fine_values(logits, targets), loss.values(loss.outputs(logits), targets), rtol=1e-12
    )


def test_only_the_largest_gradients_may_be_asked_for() -> None:
    network, inputs, labels = made([LayerSpec(7, "tanh")])
    check = check_gradients(network, CrossEntropy(), inputs, labels, at_most=10)
    assert [layer.n for layer in check.layers] == [10, 10]
    assert check.passed


def test_float32_is_refused_and_a_copy_in_float64_is_the_same_network() -> None:
    network = Network([LayerSpec(5)], 6, 4, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="float64"):
        check_gradients(network, CrossEntropy(), np.zeros((1, 6)), np.array([0]))
    copy = as_float64(network)
    assert copy.params.dtype == np.float64
    np.testing.assert_array_equal(copy.params, network.params)
    assert not np.shares_memory(copy.params, network.params)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_network_learns_a_batch_by_heart(loss: Loss) -> None:
    network, inputs, labels = made([LayerSpec(16, "tanh")])
    result = memorize(network, loss, inputs, labels)
    assert result.passed
    assert result.last_loss <= 0.01 * result.first_loss
    assert 0 < result.steps < 2000


def test_a_step_before_the_last_it_is_not_yet_known_by_heart() -> None:
    def learned(max_steps: int) -> Memorized:
        network, inputs, labels = made([LayerSpec(16, "tanh")])
        return memorize(network, CrossEntropy(), inputs, labels, max_steps=max_steps)

    whole = learned(2000)
    before = learned(whole.steps - 1)
    assert (whole.passed, before.passed) == (True, False)
    assert whole.last_loss <= 0.01 * whole.first_loss < before.last_loss < 0.02 * before.first_loss
    assert before.steps == whole.steps - 1


def test_a_network_that_cannot_learn_does_not() -> None:
    network = Network([LayerSpec(8)], 6, 4, dtype=np.float64)  # all zeros: the units of a layer stay alike
    _, inputs, labels = made([])
    result = memorize(network, CrossEntropy(), inputs, labels, max_steps=50)
    assert (result.passed, result.steps) == (False, 50)
