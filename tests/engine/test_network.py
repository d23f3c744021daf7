import math
import re
from typing import Any

import numpy as np
import pytest

from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import CrossEntropy, loss_and_gradient
from backprop_cli.engine.network import (
    EVALUATION_ROWS,
    Network,
    NetworkSettings,
    append_ones,
    count_params,
    layer_shapes,
)
from backprop_cli.engine.optimizers import Adam


def tiny() -> Network:
    """Return 2 inputs, 2 relu units, 2 logits, with numbers that can be followed by hand."""
    network = Network([LayerSpec(2, "relu")], 2, 2, dtype=np.float64)
    hidden, output = network.layers
    hidden.weight[...], hidden.bias[...] = [[1.0, -1.0], [2.0, 1.0]], [0.5, 0.0]
    output.weight[...], output.bias[...] = [[1.0, 2.0], [3.0, 4.0]], [0.0, -1.0]
    return network


def test_the_parameters_lie_in_one_vector_layer_by_layer_weight_before_bias() -> None:
    np.testing.assert_array_equal(tiny().params, [1, -1, 2, 1, 0.5, 0, 1, 2, 3, 4, 0, -1])
    assert tiny().weight_slices == [slice(0, 4), slice(6, 10)]


def test_a_tiny_network_goes_forward_as_by_hand() -> None:
    # z = [1 * 1 + 1 * 2 + 0.5, 1 * -1 + 1 * 1] = [3.5, 0], a = [3.5, 0], logits = [3.5, 7 - 1]
    np.testing.assert_array_equal(tiny().logits(np.array([[1.0, 1.0]])), [[3.5, 6.0]])


def test_a_tiny_network_goes_backward_as_by_hand() -> None:
    network = tiny()
    workspace = network.workspace(1)
    network.forward(append_ones(np.array([[1.0, 2.0]])), workspace)  # z = [5.5, 1] = a
    grad_inputs = network.backward(np.array([[1.0, -2.0]]), workspace, to_inputs=True)
    hidden, output = network.layers
    np.testing.assert_array_equal(output.grad_weight, [[5.5, -11.0], [1.0, -2.0]])
    np.testing.assert_array_equal(output.grad_bias, [1.0, -2.0])
    # grad_a = [1 - 4, 3 - 8] = [-3, -5] = delta, both units being on
    np.testing.assert_array_equal(hidden.grad_weight, [[-3.0, -5.0], [-6.0, -10.0]])
    np.testing.assert_array_equal(hidden.grad_bias, [-3.0, -5.0])
    np.testing.assert_array_equal(grad_inputs, [[-3.0 + 5.0, -6.0 - 5.0]])


def test_a_relu_unit_that_is_off_takes_no_blame() -> None:
    network = tiny()
    workspace = network.workspace(1)
    network.forward(append_ones(np.array([[3.0, 1.0]])), workspace)  # z = [5.5, -2]
    network.backward(np.array([[1.0, -2.0]]), workspace)
    np.testing.assert_array_equal(network.layers[0].grad_weight, [[-9.0, 0.0], [-3.0, 0.0]])


def test_backward_replaces_the_last_gradient() -> None:
    network = tiny()
    workspace = network.workspace(1)
    network.forward(append_ones(np.array([[1.0, 2.0]])), workspace)
    assert network.backward(np.array([[1.0, -2.0]]), workspace) is None
    once = network.grads.copy()
    network.forward(append_ones(np.array([[1.0, 2.0]])), workspace)
    network.backward(np.array([[1.0, -2.0]]), workspace)
    np.testing.assert_array_equal(network.grads, once)


def test_params_and_grads_cannot_be_rebound() -> None:
    network = tiny()
    for name in ("params", "grads"):
        with pytest.raises(AttributeError):
            setattr(network, name, np.zeros(12))


def test_an_in_place_operation_on_the_property_fails_loudly() -> None:
    network: Any = tiny()
    with pytest.raises(AttributeError):
        network.params -= 1.0


