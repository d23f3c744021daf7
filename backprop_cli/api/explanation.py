"""Guess, loss, blame and correction of one picture: the truth, the true numbers, and what the step does to others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from backprop_cli import notebook
from backprop_cli.api.arguments import whole_number
from backprop_cli.api.pictures import SAMPLES, PictureInput, picture_input
from backprop_cli.api.words import by_class, guess, percent
from backprop_cli.arrays import Array
from backprop_cli.blas import blas_threads
from backprop_cli.config.config import config_of
from backprop_cli.data.dataset import load_digits
from backprop_cli.data.sources import split_dataset
from backprop_cli.engine.network import Network
from backprop_cli.errors import ArgumentError, DataError, PictureError
from backprop_cli.experiment.run_data import load_model_data
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.files import clean
from backprop_cli.insight import explain as insight
from backprop_cli.insight.explain import Correction, LayerBlame, WeightBlame
from backprop_cli.insight.worksheet import loss_formula, most_blamed_path, worksheet

if TYPE_CHECKING:
    from backprop_cli.api.models import Model
    from backprop_cli.api.pictures import Source
    from backprop_cli.data.ink import Invert
    from backprop_cli.predictor import Predictor

__all__ = ["Correction", "Explanation", "LayerBlame", "WeightBlame", "Worksheet", "explain"]

LabelSource = Literal["given", "known", "guess"]
Verdict = Literal["overshoots", "harms the others"]

MAX_RATES, MAX_RATE = 20, 1e6
LADDER = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # learning rates of a correction that are tried
A_POINT = 0.01  # of accuracy
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
        rate_reason: How the learning rate of the correction was chosen, in words; empty where it was given.
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
    rate_reason: str = ""

    def __repr__(self) -> str:
        truth = f"the truth is {clean(self.label)}, loss {self.loss:.4g}"
        return f"<Explanation {clean(self.path)}: {guess(self.probabilities, 2)}; {truth}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        layers = [(one.name, percent(one.blame_share), f"{one.n_fired} of {one.fan_out}") for one in self.layers]
        sure = [percent(step.probabilities[self.trace.label]) for step in self.steps]
        steps = [(f"{step.learning_rate:g}", f"{step.loss:.4g}", p) for step, p in zip(self.steps, sure, strict=True)]
        said = [guess(self.probabilities, 2), f"the truth is {self.label}: loss = {self.loss_formula}", *self.warnings]
        said += [f"all of it is of the first of {self.n_networks} networks"] if self.n_networks > 1 else []
        return notebook.shown(
            notebook.picture(self.pixels.tolist(), "what it saw"),
            notebook.picture(self.input_gradient.tolist(), "ink here: more loss (orange), less (blue)", is_signed=True),
            notebook.words(said),
            notebook.table(("layer", "blame", "fired"), layers),
            notebook.table(("step at rate", "loss", "sure of the truth"), steps),
        )

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
        return loss_formula(self.trace, clean(self.label))

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
                raise ArgumentError(f'{where}: "{part}" is not between 0 and {size - 1}')
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
            "rate_reason": self.rate_reason,
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
    learning_rates: Sequence[float] | None = None,
    top: int = 3,
    invert: Invert = "auto",
) -> Explanation:
    """Follow one picture through guess, loss, blame and correction; see `Model.explain`."""
    rates = None if learning_rates is None else checked_rates(learning_rates)
    top = whole_number("top", top, 1, MAX_TOP)
    predictor, notes = model.predictor, list[str]()
    found = picture_input(picture, predictor, invert)
    if _was_trained_on(predictor, found.name):
        notes.append("the network was trained on this very picture")
    return explain_input(model, found, _own_data(model, notes), label=label, rates=rates, top=top, notes=notes)


def explain_input(
    model: Model,
    found: PictureInput,
    own: SplitData | None,
    *,
    label: str | None = None,
    rates: tuple[float, ...] | None = None,
    top: int = 3,
    notes: Sequence[str] = (),
) -> Explanation:
    """Follow a picture that has been read; see `Model.explain`. `own`: the model's data, if already loaded."""
    predictor = model.predictor
    if found.grid is None:
        raise PictureError(found.error or "no picture")
    inputs = predictor.scaling.apply(found.grid[None])[0]
    with blas_threads(predictor.n_threads):
        number, source = _truth(label, found.label, predictor, inputs)
        reason = ""
        if rates is None:
            rate, reason = _chosen_rate(predictor, own, inputs, number)
            rates = (rate,)
        explanation = insight.explain(
            predictor.networks[0],
            predictor.loss,
            inputs,
            number,
            learning_rates=rates,
            top=top,
            test_accuracy_of=_tester(predictor, own, "test"),
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
        rate_reason=reason,
    )


def _chosen_rate(predictor: Predictor, own: SplitData | None, inputs: Array, label: int) -> tuple[float, str]:
    """Return the learning rate of the correction that shows most without harm, and how it was chosen.

    It is the largest of a ladder, from 0.01 to the rate of training, that neither overshoots nor costs the validation
    part a point (without one: the rows trained on); never chosen by the test part.
    """
    trained_at = config_of(predictor.model.config, where=f"{predictor.where}: config").optimizer.learning_rate
    ladder = [LADDER[0], *(rate for rate in LADDER[1:] if rate < trained_at)]
    ladder += [trained_at] if trained_at > LADDER[0] else []
    has_validation = own is not None and len(own.splits.val)
    accuracy_of = _tester(predictor, own, "validation" if has_validation else "train")
    loss, steps = insight.corrections(predictor.networks[0], predictor.loss, inputs, label, ladder, accuracy_of)
    before = None if accuracy_of is None else accuracy_of(predictor.networks[0])
    fit = [
        step.learning_rate
        for step in steps
        if step.loss <= loss and (before is None or step.test_accuracy is None or step.test_accuracy > before - A_POINT)
    ]
    part = f"costs the {'validation' if has_validation else 'training'} part a point"
    harm = "overshoots" if before is None else f"overshoots nor {part}"
    tried = ", ".join(f"{rate:g}" for rate in ladder)
    if not fit:
        return ladder[0], f"the smallest of {tried}: each of them overshoots or {part}"
    if len(ladder) == 1:
        return ladder[0], ""
    neither = "does not overshoot" if before is None else f"neither {harm}"
    return max(fit), f"the largest of {tried} that {neither}"


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


def _own_data(model: Model, notes: list[str]) -> SplitData | None:
    """Return the data that a model comes from; None, and a note, where it is not to be had."""
    try:
        return load_model_data(model.predictor.model, where=model.predictor.where, path=model.path)
    except DataError as problem:
        notes.append(f"without the test set: {problem}")
        return None


def _tester(predictor: Predictor, own: SplitData | None, part: str) -> Callable[[Network], float] | None:
    """Return what measures a network on a part of the model's data; None where that is not to be had."""
    if own is None:
        return None
    dataset, rows = own.select(part)
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
