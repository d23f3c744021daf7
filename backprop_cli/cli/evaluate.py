"""`backprop eval`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backprop_cli.api.words import percent, with_article
from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.findings import format_findings
from backprop_cli.cli.options import AsJson, ModelName, as_a_shell, cell, check_table, load_model, offering, write_table
from backprop_cli.errors import UsageError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from rich.table import Table

    from backprop_cli.api.evaluation import Evaluation, WorstAnswer
    from backprop_cli.cli.console import Line

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop eval                            the last run, on its test part
  backprop eval -m runs/digits-1 --split validation --json
  backprop eval --min-accuracy 0.95        exit code 1 below 95 %
  backprop eval --diagnose                 and what went wrong in training, with its remedy
"""

MOST_CLASSES, WIDEST = 20, 16  # that a table shows; pixels that are drawn
_HEALTHY = "The training was healthy: nothing was found to fix."

Split = Literal["test", "validation", "train"]


@app.command(epilog=EXAMPLES)
def evaluate(
    model: ModelName = None,
    split: Annotated[Split, typer.Option("--split", help="Which part of the model's data.")] = "test",
    source: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Other data, all of it: what data.source may be.",
            callback=as_a_shell,
            autocompletion=offering("source"),
        ),
    ] = None,
    errors: Annotated[int, typer.Option("--errors", min=0, max=100, help="How many of the worst to show.")] = 5,
    min_accuracy: Annotated[
        float | None, typer.Option("--min-accuracy", min=0.0, max=1.0, help="Exit with code 1 below this accuracy.")
    ] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Also say what went wrong in training, and the --set that fixes it.")
    ] = False,
    csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE|-", help="Write the answer for every row as a table.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on a part of its data that it was not trained on."""
    if csv == "-" and as_json:
        raise UsageError("--csv -: cannot be used with --json, which also writes to stdout")
    check_table(csv, [source])
    found = load_model(model, with_doubts=False).evaluate(split, data=source, n_worst=errors, diagnose=diagnose)
    console.print_detail(f"measured: {found.n:,} answers, {clean(found.about)}")
    for note in found.notes:
        console.print_status(note)
    for warning in found.warnings:
        console.warn(warning)
    if csv is not None:
        _write_csv(csv, found)
    if as_json:
        console.print_json(found.to_dict())
    elif csv != "-":
        width = console.rich_console(sys.stdout).width
        console.print_lines([*format_figures(found, width), *format_worst(found.worst_answers, width)])
        if found.findings is not None:
            console.print_lines(["", "What went wrong in training:" if found.findings else _HEALTHY])
            console.print_lines(format_findings(found.findings))
    if min_accuracy is not None and found.accuracy < min_accuracy:
        console.error(f"accuracy {found.accuracy:.4f} is below --min-accuracy {min_accuracy:g}")
        raise typer.Exit(1)


def _write_csv(target: str, found: Evaluation) -> None:
    """Write the answer of every row as a table."""
    lines = [
        "sample,label,predicted,probability",
        *(f"{cell(a.sample)},{cell(a.label)},{cell(a.predicted)},{a.probability:.6f}" for a in found.answers),
    ]
    write_table(target, lines)


def format_figures(found: Evaluation, width: int) -> list[Line]:
    """Return the figures as lines of this width: of all answers, by class, and by how sure they were."""
    low, high = found.accuracy_interval
    n_right = round(found.accuracy * found.n)
    return [
        f"accuracy   {percent(found.accuracy)}   {n_right:,} of {found.n:,}; "
        f"95 % interval {100 * low:.1f} to {100 * high:.1f} %",
        f"log loss   {found.log_loss:.4f}",
        f"ECE        {100 * found.ece:.1f} %   mean gap between confidence and accuracy, below",
        f"{'test part' if found.is_never_seen else 'these are'}  {clean(found.about)}",
        "",
        *(_class_lines(found, width) if len(found.classes) <= MOST_CLASSES else []),
        "",
        "how sure     answers   sure   right",
        *(
            f"{100 * entry.low:>3.0f} to {100 * entry.high:>3.0f} %  {entry.n:>7,}  "
            f"{100 * entry.confidence:>5.1f}   {100 * entry.accuracy:>5.1f} %"
            for entry in found.reliability
            if entry.n
        ),
    ]


def _class_lines(found: Evaluation, width: int) -> list[Line]:
    """Return the figures of each class, beside them what it was read as; below them where that is too wide."""
    whole = _class_table(found, with_confusions=True)
    if console.width_of(whole) <= width:
        return [whole]
    names, below = [clean(name) for name in found.classes], []
    for k, row in enumerate(found.confusion_matrix):
        if others := ", ".join(f"{names[j]}: {n}" for j, n in enumerate(row) if n and j != k):
            below.append(f"{names[k]} read as {others}")
    return [_class_table(found, with_confusions=False), "", *(below or ["all read right"])]


def _class_table(found: Evaluation, *, with_confusions: bool) -> Table:
    from rich.text import Text

    table = console.table("digit", "precision", "recall", "F1", "n", left=0, gap=1)
    if with_confusions:
        table.add_column("read as", justify="right")
        for name in found.classes:
            table.add_column(Text(clean(name)), justify="right", no_wrap=True)
    for k, figures in enumerate(found.per_class):
        known = (figures.precision, figures.recall, figures.f1) if figures.support else (None, None, None)
        shares = ["-" if share is None else f"{share:.3f}" for share in known]
        confusions = [Text()] * with_confusions
        for j, n in enumerate(found.confusion_matrix[k] if with_confusions else ()):
            style = console.FAINT if not n else console.GOOD if j == k else console.BAD
            confusions.append(Text(str(n) if n else "·", style))
        table.add_row(Text(clean(figures.label)), *shares, str(figures.support), *confusions)
    return table


def format_worst(worst: tuple[WorstAnswer, ...], width: int) -> list[str]:
    """Return the worst answers as lines of this width, each below its picture where that is not too wide."""
    lines = ["", "The digits whose true class got the lowest probability:"] if worst else []
    for one in worst:
        verdict = "right, but" if one.label == one.predicted else f"it is {with_article(one.label)};"
        read_as = f"read as {clean(one.predicted)} with {100 * one.probability:.1f} %"
        if 2 * one.pixels.shape[1] + 2 <= min(width, 2 * WIDEST + 2):
            lines += ["", *(f"  {line}".rstrip() for line in console.shade_lines(one.pixels))]
        lines.append(f"  {clean(one.sample)}: {verdict} {read_as}")
    return lines
