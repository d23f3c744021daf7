"""The one place that turns a config into live objects and a run directory."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli import __version__
from backprop_cli.blas import (
    blas_kernel,
    blas_threads,
    cpu_features,
    in_blas_threads,
    n_blas_threads,
    require_portable,
)
from backprop_cli.config import Config, read_config
from backprop_cli.data.dataset import Batches, Dataset, Rows, Scaling, are_counts, largest
from backprop_cli.data.sources import load_data, load_test_data, split_dataset
from backprop_cli.data.splits import Splits
from backprop_cli.engine.network import Network, count_params
from backprop_cli.engine.training import EpochResult, LayerFigures, Progress, StopReason, TrainingState, train
from backprop_cli.errors import ConfigError, DataError, ModelFileError
from backprop_cli.store.model_file import Model
from backprop_cli.store.run_directory import CHECKPOINT_WAY_OUT, RunDirectory

if TYPE_CHECKING:
    from backprop_cli.insight.diagnosis import Finding

MAX_PARAMS = 50_000_000
MAX_POINTS = 1 << 30  # bytes that warps look up, made once for all epochs
CHECKPOINT_SECONDS = 1.0
WATCHED_AMONG = 1000  # rows


@dataclass(frozen=True)
class Material:
    """What a config's data section comes to.

    Attributes:
        dataset: Training and validation, and the test part where it is split off.
        test_dataset: Where the test rows are; `dataset` itself without a test source.
        splits: Row numbers; those of `test` belong to `test_dataset`.
    """

    dataset: Dataset
    test_dataset: Dataset
    splits: Splits

    def part(self, name: str) -> tuple[Dataset, Rows]:
        """Return the data set and the rows of `train`, `validation` or `test`."""
        rows = {"train": self.splits.train, "validation": self.splits.val, "test": self.splits.test}[name]
        return (self.test_dataset if name == "test" else self.dataset), rows


def load_material(config: Config, progress: Callable[[int, int], None] | None = None) -> Material:
    """Read the data that a config names, and split it.

    Args:
        config: All settings.
        progress: Is told how many picture files of how many have been read.

    Raises:
        DataError: It is not there, or not what it should be.
    """
    dataset = load_data(config.data, progress)
    splits = split_dataset(dataset, config.data)
    if config.data.test_source is None:
        return Material(dataset, dataset, splits)
    test_dataset = load_test_data(config.data, dataset, progress)
    if test_dataset.picture_size != dataset.picture_size or test_dataset.classes != dataset.classes:
        raise DataError(
            f"data.test_source: {config.data.test_source}: pictures of {_by(test_dataset)} and the classes "
            f"{', '.join(test_dataset.classes)} do not go with {_by(dataset)} and {', '.join(dataset.classes)}"
        )
    return Material(dataset, test_dataset, replace(splits, test=np.arange(len(test_dataset))))


def count_trained_on(material: Material, pictures: NDArray[Any]) -> int:
    """Return how many of these pictures, (n, height, width), are pixel for pixel among those trained on."""
    dataset, train_rows = material.part("train")
    wanted = [picture.tobytes() for picture in np.asarray(pictures, np.float32)]
    sought = set(wanted)
    found: set[bytes] = set()
    for start in range(0, len(train_rows), 4096):
        chunk = np.asarray(dataset.pictures[train_rows[start : start + 4096]], np.float32)
        found.update(sought.intersection(picture.tobytes() for picture in chunk))
    return sum(picture in found for picture in wanted)


def _check_interpolation(config: Config, dataset: Dataset, train_rows: Rows) -> None:
    """Refuse `interpolation: bitmap` for pictures that are no counts, or that it takes too much memory for."""
    augment = config.data.augment
    if augment is None or augment.interpolation == "bilinear":
        return
    height, width = dataset.picture_size
    n_bytes = len(train_rows) * (4 * height + 5) * (4 * width + 5)
    if n_bytes > MAX_POINTS:
        raise DataError(
            f"data.augment.interpolation: bitmap takes {n_bytes / 1e6:,.1f} MB for {len(train_rows):,} pictures "
            f"of {_by(dataset)}, more than {MAX_POINTS / 1e6:,.1f} MB; use bilinear"
        )
    if not are_counts(dataset.pictures, np.arange(len(dataset))):  # all: `data show --augmented` warps any of them
        raise DataError(
            f"data.augment.interpolation: bitmap needs whole numbers from 0 to 16, unlike {dataset.name}; "
            f"set data.picture (such as {_by(dataset)}), or use bilinear"
        )


def _by(dataset: Dataset) -> str:
    return "{}x{}".format(*dataset.picture_size)


class Watched:
    """One digit, and what the network in training makes of it: the validation digit that it finds hardest now.

    Without a validation part it is one of the training digits. Asking changes nothing in the training.

    Args:
        experiment: In training.

    Attributes:
        name: Such as `digits:1203`.
        picture: Its ink from 0 to 1, (height, width).
        label: What it is.
    """

    def __init__(self, experiment: Experiment) -> None:
        dataset, splits = experiment.material.dataset, experiment.material.splits
        rows = (splits.val if len(splits.val) else splits.train)[:WATCHED_AMONG]
        self._experiment = experiment
        truth = self._probabilities(rows)[np.arange(len(rows)), dataset.labels[rows]]
        row = int(rows[np.nan_to_num(truth).argmin()])
        self._row = np.array([row])
        self.name, self.label = f"{dataset.name}:{row}", dataset.classes[dataset.labels[row]]
        self.picture = np.clip(dataset.pictures[row] / experiment.scaling.max_value, 0.0, 1.0)

    def _probabilities(self, rows: Rows) -> NDArray[Any]:
        experiment = self._experiment
        with np.errstate(all="ignore"), blas_threads(experiment.config.training.threads):
            inputs = experiment.scaling.apply(experiment.material.dataset.pictures[rows])
            return experiment.config.loss.probabilities(experiment.networks[experiment.member].logits(inputs))

    def guess(self) -> tuple[str, float]:
        """Return the likeliest class and its probability."""
        probabilities = self._probabilities(self._row)[0]
        best = int(probabilities.argmax())
        return self._experiment.material.dataset.classes[best], float(np.nan_to_num(probabilities[best]))


class Experiment:
    """A config brought to life: data, scaling, networks, and the state of their training.

    Args:
        config: All settings.
        material: Its data, where they are at hand already (cross-validation cuts its own splits).

    Attributes:
        networks: One for each member of the ensemble; after training each stands at its best epoch.
        states: Where the training of each stands.
        member: Which one is in training.
        stop_reason: Why training ended; None while it has not.
    """

    def __init__(self, config: Config, material: Material | None = None) -> None:
        self.config = config
        self.material = material or load_material(config)
        dataset, splits = self.material.dataset, self.material.splits
        self.n_inputs = math.prod(dataset.picture_size)
        self.n_params = count_params(config.network.layers, self.n_inputs, len(dataset.classes)) * config.ensemble
        if self.n_params > MAX_PARAMS:
            raise ConfigError(f"network.layers: {self.n_params:,} parameters are more than {MAX_PARAMS:,}")
        _check_interpolation(config, dataset, splits.train)
        max_value = config.data.max_value or dataset.max_value or largest(dataset.pictures, splits.train) or 1.0
        self.scaling = Scaling.fit(config.data.scaling, dataset.pictures, max_value, splits.train)
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
            self.networks.append(network)
            self.states.append(TrainingState.start(network, config.optimizer, rngs))
        self.member = 0
        self.seconds = 0.0
        self.n_rows_written = 0
        self._saved: list[int] = []

    def _generators(self, member: int) -> dict[str, np.random.Generator]:
        """Return independent generators for each use: switching dropout on does not change the order of the rows."""
        seeds = np.random.SeedSequence([self.config.seed, member]).spawn(4)
        names = ("init", "shuffle", "dropout", "augment")
        return {name: np.random.Generator(np.random.PCG64(seed)) for name, seed in zip(names, seeds, strict=True)}

    @property
    def stop_reason(self) -> StopReason | None:
        """Why training ended; None while it has not."""
        reasons = [state.stop_reason for state in self.states]
        return "diverged" if "diverged" in reasons else None if None in reasons else reasons[-1]

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
        dataset, splits = self.material.dataset, self.material.splits
        batch_size = config.training.batch_size
        batches = Batches(
            *self._training_part(),
            self.scaling,
            batch_size,
            shuffle=state.rngs["shuffle"],
            augment_settings=None if config.data.makes_copies else config.data.augment,
            augment_rng=state.rngs["augment"],
        )
        validation = None
        if len(splits.val):
            validation = Batches(dataset.pictures, dataset.labels, splits.val, self.scaling, min(1024, len(splits.val)))
        network = self.networks[self.member]
        return train(
            network,
            config.loss,
            config.optimizer,
            config.schedule,
            batches,
            validation,
            config.training,
            state=state,
        )

    def _training_part(self) -> tuple[NDArray[Any], NDArray[Any], Rows]:
        """Return pictures, labels, and the rows of them to train on: the digits, and where asked for their copies.

        The copies of each member have a generator of their own, which no checkpoint needs: they are the same each time.
        """
        dataset, rows, settings = self.material.dataset, self.material.splits.train, self.config.data.augment
        if settings is None or not self.config.data.makes_copies:
            return dataset.pictures, dataset.labels, rows
        from backprop_cli.data.copies import warped_copies

        rng = np.random.default_rng([self.config.seed, self.member, 1])
        pictures, labels = dataset.pictures[rows], dataset.labels[rows]
        copies = [warped_copies(pictures, settings, rng) for _ in range(settings.copies)]
        n_all = len(rows) * (settings.copies + 1)
        return np.concatenate([pictures, *copies]), np.tile(labels, settings.copies + 1), np.arange(n_all)

    def metrics_row(self, event: EpochResult) -> dict[str, object]:
        """Return what is recorded of an epoch: plain JSON data; by layer to four digits."""
        row: dict[str, object] = {"epoch": event.epoch}
        if self.config.ensemble > 1:
            row["member"] = self.member
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
        if epochs == self._saved:
            return
        started = [state for state in self.states if state.epoch]
        tensors = {
            f"members.{k}.{name}": array for k, state in enumerate(started) for name, array in state.arrays().items()
        }
        directory.save_checkpoint(
            tensors,
            {
                "config_digest": config_digest(self.config),
                "metrics_rows": self.n_rows_written,
                "members": [state.numbers() for state in started],
            },
        )
        self._saved = epochs

    def restore(self, directory: RunDirectory) -> None:
        """Go back to where a run directory's checkpoint stands; without one, to the start.

        Raises:
            ModelFileError: The checkpoint is damaged or of another config.
        """
        stored = directory.load_checkpoint()
        if stored is not None:
            tensors, content = stored
            try:
                self._restore_states(tensors, content)
            except (ValueError, TypeError, KeyError) as error:
                where = f"{directory.checkpoint_path}: does not fit this run"
                raise ModelFileError(f"{where}: {error}; {CHECKPOINT_WAY_OUT}") from error
        directory.cut_metrics(self.n_rows_written)

    def _restore_states(self, tensors: dict[str, NDArray[Any]], content: dict[str, Any]) -> None:
        members, n_rows = content["members"], content["metrics_rows"]
        if content["config_digest"] != config_digest(self.config):
            raise ValueError("it was written with another config")
        is_list = isinstance(members, list) and all(isinstance(numbers, dict) for numbers in members)
        if not is_list or len(members) > len(self.states) or type(n_rows) is not int or n_rows < 0:
            raise ValueError("members or metrics_rows are not what they should be")
        for k, numbers in enumerate(members):
            prefix = f"members.{k}."
            arrays = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
            state = self.states[k]
            state.restore(arrays, numbers)
            self.networks[k].params[...] = state.best_params
        self.raise_epochs(self.config.training.epochs)
        self.n_rows_written = n_rows

    def raise_epochs(self, epochs: int) -> None:
        """Let training go on to a new total, also where it has come to the end of the old one."""
        self.config = replace(self.config, training=replace(self.config.training, epochs=epochs))
        for state in self.states:
            if state.stop_reason == "completed" and state.epoch < epochs:
                state.stop_reason = None

    # ---- what came of it -------------------------------------------------------------------------------------------

    def model(self) -> Model:
        """Return the model: every network that finished an epoch, at its best one."""
        dataset = self.material.dataset
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
        return findings_of(self.config, self.material, rows, diverged=self.stop_reason == "diverged")

    def summary(self) -> dict[str, Any]:
        """Return the figures of the best epoch (of an ensemble: of the mean answer, and the best member's epoch)."""
        states = [state for state in self.states if state.epoch] or self.states[:1]
        best = min(states, key=lambda state: state.best_val_loss)
        has_val = best.best_val_accuracy is not None
        val_loss, val_accuracy = best.best_val_loss if has_val else None, best.best_val_accuracy
        if has_val and len(states) > 1:
            from backprop_cli.insight.metrics import log_loss

            labels = self.material.dataset.labels[self.material.splits.val]
            logits = self._validation_logits(len(states))
            probabilities = np.mean([self.config.loss.probabilities(z) for z in logits], axis=0)
            val_loss = log_loss(probabilities, labels)
            val_accuracy = float((probabilities.argmax(axis=1) == labels).mean())
        return {
            "epochs": sum(state.epoch for state in states) // len(states),
            "best_epoch": best.best_epoch,
            "n_parameters": self.n_params,
            "train_loss": float(np.mean([state.best_train_loss for state in states])) if self.has_model else None,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "version": __version__,
        }

    def _validation_logits(self, n_members: int) -> list[NDArray[Any]]:
        inputs = self.scaling.apply(self.material.dataset.pictures[self.material.splits.val])
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
        from backprop_cli.insight.metrics import fit_temperature

        labels = self.material.dataset.labels[self.material.splits.val]
        return fit_temperature(self._validation_logits(n_members), labels, self.config.loss.probabilities)


def findings_of(
    config: Config, material: Material, rows: Sequence[Mapping[str, Any]], *, diverged: bool = False
) -> list[Finding]:
    """Return what went wrong in a training, the causes of others first; nothing for a healthy one.

    Args:
        config: The run's.
        material: Its data.
        rows: Its metrics.
        diverged: It left the finite numbers after these rows.
    """
    from backprop_cli.insight.diagnosis import Sizes, diagnose

    augment = config.data.augment
    n_copies = augment.copies if augment and config.data.makes_copies else 0
    sizes = Sizes(
        n_rows=len(material.dataset),
        n_train=len(material.splits.train) * (1 + n_copies),
        n_val=len(material.splits.val),
        n_classes=len(material.dataset.classes),
    )
    return diagnose(rows, config.to_dict(), sizes, diverged=diverged)


def open_run(
    directory: RunDirectory,
    overrides: dict[str, Any] | None = None,
    *,
    epochs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Experiment:
    """Return the experiment of a run directory, as its checkpoint left it.

    Args:
        directory: An opened run.
        overrides: What the user asked for, as a resolved config: it must be the run's own, but for the epochs.
        epochs: A new total.
        progress: Is told how many picture files of how many have been read.

    Raises:
        ConfigError: Settings differ; all of them are named.
        ModelFileError: The checkpoint is damaged.
    """
    path = directory.path / "config.yaml"
    config = read_config(directory.read_config(), where=str(path))
    if overrides is not None:
        epochs = overrides["training"]["epochs"] if epochs is None else epochs
        differing = sorted(differing_keys(config.to_dict(), overrides))
        differing = [key for key in differing if key not in ("training.epochs", "name")]
        if differing:
            raise ConfigError(f"{path}: a resumed run keeps its own settings; these differ: {', '.join(differing)}")
    if epochs is not None and epochs != config.training.epochs:
        if epochs < config.training.epochs:
            raise ConfigError(f"{path}: training.epochs: may be raised from {config.training.epochs}, not lowered")
        config = replace(config, training=replace(config.training, epochs=epochs))
    experiment = Experiment(config, load_material(config, progress))
    experiment.restore(directory)
    if directory.read_config() != config.to_yaml():
        directory.write_config(config.to_yaml())
    return experiment


def differing_keys(left: Any, right: Any, path: str = "") -> Iterator[str]:
    """Name the keys at which two resolved configs differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            yield from differing_keys(left.get(key), right.get(key), f"{path}.{key}" if path else key)
    elif left != right:
        yield path


def config_digest(config: Config) -> str:
    """Return a SHA-256 of every setting that a checkpoint must agree with: all but epochs, kernel and the name."""
    plain = config.to_dict()
    del plain["training"]["epochs"], plain["training"]["kernel"], plain["name"]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def environment(experiment: Experiment) -> dict[str, object]:
    """Return what the last bits of a result depend on: versions, BLAS, threads, processor, data."""
    dataset = experiment.material.dataset
    digest = hashlib.sha256()
    for array in (dataset.pictures, dataset.labels):
        digest.update(np.ascontiguousarray(array).data)
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    with blas_threads(experiment.config.training.threads):
        n_threads = n_blas_threads()
    return {
        "backprop": __version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "threads": n_threads,
        "blas_kernel": blas_kernel(),
        "cpu": processor_name(),
        "cpu_features": " ".join(cpu_features()),
        "data_sha256": digest.hexdigest(),
    }


def processor_name() -> str:
    """Return what the processor calls itself, where Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"
