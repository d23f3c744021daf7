"""The YAML file: one frozen record of every setting, read strictly, its mistakes explained with file, line and key.

The settings live beside the code they steer; this module only puts them together and reads them. pydantic checks types
and unknown keys, each settings class its own ranges.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import errno
import functools
import hashlib
import inspect
import json
import math
import os
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from backprop_cli.data.sources import DataSettings, is_path
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.layers import INITIALIZERS
from backprop_cli.engine.losses import CrossEntropy, Loss
from backprop_cli.engine.network import NetworkSettings
from backprop_cli.engine.optimizers import Adam, Optimizer
from backprop_cli.engine.schedules import Constant, Schedule
from backprop_cli.engine.training import TrainingSettings
from backprop_cli.errors import ConfigError, reason_of, require
from backprop_cli.files import read_bounded, read_stdin

MAX_BYTES = 2**20
MAX_DEPTH = 20
MAX_VALUES = 10_000
MAX_PROBLEMS = 12

_DEFAULT_KINDS: dict[str, Any] = {"loss": CrossEntropy, "optimizer": Adam, "schedule": Constant}

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Config:
    """Everything that decides what a training run computes.

    Attributes:
        name: Of the run: letters, digits, dots, dashes, underlines. Left out: the file's name without its ending.
        seed: Of the first weights, the shuffling, dropout and augmentation, 0 to 2^63 - 1.
        data: What is trained on.
        network: The hidden layers; the output layer follows from the classes.
        loss: What is minimised.
        optimizer: How a gradient becomes a step.
        schedule: How the learning rate changes over the training.
        training: How long and in which steps.
        ensemble: How many networks, which differ in their seed; the answer is their mean probability. 1 to 100.
        calibration: `temperature`: divide the logits by one number fitted on the validation part; null: leave them.
    """

    name: str = "run"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    data: DataSettings = field(default_factory=DataSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    loss: Annotated[Loss, Field(discriminator="name")] = field(default_factory=CrossEntropy)
    optimizer: Annotated[Optimizer, Field(discriminator="name")] = field(default_factory=Adam)
    schedule: Annotated[Schedule, Field(discriminator="name")] = field(default_factory=Constant)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    ensemble: Annotated[int, Field(ge=1, le=100)] = 1
    calibration: Literal["temperature"] | None = None

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    def __post_init__(self) -> None:
        has_val = self.data.validation_size > 0
        needs = "needs a validation part; set data.validation_size above 0"
        name = "name: must be 1 to 64 letters, digits, dots, dashes or underlines, no dot first"
        require(
            (bool(_NAME.fullmatch(self.name)), name),
            (has_val or self.training.early_stopping is None, f"training.early_stopping: {needs}"),
            (has_val or self.calibration is None, f"calibration: {needs}"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain mappings, lists, numbers and text."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def to_yaml(self) -> str:
        """Return YAML that `read_config` reads back as this very config."""
        return yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False)


Overrides = Sequence[str] | Mapping[str, Any]


# ---- reading -------------------------------------------------------------------------------------------------------


@dataclass
class _Source:
    """Plain data read from YAML, and where each part of it stood."""

    data: Any
    places: dict[tuple[str | int, ...], str]  # key path -> `digits.yaml:14` or `optimizer.lr=1`
    texts: dict[tuple[str | int, ...], str]  # key path -> a scalar as it was written


def read_config(
    text: str,
    *,
    where: str,
    overrides: Overrides = (),
    option: str = "",
    default_name: str = "run",
    folder: Path | None = None,
) -> Config:
    """Return the config that a YAML text and changes to it describe.

    Args:
        text: YAML.
        where: What messages call it: a path or a bundled name.
        overrides: `key.path=value` each, the value read as YAML, or a mapping of key paths to values; they win over
            the text.
        option: Stands before each override in messages.
        default_name: `name`, where the text has none.
        folder: What relative paths in the text are relative to; None: the working directory.

    Raises:
        ConfigError: With a line for every mistake that was found, at most 12.
    """
    source = _parse(text, where)
    if source.data is None:
        raise ConfigError(f"{where}: empty", advice="template")
    if not isinstance(source.data, dict):
        raise ConfigError(f"{where}:1: a mapping of settings is wanted, such as `seed: 0`")
    return _completed(source, where, overrides, option, default_name, folder)


def _completed(
    source: _Source, where: str, overrides: Overrides, option: str, default_name: str, folder: Path | None
) -> Config:
    """Put overrides and what is implied into plain data, and return the config."""
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            plain = _plain(value, f"{option}{key}")
            _put(source, f"{option}{key}={json.dumps(plain, ensure_ascii=False)}", key, _Source(plain, {}, {}))
    else:
        for override in overrides:
            _override(source, override, option)
    source.data.setdefault("name", default_name if _NAME.fullmatch(default_name) else "run")
    for key, default in _DEFAULT_KINDS.items():
        if isinstance(section := source.data.get(key), dict):
            section.setdefault("name", default.name)
    _resolve_paths(source.data.get("data"), folder)
    return _validated(source, where)


def _validated(source: _Source, where: str) -> Config:
    """Return the config, or raise a ConfigError that explains what is wrong with it."""
    try:
        return _adapter().validate_json(json.dumps(source.data))
    except ValidationError as error:
        problems = list(dict.fromkeys(_explain(error, source, where)))
        if len(problems) > MAX_PROBLEMS:
            problems[MAX_PROBLEMS - 1 :] = [f"{where}: and {len(problems) - MAX_PROBLEMS + 1} more"]
        raise ConfigError(*problems) from error


def config_of(plain: dict[str, Any], *, where: str) -> Config:
    """Return the config that `to_dict` gave, as a model file holds it.

    Raises:
        ConfigError: It is not one of this version.
    """
    return _validated(_Source(plain, {}, {}), where)


@functools.cache
def _adapter() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def _resolve_paths(data: Any, folder: Path | None) -> None:
    """Make file names in the data section absolute, so that the saved config finds them from anywhere."""
    if isinstance(data, dict):
        for key in ("source", "test_source"):
            value = data.get(key)
            if isinstance(value, str) and is_path(value):
                data[key] = os.path.abspath((folder or Path()) / value)  # noqa: PTH100  (`resolve` asks the disk)


class _Loader(yaml.SafeLoader):
    """PyYAML's reader up to the node tree, without anchors, tags and merge keys, and not too deep or too many."""

    depth = n_values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not allowed", problem_mark=event.start_mark)
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
    """PyYAML's writer, which quotes text that `_scalar` would take for a number."""


