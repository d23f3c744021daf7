"""The YAML file: one frozen record of every setting, read strictly, its mistakes explained with file, line and key.

The settings live beside the code they steer; this module only puts them together and reads them. pydantic checks types
and unknown keys, each settings class its own ranges.
"""

from __future__ import annotations

import codecs
import dataclasses
import errno
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from backprop_cli.config.mistakes import did_you_mean, explain, tag_of, value_at
from backprop_cli.config.older import as_first_written, modernized
from backprop_cli.config.short_forms import spell_out
from backprop_cli.config.yaml_reader import MAX_PROBLEMS, Source, as_plain, override, parse, put, write
from backprop_cli.data.augment import Warps
from backprop_cli.data.sources import DataSettings, is_path
from backprop_cli.engine.losses import CrossEntropy, Loss
from backprop_cli.engine.network import NetworkSettings
from backprop_cli.engine.optimizers import Adam, Optimizer
from backprop_cli.engine.schedules import Constant, Schedule
from backprop_cli.engine.training import TrainingSettings
from backprop_cli.errors import ConfigError, require
from backprop_cli.files import read_bounded, read_stdin, shipped, spelled_out, why_no_file

MAX_BYTES = 2**20

DEFAULT_KINDS: dict[str, Any] = {  # of the sections that have kinds
    "loss": CrossEntropy,
    "optimizer": Adam,
    "schedule": Constant,
    "data.augment": Warps,
}

_OF_SOURCES = re.compile(r"data(\.(source|test_source|extra([.\[].*)?))?")  # keys that file names stand under
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Calibration:
    """How sure a model says that it is.

    Attributes:
        temperature: Divides the logits, 0.05 to 20: below 1 the model is surer than its networks, above it less sure;
            null: it is fitted on the validation part.
        unsure: Probability of an answer below which it is warned of, 0 to 1.
    """

    temperature: float | None = None
    unsure: float = 0.4

    def __post_init__(self) -> None:
        require(
            (
                self.temperature is None or 0.05 <= self.temperature <= 20.0,
                f"temperature: {self.temperature} is not between 0.05 and 20",
            ),
            (0.0 <= self.unsure <= 1.0, f"unsure: {self.unsure} is not between 0 and 1"),
        )


@dataclass(frozen=True)
class Config:
    """Everything that decides what a training run computes.

    Attributes:
        name: Of the run: letters, digits, dots, dashes, underlines. Left out: the file's name without its ending.
        seed: Of the first weights, the shuffling, dropout and augmentation, 0 to 2^63 - 1.
        data: What is trained on.
        network: The hidden layers; the output layer follows from the classes.
        loss: What is minimized.
        optimizer: How a gradient becomes a step.
        schedule: How the learning rate changes over the training.
        training: How long and in which steps.
        ensemble: How many networks, which differ in their seed; the answer is their mean probability. 1 to 100.
        calibration: How sure the model says that it is; `temperature` stands for all of its defaults; null: as sure as
            its networks are.
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
    calibration: Calibration | None = None

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    def __post_init__(self) -> None:
        has_val = self.data.validation_size > 0
        needs = "needs a validation part; set data.validation_size above 0"
        name = "name: must be 1 to 64 letters, digits, dots, dashes or underlines, no dot first"
        require(
            (bool(_NAME.fullmatch(self.name)), name),
            (has_val or self.training.early_stopping is None, f"training.early_stopping: {needs}"),
            (has_val or not self.fits_temperature, f"calibration: {needs}"),
        )

    @property
    def fits_temperature(self) -> bool:
        """Whether the validation part decides how sure the model is."""
        return self.calibration is not None and self.calibration.temperature is None

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain mappings, lists, numbers and text."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def to_yaml(self) -> str:
        """Return YAML that `read_config` reads back as this very config."""
        return write(self.to_dict())


Overrides = Sequence[str] | Mapping[str, Any]


# ---- reading -------------------------------------------------------------------------------------------------------


def read_config(
    text: str,
    *,
    where: str,
    overrides: Overrides = (),
    option: str = "",
    default_name: str = "run",
    folder: Path | None = None,
    saved: bool = False,
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
        saved: A run wrote it, perhaps one of an older version.

    Raises:
        ConfigError: With a line for every mistake that was found, at most 12.
    """
    source = parse(text, where)
    if source.data is None:
        raise ConfigError(f"{where}: empty", advice="template")
    if not isinstance(source.data, dict):
        raise ConfigError(f"{where}:1: expected a mapping of settings, such as `seed: 0`")
    if saved:
        source.data = modernized(source.data)
    return _completed(source, where, overrides, option, default_name, folder)


