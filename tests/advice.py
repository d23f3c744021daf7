"""`make trials`: what the advice of the diagnosis did in trainings spoilt on purpose; writes `experiment/trials.csv`.

Every case is trained with six seeds, and again with the very change that the diagnosis names, with the portable kernel:
so the table is the same on every x86-64 processor with AVX2. What is compared is the validation loss of the best epoch;
where the validation part itself is in question, the loss on the test part.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from backprop_cli.blas import portable_variables
from backprop_cli.config.config import load_config
from backprop_cli.engine.training import EpochResult
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.insight.diagnosis import Finding
from backprop_cli.insight.metrics import log_loss

TABLE = Path(__file__).parents[1] / "backprop_cli/experiment/trials.csv"
COLUMNS = ["finding", "setting", "provoked_by", "ratios"]
NOT_FIRST = "-"  # another finding comes first, or none

Rows = list[dict[str, Any]]


def trained(*settings: str, config: str = "quick") -> tuple[Experiment, Rows, list[Finding]]:
    """Train in memory; return the experiment, the rows that a run would have recorded, and what is found in them."""
    experiment = Experiment(load_config(config, settings))
    rows = [
        experiment.metrics_row(event)
        for event in experiment.train()
        if isinstance(event, EpochResult) and event.stop_reason != "diverged"
    ]
    return experiment, rows, experiment.findings(rows)


def val_loss(rows: Rows) -> float:
    return min((row["val_loss"] for row in rows), default=np.inf)


def sgd(learning_rate: float, momentum: float = 0.0) -> str:
    return f"optimizer={{name: sgd, learning_rate: {learning_rate}, momentum: {momentum}}}"


def layers(n: int, units: int = 32, activation: str = "relu") -> str:
    return f"network.layers=[{', '.join([f'{{units: {units}, activation: {activation}}}'] * n)}]"


def at_jump(rows: Rows) -> float:
    losses = [row["loss"] for row in rows]
    return losses[1 + int(np.argmax(np.diff(losses)))]


def largest_step(rows: Rows) -> float:
    return max(max(row["layers"]["update_ratio"]) for row in rows)


def usual_before_it_explodes(rows: Rows) -> float:
    losses = [row["loss"] for row in rows]
    end = len(rows) if len(rows) < 40 else 1 + int(np.argmax(np.diff(losses)))  # fewer: it diverged
    return median(row["grad_norm"] for row in rows[:end])


def faded(rows: Rows) -> float:
    return median(row["layers"]["grad_norm"][0] / row["layers"]["grad_norm"][-1] for row in rows[: len(rows) // 5])


def dead(rows: Rows) -> float:
    return max(rows[-1]["layers"]["dead_share"])


def saturated(rows: Rows) -> float:
    return max(median(shares) for shares in zip(*(row["layers"]["saturated_share"] for row in rows), strict=True))


def gap(rows: Rows) -> float:
    return rows[-1]["val_loss"] - rows[-1]["loss"]


def fallen(rows: Rows) -> float:
    return min(row["val_loss"] for row in rows[:-1]) - rows[-1]["val_loss"]


@dataclass(frozen=True)
class Case:
    """A training spoilt on purpose.

    Attributes:
        finding: What the diagnosis must find first.
        key: Of the setting that it must change.
        settings: What spoils the training of config `quick`.
        figure: The finding's number from the rows.
    """

    finding: str
    key: str
    settings: tuple[str, ...]
    figure: Callable[[Rows], float]

    @property
    def name(self) -> str:
        """The finding, its key and what provokes it."""
        return f"{self.finding}-{self.key}-{' '.join(self.settings)}"


WARPED = "data.augment={rotation: 12, log_scale: 0.08, shear: 0.15, probability: 0.85}"
SEEDS = range(6)
CASES: tuple[Case, ...] = (
    Case("diverged", "optimizer.learning_rate", (sgd(3.0),), lambda rows: 3.0),
    Case("diverged", "optimizer.learning_rate", (sgd(1000.0),), lambda rows: 1000.0),
    Case(
        "inputs_too_large",
        "data.scaling",
        ("data.scaling=unit", "data.max_value=0.5", sgd(0.1)),
        lambda rows: rows[0]["loss"],
    ),
    Case("learning_rate_too_high", "optimizer.learning_rate", ("optimizer.learning_rate=0.1",), at_jump),
    Case("learning_rate_too_high", "optimizer.learning_rate", (sgd(1.5),), at_jump),
    Case("learning_rate_too_high", "optimizer.learning_rate", (layers(4), sgd(0.1, 0.9)), at_jump),
    Case("exploding_gradient", "training.gradient_clip", (layers(10), sgd(0.3)), usual_before_it_explodes),
    Case("exploding_gradient", "training.gradient_clip", (layers(16), sgd(0.2)), usual_before_it_explodes),
    Case("dead_units", "optimizer.learning_rate", (layers(4), "optimizer.learning_rate=0.2"), dead),
    Case("dead_units", "network.initializer", (layers(24), sgd(0.1), "network.initializer=lecun_normal"), dead),
    Case("dead_units", "network.layers", (layers(16, 8), "optimizer.learning_rate=0.001"), dead),
    Case("vanishing_gradient", "network.layers", (layers(5, activation="sigmoid"), sgd(0.1)), faded),
    Case("vanishing_gradient", "network.initializer", ("network.initializer=zeros",), faded),
    Case(
        "saturated_units",
        "data.scaling",
        ("data.scaling=unit", "data.max_value=0.05", layers(2, activation="tanh")),
        saturated,
    ),
    Case("saturated_units", "optimizer.learning_rate", (layers(4, activation="tanh"), sgd(3.0)), saturated),
    Case("learning_rate_too_low", "optimizer.learning_rate", (sgd(1e-4),), largest_step),
    Case("learning_rate_too_low", "optimizer.learning_rate", ("optimizer.learning_rate=1e-4",), largest_step),
    Case("underfitting", "network.layers", (layers(1, 2),), lambda rows: rows[-1]["loss"]),
    Case(
        "underfitting", "network.layers", ("network.layers=[{units: 32, dropout: 0.9}]",), lambda rows: rows[-1]["loss"]
    ),
    Case("too_few_epochs", "training.epochs", ("training.epochs=3",), fallen),
    Case(
        "too_few_epochs",
        "training.epochs",
        ("training.epochs=2", "schedule={name: warmup_cosine}", "data.validation_size=0.2"),
        fallen,
    ),
    Case("batch_too_large", "training.batch_size", ("training.batch_size=1024",), lambda rows: 2),
    Case("overfitting", "data.augment", ("data.test_size=0.8", layers(2, 256), "optimizer.learning_rate=0.01"), gap),
    Case(
        "overfitting",
        "ensemble",
        ("data.test_size=0.8", WARPED, layers(3, 256), "optimizer.learning_rate=0.01", "training.epochs=60"),
        gap,
    ),
)

# An epoch chosen by 18 rows: a matter of luck, so over many splits, and what counts is the loss on rows never seen.
FEW_ROWS = tuple(
    Case("validation_too_small", "data.validation_size", (*settings, "data.validation_size=0.01"), lambda rows: 18)
    for settings in (
        ("optimizer.learning_rate=0.03",),
        ("data.test_size=0.6", layers(2, 256), "optimizer.learning_rate=0.01"),
    )
)
SPLITS = range(24)


def ratio(case: Case, seed: int) -> float | None:
    """Return the validation loss with the advice over that without; None where another finding comes first.

    Args:
        case: What is trained.
        seed: Of its weights and its split. A single one proves nothing: with another last bit of a product a training
            takes another way.

    Raises:
        AssertionError: The number of the finding is not that of the rows.
    """
    _, rows, findings = trained(*case.settings, f"seed={seed}")
    first = findings[0] if findings else None
    if first is None or first.name != case.finding or not first.change.startswith(f"{case.key}="):
        return None
    expected = case.figure(rows)
    assert abs(first.figure - expected) <= 1e-3 * abs(expected), f"{first.figure}, where the rows say {expected}"
    mended, _, _ = trained(*case.settings, f"seed={seed}", first.change)
    return float(mended.summary()["val_loss"] / val_loss(rows)) if rows else 0.0


def losses_before_and_after(case: Case, split_seed: int) -> tuple[float, float] | None:
    """Return the loss on the test part without the advice and with it; None where the finding is not among them.

    Args:
        case: One of few validation rows.
        split_seed: Of the split.

    Raises:
        AssertionError: The number of the finding is not that of the rows, or it is still there with the advice.
    """
    before, findings = loss_on_test_part(*case.settings, f"data.split_seed={split_seed}")
    found = [finding for finding in findings if finding.name == case.finding]
    if not found:
        return None
    assert (found[0].figure, found[0].change) == (18, "data.validation_size=0.06")
    after, findings = loss_on_test_part(*case.settings, f"data.split_seed={split_seed}", found[0].change)
    assert case.finding not in [finding.name for finding in findings]
    return before, after


def loss_on_test_part(*settings: str) -> tuple[float, list[Finding]]:
    """Train in memory; return the log loss on rows never seen, and what is found."""
    experiment, _, findings = trained(*settings)
    dataset, rows = experiment.split_data.select("test")
    logits = experiment.networks[0].logits(experiment.scaling.apply(dataset.pictures[rows]))
    return log_loss(experiment.config.loss.probabilities(logits), dataset.labels[rows]), findings


def table_row(case: Case, found: Iterable[float | None]) -> list[str]:
    """Return a row of the table, the ratios to three digits."""
    words = [NOT_FIRST if value is None else f"{value:.3g}" for value in found]
    return [case.finding, case.key, " ".join(case.settings), " ".join(words)]


def row_of(k: int) -> list[str]:
    """Try the case of this number; those of few validation rows are the last."""
    case = (*CASES, *FEW_ROWS)[k]
    if k < len(CASES):
        return table_row(case, [ratio(case, seed) for seed in SEEDS])
    losses = [losses_before_and_after(case, seed) for seed in SPLITS]
    return table_row(case, [pair and pair[1] / pair[0] for pair in losses])


def written_rows() -> list[list[str]]:
    """Return the table's rows as they are."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def main(arguments: Sequence[str]) -> None:
    """Write the table; or, with numbers of cases, write their rows to stdout."""
    if variables := portable_variables():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | variables)
    if arguments:
        csv.writer(sys.stdout, lineterminator="\n").writerows(row_of(int(word)) for word in arguments)
        return
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(row_of, range(len(CASES) + len(FEW_ROWS))))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main(sys.argv[1:])
