"""The cycle: guess, loss, blame, correction - over minibatches, over epochs, until it stops.

`train` is a generator. It yields what happened and knows no screen and no file: whoever consumes the events decides
what to show and when to save. However the consumer leaves - the last event, `break`, an exception - the network is
left at its best epoch (wrap the generator in `contextlib.closing`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from backprop_cli.engine.activations import SATURATED_BEYOND, Array
from backprop_cli.engine.losses import Loss, RowBuffers
from backprop_cli.engine.network import Network, Workspace
from backprop_cli.engine.optimizers import Optimizer, OptimizerState
from backprop_cli.engine.schedules import Schedule
from backprop_cli.errors import quoted, require

if TYPE_CHECKING:
    from numpy.random import Generator as RandomGenerator

PROGRESS_SECONDS = 0.1

StopReason = Literal["completed", "early_stopping", "diverged"]


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
        threads: BLAS threads, 1 to 256, whoever calls. More than one pays for wide networks only.
        kernel: Of BLAS. `auto`: the one made for this processor. `portable`: the one that every x86-64 processor with
            AVX2 has, so that all of them train to the same bytes; with AVX-512 it takes up to twice as long.
    """

    epochs: int = 40
    batch_size: int = 32
    gradient_clip: float | None = None
    early_stopping: EarlyStopping | None = None
    threads: int = 1
    kernel: Literal["auto", "portable"] = "auto"

    def __post_init__(self) -> None:
        clip = 1.0 if self.gradient_clip is None else self.gradient_clip
        require(
            (1 <= self.epochs <= 1_000_000, f"epochs: {self.epochs} is not in 1 to 1,000,000"),
            (1 <= self.batch_size <= 1_000_000, f"batch_size: {self.batch_size} is not in 1 to 1,000,000"),
            (0.0 < clip < math.inf, f"gradient_clip: {clip} is not above 0"),
            (1 <= self.threads <= 256, f"threads: {self.threads} is not in 1 to 256"),
            (self.kernel in ("auto", "portable"), f"kernel: {quoted(self.kernel)} is not one of auto, portable"),
        )


class Chunks(Protocol):
    """Rows ready for a network, in chunks: each `iter()` is one pass, freshly shuffled where that is asked for.

    Inputs are (rows, n_inputs + 1) and end in ones, labels are (rows,); a chunk may be overwritten by the next. All
    chunks but the last hold a multiple of the batch size.
    """

    n_rows: int

    def __iter__(self) -> Iterator[tuple[Array, NDArray[np.integer[Any]]]]: ...


