"""What a model makes of pictures that show one digit each."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli import notebook
from backprop_cli.api.pictures import PictureInput, expanded, is_table, picture_input
from backprop_cli.api.words import by_class, guess
from backprop_cli.arrays import Array
from backprop_cli.errors import ArgumentError, PictureError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.api.models import Model
    from backprop_cli.api.number import Number
    from backprop_cli.api.pictures import Source
    from backprop_cli.data.ink import Invert
    from backprop_cli.predictor import Predictor


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

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        if self.pixels is None:
            return notebook.shown(notebook.words([f"{self.path}: {self.error}"]))
        said = notebook.words([self.sentence(top=2), *self.warnings])
        answer = notebook.column(said, notebook.bars(self.probabilities or {}))
        return notebook.shown(notebook.picture(self.pixels.tolist()), answer)

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
    return (one for source in expanded(sources) for one in _answers(predictor, source, invert))


def _answers(predictor: Predictor, source: Source, invert: Invert) -> Iterator[Prediction]:
    """Yield the answer to a picture, or to each row of a table."""
    if not (isinstance(source, str | os.PathLike) and is_table(source)):
        yield _prediction(picture_input(source, predictor, invert), predictor)
        return
    from backprop_cli.api.tables import A_ROW, batches

    name, next_number = os.fspath(source), 0
    for numbers, grids, even in batches(predictor, name):
        answers = zip(grids, even, predictor.probabilities(grids) if len(grids) else grids, strict=True)
        for number in numbers:
            for bad in range(next_number, number):
                yield Prediction(f"{name}:{bad}", error=f"{name}:{bad}: a bad row; {A_ROW}")
            next_number = number + 1
            if (answer := next(answers, None)) is not None:
                grid, is_even, probabilities = answer
                warnings = ("blank: every pixel is the same",) if is_even else ()
                full = predictor.scaling.max_value
                picture = PictureInput(f"{name}:{number}", grid, full, warnings=warnings)
                yield _answer(picture, predictor, probabilities)


def _prediction(picture: PictureInput, predictor: Predictor) -> Prediction:
    if picture.grid is None:
        return Prediction(picture.name, error=picture.error)
    return _answer(picture, predictor, predictor.probabilities(picture.grid[None])[0])


def _answer(picture: PictureInput, predictor: Predictor, row: Array) -> Prediction:
    predicted, probability = predictor.best_class(row)
    return Prediction(
        path=picture.name,
        predicted=predicted,
        probability=probability,
        probabilities=by_class(predictor.classes, row),
        warnings=(*picture.warnings, *predictor.warnings(row)),
        pixels=picture.pixels,
    )


def predict_proba(predictor: Predictor, grids: NDArray[Any]) -> Array:
    """Return the probabilities of grids; see `Model.predict_proba`."""
    array, (height, width) = np.asarray(grids), predictor.picture_size
    full, other = predictor.scaling.max_value, "predict takes pictures as a person sees them"
    if array.shape[1:] not in ((height, width), (height * width,)) or array.dtype.kind not in "buif":
        wanted = f"(n, {height}, {width}) or (n, {height * width})"
        raise ArgumentError(f"grids of {array.dtype}, {array.shape}: expected numbers of shape {wanted}; {other}")
    if not len(array):
        return np.empty((0, len(predictor.classes)), np.float32)
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
