"""What the network is told about its guess: each loss returns its value and its gradient.

A loss owns the output units as well (softmax or sigmoid), since the two are differentiated together: softmax and
cross-entropy fuse into `probabilities - targets`. The network itself stops at the logits.

Everything is a mean over the batch, and the division by the batch size happens here, once. Where rows have weights,
the loss is sum_i weights[i] l_i / batch size: a weighted mean, as the weights are 1 on average over the training part.
A row of weight 2 then counts as if it stood there twice.

To add one: write the class, add it to the union at the foot. The config, its messages, the worksheet and the tests
follow.
"""

from __future__ import annotations

import copy
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Array
from backprop_cli.errors import quoted, require


class RowBuffers:
    """Small arrays that an output layer works in, made once for a batch size: nothing is allocated in a step."""

    def __init__(self, batch_size: int, n_classes: int, dtype: Any = np.float32) -> None:
        self.row = np.empty((batch_size, 1), dtype)
        self.where = np.empty(batch_size, np.intp)
        self.row_starts = np.arange(0, batch_size * n_classes, n_classes)  # of each row in the flat array
        self.share = np.array(1.0 / batch_size, dtype)  # a 0-d array: NumPy takes in a Python float slower
        self.ones = np.ones((n_classes, 1), dtype)
        self.square = np.empty((batch_size, n_classes), dtype)

    def weighted(self, share: Array) -> Self:
        """Return the same memory for a batch whose rows have weights.

        Args:
            share: What each row's loss counts for in the batch's, weights / batch size, (batch, 1). It is looked at in
                every step, and may be refilled before.
        """
        buffers = copy.copy(self)
        buffers.share = share
        return buffers


def softmax(logits: Array, out: Array | None = None, buffers: RowBuffers | None = None) -> Array:
    """Return exp(logits) / sum_k exp(logits[:, k]), row by row.

    The row's maximum is taken off first: the result is the same and exp cannot overflow.

    Args:
        logits: Raw class scores, (batch, n_classes), finite.
        out: Where to write, the same shape; may be `logits` itself.
        buffers: For this batch size; without them they are made.

    Returns:
        Probabilities, (batch, n_classes): each in [0, 1], each row's sum 1.

    Source: Goodfellow et al. 2016, section 4.1 and equation 6.29.
    """
    buffers = buffers or RowBuffers(len(logits), logits.shape[1], logits.dtype)
    where = logits.argmax(axis=1, out=buffers.where)  # and then a look-up: `max` of short rows is twice as slow
    where += buffers.row_starts
    logits.take(where[:, None], out=buffers.row, mode="clip")
    out = np.subtract(logits, buffers.row, out=out)
    np.exp(out, out=out)
    np.dot(out, buffers.ones, out=buffers.row)  # a product sums short rows faster than `sum`
    out /= buffers.row
    return out


def one_hot(labels: NDArray[np.integer[Any]], n_classes: int, dtype: Any = np.float32) -> Array:
    """Return targets, (batch, n_classes): 1 in the column of each row's label, else 0.

    Args:
        labels: Integer classes in [0, n_classes), (batch,).
        n_classes: The number of columns.
        dtype: The floating type of the result.
    """
    return np.asarray(np.eye(n_classes, dtype=dtype)[labels])


