"""Pictures that the user names, as the network sees them; and its answer in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from backprop_cli.errors import PictureError, UsageError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.predictor import Predictor

MAX_STDIN = 50_000_000  # bytes

Invert = Literal["auto", "yes", "no"]


@dataclass
class Reading:
    """One picture on its way: its name as given, and the grid the network sees or what kept it from being read.

    Attributes:
        name: As given.
        grid: (height, width), ink high, from 0 to the model's `max_value`.
        error: Why there is no grid.
        label: The index of its class, where that is known.
        doubts: What speaks against its being one digit, in words.
    """

    name: str
    grid: Any = None
    error: str | None = None
    label: int | None = None
    doubts: tuple[str, ...] = ()


def read(name: str, predictor: Predictor, invert: Invert = "auto") -> Reading:
    """Bring one picture to the grid that the network sees, (height, width), in the data set's own counts."""
    if name.startswith("digits:"):
        return _sample(name, predictor)
    from backprop_cli.data.image import read_picture

    try:
        ink = read_picture(source_of(name), invert=invert)
    except PictureError as problem:
        return Reading(name, error=str(problem))
    return Reading(name, grids_of([ink.levels], predictor)[0], doubts=ink.doubts)


def source_of(name: str) -> Path | bytes:
    """Return the file of that name; for - the content of standard input, up to a byte more than is allowed."""
    if name != "-":
        return Path(name)
    if sys.stdin is None:
        raise UsageError("-: there is no standard input to read")
    return sys.stdin.buffer.read(MAX_STDIN + 1)


def grids_of(inks: Sequence[Any], predictor: Predictor) -> Any:
    """Return ink, each (height, width) of any size, as the network sees it, (n, height, width)."""
    from backprop_cli.data.normalize import normalize_many

    counts = normalize_many(inks, picture=predictor.picture_size, slant=predictor.slant)  # 0 to 16, as in the digits
    return counts * (predictor.scaling.max_value / 16.0)


def _sample(name: str, predictor: Predictor) -> Reading:
    """Return a sample of the digits data set, and what it is."""
    from dataclasses import replace

    from backprop_cli.data.dataset import load_digits
    from backprop_cli.data.sources import brought_to

    digits = load_digits()
    number = name.partition(":")[2]
    if not number.isdecimal() or not number.isascii() or len(number) > 9 or int(number) >= len(digits):
        raise UsageError(f"{name}: samples are counted from 0 to {len(digits) - 1}, such as digits:555")
    if predictor.classes != digits.classes:
        raise UsageError(f"{name}: the digits are 0 to 9, and this model reads something else")
    row = int(number)
    one = replace(digits, pictures=digits.pictures[row : row + 1])
    grid = brought_to(one, predictor.picture_size, predictor.slant).pictures[0].astype("float32")
    return Reading(name, grid * (predictor.scaling.max_value / digits.max_value), label=int(digits.labels[row]))


def guess(probabilities: dict[str, float], top: int) -> str:
    """Return "I am 97.3 % sure this is a 4 (9: 1.2 %)".

    Args:
        probabilities: By class name.
        top: How many answers to give.
    """
    from backprop_cli.predictor import percent

    (best, sure), *others = sorted(probabilities.items(), key=lambda item: -item[1])[: max(1, top)]
    rest = ", ".join(f"{clean(name)}: {percent(p)}" for name, p in others)
    return f"I am {percent(sure)} sure this is {a(best)}" + (f" ({rest})" if rest else "")


def a(name: str) -> str:
    """Return a class name with its article."""
    return f"{'an' if name == '8' else 'a'} {clean(name)}"
