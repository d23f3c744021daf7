"""Several runs beside each other: in what their configs differ, and which differences in accuracy are borne out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from backprop_cli.api.evaluation import Evaluation
from backprop_cli.api.report import RunReport
from backprop_cli.insight.metrics import difference_interval, wilson_interval


@dataclass(frozen=True)
class AccuracyDifference:
    """Two runs' accuracies beside each other.

    Attributes:
        first: Position of the one run.
        second: Of the other.
        difference: Of their accuracies, first - second, in [-1, 1].
        is_borne: Whether the figures bear it out, with 95 % confidence.
        reason: Why, or why not, in words.
    """

    first: int
    second: int
    difference: float
    is_borne: bool
    reason: str


def config_differences(reports: Sequence[RunReport]) -> dict[str, tuple[str, ...]]:
    """Return the settings in which the runs' configs differ, such as `optimizer.learning_rate`, with each run's."""
    flat = [report.flat_config for report in reports]
    keys = list(dict.fromkeys(key for one in flat for key in one if key != "name"))
    groups = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    keys.sort(key=lambda key: groups.index(key.partition(".")[0]))
    found = {key: tuple(one.get(key, "-") for one in flat) for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def accuracy_differences(reports: Sequence[RunReport]) -> list[AccuracyDifference]:
    """Return how the accuracies of every two runs differ, as far as both were measured."""
    measured = [(k, report.evaluation) for k, report in enumerate(reports)]
    known = [(k, evaluation) for k, evaluation in measured if evaluation is not None]
    return [_difference(i, first, j, second) for (i, first), (j, second) in combinations(known, 2)]


def _difference(i: int, first: Evaluation, j: int, second: Evaluation) -> AccuracyDifference:
    rows = [[(answer.sample, answer.label) for answer in one.answers] for one in (first, second)]
    is_borne, reason = (_on_the_same_rows if rows[0] == rows[1] else _on_other_rows)(first, second)
    return AccuracyDifference(i, j, first.accuracy - second.accuracy, is_borne, reason)


def _on_the_same_rows(first: Evaluation, second: Evaluation) -> tuple[bool, str]:
    """Judge by the rows that only one of both reads rightly: by chance, either has half of them (the sign test)."""
    pairs = list(zip(first.answers, second.answers, strict=True))
    only_first = sum(a.label == a.predicted and b.label != b.predicted for a, b in pairs)
    only_second = sum(a.label != a.predicted and b.label == b.predicted for a, b in pairs)
    n = only_first + only_second
    if n == 0:
        return False, f"both read the same of the {len(pairs):,} digits rightly"
    low, high = wilson_interval(only_first, n)
    share = f"{only_first:,} of the {n:,} digits that only one of both reads rightly"
    return not low <= 0.5 <= high, f"{share} go to the first; 95 % interval {100 * low:.0f} to {100 * high:.0f} %"


def _on_other_rows(first: Evaluation, second: Evaluation) -> tuple[bool, str]:
    low, high = difference_interval(*((round(one.accuracy * one.n), one.n) for one in (first, second)))
    return not low <= 0.0 <= high, (
        f"measured on other rows; 95 % interval of the difference {100 * low:+.1f} to {100 * high:+.1f} points"
    )
