"""Every key of a config, with what it may be: a list that is quick to read, made from the settings by `make docs`."""

from __future__ import annotations

from pathlib import Path

LIST = Path(__file__).with_name("keys.txt")


def keys() -> dict[str, tuple[str, ...]]:
    """Return the keys, as `data.source` or `network.layers.0.units`, each with its choices, else with its default."""
    lines = (line.split() for line in LIST.read_text("utf-8").splitlines())
    return {key: tuple(values) for key, *values in lines}
