"""What the network is told about its guess: each loss returns its value and its gradient.

A loss owns the output units as well (softmax or sigmoid), since the two are differentiated together: softmax and
cross-entropy fuse into `probabilities - targets`. The network itself stops at the logits.

Everything is a mean over the batch, and the division by the batch size happens here, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.errors import quoted, require

Array = NDArray[Any]  # of floats


class RowBuffers:
    """Small arrays that an output layer works in, made once for a batch size: nothing is allocated in a step."""

    def __init__(self, batch_size: int, n_classes: int, dtype: Any = np.float32) -> None:
        self.row = np.empty((batch_size, 1), dtype)
        self.where = np.empty(batch_size, np.intp)
        self.row_starts = np.arange(0, batch_size * n_classes, n_classes)  # of each row in the flat array
        self.share = np.array(1.0 / batch_size, dtype)  # a 0-d array: NumPy takes in a Python float slower
        self.ones = np.ones((n_classes, 1), dtype)
        self.square = np.empty((batch_size, n_classes), dtype)


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


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax units with cross-entropy: loss = -mean_i sum_k targets[i, k] ln probabilities[i, k].

    Attributes:
        name: `cross_entropy`.
        label_smoothing: Probability mass moved from the label to the uniform distribution, in [0, 1).

    Source: Goodfellow et al. 2016, section 6.2.2.3; Szegedy et al. 2016, section 7 (smoothing).
    """

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        require((0.0 <= self.label_smoothing < 1.0, f"label_smoothing: {self.label_smoothing} is not in [0, 1)"))

    def targets(self, labels: NDArray[np.integer[Any]], n_classes: int, dtype: Any = np.float32) -> Array:
        """Return the distribution to reach for each label, (batch, n_classes): one-hot, smoothed."""
        targets = one_hot(labels, n_classes, dtype)
        targets *= 1.0 - self.label_smoothing
        targets += self.label_smoothing / n_classes
        return targets

    def outputs(self, logits: Array, out: Array | None = None, buffers: RowBuffers | None = None) -> Array:
        """Return what the output units say, (batch, n_classes): probabilities."""
        return softmax(logits, out, buffers)

    def probabilities(self, logits: Array) -> Array:
        """Return the outputs: they are probabilities already, (batch, n_classes)."""
        return softmax(logits)

    def values(self, outputs: Array, targets: Array) -> Array:
        """Return the loss of every example in nats, (batch,); finite for any logits."""
        floor = np.finfo(outputs.dtype).tiny  # a probability that underflowed to 0 counts as the smallest number
        log_probabilities = np.maximum(outputs, floor)
        np.log(log_probabilities, out=log_probabilities)
        return np.asarray(-np.einsum("ik,ik->i", log_probabilities, targets))

    def gradient(self, outputs: Array, targets: Array, out: Array, buffers: RowBuffers | None = None) -> Array:
        """Write dLoss/dlogits = (probabilities - targets) / batch into `out`, (batch, n_classes)."""
        np.subtract(outputs, targets, out=out)
        out *= 1.0 / len(out) if buffers is None else buffers.share
        return out


@dataclass(frozen=True)
class MeanSquaredError:
    """Half the squared distance, as in the textbooks: loss = mean_i 1/2 sum_k (outputs[i, k] - targets[i, k])^2.

    Attributes:
        name: `mse`.
        output: The output units. `softmax`: outputs are probabilities. `sigmoid`: every unit for itself; the
            probabilities of an answer are then the outputs divided by their sum.

    Source: Nielsen 2015, chapter 1, equation 6, and chapter 2 (BP1); Bishop 2006, equation 5.11.
    """

    name: Literal["mse"] = "mse"
    output: Literal["softmax", "sigmoid"] = "softmax"

    def __post_init__(self) -> None:
        require(
            (self.output in ("softmax", "sigmoid"), f"output: {quoted(self.output)} is not one of softmax, sigmoid")
        )

    def targets(self, labels: NDArray[np.integer[Any]], n_classes: int, dtype: Any = np.float32) -> Array:
        """Return one-hot targets, (batch, n_classes)."""
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

    def values(self, outputs: Array, targets: Array) -> Array:
        """Return the loss of every example, (batch,)."""
        difference = outputs - targets
        return np.asarray(0.5 * np.einsum("ik,ik->i", difference, difference))

    def gradient(self, outputs: Array, targets: Array, out: Array, buffers: RowBuffers | None = None) -> Array:
        """Write dLoss/dlogits into `out`, (batch, n_classes).

        With g = (outputs - targets) / batch: g o (1 - o) for sigmoid units, o (g - sum_k g_k o_k) for softmax units.
        """
        buffers = buffers or RowBuffers(len(outputs), outputs.shape[1], outputs.dtype)
        np.subtract(outputs, targets, out=out)
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


Loss = CrossEntropy | MeanSquaredError


def loss_and_gradient(loss: Loss, logits: Array, labels: NDArray[np.integer[Any]]) -> tuple[float, Array]:
    """Return the mean loss over the batch and its gradient with respect to the logits.

    Args:
        loss: One of the losses above.
        logits: Raw class scores, (batch, n_classes).
        labels: Integer classes in [0, n_classes), (batch,).

    Returns:
        The loss (nats for cross-entropy), and grad_logits, (batch, n_classes).
    """
    targets = loss.targets(labels, logits.shape[1], logits.dtype)
    outputs = loss.outputs(logits)
    return float(loss.values(outputs, targets).mean()), loss.gradient(outputs, targets, np.empty_like(logits))
