"""A training step allocates no array: every buffer was made before it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from gradient_check import LOSSES

from backprop_cli.engine import optimizers
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import CrossEntropy, Loss, RowBuffers
from backprop_cli.engine.network import Network, append_ones
from backprop_cli.engine.optimizers import SGD, Adam, Optimizer

OPTIMIZERS: dict[str, Optimizer] = {
    **{name: kind() for name, kind in optimizers.OPTIMIZERS.items()},
    "nesterov": SGD(momentum=0.9, nesterov=True),
}
BATCH, UNITS = 256, 1024  # a hidden layer's buffer takes 1 MB, one batch of outputs 10 KB
SMALL = 80_000  # bytes: Python objects, and the two buffers of fixed size through which NumPy casts bool to float


def peak_of_a_step(activation: str, loss: Loss, optimizer: Optimizer) -> int:
    rng = np.random.default_rng(0)
    network = Network([LayerSpec(UNITS, activation, dropout=0.1)] * 2, 64, 10, rng=rng)
    workspace, buffers = network.workspace(BATCH), RowBuffers(BATCH, 10)
    state = optimizer.init(network.n_params)
    inputs = append_ones(rng.standard_normal((BATCH, 64), np.float32))
    targets = loss.targets(rng.integers(0, 10, BATCH), 10)
    outputs = np.empty_like(targets)

    def step() -> None:
        logits = network.forward(inputs, workspace, rng=rng)
        loss.outputs(logits, outputs, buffers)
        network.backward(loss.gradient(outputs, targets, workspace.layers[-1].delta, buffers), workspace)
        optimizer.step(network.params, network.grads, state, learning_rate=1e-3, decayed=network.weight_slices)

    step()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        step()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_array_is_allocated_in_a_step_whatever_the_activation(activation: str) -> None:
    assert peak_of_a_step(activation, CrossEntropy(), Adam()) < SMALL


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_no_array_is_allocated_in_a_step_whatever_the_loss(loss: Loss) -> None:
    assert peak_of_a_step("relu", loss, Adam()) < SMALL


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_no_array_is_allocated_in_a_step_whatever_the_optimizer(optimizer: Optimizer) -> None:
    assert peak_of_a_step("relu", CrossEntropy(), optimizer) < SMALL


def test_the_measurement_sees_an_array_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    relu = ACTIVATIONS["relu"]
    monkeypatch.setitem(ACTIVATIONS, "relu", lambda z, a, slope: relu(z.copy(), a, slope))
    assert peak_of_a_step("relu", CrossEntropy(), Adam()) > BATCH * UNITS * 4
