"""A config or a run that was stopped -> a trained model: at once, or event by event."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from backprop_cli.api.arguments import Reference, as_config, directory_of, named, whole_number
from backprop_cli.api.models import Model
from backprop_cli.api.words import percent
from backprop_cli.blas import require_portable
from backprop_cli.config.config import Config, Overrides, read_config
from backprop_cli.data.readers.shared import ProgressCallback
from backprop_cli.engine.training import EpochResult, Progress
from backprop_cli.errors import DivergenceError, ModelFileError
from backprop_cli.experiment.environment import environment
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.hardest_digit import HardestDigit
from backprop_cli.experiment.resume import open_run
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.files import clean
from backprop_cli.insight.diagnosis import Finding
from backprop_cli.predictor import Predictor
from backprop_cli.store.run_directory import RunDirectory
from backprop_cli.store.runs import find_run, write_latest

__all__ = ["EpochResult", "Finding", "HardestDigit", "Plan", "Progress", "Run", "Training"]


MAX_EPOCHS = 1_000_000


# ---- what comes of it ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """What came of a training.

    Attributes:
        path: The run's directory; None where nothing was written.
        config: All settings.
        history: The epochs that were trained now, of every network in turn.
        summary: Of the best epoch: epochs, best_epoch, n_parameters, train_loss, val_loss, val_accuracy.
        stop_reason: `completed`, `early_stopping`, `interrupted` or `diverged`.
        seconds: That the training took.
        n_val: Rows of the validation part.
        n_test: Rows of the test part.
        parameters_sha256: Of the trained parameters; None without a model.
        findings: What went wrong, the causes of others first; of an interrupted training nothing is said.
        latest_problem: Why `runs/latest` does not name this run, though it has a model; None where it does.
        warnings: What else is to be known, in words.
    """

    path: Path | None
    config: Config
    history: tuple[EpochResult, ...]
    summary: Mapping[str, Any]
    stop_reason: str
    seconds: float
    n_val: int
    n_test: int
    parameters_sha256: str | None
    findings: tuple[Finding, ...]
    latest_problem: str | None
    warnings: tuple[str, ...]
    _experiment: Experiment

    def __repr__(self) -> str:
        accuracy = self.summary["val_accuracy"]
        figures = "no validation" if accuracy is None else f"validation accuracy {percent(accuracy)} of {self.n_val:,}"
        epochs = f"best epoch {self.summary['best_epoch']} of {self.summary['epochs']}"
        return f"<Run {clean(self.path or self.config.name)}: {self.stop_reason}, {epochs}, {figures}>"

    @property
    def has_model(self) -> bool:
        """Whether an epoch was finished, and training stayed finite."""
        return self.parameters_sha256 is not None

    @cached_property
    def model(self) -> Model:
        """The model of the best epoch.

        Raises:
            ModelFileError: There is none.
        """
        if not self.has_model:
            reason = self.divergence or "no epoch was finished"
            raise ModelFileError(f"{clean(self.path or self.config.name)}: {reason}")
        path = self._model_path
        return Model(Predictor(self._experiment.model(), str(path or self.config.name)), path)

    @property
    def _model_path(self) -> Path | None:
        return None if self.path is None else RunDirectory(self.path, None, is_new=False).model_path

    @property
    def divergence(self) -> str | None:
        """What to say where training left the finite numbers; None where it did not."""
        if self.stop_reason != "diverged":
            return None
        epoch, rate = self._experiment.states[self._experiment.member].epoch + 1, self.config.optimizer.learning_rate
        return (
            f"training diverged in epoch {epoch} (loss is not finite); lower optimizer.learning_rate, which is {rate:g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of `train`."""
        keys = ("epochs", "best_epoch", "n_parameters", "train_loss", "val_loss", "val_accuracy")
        return {
            "schema": "backprop.train/1",
            "run": None if self.path is None else str(self.path),
            "model": str(self._model_path) if self._model_path and self.has_model else None,
            **{key: self.summary[key] for key in keys},
            "seconds": round(self.seconds, 3),
            "stop_reason": self.stop_reason,
            "parameters_sha256": self.parameters_sha256,
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True)
class LayerPlan:
    """One layer of a network that is not trained yet."""

    units: int
    activation: str
    dropout: float
    n_parameters: int


