"""The model that a training goes on from: its weights, the config to go on with, and what has to fit it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from backprop_cli.config.config import Config, Overrides, config_of, load_config
from backprop_cli.config.yaml_reader import parse
from backprop_cli.data.copies import Copies
from backprop_cli.data.dataset import Dataset, Scaling
from backprop_cli.data.extra import Extra
from backprop_cli.data.layout import Layout
from backprop_cli.data.normalize import FULL_COUNT
from backprop_cli.errors import ConfigError, ModelFileError
from backprop_cli.experiment.run_data import environment_of, placed, seen_from
from backprop_cli.files import clean, read_bounded, spelled_out
from backprop_cli.store.model_file import Model, load_model, model_bytes
from backprop_cli.store.run_directory import START, is_run, mode_of
from backprop_cli.store.runs import PRETRAINED
from backprop_cli.store.tensor_file import MAX_BYTES

# Ten drawings of an odd digit, taught to the model in the package (benchmarks/teaching.py): of six kinds 100 of 100
# new ones are read, and of MNIST's digits 0.2 to 0.45 points fewer, after 44 to 57 seconds. With 3 epochs and 3 copies
# it takes 42 seconds, and in one kind 98 are read.
RATE = 0.1  # of the learning rate that the model was trained with
MAX_EPOCHS = 5
MAX_COPIES = 4
SHARE = 0.1  # of a batch, for a source that is trained on beside the model's own

_RECORD = "from_sha256"  # in the summary of a model that started from another


@dataclass(frozen=True, eq=False)
class Start:
    """The model that a training goes on from.

    Attributes:
        model: What its file holds.
        name: What messages call it.
        path: Its file; None for one that was never written.
        digest: The SHA-256 of the file in the run's directory; None where there is none yet.
    """

    model: Model
    name: str
    path: Path | None = None
    digest: str | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the model of a file.

        Raises:
            ModelFileError: It is damaged, hostile or of a newer version.
        """
        return cls(load_model(path), PRETRAINED.stem if path == PRETRAINED else clean(path), path)

    @classmethod
    def of_run(cls, run: Path, environment: Mapping[str, object]) -> Self | None:
        """Return the model that a run went on from, as it lies in its directory; None: it began with random weights.

        Args:
            run: The run's directory.
            environment: What it has recorded.

        Raises:
            ModelFileError: It is gone, damaged, or another one.
        """
        path, recorded = run / START, environment.get("from")
        if recorded is None and mode_of(path) is None:
            return None
        try:
            digest = hashlib.sha256(read_bounded(path, MAX_BYTES["model"])).hexdigest()
        except OSError as problem:
            raise ModelFileError(f"{clean(path)}: {clean(problem.strerror or problem)}; restore it") from problem
        if isinstance(recorded, dict) and recorded.get("sha256", digest) != digest:
            raise ModelFileError(f"{clean(path)}: not the model that the run started from; restore it")
        return cls(load_model(path), clean(path), path, digest)

    @cached_property
    def content(self) -> bytes:
        """What is written into the directory of a run that goes on from it."""
        return model_bytes(self.model)

    @property
    def sha256(self) -> str:
        """The SHA-256 of that."""
        return self.digest or hashlib.sha256(self.content).hexdigest()

    def record(self, run: Path) -> dict[str, object]:
        """Return what a run writes down of it: where it lies as seen from the run, or its name; and what it holds."""
        has_place = self.path not in (None, PRETRAINED)
        return {"model": seen_from(run, str(self.path)) if has_place else self.name, "sha256": self.sha256}

    @property
    def summary(self) -> dict[str, str]:
        """What the summary of a model that started from it says of it."""
        return {_RECORD: self.sha256}

    # ---- the config ------------------------------------------------------------------------------------------------

    def config(self, overrides: Overrides = (), *, option: str = "") -> Config:
        """Return the config to go on with: the model's own, with fewer epochs and copies and a lower learning rate.

        A model trained further keeps its own: what was chosen then holds again.

        Args:
            overrides: Changes to it, see `load_config`; a bare name for `data.extra` is added to the list.
            option: Stands before each override in messages.

        Raises:
            ConfigError: The model's config is not one of this version, or an override is wrong.
        """
        own = config_of(self.model.config, where=f"{self.name}: config")
        if self.path is not None and is_run(run := self.path.parent):  # its data may have been moved with it
            own = replace(own, data=placed(own.data, run, environment_of(run)))
        if _RECORD not in self.model.summary:
            own = _gentler(own)
        return load_config(own.to_dict(), _adding(own.data.extra, overrides), option=option)

    # ---- what has to fit -------------------------------------------------------------------------------------------

    def check(self, config: Config, dataset: Dataset) -> None:
        """Refuse a config and data that the model's weights are not made for.

        Raises:
            ConfigError: A line for each thing that does not fit, naming both.
        """
        model, pre = self.model, self.model.preprocessing
        is_raw = "layout" in pre or pre["max_value"] != FULL_COUNT
        found = (
            ("network.layers", _layers(asdict(one) for one in config.network.layers), _layers(model.layers)),
            ("data.picture", "{}x{}".format(*dataset.picture_size), "{}x{}".format(*pre["picture"])),
            ("data.picture", *("rows as they are" if raw else "counts of ink" for raw in (dataset.is_raw, is_raw))),
            ("data: classes", ", ".join(dataset.classes), ", ".join(model.classes)),
            ("data.augment: digits set upright by", dataset.slant, pre["slant"]),
        )
        problems = [f"{key}: {mine}, but {self.name} has {own}" for key, mine, own in found if mine != own]
        if config.ensemble > (n := len(model.members)):
            problems.append(f"ensemble: {config.ensemble} networks, but {self.name} has {n}")
        if problems:
            raise ConfigError(*(f"{clean(one)}; a run from a model keeps what that model has" for one in problems))

    def scaling(self, max_value: float) -> Scaling:
        """Return how pictures become inputs: as the weights know them, whatever full ink is in these data."""
        return Scaling(max_value, self.model.mean, self.model.preprocessing["scale"])

    @property
    def layout(self) -> Layout | None:
        """How a picture's ink is laid; None where the model does not say."""
        layout = self.model.preprocessing.get("layout")
        return None if layout is None else Layout.from_dict(layout)


