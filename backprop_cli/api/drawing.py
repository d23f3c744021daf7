"""A board to draw on: what a model makes of a drawing, and what single steps of learning from it would do.

The model itself never changes, and a board knows no visitor: every question brings the steps taken so far, and they are
taken again on copies of the networks. The last of those are kept, so that one more step costs one step.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from backprop_cli.api.lesson import LessonLine, lesson
from backprop_cli.api.others import OtherPictures
from backprop_cli.api.pictures import PictureInput, picture_input
from backprop_cli.api.words import by_class, guess
from backprop_cli.arrays import Array
from backprop_cli.blas import blas_threads
from backprop_cli.engine.gradient_check import propagate
from backprop_cli.engine.network import Network, as_float64, layer_names
from backprop_cli.errors import ArgumentError, PictureError, UsageError
from backprop_cli.insight import explain as insight
from backprop_cli.insight.explain import Correction, LayerBlame, Trace, WeightBlame
from backprop_cli.store.runs import PRETRAINED

if TYPE_CHECKING:
    from backprop_cli.api.models import Model

Picture = bytes | int
"""The content of a picture file, or the number of a row of the model's own data."""

Networks = Sequence[Network]

MAX_STEPS = 50
MAX_RATE = 100.0
KEPT_BYTES = 80_000_000  # of networks that steps have led to
KEPT_PICTURES = 512
N_PARTS = 4  # of a unit's sum, that are told
NOT_FINITE = "after these steps the numbers are no longer finite: the steps were too large; undo one"


@dataclass(frozen=True)
class Step:
    """One plain gradient step, for one picture, of every network.

    Attributes:
        picture: What is learned from.
        label: The class that it shows.
        learning_rate: In (0, 100].
    """

    picture: Picture
    label: str
    learning_rate: float


@dataclass(frozen=True, eq=False)
class FiredLayer:
    """What the units of a layer of the first network say.

    Attributes:
        name: `layer 1`, ..., `output`.
        activation: Its name; of the output layer that of the output units.
        values: (units,).
    """

    name: str
    activation: str
    values: Array


@dataclass(frozen=True, eq=False)
class Look:
    """What a model makes of a drawing.

    Attributes:
        name: Of the picture.
        label: What it shows, where that is known.
        probabilities: Of all networks together, by class.
        warnings: What speaks against the answer, in words.
        pixels: What the network sees, (height, width), ink from 0 to 1.
        layers: What fires in the first network.
    """

    name: str
    label: str | None
    probabilities: dict[str, float]
    warnings: tuple[str, ...]
    pixels: Array
    layers: tuple[FiredLayer, ...]

    @property
    def sentence(self) -> str:
        """The guess, such as "I am 97.3 % sure this is a 4 (9: 1.2 %)"."""
        return guess(self.probabilities, 2)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        layers = [{"name": k.name, "activation": k.activation, "values": rounded(k.values)} for k in self.layers]
        return {
            "name": self.name,
            "label": self.label,
            "predicted": max(self.probabilities, key=lambda name: self.probabilities[name]),
            "sentence": self.sentence,
            "probabilities": self.probabilities,
            "warnings": list(self.warnings),
            "pixels": rounded(self.pixels),
            "layers": layers,
        }


@dataclass(frozen=True, eq=False)
class UnitView:
    """One unit of the first network: what it looks for, and the sum that it makes.

    Attributes:
        layer: The name of its layer.
        name: Its number, or its class.
        weights: Those from the inputs, (height, width); of a deeper unit how much each pixel moves its sum here.
        is_direct: Whether they are the weights themselves.
        parts: The largest parts of the sum: what comes in (pixel, unit), its input and its weight.
        bias: Added to them.
        total: The sum over all of them.
        output: What the unit makes of it.
        activation: By which function.
    """

    layer: str
    name: str
    weights: Array
    is_direct: bool
    parts: tuple[tuple[int, float, float], ...]
    bias: float
    total: float
    output: float
    activation: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**vars(self), "weights": rounded(self.weights), "parts": [list(part) for part in self.parts]}


