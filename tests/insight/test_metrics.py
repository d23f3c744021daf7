import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as theirs

from backprop_cli.engine.losses import MeanSquaredError, softmax
from backprop_cli.insight.metrics import evaluate, fit_temperature, log_loss, wilson_interval

Array = NDArray[Any]

CLASSES = tuple("0123456789")


def answers(n: int = 400, seed: int = 0) -> tuple[Array, NDArray[np.int64]]:
    """Return probabilities and labels of a middling classifier."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(10, size=n)
    return softmax(rng.standard_normal((n, 10)) + 2.0 * np.eye(10)[labels]), labels


def test_accuracy_log_loss_and_confusion_matrix_are_scikit_learns() -> None:
    probabilities, labels = answers()
    ours, predictions = evaluate(probabilities, labels, CLASSES), probabilities.argmax(axis=1)
    assert ours.n == 400
    assert ours.accuracy == theirs.accuracy_score(labels, predictions)
    assert ours.log_loss == pytest.approx(theirs.log_loss(labels, probabilities))
    np.testing.assert_array_equal(ours.confusion_matrix, theirs.confusion_matrix(labels, predictions))


def test_precision_recall_f1_and_support_are_scikit_learns() -> None:
    probabilities, labels = answers()
    expected = theirs.precision_recall_fscore_support(labels, probabilities.argmax(axis=1))
    ours = [(c.precision, c.recall, c.f1, c.support) for c in evaluate(probabilities, labels, CLASSES).per_class]
    np.testing.assert_allclose(ours, np.transpose(expected))


def test_a_class_that_never_occurs_and_one_that_is_never_named_have_figures_of_0() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]])
    present, never_named, never_there = evaluate(probabilities, np.array([0, 1]), ("a", "b", "c")).per_class
    assert (present.label, present.precision, present.recall, present.support) == ("a", 0.5, 1.0, 1)
    assert (never_named.precision, never_named.recall, never_named.f1, never_named.support) == (0.0, 0.0, 0.0, 1)
    assert (never_there.precision, never_there.recall, never_there.f1, never_there.support) == (0.0, 0.0, 0.0, 0)


def test_the_worst_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.9, 0.1]])
    assert evaluate(probabilities, np.array([0, 0, 1, 0]), ("a", "b")).worst.tolist() == [1, 2, 0, 3]


@pytest.mark.parametrize(
    ("n_right", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_wilson_interval_is_newcombes(n_right: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(n_right, n) == pytest.approx((low, high), abs=5e-5)


def test_the_wilson_interval_is_the_same_from_both_ends_and_stays_between_0_and_1() -> None:
    low, high = wilson_interval(7, 50)
    assert wilson_interval(43, 50) == pytest.approx((1.0 - high, 1.0 - low))
    for n in (1, 3, 360, 10**6):
        assert 0.0 <= wilson_interval(0, n)[0] < 1e-12
        assert wilson_interval(n, n)[1] == pytest.approx(1.0)
        assert wilson_interval(n, n)[1] <= 1.0


def test_the_evaluations_interval_is_of_its_accuracy() -> None:
    probabilities, labels = answers()
    ours = evaluate(probabilities, labels, CLASSES)
    assert ours.accuracy_interval == wilson_interval(round(ours.accuracy * 400), 400)


def test_log_loss_is_finite_where_the_truth_was_thought_impossible() -> None:
    assert log_loss(np.array([[0.0, 1.0]], np.float32), np.array([0])) == pytest.approx(
        -math.log(np.finfo(np.float32).tiny)
    )


def test_the_calibration_error_is_as_by_hand() -> None:
    # of confidence 0.95: 3 answers, 2 right; of 0.65: 2, none right: 3/5 |2/3 - 0.95| + 2/5 |0 - 0.65|
    probabilities = np.array([[0.95, 0.05]] * 3 + [[0.35, 0.65]] * 2)
    ours = evaluate(probabilities, np.array([0, 0, 1, 0, 0]), ("a", "b"))
    assert ours.ece == pytest.approx(0.6 * (0.95 - 2.0 / 3.0) + 0.4 * 0.65)
    filled = [(b.n, b.confidence, b.accuracy) for b in ours.reliability if b.n]
    np.testing.assert_allclose(filled, [(2, 0.65, 0.0), (3, 0.95, 2.0 / 3.0)])
    assert [(b.low, b.high) for b in ours.reliability] == [(k / 10, (k + 1) / 10) for k in range(10)]


def test_answers_without_a_doubt_are_in_the_last_bin() -> None:
    ours = evaluate(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1]), ("a", "b"))
    assert (ours.ece, ours.log_loss, ours.reliability[-1].n) == (0.0, 0.0, 2)


def test_every_answer_is_in_one_bin() -> None:
    probabilities, labels = answers()
    ours = evaluate(probabilities.astype(np.float32), labels, CLASSES)
    assert sum(b.n for b in ours.reliability) == 400
    for b in ours.reliability:
        assert b.n == 0 or b.low - 1e-6 <= b.confidence <= b.high + 1e-6


# ---- temperature ---------------------------------------------------------------------------------------------------

# Right three times out of four, and ln 3 sure of it: calibrated at a temperature of 1.
LOGITS = np.tile([[math.log(3.0), 0.0]], (4, 1))
LABELS = np.array([0, 0, 0, 1])


@pytest.mark.parametrize("factor", [0.2, 0.5, 1.0, 3.0, 8.0])
def test_the_temperature_is_the_factor_by_which_the_logits_are_too_large(factor: float) -> None:
    assert fit_temperature([LOGITS * factor], LABELS, softmax) == pytest.approx(factor, rel=1e-4)


def test_the_temperature_is_recovered_from_labels_drawn_at_random() -> None:
    rng = np.random.default_rng(0)
    logits = 2.0 * rng.standard_normal((20_000, 5))
    labels = (softmax(logits).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert fit_temperature([2.5 * logits], labels, softmax) == pytest.approx(2.5, rel=0.03)


def test_the_temperature_of_an_ensemble_is_one_number_for_its_mean_probability() -> None:
    members = [LOGITS * 2.0, LOGITS * 2.0]
    assert fit_temperature(members, LABELS, softmax) == pytest.approx(2.0, rel=1e-4)
    unlike = [LOGITS * 4.0, LOGITS * 0.0]

    def mean_loss(temperature: float) -> float:
        return log_loss(np.mean([softmax(member / temperature) for member in unlike], axis=0), LABELS)

    fitted = fit_temperature(unlike, LABELS, softmax)
    assert mean_loss(fitted) <= min(mean_loss(0.99 * fitted), mean_loss(1.01 * fitted))


def test_the_temperature_never_raises_the_log_loss_and_stays_within_its_range() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((50, 3)) * 5.0, rng.integers(3, size=50)
    fitted = fit_temperature([logits], labels, softmax)
    assert log_loss(softmax(logits / fitted), labels) <= log_loss(softmax(logits), labels)
    assert fit_temperature([LOGITS], np.zeros(4, int), softmax) == 1.0  # always right: nothing to fit
    assert fit_temperature([LOGITS], np.ones(4, int), softmax) == pytest.approx(10.0, rel=1e-3)  # always wrong


def test_the_temperature_uses_the_losss_own_probabilities() -> None:
    loss = MeanSquaredError(output="sigmoid")
    logits = np.tile([[math.log(3.0), -math.log(3.0)]], (4, 1))  # sigmoids 3/4 and 1/4: the sum is 1
    assert fit_temperature([2.0 * logits], LABELS, loss.probabilities) == pytest.approx(2.0, rel=1e-4)
