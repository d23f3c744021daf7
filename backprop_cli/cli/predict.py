"""`backprop predict`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.errors import PictureError, UsageError
from backprop_cli.store.files import clean, write_atomic

if TYPE_CHECKING:
    from backprop_cli.predictor import Predictor

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop predict photo.png               what digit is it?
  backprop predict scans/ --json           every picture of a folder
  backprop predict digits:1500 --show      sample 1500 of the digits data set
  cat photo.png | backprop predict -
"""

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm", ".pnm"}
MAX_STDIN = 50_000_000  # bytes

Invert = Literal["auto", "yes", "no"]


@dataclass
class Reading:
    """One picture on its way: its name as given, the grid the network sees or what kept it from being read, doubts."""

    name: str
    grid: Any = None
    error: str | None = None
    doubts: tuple[str, ...] = ()


@app.command(epilog=EXAMPLES)
def predict(
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PICTURE...", help="Files, folders, - for stdin, digits:N.", show_default=False),
    ],
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="RUN|FILE", help="Default: the last run.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many answers to give for each picture.")] = 2,
    show: Annotated[bool, typer.Option("--show", help="Draw what the network saw.")] = False,
    save_input: Annotated[
        Path | None, typer.Option("--save-input", metavar="FILE", help="Save what the network saw as a PNG.")
    ] = None,
    invert: Annotated[Invert, typer.Option("--invert", help="yes: light ink on dark; no: dark ink on light.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON document.")] = False,
) -> None:
    """Read pictures of digits."""
    from backprop_cli.cli.models import load_predictor

    path, predictor = load_predictor(model)
    readings = [_read(name, predictor, invert) for name in _expand(pictures)]
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
        if name != "-" and folder.is_dir():
            inside = sorted(str(p) for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.is_dir())
            if not inside:
                raise UsageError(
                    f"{name}: no pictures in this folder (it may hold {', '.join(sorted(PICTURE_SUFFIXES))})"
                )
            expanded += inside
        else:
            expanded.append(name)
    return expanded


def _read(name: str, predictor: Predictor, invert: Invert) -> Reading:
    """Bring one picture to the grid that the network sees, (height, width), in the data set's own counts."""
    if name.startswith("digits:"):
        return Reading(name, _sample(name, predictor))
    from backprop_cli.data.image import read_picture
    from backprop_cli.data.normalize import normalize_many

    try:
        source = sys.stdin.buffer.read(MAX_STDIN + 1) if name == "-" else Path(name)
        ink = read_picture(source, invert=invert)
    except PictureError as problem:
        return Reading(name, error=str(problem))
    counts = normalize_many([ink.levels], picture=predictor.picture_size)[0]  # 0 to 16, as in the digits
    return Reading(name, counts * (predictor.scaling.max_value / 16.0), doubts=ink.doubts)


def _sample(name: str, predictor: Predictor) -> Any:
    """Return a sample of the digits data set."""
    from backprop_cli.data.dataset import load_digits

    digits = load_digits()
    number = name.partition(":")[2]
    if not number.isdecimal() or not number.isascii() or len(number) > 9 or int(number) >= len(digits):
        raise UsageError(f"{name}: samples are counted from 0 to {len(digits) - 1}, such as digits:555")
    if predictor.picture_size != digits.picture_size or predictor.classes != digits.classes:
        raise UsageError(f"{name}: the digits are 8x8 pictures of 0 to 9, and this model reads something else")
    return digits.pictures[int(number)].astype("float32")


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


def _show(answer: dict[str, Any], top: int, draw: bool, named: bool) -> None:
    from backprop_cli.predictor import percent

    where = f"{clean(answer['path'])}: " if named else ""
    if "error" in answer:
        console.error(answer["error"])
        return
    ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])[:top]
    others = ", ".join(f"{clean(name)}: {percent(p)}" for name, p in ranked[1:])
    sentence = f"I am {percent(answer['probability'])} sure this is {_a(clean(answer['predicted']))}"
    console.answer(f"{where}{sentence}" + (f" ({others})" if others else ""))
    for warning in answer["warnings"]:
        console.warn(f"{answer['path']}: {warning}")
    if draw:
        for line in console.drawn(answer["pixels"]):
            console.answer(f"  {line}")


def _a(name: str) -> str:
    return f"an {name}" if name == "8" else f"a {name}"


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
