import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from gradient_check import LOSSES
from numpy.typing import NDArray

from backprop_cli.engine.losses import (
    CrossEntropy,
    Loss,
    MeanSquaredError,
    RowBuffers,
    loss_and_gradient,
    loss_of,
    one_hot,
    softmax,
)

Array = NDArray[Any]

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)

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


@every_loss
def test_the_loss_is_a_mean_over_the_batch(loss: Loss) -> None:
    logits, labels = np.random.default_rng(0).standard_normal((5, 3)), np.array([0, 1, 2, 0, 1])
    once, gradient = loss_and_gradient(loss, logits, labels)
    twice, gradient_of_two = loss_and_gradient(loss, np.concatenate([logits, logits]), np.concatenate([labels, labels]))
    assert twice == pytest.approx(once)
    np.testing.assert_allclose(gradient_of_two[:5], gradient / 2.0)


@every_loss
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
@every_loss
def test_the_dtype_stays(loss: Loss, dtype: Any) -> None:
    logits = LOG_ODDS.astype(dtype)
    assert loss.outputs(logits).dtype == loss.probabilities(logits).dtype == dtype
    assert loss_and_gradient(loss, logits, np.array([1, 0]))[1].dtype == dtype


def some_outputs(loss: Loss) -> tuple[Array, Array]:
    """Return what the output units say of five examples of four classes, and the targets."""
    rng = np.random.default_rng(0)
    return loss.outputs(rng.normal(0.0, 2.0, (5, 4))), loss.targets(rng.integers(4, size=5), 4, np.float64)


def by_formula(formula: str, outputs: Array, targets: Array) -> Array:
    """Return what a formula of a loss comes to, class by class."""
    written = formula.format(o="(o)", t="(t)").replace(" x ", " * ").replace("^2", "**2").replace("1/2 ", "1/2 * ")
    found: Array = eval(written, {"o": outputs, "t": targets, "ln": np.log, "__builtins__": {}})
    return found


@every_loss
def test_the_terms_add_up_to_the_value_and_its_formula_says_them(loss: Loss) -> None:
    outputs, targets = some_outputs(loss)
    columns = [(outputs[:, k : k + 1], targets[:, k : k + 1]) for k in range(4)]
    terms = np.array([loss.values(*column) for column in columns]).T
    np.testing.assert_allclose(terms.sum(axis=1), loss.values(outputs, targets), rtol=1e-14)
    told = by_formula(loss.term, outputs, targets)
    np.testing.assert_allclose(terms, told if "{t}" in loss.term else told * (targets == 1.0), rtol=1e-13, atol=1e-15)


@every_loss
def test_the_slopes_are_the_derivatives_of_the_terms_and_their_formula_says_them(loss: Loss) -> None:
    (outputs, targets), step = some_outputs(loss), 1e-6
    slopes = np.empty_like(outputs)
    assert loss.slopes(outputs, targets, slopes) is slopes
    for k in range(4):
        moved = step * (np.arange(4) == k)
        measured = (loss.values(outputs + moved, targets) - loss.values(outputs - moved, targets)) / (2 * step)
        np.testing.assert_allclose(slopes[:, k], measured, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(slopes, by_formula(loss.slope, outputs, targets), rtol=1e-13)


@every_loss
def test_the_gradient_is_the_slopes_way_back_through_the_units(loss: Loss) -> None:
    outputs, targets = some_outputs(loss)
    gradients, slopes = (way(outputs, targets, np.empty_like(outputs)) for way in (loss.gradient, loss.slopes))
    for o, slope, gradient in zip(outputs, slopes, gradients, strict=True):
        jacobian = np.diag(o) - np.outer(o, o) if loss.output == "softmax" else np.diag(o * (1.0 - o))
        np.testing.assert_allclose(gradient, jacobian @ slope / len(outputs), rtol=1e-9, atol=1e-15)
    if loss.delta:
        np.testing.assert_allclose(gradients, by_formula(loss.delta, outputs, targets) / len(outputs), rtol=1e-13)


@every_loss
def test_probabilities_are_in_the_order_of_the_outputs_and_add_up_to_1(loss: Loss) -> None:
    logits = np.random.default_rng(0).normal(0.0, 2.0, (5, 4))
    probabilities = loss.probabilities(logits)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    np.testing.assert_array_equal(probabilities.argsort(axis=1), loss.outputs(logits).argsort(axis=1))


@every_loss
def test_what_keeps_a_loss_from_0_can_be_left_out(loss: Loss) -> None:
    _, targets = some_outputs(loss.down_to_zero())
    np.testing.assert_array_equal(loss.down_to_zero().values(targets, targets), 0.0)


def test_that_is_smoothing_and_nothing_else() -> None:
    for name, loss in LOSSES.items():
        assert loss.down_to_zero() == (CrossEntropy() if name == "smoothed" else loss)


@every_loss
def test_a_log_likelihood_is_ln_of_the_classes_where_nothing_is_known(loss: Loss) -> None:
    value, _ = loss_and_gradient(loss, np.zeros((1, 4)), np.array([2]))
    assert (value == pytest.approx(math.log(4.0))) == loss.is_log_likelihood


@every_loss
def test_plain_settings_give_the_loss_back(loss: Loss) -> None:
    assert loss_of(asdict(loss)) == loss


@pytest.mark.parametrize(
    "settings", [{}, {"name": "none"}, {"name": "mse", "label_smoothing": 0.1}, {"name": "mse", "output": "tanh"}]
)
def test_plain_settings_of_no_loss_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        loss_of(settings)


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


# ---- weights -------------------------------------------------------------------------------------------------------


@every_loss
def test_the_gradient_with_weights_is_that_of_the_weighted_loss(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    logits, labels, weights = rng.standard_normal((6, 4)), rng.integers(4, size=6), rng.uniform(0.0, 3.0, 6)
    _, gradient = loss_and_gradient(loss, logits, labels, weights)
    step = 1e-6
    for place in np.ndindex(*logits.shape):
        above, below = logits.copy(), logits.copy()
        above[place] += step
        below[place] -= step
        change = loss_and_gradient(loss, above, labels, weights)[0] - loss_and_gradient(loss, below, labels, weights)[0]
        assert gradient[place] == pytest.approx(change / (2.0 * step), abs=1e-9)


@every_loss
def test_weights_of_1_change_no_bit_and_the_loss_is_the_sum_of_weight_times_loss_over_the_batch_size(
    loss: Loss,
) -> None:
    logits, labels = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32), np.array([0, 1, 2, 0, 1])
    plain, gradient = loss_and_gradient(loss, logits, labels)
    ones, gradient_of_ones = loss_and_gradient(loss, logits, labels, np.ones(5))
    assert ones == plain
    np.testing.assert_allclose(gradient_of_ones, gradient, rtol=2e-7)
    weights = np.array([2.0, 0.0, 1.0, 0.5, 1.5])
    values = loss.values(loss.outputs(logits), loss.targets(labels, 3))
    assert loss_and_gradient(loss, logits, labels, weights)[0] == pytest.approx((values * weights).sum() / 5.0)
