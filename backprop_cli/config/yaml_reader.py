"""YAML read strictly: plain data, and where each part of it stood; and changes to it.

No anchors, tags, merge keys or duplicate keys; `1e-3` is a number, `012` is none.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

from backprop_cli.errors import ConfigError, reason_of

MAX_DEPTH = 20
MAX_VALUES = 10_000
MAX_PROBLEMS = 12


@dataclass
class Source:
    """Plain data read from YAML, and where each part of it stood."""

    data: Any
    places: dict[tuple[str | int, ...], str]  # key path -> `digits.yaml:14` or `optimizer.lr=1`
    texts: dict[tuple[str | int, ...], str]  # key path -> a scalar as it was written


_IN_QUOTES = "a backslash in double quotes starts an escape; put a Windows path in single quotes, or write it with /"
_DRIVE = re.compile(r'"[A-Za-z]:\\(?!\\)')
_BLANK = re.compile(r"[ \t]*(#|[\r\n\0])")


class _Loader(yaml.SafeLoader):
    """PyYAML's reader up to the node tree, without anchors, tags and merge keys, and not too deep or too many.

    A tab may stand wherever it indents nothing. An escape of a letter is refused: in a Windows path it is a folder's.
    """

    depth = n_values = 0
    ESCAPE_REPLACEMENTS = {sign: sign for sign in '"\\/ '}  # type: ignore[misc]  # noqa: RUF012  (beside \x, \u, \U)

    def scan_to_next_token(self) -> None:
        super().scan_to_next_token()
        while self.peek() == "\t" and self.may_be_tab():
            self.forward()
            super().scan_to_next_token()

    def may_be_tab(self) -> bool:
        """Return whether a tab here indents nothing: within brackets, after other text, or before none."""
        before = self.buffer[self.pointer - self.column : self.pointer]
        return bool(self.flow_level or before.strip(" \t-?") or _BLANK.match(self.buffer, self.pointer))

    def scan_flow_scalar(self, style: str) -> Any:
        written_by_a_run = self.buffer.startswith('"/', self.pointer)  # of older versions, which wrote `\_`
        kind = yaml.SafeLoader if written_by_a_run else _Loader
        self.ESCAPE_REPLACEMENTS = kind.ESCAPE_REPLACEMENTS  # type: ignore[misc]
        if _DRIVE.match(self.buffer, self.pointer):
            raise yaml.MarkedYAMLError(problem=_IN_QUOTES, problem_mark=self.get_mark())
        return super().scan_flow_scalar(style)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            problem = "anchors and aliases are not allowed; write the settings out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(problem="tags are not allowed", problem_mark=event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels", problem_mark=event.start_mark)
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_VALUES:,} values", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """PyYAML's writer, which quotes text that `_scalar` would take for a number, and writes no escape of a letter."""

    ESCAPE_REPLACEMENTS: ClassVar = {sign: sign for sign in '"\\'}  # type: ignore[misc]


_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})")
FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]{0,39})(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][-+]?[0-9]{1,4})?")
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
_LOWER_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null"), None),
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
    **dict.fromkeys((".inf", "+.inf"), math.inf),
    "-.inf": -math.inf,
    ".nan": math.nan,
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {form: value for word, value in _LOWER_WORDS.items() for form in (word, word.capitalize(), word.upper())}


def _scalar(node: yaml.ScalarNode) -> Any:
    """Return what a scalar means: `1e-3` is a number (PyYAML says text), `012`, `0x1F` and `1_000` are not."""
    text = node.value
    if node.style is not None:  # quoted, or a block: text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text


def parse(text: str, where: str, *, numbered: bool = True) -> Source:
    """Read one YAML document strictly.

    Args:
        text: YAML.
        where: What messages call it.
        numbered: Whether places have the number of their line.

    Raises:
        ConfigError: With a line for every mistake that was found, at most 12.
    """
    builder = _Builder(where, numbered=numbered)
    node = _compose(text, builder)
    if node is not None:
        builder.source.data = builder.build(node, ())
    if builder.problems:
        raise ConfigError(*builder.problems[:MAX_PROBLEMS])
    return builder.source


def _compose(text: str, builder: _Builder) -> Any:
    """Return the tree of a YAML text; None for an empty one."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        message = str(error).partition("\n")[0]
        raise ConfigError(f"{builder.at(text.count(chr(10), 0, error.position))}: {message}") from error
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = builder.at(mark.line) if mark else builder.where
        raise ConfigError(f"{where}: {_explained(error)}") from error
    except (ValueError, OverflowError) as error:  # chr's, about \U00110000
        raise ConfigError(f"{builder.at(loader.line)}: an invalid escape sequence") from error


def _explained(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong with the YAML, and the way out of what happens most."""
    if error.context == "while scanning a double-quoted scalar":  # no such escape
        return _IN_QUOTES
    if "'\\t'" in (error.problem or ""):
        return "a tab in the indentation; indent with spaces, not tabs"
    return str(error.problem or error.context)


