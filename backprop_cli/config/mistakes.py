"""What is wrong with a config, in a user's words: file and line, key, mistake, and what was perhaps meant."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from backprop_cli.config.yaml_reader import FLOAT, Source, dotted

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
    "class_weight": "training.class_weight",
    "class_weights": "training.class_weight",
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

_SECTIONS_ELSEWHERE = {"model": "network", "architecture": "network"}

_FORMER = {  # what older versions said
    "through_normalizer": "write `kind: copies` for `true`; for `false`, `kind: warps` without copies and thickness",
}
_WENT_WITH = {"through_normalizer": ("copies", "thickness")}

_FORM = re.compile(r"(?:dict|tuple|literal)\[.*\]")
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def explain(error: ValidationError, source: Source, where: str, record: Any) -> Iterator[str]:
    """Give one line for each mistake: where, key, what is wrong, what would be right.

    Args:
        error: What pydantic found.
        source: What it looked at.
        where: What messages call that.
        record: The class that it should have become.
    """
    for item in error.errors(include_url=False):
        loc = _without_forms(item["loc"], source.data)
        if loc is None:
            continue
        path = _without_tags(loc, source.data, record)
        if item["type"] in _UNKNOWN and _is_answered(path, source.data):
            continue
        if item["type"] == "value_error":  # from a settings class: lines such as "units: 0 is not between 1 and 65,536"
            found = [line.partition(": ")[::2] for line in str(item["ctx"]["error"]).split("\n")]
        else:
            tag = item["ctx"]["discriminator"].strip("'") if item["type"].startswith("union_tag_") else ""
            found = [(tag, _message(item, path, source, record))]
        for key, message in found:
            whole = (*path, *key.split(".")) if key else path
            if item["type"] == "value_error" and "is not one of" in message:
                names = message.split("is not one of ")[1].split(", ")
                message += did_you_mean(str(value_at(source.data, whole)), names)
            yield f"{_place(source, whole, where)}: {dotted(whole)}: {message}"


def setting_called(word: str) -> str | None:
    """Return the setting that other tools, or its last part, call so; None where there is none."""
    return _ELSEWHERE.get(word.lower()) or next((key for key in _ELSEWHERE.values() if key.endswith(f".{word}")), None)


def _place(source: Source, path: tuple[str | int, ...], where: str) -> str:
    """Return where a key stands; for a key that is missing, where the nearest one above it stands."""
    for stop in range(len(path), 0, -1):
        if path[:stop] in source.places:
            return source.places[path[:stop]]
    return where


def _without_forms(loc: Sequence[str | int], data: Any) -> Sequence[str | int] | None:
    """Drop the form that was tried, as in `classes.dict[str,str].1`; None where that is not the form of what is there.

    Of a setting that may be a mapping or something else, pydantic tries and reports both.
    """
    for place, part in enumerate(loc):
        value = value_at(data, loc[:place])
        if _FORM.fullmatch(str(part)) and value_at(value, [part]) is None:
            return (
                [*loc[:place], *loc[place + 1 :]] if isinstance(value, dict) == str(part).startswith("dict") else None
            )
    return loc


def _without_tags(loc: Sequence[str | int], data: Any, record: Any) -> tuple[str | int, ...]:
    """Drop the tags of unions that pydantic puts into an error's path: `optimizer.sgd.beta1` is `optimizer.beta1`."""
    path: list[str | int] = []
    is_tag = False
    for part in loc:
        if not is_tag:
            path.append(part)
        is_tag = not is_tag and len(classes_at(path, data, record)) > 1
    return tuple(part for part in path if part != "EarlyStopping")


def _is_answered(path: Sequence[str | int], data: Any) -> bool:
    """Return whether an unknown key went with a former one, which is answered beside it."""
    beside = value_at(data, path[:-1])
    return isinstance(beside, dict) and any(path[-1] in _WENT_WITH[key] for key in _WENT_WITH.keys() & beside.keys())


