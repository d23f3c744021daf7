"""The cycle: guess, loss, blame, correction - over minibatches, over epochs, until it stops.

`train` is a generator. It yields what happened and knows no screen and no file: the consumer of the events decides
what to show and when to save. However the consumer leaves - the last event, `break`, an exception - the network is
left at its best epoch (wrap the generator in `contextlib.closing`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backprop_cli.arrays import Array
from backprop_cli.engine.activations import SATURATED_BEYOND
from backprop_cli.engine.losses import Loss
from backprop_cli.engine.minibatches import Chunks, Minibatches
from backprop_cli.engine.network import Network, Workspace
from backprop_cli.engine.optimizers import Optimizer, OptimizerState
from backprop_cli.engine.schedules import Schedule
from backprop_cli.engine.steering import Steering
from backprop_cli.engine.training_state import StopReason, TrainingState
from backprop_cli.errors import quoted, require

PROGRESS_SECONDS = 0.1
MAX_WEIGHT = 1e6  # of a class


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the validation part has stopped getting better.

    Attributes:
        monitor: `val_loss` or `val_accuracy`.
        patience: Epochs without an improvement that are waited for, >= 1.
        min_delta: What counts as an improvement, >= 0.

    Source: Prechelt 1998; Goodfellow et al. 2016, algorithm 7.1.
    """

    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    patience: int = 10
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        require(
            (self.patience >= 1, f"patience: {self.patience} is not at least 1"),
            (0.0 <= self.min_delta < math.inf, f"min_delta: {self.min_delta} is not in [0, inf)"),
        )


@dataclass(frozen=True)
class TrainingSettings:
    """How long and in which steps.

    Attributes:
        epochs: Passes over the training part, in all, 1 to 1,000,000.
        batch_size: Examples per step, 1 to 1,000,000; the last batch of an epoch may be smaller.
        gradient_clip: Longest gradient let through (its Euclidean norm), > 0; null: any.
        early_stopping: When to stop before the last epoch; null: never.
        threads: BLAS threads, 1 to 256. More than one helps wide networks only.
        kernel: Of BLAS. `auto`: the one made for this processor. `portable`: the one that every x86-64 processor with
            AVX2 has, so that all of them train to the same bytes; with AVX-512 it takes up to twice as long.
        class_weight: What a row of each class counts for in the loss, also of the validation part. `balanced`: rows of
            the training part / (classes * rows of the class), so that rare classes count as much as frequent ones. Or
            a mapping from class to weight, 0 to 1,000,000, such as `{7: 3.0}`; classes left out have 1, and all
            weights are scaled to be 1 on average over the training part. null: every row counts the same.
    """

    epochs: int = 40
    batch_size: int = 32
    gradient_clip: float | None = None
    early_stopping: EarlyStopping | None = None
    threads: int = 1
    kernel: Literal["auto", "portable"] = "auto"
    class_weight: Literal["balanced"] | dict[str, float] | None = None

    def __post_init__(self) -> None:
        clip = 1.0 if self.gradient_clip is None else self.gradient_clip
        weights = self.class_weight if isinstance(self.class_weight, dict) else {}
        require(
            (1 <= self.epochs <= 1_000_000, f"epochs: {self.epochs} is not between 1 and 1,000,000"),
            (1 <= self.batch_size <= 1_000_000, f"batch_size: {self.batch_size} is not between 1 and 1,000,000"),
            (0.0 < clip < math.inf, f"gradient_clip: {clip} is not above 0"),
            (1 <= self.threads <= 256, f"threads: {self.threads} is not between 1 and 256"),
            (self.kernel in ("auto", "portable"), f"kernel: {quoted(self.kernel)} is not one of auto, portable"),
            (
                isinstance(self.class_weight, dict) or self.class_weight in ("balanced", None),
                f"class_weight: {quoted(self.class_weight)} is not one of balanced",
            ),
            *(
                (
                    0.0 <= weight <= MAX_WEIGHT,
                    f"class_weight: {weight} for {quoted(name)} is not between 0 and 1,000,000",
                )
                for name, weight in weights.items()
            ),
        )


@dataclass(frozen=True)
class Progress:
    """Somewhere within a long epoch; about ten a second.

    Attributes:
        epoch: The epoch under way, from 1.
        n_epochs: Total number of epochs.
        share: How much of it is done, in [0, 1].
        train_loss: Mean over the examples of this epoch so far; not a number before the first.
    """

    epoch: int
    n_epochs: int
    share: float
    train_loss: float


@dataclass(frozen=True)
class LayerFigures:
    """One layer at the last step of an epoch.

    Attributes:
        grad_norm: Euclidean norm of dLoss/d(weight and bias).
        update_ratio: Norm of the step's change over the norm of the parameters changed.
        dead_share: Share of units whose slope was 0 on every row last looked at, in [0, 1].
        saturated_share: Share of the answers of all units on all those rows that came from the flat parts of a sigmoid
            or tanh, in [0, 1]; see `SATURATED_BEYOND`.
    """

    grad_norm: float
    update_ratio: float
    dead_share: float
    saturated_share: float