_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]{0,39})(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][-+]?[0-9]{1,4})?")
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
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
    return float(text) if _FLOAT.fullmatch(text) else text


def _parse(text: str, where: str, *, numbered: bool = True) -> _Source:
    """Read one YAML document strictly."""
    source = _Source(None, {}, {})

    def at(line: int) -> str:
        return f"{where}:{line + 1}" if numbered else where

    def place(node: Any) -> str:
        return at(node.start_mark.line)

    def check_surrogates(node: Any, path: tuple[str | int, ...]) -> None:
        if _SURROGATE.search(node.value):
            problems.append(f"{place(node)}: {_dotted(path)}: half of a surrogate pair is no character")

    def build(node: Any, path: tuple[str | int, ...]) -> Any:
        source.places[path] = place(node)
        if isinstance(node, yaml.ScalarNode):
            source.texts[path] = node.value
            check_surrogates(node, path)
            return _scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [build(item, (*path, i)) for i, item in enumerate(node.value)]
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or (key == "<<" and key_node.style is None):
                problems.append(f"{place(key_node)}: {_dotted(path)}: a plain word is wanted as a key")
            elif key in mapping:
                problems.append(f"{place(key_node)}: {_dotted((*path, key))}: given twice")
            else:
                check_surrogates(key_node, path)
                mapping[key] = build(value_node, (*path, key))
                source.places[(*path, key)] = place(key_node)
        return mapping

    problems: list[str] = []
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        message = str(error).partition("\n")[0]
        raise ConfigError(f"{at(text.count(chr(10), 0, error.position))}: {message}") from error
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{at(mark.line) if mark else where}: {error.problem or error.context}") from error
    except (ValueError, OverflowError) as error:  # chr's, about \U00110000
        raise ConfigError(f"{at(loader.line)}: an escape that stands for no character") from error
    if node is not None:
        source.data = build(node, ())
    if problems:
        raise ConfigError(*problems[:MAX_PROBLEMS])
    return source