class _Loss(ABC):
    """What all losses share: the output units, and the way back through them.

    A loss adds up one term a class, made of what its unit says and of its target. It tells the term and how steep that
    is twice: in functions of whole arrays, and in formulas for people, {o} and {t} standing for the two.

    Attributes:
        output: The output units, softmax or sigmoid; a loss that leaves the choice has a setting of this name.
        term: The formula of a term. One without {t} is that of the true class alone: the others have none.
        slope: That of its derivative with respect to {o}.
        delta: That of its derivative with respect to the logit, where it is simpler than by way of the units; else
            empty.
        is_log_likelihood: Whether a uniform guess has a loss of ln(n_classes).
    """

    output: Literal["softmax", "sigmoid"] = "softmax"
    delta = ""
    is_log_likelihood = False

    @property
    @abstractmethod
    def term(self) -> str: ...

    @property
    @abstractmethod
    def slope(self) -> str: ...

    @abstractmethod
    def values(self, outputs: Array, targets: Array) -> Array:
        """Return the loss of every example, (batch,): the sum of its terms."""

    @abstractmethod
    def slopes(self, outputs: Array, targets: Array, out: Array) -> Array:
        """Write each term's derivative with respect to its output into `out`, (batch, n_classes)."""

    def targets(self, labels: NDArray[np.integer[Any]], n_classes: int, dtype: Any = np.float32) -> Array:
        """Return what the outputs should be for each label, (batch, n_classes): one-hot."""
        return one_hot(labels, n_classes, dtype)

    def outputs(self, logits: Array, out: Array | None = None, buffers: RowBuffers | None = None) -> Array:
        """Return what the output units say, (batch, n_classes), each in [0, 1]."""
        if self.output == "softmax":
            return softmax(logits, out, buffers)
        out = np.multiply(logits, 0.5, out=out)
        np.tanh(out, out=out)  # sigmoid(z) = (1 + tanh(z / 2)) / 2 cannot overflow
        out *= 0.5
        out += 0.5
        return out

    def probabilities(self, logits: Array) -> Array:
        """Return the outputs, each row divided by its sum, (batch, n_classes)."""
        outputs = self.outputs(logits)
        total = np.maximum(outputs.sum(axis=1, keepdims=True), np.finfo(outputs.dtype).tiny)
        return np.asarray(outputs / total)

    def fine_values(self, logits: Array, targets: Array) -> Array:
        """Return the loss of every example, (n,), from logits in float64: to all digits where that takes more care."""
        return self.values(self.outputs(logits), targets)

    def gradient(self, outputs: Array, targets: Array, out: Array, buffers: RowBuffers | None = None) -> Array:
        """Write dLoss/dlogits into `out`, (batch, n_classes).

        With g = slopes / batch, times the row's weight where the buffers are `weighted`: g o (1 - o) for sigmoid
        units, o (g - sum_k g_k o_k) for softmax units.
        """
        buffers = buffers or RowBuffers(len(outputs), outputs.shape[1], outputs.dtype)
        self.slopes(outputs, targets, out)
        out *= buffers.share
        if self.output == "sigmoid":
            np.subtract(1.0, outputs, out=buffers.square)
            out *= buffers.square
        else:
            np.multiply(out, outputs, out=buffers.square)
            np.dot(buffers.square, buffers.ones, out=buffers.row)  # sum_k g_k o_k
            out -= buffers.row
        out *= outputs
        return out

    def down_to_zero(self) -> Self:
        """Return this loss without what keeps it from coming close to 0."""
        return self


@dataclass(frozen=True)
class CrossEntropy(_Loss):
    """Softmax units with cross-entropy: loss = -mean_i sum_k targets[i, k] ln probabilities[i, k].

    Attributes:
        name: `cross_entropy`.
        label_smoothing: Probability mass moved from the label to the uniform distribution, in [0, 1).

    Source: Goodfellow et al. 2016, section 6.2.2.3; Szegedy et al. 2016, section 7 (smoothing).
    """

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = 0.0

    slope = "-{t} / {o}"
    delta = "{o} - {t}"
    is_log_likelihood = True

    def __post_init__(self) -> None:
        require((0.0 <= self.label_smoothing < 1.0, f"label_smoothing: {self.label_smoothing} is not in [0, 1)"))

    @property
    def term(self) -> str:
        """The formula of a term; targets that are not smoothed leave the true class's alone."""
        return "-{t} x ln {o}" if self.label_smoothing else "-ln {o}"

    def targets(self, labels: NDArray[np.integer[Any]], n_classes: int, dtype: Any = np.float32) -> Array:
        """Return the distribution to reach for each label, (batch, n_classes): one-hot, smoothed."""
        targets = one_hot(labels, n_classes, dtype)
        targets *= 1.0 - self.label_smoothing
        targets += self.label_smoothing / n_classes
        return targets

    def probabilities(self, logits: Array) -> Array:
        """Return the outputs: they are probabilities already, (batch, n_classes)."""
        return softmax(logits)

    def values(self, outputs: Array, targets: Array) -> Array:
        """Return the loss of every example in nats, (batch,); finite for any logits."""
        floor = np.finfo(outputs.dtype).tiny  # a probability that underflowed to 0 counts as the smallest number
        log_probabilities = np.maximum(outputs, floor)
        np.log(log_probabilities, out=log_probabilities)
        return np.asarray(-np.einsum("ik,ik->i", log_probabilities, targets))

    def fine_values(self, logits: Array, targets: Array) -> Array:
        """Return the loss of every example, (n,), also of sure answers to all digits.

        `values` is given probabilities, and of 1 - 1e-12 float64 knows but four digits of the 1e-12. With z_max the
        largest logit, -sum_k t_k ln p_k = ln(1 + sum_others exp(z - z_max)) - sum_k t_k (z_k - z_max).
        """
        rows, best = np.arange(len(logits)), logits.argmax(axis=1)
        shifted = logits - logits[rows, best][:, None]
        others = np.exp(shifted)
        others[rows, best] = 0.0
        return np.asarray(np.log1p(others.sum(axis=1)) - np.einsum("ik,ik->i", shifted, targets))

    def slopes(self, outputs: Array, targets: Array, out: Array) -> Array:
        """Write -targets / probabilities into `out`, (batch, n_classes)."""
        np.maximum(outputs, np.finfo(outputs.dtype).tiny, out=out)
        np.divide(targets, out, out=out)
        return np.negative(out, out=out)

    def gradient(self, outputs: Array, targets: Array, out: Array, buffers: RowBuffers | None = None) -> Array:
        """Write dLoss/dlogits = (probabilities - targets) / batch into `out`, (batch, n_classes).

        Where the buffers are `weighted`, each row is multiplied by its weight.
        """
        np.subtract(outputs, targets, out=out)
        out *= 1.0 / len(out) if buffers is None else buffers.share
        return out

    def down_to_zero(self) -> Self:
        """Return it without label smoothing."""
        return replace(self, label_smoothing=0.0)


