"""Sentences and figures that every face says in the same words; light, so that any command may have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.insight.diagnosis import Trials


def percent(share: float) -> str:
    """Return `97.3 %`; what is less than all is never rounded up to `100.0 %`."""
    return f"{100.0 if share >= 1.0 else min(100.0 * share, 99.9):.1f} %"


def guess(probabilities: Mapping[str, float], top: int) -> str:
    """Return "I am 97.3 % sure this is a 4 (9: 1.2 %)".

    Args:
        probabilities: By class name.
        top: How many answers to give.
    """
    (best, sure), *others = sorted(probabilities.items(), key=lambda item: -item[1])[: max(1, top)]
    rest = ", ".join(f"{clean(name)}: {percent(p)}" for name, p in others)
    return f"I am {percent(sure)} sure this is {with_article(best)}" + (f" ({rest})" if rest else "")


def by_class(classes: Iterable[str], probabilities: Iterable[float]) -> dict[str, float]:
    """Return one answer, (n_classes,), by the names of the classes."""
    return {name: float(p) for name, p in zip(classes, probabilities, strict=True)}


def with_article(name: str) -> str:
    """Return a class name with its article."""
    return f"{'an' if name == '8' else 'a'} {clean(name)}"


def trials_sentence(trials: Trials) -> str:
    """Return what an advice did, in the words of its trials."""
    count = f"{trials.n_helped} of {trials.n} trials"
    if trials.median_ratio == 0.0:
        return f"helped in {count}: training stayed finite"
    return f"helped in {count}, median loss x {trials.median_ratio:.2g}"