def value_at(data: Any, path: Sequence[str | int]) -> Any:
    """Return what stands at a key path in plain data, None where nothing does."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _message(item: Any, path: tuple[str | int, ...], source: Source, record: Any) -> str:
    kind, value = item["type"], item["input"]
    text = _written(source, path, value)
    if kind in _UNKNOWN:
        return f"unknown key{_nearest_key(path, source.data, record)}"
    if kind.startswith("union_tag_"):
        key = item["ctx"]["discriminator"].strip("'")
        names = [getattr(settings, key) for settings in classes_at(path, source.data, record)]
        if kind == "union_tag_not_found":
            return f"missing; expected one of {', '.join(names)}"
        tag = _written(source, (*path, key), value[key])
        return f'"{tag}" is not one of {", ".join(names)}{did_you_mean(tag, names)}'
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", item["ctx"]["expected"])
        return f'"{text}" is not one of {", ".join(names)}{did_you_mean(text, names)}'
    if kind == "missing":
        return "missing"
    if kind.startswith("string_"):
        return f"expected text, but {text} is not text in YAML; put it in quotes"
    if kind == "finite_number":
        return f"{text} is not a finite number"
    if kind.startswith("int_"):
        return f'"{text}" is not a whole number{_no_quotes(value) or _no_point(text)}'
    if kind.startswith("float_"):
        return f'"{text}" is not a number{_no_quotes(value)}'
    if kind.startswith("bool_"):
        return f'"{text}" is neither true nor false'
    if kind in ("dataclass_type", "model_attributes_type", "model_type", "dict_type"):
        return f"expected a mapping, not {text}"
    if kind in ("tuple_type", "list_type"):
        return f"expected a list, such as [{{units: 64}}], not {text}"
    return str(item["msg"]).replace("Input", text)


def _written(source: Source, path: tuple[str | int, ...], value: Any) -> str:
    """Return what was written there, in one line of at most 80 characters."""
    text = source.texts.get(path, value if isinstance(value, str) else json.dumps(value))
    return " ".join(text.split())[:80]


def _no_quotes(value: Any) -> str:
    """Return a hint where the text would have been a number without its quotes."""
    return "; remove the quotes" if isinstance(value, str) and FLOAT.fullmatch(value) else ""


def _no_point(text: str) -> str:
    """Return a hint where a whole number was written as `32.0` or `1e3`."""
    is_whole = FLOAT.fullmatch(text) and abs(float(text)) < 1e15 and float(text).is_integer()
    return f"; write {int(float(text))}" if is_whole else ""


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """Return a hint at the word that was perhaps meant; nothing where none is like it."""
    close = difflib.get_close_matches(word, words, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _nearest_key(path: tuple[str | int, ...], data: Any, record: Any) -> str:
    """Return a hint at the key that was meant, from its spelling here, in other kinds, or in other tools."""
    *parent, key = path
    if key in _FORMER:
        return f"; {_FORMER[str(key)]}"
    classes = list(classes_at(parent, data, record))
    settings = chosen(classes, value_at(data, parent))
    here = [f.name for f in dataclasses.fields(settings)] if settings else []
    others = [c for c in classes if key in [f.name for f in dataclasses.fields(c)]]
    if others:
        kinds = " or ".join(getattr(other, tag_of(other)) for other in others)
        return f"; it belongs to {tag_of(others[0])}: {kinds}"
    known = (_ELSEWHERE | _SECTIONS_ELSEWHERE).get(str(key).lower())
    if known and known.rpartition(".")[2] in here:
        known = dotted([*parent, known.rpartition(".")[2]])
    if known == dotted(path):
        known = None
    close = difflib.get_close_matches(str(key), here, n=1, cutoff=0.7)
    meant = dotted([*parent, close[0]]) if close else known
    return f"; did you mean {meant}?" if meant else f"; known here: {', '.join(here)}"


def classes_at(path: Sequence[str | int], data: Any, record: Any) -> list[Any]:
    """Return the settings classes that a key path leads to: none, one, or several kinds."""
    classes = [record]
    for part in path:
        settings = chosen(classes, data)
        if isinstance(part, str):
            hint = typing.get_type_hints(settings, include_extras=True).get(part) if settings else None
            classes = list(classes_in(hint))
        data = value_at(data, [part])
    return classes


def tag_of(settings: Any) -> str:
    """Return the key that chooses between a settings class and its siblings: `name` or `kind`."""
    return "kind" if hasattr(settings, "kind") else "name"


def chosen(classes: list[Any], data: Any) -> Any:
    """Return the class that plain data names, else the first of them; None where there is none."""
    for settings in classes:
        tag = tag_of(settings)
        if isinstance(data, dict) and tag in data and data[tag] == getattr(settings, tag, None):
            return settings
    return classes[0] if classes else None


def classes_in(hint: Any) -> Iterator[Any]:
    """Walk through unions, tuples and annotations to the settings classes in a type hint."""
    if dataclasses.is_dataclass(hint):
        yield hint
    elif isinstance(hint, types.UnionType) or typing.get_origin(hint) is not None:
        for part in typing.get_args(hint):
            yield from classes_in(part)
