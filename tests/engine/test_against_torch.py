"""The same weights, the same order, float64: after three epochs of Adam our network and PyTorch's are the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backprop_cli.data.dataset import Scaling, load_digits
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import CrossEntropy
from backprop_cli.engine.network import Network, append_ones
from backprop_cli.engine.optimizers import Adam
from backprop_cli.engine.schedules import Constant
from backprop_cli.engine.training import TrainingSettings, train
from backprop_cli.engine.training_state import TrainingState

torch = pytest.importorskip("torch")

BATCH = 64


class InOrder:
    """The digits in the order they stand in, as float64."""

    def __init__(self) -> None:
        digits = load_digits()
        scaled = Scaling.fit("centered", digits.pictures, 16.0).apply(digits.pictures)
        self.inputs = append_ones(scaled.astype(np.float64))
        self.labels: NDArray[Any] = digits.labels
        self.n_rows = len(self.labels)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        yield self.inputs, self.labels


@pytest.mark.parametrize(("activation", "theirs"), [("relu", "ReLU"), ("tanh", "Tanh")])
def test_three_epochs_of_adam_end_in_pytorchs_weights(activation: str, theirs: str) -> None:
    data = InOrder()
    network = Network([LayerSpec(32, activation)], 64, 10, dtype=np.float64, rng=np.random.default_rng(0))
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), getattr(torch.nn, theirs)(), torch.nn.Linear(32, 10)).double()
    linears = [model[0], model[2]]
    for layer, linear in zip(network.layers, linears, strict=True):
        linear.weight.data = torch.from_numpy(layer.weight.T.copy())
        linear.bias.data = torch.from_numpy(layer.bias.copy())

    optimizer = Adam(1e-3)
    state = TrainingState.start(network, optimizer, {})
    settings = TrainingSettings(epochs=3, batch_size=BATCH)
    assert list(train(network, CrossEntropy(), optimizer, Constant(), data, None, settings, state=state))

    theirs_adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs, labels = torch.from_numpy(data.inputs[:, :-1].copy()), torch.from_numpy(data.labels)
    for _ in range(3):
        for start in range(0, data.n_rows, BATCH):
            theirs_adam.zero_grad()
            rows = slice(start, start + BATCH)
            torch.nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            theirs_adam.step()
    for layer, linear in zip(network.layers, linears, strict=True):
        np.testing.assert_allclose(layer.weight, linear.weight.detach().numpy().T, rtol=0, atol=1e-10)
        np.testing.assert_allclose(layer.bias, linear.bias.detach().numpy(), rtol=0, atol=1e-10)