def test_writing_in_place_reaches_the_layers() -> None:
    network = tiny()
    network.params[...] = np.arange(12.0)
    np.testing.assert_array_equal(network.layers[1].weight, [[6.0, 7.0], [8.0, 9.0]])
    np.testing.assert_array_equal(network.layers[1].bias, [10.0, 11.0])


def test_two_workspaces_keep_two_passes_in_flight() -> None:
    network, first, second = tiny(), np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]])
    one, two = network.workspace(1), network.workspace(1)
    logits = network.forward(append_ones(first), one)
    network.forward(append_ones(second), two)
    np.testing.assert_array_equal(logits, network.logits(first))
    network.backward(np.array([[1.0, -2.0]]), one)
    np.testing.assert_array_equal(network.layers[0].grad_weight, [[-3.0, -5.0], [-6.0, -10.0]])


def test_logits_takes_any_number_of_rows() -> None:
    network = tiny()
    inputs = np.random.default_rng(0).standard_normal((2 * EVALUATION_ROWS + 3, 2))
    logits = network.logits(inputs)
    np.testing.assert_allclose(logits[-5:], network.logits(inputs[-5:]))
    assert network.logits(inputs[:0]).shape == (0, 2)


def test_the_same_seed_gives_the_same_weights_and_none_gives_zeros() -> None:
    one, same, other = (
        Network([LayerSpec(8)], 4, 3, rng=np.random.default_rng(seed)).params.tobytes() for seed in (1, 1, 2)
    )
    assert one == same != other
    assert not Network([LayerSpec(8)], 4, 3).params.any()


def test_no_hidden_layer_is_softmax_regression() -> None:
    network = Network([], 4, 3, rng=np.random.default_rng(0), dtype=np.float64)
    inputs = np.random.default_rng(1).standard_normal((5, 4))
    np.testing.assert_allclose(network.logits(inputs), inputs @ network.layers[0].weight)
    assert network.n_params == 15


def test_counting_needs_no_network() -> None:
    specs = [LayerSpec(64), LayerSpec(32)]
    assert count_params(specs, 64, 10) == 64 * 64 + 64 + 64 * 32 + 32 + 32 * 10 + 10
    assert layer_shapes(specs, 64, 10) == [(specs[0], 64, 64), (specs[1], 64, 32), (None, 32, 10)]
    assert count_params([LayerSpec(65_536)] * 63, 64, 10) > 250_000_000_000


def test_append_ones_adds_one_column() -> None:
    np.testing.assert_array_equal(append_ones(np.array([[2.0, 3.0]])), [[2.0, 3.0, 1.0]])
    assert append_ones(np.zeros((1, 1), np.uint8), np.float32).dtype == np.float32


def test_ten_million_parameters_in_fifty_layers_make_a_step() -> None:
    network = Network([LayerSpec(450)] * 49, 64, 10, rng=np.random.default_rng(0))
    assert len(network.layers) == 50
    assert network.n_params > 9_500_000
    inputs = append_ones(np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32))
    labels, workspace, before = np.arange(8), network.workspace(8), network.params.copy()
    loss, grad_logits = loss_and_gradient(CrossEntropy(), network.forward(inputs, workspace), labels)
    network.backward(grad_logits, workspace)
    optimizer = Adam(learning_rate=1e-4)
    optimizer.step(network.params, network.grads, optimizer.init(network.n_params), learning_rate=1e-4)
    assert 0.5 * math.log(10.0) < loss < 4.0 * math.log(10.0)
    for layer in network.layers:
        assert layer.grad_table.any()
    assert (network.params != before).mean() > 0.2
    after, _ = loss_and_gradient(CrossEntropy(), network.forward(inputs, workspace), labels)
    assert after < loss


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": (LayerSpec(1),) * 64}, "layers: 64 are more than 63"),
        ({"initializer": "he"}, 'initializer: "he" is not one of zeros, he_normal, he_uniform'),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        NetworkSettings(**settings)
