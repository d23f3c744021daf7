"""BLAS, which multiplies NumPy's matrices: how many threads it uses, and which kernel.

A kernel is OpenBLAS' code for one family of processors. Kernel, threads, and the features of the processor that NumPy
itself uses decide the last bits of what is trained, and all three belong to the whole process: threads can be set at
any time, the other two only before NumPy is imported.

NumPy and threadpoolctl are imported when they are needed, so that a command can ask for a kernel first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from backprop_cli.errors import ConfigError

Event = TypeVar("Event")

PORTABLE_KERNEL = "Haswell"
"""The kernel that every x86-64 processor with AVX2 can run."""

PORTABLE_NEEDS = "training.kernel: portable needs an x86-64 processor with AVX2, and a NumPy with OpenBLAS"

_lock = threading.Lock()
_n_inside = 0
_before: list[int] = []


@contextmanager
def blas_threads(n_threads: int) -> Iterator[None]:
    """Let BLAS use `n_threads` threads inside the block, in the whole process.

    Several threads may be inside at a time. The first one sets the number, the last one gives back what was there
    before; a caller that enters in between works with the number of the first.

    Args:
        n_threads: 1 or more. A BLAS that threadpoolctl does not know (such as Apple's Accelerate) takes no notice.
    """
    global _n_inside
    libraries = _libraries()
    with _lock:
        if not _n_inside:
            _before[:] = [library.get_num_threads() for library in libraries]
            _set([n_threads] * len(libraries))
        _n_inside += 1
    try:
        yield
    finally:
        with _lock:
            _n_inside -= 1
            if not _n_inside:
                _set(_before)


def _set(numbers: Sequence[int]) -> None:
    """Set the number of threads of each library, also where another thread of this process has set one before."""
    for library, number in zip(_libraries(), numbers, strict=True):
        # Since version 3.8 threadpoolctl listens to the first thread that sets a number, until that lets go.
        let_go = getattr(library, "clear_controlling_thread", lambda force: None)
        let_go(force=True)
        library.set_num_threads(number)
        let_go(force=True)


def in_blas_threads(events: Generator[Event], n_threads: int) -> Generator[Event]:
    """Yield a generator's events, each of its steps inside `blas_threads`; between them the caller's number holds."""
    try:
        while True:
            with blas_threads(n_threads):
                event = next(events, None)
            if event is None:
                return
            yield event
    finally:
        with blas_threads(n_threads):
            events.close()


def n_blas_threads() -> int | None:
    """Return how many threads BLAS uses now; None for a BLAS that threadpoolctl does not know."""
    numbers = [library.get_num_threads() for library in _libraries()]
    return numbers[0] if numbers else None


def blas_kernel() -> str | None:
    """Return the kernel in use, such as `Haswell` or `SkylakeX`; None for a BLAS that has none or does not tell."""
    names = [getattr(library, "architecture", None) for library in _libraries()]
    return names[0] if names else None


def cpu_features() -> tuple[str, ...]:
    """Return what NumPy uses of this very processor, in its own names, which differ by version."""
    return tuple(_features().get("found", []))


def _features() -> Mapping[str, Any]:
    """Return NumPy's lists: what every processor must have for it (`baseline`), and what this one has (`found`)."""
    import numpy as np

    return np.show_config(mode="dicts")["SIMD Extensions"]


@cache
def _libraries() -> list[Any]:
    """Return threadpoolctl's handles of the BLAS libraries in this process, NumPy's first."""
    import numpy as np  # noqa: F401  (so that its BLAS is there)
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return sorted(found, key=lambda library: "numpy" not in library.filepath)


# ---- the same bits elsewhere ---------------------------------------------------------------------------------------


def _generation(feature: str) -> int:
    """Return 2 for what came with AVX-512, 1 for what came with AVX2, 0 for what every x86-64 processor has."""
    if feature.startswith(("AVX512", "X86_V4")):
        return 2
    return int(feature in ("AVX", "F16C", "FMA3", "AVX2", "X86_V3"))


def variables_for(kernel: str, features: Collection[str]) -> dict[str, str]:
    """Return the variables of the environment with which a new process has this kernel, and NumPy no more than these.

    Args:
        kernel: As `blas_kernel` names it.
        features: As `cpu_features` names them, perhaps those of another version of NumPy.

    Returns:
        None that need to be changed: empty.
    """
    variables = {} if blas_kernel() == kernel else {"OPENBLAS_CORETYPE": kernel}
    wanted = max(map(_generation, features), default=0)
    if unwanted := [name for name in cpu_features() if _generation(name) > wanted]:
        disabled = os.environ.get("NPY_DISABLE_CPU_FEATURES", "").split()
        variables["NPY_DISABLE_CPU_FEATURES"] = " ".join([*disabled, *unwanted])
    return variables


def portable_variables() -> dict[str, str]:
    """Return `variables_for` the bits that every x86-64 processor with AVX2 computes; empty where they are in force."""
    return variables_for(PORTABLE_KERNEL, ["AVX2"])


_PROBE = """
import numpy
from threadpoolctl import threadpool_info
ones = numpy.ones((64, 64), numpy.float32)
assert (ones @ ones == 64).all()
print(*(library.get("architecture") for library in threadpool_info() if library["user_api"] == "blas"))
"""


def can_run(kernel: str, variables: dict[str, str]) -> bool:
    """Return whether a new process with these variables really has the kernel: it makes a product there.

    OpenBLAS takes the name of any kernel, and dies in the first product where the processor lacks its instructions.
    """
    command = [sys.executable, "-P", "-W", "ignore", "-c", _PROBE]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    return done.returncode == 0 and kernel in done.stdout.split()


def require_portable() -> None:
    """Refuse a process whose products are not those of every processor with AVX2.

    Raises:
        ConfigError: NumPy was imported with another kernel or with features beyond AVX2, or has too little.
    """
    if not any(_generation(name) for name in (*_features().get("baseline", []), *cpu_features())):
        raise ConfigError(f"{PORTABLE_NEEDS}; this NumPy uses no AVX2; leave it at auto")
    if variables := portable_variables():
        settings = " ".join(f'{name}="{value}"' for name, value in variables.items())
        found = " ".join([blas_kernel() or "no OpenBLAS", *cpu_features()])
        raise ConfigError(
            f"training.kernel: portable needs the kernel {PORTABLE_KERNEL} and no more than AVX2, and NumPy was "
            f"imported with {found}; start Python with {settings}"
        )
