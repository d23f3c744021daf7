"""`backprop explain`."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from backprop_cli.api.sentences import (
    blame_sentence,
    check_sentence,
    correction_sentence,
    guess_notes,
    loss_sentence,
    why_less_sure,
)
from backprop_cli.api.words import guess, percent
from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import AsJson, Force, ModelName, as_a_shell, check_new, load_model, offering
from backprop_cli.errors import UsageError
from backprop_cli.files import clean, write_atomic

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from backprop_cli.api.explanation import Explanation, LayerBlame, WeightBlame
    from backprop_cli.api.models import Model
    from backprop_cli.cli.console import Line

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop explain digits:1425             what the last run makes of sample 1425
  backprop explain photo.png --label 9     a picture of yours, and what it shows
  backprop explain digits:1425 --learning-rate 0.001,0.01,0.1,1
  backprop explain digits:1425 --worksheet sheet.md
  backprop explain digits:1425 --html digit.html
"""

WIDEST = 28  # pixels: what is wider is not drawn
MARGIN, WIDEST_TEXT = 12, 100  # characters: where text begins, and where it is wrapped at the latest
VERDICTS = {"overshoots": console.BAD, "harms the others": console.WARNING}


@dataclass(frozen=True)
class Screen:
    """What lines are made for: its width in characters, and whether colors can be seen."""

    width: int
    is_colored: bool


