"""The pens that travel in the package: digits of open handwriting fonts; see data/pens/README.md."""

from __future__ import annotations

from dataclasses import replace

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers import npz
from backprop_cli.data.readers.shared import Wanted
from backprop_cli.files import shipped


def matches(source: str) -> bool:
    """Return whether a source is the pens, by its name."""
    return source == "pens"


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the pens; each family of fonts is a group."""
    return replace(npz.load(str(shipped("pens", "data/pens") / "pens.npz"), wanted), name=source)
