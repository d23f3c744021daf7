"""`backprop predict`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backprop_cli.api.words import percent
from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import (
    AsJson,
    Force,
    ModelName,
    as_a_shell,
    cell,
    check_new,
    check_table,
    load_model,
    offering,
    write_table,
)
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
  backprop predict samples:4 --show        a picture that travels in the package
  backprop predict scans/ --json           every picture of a folder
  backprop predict digits:1500 --show      sample 1500 of the digits data set
  backprop predict postcode.png --digits many
  backprop predict test.csv --csv answers.csv     a table, a row an answer
  cat photo.png | backprop predict -
"""

Digits = Literal["one", "many"]
Invert = Literal["auto", "yes", "no"]


@app.command(epilog=EXAMPLES)
def predict(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURE",
            help="Files, folders, tables (.csv, .npz, .npy, idx), - for stdin, digits:N.",
            show_default=False,
            callback=as_a_shell,
            autocompletion=offering("picture"),
        ),
    ],
    model: ModelName = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Number of classes to list per picture.")] = 2,
    show: Annotated[bool, typer.Option("--show", help="Draw what the network saw.")] = False,
    save_input: Annotated[
        Path | None, typer.Option("--save-input", metavar="FILE", help="Save what the network saw as a PNG.")
    ] = None,
    invert: Annotated[Invert, typer.Option("--invert", help="yes: light ink on dark; no: dark ink on light.")] = "auto",
    digits: Annotated[
        Digits, typer.Option("--digits", help="many: a number of several digits, from left to right.")
    ] = "one",
    csv: Annotated[
        str | None,
        typer.Option("--csv", metavar="FILE|-", help="Write the answers as a table: ImageId,Label for one table."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Read pictures of digits."""
    from backprop_cli.api.pictures import is_table, left_out
    from backprop_cli.api.prediction import document

    if csv is not None and (as_json or digits == "many"):
        raise UsageError("--csv: cannot be used with --json or --digits many")
    if digits == "many" and (show or save_input is not None):
        raise UsageError("--digits many: cannot be used with --show or --save-input, which are for one digit")
    check_table(csv, pictures)
    if save_input is not None:
        check_new(save_input, (".png",), option="--save-input ", force=force)
    found = load_model(model, or_pretrained=True)
    answers: Iterator[Prediction | Number]
    if digits == "many":
        answers = iter(_numbers(found, pictures, invert))
    elif save_input is not None:
        guesses = list(found.predict_many(pictures, invert=invert))
        _save_input(save_input, guesses)
        answers = iter(guesses)
    else:
        answers = found.predict_many(pictures, invert=invert)
    first = list(islice(answers, 2))  # what is wrong with all of them is said before anything is printed
    for told in left_out(pictures):
        console.print_status(told)
    errors = Counter[bool]()
    answers = _counted(chain(first, answers), errors)
    if csv is not None:
        is_one_table = len(pictures) == 1 and is_table(pictures[0])
        write_table(csv, csv_lines(answers if csv == "-" else _reported(answers), is_table=is_one_table))
        if csv != "-":
            console.print_status(f"{errors.total():,} answers in {clean(csv)}")
    elif as_json:
        console.print_json_list(document(found, []), (one.to_dict() for one in _told(answers)))
    else:
        draw, named = show or (len(first) == 1 and console.is_terminal(sys.stdout)), len(first) > 1
        for one in answers:
            _show(one, [] if one.error else _formatted(one, top, draw=draw), named=named)
    console.print_detail(f"answered: {errors.total():,} pictures, {errors[True]:,} of them with an error")
    if errors[True]:
        raise typer.Exit(1)


def _counted(answers: Iterable[Prediction | Number], errors: Counter[bool]) -> Iterator[Prediction | Number]:
    """Pass answers on, and count those that are none."""
    for one in answers:
        errors[one.error is not None] += 1
        yield one


def _told(answers: Iterable[Prediction | Number]) -> Iterator[Prediction | Number]:
    """Pass answers on, and say on stderr what is wrong with them, as without --json."""
    for one in answers:
        yield one
        if one.error is not None:
            console.error(one.error)
        for warning in one.warnings:
            console.warn(f"{one.path}: {warning}")


def _formatted(one: Prediction | Number, top: int, *, draw: bool) -> list[str]:
    from backprop_cli.api.number import Number

    return format_number(one) if isinstance(one, Number) else format_guess(one, top, draw=draw)


def _reported(answers: Iterable[Prediction | Number]) -> Iterator[Prediction | Number]:
    """Pass answers on, and say about once a second how many there are."""
    last_time = time.monotonic()
    for number, one in enumerate(answers, 1):
        yield one
        if time.monotonic() - last_time >= 1.0:
            last_time = time.monotonic()
            console.print_status(f"{number:,} answers")


def csv_lines(answers: Iterable[Any], *, is_table: bool) -> Iterator[str]:
    """Yield the lines of a table of answers: as Kaggle wants them for the rows of one table, else by path."""
    yield "ImageId,Label" if is_table else "path,label,probability"
    for number, one in enumerate(answers, 1):  # bad rows are answered too, with no label
        label = cell(one.predicted or "")
        probability = "" if one.probability is None else f"{one.probability:.6f}"
        yield f"{number},{label}" if is_table else f"{cell(one.path)},{label},{probability}"
        if one.error is not None:
            console.error(one.error)


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