@dataclass(frozen=True)
class EpochResult:
    """One finished epoch.

    Attributes:
        epoch: From 1.
        n_epochs: Total number of epochs.
        train_loss: Mean over the epoch's examples, each as it was guessed before its own correction.
        val_loss: Mean over the validation part after the epoch; None without one.
        val_accuracy: Share of the validation part guessed rightly; None without one.
        learning_rate: Of the last step.
        grad_norm: Euclidean norm of the whole gradient at the last step, before clipping.
        layers: By layer, the output layer last.
        seconds: What the epoch took.
        n_rows: Examples in it.
        is_best: No epoch before was as good.
        stop_reason: Set on the last event.
        rates_set: Learning rates that were set by hand, each with the number of the epoch's steps before it.
    """

    epoch: int
    n_epochs: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    grad_norm: float
    layers: tuple[LayerFigures, ...]
    seconds: float
    n_rows: int
    is_best: bool
    stop_reason: StopReason | None
    rates_set: tuple[tuple[int, float], ...] = ()


def train(
    network: Network,
    loss: Loss,
    optimizer: Optimizer,
    schedule: Schedule,
    batches: Chunks,
    validation: Chunks | None,
    settings: TrainingSettings,
    *,
    state: TrainingState,
    steering: Steering | None = None,
) -> Generator[Progress | EpochResult]:
    """Train the network in place, from where `state` stands; yield an `EpochResult` per epoch, `Progress` in between.

    Args:
        network: Its parameters are replaced by the state's, then trained.
        loss: What is minimized.
        optimizer: How a gradient becomes a step.
        schedule: How the learning rate changes over all steps of all epochs.
        batches: The training part, reshuffled in each pass.
        validation: What the best epoch is chosen by; None: the last epoch counts as the best.
        settings: Epochs, batch size and so on.
        state: From `TrainingState.start` or `restore`; brought up to date at the end of each epoch.
        steering: Given: what the consumer may change between two events.

    Yields:
        Events. Training that diverges ends with an event whose stop_reason is `diverged`; the state
        then stays at the epoch before.
    """
    network.params[...] = state.params
    memory = optimizer.init(network.n_params, network.params.dtype)
    memory.copy_from(state.optimizer)
    n_steps = settings.epochs * math.ceil(batches.n_rows / settings.batch_size)
    dropout = state.rngs.get("dropout") if any(layer.dropout for layer in network.layers) else None
    minibatches, last_step = Minibatches(network, loss, settings.batch_size), _LastStep(network)
    steering = steering or Steering(optimizer.learning_rate)
    correction = _Correction(network, optimizer, schedule, memory, settings.gradient_clip, n_steps, steering)
    next_progress = time.perf_counter() + PROGRESS_SECONDS
    try:
        while state.stop_reason is None:
            epoch, started, loss_sum, n_done = state.epoch + 1, time.perf_counter(), 0.0, 0
            steering.begin_epoch()
            for inputs, *labels in batches:  # and with them, where rows have some, weights
                n_cut, parts = 0, minibatches.cut(inputs, *labels)
                last_batch = parts[-1][0] if n_done + len(inputs) >= batches.n_rows else None
                for portion in steering.portions(parts):
                    with np.errstate(all="ignore"):  # a step that overflows is found, and said, after the epoch
                        for batch, targets, outputs, workspace, buffers in portion:
                            logits = network.forward(batch, workspace, rng=dropout)  # the guess
                            loss.outputs(logits, outputs, buffers)
                            grad_logits = loss.gradient(outputs, targets, workspace.layers[-1].delta, buffers)
                            network.backward(grad_logits, workspace)  # the blame
                            if batch is last_batch:
                                last_step.note(network)
                            correction.step()
                    n_cut = min(n_cut + len(portion) * settings.batch_size, len(inputs))
                    is_over = n_done + n_cut >= batches.n_rows
                    if not is_over and (steering.by_step or time.perf_counter() > next_progress):
                        mean = (loss_sum + minibatches.loss_sum(n_cut)) / (n_done + n_cut)
                        yield Progress(epoch, settings.epochs, (n_done + n_cut) / batches.n_rows, mean)
                        next_progress = time.perf_counter() + PROGRESS_SECONDS
                loss_sum += minibatches.loss_sum()
                n_done += len(inputs)
            val_loss, val_accuracy, seen = minibatches.evaluate(validation) if validation else (None, None, workspace)
            figures = loss_sum / n_done, val_loss, val_accuracy
            step = correction.learning_rate, last_step.grad_norm, last_step.layer_figures(network, seen)
            is_best = _finish_epoch(state, settings, network, memory, *figures)
            seconds = time.perf_counter() - started
            end, rates = (is_best, state.stop_reason), tuple(steering.changes)
            yield EpochResult(epoch, settings.epochs, *figures, *step, seconds, n_done, *end, rates)
            next_progress = time.perf_counter() + PROGRESS_SECONDS
    finally:
        network.params[...] = state.best_params


