"""One path of neurons as a sheet to follow by hand: the whole calculation with blanks, and the key to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from backprop_cli.engine.activations import FORMULAS
from backprop_cli.engine.losses import Loss
from backprop_cli.insight.explain import Correction, Trace


def most_blamed_path(trace: Trace) -> tuple[int, ...]:
    """Return the indices of a pixel, a unit of each hidden layer, and a class.

    The class is the most blamed one; from there it goes backward, each time through the weight of the largest gradient.
    """
    path = [int(np.abs(trace.deltas[-1]).argmax())]
    for inputs, delta in zip(trace.inputs[::-1], trace.deltas[::-1], strict=True):
        path.append(int(np.abs(inputs[:-1] * delta[path[-1]]).argmax()))
    return tuple(path[::-1])


def worksheet(trace: Trace, path: Sequence[int], correction: Correction, *, classes: Sequence[str], title: str) -> str:
    """Return the sheet as Markdown.

    Args:
        trace: The picture's pass.
        path: As `most_blamed_path` gives it: n_layers + 1 indices.
        correction: The step that the sheet ends with.
        classes: Class names.
        title: What the picture is called.
    """
    return _Sheet(trace, path, correction, classes).text(title)


class _Sheet:
    """The sheet while it is written: its lines, and the answers to the blanks so far."""

    def __init__(self, trace: Trace, path: Sequence[int], correction: Correction, classes: Sequence[str]) -> None:
        self.trace, self.path, self.correction, self.classes = trace, path, correction, classes
        self.layers = trace.network.layers
        self.names = [
            f"pixel {path[0]}",
            *(f"unit {unit} of layer {k}" for k, unit in enumerate(path[1:-1], 1)),
            f"class {classes[path[-1]]}",
        ]
        self.links = list(pairwise(path))  # of each layer: which input, which unit
        self.lines: list[str] = []
        self.key: list[str] = []
        self.activations: list[str] = []  # the blanks that hold them, and so on
        self.slopes: list[str] = []
        self.gradients: list[str] = []

    def text(self, title: str) -> str:
        """Return the whole sheet."""
        kinds = [layer.activation for layer in self.layers[:-1]] + [self.trace.loss.output]
        sizes = [f"{layer.fan_out} ({kind})" for layer, kind in zip(self.layers, kinds, strict=True)]
        self.add(
            f"# Backpropagation by hand: {title}",
            "",
            f"- network: {' -> '.join([str(self.trace.network.n_inputs), *sizes])}",
            f"- path: {' -> '.join(self.names)} (pixels, row by row, and units are counted from 0)",
            "- a pixel's input is its ink as the network takes it in, scaled",
            f"- truth: class {self.classes[self.trace.label]}",
            "",
            "Fill in the blanks in their order; (n) stands for the answer to blank n. What the neurons beside the path",
            "bring along is given. Numbers have six digits, so the last ones may differ from the key at the end.",
        )
        answer = self.guess()
        self.loss(answer)
        self.blame(answer)
        self.correct()
        self.add("", "## Key", "", *(f"- ({n}) {answer}" for n, answer in enumerate(self.key, 1)))
        return "\n".join(self.lines) + "\n"

    def add(self, *lines: str) -> None:
        """Write lines."""
        self.lines += lines

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.add("", f"## {text}")

    def step(self, title: str, *lines: str) -> None:
        """Write one step of the calculation."""
        self.add("", f"**{title}**", "", "```text", *lines, "```")

    def blank(self, value: float) -> tuple[str, str]:
        """Return the next blank, whose answer is `value`, and how later lines call it."""
        self.key.append(_shown(value))
        return f"________ ({len(self.key)})", f"({len(self.key)})"

    def guess(self) -> str:
        """Write the way forward; return the blank that holds what the path's class is given."""
        self.heading("1. The guess, going forward")
        answer = entering = _shown(self.trace.inputs[0][self.path[0]])
        for k, (source, unit) in enumerate(self.links):
            layer, z = self.layers[k], float(self.trace.pre_activations[k][unit])
            weight, value = float(layer.weight[source, unit]), float(self.trace.inputs[k][source])
            product, product_name = self.blank(weight * value)
            total, total_name = self.blank(z)
            rest = z - weight * value
            lines = [
                f"input x weight = {entering} x {_shown(weight)} = {product}",
                f"the other {layer.fan_in - 1:,} inputs and the bias bring {_shown(rest)}",
                f"z = {product_name} {_added(rest)} = {total}",
            ]
            if layer.is_output:
                blank, answer = self.blank(float(self.trace.outputs[self.path[-1]]))
                lines += self.output(total_name, z, blank)
            else:
                activation, entering = self.blank(float(self.trace.inputs[k + 1][unit]))
                slope, slope_name = self.blank(float(self.trace.slopes[k][unit]))
                lines += [*FORMULAS[layer.activation], f"f(z) = f({total_name}) = {activation}"]
                lines += [f"f'(z) = f'({total_name}) = {slope}"]
                self.activations.append(entering)
                self.slopes.append(slope_name)
            self.step(f"{self.names[k]} -> {self.names[k + 1]}", *lines)
        return answer

    def output(self, z_name: str, z: float, blank: str) -> list[str]:
        """Return the lines that make an answer, which goes into a blank, of the class's logit."""
        if self.trace.loss.output == "sigmoid":
            return [f"o = 1 / (1 + exp(-z)) = 1 / (1 + exp(-{z_name})) = {blank}"]
        logits = self.trace.pre_activations[-1]
        top = float(logits.max())
        others = float(np.exp(logits - top).sum() - np.exp(z - top))
        return [
            f"m = {_shown(top)} is the largest of the {len(logits)} logits; the other classes bring",
            f"s = sum of exp(logit - m) = {_shown(others)}",
            f"p = exp(z - m) / (exp(z - m) + s) = {blank}",
        ]

    def loss(self, answer: str) -> None:
        """Write the loss of an answer, given by its blank."""
        self.heading("2. The loss")
        trace, c, loss = self.trace, self.path[-1], self.trace.loss
        target, truth, letter = float(trace.targets[c]), self.classes[trace.label], in_letters(loss, "{o}")
        formula = in_letters(loss, loss.term)
        if "{t}" not in loss.term:
            said = answer if c == trace.label else _shown(trace.outputs[trace.label])
            blank, _ = self.blank(trace.loss_value)
            self.step(
                f"the truth, class {truth}, was given {letter} = {said}",
                f"loss = {formula} = {loss.term.format(o=said)} = {blank}",
            )
            return
        own = float(loss.values(trace.outputs[None, c : c + 1], trace.targets[None, c : c + 1])[0])
        filled = loss.term.format(o=answer, t=_shown(target))
        part, part_name = self.blank(own)
        rest = trace.loss_value - own
        whole, _ = self.blank(trace.loss_value)
        self.step(
            f"{self.names[-1]} should say t = {_shown(target)}",
            f"it brings {formula} = {filled} = {part}",
            f"the other classes bring {_shown(rest)}",
            f"loss = {part_name} {_added(rest)} = {whole}",
        )

    def blame(self, answer: str) -> None:
        """Write the way back from an answer, given by its blank."""
        self.heading("3. The blame, going backward")
        delta_name = self.first_delta(answer)
        for k in range(len(self.links) - 1, -1, -1):
            source, unit = self.links[k]
            layer, deltas = self.layers[k], self.trace.deltas[k]
            entering = self.activations[k - 1] if k else _shown(self.trace.inputs[0][source])
            gradient, name = self.blank(float(layer.grad_weight[source, unit]))
            self.gradients.insert(0, name)
            weight = float(layer.weight[source, unit])
            whole_value = float(layer.weight[source] @ deltas)
            share, share_name = self.blank(weight * float(deltas[unit]))
            whole, whole_name = self.blank(whole_value)
            rest = whole_value - weight * float(deltas[unit])
            lines = [
                f"gradient of the weight = input x delta = {entering} x {delta_name} = {gradient}",
                f"blame handed back = weight x delta = {_shown(weight)} x {delta_name} = {share}",
                f"the other {layer.fan_out - 1:,} units that {self.names[k]} feeds hand back {_shown(rest)}",
                f"blame on {self.names[k]} = {share_name} {_added(rest)} = {whole}",
            ]
            if k:
                delta, delta_name = self.blank(float(self.trace.deltas[k - 1][source]))
                lines.append(f"its delta = blame x slope = {whole_name} x {self.slopes[k - 1]} = {delta}")
            else:
                lines.append("above 0: more ink here would make it worse; below 0: better")
            self.step(f"{self.names[k]} <- {self.names[k + 1]}", *lines)

    def first_delta(self, o: str) -> str:
        """Write the delta of the path's class; return its blank's name."""
        trace, c, loss = self.trace, self.path[-1], self.trace.loss
        target = _shown(trace.targets[c])
        blank, name = self.blank(float(trace.deltas[-1][c]))
        slope, filled = in_letters(loss, loss.slope), loss.slope.format(o=o, t=target)
        if loss.delta:
            lines = [f"delta = {in_letters(loss, loss.delta)} = {loss.delta.format(o=o, t=target)} = {blank}"]
        elif loss.output == "sigmoid":
            lines = [f"delta = ({slope}) o (1 - o) = ({filled}) x {o} x (1 - {o}) = {blank}"]
        else:
            shared = float(loss.slopes(trace.outputs, trace.targets, np.empty_like(trace.outputs)) @ trace.outputs)
            lines = [
                f"g = sum over the classes of ({slope}) p = {_shown(shared)}",
                f"delta = p ({slope} - g) = {o} x ({filled} {_added(-shared)}) = {blank}",
            ]
        self.step(f"{self.names[-1]} should say t = {target}", *lines)
        return name

    def correct(self) -> None:
        """Write the step."""
        self.heading("4. The correction")
        rate, lines = _shown(self.correction.learning_rate), []
        for k, (source, unit) in enumerate(self.links):
            layer = self.layers[k]
            weight, gradient = float(layer.weight[source, unit]), float(layer.grad_weight[source, unit])
            blank, _ = self.blank(weight - self.correction.learning_rate * gradient)
            lines.append(
                f"{self.names[k]} -> {self.names[k + 1]}: {_shown(weight)} - {rate} x {self.gradients[k]} = {blank}"
            )
        self.step(f"new weight = weight - learning rate x gradient, learning rate {rate}", *lines)
        self.add(
            "",
            f"All {self.trace.network.n_params:,} weights and biases move like this at once. The loss goes from "
            f"{_shown(self.trace.loss_value)}",
            f"to {_shown(self.correction.loss)}; a straight line would have led to "
            f"{_shown(self.correction.forecast_loss)}.",
        )