def _plain(value: Any, where: str) -> Any:
    """Return a program's value as YAML would have it: paths as text, NumPy's numbers as numbers, tuples as lists.

    Raises:
        ConfigError: It is no such value.
    """

    def default(other: Any) -> Any:
        if isinstance(other, os.PathLike):
            return os.fspath(other)
        return other.item()  # of NumPy

    try:
        return json.loads(json.dumps(value, default=default))
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{where}: plain mappings, lists, numbers and text are wanted ({reason_of(error)})"
        ) from error


def _override(source: _Source, override: str, option: str) -> None:
    """Put one `key.path=value` into the data."""
    where = f"{option}{override}"
    key, equals, text = override.partition("=")
    if not equals:
        key = ""
    _put(source, where, key, _parse(text, where, numbered=False))


def _put(source: _Source, where: str, key: str, value: _Source) -> None:
    """Put a value into the data, at `key.path`."""
    path = tuple(
        int(part) if re.fullmatch("[0-9]{1,9}", part) else part
        for part in re.sub(r"\[(\d{1,4})\]", r".\1", key).split(".")
    )
    if "" in path:
        raise ConfigError(f"{where}: KEY=VALUE is wanted, such as optimizer.learning_rate=1e-2")
    parent: Any = source.data
    for i, part in enumerate(path):
        if isinstance(parent, list):
            if not isinstance(part, int) or part >= len(parent):
                raise ConfigError(f"{where}: {_dotted(path[:i])} has {len(parent)} entries, counted from 0")
        elif not isinstance(parent, dict):
            raise ConfigError(f"{where}: {_dotted(path[:i])} is not a mapping")
        elif isinstance(part, int):
            raise ConfigError(f"{where}: {_dotted(path[:i])} is not a list")
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


# ---- comparing -----------------------------------------------------------------------------------------------------


def differing_keys(left: Any, right: Any, path: str = "") -> Iterator[str]:
    """Name the keys at which two resolved configs differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            yield from differing_keys(left.get(key), right.get(key), f"{path}.{key}" if path else key)
    elif left != right:
        yield path


def config_digest(config: Config) -> str:
    """Return a SHA-256 of every setting that a checkpoint must agree with: all but epochs, kernel and the name."""
    plain = config.to_dict()
    del plain["training"]["epochs"], plain["training"]["kernel"], plain["name"]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


# ---- explaining ----------------------------------------------------------------------------------------------------

# What other tools call it, to point at what it is called here.
_ELSEWHERE = {
    "lr": "optimizer.learning_rate",
    "learning_rate": "optimizer.learning_rate",
    "learning_rate_init": "optimizer.learning_rate",
    "eta": "optimizer.learning_rate",
    "alpha": "optimizer.weight_decay",
    "l2": "optimizer.weight_decay",
    "weight_decay": "optimizer.weight_decay",
    "momentum": "optimizer.momentum",
    "solver": "optimizer.name",
    "type": "name",
    "hidden_layer_sizes": "network.layers",
    "hidden_layers": "network.layers",
    "hidden": "network.layers",
    "layers": "network.layers",
    "size": "units",
    "n_units": "units",
    "width": "units",
    "act": "activation",
    "dropout_rate": "dropout",
    "activation": "network.layers[0].activation",
    "dropout": "network.layers[0].dropout",
    "max_iter": "training.epochs",
    "n_epochs": "training.epochs",
    "num_epochs": "training.epochs",
    "epochs": "training.epochs",
    "batch": "training.batch_size",
    "batch_size": "training.batch_size",
    "n_iter_no_change": "training.early_stopping.patience",
    "early_stopping": "training.early_stopping",
    "patience": "training.early_stopping.patience",
    "clip": "training.gradient_clip",
    "grad_clip": "training.gradient_clip",
    "random_state": "seed",
    "random_seed": "seed",
    "validation_split": "data.validation_size",
    "validation_fraction": "data.validation_size",
    "val_size": "data.validation_size",
    "test_split": "data.test_size",
    "augmentation": "data.augment",
    "criterion": "loss.name",
    "scheduler": "schedule.name",
    "label_smoothing": "loss.label_smoothing",
}


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:80]}" if text else part[:80]
    return text or "the config"


def _explain(error: ValidationError, source: _Source, where: str) -> Iterator[str]:
    """Give one line for each mistake: where, key, what is wrong, what would be right."""
    for item in error.errors(include_url=False):
        path = _without_tags(item["loc"], source.data)
        if item["type"] == "value_error":  # from a settings class: lines such as "units: 0 is not in 1 to 65,536"
            found = [line.partition(": ")[::2] for line in str(item["ctx"]["error"]).split("\n")]
        else:
            found = [("name" if item["type"].startswith("union_tag_") else "", _message(item, path, source))]
        for key, message in found:
            whole = (*path, *key.split(".")) if key else path
            if item["type"] == "value_error" and "is not one of" in message:
                names = message.split("is not one of ")[1].split(", ")
                message += _did_you_mean(str(_value_at(source.data, whole)), names)
            yield f"{_place(source, whole, where)}: {_dotted(whole)}: {message}"


def _place(source: _Source, path: tuple[str | int, ...], where: str) -> str:
    """Return where a key stands; for a key that is missing, where the nearest one above it stands."""
    for stop in range(len(path), 0, -1):
        if path[:stop] in source.places:
            return source.places[path[:stop]]
    return where


def _without_tags(loc: Sequence[str | int], data: Any) -> tuple[str | int, ...]:
    """Drop the tags of unions that pydantic puts into an error's path: `optimizer.sgd.beta1` is `optimizer.beta1`."""
    path: list[str | int] = []
    for i, part in enumerate(loc):
        is_tag = isinstance(data, dict) and part not in data and data.get("name") == part and i == 1
        if is_tag or part in ("AugmentSettings", "EarlyStopping"):
            continue
        path.append(part)
        if isinstance(data, dict) and isinstance(part, str):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            data = None
    return tuple(path)


