"""Guess, loss, blame and correction of one picture as a lesson: a sentence each, and the formula with its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backprop_cli.api.words import by_class, guess, with_article
from backprop_cli.files import clean
from backprop_cli.insight.explain import Correction, LayerBlame, Trace, WeightBlame
from backprop_cli.insight.worksheet import loss_formula


@dataclass(frozen=True)
class LessonLine:
    """One line.

    Attributes:
        key: GUESS, LOSS, BLAME or CORRECTION.
        text: What happens, in a sentence.
        formula: How it is computed, with the true numbers.
    """

    key: str
    text: str
    formula: str


def lesson(
    trace: Trace,
    label: str,
    classes: Sequence[str],
    layers: Sequence[LayerBlame],
    weights: Sequence[WeightBlame],
    step: Correction,
) -> tuple[LessonLine, ...]:
    """Return the four lines; see `drawing.Corrected`."""
    truth = with_article(label)
    most = max(layers, key=lambda layer: layer.blame_share)
    moved = "less" if step.loss < trace.loss_value else "more"
    moved = f"{moved} than before, {trace.loss_value:.4g}" if math.isfinite(step.loss) else "no longer a number"
    return (
        LessonLine("GUESS", f"{guess(by_class(classes, trace.probabilities), 2)}.", _guess_formula(trace, classes)),
        LessonLine(
            "LOSS",
            f"The truth is {truth}: the loss says how far off that was.",
            f"loss = {loss_formula(trace, clean(label))}",
        ),
        LessonLine(
            "BLAME",
            f"Going backward, every weight gets its part of the blame; most of it lies in {most.name}, "
            f"{100 * most.blame_share:.0f} %.",
            _blame_formula(weights[0], layers[weights[0].layer]),
        ),
        LessonLine(
            "CORRECTION",
            f"Every weight goes a small step against its blame, and the loss is {step.loss:.4g}: {moved}.",
            f"new weight = weight - rate x gradient = {weights[0].weight:.4g} - {step.learning_rate:.3g} x "
            f"({weights[0].gradient:.4g}) = {weights[0].new_weight:.4g}",
        ),
    )


def _guess_formula(trace: Trace, classes: Sequence[str]) -> str:
    """Return how the share of the likeliest class comes of the sum that its unit makes."""
    best = int(trace.probabilities.argmax())
    name, share = clean(classes[best]), float(trace.probabilities[best])
    if trace.loss.output == "sigmoid":
        total = float(trace.outputs.sum())
        return f"share of {name} = o / sum of all o = {trace.outputs[best]:.4g} / {total:.4g} = {share:.4g}"
    z = trace.pre_activations[-1]
    shift = float(z.max())
    total = shift + float(np.log(np.exp(z - shift).sum()))
    return f"share of {name} = e^z / sum of all e^z = e^{z[best]:.4g} / e^{total:.4g} = {share:.4g}"


def _blame_formula(weight: WeightBlame, layer: LayerBlame) -> str:
    source = "the bias" if weight.source is None else f"the weight from {weight.source}"
    product = f"{weight.input:.4g} x ({weight.delta:.4g}) = {weight.gradient:.4g}"
    return f"gradient = input x delta = {product}, for {source} to {weight.target} of {layer.name}"
