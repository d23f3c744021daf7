import math
import re
from typing import Any

import numpy as np
import pytest

from backprop_cli.engine.layers import INITIALIZERS, Dense, LayerBuffers, LayerSpec
from backprop_cli.engine.network import Network, append_ones

FAN_IN, FAN_OUT = 400, 300
VARIANCES = {
    "zeros": 0.0,
    "he_normal": 2.0 / FAN_IN,
    "he_uniform": 2.0 / FAN_IN,
    "glorot_normal": 2.0 / (FAN_IN + FAN_OUT),
    "glorot_uniform": 2.0 / (FAN_IN + FAN_OUT),
    "lecun_normal": 1.0 / FAN_IN,
    "lecun_uniform": 1.0 / FAN_IN,
}


def dense(spec: LayerSpec | None, table: Any) -> Dense:
    array = np.asarray(table, np.float64)
    return Dense(spec, array, np.zeros_like(array))


def test_every_initializer_has_its_variance_here() -> None:
    assert set(VARIANCES) == set(INITIALIZERS)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_an_initializer_has_mean_0_and_its_standard_deviation(name: str) -> None:
    weight = INITIALIZERS[name](np.random.default_rng(0), FAN_IN, FAN_OUT)
    assert weight.shape == (FAN_IN, FAN_OUT)
    assert weight.std() == pytest.approx(math.sqrt(VARIANCES[name]), rel=0.01)
    assert abs(weight.mean()) <= 4.0 * math.sqrt(VARIANCES[name] / weight.size)


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name.endswith("uniform")])
def test_a_uniform_initializer_fills_its_interval_and_no_more(name: str) -> None:
    limit = math.sqrt(3.0 * VARIANCES[name])
    largest = np.abs(INITIALIZERS[name](np.random.default_rng(0), FAN_IN, FAN_OUT)).max()
    assert 0.999 * limit < largest <= limit


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name.endswith("normal")])
def test_a_normal_initializer_has_normal_tails(name: str) -> None:
    weight = INITIALIZERS[name](np.random.default_rng(0), FAN_IN, FAN_OUT)
    assert (np.abs(weight) < math.sqrt(VARIANCES[name])).mean() == pytest.approx(0.6827, abs=0.01)


def test_a_networks_hidden_layers_start_as_asked_and_its_output_layer_with_variance_1_over_fan_in() -> None:
    network = Network([LayerSpec(300)], 400, 100, rng=np.random.default_rng(0), initializer="he_uniform")
    hidden, output = network.layers
    assert hidden.weight.std() == pytest.approx(math.sqrt(2.0 / 400), rel=0.02)
    assert output.weight.std() == pytest.approx(math.sqrt(1.0 / 300), rel=0.02)
    assert not hidden.bias.any()
    assert not output.bias.any()


def test_forward_is_the_activation_of_inputs_times_weight_plus_bias() -> None:
    layer = dense(LayerSpec(2, "relu"), [[1, 2], [3, 4], [0.5, -20]])  # two rows of weights, one of biases
    outputs = layer.forward(append_ones(np.array([[1.0, 2.0]])), LayerBuffers(1, layer))
    np.testing.assert_array_equal(outputs, [[7.5, 0.0, 1.0]])


def test_the_output_layer_gives_plain_logits() -> None:
    layer = dense(None, [[1, 2], [3, 4], [0.5, -20]])
    logits = layer.forward(append_ones(np.array([[1.0, 2.0]])), LayerBuffers(1, layer))
    np.testing.assert_array_equal(logits, [[7.5, -10.0]])


def test_backward_fills_the_gradients_of_weight_bias_and_inputs() -> None:
    layer = dense(LayerSpec(2), [[1, 2], [3, 4], [0, 0]])
    inputs, delta = np.array([[1.0, 2.0, 1.0], [3.0, 4.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 10.0]])
    grad_inputs = np.empty((2, 2))
    layer.backward(inputs, delta, grad_inputs)
    np.testing.assert_array_equal(layer.grad_weight, [[1.0, 30.0], [2.0, 40.0]])
    np.testing.assert_array_equal(layer.grad_bias, [1.0, 10.0])
    np.testing.assert_array_equal(grad_inputs, [[1.0, 3.0], [20.0, 40.0]])


def dropped(dropout: float, n_rows: int = 500, units: int = 200) -> tuple[LayerBuffers, LayerBuffers]:
    """Return the buffers of one layer after a forward pass without and with dropout."""
    rng = np.random.default_rng(0)
    layer = dense(LayerSpec(units, "softplus", dropout), rng.standard_normal((5, units)))
    inputs = append_ones(rng.standard_normal((n_rows, 4)))
    plain, training = LayerBuffers(n_rows, layer), LayerBuffers(n_rows, layer)
    layer.forward(inputs, plain)
    layer.forward(inputs, training, np.random.default_rng(1))
    return plain, training


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.8])
def test_dropout_silences_its_share_and_scales_the_rest_so_that_the_mean_stays(dropout: float) -> None:
    plain, training = dropped(dropout)
    silent = training.activation == 0.0
    assert silent.mean() == pytest.approx(dropout, abs=0.005)
    np.testing.assert_allclose(training.activation[~silent], plain.activation[~silent] / (1.0 - dropout))
    assert training.activation.mean() == pytest.approx(plain.activation.mean(), rel=0.02)


def test_dropout_treats_the_slope_like_the_value_and_leaves_the_ones() -> None:
    plain, training = dropped(0.5)
    assert training.mask is not None
    np.testing.assert_allclose(training.slope, plain.slope * training.mask)
    np.testing.assert_array_equal(training.outputs[:, -1], 1.0)


def test_dropout_is_off_without_a_generator_and_no_setting_draws_nothing() -> None:
    plain, _ = dropped(0.5)
    assert (plain.activation > 0.0).all()
    layer, rng = dense(LayerSpec(3), np.ones((3, 3))), np.random.default_rng(0)
    layer.forward(np.ones((2, 3)), LayerBuffers(2, layer), rng)
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": 0}, "units: 0 is not between 1 and 65,536"),
        ({"units": 65_537}, "units: 65537 is not between 1 and 65,536"),
        ({"units": 4, "dropout": 1.0}, "dropout: 1.0 is not in [0, 1)"),
        ({"units": 4, "dropout": -0.1}, "dropout: -0.1 is not in [0, 1)"),
        ({"units": 4, "dropout": math.nan}, "dropout: nan is not in [0, 1)"),
    ],
)
def test_a_spec_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        LayerSpec(**settings)


def test_a_spec_with_an_unknown_activation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r'^activation: "rleu" is not one of identity, sigmoid, .*, softplus$'):
        LayerSpec(4, "rleu")