@dataclass(frozen=True, repr=False)
class Plan:
    """What a config comes to, before anything is trained or written.

    Attributes:
        n_inputs: Numbers that enter a network.
        layers: Of one network; the output layer is the last.
        n_parameters: Of all networks.
        n_networks: How many there are.
        n_train: Rows to train on.
        n_val: Rows to choose by.
        n_test: Rows to look at once.
        warnings: What is to be known of the data, in words.
    """

    n_inputs: int
    layers: tuple[LayerPlan, ...]
    n_parameters: int
    n_networks: int
    n_train: int
    n_val: int
    n_test: int
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        sizes = "-".join(map(str, [self.n_inputs, *(layer.units for layer in self.layers)]))
        return f"<Plan {sizes}, {self.n_parameters:,} parameters; {self.n_train:,} rows to train on>"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of a dry run."""
        return {
            "schema": "backprop.dry_run/1",
            "n_inputs": self.n_inputs,
            "layers": [asdict(layer) for layer in self.layers],
            "n_parameters": self.n_parameters,
            "train": self.n_train,
            "validation": self.n_val,
            "test": self.n_test,
        }


# ---- while it goes on ----------------------------------------------------------------------------------------------


class Events(Iterator[Progress | EpochResult]):
    """A training under way, event by event. `close` it, or use it in `with`, however you leave.

    Attributes:
        history: The epochs so far.
    """

    def __init__(self, experiment: Experiment, events: Generator[Progress | EpochResult]) -> None:
        self._experiment, self._events = experiment, events
        self._is_to_end = False
        self.history: list[EpochResult] = []

    def __next__(self) -> Progress | EpochResult:
        if self._is_to_end:
            self.close()
        event = next(self._events)
        if isinstance(event, EpochResult):
            self.history.append(event)
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End it where it stands; called while another thread trains, it ends before its next event."""
        self._end()

    def _end(self) -> bool:
        """Return whether it has ended; if not, it will."""
        try:
            self._events.close()
        except ValueError:
            if inspect.getgeneratorstate(self._events) != inspect.GEN_RUNNING:
                raise
            self._is_to_end = True
            return False
        return True

    @property
    def config(self) -> Config:
        """All settings."""
        return self._experiment.config

    @property
    def member(self) -> int:
        """Which network of an ensemble is in training, from 0."""
        return self._experiment.member

    def hardest_digit(self) -> HardestDigit:
        """Return the digit that the network in training finds hardest now, to be watched from now on."""
        return HardestDigit(self._experiment)


