"""A command that needs a certain BLAS kernel begins anew with it: NumPy takes one when it is imported, and keeps it."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

from backprop_cli.errors import ConfigError

if TYPE_CHECKING:
    from backprop_cli.config import Config

_BEGUN = "BACKPROP_BEGUN_WITH"  # the variables that this process was begun anew with, so that it happens once


def hold_portable(config: Config, *, from_stdin: bool = False) -> None:
    """Begin the command anew where its config asks for the portable kernel and NumPy has another one.

    Args:
        config: All settings.
        from_stdin: They were read from there, and are handed on there.

    Raises:
        ConfigError: This machine cannot run that kernel.
    """
    if config.training.kernel != "portable":
        return
    from backprop_cli.blas import PORTABLE_KERNEL, PORTABLE_NEEDS, can_run, portable_variables, require_portable

    variables = portable_variables()
    if not variables:
        require_portable()
        return
    if _is_second_try(variables) or not can_run(PORTABLE_KERNEL, variables):
        raise ConfigError(f"{PORTABLE_NEEDS}; a product with its kernel failed on this machine; leave it at auto")
    _begin_anew(variables, config.to_yaml() if from_stdin else None)


def hold_recorded(environment: Mapping[str, object]) -> None:
    """Begin the command anew with the kernel and the features of a run's environment, where this machine has them."""
    from backprop_cli.blas import can_run, variables_for

    kernel, features = environment.get("blas_kernel"), environment.get("cpu_features")
    if not isinstance(kernel, str) or not isinstance(features, str):  # a run of an older version
        return
    variables = variables_for(kernel, features.split())
    if variables and not _is_second_try(variables) and can_run(kernel, variables):
        _begin_anew(variables)


def _is_second_try(variables: Mapping[str, str]) -> bool:
    return os.environ.get(_BEGUN) == _text_of(variables)


def _text_of(variables: Mapping[str, str]) -> str:
    return shlex.join(f"{name}={value}" for name, value in sorted(variables.items()))


def _begin_anew(variables: Mapping[str, str], stdin: str | None = None) -> None:
    """Replace this process by the same command with other variables."""
    if stdin is not None:
        with tempfile.TemporaryFile() as file:
            file.write(stdin.encode())
            file.seek(0)
            os.dup2(file.fileno(), 0)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    environment = os.environ | variables | {_BEGUN: _text_of(variables)}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
