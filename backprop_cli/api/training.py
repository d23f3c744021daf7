"""A config or a run that was stopped -> a trained model: at once, or event by event."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from backprop_cli import notebook
from backprop_cli.api.arguments import Reference, as_config, directory_of, named, whole_number
from backprop_cli.api.going_on import start_of
from backprop_cli.api.models import Model
from backprop_cli.api.run import Run
from backprop_cli.api.steering import Events, Steered, WatchedDigit
from backprop_cli.api.words import percent
from backprop_cli.blas import require_portable
from backprop_cli.config.config import Config, Overrides, read_config
from backprop_cli.data.readers.shared import ProgressCallback
from backprop_cli.engine.training import EpochResult, Progress
from backprop_cli.errors import DivergenceError
from backprop_cli.experiment.environment import environment
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.resume import open_run
from backprop_cli.experiment.run_data import data_record
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.store.run_directory import RunDirectory
from backprop_cli.store.runs import find_run, write_latest

__all__ = ["EpochResult", "Events", "Progress", "Training", "WatchedDigit"]


MAX_EPOCHS = 1_000_000


class Training(Steered):
    """A training under way; when it has ended, or was closed, `run` tells what came of it.

    However it ends, the run's directory then holds a checkpoint of the last finished epoch and the best model.

    Attributes:
        path: The run's directory; None where nothing is written.
        about: What the data were understood as, in one line.
        warnings: What is to be known, in words.
    """

    def __init__(self, experiment: Experiment, directory: RunDirectory | None, warnings: list[str]) -> None:
        super().__init__(experiment, experiment.train(directory))
        self._directory, self._is_open, self._has_failed = directory, True, False
        self._rows: list[dict[str, object]] = []
        self._latest_problem: str | None = None
        self.path = None if directory is None else directory.path
        self.about = experiment.about
        self.warnings = [*experiment.split_data.warnings, *warnings]

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

    def _repr_html_(self) -> str:
        """Return how far it is, as a notebook shows it: a bar, to be shown again at every event."""
        if not self.history:
            return notebook.progress(0.0, self.about)
        last, n_networks = self.history[-1], self.config.ensemble
        said = f"network {self.member + 1} of {n_networks}, " if n_networks > 1 else ""
        said += f"epoch {last.epoch} of {last.n_epochs}, loss {last.train_loss:.4f}"
        if last.val_loss is not None and last.val_accuracy is not None:
            said += f", validation loss {last.val_loss:.4f}, accuracy {percent(last.val_accuracy)}"
        return notebook.progress((self.member + last.epoch / last.n_epochs) / n_networks, said)

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
    def environment(self) -> dict[str, object]:
        """What the run was begun with: versions, BLAS, threads, processor, data; empty where nothing is written."""
        found = {} if self._directory is None else self._directory.read_environment()
        return {name: value for name, value in found.items() if name != "data"}

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


def training(
    config: Config | Reference | Mapping[str, Any] | None = None,
    *,
    overrides: Overrides = (),
    init_from: Model | Reference | None = None,
    run_dir: Reference | Literal[False] | None = None,
    progress: ProgressCallback = None,
) -> Training:
    """Begin to train, and return the events.

    Args:
        config: All settings, or what `load_config` takes for them; None: `digits`, or the config to go on with.
        overrides: Changes to it; see `load_config` and `config_to_go_on`.
        init_from: The model to go on from: what `load` gives or takes; None: random weights.
        run_dir: Where to write, a new or empty directory; None: `runs/NAME-N`; False: nothing is written.
        progress: Is told how many picture files of how many have been read.

    Raises:
        ConfigError: The network is too large, `training.kernel` is not the one that NumPy was imported with, or the
            model to go on from has other layers, pictures or classes.
        DataError: The data is not there, or not what it should be.
        ModelFileError: There is no model to start from, or its file is damaged.
        RunDirectoryError: The directory is in use or used; it is left as it was.
        OSError: It cannot be written.
    """
    start = None if init_from is None else start_of(init_from)
    config = as_config(config, overrides) if config or start is None else start.config(overrides)
    if config.training.kernel == "portable":
        require_portable()
    experiment = Experiment(config, SplitData.load(config, progress), start)
    if run_dir is False:
        return Training(experiment, None, [])
    directory = RunDirectory.create(config.name, None if run_dir is None else directory_of(run_dir))
    try:
        if start is not None:
            directory.write_start(start.content)
        directory.write_config(config.to_yaml())
        _record(directory, _begun_with(directory, experiment), experiment.split_data)
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
        config: Must be the run's own, but for `training.epochs`, and for `data.source` where the same data lie there.
        overrides: Changes to the run's own, which must change nothing but these two; see `load_config`.
        option: Stands before each override in messages.
        progress: Is told how many picture files of how many have been read.

    Raises:
        ConfigError: Settings differ, all of them are named; or epochs are lowered.
        DataError: The data is gone, or no longer what the run was trained on.
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
    """Return a warning where what the last bits hang on is not as it was; record where the data lie now."""
    now = environment(experiment.split_data, experiment.config.training)
    then = directory.read_environment()
    _record(directory, then or _begun_with(directory, experiment), experiment.split_data)  # killed before it was there
    changed = [name for name in now if name in then and now[name] != then[name]]
    return [f"{', '.join(changed)}: changed since the run began; the last bits may differ"] if changed else []


def _begun_with(directory: RunDirectory, experiment: Experiment) -> dict[str, object]:
    """Return what a run that begins now is begun with."""
    found = environment(experiment.split_data, experiment.config.training)
    return found if experiment.start is None else found | {"from": experiment.start.record(directory.path)}


def _record(directory: RunDirectory, then: dict[str, object], split_data: SplitData) -> None:
    """Write down what a run was begun with, and its data, unless that is what stands there."""
    wanted = {**then, "data": data_record(split_data, directory.path)}
    if directory.read_environment() != wanted:
        directory.write_environment(wanted)


def config_of_run(run: Reference | None = None) -> Config:
    """Return the config that a run was begun with.

    Raises:
        RunDirectoryError: There is no such run.
        ConfigError: Its config is damaged.
    """
    directory = RunDirectory(find_run(named(run)), None, is_new=False)  # no lock: only read
    return read_config(directory.read_config(), saved=True, where=str(directory.path / "config.yaml"))


def train(
    config: Config | Reference | Mapping[str, Any] | None = None,
    *,
    overrides: Overrides = (),
    init_from: Model | Reference | None = None,
    run_dir: Reference | Literal[False] | None = None,
) -> Run:
    """Train to the end, and return what came of it.

    Args:
        config: All settings, or what `load_config` takes for them: a bundled name, a file, a mapping; None: `digits`,
            or the config to go on with.
        overrides: Changes to it; see `load_config` and `config_to_go_on`.
        init_from: The model to go on from, what `load` gives or takes, such as "pretrained"; None: random weights.
        run_dir: Where to write, a new or empty directory; None: `runs/NAME-N`; False: nothing is written.

    Raises:
        ConfigError: The config holds mistakes, its network is too large, `training.kernel` is not the one that NumPy
            was imported with, or the model to go on from has other layers, pictures or classes.
        DataError: The data is not there, or not what it should be.
        ModelFileError: There is no model to start from, or its file is damaged.
        DivergenceError: The loss is no longer finite.
        RunDirectoryError: The directory is in use or used; it is left as it was.
        OSError: It cannot be written.
    """
    return _to_the_end(training(config, overrides=overrides, init_from=init_from, run_dir=run_dir))


def resume(run: Reference | None = None, *, epochs: int | None = None) -> Run:
    """Go on with a run from its last checkpoint to its end, in its own directory, and return what came of it.

    Args:
        run: A run's directory, its name under `runs/`, or `latest`, which None means too.
        epochs: In all, where more than the run's.

    Raises:
        ConfigError: The epochs are lowered.
        DataError: The data is gone, or no longer what the run was trained on.
        DivergenceError: The loss is no longer finite.
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