class Training(Events):
    """A training under way; when it has ended, or was closed, `run` tells what came of it.

    However it ends, the run's directory then holds a checkpoint of the last finished epoch and the best model.

    Attributes:
        path: The run's directory; None where nothing is written.
        warnings: What is to be known, in words.
    """

    def __init__(self, experiment: Experiment, directory: RunDirectory | None, warnings: list[str]) -> None:
        super().__init__(experiment, experiment.train(directory))
        self._directory, self._is_open, self._has_failed = directory, True, False
        self._rows: list[dict[str, object]] = []
        self._latest_problem: str | None = None
        self.path = None if directory is None else directory.path
        self.warnings = [*_skipped(experiment.split_data), *warnings]

    def __next__(self) -> Progress | EpochResult:
        try:
            event = super().__next__()
        except StopIteration:
            raise
        except Exception:
            self._has_failed = True
            raise
        if self._directory is None and isinstance(event, EpochResult) and event.stop_reason != "diverged":
            self._rows.append(self._experiment.metrics_row(event))
        return event

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    def close(self) -> None:
        """End it where it stands, and leave the directory to others.

        Called while another thread trains, it ends before its next event.
        """
        directory = self._directory
        if not self._is_open:
            return
        try:
            if not self._end():
                return
            if directory is not None:
                self._rows = directory.read_metrics()
                if self.has_model and not self._has_failed and directory.model_path.is_file():
                    self._note_latest(directory)
        except BaseException:
            self._let_go()
            raise
        self._let_go()

    def _let_go(self) -> None:
        self._is_open = False
        if self._directory is not None:
            self._directory.close()

    def _note_latest(self, directory: RunDirectory) -> None:
        try:
            write_latest(directory.path)
        except OSError as problem:
            self._latest_problem = f"{problem.filename}: {problem.strerror}"

    @property
    def has_model(self) -> bool:
        """Whether an epoch was finished, and training stayed finite so far."""
        return self._experiment.has_model and self._experiment.stop_reason != "diverged"

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self._experiment.stop_reason is not None

    @property
    def epoch(self) -> int:
        """The last finished epoch of the network in training."""
        states = self._experiment.states
        return next((state for state in states if state.stop_reason is None), states[-1]).epoch

    def run(self) -> Run:
        """Close it, and return what came of it."""
        self.close()
        experiment, splits = self._experiment, self._experiment.split_data.splits
        return Run(
            path=self.path,
            config=experiment.config,
            history=tuple(self.history),
            summary=experiment.summary(),
            stop_reason=experiment.stop_reason or "interrupted",
            seconds=experiment.seconds,
            n_val=len(splits.val),
            n_test=len(splits.test),
            parameters_sha256=experiment.parameters_sha256 if self.has_model else None,
            findings=tuple(experiment.findings(self._rows)) if self.is_finished else (),
            latest_problem=self._latest_problem,
            warnings=tuple(self.warnings),
            _experiment=experiment,
        )


def plan(config: Config, *, progress: ProgressCallback = None) -> Plan:
    """Check a config and its data, and return what they come to; nothing is written.

    Args:
        config: All settings.
        progress: Is told how many picture files of how many have been read.

    Raises:
        ConfigError: The network is too large.
        DataError: The data is not there, or not what it should be.
    """
    experiment = Experiment(config, SplitData.load(config, progress))
    splits = experiment.split_data.splits
    return Plan(
        n_inputs=experiment.n_inputs,
        layers=tuple(
            LayerPlan(
                units=layer.fan_out,
                activation=config.loss.output if layer.is_output else layer.activation,
                dropout=layer.dropout,
                n_parameters=layer.table.size,
            )
            for layer in experiment.networks[0].layers
        ),
        n_parameters=experiment.n_params,
        n_networks=config.ensemble,
        n_train=len(splits.train),
        n_val=len(splits.val),
        n_test=len(splits.test),
        warnings=tuple(_skipped(experiment.split_data)),
    )


def training(
    config: Config | Reference | Mapping[str, Any] = "digits",
    *,
    run_dir: Reference | Literal[False] | None = None,
    progress: ProgressCallback = None,
) -> Training:
    """Begin to train, and return the events.

    Args:
        config: All settings, or what `load_config` takes for them.
        run_dir: Where to write, a new or empty directory; None: `runs/NAME-N`; False: nothing is written.
        progress: Is told how many picture files of how many have been read.

    Raises:
        ConfigError: The network is too large, or `training.kernel` is not the one that NumPy was imported with.
        DataError: The data is not there, or not what it should be.
        RunDirectoryError: The directory is in use or used; it is left as it was.
        OSError: It cannot be written.
    """
    config = as_config(config)
    if config.training.kernel == "portable":
        require_portable()
    experiment = Experiment(config, SplitData.load(config, progress))
    if run_dir is False:
        return Training(experiment, None, [])
    directory = RunDirectory.create(config.name, None if run_dir is None else directory_of(run_dir))
    try:
        directory.write_config(config.to_yaml())
        directory.write_environment(environment(experiment.split_data.dataset, config.training))
        return Training(experiment, directory, [])
    except BaseException:
        directory.close()
        raise