def _value_at(data: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _message(item: Any, path: tuple[str | int, ...], source: _Source) -> str:
    kind, value = item["type"], item["input"]
    text = _short(source.texts.get(path, value if isinstance(value, str) else json.dumps(value)))
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key{_nearest_key(path, source.data)}"
    if kind.startswith("union_tag_"):
        names, tag = _names_of(path[0]), _short(source.texts.get((*path, "name"), json.dumps(value["name"])))
        return f'"{tag}" is not one of {", ".join(names)}{_did_you_mean(tag, names)}'
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", item["ctx"]["expected"])
        return f'"{text}" is not one of {", ".join(names)}{_did_you_mean(text, names)}'
    if kind == "missing":
        return "missing"
    if kind.startswith("string_"):
        return f"text is wanted, and {text} is none in YAML; put it in quotes"
    if kind == "finite_number":
        return f"{text} is not a finite number"
    if kind.startswith("int_"):
        return f'"{text}" is not a whole number{_no_quotes(value)}'
    if kind.startswith("float_"):
        return f'"{text}" is not a number{_no_quotes(value)}'
    if kind.startswith("bool_"):
        return f'"{text}" is neither true nor false'
    if kind in ("dataclass_type", "model_attributes_type", "model_type", "dict_type"):
        return f"a mapping is wanted, not {text}"
    if kind in ("tuple_type", "list_type"):
        return f"a list is wanted, such as [{{units: 64}}], not {text}"
    return str(item["msg"]).replace("Input", text)


def _short(text: str) -> str:
    """Return what was written in one line of at most 80 characters."""
    return " ".join(text.split())[:80]


def _no_quotes(value: Any) -> str:
    """Return a hint where the text would have been a number without its quotes."""
    return "; take the quotes away" if isinstance(value, str) and _FLOAT.fullmatch(value) else ""


def _did_you_mean(word: str, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _nearest_key(path: tuple[str | int, ...], data: Any) -> str:
    """Return a hint at the key that was meant, from its spelling here or in other tools."""
    *parent, key = path
    settings = _settings_at(parent, data)
    here = [f.name for f in dataclasses.fields(settings)] if settings else []
    known = _ELSEWHERE.get(str(key).lower())
    if known and known.rpartition(".")[2] in here:
        known = _dotted([*parent, known.rpartition(".")[2]])
    if known == _dotted(path):
        known = None
    close = difflib.get_close_matches(str(key), here, n=1, cutoff=0.7)
    meant = _dotted([*parent, close[0]]) if close else known
    return f"; did you mean {meant}?" if meant else f"; known here: {', '.join(here)}"


def _settings_at(path: Sequence[str | int], data: Any) -> Any:
    """Return the settings class that a key path leads to, None where it leads to none."""
    settings: Any = Config
    for part in path:
        if isinstance(part, str):
            hint = typing.get_type_hints(settings).get(part) if dataclasses.is_dataclass(settings) else None
        else:
            hint = settings
        data = _value_at(data, [part])
        name = data.get("name") if isinstance(data, dict) else None
        candidates = list(_classes_in(hint))
        settings = next(
            (c for c in candidates if getattr(c, "name", None) == name), candidates[0] if candidates else None
        )
    return settings


def _classes_in(hint: Any) -> Iterator[Any]:
    """Walk through unions, tuples and annotations to the settings classes in a type hint."""
    if dataclasses.is_dataclass(hint):
        yield hint
    elif isinstance(hint, types.UnionType) or typing.get_origin(hint) is not None:
        for part in typing.get_args(hint):
            yield from _classes_in(part)


def _names_of(key: str | int) -> list[str]:
    """Return the names that `loss`, `optimizer` or `schedule` can take."""
    return [c.name for c in _classes_in(typing.get_type_hints(Config)[str(key)])]


# ---- describing ----------------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a config file; descriptions are the settings' own docstrings."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_adapter().json_schema(),
        "title": "A config of backprop",
    }
    described = [Config, *{c for hint in typing.get_type_hints(Config).values() for c in _reachable(hint)}]
    for settings in described:
        part = schema if settings is Config else schema["$defs"][settings.__name__]
        docstring = _docstrings(settings.__module__).get(settings.__name__, "")
        part["description"] = docstring.partition("\n")[0]
        for key, text in _attribute_docs(docstring).items():
            if key in part["properties"]:
                part["properties"][key]["description"] = text
    for key, default in _DEFAULT_KINDS.items():  # the others need their name
        for settings in _classes_in(typing.get_type_hints(Config)[key]):
            if settings is not default:
                schema["$defs"][settings.__name__].setdefault("required", []).append("name")
    schema["$defs"]["LayerSpec"]["properties"]["activation"]["enum"] = list(ACTIVATIONS)
    schema["$defs"]["NetworkSettings"]["properties"]["initializer"]["enum"] = list(INITIALIZERS)
    return schema


def _reachable(hint: Any) -> Iterator[Any]:
    """Walk to all settings classes in a type hint, and in their fields."""
    for settings in _classes_in(hint):
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


# ---- finding -------------------------------------------------------------------------------------------------------


def bundled_folder() -> Path:
    """Return the folder of the configs that come with the package."""
    inside = Path(__file__).parent / "configs"  # in a wheel
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"  # in a checkout


def bundled_text(name: str) -> str:
    """Return the YAML of a config that comes with the package; its first line is a comment that says what it is."""
    return (bundled_folder() / f"{name}.yaml").read_text("utf-8")


def bundled_names() -> list[str]:
    """Return the names of the configs that come with the package."""
    return sorted(path.stem for path in bundled_folder().glob("*.yaml"))


def load_config(reference: str | Path | Mapping[str, Any], overrides: Overrides = (), *, option: str = "") -> Config:
    """Return a config.

    Args:
        reference: A file, a bundled name, `-` for standard input, or the settings as a mapping.
        overrides: What to change in it: `{"training.epochs": 10}`, or `["training.epochs=10"]`, read as YAML.
        option: Stands before each override in messages.

    Raises:
        ConfigError: There is none of this name, it cannot be read, or it holds mistakes.
    """
    if isinstance(reference, Mapping):
        plain = _Source(_plain(reference, "config"), {}, {})
        return _completed(plain, "config", overrides, option, "run", None)
    reference, read = str(reference), partial(read_config, overrides=overrides, option=option)
    if reference == "-":
        try:
            text = _decode(read_stdin(MAX_BYTES), "stdin")
        except OSError as error:
            raise ConfigError(f"{'stdin' if error.errno == errno.EFBIG else '-'}: {error.strerror}") from error
        return read(text, where="stdin")
    if reference in bundled_names() and not Path(reference).is_file():
        return read(bundled_text(reference), where=f"{reference}.yaml", default_name=reference)
    path = Path(reference)
    return read(read_config_text(path), where=reference, default_name=path.stem, folder=path.parent)


def read_config_text(path: Path) -> str:
    """Return the text of a config file, UTF-8, with or without a byte order mark.

    Raises:
        ConfigError: It is not there, too large, or no text.
    """
    try:
        return _decode(read_bounded(path, MAX_BYTES), str(path))
    except FileNotFoundError as error:
        names = bundled_names()
        hint = _did_you_mean(path.stem, names) or f"; bundled configs: {', '.join(names)}"
        raise ConfigError(f"{path}: there is no such file{hint}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _decode(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{where}:{line}: not UTF-8 text") from error
