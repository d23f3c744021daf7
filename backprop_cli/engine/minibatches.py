"""Chunks of rows cut into minibatches, and every array that their steps need, made once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Array
from backprop_cli.engine.losses import Loss, RowBuffers
from backprop_cli.engine.network import Network, Workspace

Minibatch = tuple[Array, Array, Array, Workspace, RowBuffers]
"""Inputs, (rows, n_inputs + 1); targets and room for outputs, (rows, n_classes); the buffers of both passes."""

Chunk = tuple[Array, NDArray[np.integer[Any]]] | tuple[Array, NDArray[np.integer[Any]], Array]
"""Inputs, labels, and perhaps the rows' weights."""


class Chunks(Protocol):
    """Rows ready for a network, in chunks: each `iter()` is one pass, freshly shuffled where that is asked for.

    Inputs are (rows, n_inputs + 1) and end in ones, labels are (rows,); a chunk may be overwritten by the next. All
    chunks but the last hold a multiple of the batch size. Where rows have weights, they come third, (rows,): at least
    0, and 1 on average over the training part, so that the loss is their weighted mean and steps stay as long.
    """

    n_rows: int

    def __iter__(self) -> Iterator[Chunk]: ...


class Minibatches:
    """Cuts chunks into minibatches; a chunk that comes in the same memory as the one before is cut already.

    Args:
        network: Whose passes the buffers are for.
        loss: Makes targets of labels.
        size: Rows of a minibatch; the last of a chunk may have fewer.
    """

    def __init__(self, network: Network, loss: Loss, size: int) -> None:
        self.network, self.loss, self.size = network, loss, size
        self.target_of = loss.targets(np.arange(network.n_classes), network.n_classes, network.params.dtype)
        self.workspaces: dict[int, tuple[Workspace, RowBuffers]] = {}
        self.weights: Array | None = None
        self._take(np.empty((0, network.n_inputs + 1), network.params.dtype))

    def cut(self, inputs: Array, labels: NDArray[np.integer[Any]], weights: Array | None = None) -> list[Minibatch]:
        """Return the minibatches of a chunk.

        Args:
            inputs: (rows, n_inputs + 1), ending in ones.
            labels: (rows,).
            weights: Of the rows, (rows,); None: none has one.
        """
        self.weights = weights
        if inputs is not self.inputs or (weights is None) == self.are_weighted:  # rare: chunks share their memory
            self._take(inputs)
        np.take(self.target_of, labels, axis=0, out=self.targets, mode="clip")
        if weights is not None:
            np.multiply(weights[:, None], self.row_share, out=self.shares)
        return self.minibatches

    def _take(self, inputs: Array) -> None:
        """Make the views of every array of a chunk that a step needs."""
        self.inputs = inputs
        self.targets = np.empty((len(inputs), self.network.n_classes), inputs.dtype)
        self.outputs = np.empty_like(self.targets)
        parts = [slice(start, start + self.size) for start in range(0, len(inputs), self.size)]
        self.minibatches: list[Minibatch] = [
            (inputs[rows], self.targets[rows], self.outputs[rows], *self.workspace(len(inputs[rows]))) for rows in parts
        ]
        self.are_weighted = self.weights is not None
        n_weighted = len(inputs) if self.are_weighted else 0
        self.shares = np.empty((n_weighted, 1), inputs.dtype)  # what each row's loss counts for in its minibatch's
        self.row_share = np.empty_like(self.shares)  # and would without its weight
        if self.are_weighted:
            for number, (batch, targets, outputs, workspace, buffers) in enumerate(self.minibatches):
                rows = parts[number]
                self.row_share[rows] = buffers.share
                self.minibatches[number] = batch, targets, outputs, workspace, buffers.weighted(self.shares[rows])

    def loss_sum(self, n_rows: int | None = None) -> float:
        """Return the sum of the losses of a chunk's examples, each as it was guessed before its own correction.

        Where rows have weights, each loss is multiplied by its row's.

        Args:
            n_rows: How many of them have been guessed; None: all.
        """
        with np.errstate(all="ignore"):
            values = self.loss.values(self.outputs[:n_rows], self.targets[:n_rows])
            if self.weights is not None:
                values *= self.weights[:n_rows]
            return float(values.sum(dtype=np.float64))

    def workspace(self, n_rows: int) -> tuple[Workspace, RowBuffers]:
        """Return the buffers for passes over `n_rows` rows, made when first asked for."""
        if n_rows not in self.workspaces:
            buffers = RowBuffers(n_rows, self.network.n_classes, self.network.params.dtype)
            self.workspaces[n_rows] = self.network.workspace(n_rows), buffers
        return self.workspaces[n_rows]

    def evaluate(self, validation: Chunks) -> tuple[float, float, Workspace]:
        """Return the mean loss, the accuracy, and the buffers as the last rows left them.

        The loss is the mean by the rows' weights, where they have some; the accuracy is the share of the rows.
        """
        loss_sum, n_right, weight_sum = 0.0, 0, 0.0
        with np.errstate(all="ignore"):
            for inputs, labels, *weights in validation:
                workspace, buffers = self.workspace(len(inputs))
                outputs = self.loss.outputs(self.network.forward(inputs, workspace), None, buffers)
                values = self.loss.values(outputs, self.target_of[labels])
                if weights:
                    values *= weights[0]
                    weight_sum += float(weights[0].sum(dtype=np.float64))
                loss_sum += float(values.sum(dtype=np.float64))
                n_right += int(np.count_nonzero(outputs.argmax(axis=1) == labels))
        return loss_sum / (weight_sum or validation.n_rows), n_right / validation.n_rows, workspace
