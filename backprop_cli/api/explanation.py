"""Guess, loss, blame and correction of one picture: the truth, the true numbers, and what the step does to others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from backprop_cli.api.arguments import whole_number
from backprop_cli.api.pictures import SAMPLES, picture_input
from backprop_cli.api.words import by_class, guess
from backprop_cli.arrays import Array
from backprop_cli.blas import blas_threads
from backprop_cli.config.config import config_of
from backprop_cli.data.dataset import load_digits
from backprop_cli.data.sources import split_dataset
from backprop_cli.engine.network import Network
from backprop_cli.errors import ArgumentError, DataError, PictureError
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.files import clean
from backprop_cli.insight import explain as insight
from backprop_cli.insight.explain import Correction, LayerBlame, WeightBlame
from backprop_cli.insight.worksheet import in_letters, most_blamed_path, worksheet

if TYPE_CHECKING:
    from backprop_cli.api.models import Model
    from backprop_cli.api.pictures import Source
    from backprop_cli.data.ink import Invert
    from backprop_cli.predictor import Predictor

__all__ = ["Correction", "Explanation", "LayerBlame", "WeightBlame", "Worksheet", "explain"]

LabelSource = Literal["given", "known", "guess"]
Verdict = Literal["overshoots", "harms the others"]

MAX_RATES, MAX_RATE = 20, 1e6
MAX_TOP = 10_000
FORGETS = 0.01  # of the test set: a step that costs so much accuracy has made others wrong for the sake of one
CHUNK_ROWS = 4096  # of the test set, measured at a time


@dataclass(frozen=True)
class Worksheet:
    """One path through the network as a sheet to follow by hand.

    Attributes:
        text: The sheet, Markdown.
        path: A pixel, a unit of each hidden layer, and the class's name.
    """

    text: str
    path: tuple[int | str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(insight.Explanation):
    """What one picture does to a model's first network.

    Attributes:
        path: The picture, as given.
        model: The model's file.
        classes: Names of the classes.
        pixels: What the network saw, (height, width), ink from 0 to 1.
        label_source: Where the truth comes from: given, known (a sample's), or the model's own guess.
        n_networks: Of the model; all numbers are those of the first.
        mean_probabilities: The answer of all networks together, by class name; None for a single one.
        temperature: What the model divides logits by, which the numbers here leave out; 1: by nothing.
        is_centered: Pixels are moved to mean 0: a blank one enters as another number.
        warnings: What speaks against the picture being one digit, in words.
        notes: What could not be measured, in words.
    """

    path: str
    model: str
    classes: tuple[str, ...]
    pixels: Array
    label_source: LabelSource
    n_networks: int
    mean_probabilities: dict[str, float] | None
    temperature: float
    is_centered: bool
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        truth = f"the truth is {clean(self.label)}, loss {self.loss:.4g}"
        return f"<Explanation {clean(self.path)}: {guess(self.probabilities, 2)}; {truth}>"

    @property
    def probabilities(self) -> dict[str, float]:
        """The guess of the network that is explained, by class name."""
        return self.by_class(self.trace.probabilities)

    @property
    def predicted(self) -> str:
        """The likeliest class."""
        probabilities = self.probabilities
        return max(probabilities, key=lambda name: probabilities[name])

    @property
    def label(self) -> str:
        """The class that counts as the truth."""
        return self.classes[self.trace.label]

    @property
    def loss(self) -> float:
        """Of this picture, nats for cross-entropy."""
        return self.trace.loss_value

    @property
    def input_gradient(self) -> Array:
        """Of the loss with respect to the network's inputs, (height, width): where more ink would help or harm."""
        return self.trace.grad_inputs.reshape(self.pixels.shape)

    @property
    def loss_formula(self) -> str:
        """How the loss comes about, such as `-ln(0.7) = 0.3567`."""
        trace, loss = self.trace, self.trace.loss
        if "{t}" in loss.term:
            targets = trace.targets
            target = f"t = {targets[trace.label]:.3g} for {clean(self.label)}, {targets.min():.3g} for the others"
            return f"sum of {in_letters(loss, loss.term)} = {trace.loss_value:.4g}, with {target}"
        missing = float(trace.probabilities.sum() - trace.probabilities[trace.label])
        said = f"(1 - {missing:.4g})" if missing < 0.01 else f"{trace.probabilities[trace.label]:.4g}"
        return f"{loss.term.format(o=said)} = {trace.loss_value:.4g}"

    def by_class(self, probabilities: Array) -> dict[str, float]:
        """Return probabilities, (n_classes,), by class name."""
        return by_class(self.classes, probabilities)

    def verdict(self, loss: float, test_accuracy: float | None) -> Verdict | None:
        """Return what is wrong with where a step has led; None for nothing.

        Args:
            loss: Of this picture afterward.
            test_accuracy: On the whole test set afterward, in [0, 1]; None where there is none.
        """
        if loss > self.loss:
            return "overshoots"
        if test_accuracy is not None and test_accuracy < (self.test_accuracy or 0.0) - FORGETS:
            return "harms the others"
        return None

    def worksheet(self, path: Sequence[int | str] | None = None) -> Worksheet:
        """Return one path through the network as a sheet to follow by hand.

        Args:
            path: A pixel, a unit of each hidden layer, and the name of a class; None: the most blamed ones.

        Raises:
            ArgumentError: There is no such path.
        """
        indices = most_blamed_path(self.trace) if path is None else self._indices(path)
        names = [clean(name) for name in self.classes]
        text = worksheet(self.trace, indices, self.steps[0], classes=names, title=clean(self.path))
        return Worksheet(text, (*indices[:-1], names[indices[-1]]))

    def _indices(self, path: Sequence[int | str]) -> tuple[int, ...]:
        """Return a path as indices: of a pixel, a unit of each hidden layer, and a class."""
        *parts, last = (str(part).strip() for part in path)
        where = f"path {','.join(map(str, path))}"
        sizes = [layer.fan_in for layer in self.trace.network.layers]
        if len(parts) != len(sizes):
            raise ArgumentError(f"{where}: this network needs {len(sizes) + 1}: pixel, a unit of each layer, class")
        for part, size in zip(parts, sizes, strict=True):
            if not part.isdecimal() or not part.isascii() or len(part) > 9 or int(part) >= size:
                raise ArgumentError(f'{where}: "{part}" is not in 0 to {size - 1}')
        return (*map(int, parts), _class(last, self.classes, where))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of `explain`."""
        return {
            "schema": "backprop.explain/1",
            "path": self.path,
            "model": self.model,
            "predicted": self.predicted,
            "label": self.label,
            "label_source": self.label_source,
            "member": 1 if self.n_networks > 1 else None,
            "probabilities": self.probabilities,
            "pixels": self.pixels.round(4).tolist(),
            "loss": self.loss,
            "layers": self._layer_dicts(),
            "top_weights": self._weight_dicts(),
            "input_gradient": self.input_gradient.tolist(),
            "zero_gradient_count": self.zero_gradient_count,
            "half_blame_count": self.half_blame_count,
            "max_relative_error": self.check.max_relative_error,
            "test_accuracy": self.test_accuracy,
            "steps": [self._step_dict(step) for step in self.steps],
        }

    def _layer_dicts(self) -> list[dict[str, Any]]:
        keys = ("name", "n_weights", "blame_share", "mean_abs_gradient", "activation")
        keys_after = ("half_blame_count", "zero_gradient_count", "zero_inputs", "zero_deltas")
        return [
            {
                **{key: getattr(layer, key) for key in keys},
                "units": layer.fan_out,
                "fired": layer.n_fired,
                **{key: getattr(layer, key) for key in keys_after},
                "max_relative_error": check.max_relative_error,
            }
            for layer, check in zip(self.layers, self.check.layers, strict=True)
        ]

    def _weight_dicts(self) -> list[dict[str, Any]]:
        keys = ("weight", "input", "delta", "gradient", "new_weight")
        return [
            {
                "layer": self.layers[weight.layer].name,
                "from": "bias" if weight.source is None else weight.source,
                "to": weight.target,
                **{key: getattr(weight, key) for key in keys},
            }
            for weight in self.top_weights
        ]

    def _step_dict(self, step: Correction) -> dict[str, Any]:
        return {
            "learning_rate": step.learning_rate,
            "forecast_loss": step.forecast_loss,
            "loss": _finite(step.loss),
            "probabilities": {name: _finite(p) for name, p in self.by_class(step.probabilities).items()},
            "test_accuracy": step.test_accuracy,
        }


def explain(
    model: Model,
    picture: Source,
    *,
    label: str | None = None,
    learning_rates: Sequence[float] = (0.01,),
    top: int = 3,
    invert: Invert = "auto",
) -> Explanation:
    """Follow one picture through guess, loss, blame and correction; see `Model.explain`."""
    rates, top = checked_rates(learning_rates), whole_number("top", top, 1, MAX_TOP)
    predictor = model.predictor
    found = picture_input(picture, predictor, invert)
    if found.grid is None:
        raise PictureError(found.error or "no picture")
    notes = ["the network was trained on this very picture"] if _was_trained_on(predictor, found.name) else []
    inputs = predictor.scaling.apply(found.grid[None])[0]
    with blas_threads(predictor.n_threads):
        number, source = _truth(label, found.label, predictor, inputs)
        explanation = insight.explain(
            predictor.networks[0],
            predictor.loss,
            inputs,
            number,
            learning_rates=rates,
            top=top,
            test_accuracy_of=_tester(predictor, notes),
        )
    n_networks, mean = len(predictor.networks), None
    if n_networks > 1:
        mean = by_class(predictor.classes, predictor.probabilities(found.grid[None])[0])
    return Explanation(
        **vars(explanation),
        path=found.name,
        model=predictor.where,
        classes=predictor.classes,
        pixels=found.pixels,
        label_source=source,
        n_networks=n_networks,
        mean_probabilities=mean,
        temperature=predictor.model.temperature,
        is_centered=bool(predictor.scaling.mean.any()),
        warnings=found.warnings,
        notes=tuple(notes),
    )


def _was_trained_on(predictor: Predictor, name: str) -> bool:
    """Return whether a sample of the digits is a row that the model was trained on."""
    number = name.removeprefix(SAMPLES)
    if number == name or not number.isdecimal():
        return False
    settings = config_of(predictor.model.config, where=f"{predictor.where}: config").data
    return settings.source == "digits" and int(number) in split_dataset(load_digits(), settings).train


def checked_rates(learning_rates: Any) -> tuple[float, ...]:
    """Return learning rates, one or several, as numbers.

    Raises:
        ArgumentError: They are none, too many, or not above 0.
    """
    try:
        rates = tuple(float(rate) for rate in np.atleast_1d(learning_rates))
    except (TypeError, ValueError):
        rates = ()
    if not 1 <= len(rates) <= MAX_RATES or not all(0.0 < rate <= MAX_RATE for rate in rates):
        raise ArgumentError(f"learning_rates {learning_rates}: 1 to {MAX_RATES} numbers above 0, such as (0.01, 0.1)")
    return rates


def _class(name: str, classes: tuple[str, ...], where: str) -> int:
    if name not in classes:
        raise ArgumentError(f'{where}: "{name}" is not one of {", ".join(classes)}')
    return classes.index(name)


def _truth(given: str | None, known: int | None, predictor: Predictor, inputs: Array) -> tuple[int, LabelSource]:
    """Return what counts as the truth, and how it is known."""
    if given is not None:
        return _class(str(given), predictor.classes, "label"), "given"
    if known is not None:
        return known, "known"
    return int(predictor.networks[0].logits(inputs[None])[0].argmax()), "guess"


def _tester(predictor: Predictor, notes: list[str]) -> Callable[[Network], float] | None:
    """Return what measures a network on the model's whole test set; None where that is not to be had."""
    try:
        dataset, rows = SplitData.of(predictor.model, where=predictor.where).select("test")
    except DataError as problem:
        notes.append(f"without the test set: {problem}")
        return None
    if len(rows) == 0:
        return None
    chunks = [rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS)]

    def test_accuracy_of(network: Network) -> float:
        n_right = 0
        for chunk in chunks:
            logits = network.logits(predictor.scaling.apply(dataset.pictures[chunk]))
            n_right += int((logits.argmax(axis=1) == dataset.labels[chunk]).sum())
        return n_right / len(rows)

    return test_accuracy_of


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
