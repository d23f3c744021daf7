"""The correction: each optimiser turns a gradient into a change of the parameters.

An optimiser is a frozen record of settings. What it remembers between steps is an `OptimizerState`; what it changes is
the network's one flat vector, in place. Weight decay is decoupled (AdamW) for every optimiser: it shrinks the weights
by `learning_rate * weight_decay` and never enters the gradient or the loss. Biases are not decayed: they scale nothing,
so shrinking them only moves the decision away from the data.

To add one: write the class, add it to the union at the foot. The config, its messages, the advice on learning rates
and the tests follow.
"""

from __future__ import annotations

import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.errors import require

Array = NDArray[Any]  # of floats

BLOCK = 262_144  # parameters updated at a time: the vectors of one block stay in the cache from operation to operation


class OptimizerState:
    """What an optimiser remembers: a step count, and vectors as long as the parameters (moments) by name.

    Attributes:
        step: Steps made.
        moments: The vectors, each (n_params,).
        scratch: Room for one block's intermediate values.
        numbers: The step's scalars by name, as 0-d arrays of the parameters' type: NumPy takes in a Python float
            three times slower.
    """

    def __init__(self, n_params: int, moments: Sequence[str], numbers: dict[str, float], dtype: Any) -> None:
        self.step = 0
        self.moments: dict[str, Array] = {name: np.zeros(n_params, dtype) for name in moments}
        self.scratch: Array = np.empty(min(n_params, BLOCK), dtype)
        self.numbers: dict[str, Array] = {name: np.array(value, dtype) for name, value in numbers.items()}

    def copy_from(self, other: OptimizerState) -> None:
        """Take over the step count and the moments of another state of the same optimiser."""
        self.step = other.step
        for name, moment in other.moments.items():
            self.moments[name][...] = moment


@dataclass(frozen=True)
class _Optimizer(ABC):
    """What all optimisers share: their settings' checks, their state, decay, and the walk over blocks."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        decay = self.weight_decay
        require(
            *_positive(self, "learning_rate"),
            (0.0 <= decay < math.inf, f"weight_decay: {decay} is not in [0, inf)"),
            *self.rules(),
        )

    @abstractmethod
    def rules(self) -> list[tuple[bool, str]]:
        """Return what must hold for the settings of this very optimiser."""

    @abstractmethod
    def init(self, n_params: int, dtype: Any = np.float32) -> OptimizerState:
        """Return the state before the first step: all moments zero, each (n_params,)."""

    @abstractmethod
    def set_numbers(self, numbers: dict[str, Array], step: int, learning_rate: float) -> None:
        """Set the scalars of this step, counted from 1."""

    @abstractmethod
    def update(self, params: Array, grads: Array, scratch: Array, numbers: dict[str, Array], *moments: Array) -> None:
        """Make the step on one block of each vector, in place."""

    def step(
        self,
        params: Array,
        grads: Array,
        state: OptimizerState,
        *,
        learning_rate: float,
        decayed: Sequence[slice] = (),
    ) -> None:
        """Make one step, in place.

        Args:
            params: The parameters, (n_params,); changed.
            grads: dLoss/dparams, (n_params,); may be overwritten.
            state: This optimiser's memory, from `init`; changed.
            learning_rate: The rate of this very step (the schedule has been applied), >= 0.
            decayed: The parts of `params` that weight decay shrinks (the weights, not the biases).
        """
        state.step += 1
        if self.weight_decay:
            keep = 1.0 - learning_rate * self.weight_decay
            for part in decayed:
                params[part] *= keep
        numbers = state.numbers
        self.set_numbers(numbers, state.step, learning_rate)
        if len(params) <= BLOCK:
            self.update(params, grads, state.scratch, numbers, *state.moments.values())
            return
        for start in range(0, len(params), BLOCK):
            block = slice(start, start + BLOCK)
            scratch = state.scratch[: len(params) - start]
            moments = (moment[block] for moment in state.moments.values())
            self.update(params[block], grads[block], scratch, numbers, *moments)


def _positive(settings: Any, *names: str) -> list[tuple[bool, str]]:
    """Return the rules that these settings are finite and above 0."""
    values = [(name, getattr(settings, name)) for name in names]
    return [(0.0 < value < math.inf, f"{name}: {value} is not in (0, inf)") for name, value in values]


def _shares(settings: Any, *names: str) -> list[tuple[bool, str]]:
    """Return the rules that these settings are in [0, 1)."""
    values = [(name, getattr(settings, name)) for name in names]
    return [(0.0 <= value < 1.0, f"{name}: {value} is not in [0, 1)") for name, value in values]


@dataclass(frozen=True)
class SGD(_Optimizer):
    """Stochastic gradient descent, with or without momentum: v = momentum v + g; params -= learning_rate v.

    Attributes:
        name: `sgd`.
        learning_rate: > 0.
        weight_decay: >= 0.
        momentum: Share of the last velocity that is kept, in [0, 1).
        nesterov: Look ahead: params -= learning_rate (g + momentum v).

    Source: Goodfellow et al. 2016, algorithms 8.1 and 8.2; Sutskever et al. 2013, section 2 (Nesterov, in the form
    that applies the velocity to the gradient at hand, as PyTorch does).
    """

    name: Literal["sgd"] = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False

    def rules(self) -> list[tuple[bool, str]]:
        """Return what must hold for these settings."""
        needed = (not self.nesterov or self.momentum != 0.0, "nesterov: needs a momentum above 0")
        return [*_shares(self, "momentum"), needed]

    def init(self, n_params: int, dtype: Any = np.float32) -> OptimizerState:
        """Return the state before the first step."""
        moments = ("velocity",) if self.momentum else ()
        return OptimizerState(n_params, moments, {"rate": 0.0, "momentum": self.momentum, "ahead": 0.0}, dtype)

    def set_numbers(self, numbers: dict[str, Array], step: int, learning_rate: float) -> None:
        """Set the step's scalars: the rate, and the rate times the momentum."""
        numbers["rate"][()] = learning_rate
        numbers["ahead"][()] = learning_rate * self.momentum

    def update(self, params: Array, grads: Array, scratch: Array, numbers: dict[str, Array], *moments: Array) -> None:
        """Make the step on one block, in place."""
        rate = numbers["rate"]
        if self.momentum:
            (velocity,) = moments
            velocity *= numbers["momentum"]
            velocity += grads
            np.multiply(velocity, numbers["ahead"] if self.nesterov else rate, out=scratch)
            params -= scratch
        if self.nesterov or not self.momentum:
            grads *= rate
            params -= grads


