"""The worksheet: whoever fills in its blanks from what is printed on it arrives at the numbers of its key."""

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from gradient_check import LOSSES
from numpy.typing import NDArray
from textbook import TEXTBOOK

from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import CrossEntropy, Loss
from backprop_cli.engine.network import Network
from backprop_cli.insight.explain import Explanation, explain
from backprop_cli.insight.worksheet import most_blamed_path, worksheet

Array = NDArray[Any]

CLASSES = ("a", "b", "cd", "8")
RATE = 0.05


def explained(layers: list[tuple[int, str]], loss: Loss, *, seed: int = 0, sure: float = 0.0) -> Explanation:
    rng = np.random.default_rng(seed)
    network = Network([LayerSpec(*layer) for layer in layers], 6, 4, dtype=np.float64, rng=rng)
    for layer in network.layers:
        layer.bias[...] = rng.normal(0.0, 0.3, layer.fan_out)
    network.layers[-1].bias[2] += sure
    return explain(network, loss, rng.standard_normal(6), 2, learning_rates=(RATE,))


def sheet(found: Explanation, path: tuple[int, ...] | None = None) -> str:
    there = found.trace
    return worksheet(there, path or most_blamed_path(there), found.steps[0], classes=CLASSES, title="mine")


def key_of(text: str) -> dict[int, float]:
    """Return the answers by number."""
    answers = re.findall(r"^- \((\d+)\) (\S+)$", text.partition("## Key")[2], re.MULTILINE)
    assert [int(n) for n, _ in answers] == list(range(1, len(answers) + 1))
    return {int(n): float(value) for n, value in answers}


def blanks(text: str) -> list[tuple[str, int]]:
    """Return each blank as the last expression of its line, and its number."""
    lines = re.findall(r"^(.*?)= _{8} \((\d+)\)$", text, re.MULTILINE)
    assert len(lines) == text.count("________")
    return [(line.split(" = ")[-1].rpartition(": ")[2].strip(), int(n)) for line, n in lines]


def filled(expression: str, known: dict[str, str], key: dict[int, float], activation: str) -> tuple[float, float]:
    """Return what a printed expression comes to, and how far off it may be as its numbers have six digits.

    Args:
        expression: What stands before a blank.
        known: What its letters stand for, as printed.
        key: What the answers to other blanks are.
        activation: What f in it is.
    """
    numbers: list[float] = []

    def put(found: re.Match[str]) -> str:
        numbers.append(key[int(found[1])] if found[1] else float(found[0]))
        return f"v[{len(numbers) - 1}]"

    written = re.sub(r"\b[zms]\b", lambda found: known[found[0]], expression)
    written = written.replace("f'", "slope").replace("1/2 ", "0.5 x ").replace(" x ", " * ").replace("^2", "**two")
    written = re.sub(r"\((\d+)\)|(?<!\w)\d[\d.]*(?:e[-+]?\d+)?", put, written)
    written = re.sub(r"ln (v\[\d+\])", r"ln(\1)", written)
    value, slope = TEXTBOOK.get(activation, (None, None))
    names: dict[str, Any] = {"f": value, "slope": slope, "exp": np.exp, "ln": np.log, "two": 2, "__builtins__": {}}

    def of(values: list[float]) -> float:
        return float(eval(written, names | {"v": values}))

    right = of(numbers)
    slack = 0.0
    for k, number in enumerate(numbers):
        last_digit = 5e-6 * (1 - number if 0.9 < number < 1 else abs(number))
        slack += abs(of([*numbers[:k], number + last_digit, *numbers[k + 1 :]]) - right)
    return right, slack


def fill(text: str, activations: list[str]) -> None:
    """Fill in all the blanks and hold them against the key."""
    key = key_of(text)
    found = blanks(text)
    assert [n for _, n in found] == list(key)
    known: dict[str, str] = {}
    for name, pattern in (("m", r"^m = (\S+) is"), ("s", r"^s = sum of exp\(logit - m\) = (\S+)$")):
        if line := re.search(pattern, text, re.MULTILINE):
            known[name] = line[1]
    waiting = [name for name in activations for _ in range(2)]
    for expression, number in found:
        if expression.startswith(("f(", "f'(")):
            mine, slack = filled(expression, known, key, waiting.pop(0))
        else:
            mine, slack = filled(expression, known, key, "")
        assert abs(mine - key[number]) <= 1.1 * slack + 6e-6 * abs(key[number]) + 1e-15, (expression, number)
        if re.search(rf"^z = .*\({number}\)$", text, re.MULTILINE):
            known["z"] = f"({number})"
    assert not waiting


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_filled_in(activation: str) -> None:
    text = sheet(explained([(5, activation), (4, activation)], CrossEntropy()))
    assert text.count("\nf(z) = ") == text.count("\nf'(z) = ") == 4  # in letters and in numbers
    fill(text, [activation] * 2)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("depth", range(4))