@dataclass(frozen=True)
class MeanSquaredError(_Loss):
    """Half the squared distance, as in the textbooks: loss = mean_i 1/2 sum_k (outputs[i, k] - targets[i, k])^2.

    Attributes:
        name: `mse`.
        output: The output units. `softmax`: outputs are probabilities. `sigmoid`: every unit for itself; the
            probabilities of an answer are then the outputs divided by their sum.

    Source: Nielsen 2015, chapter 1, equation 6, and chapter 2 (BP1); Bishop 2006, equation 5.11.
    """

    name: Literal["mse"] = "mse"
    output: Literal["softmax", "sigmoid"] = "softmax"

    term = "1/2 ({o} - {t})^2"
    slope = "{o} - {t}"

    def __post_init__(self) -> None:
        require(
            (self.output in ("softmax", "sigmoid"), f"output: {quoted(self.output)} is not one of softmax, sigmoid")
        )

    def values(self, outputs: Array, targets: Array) -> Array:
        """Return the loss of every example, (batch,)."""
        difference = outputs - targets
        return np.asarray(0.5 * np.einsum("ik,ik->i", difference, difference))

    def slopes(self, outputs: Array, targets: Array, out: Array) -> Array:
        """Write outputs - targets into `out`, (batch, n_classes)."""
        return np.subtract(outputs, targets, out=out)


Loss = CrossEntropy | MeanSquaredError
LOSSES: dict[str, type[Loss]] = {kind.name: kind for kind in typing.get_args(Loss)}


def loss_of(settings: Mapping[str, Any]) -> Loss:
    """Return the loss that plain settings describe, as a model file holds them: its name, and its own.

    Raises:
        KeyError, TypeError, ValueError: They describe none.
    """
    return LOSSES[settings["name"]](**settings)


def loss_and_gradient(
    loss: Loss, logits: Array, labels: NDArray[np.integer[Any]], weights: Array | None = None
) -> tuple[float, Array]:
    """Return the mean loss over the batch and its gradient with respect to the logits.

    Args:
        loss: One of the losses above.
        logits: Raw class scores, (batch, n_classes).
        labels: Integer classes in [0, n_classes), (batch,).
        weights: Of the rows, (batch,), 1 on average over the training part; None: all are 1.

    Returns:
        The loss (nats for cross-entropy), sum_i weights[i] l_i / batch size; and grad_logits, (batch, n_classes).
    """
    targets = loss.targets(labels, logits.shape[1], logits.dtype)
    outputs, buffers = loss.outputs(logits), None
    values = loss.values(outputs, targets)
    if weights is not None:
        weights = weights.astype(logits.dtype)
        buffers = RowBuffers(len(logits), logits.shape[1], logits.dtype).weighted(weights[:, None] / len(logits))
        values *= weights
    return float(values.mean()), loss.gradient(outputs, targets, np.empty_like(logits), buffers)
