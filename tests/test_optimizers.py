import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backprop_cli.config.config import read_config
from backprop_cli.engine import optimizers
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.network import Network
from backprop_cli.engine.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Optimizer, RMSprop

Array = NDArray[Any]

ALL: dict[str, Optimizer] = {
    **{name: kind() for name, kind in OPTIMIZERS.items()},
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
}

every_optimizer = pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)


def walk(optimizer: Optimizer, params: Array, gradients: list[Array], decayed: tuple[slice, ...] = ()) -> list[Array]:
    """Return where `params` stands after each step."""
    state, here, seen = optimizer.init(len(params), params.dtype), params.copy(), []
    for gradient in gradients:
        optimizer.step(here, gradient.copy(), state, learning_rate=optimizer.learning_rate, decayed=decayed)
        seen.append(here.copy())
    assert state.step == len(gradients)
    return seen


def random_gradients(n: int, n_steps: int, dtype: Any = np.float64) -> list[Array]:
    rng = np.random.default_rng(7)
    return [(rng.standard_normal(n) * 10.0 ** rng.uniform(-4, 2, n)).astype(dtype) for _ in range(n_steps)]


def distance_left(optimizer: Optimizer, learning_rate: float) -> float:
    """Return how far from the minimum of an ill-scaled quadratic 3,000 steps end; infinite where they leave it."""
    curvature, minimum = np.array([100.0, 10.0, 1.0]), np.array([1.0, -2.0, 3.0])
    params, state, n_steps = np.zeros(3), optimizer.init(3, np.float64), 3000
    for step in range(n_steps):
        if np.abs(params).max() > 1e6:
            return math.inf
        rate = learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / n_steps))
        optimizer.step(params, curvature * (params - minimum), state, learning_rate=rate)
    return float(np.abs(params - minimum).max())


@every_optimizer
def test_there_is_a_rate_that_leads_to_the_minimum_of_an_ill_scaled_quadratic(optimizer: Optimizer) -> None:
    assert min(distance_left(optimizer, rate) for rate in (0.05, 0.01)) < 1e-3


def test_sgd_takes_the_gradient_times_the_rate() -> None:
    (after,) = walk(SGD(learning_rate=0.5), np.array([1.0, 2.0]), [np.array([2.0, -4.0])])
    np.testing.assert_array_equal(after, [0.0, 4.0])


def test_momentum_keeps_its_share_of_the_velocity() -> None:
    seen = walk(SGD(learning_rate=1.0, momentum=0.5), np.zeros(1), [np.array([8.0]), np.array([0.0]), np.array([1.0])])
    np.testing.assert_array_equal(np.concatenate(seen), [-8.0, -12.0, -15.0])  # v = 8, 4, 3


def test_nesterov_looks_one_step_ahead() -> None:
    seen = walk(SGD(learning_rate=1.0, momentum=0.5, nesterov=True), np.zeros(1), [np.array([8.0]), np.array([0.0])])
    np.testing.assert_array_equal(np.concatenate(seen), [-12.0, -14.0])  # v = 8, 4; g + v / 2 = 12, 2


def test_rmsprop_divides_by_the_recent_size_of_the_gradient() -> None:
    (after,) = walk(RMSprop(learning_rate=0.1, decay=0.75, eps=1e-12), np.zeros(2), [np.array([3.0, -1e-3])])
    np.testing.assert_allclose(after, [-0.2, 0.2])  # g / sqrt(g^2 / 4) = +-2


def test_rmsprops_first_three_steps_follow_the_textbook() -> None:
    lr, decay, eps = 0.1, 0.7, 1e-3
    theta, gradients, v = np.array([1.0, -2.0, 0.5]), random_gradients(3, 3), np.zeros(3)
    for g, after in zip(
        gradients, walk(RMSprop(learning_rate=lr, decay=decay, eps=eps), theta, gradients), strict=True
    ):
        v = decay * v + (1 - decay) * g**2
        theta = theta - lr * g / (np.sqrt(v) + eps)
        np.testing.assert_allclose(after, theta, rtol=1e-13)


