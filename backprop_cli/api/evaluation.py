"""How good a model's answers are: on which rows, what these can prove, and which answers were worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from backprop_cli import notebook
from backprop_cli.api.arguments import Reference, choice, named, whole_number
from backprop_cli.api.models import Part
from backprop_cli.api.words import percent
from backprop_cli.arrays import Labels, Rows
from backprop_cli.data.dataset import Dataset
from backprop_cli.data.sources import DataSettings, load_like, load_source, source_of_test, split_kind
from backprop_cli.errors import ArgumentError, DataError, RunDirectoryError, advising
from backprop_cli.experiment.data_checks import sentence, trained_on
from backprop_cli.experiment.run_data import load_model_data
from backprop_cli.experiment.split_data import SplitData, with_classes
from backprop_cli.files import clean
from backprop_cli.insight import metrics
from backprop_cli.predictor import lies_transposed
from backprop_cli.store.runs import is_unfinished, metrics_beside

if TYPE_CHECKING:
    from backprop_cli.api.models import Model
    from backprop_cli.insight.diagnosis import Finding

PartKind = Literal["train", "validation", "test_source", "writers", "stratified", "unknown", "ordered", "other"]

ABOUT: dict[PartKind, str] = {
    "train": "the very rows the network was trained on: how well it remembers, not how well it reads",
    "validation": "the rows that the best epoch was chosen on: slightly optimistic",
    "test_source": "all of {source}, which the network has never seen",
    "writers": "written by people the network has never seen",
    "stratified": "drawn at random: other digits, but by the same people as in training",
    "unknown": "drawn at random from one source, which does not say who wrote what: perhaps by the same writers",
    "ordered": "the last rows, which the network has never seen",
    "other": "all {n:,} rows of {source}",
}
"""What a part of the data can and cannot tell."""

MAX_WORST = 10_000
NEVER_SEEN = ("test_source", "writers", "ordered")


class RowAnswer(NamedTuple):
    """What one row was taken for.

    Attributes:
        sample: The row, such as `digits:1234`.
        label: What it is.
        predicted: What it was taken for.
        probability: Of that, in [0, 1].
    """

    sample: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True, eq=False)
class WorstAnswer:
    """An answer that thought the truth unlikely.

    Attributes:
        sample: Its row, such as `digits:1234`.
        label: What it is.
        predicted: What it was taken for.
        probability: Of that, in [0, 1].
        pixels: What the network saw, (height, width), ink from 0 to 1 (to the largest of the worst answers').
    """

    sample: str
    label: str
    predicted: str
    probability: float
    pixels: NDArray[Any]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, without the pixels."""
        keys = ("sample", "label", "predicted", "probability")
        return {key: getattr(self, key) for key in keys}


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(metrics.Evaluation):
    """How good a model's answers are.

    Attributes:
        model: The model's file.
        split: The part of its own data, or the other data.
        part_kind: What kind of rows these are, which decides what they prove.
        source: Of the rows.
        classes: Names of the classes.
        answers: Of every row, in their order.
        worst_answers: Those whose truth was thought least likely, the worst first.
        findings: What went wrong in its training; None where that was not asked.
        warnings: What speaks against the figures, in words.
        notes: What could not be judged, in words.
    """

    model: str
    split: str
    part_kind: PartKind
    source: str
    classes: tuple[str, ...]
    answers: tuple[RowAnswer, ...]
    worst_answers: tuple[WorstAnswer, ...]
    findings: tuple[Finding, ...] | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Evaluation {clean(self.model)}: {self.sentence}; {clean(self.about)}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        said = [self.sentence, self.about, f"log loss {self.log_loss:.4f}, ECE {percent(self.ece)}", *self.warnings]
        worst = [
            (one.pixels.tolist(), f"{one.label} read as {one.predicted}", percent(one.probability))
            for one in self.worst_answers[:5]
        ]
        pictures = notebook.shown(*(notebook.picture(*one, most=16) for one in worst))
        matrix = notebook.matrix(self.confusion_matrix.tolist(), self.classes)
        return notebook.shown(matrix, notebook.column(notebook.words(said), pictures))

    @property
    def sentence(self) -> str:
        """How many answers are right, and what that proves of others, in words."""
        low, high = self.accuracy_interval
        return f"{percent(self.accuracy)} of {self.n:,} right, 95 % interval {100 * low:.1f} to {100 * high:.1f} %"

    @property
    def about(self) -> str:
        """What these rows can and cannot tell, in words."""
        return ABOUT[self.part_kind].format(source=self.source, n=self.n)

    @property
    def is_never_seen(self) -> bool:
        """Whether these rows tell how it reads what it has never seen."""
        return self.part_kind in NEVER_SEEN

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of `eval`."""
        document = {
            "schema": "backprop.eval/1",
            "model": self.model,
            "split": self.split,
            "n": self.n,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "log_loss": self.log_loss,
            "ece": self.ece,
            "per_class": [asdict(figures) for figures in self.per_class],
            "confusion_matrix": self.confusion_matrix.tolist(),
            "reliability": [asdict(entry) for entry in self.reliability],
            "worst": [answer.to_dict() for answer in self.worst_answers],
            "answers": [answer._asdict() for answer in self.answers],
        }
        if self.findings is not None:
            document["findings"] = [asdict(finding) for finding in self.findings]
        return document


def evaluate(
    model: Model,
    split: Part = "test",
    *,
    data: Reference | None = None,
    n_worst: int = 5,
    diagnose: bool = False,
    own: SplitData | None = None,
) -> Evaluation:
    """Return how good a model's answers are; see `Model.evaluate`. `own`: its own data, if already loaded."""
    predictor, config, warnings, notes = model.predictor, model.config, list[str](), list[str]()
    source, n_worst = named(data), whole_number("n_worst", n_worst, 0, MAX_WORST)
    choice("split", split, get_args(Part))
    recorded = _recorded(model.path, notes) if diagnose else None
    if source is None:
        if own is None:
            with advising("other_data"):
                own = _own_data(model)
        dataset, rows = _own_part(own, split)
        kind = _kind(split, own.settings, dataset)
    else:
        dataset, kind = _other_data(model, source), "other"
        if dataset.arrangement is not None:
            notes.append(sentence(dataset))
        rows = np.arange(len(dataset))
        own = _own_data(model) if diagnose else _at_hand(model, warnings)
    pictures, labels = dataset.pictures[rows], dataset.labels[rows]
    if model.path is not None and is_unfinished(model.path):
        warnings.append("the model's training is not finished: it was stopped and can be resumed")
    if own is not None and kind != "train" and (n_known := len(trained_on(*own.select("train"), pictures))):
        warnings.append(
            f"the model was trained on {n_known:,} of these {len(rows):,} pictures: on them this measures memory, "
            "not reading"
        )
    findings = None
    if recorded is not None and own is not None:
        from backprop_cli.experiment.findings import findings_of

        findings = tuple(findings_of(config, own, recorded))
    probabilities = predictor.probabilities(pictures)
    figures = metrics.evaluate(probabilities, labels, predictor.classes)
    return Evaluation(
        **vars(figures),
        model=predictor.where,
        split=source or split,
        part_kind=kind,
        source=source or dataset.name,
        classes=predictor.classes,
        answers=_row_answers(probabilities, dataset, rows, predictor.classes),
        worst_answers=_worst_answers(figures.worst[:n_worst], probabilities, dataset, rows, predictor.classes),
        findings=findings,
        warnings=tuple(warnings),
        notes=tuple(notes),
    )


def _recorded(path: Path | None, notes: list[str]) -> Sequence[Mapping[str, Any]]:
    """Return the metrics of the training that a model comes from, and note what cannot be judged by them."""
    from backprop_cli.insight.training_figures import has_layer_figures, is_finished

    if path is None:
        raise RunDirectoryError("this model: never saved, so there are no figures of its training")
    rows, run = metrics_beside(path), clean(path.parent)
    if not has_layer_figures(rows):
        notes.append(f"{run}: recorded by an older version, without figures by layer: diagnosed from its losses alone")
    if not is_finished(rows):
        notes.append(f"{run}: its training is not finished, so whether it was long enough is not judged")
    return rows


def _own_part(own: SplitData, split: Part) -> tuple[Dataset, Rows]:
    """Return the data set that the model comes from, and the rows to measure on."""
    dataset, rows = own.select(split)
    if len(rows) == 0:
        raise ArgumentError(f"split {split}: this model was trained without a {split} part")
    return dataset, rows


def _kind(split: Part, settings: DataSettings, dataset: Dataset) -> PartKind:
    if split != "test":
        return split
    if source_of_test(settings) is not None:
        return "test_source"
    kind = split_kind(dataset, settings)
    return "unknown" if kind == "stratified" and dataset.groups is None else kind


def _other_data(model: Model, source: str) -> Dataset:
    """Return another data set to measure on."""
    predictor, settings = model.predictor, replace(model.config.data, skip_bad=True)
    form, full = predictor.form, predictor.scaling.max_value
    if predictor.sees_rows and form.layout is None:  # of before a model kept how they lie
        dataset = load_source(source, skip_bad=settings.skip_bad)
    else:
        is_raw = predictor.sees_rows
        dataset = load_like(
            source,
            settings,
            form.picture,
            form.slant,
            is_raw=is_raw,
            layout=form.layout,
            one_class=True,
            judge=lies_transposed,
        )
        if dataset.max_value not in (0.0, full):
            dataset = replace(dataset, pictures=dataset.pictures * np.float32(full / dataset.max_value))
    if dataset.picture_size != predictor.picture_size:
        wanted, found = ("x".join(map(str, size)) for size in (predictor.picture_size, dataset.picture_size))
        raise ArgumentError(f"data {source}: the model reads pictures of {wanted} as they are; these are of {found}")
    return with_classes(dataset, predictor.classes, where=f"data {source}")


def _own_data(model: Model) -> SplitData:
    """Return the data that the model comes from."""
    return load_model_data(model.predictor.model, where=model.predictor.where, path=model.path)


def _at_hand(model: Model, warnings: list[str]) -> SplitData | None:
    """Return the data that the model comes from; None, and a warning, where it cannot be read."""
    try:
        return _own_data(model)
    except DataError as problem:
        unknown = "whether the model was trained on these very pictures cannot be told"
        warnings.append(f"{unknown}: {problem.problems[0]}")
        return None


def _row_answers(
    probabilities: NDArray[Any], dataset: Dataset, rows: Rows, classes: tuple[str, ...]
) -> tuple[RowAnswer, ...]:
    best = probabilities.argmax(axis=1)
    sure = probabilities[np.arange(len(best)), best]
    each = zip(rows.tolist(), dataset.labels[rows].tolist(), best.tolist(), sure.tolist(), strict=True)
    return tuple(RowAnswer(dataset.row_name(row), classes[label], classes[k], p) for row, label, k, p in each)


def _worst_answers(
    worst: Labels, probabilities: NDArray[Any], dataset: Dataset, rows: Rows, classes: tuple[str, ...]
) -> tuple[WorstAnswer, ...]:
    pictures = dataset.pictures[rows[worst]]
    full = float(pictures.max(initial=0.0)) or 1.0
    return tuple(
        WorstAnswer(
            sample=dataset.row_name(int(rows[i])),
            label=classes[dataset.labels[rows[i]]],
            predicted=classes[probabilities[i].argmax()],
            probability=float(probabilities[i].max()),
            pixels=picture / full,
        )
        for i, picture in zip(worst, pictures, strict=True)
    )
