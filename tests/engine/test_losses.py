import math
from typing import Any

import numpy as np
import pytest

from backprop_cli.engine.losses import (
    CrossEntropy,
    Loss,
    MeanSquaredError,
    RowBuffers,
    loss_and_gradient,
    one_hot,
    softmax,
)

LOSSES: list[Loss] = [
    CrossEntropy(),
    CrossEntropy(label_smoothing=0.2),
    MeanSquaredError(output="softmax"),
    MeanSquaredError(output="sigmoid"),
]

LOG_ODDS = np.log([[1.0, 2.0, 5.0], [6.0, 1.0, 1.0]])  # softmax: [1/8, 1/4, 5/8], [3/4, 1/8, 1/8]


def test_softmax_of_logarithms_gives_back_the_proportions() -> None:
    np.testing.assert_allclose(softmax(LOG_ODDS), [[0.125, 0.25, 0.625], [0.75, 0.125, 0.125]])


def test_softmax_may_write_over_its_logits() -> None:
    logits = LOG_ODDS.copy()
    assert softmax(logits, logits, RowBuffers(2, 3, logits.dtype)) is logits
    np.testing.assert_array_equal(logits, softmax(LOG_ODDS))


def test_one_hot_puts_a_1_in_the_labels_column() -> None:
    targets = one_hot(np.array([2, 0]), 3)
    np.testing.assert_array_equal(targets, [[0, 0, 1], [1, 0, 0]])
    assert targets.dtype == np.float32


def test_cross_entropy_is_the_mean_of_minus_ln_p_and_its_gradient_p_minus_target_over_n() -> None:
    loss, gradient = loss_and_gradient(CrossEntropy(), LOG_ODDS, np.array([1, 0]))
    assert loss == pytest.approx((math.log(4.0) + math.log(4.0 / 3.0)) / 2.0)
    np.testing.assert_allclose(gradient, [[0.0625, -0.375, 0.3125], [-0.125, 0.0625, 0.0625]])


def test_label_smoothing_moves_mass_to_the_uniform_distribution() -> None:
    smoothed = CrossEntropy(label_smoothing=0.3)
    np.testing.assert_allclose(smoothed.targets(np.array([1]), 3, np.float64), [[0.1, 0.8, 0.1]])
    loss, gradient = loss_and_gradient(smoothed, LOG_ODDS[:1], np.array([1]))
    assert loss == pytest.approx(0.1 * math.log(8.0) + 0.8 * math.log(4.0) + 0.1 * math.log(1.6))
    np.testing.assert_allclose(gradient, [[0.025, -0.55, 0.525]])


def test_mse_over_softmax_is_half_the_squared_distance_through_the_softmax() -> None:
    loss, gradient = loss_and_gradient(MeanSquaredError(), np.log([[1.0, 3.0]]), np.array([0]))
    assert loss == pytest.approx(0.5 * (0.75**2 + 0.75**2))
    # o = [1/4, 3/4], g = [-3/4, 3/4], sum g o = 3/8: o (g - 3/8)
    np.testing.assert_allclose(gradient, [[0.25 * (-0.75 - 0.375), 0.75 * (0.75 - 0.375)]])


def test_mse_over_sigmoid_is_half_the_squared_distance_through_each_sigmoid() -> None:
    loss, gradient = loss_and_gradient(
        MeanSquaredError(output="sigmoid"), np.array([[0.0, math.log(3.0)], [0.0, 0.0]]), np.array([0, 0])
    )
    assert loss == pytest.approx((0.5 * (0.25 + 0.5625) + 0.5 * (0.25 + 0.25)) / 2.0)  # o = [1/2, 3/4], [1/2, 1/2]
    np.testing.assert_allclose(gradient, [[-0.125 / 2, 0.75 * 0.75 * 0.25 / 2], [-0.125 / 2, 0.125 / 2]])


def test_sigmoid_outputs_become_probabilities_by_their_sum() -> None:
    probabilities = MeanSquaredError(output="sigmoid").probabilities(np.array([[0.0, math.log(3.0)]]))
    np.testing.assert_allclose(probabilities, [[0.4, 0.6]])


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_a_mean_over_the_batch(loss: Loss) -> None:
    logits, labels = np.random.default_rng(0).standard_normal((5, 3)), np.array([0, 1, 2, 0, 1])
    once, gradient = loss_and_gradient(loss, logits, labels)
    twice, gradient_of_two = loss_and_gradient(loss, np.concatenate([logits, logits]), np.concatenate([labels, labels]))
    assert twice == pytest.approx(once)
    np.testing.assert_allclose(gradient_of_two[:5], gradient / 2.0)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_reused_buffers_change_no_bit(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    logits, buffers = rng.standard_normal((5, 3)).astype(np.float32), RowBuffers(5, 3)
    targets, outputs = loss.targets(rng.integers(3, size=5), 3), np.empty((5, 3), np.float32)
    for _ in range(2):
        assert loss.outputs(logits, outputs, buffers) is outputs
        gradient = loss.gradient(outputs, targets, np.empty_like(outputs), buffers)
        np.testing.assert_array_equal(outputs, loss.outputs(logits))
        np.testing.assert_array_equal(gradient, loss.gradient(outputs, targets, np.empty_like(outputs)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_dtype_stays(loss: Loss, dtype: Any) -> None:
    logits = LOG_ODDS.astype(dtype)
    assert loss.outputs(logits).dtype == loss.probabilities(logits).dtype == dtype
    assert loss_and_gradient(loss, logits, np.array([1, 0]))[1].dtype == dtype


def test_a_probability_that_underflowed_costs_no_more_than_the_smallest_number() -> None:
    loss, _ = loss_and_gradient(CrossEntropy(), np.array([[0.0, 1e4]], np.float32), np.array([0]))
    assert loss == pytest.approx(-math.log(np.finfo(np.float32).tiny), rel=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_label_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"^label_smoothing: .* is not in \[0, 1\)$"):
        CrossEntropy(label_smoothing=smoothing)


def test_unknown_output_units_are_refused() -> None:
    with pytest.raises(ValueError, match=r'^output: "tanh" is not one of softmax, sigmoid$'):
        MeanSquaredError(output="tanh")  # type: ignore[arg-type]