class _Builder:
    """Makes plain data of a YAML tree, and notes where each part stood and what is wrong with it."""

    def __init__(self, where: str, *, numbered: bool) -> None:
        self.where, self.numbered, self.source, self.problems = where, numbered, Source(None, {}, {}), list[str]()

    def at(self, line: int) -> str:
        """Return the place of a line, counted from 0."""
        return f"{self.where}:{line + 1}" if self.numbered else self.where

    def build(self, node: Any, path: tuple[str | int, ...]) -> Any:
        """Return what a part of the tree means."""
        source = self.source
        source.places[path] = self.at(node.start_mark.line)
        if isinstance(node, yaml.ScalarNode):
            source.texts[path] = node.value
            self.check_characters(node, path)
            return _scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, place = key_node.value, self.at(key_node.start_mark.line)
            if not isinstance(key_node, yaml.ScalarNode) or (key == "<<" and key_node.style is None):
                self.problems.append(f"{place}: {dotted(path)}: expected a plain word as the key")
            elif key in mapping:
                self.problems.append(f"{place}: {dotted((*path, key))}: given twice; keep one")
            else:
                self.check_characters(key_node, path)
                mapping[key] = self.build(value_node, (*path, key))
                source.places[(*path, key)] = place
        return mapping

    def check_characters(self, node: Any, path: tuple[str | int, ...]) -> None:
        """Note what is not a character."""
        if _SURROGATE.search(node.value):
            place = self.at(node.start_mark.line)
            self.problems.append(f"{place}: {dotted(path)}: half of a surrogate pair is not a character")


def write(plain: Any) -> str:
    """Return YAML that `parse` reads back as this very data."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False)


def dotted(path: Sequence[str | int]) -> str:
    """Return a key path as it is written: `network.layers[0].units`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:80]}" if text else part[:80]
    return text or "the config"


def as_plain(value: Any, where: str) -> Any:
    """Return a program's value as YAML would have it: paths as text, NumPy's numbers as numbers, tuples as lists.

    Raises:
        ConfigError: It is not such a value.
    """

    def default(other: Any) -> Any:
        if isinstance(other, os.PathLike):
            return os.fspath(other)
        return other.item()  # of NumPy

    try:
        return json.loads(json.dumps(value, default=default))
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{where}: expected plain mappings, lists, numbers and text ({reason_of(error)})") from error


def override(source: Source, change: str, option: str) -> None:
    """Put one `key.path=value` into the data.

    Args:
        source: Changed.
        change: The value is read as YAML.
        option: Stands before it in messages.

    Raises:
        ConfigError: It is none, or there is no such place.
    """
    where = f"{option}{change}"
    key, equals, text = change.partition("=")
    put(source, where, key if equals else "", parse(text, where, numbered=False))


def put(source: Source, where: str, key: str, value: Source) -> None:
    """Put a value into the data, at `key.path`."""
    path = tuple(
        int(part) if re.fullmatch("[0-9]{1,9}", part) else part
        for part in re.sub(r"\[(\d{1,4})\]", r".\1", key).split(".")
    )
    if "" in path:
        raise ConfigError(f"{where}: expected KEY=VALUE, such as optimizer.learning_rate=1e-2")
    parent: Any = source.data
    for i, part in enumerate(path):
        if isinstance(parent, list):
            if not isinstance(part, int) or part >= len(parent):
                raise ConfigError(f"{where}: {dotted(path[:i])} has {len(parent)} entries, counted from 0")
        elif not isinstance(parent, dict):
            raise ConfigError(f"{where}: {dotted(path[:i])} is not a mapping")
        elif isinstance(part, int):
            raise ConfigError(f"{where}: {dotted(path[:i])} is not a list")
        if i == len(path) - 1:
            parent[part] = value.data
        else:
            if isinstance(parent, dict) and parent.get(part) is None:
                parent[part] = {}
                source.places[path[: i + 1]] = where
            parent = parent[part]
    for places in (source.places, source.texts):
        for old in [old for old in places if old[: len(path)] == path]:
            del places[old]
    source.places.update({(*path, *rest): where for rest in value.places} or {path: where})
    source.texts.update({(*path, *rest): text for rest, text in value.texts.items()})
