"""The one place that turns a config into live objects, and trains them."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli import __version__
from backprop_cli.arrays import Array, Labels, Rows
from backprop_cli.blas import blas_threads, in_blas_threads, require_portable
from backprop_cli.config.config import Config
from backprop_cli.data.arrangement import spread
from backprop_cli.data.augment import Warps
from backprop_cli.data.copies import Copies
from backprop_cli.data.dataset import ChunkLoader, Dataset, Scaling, are_counts, largest
from backprop_cli.data.layout import Layout
from backprop_cli.engine.network import Network, count_params
from backprop_cli.engine.steering import Steering
from backprop_cli.engine.training import EpochResult, LayerFigures, Progress, train
from backprop_cli.engine.training_state import StopReason, TrainingState
from backprop_cli.errors import ConfigError, DataError
from backprop_cli.experiment.checkpoint import restore_states, save_checkpoint
from backprop_cli.experiment.class_weights import class_weights
from backprop_cli.experiment.data_checks import sentence
from backprop_cli.experiment.split_data import SplitData, size_text
from backprop_cli.experiment.start import Start
from backprop_cli.experiment.training_part import training_part
from backprop_cli.store.model_file import Model
from backprop_cli.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from backprop_cli.insight.diagnosis import Finding

MAX_PARAMS = 50_000_000
MAX_POINTS = 1 << 30  # bytes that warps look up, made once for all epochs
CHECKPOINT_SECONDS = 1.0
RATES_SET = "learning_rates_set"  # in rows of the metrics: by hand, after how many steps of the epoch
N_LAID = 2000  # rows that tell how all of them lie


def _chosen_warps(config: Config, dataset: Dataset, train_rows: Rows) -> Warps | None:
    """Return the warps of each epoch, their interpolation chosen by what the pictures allow.

    Raises:
        DataError: `interpolation: bitmap` for pictures that are not counts, or that need too much memory.
    """
    warps = config.data.augment
    if not isinstance(warps, Warps) or warps.interpolation == "bilinear":
        return warps if isinstance(warps, Warps) else None
    height, width = dataset.picture_size
    n_bytes = len(train_rows) * (4 * height + 5) * (4 * width + 5)
    is_auto = warps.interpolation == "auto"
    if n_bytes > MAX_POINTS:
        if is_auto:
            return replace(warps, interpolation="bilinear")
        raise DataError(
            f"data.augment.interpolation: bitmap takes {n_bytes / 1e6:,.1f} MB for {len(train_rows):,} pictures "
            f"of {size_text(dataset)}, more than {MAX_POINTS / 1e6:,.1f} MB; use bilinear"
        )
    are_fit = are_counts(dataset.pictures, np.arange(len(dataset)))  # all: any of them may be shown, warped
    if not are_fit and not is_auto:
        raise DataError(
            f"data.augment.interpolation: bitmap needs whole numbers from 0 to 16, unlike {dataset.name}; "
            f"set data.picture (such as {size_text(dataset)}), or use bilinear"
        )
    return replace(warps, interpolation="bitmap" if are_fit else "bilinear")


def _layout_of(dataset: Dataset, train_rows: Rows, max_value: float) -> Layout:
    """Return how the rows that are trained on lie."""
    rows = train_rows[spread(len(train_rows), N_LAID)]
    try:
        return Layout.of(np.divide(dataset.pictures[rows], max_value, dtype=np.float32))
    except ValueError as error:
        raise DataError(f"{dataset.name}: {error}; nothing can be learned from them") from error


class Experiment:
    """A config brought to life: data, scaling, networks, and the state of their training.

    Args:
        config: All settings.
        split_data: Its data, if already loaded (cross-validation cuts its own splits).
        start: The model whose weights it goes on from; None: it begins with random ones.

    Attributes:
        networks: One for each member of the ensemble; after training each stands at its best epoch.
        states: Where the training of each stands.
        member: Which one is in training.
        warps: Of each epoch, as the data allow them; None without.
        class_weights: What a row of each class counts for, (n_classes,); None: every row the same.
        steering: What may be changed while it trains.
        stop_reason: Why training ended; None while it has not.
    """

    def __init__(self, config: Config, split_data: SplitData | None = None, start: Start | None = None) -> None:
        self.config, self.start = config, start
        self.split_data = split_data or SplitData.load(config)
        dataset, splits = self.split_data.dataset, self.split_data.splits
        self.n_inputs = math.prod(dataset.picture_size)
        self.n_params = count_params(config.network.layers, self.n_inputs, len(dataset.classes)) * config.ensemble
        if self.n_params > MAX_PARAMS:
            raise ConfigError(f"network.layers: {self.n_params:,} parameters are more than {MAX_PARAMS:,}")
        if start is not None:
            start.check(config, dataset)
        self.warps = _chosen_warps(config, dataset, splits.train)
        max_value = config.data.max_value or dataset.max_value or largest(dataset.pictures, splits.train) or 1.0
        self.scaling, self.layout = self._form(max_value)
        setting = config.training.class_weight
        self.class_weights = None if setting is None else class_weights(setting, dataset, splits.train)
        self.networks: list[Network] = []
        self.states: list[TrainingState] = []
        for member in range(config.ensemble):
            rngs = self._generators(member)
            network = Network(
                config.network.layers,
                self.n_inputs,
                len(dataset.classes),
                rng=rngs.pop("init"),
                initializer=config.network.initializer,
            )
            if start is not None:
                network.params[...] = start.model.members[member]
            self.networks.append(network)
            self.states.append(TrainingState.start(network, config.optimizer, rngs))
        self.member = 0
        self.steering = Steering(config.optimizer.learning_rate)
        self.seconds = 0.0
        self.n_rows_written = 0
        self._saved: list[int] = []

    def _form(self, max_value: float) -> tuple[Scaling, Layout | None]:
        """Return how pictures become inputs, and how their ink lies: as these data have it, or as the start has."""
        dataset, rows, start = self.split_data.dataset, self.split_data.splits.train, self.start
        layout = None if start is None else start.layout
        if dataset.is_raw and layout is None:
            layout = _layout_of(dataset, rows, max_value)
        if start is not None:
            return start.scaling(max_value), layout
        return Scaling.fit(self.config.data.scaling, dataset.pictures, max_value, rows), layout

    def _generators(self, member: int) -> dict[str, np.random.Generator]:
        """Return independent generators for each use: switching dropout on does not change the order of the rows."""
        seeds = np.random.SeedSequence([self.config.seed, member]).spawn(4)
        names = ("init", "shuffle", "dropout", "augment")
        return {name: np.random.Generator(np.random.PCG64(seed)) for name, seed in zip(names, seeds, strict=True)}

    def row_weights(self, labels: Labels) -> Array | None:
        """Return the weight of each row by its label, (n,); None where all count the same."""
        return None if self.class_weights is None else self.class_weights[labels]

    @property
    def stop_reason(self) -> StopReason | None:
        """Why training ended; None while it has not."""
        reasons = [state.stop_reason for state in self.states]
        return "diverged" if "diverged" in reasons else None if None in reasons else reasons[-1]

    @property
    def about(self) -> str:
        """What the data were understood as, and what was chosen by them, in one line."""
        return sentence(self.split_data.dataset, self.config.data, self.warps)

    @property
    def has_model(self) -> bool:
        """Whether at least one epoch was finished."""
        return self.states[0].epoch > 0

    # ---- training --------------------------------------------------------------------------------------------------

    def train(self, directory: RunDirectory | None = None) -> Generator[Progress | EpochResult]:
        """Train every network in turn; yield what happens.

        However the consumer leaves (wrap this in `contextlib.closing`), the run directory holds a checkpoint of the
        last finished epoch and the model of the best one.

        Raises:
            ConfigError: `training.kernel` is not the one that NumPy was imported with.
            OSError: The run directory cannot be written.
        """
        if self.config.training.kernel == "portable":
            require_portable()
        return in_blas_threads(self._train(directory), self.config.training.threads)

    def _train(self, directory: RunDirectory | None) -> Generator[Progress | EpochResult]:
        started, self._saved = time.perf_counter(), [state.epoch for state in self.states]
        last_checkpoint = started
        try:
            for member in range(self.config.ensemble):
                self.member = member
                with closing(self._train_member()) as events:
                    for event in events:
                        if directory and isinstance(event, EpochResult) and event.stop_reason != "diverged":
                            directory.append_metrics(self.metrics_row(event))
                            self.n_rows_written += 1
                            if time.perf_counter() - last_checkpoint > CHECKPOINT_SECONDS:
                                self._save_checkpoint(directory)
                                last_checkpoint = time.perf_counter()
                        self.seconds = time.perf_counter() - started
                        yield event
                if self.states[self.member].stop_reason == "diverged":
                    return
        except OSError:  # the disk refused: what it holds is whole, and asking again would not help
            directory = None
            raise
        finally:
            if directory is not None:
                self._save_checkpoint(directory)
                if self.has_model and self.stop_reason != "diverged":
                    directory.save_model(self.model())

    def _train_member(self) -> Generator[Progress | EpochResult]:
        config, state = self.config, self.states[self.member]
        dataset, splits = self.split_data.dataset, self.split_data.splits
        tick = Progress(state.epoch + 1, config.training.epochs, 0.0, math.nan)
        part = yield from training_part(config, self.split_data, self.member, tick)
        settings = config.data.augment
        batches = ChunkLoader(
            part.pictures,
            part.labels,
            part.rows,
            self.scaling,
            config.training.batch_size,
            shuffle=state.rngs["shuffle"],
            warps=self.warps,
            warps_rng=state.rngs["augment"],
            noise=settings.noise if isinstance(settings, Copies) else 0.0,
            mixture=part.mixture,
            weights=self.row_weights(part.labels),
        )
        validation = None
        if len(splits.val):
            size = min(1024, len(splits.val))
            weights = self.row_weights(dataset.labels)
            validation = ChunkLoader(dataset.pictures, dataset.labels, splits.val, self.scaling, size, weights=weights)
        network = self.networks[self.member]
        yield from train(
            network,
            config.loss,
            config.optimizer,
            config.schedule,
            batches,
            validation,
            config.training,
            state=state,
            steering=self.steering,
        )

    def metrics_row(self, event: EpochResult) -> dict[str, object]:
        """Return what is recorded of an epoch: plain JSON data; by layer to four digits."""
        row: dict[str, object] = {"epoch": event.epoch}
        if self.config.ensemble > 1:
            row["member"] = self.member
        if event.rates_set:
            row[RATES_SET] = [list(change) for change in event.rates_set]
        return row | {
            "loss": event.train_loss,
            "val_loss": event.val_loss,
            "val_accuracy": event.val_accuracy,
            "learning_rate": event.learning_rate,
            "grad_norm": event.grad_norm,
            "seconds": round(event.seconds, 6),
            "stop_reason": event.stop_reason,
            "layers": {
                figure.name: [float(f"{getattr(layer, figure.name):.4g}") for layer in event.layers]
                for figure in fields(LayerFigures)
            },
        }

    # ---- saving and going on ---------------------------------------------------------------------------------------

    def _save_checkpoint(self, directory: RunDirectory) -> None:
        """Write where every network stands, unless that is what was last written."""
        epochs = [state.epoch for state in self.states]
        if epochs != self._saved:
            save_checkpoint(directory, self.config, self.states, self.n_rows_written)
            self._saved = epochs

    def restore(self, directory: RunDirectory) -> None:
        """Go back to where a run directory's checkpoint stands; without one, to the start.

        Raises:
            ModelFileError: The checkpoint is damaged or of another config.
        """
        n_begun, self.n_rows_written = restore_states(directory, self.config, self.states)
        for network, state in zip(self.networks[:n_begun], self.states, strict=False):
            network.params[...] = state.best_params
        self.raise_epochs(self.config.training.epochs)
        directory.cut_metrics(self.n_rows_written)

    def raise_epochs(self, epochs: int) -> None:
        """Let training go on to a new total, also where it has come to the end of the old one."""
        self.config = replace(self.config, training=replace(self.config.training, epochs=epochs))
        for state in self.states:
            if state.stop_reason == "completed" and state.epoch < epochs:
                state.stop_reason = None

    # ---- what came of it -------------------------------------------------------------------------------------------

    def model(self) -> Model:
        """Return the model: every network that finished an epoch, at its best one."""
        dataset = self.split_data.dataset
        members = tuple(state.best_params.copy() for state in self.states if state.epoch)
        return Model(
            n_inputs=self.n_inputs,
            layers=tuple(asdict(spec) for spec in self.config.network.layers),
            classes=dataset.classes,
            members=members,
            loss=asdict(self.config.loss),
            preprocessing={
                "picture": list(dataset.picture_size),
                "max_value": float(self.scaling.max_value),
                "scale": float(self.scaling.scale),
                "slant": dataset.slant,
                **({} if self.layout is None else {"layout": self.layout.to_dict()}),
            },
            mean=self.scaling.mean,
            config=self.config.to_dict(),
            summary=self.summary(),
            temperature=self._temperature(len(members)),
        )

    @property
    def parameters_sha256(self) -> str:
        """The SHA-256 of the trained parameters, network after network as float32, the lowest byte first."""
        digest = hashlib.sha256()
        for state in self.states:
            if state.epoch:
                digest.update(state.best_params.astype("<f4").tobytes())
        return digest.hexdigest()

    def findings(self, rows: Sequence[Mapping[str, Any]]) -> list[Finding]:
        """Return what went wrong in training; see `findings_of`."""
        from backprop_cli.experiment.findings import findings_of

        return findings_of(self.config, self.split_data, rows, diverged=self.stop_reason == "diverged")

    def summary(self) -> dict[str, Any]:
        """Return the figures of the best epoch (of an ensemble: of the mean answer, and the best member's epoch)."""
        states = [state for state in self.states if state.epoch] or self.states[:1]
        best = min(states, key=lambda state: state.best_val_loss)
        has_val = best.best_val_accuracy is not None
        val_loss, val_accuracy = best.best_val_loss if has_val else None, best.best_val_accuracy
        if has_val and len(states) > 1:
            from backprop_cli.insight.metrics import log_loss

            labels = self.split_data.dataset.labels[self.split_data.splits.val]
            logits = self._validation_logits(len(states))
            probabilities = np.mean([self.config.loss.probabilities(z) for z in logits], axis=0)
            val_loss = log_loss(probabilities, labels, self.row_weights(labels))
            val_accuracy = float((probabilities.argmax(axis=1) == labels).mean())
        return {
            "epochs": sum(state.epoch for state in states) // len(states),
            "best_epoch": best.best_epoch,
            "n_parameters": self.n_params,
            "train_loss": float(np.mean([state.best_train_loss for state in states])) if self.has_model else None,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "version": __version__,
            **({} if self.start is None else self.start.summary),
        }

    def _validation_logits(self, n_members: int) -> list[NDArray[Any]]:
        inputs = self.scaling.apply(self.split_data.dataset.pictures[self.split_data.splits.val])
        logits = []
        for network, state in zip(self.networks[:n_members], self.states, strict=False):
            kept = network.params.copy()
            network.params[...] = state.best_params
            with blas_threads(self.config.training.threads):
                logits.append(network.logits(inputs))
            network.params[...] = kept
        return logits

    def _temperature(self, n_members: int) -> float:
        if self.config.calibration is None:
            return 1.0
        if self.config.calibration.temperature is not None:
            return self.config.calibration.temperature
        from backprop_cli.insight.metrics import fit_temperature

        labels = self.split_data.dataset.labels[self.split_data.splits.val]
        return fit_temperature(self._validation_logits(n_members), labels, self.config.loss.probabilities)