def _layers(layers: Any) -> str:
    """Return the hidden layers in words; dropout is free."""
    return ", ".join(f"{layer['units']} {layer['activation']}" for layer in layers) or "none"


def _gentler(config: Config) -> Config:
    """Return a config with fewer epochs and copies and a lower rate, for weights that know most of it already."""
    augment, settings = config.data.augment, config.training
    if isinstance(augment, Copies):
        augment = replace(augment, copies=min(augment.copies, MAX_COPIES))
    rate = float(f"{config.optimizer.learning_rate * RATE:.6g}")
    return replace(
        config,
        data=replace(config.data, augment=augment),
        optimizer=replace(config.optimizer, learning_rate=rate),
        training=replace(settings, epochs=min(settings.epochs, MAX_EPOCHS), kernel="auto"),
    )


def _adding(extra: Sequence[Extra], overrides: Overrides) -> Overrides:
    """Return overrides in which a bare name of a further source stands for the whole list, with it at its end."""
    sources = json.loads(json.dumps([asdict(one) for one in extra]))
    if isinstance(overrides, Mapping):
        return {key: _added(sources, value) if key == "data.extra" else value for key, value in overrides.items()}
    changes = []
    for change in overrides:
        key, _, text = change.partition("=")
        name = parse(text, change, numbered=False).data if key == "data.extra" else None
        changes.append(f"data.extra={json.dumps(_added(sources, name))}" if isinstance(name, str) else change)
    return changes


def _added(sources: list[dict[str, Any]], name: Any) -> Any:
    """Add a bare name to the sources, unless it is among them, and return them all; any other value as it is."""
    if not isinstance(name, str | os.PathLike):
        return name
    name = os.fspath(name)
    if not {name, os.path.abspath(spelled_out(name))} & {one["source"] for one in sources}:  # noqa: PTH100
        left = 1.0 - sum(one["share"] or 0.0 for one in sources)
        sources.append({"source": name, "share": round(min(SHARE, left / 2.0), 4)})
    return list(sources)
