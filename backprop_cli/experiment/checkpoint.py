"""Where a training stands, to the disk and back: all that going on needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from backprop_cli.config.config import Config, config_digest
from backprop_cli.engine.training_state import TrainingState
from backprop_cli.errors import ModelFileError
from backprop_cli.store.run_directory import CHECKPOINT_WAY_OUT, RunDirectory


def save_checkpoint(directory: RunDirectory, config: Config, states: Sequence[TrainingState], n_rows: int) -> None:
    """Write where the networks stand.

    Args:
        directory: The run's.
        config: The run's.
        states: One for each network; those that have not begun are left out.
        n_rows: Rows of the metrics written so far.
    """
    started = [state for state in states if state.epoch]
    tensors = {
        f"members.{k}.{name}": array for k, state in enumerate(started) for name, array in state.arrays().items()
    }
    directory.save_checkpoint(
        tensors,
        {
            "config_digest": config_digest(config),
            "metrics_rows": n_rows,
            "members": [state.numbers() for state in started],
        },
    )


def restore_states(directory: RunDirectory, config: Config, states: Sequence[TrainingState]) -> tuple[int, int]:
    """Put the states back to where the checkpoint stands.

    Returns:
        How many of them had begun, and how many rows of the metrics count; 0 and 0 without a checkpoint.

    Raises:
        ModelFileError: The checkpoint is damaged or of another config.
    """
    stored = directory.load_checkpoint()
    if stored is None:
        return 0, 0
    tensors, content = stored
    try:
        if content["config_digest"] not in (config_digest(config), config_digest(directory.read_config())):
            raise ValueError("it was written with another config")
        return _restore(tensors, content, states)
    except (ValueError, TypeError, KeyError) as error:
        where = f"{directory.checkpoint_path}: does not fit this run"
        raise ModelFileError(f"{where}: {error}; {CHECKPOINT_WAY_OUT}") from error


def _restore(
    tensors: dict[str, NDArray[Any]], content: dict[str, Any], states: Sequence[TrainingState]
) -> tuple[int, int]:
    members, n_rows = content["members"], content["metrics_rows"]
    is_list = isinstance(members, list) and all(isinstance(numbers, dict) for numbers in members)
    if not is_list or len(members) > len(states) or type(n_rows) is not int or n_rows < 0:
        raise ValueError("members or metrics_rows are invalid")
    for k, (state, numbers) in enumerate(zip(states, members, strict=False)):
        prefix = f"members.{k}."
        arrays = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        state.restore(arrays, numbers)
    return len(members), n_rows
