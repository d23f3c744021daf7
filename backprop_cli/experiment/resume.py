"""A run taken up again where its checkpoint left it."""

from __future__ import annotations

from dataclasses import replace

from backprop_cli.config.config import Config, differing_keys, read_config
from backprop_cli.data.readers.shared import ProgressCallback
from backprop_cli.errors import ConfigError
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.split_data import SplitData
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
        wanted: What the user asked for: it must be the run's own, but for the epochs.
        epochs: A new total.
        progress: Is told how many picture files of how many have been read.

    Raises:
        ConfigError: Settings differ; all of them are named.
        ModelFileError: The checkpoint is damaged.
    """
    path = directory.path / "config.yaml"
    config = read_config(directory.read_config(), saved=True, where=str(path))
    if wanted is not None:
        epochs = wanted.training.epochs if epochs is None else epochs
        differing = sorted(differing_keys(config.to_dict(), wanted.to_dict()))
        differing = [key for key in differing if key not in ("training.epochs", "name")]
        if differing:
            raise ConfigError(f"{path}: a resumed run keeps its own settings; these differ: {', '.join(differing)}")
    if epochs is not None and epochs != config.training.epochs:
        if epochs < config.training.epochs:
            raise ConfigError(f"{path}: training.epochs: may be raised from {config.training.epochs}, not lowered")
        config = replace(config, training=replace(config.training, epochs=epochs))
    experiment = Experiment(config, SplitData.load(config, progress))
    experiment.restore(directory)
    if directory.read_config() != config.to_yaml():
        directory.write_config(config.to_yaml())
    return experiment