@dataclass(frozen=True, eq=False)
class Corrected:
    """Loss, blame and correction of a drawing.

    Attributes:
        label: What it shows.
        trace: The way of the picture through the first network and back.
        classes: Names of the classes.
        layers: Each layer's part of the blame.
        weights: The most blamed ones of each layer, from the output backward.
        input_gradient: dLoss/dinputs, (height, width): where more ink would harm (above 0) or help.
        step: Of the first network.
        probabilities: Of all networks after it, by class; None where they are no longer finite.
        n_networks: All of which take the step.
    """

    label: str
    trace: Trace
    classes: tuple[str, ...]
    layers: tuple[LayerBlame, ...]
    weights: tuple[WeightBlame, ...]
    input_gradient: Array
    step: Correction
    probabilities: dict[str, float] | None
    n_networks: int

    @property
    def lesson(self) -> tuple[LessonLine, ...]:
        """Guess, loss, blame and correction, a line each."""
        return lesson(self.trace, self.label, self.classes, self.layers, self.weights, self.step)

    @property
    def overshoots(self) -> bool:
        """Whether the step makes even its own picture worse."""
        return not self.step.loss <= self.trace.loss_value

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; what is not finite is None."""
        step, trace = self.step, self.trace
        return {
            "label": self.label,
            "n_networks": self.n_networks,
            "member_sentence": guess(by_class(self.classes, trace.probabilities), 2),
            "loss": trace.loss_value,
            "layers": [{"name": layer.name, "blame_share": layer.blame_share} for layer in self.layers],
            "weights": [self._weight(weight) for weight in self.weights],
            "input_gradient": self.input_gradient.tolist(),
            "learning_rate": step.learning_rate,
            "forecast_loss": finite(step.forecast_loss),
            "new_loss": finite(step.loss),
            "overshoots": self.overshoots,
            "probabilities": self.probabilities,
            "sentence": NOT_FINITE if self.probabilities is None else guess(self.probabilities, 2),
            "lesson": [vars(line) for line in self.lesson],
        }

    def _weight(self, weight: WeightBlame) -> dict[str, Any]:
        is_output = weight.layer == len(self.layers) - 1
        return {
            **vars(weight),
            "layer": self.layers[weight.layer].name,
            "source": "bias" if weight.source is None else weight.source,
            "target": self.classes[weight.target] if is_output else weight.target,
        }


class Board:
    """A model to draw for.

    Args:
        model: Is left as it is.

    Attributes:
        model: The same.
        others: Pictures of its own data: digits to choose, and what a step does to the others.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.predictor = model, model.predictor
        self.others = OtherPictures(model)
        self._seen = lru_cache(KEPT_PICTURES)(self._read)
        self._kept: OrderedDict[tuple[Step, ...], list[Array]] = OrderedDict()  # their parameters
        size = 8 * sum(network.n_params for network in self.predictor.networks)
        self._n_kept = max(2, KEPT_BYTES // size)

    def about(self) -> dict[str, Any]:
        """Return what a page has to know of the model, as plain data."""
        network, loss = self.predictor.networks[0], self.predictor.loss
        return {
            **self.model.to_dict(),
            "reference": "pretrained" if self.model.path == PRETRAINED else str(self.model.path or "in memory"),
            "layers": [
                {"name": name, "units": layer.fan_out, "activation": layer.activation}
                for name, layer in zip(layer_names(network), network.layers, strict=True)
            ],
            "output": loss.output,
            "max_steps": MAX_STEPS,
            "has_samples": self.others.has_samples,
        }

    def seen(self, picture: Picture) -> PictureInput:
        """Return what the networks see of a picture.

        Raises:
            PictureError: It cannot be read, or is blank.
            UsageError: There is no such row.
        """
        return self._seen(picture)

    def _read(self, picture: Picture) -> PictureInput:
        if isinstance(picture, int):
            return self.others.picture(picture)
        found = picture_input(picture, self.predictor)
        if found.grid is None:
            raise PictureError((found.error or "no picture").removeprefix("bytes: "))
        return found

    def look(self, picture: Picture, steps: Sequence[Step] = ()) -> Look:
        """Return what the model makes of a picture after some steps.

        Raises:
            ArgumentError: The steps are too many, or one of them is none.
        """
        found, networks = self.seen(picture), self.after(steps)
        row = self._answer(found, networks)
        if row is None:
            raise UsageError(NOT_FINITE)
        trace = self._trace(found, networks, 0)
        names, last = layer_names(trace.network), len(trace.network.layers) - 1
        values = [*(inputs[:-1] for inputs in trace.inputs[1:]), trace.outputs]
        kinds = [trace.loss.output if k == last else layer.activation for k, layer in enumerate(trace.network.layers)]
        return Look(
            name=found.name,
            label=None if found.label is None else self.predictor.classes[found.label],
            probabilities=by_class(self.predictor.classes, row),
            warnings=(*found.warnings, *self.predictor.warnings(row)),
            pixels=found.pixels,
            layers=tuple(FiredLayer(*parts) for parts in zip(names, kinds, values, strict=True)),
        )

    def unit(self, picture: Picture, layer: int, unit: int, steps: Sequence[Step] = ()) -> UnitView:
        """Return what a unit of the first network looks for, and the sum that it makes of a picture.

        Raises:
            ArgumentError: There is no such unit.
        """
        trace = self._trace(self.seen(picture), self.after(steps), 0)
        layers = trace.network.layers
        if not 0 <= layer < len(layers) or not 0 <= unit < layers[layer].fan_out:
            raise ArgumentError(f"unit {layer}, {unit}: no such unit")
        column = layers[layer].weight[:, unit]
        products = column * trace.inputs[layer][:-1]
        largest = np.argsort(-np.abs(products), kind="stable")[:N_PARTS]
        pull = column
        for below in range(layer - 1, -1, -1):  # dz/da of the layer below, and on to its inputs
            pull = layers[below].weight @ (trace.slopes[below] * pull)
        is_output = layers[layer].is_output
        outputs = trace.outputs if is_output else trace.inputs[layer + 1]
        return UnitView(
            layer=layer_names(trace.network)[layer],
            name=self.predictor.classes[unit] if is_output else str(unit),
            weights=pull.reshape(self.predictor.picture_size),
            is_direct=layer == 0,
            parts=tuple((int(k), float(trace.inputs[layer][k]), float(column[k])) for k in largest),
            bias=float(layers[layer].bias[unit]),
            total=float(trace.pre_activations[layer][unit]),
            output=float(outputs[unit]),
            activation=trace.loss.output if is_output else layers[layer].activation,
        )

    def correct(
        self, picture: Picture, label: str, learning_rate: float, steps: Sequence[Step] = (), top: int = 3
    ) -> Corrected:
        """Return loss and blame of a picture after some steps, and what one more would come to."""
        step = self._checked([Step(picture, label, learning_rate)])[0]
        found, networks = self.seen(picture), self.after(steps)
        trace = self._trace(found, networks, self.predictor.classes.index(label))
        layers, weights = insight.blame_of(trace, top, learning_rate)
        correction = insight.correct(trace, self._inputs(found), learning_rate)
        row = self._answer(found, [self._stepped(network, step) for network in networks])
        return Corrected(
            label=label,
            trace=trace,
            classes=self.predictor.classes,
            layers=layers,
            weights=weights,
            input_gradient=trace.grad_inputs.reshape(self.predictor.picture_size),
            step=correction,
            probabilities=None if row is None else by_class(self.predictor.classes, row),
            n_networks=len(networks),
        )

    # ---- steps -----------------------------------------------------------------------------------------------------

    def _checked(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        if len(steps) > MAX_STEPS:
            raise ArgumentError(f"steps: {len(steps)} are more than {MAX_STEPS}")
        for step in steps:
            if step.label not in self.predictor.classes:
                raise ArgumentError(f'label: "{step.label}" is not one of {", ".join(self.predictor.classes)}')
            if not 0.0 < step.learning_rate <= MAX_RATE:
                raise ArgumentError(f"learning_rate {step.learning_rate:g}: must be above 0 and at most {MAX_RATE:g}")
        return tuple(steps)

    def after(self, steps: Sequence[Step]) -> Networks:
        """Return the networks after some steps, made from the last ones that are kept; nobody changes them any more."""
        todo = self._checked(steps)
        n = next((n for n in range(len(todo), 0, -1) if todo[:n] in self._kept), 0)
        networks = [self._with_params(params) for params in self._kept[todo[:n]]] if n else self.predictor.networks
        for step in todo[n:]:
            networks = [self._stepped(network, step) for network in networks]
        if todo:
            self._kept[todo] = [network.params for network in networks]
            self._kept.move_to_end(todo)
            while len(self._kept) > self._n_kept:
                self._kept.popitem(last=False)
        return networks

    def _with_params(self, params: Array) -> Network:
        network = as_float64(self.predictor.networks[0])
        network.params[...] = params
        return network

    def _stepped(self, network: Network, step: Step) -> Network:
        """Return a copy of a network after one step: params - learning_rate * gradient."""
        inputs, label = self._inputs(self.seen(step.picture)), self.predictor.classes.index(step.label)
        with np.errstate(all="ignore"), blas_threads(self.predictor.n_threads):
            stepped = propagate(as_float64(network), self.predictor.loss, inputs[None], np.array([label])).network
            params = stepped.params
            params -= step.learning_rate * stepped.grads
        return stepped

    def _inputs(self, found: PictureInput) -> Array:
        assert found.grid is not None
        inputs: Array = self.predictor.scaling.apply(found.grid[None])[0]
        return inputs

    def _trace(self, found: PictureInput, networks: Networks, label: int) -> Trace:
        with np.errstate(all="ignore"), blas_threads(self.predictor.n_threads):
            trace = insight.trace(as_float64(networks[0]), self.predictor.loss, self._inputs(found), label)
        if not math.isfinite(trace.loss_value):
            raise UsageError(NOT_FINITE)
        return trace

    def _answer(self, found: PictureInput, networks: Networks) -> Array | None:
        """Return the mean answer of networks, (n_classes,); None where it is not finite."""
        assert found.grid is not None
        answer: Array = self.predictor.answers(found.grid[None], networks)[0]
        return answer if np.isfinite(answer).all() else None


def finite(value: float) -> float | None:
    """Return a number as JSON may hold it."""
    return value if math.isfinite(value) else None


def rounded(values: Array) -> list[Any]:
    """Return numbers for a picture, where four digits do."""
    numbers: list[Any] = np.round(np.asarray(values, np.float64), 4).tolist()
    return numbers
