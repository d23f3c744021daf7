"""How good the answers are, and how far the figures can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Array, Labels

CALIBRATION_BINS = 10


@dataclass(frozen=True)
class ClassFigures:
    """One class: of those called it, the share that are it (precision); of those that are it, the share found."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ReliabilityBin:
    """FoldPredictions of about one confidence: how sure they were and how often right.

    Attributes:
        low: Lowest confidence of the bin, in [0, 1).
        high: Highest, in (0, 1].
        n: FoldPredictions in it.
        confidence: Their mean; 0 when there are none.
        accuracy: Share that were right; 0 when there are none.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a set of answers is worth.

    Attributes:
        n: Examples.
        accuracy: Share right, in [0, 1].
        accuracy_interval: Its 95 % Wilson interval.
        log_loss: Mean of -ln(probability of the truth), nats.
        ece: Expected calibration error, in [0, 1].
        per_class: Figures of each class.
        confusion_matrix: Counts, true class by answer, (n_classes, n_classes).
        reliability: The table behind `ece`.
        worst: Positions of the examples whose truth was thought least likely, the worst first, (n,).
    """

    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    log_loss: float
    ece: float
    per_class: tuple[ClassFigures, ...]
    confusion_matrix: Labels
    reliability: tuple[ReliabilityBin, ...]
    worst: Labels


def evaluate(probabilities: Array, labels: Labels, classes: tuple[str, ...]) -> Evaluation:
    """Return the figures of a set of answers.

    Args:
        probabilities: (n, n_classes), n >= 1.
        labels: The truth, indices into `classes`, (n,).
        classes: Class names.
    """
    n, n_classes = probabilities.shape
    predictions = probabilities.argmax(axis=1)
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    n_right = int(np.trace(confusion))
    truth = probabilities[np.arange(n), labels].astype(np.float64)
    reliability = _reliability(probabilities.max(axis=1), predictions == labels)
    return Evaluation(
        n=n,
        accuracy=n_right / n,
        accuracy_interval=wilson_interval(n_right, n),
        log_loss=log_loss(probabilities, labels),
        ece=sum(b.n * abs(b.accuracy - b.confidence) for b in reliability) / n,
        per_class=tuple(_class_figures(name, k, confusion) for k, name in enumerate(classes)),
        confusion_matrix=confusion,
        reliability=reliability,
        worst=np.argsort(truth, kind="stable"),
    )


def wilson_interval(n_right: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the interval in which the true share lies with 95 % confidence, within [0, 1].

    Source: Wilson 1927; Brown, Cai and DasGupta 2001, equation 4.
    """
    share, z_square = n_right / n, z * z
    center = (share + z_square / (2 * n)) / (1 + z_square / n)
    half = z / (1 + z_square / n) * math.sqrt(share * (1 - share) / n + z_square / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)


def difference_interval(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """Return the interval in which the difference of two true shares lies with 95 % confidence.

    Args:
        first: How many right, of how many.
        second: Likewise, of other rows.

    Source: Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10.
    """
    (p, (low, high)), (q, (lower, upper)) = ((n / of, wilson_interval(n, of)) for n, of in (first, second))
    return p - q - math.hypot(p - low, upper - q), p - q + math.hypot(high - p, q - lower)


def log_loss(probabilities: Array, labels: Labels, weights: Array | None = None) -> float:
    """Return the mean of -ln(probability of the truth), nats; finite also where that probability is 0.

    Args:
        probabilities: (n, n_classes).
        labels: (n,).
        weights: Given: the mean is by these weights, (n,), not all of them 0.
    """
    truth = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses = -np.log(np.maximum(truth, np.finfo(np.float32).tiny))
    return float(losses.mean() if weights is None else np.average(losses, weights=weights))


def _reliability(confidence: Array, right: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """Sort answers into ten bins of equal width. Source: Guo et al. 2017, section 2, equation 3."""
    index = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    bins = []
    for k in range(CALIBRATION_BINS):
        inside = index == k
        n = int(inside.sum())
        mean = float(confidence[inside].mean(dtype=np.float64)) if n else 0.0
        accuracy = float(right[inside].mean()) if n else 0.0
        bins.append(ReliabilityBin(k / CALIBRATION_BINS, (k + 1) / CALIBRATION_BINS, n, mean, accuracy))
    return tuple(bins)


def _class_figures(name: str, k: int, confusion: Labels) -> ClassFigures:
    right, called, support = int(confusion[k, k]), int(confusion[:, k].sum()), int(confusion[k].sum())
    precision, recall = right / called if called else 0.0, right / support if support else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return ClassFigures(name, precision, recall, f1, support)


def fit_temperature(logits: list[Array], labels: Labels, probabilities_of: Any, weights: Array | None = None) -> float:
    """Return the number that the logits are to be divided by for the lowest log loss, in [0.1, 10].

    It is 1 where every answer is right: the loss would then only fall, the surer the answers were made.

    Args:
        logits: Of each network of an ensemble, (n, n_classes).
        labels: The truth, (n,): of the validation part.
        probabilities_of: The loss's function from logits to probabilities.
        weights: Given: what each row counts for, (n,), not all of them 0.

    Source: Guo et al. 2017, section 4.2; found by golden-section search over its logarithm (Kiefer 1953).
    """

    def loss_at(log_temperature: float) -> float:
        scaled = [probabilities_of(member / math.exp(log_temperature)) for member in logits]
        return log_loss(np.mean(scaled, axis=0), labels, weights)

    guesses = np.mean([probabilities_of(member) for member in logits], axis=0).argmax(axis=1)
    if (guesses == labels).all():
        return 1.0
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    low, high = math.log(0.1), math.log(10.0)
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss_at(left) < loss_at(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2.0)
