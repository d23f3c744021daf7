"""A run taken up again where its checkpoint left it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from backprop_cli.config.config import Config, differing_keys, read_config
from backprop_cli.data.readers.shared import ProgressCallback
from backprop_cli.errors import ConfigError, advising
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.run_data import load_run_data, placed
from backprop_cli.experiment.start import Start
from backprop_cli.store.run_directory import RunDirectory


def open_run(
    directory: RunDirectory,
    wanted: Config | None = None,
    *,
    epochs: int | None = None,
    progress: ProgressCallback = None,
) -> Experiment:
    """Return the experiment of a run directory, as its checkpoint left it.

    Args:
        directory: An opened run.
        wanted: What the user asked for: it must be the run's own, but for the epochs and the place of the data.
        epochs: A new total.
        progress: Is told how many picture files of how many have been read.

    Raises:
        ConfigError: Settings differ; all of them are named.
        DataError: The data is gone, or no longer what the run was trained on.
        ModelFileError: The checkpoint, or the model that the run went on from, is damaged.
    """
    path = directory.path / "config.yaml"
    config = read_config(directory.read_config(), saved=True, where=str(path))
    environment, source = directory.read_environment(), None
    if wanted is not None:
        epochs = wanted.training.epochs if epochs is None else epochs
        if differing := _differing(config, wanted, directory.path, environment):
            raise ConfigError(f"{path}: a resumed run keeps its own settings; these differ: {', '.join(differing)}")
        source = wanted.data.source if wanted.data.source != config.data.source else None
    if epochs is not None and epochs != config.training.epochs:
        if epochs < config.training.epochs:
            raise ConfigError(f"{path}: training.epochs: may be raised from {config.training.epochs}, not lowered")
        config = replace(config, training=replace(config.training, epochs=epochs))
    with advising("run_data"):
        split_data = load_run_data(config, directory.path, environment, source=source, progress=progress)
    experiment = Experiment(config, split_data, Start.of_run(directory.path, environment))
    experiment.restore(directory)
    if directory.read_config() != config.to_yaml():
        directory.write_config(config.to_yaml())
    return experiment


def _differing(config: Config, wanted: Config, run: Path, environment: Mapping[str, object]) -> list[str]:
    """Return the keys that keep a run from being resumed: data may lie elsewhere where it is known what they hold."""
    here = replace(config, data=placed(config.data, run, environment))
    keys = [set(differing_keys(own.to_dict(), wanted.to_dict())) for own in (config, here)]
    free = {"training.epochs", "name"} | ({"data.source"} if "data_sha256" in environment else set())
    return sorted(set.intersection(*keys) - free)
