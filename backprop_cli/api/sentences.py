"""An explanation in sentences, which every face says in the same words; light, so that any command may have them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from backprop_cli.api.words import guess, percent
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.api.explanation import Explanation


def guess_notes(found: Explanation) -> list[str]:
    """Return what else is to be known of the guess: of which network it is, and of which shares."""
    notes = []
    if found.trace.loss.output == "sigmoid":
        notes.append("the share of each digit: its output o, of the sum of all ten o")
    if found.mean_probabilities is not None:
        n = found.n_networks
        about = f"That, and all that follows, is network 1 of {n}; all {n} together:"
        notes.append(f"{about} {guess(found.mean_probabilities, 2)}")
    elif found.temperature != 1.0:
        notes.append(f"before calibration, which divides the logits by {found.temperature:.3g}")
    return notes


def loss_sentence(found: Explanation) -> str:
    """Return what counts as the truth, and how the loss comes about."""
    truth = clean(found.label)
    said = f"The truth is {truth}:"
    if found.label_source == "guess":
        said = f"Nobody told me what it shows, so my own guess, {truth}, stands in for the truth:"
    return f"{said} loss = {found.loss_formula}"


def blame_sentence(found: Explanation) -> str:
    """Return on how few weights half of the blame lies, and why others get none."""
    n = sum(layer.n_weights for layer in found.layers)
    zero_inputs = [layer.zero_inputs for layer in found.layers]
    reasons = [
        (zero_inputs[0], f"from {'pixels that are always blank' if found.is_centered else 'blank pixels'}"),
        (sum(zero_inputs[1:]), "from silent units"),
        (sum(layer.zero_deltas for layer in found.layers), "into silent units"),
    ]
    why = ", ".join(f"{count:,} {words}" for count, words in reasons if count)
    half = f"Half of it lies on {found.half_blame_count:,} of {n:,} weights and biases."
    return f"{half} {found.zero_gradient_count:,} get none{f': {why}' if why else ''}."


def correction_sentence(found: Explanation) -> str:
    """Return the first step, and the guess after it."""
    first = found.steps[0]
    now = guess(found.by_class(first.probabilities), 2) if math.isfinite(first.loss) else "the loss is not finite"
    return f"One step, new weight = weight - {first.learning_rate:g} x gradient, and {now}"


def why_less_sure(found: Explanation) -> str:
    """Return why a step makes a right answer less sure; empty where it does not."""
    k, first = found.trace.label, found.steps[0]
    target = float(found.trace.targets[k])
    if target >= 1.0 or not first.probabilities[k] < found.trace.probabilities[k]:
        return ""
    return f"It is less sure than before: the labels are smoothed, so {percent(target)} is aimed at, not 100 %."


def check_sentence(found: Explanation) -> str:
    """Return how the gradients were checked."""
    check = found.check
    n, kinks = sum(layer.n for layer in check.layers), sum(layer.kinks for layer in check.layers) + check.inputs.kinks
    total = sum(layer.n_weights for layer in found.layers)
    text = (
        f"{'All' if n == total else f'The largest {n:,} of'} {total:,} gradients and the {check.inputs.n:,} of the "
        f"picture against central differences: worst error {check.max_relative_error:.1e} of its layer's largest "
        "gradient."
    )
    if kinks:
        text += f" {kinks:,} stand at a kink of their activation, where none can be measured."
    faint = [layer.name for layer in check.layers if layer.is_faint]
    if faint:
        text += f" In {', '.join(faint)} they are too small for float64 to check."
    return text
