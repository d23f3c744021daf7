"""What runs here: versions, BLAS, processor; nothing that says whose machine it is."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from dataclasses import dataclass
from typing import Any

from backprop_cli.data.processes import n_cores
from backprop_cli.engine.training import TrainingSettings
from backprop_cli.experiment.environment import machine

PACKAGES = (
    "numpy",
    "scikit-learn",
    "scipy",
    "pydantic",
    "pyyaml",
    "pillow",
    "pillow-heif",
    "safetensors",
    "threadpoolctl",
    "typer",
    "rich",
)


@dataclass(frozen=True)
class Version:
    """What a report of a bug should say of the machine.

    Attributes:
        backprop: Version of this package.
        python: Version of Python, and whose it is.
        platform: System with its version, kind of processor, C library.
        cpu: What the processor calls itself.
        cpu_features: What NumPy uses of it, in NumPy's words.
        n_cores: Cores that this process may use.
        blas: Library that multiplies matrices, with its version.
        blas_kernel: Its kernel; None where it has none, or does not tell.
        threads: How many threads it has in a training, unless the config says otherwise; None where nobody knows.
        packages: Version of each package that is used; None for what is not installed.
    """

    backprop: str
    python: str
    platform: str
    cpu: str
    cpu_features: str
    n_cores: int
    blas: str
    blas_kernel: str | None
    threads: int | None
    packages: dict[str, str | None]

    def __repr__(self) -> str:
        return f"<Version {self.backprop}: Python {self.python}, {self.platform}>"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of `version`."""
        return {"schema": "backprop.version/1", **vars(self)}


def version() -> Version:
    """Return what runs here."""
    found: dict[str, Any] = machine(TrainingSettings().threads)
    return Version(
        backprop=found["backprop"],
        python=f"{found['python']} ({platform.python_implementation()})",
        platform=_platform(),
        cpu=found["cpu"],
        cpu_features=found["cpu_features"],
        n_cores=n_cores(),
        blas=found["blas"],
        blas_kernel=found["blas_kernel"],
        threads=found["threads"],
        packages={name: _version_of(name) for name in PACKAGES},
    )


def _platform() -> str:
    """Return the system: of its release the numbers alone, since a kernel's builder may add a name."""
    numbers = re.match(r"[\d.]*\d", platform.release())
    libc = " ".join(filter(None, platform.libc_ver()))
    parts = (platform.system(), numbers[0] if numbers else "", platform.machine())
    return ", ".join(filter(None, [" ".join(filter(None, parts)), libc]))


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
