"""`backprop eval`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.findings import show_findings
from backprop_cli.cli.options import AsJson, ModelName
from backprop_cli.cli.pictures import a
from backprop_cli.errors import DataError, UsageError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from backprop_cli.config import Config
    from backprop_cli.data.dataset import Dataset, Rows
    from backprop_cli.experiment.split_data import SplitData
    from backprop_cli.insight.metrics import Evaluation
    from backprop_cli.predictor import Predictor

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop eval                            the last run, on its test part
  backprop eval -m runs/digits-1 --split validation --json
  backprop eval --min-accuracy 0.95        exit code 1 below 95 %
  backprop eval --diagnose                 and what went wrong in training, with its remedy
"""

_HEALTHY = "The training was healthy: nothing was found to mend."

Split = Literal["test", "validation", "train"]


@app.command(epilog=EXAMPLES)
def evaluate(
    model: ModelName = None,
    split: Annotated[Split, typer.Option("--split", help="Which part of the model's data.")] = "test",
    source: Annotated[
        str | None, typer.Option("--data", metavar="SOURCE", help="Other data, all of it: what data.source may be.")
    ] = None,
    errors: Annotated[int, typer.Option("--errors", min=0, max=100, help="How many of the worst to show.")] = 5,
    min_accuracy: Annotated[
        float | None, typer.Option("--min-accuracy", min=0.0, max=1.0, help="Below it, exit code 1.")
    ] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Also say what went wrong in training, and the --set that mends it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model on a part of its data that it was not trained on."""
    from backprop_cli.cli.models import load_predictor
    from backprop_cli.config import config_of
    from backprop_cli.experiment.findings import findings_of
    from backprop_cli.experiment.split_data import SplitData
    from backprop_cli.insight import metrics

    path, predictor = load_predictor(model)
    config = config_of(predictor.model.config, where=f"{path}: config")
    recorded = _recorded(path) if diagnose else None
    material: SplitData | None
    if source is None:
        material = SplitData.load(config)
        dataset, rows, about = _own_part(config, material, split)
    else:
        dataset, rows, about = _other_data(predictor, config, source)
        material = SplitData.load(config) if diagnose else _material_at_hand(config)
    if material is not None and (source is not None or split != "train"):
        _warn_of_trained_on(material, dataset.pictures[rows])
    findings = None if recorded is None or material is None else findings_of(config, material, recorded)
    probabilities = predictor.probabilities(dataset.pictures[rows])
    result = metrics.evaluate(probabilities, dataset.labels[rows], predictor.classes)
    worst = [
        {
            "sample": f"{dataset.name}:{rows[i]}",
            "label": predictor.classes[dataset.labels[rows[i]]],
            "predicted": predictor.classes[probabilities[i].argmax()],
            "probability": float(probabilities[i].max()),
        }
        for i in result.worst[:errors]
    ]
    if as_json:
        document = _document(result, str(path), source or split, worst)
        if findings is not None:
            document["findings"] = [asdict(finding) for finding in findings]
        console.answer_json("eval/1", document)
    else:
        _show(result, about, predictor.classes)
        _show_worst(worst, dataset, rows[result.worst[:errors]])
        if findings is not None:
            console.answer()
            console.answer("What went wrong in training:" if findings else _HEALTHY)
            show_findings(findings)
    if min_accuracy is not None and result.accuracy < min_accuracy:
        console.error(f"accuracy {result.accuracy:.4f} is below --min-accuracy {min_accuracy:g}")
        raise typer.Exit(1)


def _recorded(path: Path) -> Sequence[Mapping[str, Any]]:
    """Return the metrics of the training that a model comes from, and say what cannot be judged by them."""
    from backprop_cli.insight.diagnosis import has_layer_figures, is_finished
    from backprop_cli.store.run_directory import metrics_beside

    rows = metrics_beside(path)
    if not has_layer_figures(rows):
        console.story(
            f"{clean(path.parent)}: recorded by an older version, without figures by layer: judged by its losses alone"
        )
    if not is_finished(rows):
        console.story(f"{clean(path.parent)}: its training is not over, so whether it was long enough is not judged")
    return rows


def _material_at_hand(config: Config) -> SplitData | None:
    """Return the data that the model comes from; None, and a warning, where it cannot be read."""
    from backprop_cli.experiment.split_data import SplitData

    try:
        return SplitData.load(config)
    except DataError as problem:
        unknown = "whether the model was trained on these very pictures cannot be told"
        console.warn(f"{unknown}: {problem.problems[0]}")
        return None


def _other_data(predictor: Predictor, config: Config, source: str) -> tuple[Dataset, Rows, str]:
    """Return another data set to measure on, all its rows, and a sentence about them."""
    import numpy as np

    from backprop_cli.data.sources import load_source

    dataset = load_source(
        source, picture=config.data.picture_shape, slant=predictor.slant, skip_bad=config.data.skip_bad
    )
    if dataset.picture_size != predictor.picture_size or dataset.classes != predictor.classes:
        raise UsageError(
            f"--data {source}: the model reads {'x'.join(map(str, predictor.picture_size))} pictures of "
            f"{', '.join(predictor.classes)}; this is something else"
        )
    return dataset, np.arange(len(dataset)), f"all {len(dataset):,} rows of {source}"


def _own_part(config: Config, material: SplitData, split: Split) -> tuple[Dataset, Rows, str]:
    """Return the data set that the model comes from, the rows to measure on, and a sentence about them."""
    dataset, rows = material.select(split)
    if len(rows) == 0:
        raise UsageError(f"--split {split}: this model was trained without a {split} part")
    return dataset, rows, _about(split, config, dataset)


def _warn_of_trained_on(material: SplitData, pictures: Any) -> None:
    """Say so when the network was trained on the very pictures that it is measured on."""
    from backprop_cli.experiment.split_data import count_trained_on

    n_known = count_trained_on(material, pictures)
    if n_known:
        console.warn(
            f"the model was trained on {n_known:,} of these {len(pictures):,} pictures: on them this measures memory, "
            "not reading"
        )


def _about(split: Split, config: Config, dataset: Dataset) -> str:
    """Return a sentence about what a part of the data can and cannot tell."""
    if split == "train":
        return "the very rows the network was trained on: how well it remembers, not how well it reads"
    if split == "validation":
        return "the rows that the best epoch was chosen by: a little too kind"
    if config.data.test_source is not None:
        return f"all of {config.data.test_source}, which the network has never seen"
    kind = config.data.split or ("stratified" if dataset.groups is None else "writers")
    return {
        "writers": "written by people the network has never seen",
        "stratified": "drawn at random: other digits, but by the same people as in training",
        "ordered": "the last rows, which the network has never seen",
    }[kind]


def _document(result: Evaluation, model: str, split: str, worst: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": model,
        "split": split,
        "n": result.n,
        "accuracy": result.accuracy,
        "accuracy_interval": list(result.accuracy_interval),
        "log_loss": result.log_loss,
        "ece": result.ece,
        "per_class": [asdict(figures) for figures in result.per_class],
        "confusion_matrix": result.confusion_matrix.tolist(),
        "reliability": [asdict(entry) for entry in result.reliability],
        "worst": worst,
    }


def _show(result: Evaluation, about: str, classes: tuple[str, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    from backprop_cli.predictor import percent

    low, high = result.accuracy_interval
    n_right = round(result.accuracy * result.n)
    console.answer(
        f"accuracy   {percent(result.accuracy)}   {n_right:,} of {result.n:,}; "
        f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    )
    console.answer(f"log loss   {result.log_loss:.4f}")
    console.answer(f"ECE        {100 * result.ece:.1f} %   mean gap between sure and right, below")
    console.answer(f"test part  {clean(about)}" if "never" in about else f"these are  {clean(about)}")
    console.answer()
    screen = console.rich_console(sys.stdout)
    if len(classes) <= 20:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
        for column in ("digit", "precision", "recall", "F1", "n", "read as"):
            table.add_column(column, justify="right", no_wrap=True)
        for name in classes:
            table.add_column(Text(clean(name)), justify="right")
        for k, figures in enumerate(result.per_class):
            counts = [
                Text(str(n) if n else "·", console.FAINT if not n else console.GOOD if j == k else console.BAD)
                for j, n in enumerate(result.confusion_matrix[k])
            ]
            table.add_row(
                Text(clean(figures.label)),
                f"{figures.precision:.3f}",
                f"{figures.recall:.3f}",
                f"{figures.f1:.3f}",
                str(figures.support),
                "",
                *counts,
            )
        screen.print(table)
    console.answer()
    console.answer("how sure     answers   sure   right")
    for entry in result.reliability:
        if entry.n:
            console.answer(
                f"{100 * entry.low:>3.0f} to {100 * entry.high:>3.0f} %  {entry.n:>7,}  "
                f"{100 * entry.confidence:>5.1f}   {100 * entry.accuracy:>5.1f} %"
            )


def _show_worst(worst: list[dict[str, Any]], dataset: Dataset, rows: Any) -> None:
    if not worst:
        return
    console.answer()
    console.answer("The digits whose truth was thought least likely:")
    full = float(dataset.pictures[rows].max()) or 1.0
    if dataset.picture_size[1] <= 16:
        width = 2 * dataset.picture_size[1]
        pictures = [[line.ljust(width) for line in console.drawn(dataset.pictures[row] / full)] for row in rows[:4]]
        for line in console.side_by_side(pictures):
            console.answer(line)
    for entry in worst:
        verdict = "right, but" if entry["label"] == entry["predicted"] else f"it is {a(entry['label'])};"
        sample, predicted = clean(entry["sample"]), clean(entry["predicted"])
        console.answer(f"  {sample}: {verdict} read as {predicted} with {100 * entry['probability']:.1f} %")