def resuming(
    run: Reference | None = None,
    *,
    epochs: int | None = None,
    config: Config | None = None,
    overrides: Overrides = (),
    option: str = "",
    progress: ProgressCallback = None,
) -> Training:
    """Begin to go on with a run from its last checkpoint, in its own directory, and return the events.

    Args:
        run: A run's directory, its name under `runs/`, or `latest`, which None means too.
        epochs: In all, where more than the run's.
        config: Must be the run's own, but for `training.epochs`.
        overrides: Changes to the run's own, which must change nothing but `training.epochs`; see `load_config`.
        option: Stands before each override in messages.
        progress: Is told how many picture files of how many have been read.

    Raises:
        ConfigError: Settings differ, all of them are named; or epochs are lowered.
        DataError: The data is not there, or not what it should be.
        ModelFileError: The checkpoint is damaged.
        RunDirectoryError: There is no such run, or another training is running in it.
    """
    if epochs is not None:
        epochs = whole_number("epochs", epochs, 1, MAX_EPOCHS)
    directory = RunDirectory.open(find_run(named(run)))
    try:
        wanted = config
        if config is None and overrides:
            where = str(directory.path / "config.yaml")
            wanted = read_config(directory.read_config(), saved=True, where=where, overrides=overrides, option=option)
        experiment = open_run(directory, wanted, epochs=epochs, progress=progress)
        return Training(experiment, directory, _changed_environment(directory, experiment))
    except BaseException:
        directory.close()
        raise


def _changed_environment(directory: RunDirectory, experiment: Experiment) -> list[str]:
    """Return a warning where what the last bits hang on is not as it was; write it down where that was not done yet."""
    now = environment(experiment.split_data.dataset, experiment.config.training)
    then = directory.read_environment()
    if not then:  # killed before it was written
        directory.write_environment(now)
        return []
    changed = [name for name in now if name in then and now[name] != then[name]]
    return [f"{', '.join(changed)}: not as when the run began; the last bits may differ"] if changed else []


def _skipped(split_data: SplitData) -> Iterator[str]:
    """Say how many bad rows `data.skip_bad` left out."""
    for dataset in {id(found): found for found in (split_data.dataset, split_data.test_dataset)}.values():
        if dataset.n_skipped:
            yield f"{dataset.name}: {dataset.n_skipped:,} bad row{'s' * (dataset.n_skipped > 1)} left out"


def config_of_run(run: Reference | None = None) -> Config:
    """Return the config that a run was begun with.

    Raises:
        RunDirectoryError: There is no such run.
        ConfigError: Its config is damaged.
    """
    directory = RunDirectory(find_run(named(run)), None, is_new=False)  # no lock: only read
    return read_config(directory.read_config(), saved=True, where=str(directory.path / "config.yaml"))


def train(
    config: Config | Reference | Mapping[str, Any] = "digits", *, run_dir: Reference | Literal[False] | None = None
) -> Run:
    """Train to the end, and return what came of it.

    Args:
        config: All settings, or what `load_config` takes for them: a bundled name, a file, a mapping.
        run_dir: Where to write, a new or empty directory; None: `runs/NAME-N`; False: nothing is written.

    Raises:
        ConfigError: The config holds mistakes, its network is too large, or `training.kernel` is not the one that
            NumPy was imported with.
        DataError: The data is not there, or not what it should be.
        DivergenceError: Training left the finite numbers.
        RunDirectoryError: The directory is in use or used; it is left as it was.
        OSError: It cannot be written.
    """
    return _to_the_end(training(config, run_dir=run_dir))


def resume(run: Reference | None = None, *, epochs: int | None = None) -> Run:
    """Go on with a run from its last checkpoint to its end, in its own directory, and return what came of it.

    Args:
        run: A run's directory, its name under `runs/`, or `latest`, which None means too.
        epochs: In all, where more than the run's.

    Raises:
        ConfigError: The epochs are lowered.
        DataError: The data is not there, or not what it should be.
        DivergenceError: Training left the finite numbers.
        ModelFileError: The checkpoint is damaged.
        RunDirectoryError: There is no such run, or another training is running in it.
    """
    return _to_the_end(resuming(run, epochs=epochs))


def _to_the_end(events: Training) -> Run:
    with events:
        for _ in events:
            pass
    run = events.run()
    if run.divergence is not None:
        raise DivergenceError(f"{run.divergence}: set {run.findings[0].change}")
    return run
