"""The runs of the working directory; light: no network is loaded for the list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backprop_cli.store.run_directory import RUNS
from backprop_cli.store.runs import VARIABLE, RunInfo, chosen_model, list_runs, newest_runs, write_used

__all__ = ["VARIABLE", "RunInfo", "chosen_model", "document", "newest_runs", "runs", "write_used"]


def runs(root: str | Path = RUNS) -> list[RunInfo]:
    """Return the runs in a directory by name, digits-2 before digits-10; files that cannot be read count as empty."""
    return list_runs(Path(root))


def document(found: list[RunInfo]) -> dict[str, Any]:
    """Return the JSON document of `runs`."""
    return {"schema": "backprop.runs/1", "runs": [run.to_dict() for run in found]}
