"""The correction: each optimizer turns a gradient into a change of the parameters.

An optimizer is a frozen record of settings. What it remembers between steps is an `OptimizerState`; what it changes is
the network's one flat vector, in place. Weight decay is decoupled (AdamW) for every optimizer: it shrinks the weights
by `learning_rate * weight_decay` and never enters the gradient or the loss. Biases are not decayed: they scale nothing,
so shrinking them only moves the decision away from the data.

To add one: write the class with `init` and `update`, add it to the union at the foot. The config, its messages, the
advice on learning rates and the tests follow.
"""

from __future__ import annotations

import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from backprop_cli.arrays import Array
from backprop_cli.errors import require

BLOCK = 262_144  # parameters updated at a time: the vectors of one block stay in the cache from operation to operation


class Block:
    """A step's arrays under their names: a stretch of each moment, room (`scratch`) of its length, the scalars."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        vars(self).update(arrays)

    def __getattr__(self, name: str) -> Array:  # an array that was not given; to a type checker, any
        raise AttributeError(name)


class OptimizerState:
    """What an optimizer remembers.

    Attributes:
        step: Steps made.
        moments: Vectors as long as the parameters by name, each (n_params,); all 0 before the first step.
        blocks: Stretches of `BLOCK` parameters, and what `update` works with on each. The scalars are the same in all:
            0-d arrays of the parameters' type, as NumPy takes in a Python float half as fast.
    """

    def __init__(self, n_params: int, dtype: Any, moments: Sequence[str] = (), **numbers: float) -> None:
        self.step = 0
        self.moments: dict[str, Array] = {name: np.zeros(n_params, dtype) for name in moments}
        shared = {name: np.array(value, dtype) for name, value in numbers.items()}
        scratch = np.empty(min(n_params, BLOCK), dtype)
        self.blocks = []
        for start in range(0, n_params, BLOCK):
            part = slice(start, min(start + BLOCK, n_params))
            views = {name: moment[part] for name, moment in self.moments.items()}
            self.blocks.append((part, Block(views | shared | {"scratch": scratch[: part.stop - start]})))

    def copy_from(self, other: OptimizerState) -> None:
        """Take over the step count and the moments of another state of the same optimizer."""
        self.step = other.step
        for name, moment in other.moments.items():
            self.moments[name][...] = moment


_INTERVALS = {
    "(0, inf)": lambda value: 0.0 < value < math.inf,
    "[0, inf)": lambda value: 0.0 <= value < math.inf,
    "[0, 1)": lambda value: 0.0 <= value < 1.0,
}


def _within(interval: str, default: float) -> Any:
    """Return a setting that must lie in an interval."""
    return field(default=default, metadata={"interval": interval})


@dataclass(frozen=True)
class _Optimizer(ABC):
    """What all optimizers share: their settings' checks, decay, and the walk over blocks.

    Attributes:
        learning_rate: The highest rate, > 0; the schedule takes a share of it.
        weight_decay: Share of the weights, per unit of learning rate, that is taken off in a step, >= 0.
    """

    learning_rate: float = _within("(0, inf)", 1e-3)
    weight_decay: float = _within("[0, inf)", 0.0)

    def __post_init__(self) -> None:
        values = [(f.name, getattr(self, f.name), f.metadata["interval"]) for f in fields(self) if f.metadata]
        ranges = [(_INTERVALS[within](value), f"{name}: {value} is not in {within}") for name, value, within in values]
        require(*ranges, *self.rules())

    def rules(self) -> list[tuple[bool, str]]:
        """Return what else must hold for the settings."""
        return []

    @abstractmethod
    def init(self, n_params: int, dtype: Any = np.float32) -> OptimizerState:
        """Return the state before the first step."""

    @abstractmethod
    def update(self, params: Array, grads: Array, block: Block, step: int, learning_rate: float) -> None:
        """Make a step, counted from 1, on one block, in place; the gradient may be overwritten."""

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
            state: This optimizer's memory, from `init`; changed.
            learning_rate: The rate of this very step (the schedule has been applied), >= 0.
            decayed: The parts of `params` that weight decay shrinks (the weights, not the biases).
        """
        state.step += 1
        if self.weight_decay:
            keep = 1.0 - learning_rate * self.weight_decay
            for part in decayed:
                params[part] *= keep
        for part, block in state.blocks:
            self.update(params[part], grads[part], block, state.step, learning_rate)


