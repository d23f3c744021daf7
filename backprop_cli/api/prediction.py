"""What a model makes of pictures: one, many, or the digits of a number."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.api.pictures import PictureInput, expanded, name_of, number_inputs, picture_input
from backprop_cli.api.words import guess, percent
from backprop_cli.data.ink import Invert
from backprop_cli.errors import ArgumentError, PictureError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.api.models import Model
    from backprop_cli.api.pictures import Source
    from backprop_cli.predictor import Predictor

Array = NDArray[Any]  # of floats

ENLARGED = 16  # pixels of a saved picture to one that the network sees


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a model makes of one picture, or why it could not be read.

    Attributes:
        path: The picture, as given.
        predicted: The likeliest class; None with an error.
        probability: Of that class, in [0, 1].
        probabilities: Of every class, by name.
        warnings: What speaks against the answer, in words.
        pixels: What the network saw, (height, width), ink from 0 to 1; None with an error.
        error: Why there is no answer.
    """

    path: str
    predicted: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] | None = None
    warnings: tuple[str, ...] = ()
    pixels: Array | None = None
    error: str | None = None

    def __repr__(self) -> str:
        return f"<Prediction {clean(self.path)}: {clean(self.error or self.sentence(top=2))}>"

    def sentence(self, top: int = 2) -> str:
        """Return "I am 97.3 % sure this is a 4 (9: 1.2 %)", with so many answers.

        Raises:
            PictureError: There is no answer.
        """
        if self.probabilities is None:
            raise PictureError(self.error or "no answer")
        return guess(self.probabilities, top)

    def to_dict(self) -> dict[str, Any]:
        """Return the picture's entry in the JSON document of `predict`."""
        if self.pixels is None:
            return {"path": self.path, "error": self.error}
        return {
            "path": self.path,
            "predicted": self.predicted,
            "probability": self.probability,
            "probabilities": self.probabilities,
            "warnings": list(self.warnings),
            "pixels": self.pixels.round(4).tolist(),
        }

    def input_png(self) -> bytes:
        """Return what the network saw as a PNG file, dark on light, sixteen times as large.

        Raises:
            PictureError: The picture could not be read.
        """
        from PIL import Image

        if self.pixels is None:
            raise PictureError(self.error or "no picture")
        levels = 255 - np.round(np.clip(self.pixels, 0.0, 1.0) * 255)
        buffer = io.BytesIO()
        Image.fromarray(np.kron(levels, np.ones((ENLARGED, ENLARGED))).astype(np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()


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


def predict(predictor: Predictor, source: Source, invert: Invert = "auto") -> Prediction:
    """Return the answer to one picture; see `Model.predict`."""
    found = _prediction(picture_input(source, predictor, invert), predictor)
    if found.error is not None:
        raise PictureError(found.error)
    return found


def predict_many(
    predictor: Predictor, sources: Source | Iterable[Source], invert: Invert = "auto"
) -> Iterator[Prediction]:
    """Return the answers to pictures, one after the other; see `Model.predict_many`."""
    return (_prediction(picture_input(source, predictor, invert), predictor) for source in expanded(sources))


def predict_number(predictor: Predictor, source: Source, invert: Invert = "auto") -> Number:
    """Return the digits of one picture; see `Model.predict_number`."""
    found = _number(source, predictor, invert)
    if found.error is not None:
        raise PictureError(found.error)
    return found


def predict_numbers(
    predictor: Predictor, sources: Source | Iterable[Source], invert: Invert = "auto"
) -> Iterator[Number]:
    """Return the numbers on pictures, one after the other; see `Model.predict_numbers`."""
    return (_number(source, predictor, invert) for source in expanded(sources))


def _prediction(picture: PictureInput, predictor: Predictor) -> Prediction:
    if picture.grid is None:
        return Prediction(picture.name, error=picture.error)
    row = predictor.probabilities(picture.grid[None])[0]
    predicted, probability = predictor.best_class(row)
    return Prediction(
        path=picture.name,
        predicted=predicted,
        probability=probability,
        probabilities=by_class(predictor, row),
        warnings=(*picture.warnings, *predictor.doubts(row)),
        pixels=picture.pixels,
    )


def _number(source: Source, predictor: Predictor, invert: Invert) -> Number:
    try:
        pictures, found = number_inputs(source, predictor, invert)
    except PictureError as problem:
        return Number(name_of(source), error=str(problem))
    rows = predictor.probabilities(np.array([picture.grid for picture in pictures]))
    answers = [predictor.best_class(row) for row in rows]
    warnings = tuple(
        f"digit {k}: {warning}"
        for k, (one, row) in enumerate(zip(found, rows, strict=True), 1)
        for warning in [*(["perhaps two digits that touch"] if one.is_wide else []), *predictor.doubts(row)]
    )
    digits = tuple(NumberDigit(*answer, one.box) for answer, one in zip(answers, found, strict=True))
    return Number(name_of(source), "".join(one.predicted for one in digits), digits, warnings)


def by_class(predictor: Predictor, row: Array) -> dict[str, float]:
    """Return one answer, (n_classes,), by the names of the classes."""
    return {name: float(p) for name, p in zip(predictor.classes, row, strict=True)}


def predict_proba(predictor: Predictor, grids: NDArray[Any]) -> Array:
    """Return the probabilities of grids; see `Model.predict_proba`."""
    array, (height, width) = np.asarray(grids), predictor.picture_size
    full, other = predictor.scaling.max_value, "predict takes pictures as a person sees them"
    if array.shape[1:] not in ((height, width), (height * width,)) or array.dtype.kind not in "buif":
        wanted = f"(n, {height}, {width}) or (n, {height * width})"
        raise ArgumentError(f"grids of {array.dtype}, {array.shape}: numbers of shape {wanted} are wanted; {other}")
    if not len(array):
        return np.empty((0, len(predictor.classes)))
    low, high = float(array.min()), float(array.max())
    if not 0.0 <= low <= high <= full or 0.0 < high <= 1.0 < full:
        raise ArgumentError(f"grids from {low:g} to {high:g}: this model's counts are from 0 to {full:g}; {other}")
    return predictor.probabilities(array.reshape(-1, height, width))


def document(model: Model, answers: Sequence[Prediction | Number]) -> dict[str, Any]:
    """Return the JSON document of `predict`."""
    return {
        "schema": "backprop.predict/1",
        "model": str(model.path),
        "predictions": [one.to_dict() for one in answers],
    }