@dataclass
class TrainingState:
    """All that going on needs, as it was at the end of the last finished epoch.

    Attributes:
        params: The parameters, (n_params,).
        optimizer: The optimiser's memory; its step count is the number of steps done.
        rngs: The generators in use, by name; `dropout` is this module's, the others are the data's.
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
    rngs: dict[str, RandomGenerator]
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
    def start(cls, network: Network, optimizer: Optimizer, rngs: dict[str, RandomGenerator]) -> TrainingState:
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
        counts = {name: getattr(self, name) for name in _COUNTS}
        return {
            **figures,
            **counts,
            "step": self.optimizer.step,
            "stop_reason": None if self.stop_reason == "diverged" else self.stop_reason,
            "rng_states": self.rng_states,
        }

    def restore(self, arrays: dict[str, Array], numbers: dict[str, Any]) -> None:
        """Take back what `arrays` and `numbers` gave.

        Raises:
            ValueError: A name, shape, type or value is not what this network and optimiser need.
        """
        for name, mine in self.arrays().items():
            stored = arrays.get(name)
            if stored is None or stored.shape != mine.shape or stored.dtype != mine.dtype:
                raise ValueError(f"{name}: not {mine.size:,} numbers of type {mine.dtype}")
            mine[...] = stored
        for name in (*_COUNTS, "step"):
            if type(numbers.get(name)) is not int or numbers[name] < 0:
                raise ValueError(f"{name}: not a count")
        for name in _FIGURES:
            if type(numbers.get(name, "")) not in (float, type(None)):
                raise ValueError(f"{name}: not a number")
            setattr(self, name, numbers[name])
        for name in _COUNTS:
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


_FIGURES = ("best_val_loss", "best_val_accuracy", "best_train_loss", "best_monitored")
_COUNTS = ("epoch", "best_epoch", "epochs_without_improvement")


@dataclass(frozen=True)
class Progress:
    """Somewhere within a long epoch; about ten a second.

    Attributes:
        epoch: The epoch under way, from 1.
        n_epochs: Epochs in all.
        share: How much of it is done, in [0, 1].
        train_loss: Mean over the examples of this epoch so far.
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
        n_epochs: Epochs in all.
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
) -> Generator[Progress | EpochResult]:
    """Train the network in place, from where `state` stands; yield an `EpochResult` per epoch, `Progress` in between.

    Args:
        network: Its parameters are replaced by the state's, then trained.
        loss: What is minimised.
        optimizer: How a gradient becomes a step.
        schedule: How the learning rate changes over all steps of all epochs.
        batches: The training part, shuffled anew in each pass.
        validation: What the best epoch is chosen by; None: the last epoch counts as the best.
        settings: Epochs, batch size and so on.
        state: From `TrainingState.start` or `restore`; brought up to date at the end of each epoch.

    Yields:
        Events. Training that leaves the finite numbers ends with an event whose stop_reason is `diverged`; the state
        then stays at the epoch before.
    """
    network.params[...] = state.params
    memory = optimizer.init(network.n_params, network.params.dtype)
    memory.copy_from(state.optimizer)
    n_steps = settings.epochs * math.ceil(batches.n_rows / settings.batch_size)
    steps = _Steps(network, loss, optimizer, schedule, memory, settings, n_steps, state.rngs.get("dropout"))
    next_progress = time.perf_counter() + PROGRESS_SECONDS
    try:
        while state.stop_reason is None:
            epoch, started = state.epoch + 1, time.perf_counter()
            loss_sum, n_done = 0.0, 0
            for inputs, labels in batches:
                n_done += len(inputs)
                loss_sum += steps.run(inputs, labels, is_last=n_done >= batches.n_rows)
                if n_done < batches.n_rows and time.perf_counter() > next_progress:
                    yield Progress(epoch, settings.epochs, n_done / batches.n_rows, loss_sum / n_done)
                    next_progress = time.perf_counter() + PROGRESS_SECONDS
            train_loss = loss_sum / n_done
            val_loss, val_accuracy = steps.evaluate(validation) if validation else (None, None)
            layers = steps.layer_figures()
            if not _all_finite(train_loss, val_loss, network.params):
                state.stop_reason = "diverged"
                is_best = False
            else:
                is_best = _finish_epoch(state, settings, network, memory, train_loss, val_loss, val_accuracy)
            yield EpochResult(
                epoch,
                settings.epochs,
                train_loss,
                val_loss,
                val_accuracy,
                steps.learning_rate,
                steps.grad_norm,
                layers,
                time.perf_counter() - started,
                n_done,
                is_best,
                state.stop_reason,
            )
            next_progress = time.perf_counter() + PROGRESS_SECONDS
    finally:
        network.params[...] = state.best_params


def _all_finite(train_loss: float, val_loss: float | None, params: Array) -> bool:
    return math.isfinite(train_loss) and math.isfinite(val_loss or 0.0) and bool(np.isfinite(params).all())


def _finish_epoch(
    state: TrainingState,
    settings: TrainingSettings,
    network: Network,
    memory: OptimizerState,
    train_loss: float,
    val_loss: float | None,
    val_accuracy: float | None,
) -> bool:
    """Bring the state up to date; return whether this epoch is the best so far."""
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


class _Chunk:
    """A chunk cut into minibatches: the views of every array that a step needs, made once."""

    def __init__(self, inputs: Array, steps: _Steps) -> None:
        n_rows, size = len(inputs), steps.settings.batch_size
        self.inputs = inputs
        self.targets = np.empty((n_rows, steps.network.n_classes), inputs.dtype)
        self.outputs = np.empty_like(self.targets)
        parts = [slice(start, start + size) for start in range(0, n_rows, size)]
        self.minibatches = [
            (inputs[rows], self.targets[rows], self.outputs[rows], *steps.workspace(len(inputs[rows])))
            for rows in parts
        ]
        self.last_targets = self.minibatches[-1][1] if parts else None