@dataclass(frozen=True)
class SGD(_Optimizer):
    """Stochastic gradient descent, with or without momentum.

        v = momentum * v + g
        params -= learning_rate * v

    Attributes:
        name: `sgd`.
        momentum: Share of the last velocity that is kept, in [0, 1).
        nesterov: Look ahead: params -= learning_rate * (g + momentum * v).

    Source: Goodfellow et al. 2016, algorithms 8.1 and 8.2; Sutskever et al. 2013, section 2 (Nesterov, in the form
    that applies the velocity to the current gradient, as PyTorch does).
    """

    name: Literal["sgd"] = "sgd"
    learning_rate: float = _within("(0, inf)", 0.1)
    momentum: float = _within("[0, 1)", 0.0)
    nesterov: bool = False

    def rules(self) -> list[tuple[bool, str]]:
        """Return what else must hold for the settings."""
        return [(not self.nesterov or self.momentum != 0.0, "nesterov: needs a momentum above 0")]

    def init(self, n_params: int, dtype: Any = np.float32) -> OptimizerState:
        """Return the state before the first step."""
        moments = ["velocity"] if self.momentum else []
        return OptimizerState(n_params, dtype, moments, momentum=self.momentum, rate=0.0, ahead=0.0)

    def update(self, params: Array, grads: Array, block: Block, step: int, learning_rate: float) -> None:
        """Make a step on one block."""
        block.rate[()] = learning_rate
        if self.momentum:
            velocity, scratch = block.velocity, block.scratch
            velocity *= block.momentum
            velocity += grads
            block.ahead[()] = learning_rate * self.momentum
            np.multiply(velocity, block.ahead if self.nesterov else block.rate, out=scratch)
            params -= scratch
        if self.nesterov or not self.momentum:
            grads *= block.rate
            params -= grads


@dataclass(frozen=True)
class RMSprop(_Optimizer):
    """Divide the gradient by its recent size.

        v = decay * v + (1 - decay) * g**2
        params -= learning_rate * g / (sqrt(v) + eps)

    Attributes:
        name: `rmsprop`.
        decay: Share of the old mean square that is kept, in [0, 1).
        eps: Keeps the division finite, > 0.

    Source: Hinton 2012, lecture 6e; Goodfellow et al. 2016, algorithm 8.5.
    """

    name: Literal["rmsprop"] = "rmsprop"
    decay: float = _within("[0, 1)", 0.9)
    eps: float = _within("(0, inf)", 1e-8)

    def init(self, n_params: int, dtype: Any = np.float32) -> OptimizerState:
        """Return the state before the first step."""
        numbers = {"decay": self.decay, "rest": 1.0 - self.decay, "eps": self.eps, "rate": 0.0}
        return OptimizerState(n_params, dtype, ["mean_square"], **numbers)

    def update(self, params: Array, grads: Array, block: Block, step: int, learning_rate: float) -> None:
        """Make a step on one block."""
        mean_square, scratch = block.mean_square, block.scratch
        block.rate[()] = learning_rate
        np.multiply(grads, grads, out=scratch)
        scratch *= block.rest
        mean_square *= block.decay
        mean_square += scratch
        np.sqrt(mean_square, out=scratch)
        scratch += block.eps
        grads *= block.rate
        grads /= scratch
        params -= grads


@dataclass(frozen=True)
class _AdaptiveMoments(_Optimizer):
    """Momentum and scale together, both corrected for their start at zero.

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        params -= learning_rate * weight_decay * params
        params -= learning_rate * m_hat / (sqrt(v_hat) + eps)

    Here the moments are kept as plain sums, mean = m / (1 - beta1) and mean_square = v / (1 - beta2): the constants and
    both corrections then fold into two numbers a step, `rate` and `eps`, and the update is ten passes over the vector.

    Attributes:
        beta1: Share of the old mean that is kept, in [0, 1).
        beta2: Share of the old mean square that is kept, in [0, 1).
        eps: Keeps the division finite, > 0.
    """

    beta1: float = _within("[0, 1)", 0.9)
    beta2: float = _within("[0, 1)", 0.999)
    eps: float = _within("(0, inf)", 1e-8)

    def init(self, n_params: int, dtype: Any = np.float32) -> OptimizerState:
        """Return the state before the first step."""
        numbers = {"beta1": self.beta1, "beta2": self.beta2, "rate": 0.0, "eps": 0.0}
        return OptimizerState(n_params, dtype, ["mean", "mean_square"], **numbers)

    def update(self, params: Array, grads: Array, block: Block, step: int, learning_rate: float) -> None:
        """Make a step on one block."""
        mean, mean_square, scratch = block.mean, block.mean_square, block.scratch
        scale = math.sqrt((1.0 - self.beta2) / (1.0 - self.beta2**step))  # sqrt(v_hat) = scale * sqrt(mean_square)
        block.rate[()] = learning_rate * (1.0 - self.beta1) / ((1.0 - self.beta1**step) * scale)
        block.eps[()] = self.eps / scale
        mean *= block.beta1
        mean += grads
        np.multiply(grads, grads, out=scratch)
        mean_square *= block.beta2
        mean_square += scratch
        np.sqrt(mean_square, out=scratch)
        scratch += block.eps
        np.divide(mean, scratch, out=scratch)
        scratch *= block.rate
        params -= scratch


@dataclass(frozen=True)
class Adam(_AdaptiveMoments):
    """Adam, without weight decay unless it is asked for (it is decoupled then, as for every optimizer here).

    Attributes:
        name: `adam`.

    Source: Kingma and Ba 2015, algorithm 1 (and the remark at the end of its section 2, for the folded constants).
    """

    name: Literal["adam"] = "adam"


@dataclass(frozen=True)
class AdamW(_AdaptiveMoments):
    """Adam with decoupled weight decay, on by default.

    Attributes:
        name: `adamw`.

    Source: Loshchilov and Hutter 2019, algorithm 2.
    """

    name: Literal["adamw"] = "adamw"
    weight_decay: float = _within("[0, inf)", 0.01)


Optimizer = SGD | RMSprop | Adam | AdamW
OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in typing.get_args(Optimizer)}
