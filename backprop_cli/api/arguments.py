"""What calls are given, brought to one form: names and files, configs, whole numbers, choices."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backprop_cli.errors import ArgumentError

if TYPE_CHECKING:
    from backprop_cli.config.config import Config, Overrides

Reference = str | os.PathLike[str]


def named(reference: Reference | None) -> str | None:
    """Return a name or a file as text; a path is always a file, whatever words it may look like."""
    if reference is None or isinstance(reference, str):
        return reference
    return os.path.join(".", os.fspath(reference))  # noqa: PTH118  (Path would take the dot away again)


def as_config(config: Config | Reference | Mapping[str, Any] | None, overrides: Overrides = ()) -> Config:
    """Return a config with changes; anything else goes to `load_config`, and None stands for `digits`."""
    from backprop_cli.config.config import Config, load_config

    if isinstance(config, Config):
        return load_config(config.to_dict(), overrides) if overrides else config
    return load_config(config if isinstance(config, Mapping) else named(config) or "digits", overrides)


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number in [low, high].

    Raises:
        ArgumentError: It is none; the message begins with the argument's name.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise ArgumentError(f"{name} {value}: expected a whole number from {low:,} to {high:,}")
    return number


def choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a value that is not one of the choices.

    Raises:
        ArgumentError: The message begins with the argument's name.
    """
    if value not in choices:
        raise ArgumentError(f'{name} "{value}": not one of {", ".join(choices)}')


def directory_of(run_dir: Reference) -> Path:
    """Return a directory to write to.

    Raises:
        ArgumentError: It is not a path.
    """
    try:
        return Path(run_dir)
    except TypeError as error:
        raise ArgumentError(f"run_dir {run_dir}: expected a path, None or False") from error