def test_adamws_first_three_steps_follow_the_textbook() -> None:
    lr, decay, beta1, beta2, eps = 0.1, 0.05, 0.8, 0.95, 1e-3
    theta, gradients = np.array([1.0, -2.0, 0.5]), random_gradients(3, 3)
    optimizer = AdamW(learning_rate=lr, weight_decay=decay, beta1=beta1, beta2=beta2, eps=eps)
    seen = walk(optimizer, theta, gradients, decayed=(slice(0, 3),))
    m = v = np.zeros(3)
    for t, (g, after) in enumerate(zip(gradients, seen, strict=True), start=1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        theta = theta - lr * decay * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
        np.testing.assert_allclose(after, theta, rtol=1e-13)


def test_adams_first_step_is_the_learning_rate_against_the_sign() -> None:
    (after,) = walk(Adam(learning_rate=0.25), np.zeros(3), [np.array([1e3, -1.0, 1e-3])])
    np.testing.assert_allclose(after, [-0.25, 0.25, -0.25], rtol=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "twin", "options"),
    [
        (SGD(learning_rate=0.03), "SGD", {}),
        (SGD(learning_rate=0.03, momentum=0.9), "SGD", {"momentum": 0.9}),
        (SGD(learning_rate=0.03, momentum=0.9, nesterov=True), "SGD", {"momentum": 0.9, "nesterov": True}),
        (RMSprop(learning_rate=0.03), "RMSprop", {"alpha": 0.9}),
        (Adam(learning_rate=0.03), "Adam", {}),
        (Adam(learning_rate=0.03, beta1=0.5, beta2=0.7, eps=1e-2), "Adam", {"betas": (0.5, 0.7), "eps": 1e-2}),
        (AdamW(learning_rate=0.03, weight_decay=0.1), "AdamW", {"weight_decay": 0.1}),
    ],
)
def test_twenty_steps_equal_pytorchs(optimizer: Optimizer, twin: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    start, gradients = np.random.default_rng(0).standard_normal(50), random_gradients(50, 20)
    theirs = torch.tensor(start.copy(), requires_grad=True)
    torch_optimizer = getattr(torch.optim, twin)([theirs], lr=optimizer.learning_rate, **options)
    for gradient, ours in zip(gradients, walk(optimizer, start, gradients, (slice(0, 50),)), strict=True):
        theirs.grad = torch.tensor(gradient)
        torch_optimizer.step()
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12, atol=1e-12)


