"""`backprop predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import AsJson, ModelName
from backprop_cli.cli.pictures import Invert, Reading, grids_of, guess, read, source_of
from backprop_cli.errors import PictureError, UsageError
from backprop_cli.files import clean, write_atomic

if TYPE_CHECKING:
    from backprop_cli.predictor import Predictor

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
    from backprop_cli.cli.models import load_predictor

    if digits == "many" and (show or save_input is not None):
        raise UsageError("--digits many: goes with neither --show nor --save-input, which are of one digit")
    path, predictor = load_predictor(model, or_pretrained=True)
    if digits == "many":
        numbers = [_number(name, predictor, invert) for name in _expand(pictures)]
        if as_json:
            console.answer_json("predict/1", {"model": str(path), "predictions": numbers})
        else:
            for number in numbers:
                _show_number(number, named=len(numbers) > 1)
        if any("error" in number for number in numbers):
            raise typer.Exit(1)
        return
    readings = [read(name, predictor, invert) for name in _expand(pictures)]
    if save_input is not None:
        _save_input(save_input, readings, predictor)
    answers = _answers(readings, predictor)
    if as_json:
        console.answer_json("predict/1", {"model": str(path), "predictions": answers})
    else:
        draw = show or (len(answers) == 1 and console.is_terminal(sys.stdout))
        for answer in answers:
            _show(answer, top, draw, named=len(answers) > 1)
    if any("error" in answer for answer in answers):
        raise typer.Exit(1)


def _expand(names: list[str]) -> list[str]:
    """Put the pictures of a folder, sorted, in its place."""
    expanded: list[str] = []
    for name in names:
        folder = Path(name)
        if name != "-" and _is_folder(folder):
            from backprop_cli.data.image import SUFFIXES

            inside = sorted(str(p) for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.is_dir())
            if not inside:
                raise UsageError(f"{name}: no pictures in this folder (it may hold {', '.join(sorted(SUFFIXES))})")
            expanded += inside
        else:
            expanded.append(name)
    return expanded


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long a name; whoever reads it as a file says so, beside the answers to the others
        return False


def _answers(readings: list[Reading], predictor: Predictor) -> list[dict[str, Any]]:
    """Ask the network about everything that could be read, at once."""
    import numpy as np

    grids = [reading.grid for reading in readings if reading.error is None]
    rows = iter(predictor.probabilities(np.stack(grids)) if grids else np.empty((0, 0)))
    answers: list[dict[str, Any]] = []
    for reading in readings:
        if reading.error is not None:
            answers.append({"path": reading.name, "error": reading.error})
            continue
        row = next(rows)
        predicted, probability = predictor.describe(row)
        answers.append(
            {
                "path": reading.name,
                "predicted": predicted,
                "probability": probability,
                "probabilities": {name: float(p) for name, p in zip(predictor.classes, row, strict=True)},
                "warnings": [*reading.doubts, *predictor.doubts(row)],
                "pixels": (reading.grid / predictor.scaling.max_value).round(4).tolist(),
            }
        )
    return answers


def _number(name: str, predictor: Predictor, invert: Invert) -> dict[str, Any]:
    """Read the digits of one picture from left to right."""
    from backprop_cli.data.row import digits_in_row

    if name.startswith("digits:"):
        raise UsageError(f"{name}: --digits many reads pictures; the samples hold one digit each")
    try:
        found = digits_in_row(source_of(name), invert)
    except PictureError as problem:
        return {"path": name, "error": str(problem)}
    rows = predictor.probabilities(grids_of([one.levels for one in found], predictor))
    answers = [predictor.describe(row) for row in rows]
    warnings = [
        f"digit {k}: {doubt}"
        for k, (one, row) in enumerate(zip(found, rows, strict=True), 1)
        for doubt in [*(["perhaps two digits that touch"] if one.is_wide else []), *predictor.doubts(row)]
    ]
    return {
        "path": name,
        "text": "".join(predicted for predicted, _ in answers),
        "digits": [
            {"predicted": predicted, "probability": probability, "box": [round(side, 4) for side in one.box]}
            for (predicted, probability), one in zip(answers, found, strict=True)
        ],
        "warnings": warnings,
    }


def _show_number(number: dict[str, Any], named: bool) -> None:
    from backprop_cli.predictor import percent

    if "error" in number:
        console.error(number["error"])
        return
    each = ", ".join(f"{clean(one['predicted'])}: {percent(one['probability'])}" for one in number["digits"])
    where = f"{clean(number['path'])}: " if named else ""
    console.answer(f"{where}{clean(number['text'])}   ({each})")
    for warning in number["warnings"]:
        console.warn(f"{number['path']}: {warning}")


def _show(answer: dict[str, Any], top: int, draw: bool, named: bool) -> None:
    where = f"{clean(answer['path'])}: " if named else ""
    if "error" in answer:
        console.error(answer["error"])
        return
    console.answer(where + guess(answer["probabilities"], top))
    for warning in answer["warnings"]:
        console.warn(f"{answer['path']}: {warning}")
    if draw:
        for line in console.drawn(answer["pixels"]):
            console.answer(f"  {line}")


def _save_input(path: Path, readings: list[Reading], predictor: Predictor) -> None:
    """Write what the network saw, dark on light, sixteen times as large."""
    import io

    import numpy as np
    from PIL import Image

    readable = [reading for reading in readings if reading.error is None]
    if len(readings) != 1:
        raise UsageError("--save-input: takes one picture at a time")
    if readable:
        ink = np.clip(readable[0].grid / predictor.scaling.max_value, 0.0, 1.0)
        grey = np.kron(255 - np.round(ink * 255), np.ones((16, 16))).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(grey).save(buffer, "PNG")
        write_atomic(path, buffer.getvalue())