@dataclass(frozen=True)
class RMSprop(_Optimizer):
    """Divide by the recent size of the gradient: v = decay v + (1 - decay) g^2; params -= rate g / (sqrt(v) + eps).

    Attributes:
        name: `rmsprop`.
        learning_rate: > 0.
        weight_decay: >= 0.
        decay: Share of the old mean square that is kept, in [0, 1).
        eps: Keeps the division finite, > 0.

    Source: Hinton 2012, lecture 6e; Goodfellow et al. 2016, algorithm 8.5.
    """

    name: Literal["rmsprop"] = "rmsprop"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    decay: float = 0.9
    eps: float = 1e-8

    def rules(self) -> list[tuple[bool, str]]:
        """Return what must hold for these settings."""
        return [*_shares(self, "decay"), *_positive(self, "eps")]

    def init(self, n_params: int, dtype: Any = np.float32) -> OptimizerState:
        """Return the state before the first step."""
        numbers = {"decay": self.decay, "rest": 1.0 - self.decay, "eps": self.eps, "rate": 0.0}
        return OptimizerState(n_params, ("mean_square",), numbers, dtype)

    def set_numbers(self, numbers: dict[str, Array], step: int, learning_rate: float) -> None:
        """Set the step's only scalar."""
        numbers["rate"][()] = learning_rate

    def update(self, params: Array, grads: Array, scratch: Array, numbers: dict[str, Array], *moments: Array) -> None:
        """Make the step on one block, in place."""
        (mean_square,) = moments
        np.multiply(grads, grads, out=scratch)
        scratch *= numbers["rest"]
        mean_square *= numbers["decay"]
        mean_square += scratch
        np.sqrt(mean_square, out=scratch)
        scratch += numbers["eps"]
        grads *= numbers["rate"]
        grads /= scratch
        params -= grads


@dataclass(frozen=True)
class _AdaptiveMoments(_Optimizer):
    """Momentum and scale together, both corrected for their start at zero.

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    params -= learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).

    Here the moments are kept as plain sums m' = m / (1 - beta1) and v' = v / (1 - beta2): the constants and both
    corrections then fold into two numbers a step, `rate` and `eps`, and the update is ten passes over the vector.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def rules(self) -> list[tuple[bool, str]]:
        """Return what must hold for these settings."""
        return [*_shares(self, "beta1", "beta2"), *_positive(self, "eps")]

    def init(self, n_params: int, dtype: Any = np.float32) -> OptimizerState:
        """Return the state before the first step."""
        numbers = {"beta1": self.beta1, "beta2": self.beta2, "rate": 0.0, "eps": 0.0}
        return OptimizerState(n_params, ("mean", "mean_square"), numbers, dtype)

    def set_numbers(self, numbers: dict[str, Array], step: int, learning_rate: float) -> None:
        """Fold the constants and both corrections into `rate` and `eps`."""
        scale = math.sqrt((1.0 - self.beta2) / (1.0 - self.beta2**step))  # sqrt(v_hat) = scale sqrt(v')
        numbers["rate"][()] = learning_rate * (1.0 - self.beta1) / ((1.0 - self.beta1**step) * scale)
        numbers["eps"][()] = self.eps / scale

    def update(self, params: Array, grads: Array, scratch: Array, numbers: dict[str, Array], *moments: Array) -> None:
        """Make the step on one block, in place."""
        mean, mean_square = moments
        mean *= numbers["beta1"]
        mean += grads
        np.multiply(grads, grads, out=scratch)
        mean_square *= numbers["beta2"]
        mean_square += scratch
        np.sqrt(mean_square, out=scratch)
        scratch += numbers["eps"]
        np.divide(mean, scratch, out=scratch)
        scratch *= numbers["rate"]
        params -= scratch


@dataclass(frozen=True)
class Adam(_AdaptiveMoments):
    """Adam, without weight decay unless it is asked for (it is decoupled then, as for every optimiser here).

    Attributes:
        name: `adam`.
        learning_rate: > 0.
        weight_decay: >= 0.
        beta1: Share of the old mean that is kept, in [0, 1).
        beta2: Share of the old mean square that is kept, in [0, 1).
        eps: Keeps the division finite, > 0.

    Source: Kingma and Ba 2015, algorithm 1 (and the remark at the end of its section 2, for the folded constants).
    """

    name: Literal["adam"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0


@dataclass(frozen=True)
class AdamW(_AdaptiveMoments):
    """Adam with decoupled weight decay, on by default.

    Attributes: those of `Adam`; its name is `adamw`.

    Source: Loshchilov and Hutter 2019, algorithm 2.
    """

    name: Literal["adamw"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01


Optimizer = SGD | RMSprop | Adam | AdamW
OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in typing.get_args(Optimizer)}