@every_optimizer
def test_the_blocked_path_equals_the_unblocked_one(optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    n = optimizers.BLOCK + 1234
    params, decayed = np.random.default_rng(0).standard_normal(n).astype(np.float32), (slice(100, n - 100),)
    gradients = random_gradients(n, 3, np.float32)
    blocked = walk(optimizer, params, gradients, decayed)
    monkeypatch.setattr(optimizers, "BLOCK", 2 * n)
    np.testing.assert_array_equal(blocked, walk(optimizer, params, gradients, decayed))


@pytest.mark.parametrize("n", [20, 21, 27])
@every_optimizer
def test_blocks_may_end_anywhere(optimizer: Optimizer, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    params, gradients = np.ones(n), random_gradients(n, 3)
    whole = walk(optimizer, params, gradients)
    monkeypatch.setattr(optimizers, "BLOCK", 7)
    np.testing.assert_allclose(walk(optimizer, params, gradients), whole, rtol=1e-15)


@every_optimizer
def test_weight_decay_shrinks_weights_by_rate_times_decay_and_leaves_biases_alone(optimizer: Optimizer) -> None:
    optimizer = replace(optimizer, weight_decay=0.5)
    network = Network([LayerSpec(4)], 3, 2, dtype=np.float64)
    network.params[...] = 1.0
    state = optimizer.init(network.n_params, np.float64)
    for _ in range(2):
        optimizer.step(network.params, network.grads, state, learning_rate=0.1, decayed=network.weight_slices)
    for layer in network.layers:
        np.testing.assert_allclose(layer.weight, 0.95**2)
        np.testing.assert_array_equal(layer.bias, 1.0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_config_chooses_it_by_name_with_its_own_defaults(name: str) -> None:
    chosen = read_config(f"optimizer: {{name: {name}}}", where="a").optimizer
    assert chosen == OPTIMIZERS[name]()
    assert chosen.name == name


def test_the_schedules_rate_wins_over_the_settings() -> None:
    params = np.zeros(1)
    SGD(learning_rate=5.0).step(params, np.ones(1), SGD().init(1, np.float64), learning_rate=0.25)
    assert params.item() == -0.25


@every_optimizer
def test_float32_stays_float32_and_a_gradient_of_zeros_is_no_division_by_zero(optimizer: Optimizer) -> None:
    state = optimizer.init(5)
    assert {moment.dtype for moment in state.moments.values()} <= {np.dtype(np.float32)}
    params = np.ones(5, np.float32)
    optimizer.step(params, np.zeros(5, np.float32), state, learning_rate=0.1)
    assert params.dtype == np.float32
    np.testing.assert_array_equal(params, 1.0)


@every_optimizer
def test_going_on_from_a_copied_state_is_going_on(optimizer: Optimizer) -> None:
    gradients = random_gradients(6, 5)
    straight = walk(optimizer, np.ones(6), gradients)[-1]
    state, here = optimizer.init(6, np.float64), np.ones(6)
    for i, gradient in enumerate(gradients):
        if i == 2:
            old, state = state, optimizer.init(6, np.float64)
            state.copy_from(old)
            for moment in old.moments.values():
                moment[...] = math.nan  # a copy, not the same memory
        optimizer.step(here, gradient.copy(), state, learning_rate=optimizer.learning_rate)
    np.testing.assert_array_equal(here, straight)


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        *(("learning_rate", value, "(0, inf)") for value in (0.0, -1e-9, math.inf, math.nan)),
        *(("weight_decay", value, "[0, inf)") for value in (-1e-9, math.inf, math.nan)),
    ],
)
def test_the_settings_of_all_are_refused_out_of_range(kind: Any, key: str, value: float, allowed: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(f"{key}: {value} is not in {allowed}") + "$"):
        kind(**{key: value})


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (SGD, {"momentum": 1.0}, r"momentum: 1.0 is not in \[0, 1\)"),
        (SGD, {"nesterov": True}, "nesterov: needs a momentum above 0"),
        (RMSprop, {"decay": 1.0}, r"decay: 1.0 is not in \[0, 1\)"),
        (RMSprop, {"eps": 0.0}, r"eps: 0.0 is not in \(0, inf\)"),
        (Adam, {"beta1": -0.1}, r"beta1: -0.1 is not in \[0, 1\)"),
        (AdamW, {"beta2": 1.0}, r"beta2: 1.0 is not in \[0, 1\)"),
        (Adam, {"eps": -1e-8}, r"eps: -1e-08 is not in \(0, inf\)"),
    ],
)
def test_settings_out_of_range_are_refused(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        kind(**settings)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((kind, {"weight_decay": value}) for kind in OPTIMIZERS.values() for value in (0.0, 1e308)),
        *((kind, {"learning_rate": value}) for kind in OPTIMIZERS.values() for value in (5e-324, 1e308)),
        (SGD, {"momentum": 0.0}),
        (SGD, {"momentum": math.nextafter(1.0, 0.0)}),
        (RMSprop, {"decay": 0.0, "eps": 5e-324}),
        (Adam, {"beta1": 0.0, "beta2": 0.0}),
        (AdamW, {"beta1": math.nextafter(1.0, 0.0), "beta2": math.nextafter(1.0, 0.0), "eps": 1e308}),
    ],
)
def test_settings_at_the_ends_of_their_ranges_are_allowed(kind: Any, settings: dict[str, Any]) -> None:
    assert vars(kind(**settings)).items() >= settings.items()