def in_letters(loss: Loss, formula: str) -> str:
    """Return a formula of a loss with letters for its blanks: p is what a softmax unit says, o a sigmoid unit."""
    return formula.format(o="p" if loss.output == "softmax" else "o", t="t").replace(" x ", " ")


def _shown(value: float) -> str:
    """Return six digits; where the number is just below 1, six of what is missing, as ln and 1 - p live on those."""
    missing = 1.0 - value
    if 0.0 < missing < 0.1:
        return f"{value:.{min(15, 5 - math.floor(math.log10(missing)))}f}"
    return f"{value:.6g}"


def _added(value: float) -> str:
    return f"{'-' if value < 0.0 else '+'} {_shown(abs(value))}"


def loss_formula(trace: Trace, label: str) -> str:
    """Return how the loss of a picture comes about, such as `-ln(0.7) = 0.3567`; the class that is true by its name."""
    loss = trace.loss
    if "{t}" in loss.term:
        targets = trace.targets
        target = f"t = {targets[trace.label]:.3g} for {label}, {targets.min():.3g} for the others"
        return f"sum of {in_letters(loss, loss.term)} = {trace.loss_value:.4g}, with {target}"
    missing = float(trace.probabilities.sum() - trace.probabilities[trace.label])
    said = f"(1 - {missing:.4g})" if missing < 0.01 else f"{trace.probabilities[trace.label]:.4g}"
    return f"{loss.term.format(o=said)} = {trace.loss_value:.4g}"