class _Steps:
    """The minibatch steps of one training run, with every array they need made beforehand."""

    def __init__(
        self,
        network: Network,
        loss: Loss,
        optimizer: Optimizer,
        schedule: Schedule,
        memory: OptimizerState,
        settings: TrainingSettings,
        n_steps: int,
        rng: RandomGenerator | None,
    ) -> None:
        self.network, self.loss, self.optimizer, self.schedule = network, loss, optimizer, schedule
        self.memory, self.settings, self.n_steps = memory, settings, n_steps
        self.rng = rng if any(layer.dropout for layer in network.layers) else None
        self.params, self.grads = network.params, network.grads
        self.workspaces: dict[int, tuple[Workspace, RowBuffers]] = {}
        self.target_of = loss.targets(np.arange(network.n_classes), network.n_classes, network.params.dtype)
        self.chunk = _Chunk(np.empty((0, network.n_inputs + 1), network.params.dtype), self)
        self.before = network.params.copy()  # the parameters before the last step of a chunk
        self.learning_rate = self.grad_norm = 0.0
        self.last_rows = 0

    def run(self, inputs: Array, labels: NDArray[np.integer[Any]], *, is_last: bool) -> float:
        """Make one step for each minibatch of the chunk; return the sum of the examples' losses.

        Args:
            inputs: (rows, n_inputs + 1), ending in ones.
            labels: (rows,).
            is_last: The epoch ends with this chunk: its last step is the one that the epoch's figures are about.
        """
        if inputs is not self.chunk.inputs:  # the data's chunks share their memory, so this is rare
            self.chunk = _Chunk(inputs, self)
        network, loss, rng, chunk = self.network, self.loss, self.rng, self.chunk
        np.take(self.target_of, labels, axis=0, out=chunk.targets, mode="clip")
        with np.errstate(all="ignore"):  # a step that overflows is found, and said, at the end of the epoch
            for batch, targets, outputs, workspace, buffers in chunk.minibatches:
                logits = network.forward(batch, workspace, rng=rng)
                loss.outputs(logits, outputs, buffers)
                grad_logits = loss.gradient(outputs, targets, workspace.layers[-1].delta, buffers)
                network.backward(grad_logits, workspace)
                if is_last and targets is chunk.last_targets:
                    self.note_last_step(len(batch))
                self.correct()
            return float(loss.values(chunk.outputs, chunk.targets).sum(dtype=np.float64))

    def correct(self) -> None:
        """Clip the gradient where that is asked for, and let the optimiser change the parameters."""
        grads, clip, memory = self.grads, self.settings.gradient_clip, self.memory
        if clip is not None and (norm := _norm(grads)) > clip:
            grads *= clip / norm
        rate = self.optimizer.learning_rate * self.schedule.factor_at(memory.step, self.n_steps)
        self.optimizer.step(self.params, grads, memory, learning_rate=rate, decayed=self.network.weight_slices)
        self.learning_rate = rate

    def evaluate(self, validation: Chunks) -> tuple[float, float]:
        """Return the mean loss and the accuracy over the validation part."""
        loss_sum, n_right = 0.0, 0
        with np.errstate(all="ignore"):
            for inputs, labels in validation:
                workspace, buffers = self.workspace(len(inputs))
                outputs = self.loss.outputs(self.network.forward(inputs, workspace), None, buffers)
                loss_sum += float(self.loss.values(outputs, self.target_of[labels]).sum(dtype=np.float64))
                n_right += int(np.count_nonzero(outputs.argmax(axis=1) == labels))
                self.last_rows = len(inputs)
        return loss_sum / validation.n_rows, n_right / validation.n_rows

    def workspace(self, n_rows: int) -> tuple[Workspace, RowBuffers]:
        """Return the buffers for passes over `n_rows` rows, made when first asked for."""
        if n_rows not in self.workspaces:
            network = self.network
            buffers = RowBuffers(n_rows, network.n_classes, network.params.dtype)
            self.workspaces[n_rows] = network.workspace(n_rows), buffers
        return self.workspaces[n_rows]

    def note_last_step(self, n_rows: int) -> None:
        """Keep what `layer_figures` compares: the gradient as it is and the parameters before the step."""
        self.before[...] = self.network.params
        self.grad_norms = [_norm(layer.grad_table.ravel()) for layer in self.network.layers]
        self.grad_norm = math.sqrt(sum(norm * norm for norm in self.grad_norms))
        self.last_rows = n_rows

    def layer_figures(self) -> tuple[LayerFigures, ...]:
        """Return each layer's figures of the last step; units are looked at on the rows of the last forward pass."""
        figures, start = [], 0
        buffers = self.workspaces[self.last_rows][0].layers
        with np.errstate(all="ignore"):
            np.subtract(self.network.params, self.before, out=self.before)  # the change made by the step
            for layer, grad_norm, buffer in zip(self.network.layers, self.grad_norms, buffers, strict=True):
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
