"""A command that needs a certain BLAS kernel restarts with it: NumPy takes one when it is imported, and keeps it."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backprop_cli.config.config import Config

_BEGUN = "BACKPROP_BEGUN_WITH"  # the variables that this process was restarted with, so that it happens once


def hold_portable(config: Config, *, from_stdin: bool = False) -> None:
    """Restart the command where its config asks for the portable kernel and NumPy has another one.

    Args:
        config: All settings.
        from_stdin: They were read from there, and are handed on there.

    Raises:
        ConfigError: This machine cannot run that kernel.
    """
    if config.training.kernel == "portable":
        from backprop_cli.api.process import portable_variables

        if variables := portable_variables(_begun_with()):
            _restart(variables, config.to_yaml() if from_stdin else None)


def hold_recorded(run: str | None) -> None:
    """Restart the command with the kernel and the features that a run records, where this machine has them."""
    from backprop_cli.api.process import recorded_variables

    if variables := recorded_variables(run, _begun_with()):
        _restart(variables)


def _begun_with() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(os.environ.get(_BEGUN, "")) if "=" in word)


def _restart(variables: Mapping[str, str], stdin: str | None = None) -> None:
    """Replace this process by the same command with other variables."""
    if stdin is not None:
        with tempfile.TemporaryFile() as file:
            file.write(stdin.encode())
            file.seek(0)
            os.dup2(file.fileno(), 0)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    begun = shlex.join(f"{name}={value}" for name, value in sorted(variables.items()))
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | variables | {_BEGUN: begun})
