"""What a model makes of a picture with several digits in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backprop_cli.api.pictures import expanded, name_of, number_inputs
from backprop_cli.api.words import percent
from backprop_cli.errors import PictureError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.api.pictures import Source
    from backprop_cli.data.ink import Invert
    from backprop_cli.predictor import Predictor


@dataclass(frozen=True)
class NumberDigit:
    """One digit of a number.

    Attributes:
        predicted: The likeliest class.
        probability: Of that class, in [0, 1].
        box: Left, top, right, bottom, as shares of the picture's width and height, in [0, 1].
    """

    predicted: str
    probability: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, repr=False)
class Number:
    """The digits of one picture, from left to right, or why it could not be read.

    Attributes:
        path: The picture, as given.
        text: The digits, such as `1848`.
        digits: One by one.
        warnings: What speaks against them, in words.
        error: Why there are none.
    """

    path: str
    text: str = ""
    digits: tuple[NumberDigit, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None

    def __repr__(self) -> str:
        sure = ", ".join(f"{one.predicted}: {percent(one.probability)}" for one in self.digits)
        return f"<Number {clean(self.path)}: {clean(self.error or f'{self.text} ({sure})')}>"

    def to_dict(self) -> dict[str, Any]:
        """Return the picture's entry in the JSON document of `predict`."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        return {
            "path": self.path,
            "text": self.text,
            "digits": [asdict(one) | {"box": [round(side, 4) for side in one.box]} for one in self.digits],
            "warnings": list(self.warnings),
        }


def predict_number(predictor: Predictor, source: Source, invert: Invert = "auto") -> Number:
    """Return the digits of one picture; see `Model.predict_number`."""
    found = _read_number(source, predictor, invert)
    if found.error is not None:
        raise PictureError(found.error)
    return found


def predict_numbers(
    predictor: Predictor, sources: Source | Iterable[Source], invert: Invert = "auto"
) -> Iterator[Number]:
    """Return the numbers on pictures, one after the other; see `Model.predict_numbers`."""
    return (_read_number(source, predictor, invert) for source in expanded(sources))


def _read_number(source: Source, predictor: Predictor, invert: Invert) -> Number:
    try:
        pictures, found = number_inputs(source, predictor, invert)
    except PictureError as problem:
        return Number(name_of(source), error=str(problem))
    rows = predictor.probabilities(np.array([picture.grid for picture in pictures]))
    answers = [predictor.best_class(row) for row in rows]
    warnings = tuple(
        f"digit {k}: {warning}"
        for k, (one, row) in enumerate(zip(found, rows, strict=True), 1)
        for warning in [*(["perhaps two digits that touch"] if one.is_wide else []), *predictor.warnings(row)]
    )
    digits = tuple(NumberDigit(*answer, one.box) for answer, one in zip(answers, found, strict=True))
    return Number(name_of(source), "".join(one.predicted for one in digits), digits, warnings)
