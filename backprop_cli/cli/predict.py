"""`backprop predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backprop_cli.api.words import percent
from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import AsJson, ModelName, load_model
from backprop_cli.errors import UsageError
from backprop_cli.files import clean, write_atomic

if TYPE_CHECKING:
    from backprop_cli.api.models import Model
    from backprop_cli.api.number import Number
    from backprop_cli.api.prediction import Prediction

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop predict photo.png               what digit is it?
  backprop predict scans/ --json           every picture of a folder
  backprop predict digits:1500 --show      sample 1500 of the digits data set
  backprop predict postcode.png --digits many
  cat photo.png | backprop predict -
"""

Digits = Literal["one", "many"]
Invert = Literal["auto", "yes", "no"]


@app.command(epilog=EXAMPLES)
def predict(
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PICTURE...", help="Files, folders, - for stdin, digits:N.", show_default=False),
    ],
    model: ModelName = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many answers to give for each picture.")] = 2,
    show: Annotated[bool, typer.Option("--show", help="Draw what the network saw.")] = False,
    save_input: Annotated[
        Path | None, typer.Option("--save-input", metavar="FILE", help="Save what the network saw as a PNG.")
    ] = None,
    invert: Annotated[Invert, typer.Option("--invert", help="yes: light ink on dark; no: dark ink on light.")] = "auto",
    digits: Annotated[
        Digits, typer.Option("--digits", help="many: a number of several digits, from left to right.")
    ] = "one",
    as_json: AsJson = False,
) -> None:
    """Read pictures of digits."""
    from backprop_cli.api.prediction import document

    if digits == "many" and (show or save_input is not None):
        raise UsageError("--digits many: goes with neither --show nor --save-input, which are of one digit")
    found = load_model(model, or_pretrained=True)
    numbers = _numbers(found, pictures, invert) if digits == "many" else []
    guesses = list(found.predict_many(pictures, invert=invert)) if digits == "one" else []
    if save_input is not None:
        _save_input(save_input, guesses)
    answers: list[Prediction | Number] = [*numbers, *guesses]
    if as_json:
        console.print_json(document(found, answers))
    else:
        draw, named = show or (len(answers) == 1 and console.is_terminal(sys.stdout)), len(answers) > 1
        for number in numbers:
            _show(number, [] if number.error else format_number(number), named=named)
        for one in guesses:
            _show(one, [] if one.error else format_guess(one, top, draw=draw), named=named)
    if any(answer.error is not None for answer in answers):
        raise typer.Exit(1)


def _numbers(model: Model, pictures: list[str], invert: Invert) -> list[Number]:
    for name in pictures:
        if name.startswith("digits:"):
            raise UsageError(f"{name}: --digits many reads pictures; the samples hold one digit each")
    return list(model.predict_numbers(pictures, invert=invert))


def format_guess(answer: Prediction, top: int, *, draw: bool) -> list[str]:
    """Return the answer to a picture as lines.

    Args:
        answer: One that was read.
        top: How many guesses to give.
        draw: Whether to draw what the network saw.
    """
    drawing = console.shade_lines(answer.pixels) if draw and answer.pixels is not None else []
    return [answer.sentence(top), *(f"  {line}" for line in drawing)]


def format_number(number: Number) -> list[str]:
    """Return the digits of a picture as lines."""
    each = ", ".join(f"{clean(one.predicted)}: {percent(one.probability)}" for one in number.digits)
    return [f"{clean(number.text)}   ({each})"]


def _show(answer: Prediction | Number, lines: list[str], *, named: bool) -> None:
    """Print the lines of an answer, the first behind the picture's name, and its warnings after that."""
    if answer.error is not None:
        console.error(answer.error)
        return
    first, *drawing = lines
    console.print_result(f"{clean(answer.path)}: {first}" if named else first)
    for warning in answer.warnings:
        console.warn(f"{answer.path}: {warning}")
    console.print_lines(drawing)


def _save_input(path: Path, predictions: list[Prediction]) -> None:
    """Write what the network saw, dark on light, sixteen times as large."""
    if len(predictions) != 1:
        raise UsageError("--save-input: takes one picture at a time")
    if predictions[0].error is None:
        write_atomic(path, predictions[0].input_png())
