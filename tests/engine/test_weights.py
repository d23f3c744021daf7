"""Rows with weights: a weight of 2 is a row that stands there twice, through every part of a training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradient_check import LOSSES
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from backprop_cli.data.dataset import ChunkLoader, Scaling
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import Loss, loss_and_gradient
from backprop_cli.engine.minibatches import Minibatches
from backprop_cli.engine.network import Network, append_ones
from backprop_cli.engine.optimizers import SGD
from backprop_cli.engine.schedules import Constant
from backprop_cli.engine.training import EpochResult, TrainingSettings, train
from backprop_cli.engine.training_state import TrainingState

Array = NDArray[Any]

PLAIN = Scaling(1.0, np.zeros(4, np.float32), 1.0)
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def loader(inputs: Array, labels: Array, batch_size: int, weights: Array | None = None, **more: Any) -> ChunkLoader:
    rows = np.arange(len(inputs))
    return ChunkLoader(inputs[:, None, :], labels, rows, PLAIN, batch_size, weights=weights, **more)


def some_rows(n: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 4), np.float32), rng.integers(3, size=n)


def trained(
    batches: ChunkLoader, loss: Loss, *, epochs: int = 3, batch_size: int = 1000, **more: Any
) -> tuple[Array, list[EpochResult]]:
    """Return the parameters and the epochs of a network that begins as all others do."""
    network = Network([LayerSpec(8, "tanh")], 4, 3, rng=np.random.default_rng(1))
    optimizer = SGD(learning_rate=0.5, momentum=0.9)
    state = TrainingState.start(network, optimizer, {})
    settings = TrainingSettings(epochs=epochs, batch_size=batch_size)
    events = train(network, loss, optimizer, Constant(), batches, more.get("validation"), settings, state=state)
    results = [event for event in events if isinstance(event, EpochResult)]
    return network.params, results


@every_loss
def test_a_step_with_weights_goes_down_the_gradient_of_the_weighted_loss(loss: Loss) -> None:
    inputs, labels = some_rows(7)
    weights = np.array([0.0, 2.0, 1.0, 1.0, 0.5, 1.5, 1.0], np.float32)
    twin = Network([LayerSpec(8, "tanh")], 4, 3, rng=np.random.default_rng(1))
    workspace = twin.workspace(7)
    value, grad_logits = loss_and_gradient(loss, twin.forward(append_ones(inputs), workspace), labels, weights)
    twin.backward(grad_logits, workspace)
    params, (epoch,) = trained(loader(inputs, labels, 7, weights), loss, epochs=1, batch_size=7)
    np.testing.assert_allclose(params, twin.params - 0.5 * twin.grads, rtol=1e-5, atol=1e-6)
    assert epoch.train_loss == pytest.approx(value, rel=1e-6)


@given(st.sampled_from(list(LOSSES.values())), st.lists(st.integers(0, 3), min_size=5, max_size=5), st.integers(0, 99))
def test_a_weight_of_n_is_a_row_that_stands_there_n_times(loss: Loss, times: list[int], seed: int) -> None:
    times[0] = times[0] or 1
    inputs, labels = some_rows(5, seed)
    repeated = np.repeat(np.arange(5), times)
    weights = np.array(times) * 5.0 / len(repeated)  # 1 on average
    one, (*_, last) = trained(loader(inputs, labels, 5, weights), loss, batch_size=5)
    other, (*_, last_of_other) = trained(
        loader(inputs[repeated], labels[repeated], len(repeated)), loss, batch_size=len(repeated)
    )
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    assert last.train_loss == pytest.approx(last_of_other.train_loss, rel=1e-3, abs=1e-5)


@every_loss
def test_the_validation_loss_is_the_mean_by_weights_and_the_accuracy_the_share_of_the_rows(loss: Loss) -> None:
    inputs, labels = some_rows(30)
    network = Network([LayerSpec(8)], 4, 3, rng=np.random.default_rng(1))
    times = np.random.default_rng(2).integers(0, 4, 30)
    rows = np.repeat(np.arange(30), times)
    minibatches = Minibatches(network, loss, 10)
    weighted, accuracy, _ = minibatches.evaluate(loader(inputs, labels, 10, 0.7 * times))
    repeated, _, _ = minibatches.evaluate(loader(inputs[rows], labels[rows], 10))
    plain, share_right, _ = minibatches.evaluate(loader(inputs, labels, 10))
    assert weighted == pytest.approx(repeated, rel=1e-6)
    assert accuracy == share_right
    assert weighted != pytest.approx(plain, rel=1e-3)


@every_loss
def test_weights_of_1_train_to_the_same_figures_through_chunks_and_minibatches_of_two_sizes(loss: Loss) -> None:
    inputs, labels = some_rows(50)
    plain, epochs = trained(loader(inputs, labels, 16), loss, batch_size=16)
    weighted, epochs_of_weighted = trained(loader(inputs, labels, 16, np.ones(50)), loss, batch_size=16)
    np.testing.assert_allclose(weighted, plain, rtol=1e-4, atol=1e-5)
    for one, other in zip(epochs, epochs_of_weighted, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)


def test_minibatches_are_cut_anew_where_the_same_memory_comes_with_weights_and_without() -> None:
    inputs, labels = some_rows(6)
    network, loss = Network([], 4, 3, rng=np.random.default_rng(1)), LOSSES["cross_entropy"]
    minibatches, chunk = Minibatches(network, loss, 4), append_ones(inputs)
    shares = [
        np.concatenate([np.broadcast_to(buffers.share, (len(batch), 1)) for batch, *_, buffers in cut]).ravel().tolist()
        for cut in (
            minibatches.cut(chunk, labels),
            minibatches.cut(chunk, labels, np.array([4.0, 2.0, 1.0, 0.0, 2.0, 6.0], np.float32)),
            minibatches.cut(chunk, labels),
        )
    ]
    assert shares == [[0.25] * 4 + [0.5] * 2, [1.0, 0.5, 0.25, 0.0, 1.0, 3.0], [0.25] * 4 + [0.5] * 2]
