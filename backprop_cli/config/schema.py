"""The JSON Schema of a config, for editors; its descriptions are the settings' own docstrings."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from typing import Any

from backprop_cli.config.config import DEFAULT_KINDS, Config, adapter
from backprop_cli.config.mistakes import classes_at, classes_in, tag_of
from backprop_cli.config.short_forms import NAMES


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a config file; descriptions are the settings' own docstrings."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **adapter().json_schema(),
        "title": "A config of backprop",
    }
    described = [Config, *{c for hint in typing.get_type_hints(Config).values() for c in _reachable(hint)}]
    for settings in described:
        part = schema if settings is Config else schema["$defs"][settings.__name__]
        for cls in reversed(settings.__mro__):  # a base describes what it hands down
            if "__dataclass_fields__" not in vars(cls):
                continue
            docstring = _docstrings(cls.__module__).get(cls.__name__, "")
            part["description"] = docstring.partition("\n")[0]
            for key, text in _attribute_docs(docstring).items():
                if key in part["properties"]:
                    part["properties"][key]["description"] = text
    for path, default in DEFAULT_KINDS.items():  # the others need their name
        for settings in classes_at(path.split("."), {}, Config):
            if settings is not default:
                schema["$defs"][settings.__name__].setdefault("required", []).append(tag_of(settings))
    for part in schema["$defs"].values():
        for key in NAMES.keys() & part.get("properties", {}).keys():
            part["properties"][key]["enum"] = list(NAMES[key])
    return schema


def _reachable(hint: Any) -> Iterator[Any]:
    """Walk to all settings classes in a type hint, and in their fields."""
    for settings in classes_in(hint):
        yield settings
        for inner in typing.get_type_hints(settings).values():
            yield from _reachable(inner)


@functools.cache
def _docstrings(module: str) -> dict[str, str]:
    """Return the docstrings of a module's classes from its source: under `python -OO` the classes have lost them."""
    try:
        source = ast.parse(inspect.getsource(sys.modules[module]))
    except OSError:  # installed without it
        return {}
    return {node.name: ast.get_docstring(node) or "" for node in source.body if isinstance(node, ast.ClassDef)}


def _attribute_docs(docstring: str) -> dict[str, str]:
    """Return the `Attributes:` section of a class's docstring as a dict."""
    section = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE)
    return {key: re.sub(r"\s+", " ", text) for key, text in entries}
