"""All that a run has to show, in one record: its training, its test, its first layer, and one digit explained."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backprop_cli.api.arguments import Reference, named
from backprop_cli.api.blind import BlindResult, blind_result_of
from backprop_cli.api.evaluation import Evaluation, evaluate
from backprop_cli.api.explanation import Explanation, explain_input
from backprop_cli.api.models import Model, Part
from backprop_cli.api.pictures import PictureInput
from backprop_cli.api.units import Unit, first_layer_units
from backprop_cli.arrays import Float32Array
from backprop_cli.config.config import Config, read_config
from backprop_cli.errors import DataError
from backprop_cli.experiment.run_data import load_model_data
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.files import clean
from backprop_cli.insight.training_figures import by_layer, figure
from backprop_cli.store.run_directory import RunDirectory
from backprop_cli.store.runs import RunInfo, describe_run, find_run

if TYPE_CHECKING:
    from backprop_cli.api.pictures import Source

FIGURES = ("loss", "val_loss", "val_accuracy", "learning_rate", "grad_norm")
LAYER_FIGURES = ("grad_norm", "update_ratio", "dead_share")
PARTS: tuple[Part, ...] = ("test", "validation", "train")  # the first that has rows is measured
MAX_EPOCHS = 1_000  # of a series: of a longer one every second, third ... epoch
MAX_WORST = 10_000
MAX_WEIGHT_BYTES = 2_000_000  # of the weights that travel in a page

Series = dict[str, list[float | None]]


@dataclass(frozen=True, eq=False, repr=False)
class RunReport:
    """What a run has to show.

    Attributes:
        info: Its name, epochs and best epoch.
        config: It was trained with.
        environment: It was trained in.
        series: Of each network the figures by epoch: `epoch`, those of `FIGURES`, and `layers.dead_share.0` and so on
            by layer; None where one was not recorded.
        model: Of the best epoch; None where there is none.
        evaluation: On its test part, else its validation or training part; None without model or data.
        units: Of the first layer of the first network.
        explanation: Of the picture that was asked for, else of the worst digit measured.
        notes: What could not be shown, in words.
        blind: What the blind sculptor made of it; None where nobody asked for that.
    """

    info: RunInfo
    config: Config
    environment: Mapping[str, object]
    series: tuple[Series, ...]
    model: Model | None
    evaluation: Evaluation | None
    units: tuple[Unit, ...]
    explanation: Explanation | None
    notes: tuple[str, ...]
    blind: BlindResult | None = None

    def __repr__(self) -> str:
        return f"<RunReport {clean(self.info.path)}: {self.info.epochs} epochs>"

    @property
    def layer_names(self) -> list[str]:
        """What the layers are called, the output last."""
        return [f"layer {k}" for k in range(1, len(self.config.network.layers) + 1)] + ["output"]

    @property
    def flat_config(self) -> dict[str, str]:
        """The config's settings by their whole keys, such as `optimizer.learning_rate`, as one would write them."""
        return {key: in_yaml(value) for key, value in _flat(self.config.to_dict()).items()}

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, without pictures and weights."""
        return {
            "schema": "backprop.report/1",
            **self.info.to_dict(),
            "config": self.config.to_dict(),
            "environment": dict(self.environment),
            "series": list(self.series),
            "evaluation": self.evaluation and self.evaluation.to_dict(),
            "units": [unit.to_dict() for unit in self.units],
            "explanation": self.explanation and self.explanation.to_dict(),
            "notes": list(self.notes),
            "blind": self.blind and self.blind.to_dict(),
        }


def report(run: Reference | None = None, *, picture: Source | None = None) -> RunReport:
    """Return what a run has to show.

    Args:
        run: Its directory, its name under `runs/`, or `latest`, which None means too.
        picture: Explained; None: the worst digit of the test part.

    Raises:
        RunDirectoryError: There is no such run, or its files cannot be read.
        ConfigError: Its config is damaged.
        ModelFileError: Its model is damaged.
        PictureError: The picture cannot be read.
        UsageError: There is no such sample.
    """
    directory = RunDirectory(find_run(named(run)), None, is_new=False)  # no lock: it is only read
    config = read_config(directory.read_config(), saved=True, where=str(directory.path / "config.yaml"))
    rows, info, notes = directory.read_metrics(), describe_run(directory.path), list[str]()
    model = Model.load(directory.path) if info.has_model else None
    evaluation, explanation = None, None
    units: tuple[Unit, ...] = ()
    if model is None:
        notes.append("this training left no model")
    else:
        evaluation, units, explanation = _shown(model, picture, notes, diagnose=bool(rows))
    return RunReport(
        info=info,
        config=config,
        environment={key: value for key, value in directory.read_environment().items() if key != "data"},
        series=_series(rows, len(config.network.layers) + 1, notes),
        model=model,
        evaluation=evaluation,
        units=units,
        explanation=explanation,
        notes=tuple(notes),
        blind=blind_result_of(directory.path),
    )


def _shown(
    model: Model, picture: Source | None, notes: list[str], *, diagnose: bool
) -> tuple[Evaluation | None, tuple[Unit, ...], Explanation | None]:
    """Return what a model has to show; note what its data, where they are gone, keep from being shown."""
    try:
        own = load_model_data(model.predictor.model, where=model.predictor.where, path=model.path)
    except DataError as problem:
        notes.append(f"without its data there is no test: {problem.problems[0]}")
        return None, first_layer_units(model, None), None if picture is None else model.explain(picture)
    part = next(part for part in PARTS if len(own.select(part)[1]))
    evaluation = evaluate(model, part, n_worst=MAX_WORST, diagnose=diagnose, own=own)
    notes += [*evaluation.notes, *evaluation.warnings]
    if picture is not None:
        explanation = model.explain(picture)
    else:
        explanation = explain_input(model, _input(model, own, part, int(evaluation.worst[0])), own)
    return evaluation, first_layer_units(model, own.select(part)), explanation


def _input(model: Model, own: SplitData, part: Part, position: int) -> PictureInput:
    """Return a row of a part, given by its position in it, as the picture that the network sees."""
    dataset, rows = own.select(part)
    row = int(rows[position])
    grid = np.asarray(dataset.pictures[row], np.float32)
    full = model.predictor.scaling.max_value
    return PictureInput(dataset.row_name(row), grid, full, label=int(dataset.labels[row]))


def _series(rows: Sequence[Mapping[str, Any]], n_layers: int, notes: list[str]) -> tuple[Series, ...]:
    """Return the figures of each network by epoch."""
    members: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        members.setdefault(row.get("member"), []).append(row)
    longest = max(map(len, members.values()), default=0)
    every = -(-longest // MAX_EPOCHS)
    if every > 1:
        notes.append(f"of {longest:,} epochs one in {every} is drawn")
    return tuple(_columns(_thinned(member, every), n_layers) for member in members.values())


def _thinned(rows: Sequence[Mapping[str, Any]], every: int) -> list[Mapping[str, Any]]:
    """Return every second, third ... row, and the last."""
    return [row for k, row in enumerate(rows, 1) if k % every == 0 or k in (1, len(rows))]


def _columns(rows: Sequence[Mapping[str, Any]], n_layers: int) -> Series:
    columns: Series = {name: [figure(row, name) for row in rows] for name in ("epoch", *FIGURES)}
    for name in LAYER_FIGURES:
        by_epoch = [by_layer(row, name) for row in rows]
        for k in range(n_layers):
            column: list[float | None] = [each[k] if len(each) == n_layers else None for each in by_epoch]
            columns[f"layers.{name}.{k}"] = column
    return columns


def network_data(model: Model) -> dict[str, Any] | None:
    """Return all that the forward pass of a model needs, as plain data; None where its weights are too many.

    `members` holds the parameters of each network as base64 of float32, the lowest byte first: layer after layer a
    table (fan_in + 1, fan_out), row by row, the bias in its last row. Ink is from 0 to 1.
    """
    kept = model.predictor.model
    if sum(member.nbytes for member in kept.members) > MAX_WEIGHT_BYTES:
        return None
    layers = [{"units": layer["units"], "activation": layer["activation"]} for layer in kept.layers]
    output = {"units": len(kept.classes), "activation": "identity"}
    return {
        "picture": list(model.picture_size),
        "classes": list(kept.classes),
        "layers": [*layers, output],
        "output": model.predictor.loss.output,
        "temperature": kept.temperature,
        "mean": _base64(kept.mean),
        "scale": model.predictor.scaling.scale,
        "members": [_base64(member) for member in kept.members],
    }


def _base64(numbers: Float32Array) -> str:
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return nested settings by their whole keys; a list is one value."""
    if not isinstance(value, Mapping):
        return {key: value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _flat(inner, f"{key}.{name}" if key else str(name))
    return found


def in_yaml(value: Any) -> str:
    """Return a setting as one would write it in YAML, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {in_yaml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_yaml, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
