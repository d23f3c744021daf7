from typing import Any

import numpy as np
import pytest
from gradient_check import (
    LOSSES,
    TOLERANCE,
    network_errors,
    relative_error,
    with_gradient_off,
    with_slope_off,
)
from numpy.typing import NDArray

from backprop_cli.engine import activations
from backprop_cli.engine.activations import ACTIVATIONS, FORMULAS
from backprop_cli.engine.layers import Dense, LayerSpec
from backprop_cli.engine.losses import CrossEntropy, Loss
from backprop_cli.engine.network import Network

Array = NDArray[Any]

N_ROWS, N_INPUTS, N_CLASSES = 6, 5, 4


def errors_of(specs: list[LayerSpec], loss: Loss, *, dropout_seed: int | None = None) -> tuple[float, float]:
    rng = np.random.default_rng(3)
    network = Network(specs, N_INPUTS, N_CLASSES, dtype=np.float64, rng=rng, initializer="glorot_normal")
    for layer in network.layers:
        layer.bias[...] = rng.normal(0.0, 0.3, layer.fan_out)  # at 0 a wrong use of the biases would not show
    inputs, labels = rng.standard_normal((N_ROWS, N_INPUTS)), rng.integers(N_CLASSES, size=N_ROWS)
    return network_errors(network, loss, inputs, labels, dropout_seed=dropout_seed)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_those_of_the_loss(activation: str, depth: int, loss: Loss) -> None:
    specs = [LayerSpec(units, activation) for units in (7, 6, 5)[:depth]]
    assert max(errors_of(specs, loss)) < TOLERANCE


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_those_of_the_loss_under_a_fixed_dropout_mask(activation: str, loss: Loss) -> None:
    specs = [LayerSpec(9, activation, dropout=0.4), LayerSpec(8, activation, dropout=0.2)]
    assert max(errors_of(specs, loss, dropout_seed=5)) < TOLERANCE


def test_the_dropout_mask_of_the_check_does_drop() -> None:
    specs = [LayerSpec(9, "tanh", dropout=0.4)]
    assert errors_of(specs, CrossEntropy(), dropout_seed=5) != errors_of(specs, CrossEntropy())


def test_layers_of_different_activations_work_together() -> None:
    assert max(errors_of([LayerSpec(6, name) for name in ACTIVATIONS], CrossEntropy())) < TOLERANCE


def test_the_checker_measures_a_known_error() -> None:
    at = np.array([1.0, -2.0, 3.0])
    assert relative_error(lambda x: float(x @ x), at, 2.0 * at) < 1e-9
    assert relative_error(lambda x: float(x @ x), at, 2.001 * at) == pytest.approx(0.001 / 2.001, rel=1e-4)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_checker_rejects_a_derivative_that_is_off_by_a_twentieth_of_a_percent(
    activation: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTIVATIONS, activation, with_slope_off(ACTIVATIONS[activation]))
    params_error, inputs_error = errors_of([LayerSpec(6, activation)] * depth, CrossEntropy())
    assert params_error > 50 * TOLERANCE
    assert inputs_error > 50 * TOLERANCE


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_checker_rejects_a_loss_gradient_that_is_off_by_a_twentieth_of_a_percent(
    loss: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(loss), "gradient", with_gradient_off(type(loss).gradient))
    params_error, inputs_error = errors_of([LayerSpec(6, "tanh")], loss)
    assert params_error == pytest.approx(0.0005, rel=0.01)
    assert inputs_error == pytest.approx(0.0005, rel=0.01)


def test_the_checker_rejects_a_bias_gradient_that_is_off_by_a_twentieth_of_a_percent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Dense.backward

    def wrong(self: Dense, inputs: Array, delta: Array, grad_inputs: Array | None = None) -> None:
        right(self, inputs, delta, grad_inputs)
        if not self.is_output:
            self.grad_bias *= 1.0005

    monkeypatch.setattr(Dense, "backward", wrong)
    params_error, inputs_error = errors_of([LayerSpec(6, "tanh")], CrossEntropy())
    assert params_error > 10 * TOLERANCE
    assert inputs_error < TOLERANCE


def test_the_checker_rejects_a_mean_taken_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Any, outputs: Array, targets: Array, out: Array, buffers: Any = None) -> Array:
        np.divide(outputs - targets, len(out) ** 2, out=out)
        return out

    monkeypatch.setattr(CrossEntropy, "gradient", wrong)
    assert errors_of([LayerSpec(6, "tanh")], CrossEntropy())[0] > 0.1


def test_every_activation_function_is_in_the_table_and_has_formulas() -> None:
    functions = {
        name for name, thing in vars(activations).items() if getattr(thing, "__module__", "") == activations.__name__
    }
    assert functions == {*ACTIVATIONS, "formulas"}
    assert set(FORMULAS) == set(ACTIVATIONS)
