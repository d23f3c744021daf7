"""The pens that travel in the package: digits of open handwriting fonts; see data/pens/README.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers import npz
from backprop_cli.data.readers.shared import Wanted


def matches(source: str) -> bool:
    """Return whether a source is the pens, by its name."""
    return source == "pens"


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the pens; each family of fonts is a group."""
    inside = Path(__file__).parents[2] / "pens"  # in a wheel
    folder = inside if inside.is_dir() else Path(__file__).parents[3] / "data" / "pens"  # in a checkout
    return replace(npz.load(str(folder / "pens.npz"), wanted), name=source)