@app.command(epilog=EXAMPLES)
def explain(
    picture: Annotated[
        str,
        typer.Argument(
            metavar="PICTURE",
            help="A file, - for stdin, digits:N, TABLE:N.",
            show_default=False,
            callback=as_a_shell,
            autocompletion=offering("picture"),
        ),
    ],
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="D", help="What it shows. Default: known for digits:N, TABLE:N, else guessed."),
    ] = None,
    model: ModelName = None,
    learning_rate: Annotated[
        str | None,
        typer.Option(
            "--learning-rate",
            metavar="X[,X...]",
            help="Of the correction; several make a ladder. Default: the largest that harms nothing.",
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, max=100, help="Number of weights to list per layer.")] = 3,
    worksheet: Annotated[
        Path | None, typer.Option("--worksheet", metavar="FILE", help="Write one path as a worksheet to do by hand.")
    ] = None,
    path: Annotated[
        str | None,
        typer.Option("--path", metavar="I,J,K", help="The sheet's pixel, units, class. Default: the most blamed ones."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write it as an HTML page, with the worksheet to print."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Show guess, loss, blame and correction for one picture."""
    rates = None if learning_rate is None else _rates(learning_rate)
    if path is not None and worksheet is None and html is None:
        raise UsageError("--path: chooses what --worksheet FILE writes; give both")
    if worksheet is not None:
        check_new(worksheet, (".md", ".txt"), option="--worksheet ", force=force)
    if html is not None:
        check_new(html, (".html", ".htm"), option="--html ", force=force)
    asked = load_model(model, or_pretrained=True)
    found = asked.explain(picture, label=label, learning_rates=rates, top=top)
    console.print_detail(f"explained: {clean(picture)}, its label {found.label_source}")
    for warning in found.warnings:
        console.warn(f"{picture}: {warning}")
    for note in found.notes:
        console.warn(note)
    if worksheet is not None:
        _write_worksheet(worksheet, path, found)
    if html is not None:
        _write_page(html, path, found, asked)
    if as_json:
        console.print_json(found.to_dict())
    else:
        screen = console.rich_console(sys.stdout)
        is_colored = screen.color_system is not None and not screen.no_color
        console.print_lines(format_explanation(found, Screen(screen.width, is_colored)))
        if found.label_source == "guess":
            console.print_status("--label D says what the picture shows, so that the loss is about the truth")
    if not found.check.passed:
        console.error(f"the gradients are wrong; backprop check -m {clean(found.model)} says where")
        raise typer.Exit(1)


def _rates(text: str) -> tuple[float, ...]:
    """Return the learning rates of the ladder."""
    from backprop_cli.api.explanation import checked_rates

    try:
        return checked_rates([float(part) for part in text.split(",")])
    except ValueError:  # an ArgumentError is one too
        problem = f'--learning-rate "{text}": expected numbers above 0 separated by commas, such as 0.01,0.1'
        raise UsageError(problem) from None


def _write_worksheet(file: Path, path: str | None, found: Explanation) -> None:
    sheet = found.worksheet(None if path is None else path.split(","))
    write_atomic(file, sheet.text.encode())
    console.print_status(f"worksheet: {clean(file)} (--path {','.join(map(str, sheet.path))})")


def _write_page(file: Path, path: str | None, found: Explanation, model: Model) -> None:
    from backprop_cli.page.report import explanation_page

    write_atomic(file, explanation_page(found, model, None if path is None else path.split(",")))
    console.print_status(f"page: {clean(file)}")


# ---- in words ------------------------------------------------------------------------------------------------------


def format_explanation(found: Explanation, screen: Screen) -> list[Line]:
    """Return guess, loss, blame and correction as lines."""
    parts = (format_guess, format_loss, format_blame, format_correction, format_check)
    first, *others = (part(found, screen) for part in parts)
    return [*first, *(line for part in others for line in ["", *part])]


def _paragraph(screen: Screen, heading: str, text: str) -> list[str]:
    """Return a paragraph beside its heading, wrapped between words."""
    return wrap(
        text,
        width=min(screen.width, WIDEST_TEXT),
        initial_indent=heading.ljust(MARGIN),
        subsequent_indent=" " * MARGIN,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _note(screen: Screen, text: str) -> list[str]:
    """Return a remark, wrapped between words."""
    return wrap(text, width=min(screen.width, WIDEST_TEXT), break_long_words=False, break_on_hyphens=False)


def format_guess(found: Explanation, screen: Screen) -> list[Line]:
    """Return the guess, what the network sees, and what fires."""
    lines: list[Line] = [*_paragraph(screen, "GUESS", guess(found.probabilities, 3))]
    for note in guess_notes(found):
        lines += _paragraph(screen, "", note)
    lines.append("")
    if found.pixels.shape[1] <= WIDEST:
        lines += [f"  {line}".rstrip() for line in console.shade_lines(found.pixels)]
    else:
        lines.append(f"  ({'x'.join(map(str, found.pixels.shape))}: too wide to draw)")
    return [*lines, "", _activation_table(found)]


def _activation_table(found: Explanation) -> Table:
    from rich.text import Text

    table = console.table("layer", "activation", "in -> out", "fired", "largest activations", left=2)
    table.columns[-1].justify = "left"
    for layer in found.layers:
        is_output = layer is found.layers[-1]
        said = [(unit, found.trace.outputs[unit] if is_output else value) for unit, value in layer.largest[:3]]
        values = ", ".join(f"{_unit(found, layer, unit)}: {value:.2f}" for unit, value in said)
        table.add_row(
            layer.name,
            found.trace.loss.output if is_output else layer.activation,
            f"{layer.fan_in} -> {layer.fan_out}",
            "" if is_output else f"{layer.n_fired} of {layer.fan_out}",
            Text(values),
        )
    return table


def _unit(found: Explanation, layer: LayerBlame, unit: int) -> str:
    """Return what a unit is called: by its number, in the output layer by its class."""
    return clean(found.classes[unit]) if layer is found.layers[-1] else str(unit)


def format_loss(found: Explanation, screen: Screen) -> list[Line]:
    """Return what counts as the truth, and how the loss comes about."""
    return [*_paragraph(screen, "LOSS", loss_sentence(found))]


def format_blame(found: Explanation, screen: Screen) -> list[Line]:
    """Return how the blame is shared out: over the layers, the weights, and the pixels."""
    return [
        *_paragraph(screen, "BLAME", blame_sentence(found)),
        "",
        _layer_table(found),
        "",
        "The most blamed weights of each layer:",
        *(
            _paragraph(screen, "", "(pixels enter centered: a blank one as minus its mean ink)")
            if found.is_centered
            else []
        ),
        _weight_table(found),
        "",
        *format_input_blame(found, screen),
    ]


def _layer_table(found: Explanation) -> Table:
    table = console.table("layer", "share", "mean per weight", "half of it in", "none")
    for layer in found.layers[::-1]:
        table.add_row(
            layer.name,
            f"{100 * layer.blame_share:.1f} %",
            f"{layer.mean_abs_gradient:#.3g}",
            f"{layer.half_blame_count:,} of {layer.n_weights:,}",
            f"{layer.zero_gradient_count:,}",
        )
    return table


def _weight_table(found: Explanation) -> Table:
    from rich.text import Text

    table = console.table("layer", "from -> to", "input", "x delta", "= gradient", "weight", "-> new", left=2)
    before = None
    for weight in found.top_weights:
        layer = found.layers[weight.layer]
        table.add_row(
            layer.name if layer is not before else "",
            Text(f"{_source(weight)} -> {_unit(found, layer, weight.target)}"),
            f"{weight.input:#.4g}",
            f"{weight.delta:#.3g}",
            f"{weight.gradient:#.3g}",
            f"{weight.weight:.5f}",
            f"{weight.new_weight:.5f}",
        )
        before = layer
    return table


def _source(weight: WeightBlame) -> str:
    if weight.source is None:
        return "bias"
    return f"pixel {weight.source}" if weight.layer == 0 else str(weight.source)


def format_input_blame(found: Explanation, screen: Screen) -> list[Line]:
    """Return where more ink would help or harm, and beside it the picture where there is room."""
    from rich.text import Text

    gradient = found.input_gradient
    width = gradient.shape[1]
    if width > WIDEST:
        return []
    signed = console.drawn_signed(gradient / (float(abs(gradient).max()) or 1.0), colored=screen.is_colored)
    worse, better = ("red", "blue") if screen.is_colored else ("+", "-")
    beside = 4 * width + 5 <= screen.width
    picture = "; beside it the picture" if beside else ""
    lines: list[Line] = [*_note(screen, f"More ink here would make it worse ({worse}) or better ({better}){picture}:")]
    for blame, ink in zip(signed, console.shade_lines(found.pixels), strict=True):
        line = Text("  ").append_text(blame)
        lines.append(line.append(f"   {ink}") if beside else line)
    return lines


def format_correction(found: Explanation, screen: Screen) -> list[Line]:
    """Return the step at each learning rate, and what came of it."""
    lines: list[Line] = [
        *_paragraph(screen, "CORRECTION", correction_sentence(found)),
        *(_paragraph(screen, "", f"({found.rate_reason})") if found.rate_reason else []),
        *(_paragraph(screen, "", reason) if (reason := why_less_sure(found)) else []),
        "",
        _step_table(found),
        *_note(screen, "forecast: where a straight line would lead, loss - rate x |gradient|^2"),
    ]
    if any(step.forecast_loss < 0.0 for step in found.steps):
        lines += _note(screen, "(no loss is below 0: there the step is too long for a straight line)")
    return lines


def _step_table(found: Explanation) -> Table:
    from rich.text import Text

    truth, measured = found.label, found.test_accuracy is not None
    table = console.table("rate", "forecast", "loss", "guess", f"sure of {clean(truth)}", *["test set"] * measured, "")
    table.columns[0].justify, table.columns[-1].justify = "left", "left"
    rows = [("", "", found.loss, found.trace.probabilities, found.test_accuracy)]
    rows += [
        (f"{step.learning_rate:g}", f"{step.forecast_loss:.4g}", step.loss, step.probabilities, step.test_accuracy)
        for step in found.steps
    ]
    for rate, forecast, loss, probabilities, accuracy in rows:
        if not math.isfinite(loss):
            table.add_row(rate, forecast, *[""] * (3 + measured), Text("no longer finite", console.BAD))
            continue
        answer = found.by_class(probabilities)
        best = max(answer, key=lambda name: answer[name])
        table.add_row(
            rate or "before",
            forecast,
            f"{loss:.4g}",
            Text(f"{clean(best)} {percent(answer[best])}", console.GOOD if best == truth else ""),
            percent(answer[truth]),
            *([] if accuracy is None else [percent(accuracy)]),
            _verdict(found, loss, accuracy),
        )
    return table


def _verdict(found: Explanation, loss: float, accuracy: float | None) -> Text:
    """Return what is wrong with where a step has led."""
    from rich.text import Text

    verdict = found.verdict(loss, accuracy)
    return Text(verdict, VERDICTS[verdict]) if verdict else Text()


def format_check(found: Explanation, screen: Screen) -> list[Line]:
    """Return how the gradients were checked."""
    return [*_paragraph(screen, "CHECKED", check_sentence(found))]