def _completed(
    source: Source, where: str, overrides: Overrides, option: str, default_name: str, folder: Path | None
) -> Config:
    """Put overrides and what is implied into plain data, and return the config."""
    spell_out(source, Config)
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            plain = as_plain(value, f"{option}{key}")
            put(source, f"{option}{key}={json.dumps(plain, ensure_ascii=False)}", key, Source(plain, {}, {}))
            spell_out(source, Config)
    else:
        for change in overrides:
            override(source, _as_a_shell(change, option, folder), option)
            spell_out(source, Config)
    source.data.setdefault("name", default_name if _NAME.fullmatch(default_name) else "run")
    for path, default in DEFAULT_KINDS.items():
        if isinstance(section := value_at(source.data, path.split(".")), dict):
            section.setdefault(tag_of(default), getattr(default, tag_of(default)))
    _resolve_paths(source.data.get("data"), folder)
    return _validated(source, where)


def _validated(source: Source, where: str) -> Config:
    """Return the config, or raise a ConfigError that explains what is wrong with it."""
    try:
        return adapter().validate_json(json.dumps(source.data))
    except ValidationError as error:
        problems = list(dict.fromkeys(explain(error, source, where, Config)))
        if len(problems) > MAX_PROBLEMS:
            problems[MAX_PROBLEMS - 1 :] = [f"{where}: and {len(problems) - MAX_PROBLEMS + 1} more"]
        raise ConfigError(*problems) from error


def config_of(plain: dict[str, Any], *, where: str) -> Config:
    """Return the config that `to_dict` gave, perhaps that of an older version, as a model file holds it.

    Raises:
        ConfigError: It is not one of this version.
    """
    return _validated(Source(modernized(plain), {}, {}), where)


@functools.cache
def adapter() -> TypeAdapter[Config]:
    """Return pydantic's reader of a config."""
    return TypeAdapter(Config)


def _as_a_shell(change: str, option: str, folder: Path | None) -> str:
    """Return `key.path=value` with the variables in a source spelled out: no shell does that behind a `=`.

    Raises:
        ConfigError: The source is a pattern that would be odd YAML.
    """
    key, equals, value = change.partition("=")
    bare = value.strip("'\"")
    if not bare or not _OF_SOURCES.fullmatch(key):
        return change
    path = str((folder or Path()) / value)
    if key.endswith("source") and value.startswith(("*", "[")) and (why := why_no_file(path, "")):
        raise ConfigError(f"{option}{change}: {why}")
    return f"{key}{equals}{value.replace(bare, spelled_out(bare, folder, home=False))}"


def _resolve_paths(data: Any, folder: Path | None) -> None:
    """Make file names in the data section absolute, so that the saved config finds them from anywhere; `~` is home."""
    if isinstance(data, dict):
        for key in ("source", "test_source"):
            value = data.get(key)
            if isinstance(value, str) and is_path(value):
                path = (folder or Path()) / spelled_out(value, folder, variables=False)
                data[key] = os.path.abspath(path)  # noqa: PTH100  (`resolve` asks the disk)
        for one in data["extra"] if isinstance(data.get("extra"), list) else []:
            _resolve_paths(one, folder)


# ---- comparing -----------------------------------------------------------------------------------------------------


def differing_keys(left: Any, right: Any, path: str = "") -> Iterator[str]:
    """Name the keys at which two resolved configs differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            yield from differing_keys(left.get(key), right.get(key), f"{path}.{key}" if path else key)
    elif left != right:
        yield path


def config_digest(config: Config | str) -> str:
    """Return a SHA-256 of every setting that a checkpoint must agree with: all but epochs, kernel and the name.

    Args:
        config: All settings, or the text of a run's `config.yaml`, perhaps that of an older version.
    """
    plain = parse(config, "config").data if isinstance(config, str) else config.to_dict()
    plain = as_first_written({key: value for key, value in plain.items() if key != "name"})
    training = {key: value for key, value in plain["training"].items() if key not in ("epochs", "kernel")}
    return hashlib.sha256(json.dumps({**plain, "training": training}, sort_keys=True).encode()).hexdigest()


# ---- finding -------------------------------------------------------------------------------------------------------


def bundled_folder() -> Path:
    """Return the folder of the configs that come with the package."""
    return shipped("configs", "configs")


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
        plain = Source(as_plain(reference, "config"), {}, {})
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
    """Return the text of a config file: UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises:
        ConfigError: It is not there, too large, or no text.
    """
    try:
        return _decode(read_bounded(path, MAX_BYTES), str(path))
    except FileNotFoundError as error:
        names = bundled_names()
        hint = did_you_mean(path.stem, names) or f"; bundled configs: {', '.join(names)}"
        raise ConfigError(f"{path}: there is no such file{hint}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _decode(raw: bytes, where: str) -> str:
    """Return the text of UTF-8, or of UTF-16 that says so by its byte order mark."""
    try:
        return raw.decode("utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{where}:{line}: not UTF-8 text; save the file as UTF-8") from error