def _finish_epoch(
    state: TrainingState,
    settings: TrainingSettings,
    network: Network,
    memory: OptimizerState,
    train_loss: float,
    val_loss: float | None,
    val_accuracy: float | None,
) -> bool:
    """Bring the state up to date; return whether this epoch is the best so far.

    If training has diverged, the state only notes that.
    """
    losses_are_finite = math.isfinite(train_loss) and math.isfinite(val_loss or 0.0)
    if not losses_are_finite or not np.isfinite(network.params).all():
        state.stop_reason = "diverged"
        return False
    state.epoch += 1
    state.params[...] = network.params
    state.optimizer.copy_from(memory)
    state.note_rngs()
    is_best = val_loss is None or val_loss < state.best_val_loss
    if is_best:
        state.best_params[...] = network.params
        state.best_epoch, state.best_train_loss = state.epoch, train_loss
        state.best_val_loss = math.inf if val_loss is None else val_loss
        state.best_val_accuracy = val_accuracy
    stopping = settings.early_stopping
    if stopping and val_loss is not None and val_accuracy is not None:
        monitored = val_loss if stopping.monitor == "val_loss" else -val_accuracy
        improved = monitored < state.best_monitored - stopping.min_delta
        state.best_monitored = monitored if improved else state.best_monitored
        state.epochs_without_improvement = 0 if improved else state.epochs_without_improvement + 1
        if state.epochs_without_improvement >= stopping.patience:
            state.stop_reason = "early_stopping"
    if state.epoch >= settings.epochs and state.stop_reason is None:
        state.stop_reason = "completed"
    return is_best


class _Correction:
    """Clips the gradient where that is asked for, and lets the optimizer change the parameters."""

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        schedule: Schedule,
        memory: OptimizerState,
        clip: float | None,
        n_steps: int,
        steering: Steering,
    ) -> None:
        self.network, self.optimizer, self.schedule, self.steering = network, optimizer, schedule, steering
        self.memory, self.clip, self.n_steps = memory, clip, n_steps
        self.params, self.grads, self.learning_rate = network.params, network.grads, 0.0

    def step(self) -> None:
        """Make one."""
        grads, clip, memory = self.grads, self.clip, self.memory
        if clip is not None and (norm := _norm(grads)) > clip:
            grads *= clip / norm
        rate = self.steering.learning_rate * self.schedule.factor_at(memory.step, self.n_steps)
        self.optimizer.step(self.params, grads, memory, learning_rate=rate, decayed=self.network.weight_slices)
        self.learning_rate = rate


class _LastStep:
    """What the figures of an epoch's last step are made of: its gradient, and the parameters before it."""

    def __init__(self, network: Network) -> None:
        self.before = network.params.copy()
        self.grad_norms = [0.0] * len(network.layers)

    @property
    def grad_norm(self) -> float:
        return math.sqrt(sum(norm * norm for norm in self.grad_norms))

    def note(self, network: Network) -> None:
        """Keep the gradient's norms and the parameters, as they are before the step."""
        self.before[...] = network.params
        self.grad_norms = [_norm(layer.grad_table.ravel()) for layer in network.layers]

    def layer_figures(self, network: Network, seen: Workspace) -> tuple[LayerFigures, ...]:
        """Return each layer's figures after the step; `seen` are the rows that its units are looked at on."""
        figures, start = [], 0
        with np.errstate(all="ignore"):
            np.subtract(network.params, self.before, out=self.before)  # the change made by the step
            for layer, grad_norm, buffer in zip(network.layers, self.grad_norms, seen.layers, strict=True):
                stop = start + layer.table.size
                change = _norm(self.before[start:stop]) / max(_norm(layer.table.ravel()), 1e-12)
                dead = 0.0 if layer.is_output else 1.0 - np.count_nonzero(buffer.slope.any(axis=0)) / layer.fan_out
                limit = SATURATED_BEYOND.get(layer.activation)
                saturated = float((np.abs(buffer.pre_activation) > limit).mean()) if limit else 0.0
                figures.append(LayerFigures(grad_norm, change, float(dead), saturated))
                start = stop
        return tuple(figures)


def _norm(vector: Array) -> float:
    """Return the Euclidean norm of a flat vector; infinite only where the vector is."""
    square = float(np.dot(vector, vector))
    if square == math.inf:  # in float32, whose largest number is the square of 2e19
        square = float(np.square(vector, dtype=np.float64).sum())
    return math.sqrt(square)
