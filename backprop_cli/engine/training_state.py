"""All that resuming needs: where a training stood at the end of its last finished epoch, as arrays and numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from backprop_cli.arrays import Array
from backprop_cli.engine.network import Network
from backprop_cli.engine.optimizers import Optimizer, OptimizerState

if TYPE_CHECKING:
    from numpy.random import Generator

StopReason = Literal["completed", "early_stopping", "diverged"]

_FIGURES = ("best_val_loss", "best_val_accuracy", "best_train_loss", "best_monitored")
_INTEGER_FIELDS = ("epoch", "best_epoch", "epochs_without_improvement")


@dataclass
class TrainingState:
    """All that going on needs, as it was at the end of the last finished epoch.

    Attributes:
        params: The parameters, (n_params,).
        optimizer: The optimizer's memory; its step count is the number of steps done.
        rngs: The generators in use, by name; `dropout` is the training's, the others are the data's.
        rng_states: What `rngs` stood at.
        epoch: Epochs finished.
        best_params: The parameters of the best epoch: lowest validation loss, the earliest on a tie; without a
            validation part, the last.
        best_epoch: 0 before the first.
        best_val_loss: Its validation loss; infinite before the first, and without a validation part.
        best_val_accuracy: Its validation accuracy, None without a validation part.
        best_train_loss: The training loss of that epoch.
        best_monitored: What early stopping compares with.
        epochs_without_improvement: What it counts.
        stop_reason: Set when training has ended by itself.
    """

    params: Array
    optimizer: OptimizerState
    rngs: dict[str, Generator]
    best_params: Array
    rng_states: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    best_epoch: int = 0
    best_val_loss: float = math.inf
    best_val_accuracy: float | None = None
    best_train_loss: float = math.inf
    best_monitored: float = math.inf
    epochs_without_improvement: int = 0
    stop_reason: StopReason | None = None

    @classmethod
    def start(cls, network: Network, optimizer: Optimizer, rngs: dict[str, Generator]) -> TrainingState:
        """Return the state before the first epoch."""
        state = cls(
            params=network.params.copy(),
            optimizer=optimizer.init(network.n_params, network.params.dtype),
            rngs=rngs,
            best_params=network.params.copy(),
        )
        state.note_rngs()
        return state

    def note_rngs(self) -> None:
        """Take down where the generators stand."""
        self.rng_states = {name: rng.bit_generator.state for name, rng in self.rngs.items()}

    def arrays(self) -> dict[str, Array]:
        """Return every vector by name, all (n_params,), as views: what a checkpoint stores, and may write back to."""
        moments = {f"optimizer.{name}": moment for name, moment in self.optimizer.moments.items()}
        return {"params": self.params, "best_params": self.best_params, **moments}

    def numbers(self) -> dict[str, Any]:
        """Return everything else as plain, finite JSON values (an infinite figure as null)."""
        figures = {
            name: None if (value := getattr(self, name)) is None or math.isinf(value) else value for name in _FIGURES
        }
        integers = {name: getattr(self, name) for name in _INTEGER_FIELDS}
        return {
            **figures,
            **integers,
            "step": self.optimizer.step,
            "stop_reason": None if self.stop_reason == "diverged" else self.stop_reason,
            "rng_states": self.rng_states,
        }

    def restore(self, arrays: dict[str, Array], numbers: dict[str, Any]) -> None:
        """Take back what `arrays` and `numbers` gave.

        Raises:
            ValueError: A name, shape, type or value is not what this network and optimizer need.
        """
        for name, mine in self.arrays().items():
            stored = arrays.get(name)
            if stored is None or stored.shape != mine.shape or stored.dtype != mine.dtype:
                raise ValueError(f"{name}: not {mine.size:,} numbers of type {mine.dtype}")
            mine[...] = stored
        for name in (*_INTEGER_FIELDS, "step"):
            if type(numbers.get(name)) is not int or numbers[name] < 0:
                raise ValueError(f"{name}: not a count")
        for name in _FIGURES:
            if type(numbers.get(name, "")) not in (float, type(None)):
                raise ValueError(f"{name}: not a number")
            setattr(self, name, numbers[name])
        for name in _INTEGER_FIELDS:
            setattr(self, name, numbers[name])
        for name in ("best_val_loss", "best_train_loss", "best_monitored"):
            if getattr(self, name) is None:
                setattr(self, name, math.inf)
        if numbers.get("stop_reason") not in (None, "completed", "early_stopping"):
            raise ValueError("stop_reason: not a known one")
        self.stop_reason, self.optimizer.step = numbers["stop_reason"], numbers["step"]
        for name, rng in self.rngs.items():
            try:
                rng.bit_generator.state = numbers["rng_states"][name]
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"rng_states.{name}: not a generator's state") from error
        self.note_rngs()
