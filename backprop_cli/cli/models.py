"""Which model a command means, and saying so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from backprop_cli.cli import console
from backprop_cli.store.files import clean

if TYPE_CHECKING:
    from backprop_cli.predictor import Predictor


def load_predictor(reference: str | None) -> tuple[Path, Predictor]:
    """Return the model that `--model` names, the last run's without it (which is said on stderr)."""
    from backprop_cli.predictor import Predictor
    from backprop_cli.store.run_directory import find_model

    path = find_model(reference)
    if reference is None:
        console.story(f"model: {clean(path)}")
    return path, Predictor.load(path)
