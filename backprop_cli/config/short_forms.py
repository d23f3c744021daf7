"""Settings as people write them -> their long form: the only one that is checked, saved, shown and documented.

| written | means |
|---|---|
| `augment: false`, `none`, `no`, `off` (all of `_MAY_BE_OFF`) | `augment: null` |
| `optimizer: adam`, and any section that has kinds | `optimizer: {name: adam}` |
| `layers: [64, 32]`, `early_stopping: 5`, `extra: pens` (`_MAIN`, `_LISTS`) | `[{units: 64}, {units: 32}]` ... |
| `Adam`, `LeakyReLU`, `cross-entropy`, and any name out of a few | `adam`, `leaky_relu`, `cross_entropy` |
| `schedule: cosine` (all of `_WORDS`) | `{name: warmup_cosine, warmup: 0}`: half a cosine down, no way up |

What has kinds or names follows from the settings classes: one that is added there is known here.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backprop_cli.config.mistakes import chosen, tag_of
from backprop_cli.config.yaml_reader import Source, dotted
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.layers import INITIALIZERS

NAMES: dict[str, Sequence[str]] = {  # of settings whose type does not list them
    "activation": tuple(ACTIVATIONS),
    "initializer": tuple(INITIALIZERS),
}
_MAIN = {  # settings class -> its setting that a bare value stands for
    "LayerSpec": "units",
    "EarlyStopping": "patience",
    "Extra": "source",
    "Calibration": "temperature",
}
_LISTS = ("extra", "kinds")  # a bare word stands for a list of it
_WORDS: dict[str, dict[str, dict[str, Any]]] = {  # section -> a word -> the settings that it stands for
    "schedule": {"cosine": {"name": "warmup_cosine", "warmup": 0.0}, "none": {"name": "constant"}},
    "calibration": {"temperature": {"temperature": None}},
}
_NOTHING = ("none", "null", "no", "off", "false")
_MAY_BE_OFF = ("augment", "gradient_clip", "early_stopping", "calibration", "max_value", "classes", "class_weight")
"""Where null means that there is none of it. Elsewhere it means that it is found out: `false` says something else."""

Path = tuple[str | int, ...]


def spell_out(source: Source, record: Any) -> None:
    """Bring all settings to their long form; what is in it, and what is wrong, stays as it is.

    Args:
        source: Changed.
        record: The class that its data should become.
    """
    source.data = _long_form(source.data, record, (), source)


def _long_form(value: Any, hint: Any, path: Path, source: Source) -> Any:
    """Return what a value at a key path means, and all that is in it."""
    key, parts = path[-1] if path else "", list(_alternatives(hint))
    if _is_off(value, key):
        return None
    if key in _LISTS and isinstance(value, str):
        value = [value]
    if classes := [part for part in parts if dataclasses.is_dataclass(part)]:
        value = _section(value, classes, path, source)
    if classes and isinstance(value, dict):
        hints = _hints(chosen(classes, value))
        return {k: _long_form(v, hints.get(k), (*path, k), source) for k, v in value.items()}
    items = [typing.get_args(part)[0] for part in parts if typing.get_origin(part) is tuple]
    if items and isinstance(value, list):
        return [_long_form(item, items[0], (*path, i), source) for i, item in enumerate(value)]
    return _name(value, _names(parts, key))


def _alternatives(hint: Any) -> Iterator[Any]:
    """Walk through unions to the types in a type hint."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _alternatives(part)
    else:
        yield hint


@functools.cache
def _hints(settings: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(settings)


def _is_off(value: Any, key: str | int) -> bool:
    """Return whether a value says that there is none of a setting."""
    if key == "test_source":  # `none` may be a folder
        return value is False
    return key in _MAY_BE_OFF and (value is False or (isinstance(value, str) and value.casefold() in _NOTHING))


def _section(value: Any, classes: list[Any], path: Path, source: Source) -> Any:
    """Return a section as a mapping, and the name of its kind as it is spelled here."""
    key = tag_of(classes[0]) if len(classes) > 1 else _MAIN.get(classes[0].__name__)
    words = _WORDS.get(dotted(path), {})
    if key is None or value is True or (value is False and "none" not in words):
        return value
    if isinstance(value, str | int | float):
        if path in source.texts:
            source.texts[*path, key] = source.texts[path]
        value = {key: "none" if value is False else value}
    if not isinstance(value, dict) or not isinstance(word := value.get(key), str):
        return value
    names = [getattr(settings, key) for settings in classes if len(classes) > 1]
    return {**words.get(_folded(word), {key: _name(word, names)}), **{k: v for k, v in value.items() if k != key}}


def _names(parts: list[Any], key: str | int) -> Sequence[Any]:
    """Return the names that a setting chooses from."""
    literals = [name for part in parts if typing.get_origin(part) is typing.Literal for name in typing.get_args(part)]
    return literals or NAMES.get(str(key), ())


def _name(value: Any, names: Sequence[Any]) -> Any:
    """Return the name that is meant, whatever its capitals, dashes and underlines; the value where none is."""
    word = ("yes" if value else "no") if isinstance(value, bool) else value  # YAML has read `invert: yes`
    if not isinstance(word, str):
        return value
    return next((name for name in names if _folded(name) == _folded(word)), value)


def _folded(word: str) -> str:
    return "".join(filter(str.isalnum, word)).casefold()
