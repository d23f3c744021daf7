"""What the last bits of a training depend on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from backprop_cli import __version__
from backprop_cli.blas import blas_kernel, blas_threads, cpu_features, n_blas_threads
from backprop_cli.engine.training import TrainingSettings
from backprop_cli.experiment.split_data import SplitData


def environment(split_data: SplitData, settings: TrainingSettings) -> dict[str, object]:
    """Return what the last bits of a training depend on: versions, BLAS, threads, processor, data."""
    return {**machine(settings.threads), "data_sha256": split_data.fingerprints["source"].sha256}


def machine(n_threads: int) -> dict[str, object]:
    """Return what the last bits depend on, whatever is trained: versions, BLAS with so many threads, processor."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    with blas_threads(n_threads):
        n_threads_held = n_blas_threads()
    return {
        "backprop": __version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "threads": n_threads_held,
        "blas_kernel": blas_kernel(),
        "cpu": processor_name(),
        "cpu_features": " ".join(cpu_features()),
    }


def processor_name() -> str:
    """Return what the processor calls itself, where Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"
