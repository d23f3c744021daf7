"""What concerns a whole process: whose it is, and which variables NumPy must be imported with."""

from __future__ import annotations

from collections.abc import Mapping

from backprop_cli.data.quiet import claim_process
from backprop_cli.errors import ConfigError

__all__ = ["claim_process", "portable_variables", "recorded_variables"]


def portable_variables(begun_with: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a process must begin with for the portable kernel, {} where it has it.

    Args:
        begun_with: The variables that this process was begun with for that very reason.

    Raises:
        ConfigError: This machine cannot run that kernel.
    """
    from backprop_cli import blas

    variables = blas.portable_variables()
    if not variables:
        blas.require_portable()
    elif variables == begun_with or not blas.can_run(blas.PORTABLE_KERNEL, variables):
        raise ConfigError(f"{blas.PORTABLE_NEEDS}; a product with its kernel failed on this machine; leave it at auto")
    return variables


def recorded_variables(reference: str | None, begun_with: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a process must begin with to have a run's kernel and processor features.

    Args:
        reference: The run; None: the last one.
        begun_with: The variables that this process was begun with for that very reason.

    Returns:
        {} where the process has them, or this machine has not, or the run has no record of them.

    Raises:
        RunDirectoryError: There is no such run.
    """
    from backprop_cli import blas
    from backprop_cli.store.run_directory import RunDirectory
    from backprop_cli.store.runs import find_run

    recorded = RunDirectory(find_run(reference), None, is_new=False).read_environment()  # no lock: it is only read
    kernel, features = recorded.get("blas_kernel"), recorded.get("cpu_features")
    if not isinstance(kernel, str) or not isinstance(features, str):  # a run of an older version
        return {}
    variables = blas.variables_for(kernel, features.split())
    return {} if variables == begun_with or not variables or not blas.can_run(kernel, variables) else variables