def test_every_loss_and_depth_is_filled_in_also_along_other_paths(loss: Loss, depth: int) -> None:
    found = explained([(5, "tanh"), (4, "sigmoid"), (3, "elu")][:depth], loss, seed=depth)
    names = ["tanh", "sigmoid", "elu"][:depth]
    fill(sheet(found), names)
    for last in range(4):
        fill(sheet(found, (5, *(layer.fan_out - 1 for layer in found.layers[:-1]), last)), names)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("sure", [-12.0, 6.0, 14.0])
def test_an_answer_that_is_nearly_certain_keeps_its_digits(loss: Loss, sure: float) -> None:
    found = explained([(5, "tanh")], loss, sure=sure)
    text = sheet(found, (0, 0, 2))
    fill(text, ["tanh"])
    (delta,) = re.findall(r"^delta = .* _{8} \((\d+)\)$", text, re.MULTILINE)
    key = key_of(text)
    there = found.trace
    assert key[int(delta)] == pytest.approx(there.deltas[-1][2], rel=1e-5)
    if loss == CrossEntropy():
        (p,) = [n for line, n in blanks(text) if "exp(z - m)" in line]
        assert -np.log(key[p]) == pytest.approx(there.loss_value, rel=1e-5)
        assert key[p] - 1 == pytest.approx(there.deltas[-1][2], rel=1e-5)


def test_the_key_holds_the_numbers_of_the_network() -> None:
    found = explained([(5, "relu"), (4, "tanh")], CrossEntropy())
    there, path = found.trace, most_blamed_path(found.trace)
    answers = list(key_of(sheet(found)).values())
    expected = []
    for k, (source, unit) in enumerate(pairwise(path)):
        layer = there.network.layers[k]
        expected += [layer.weight[source, unit] * there.inputs[k][source], there.pre_activations[k][unit]]
        if k < 2:
            expected += [there.inputs[k + 1][unit], there.slopes[k][unit]]
    expected += [there.probabilities[path[-1]], there.loss_value, there.deltas[-1][path[-1]]]
    assert answers[: len(expected)] == pytest.approx(expected, rel=1e-5)
    layers = there.network.layers
    new = [
        layer.weight[a, b] - RATE * layer.grad_weight[a, b]
        for layer, a, b in zip(layers, path[:-1], path[1:], strict=True)
    ]
    assert answers[-3:] == pytest.approx(new, rel=1e-5)


def test_the_sheet_says_whose_it_is_and_where_the_step_leads() -> None:
    found = explained([(5, "relu")], CrossEntropy())
    text = sheet(found, (3, 4, 1))
    assert text.startswith("# Backpropagation by hand: mine\n")
    assert "- network: 6 -> 5 (relu) -> 4 (softmax)\n" in text
    assert "- path: pixel 3 -> unit 4 of layer 1 -> class b (" in text
    assert "- truth: class cd\n" in text
    step = found.steps[0]
    assert f"goes from {found.trace.loss_value:.6g}\nto {step.loss:.6g}; a straight" in text
    assert f"would have led to {step.forecast_loss:.6g}." in text


def test_the_most_blamed_path_follows_the_largest_gradients_backward() -> None:
    there = explained([(5, "tanh"), (4, "tanh")], CrossEntropy(), seed=4).trace
    pixel, first, second, last = most_blamed_path(there)
    layers = there.network.layers
    assert last == np.abs(there.deltas[2]).argmax()
    assert second == np.abs(layers[2].grad_weight[:, last]).argmax()
    assert first == np.abs(layers[1].grad_weight[:, second]).argmax()
    assert pixel == np.abs(layers[0].grad_weight[:, first]).argmax()
