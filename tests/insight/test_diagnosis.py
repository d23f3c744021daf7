"""Each finding is provoked by a config, and the very change that it names makes the training better."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest

from backprop_cli.config.config import load_config
from backprop_cli.engine.training import EpochResult
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.insight.diagnosis import Finding, diagnose
from backprop_cli.insight.metrics import log_loss
from backprop_cli.insight.training_figures import Sizes, has_layer_figures

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


WARPED = "data.augment={rotation: 12, log_scale: 0.08, shear: 0.15, probability: 0.85}"

SEEDS = range(6)

# finding, the key of its change, what provokes it, its number from the rows
CASES: list[tuple[str, str, tuple[str, ...], Callable[[Rows], float]]] = [
    ("diverged", "optimizer.learning_rate", (sgd(3.0),), lambda rows: 3.0),
    ("diverged", "optimizer.learning_rate", (sgd(1000.0),), lambda rows: 1000.0),
    (
        "inputs_too_large",
        "data.scaling",
        ("data.scaling=unit", "data.max_value=0.5", sgd(0.1)),
        lambda rows: rows[0]["loss"],
    ),
    ("learning_rate_too_high", "optimizer.learning_rate", ("optimizer.learning_rate=0.1",), at_jump),
    ("learning_rate_too_high", "optimizer.learning_rate", (sgd(1.5),), at_jump),
    ("learning_rate_too_high", "optimizer.learning_rate", (layers(4), sgd(0.1, 0.9)), at_jump),
    ("exploding_gradient", "training.gradient_clip", (layers(10), sgd(0.3)), usual_before_it_explodes),
    ("exploding_gradient", "training.gradient_clip", (layers(16), sgd(0.2)), usual_before_it_explodes),
    ("dead_units", "optimizer.learning_rate", (layers(4), "optimizer.learning_rate=0.2"), dead),
    ("dead_units", "network.initializer", (layers(24), sgd(0.1), "network.initializer=lecun_normal"), dead),
    ("dead_units", "network.layers", (layers(16, 8), "optimizer.learning_rate=0.001"), dead),
    ("vanishing_gradient", "network.layers", (layers(5, activation="sigmoid"), sgd(0.1)), faded),
    ("vanishing_gradient", "network.initializer", ("network.initializer=zeros",), faded),
    (
        "saturated_units",
        "data.scaling",
        ("data.scaling=unit", "data.max_value=0.05", layers(2, activation="tanh")),
        saturated,
    ),
    ("saturated_units", "optimizer.learning_rate", (layers(4, activation="tanh"), sgd(3.0)), saturated),
    ("learning_rate_too_low", "optimizer.learning_rate", (sgd(1e-4),), largest_step),
    ("learning_rate_too_low", "optimizer.learning_rate", ("optimizer.learning_rate=1e-4",), largest_step),
    ("underfitting", "network.layers", (layers(1, 2),), lambda rows: rows[-1]["loss"]),
    ("underfitting", "network.layers", ("network.layers=[{units: 32, dropout: 0.9}]",), lambda rows: rows[-1]["loss"]),
    ("too_few_epochs", "training.epochs", ("training.epochs=3",), fallen),
    (
        "too_few_epochs",
        "training.epochs",
        ("training.epochs=2", "schedule={name: warmup_cosine}", "data.validation_size=0.2"),
        fallen,
    ),
    ("batch_too_large", "training.batch_size", ("training.batch_size=1024",), lambda rows: 2),
    ("overfitting", "data.augment", ("data.test_size=0.8", layers(2, 256), "optimizer.learning_rate=0.01"), gap),
    (
        "overfitting",
        "ensemble",
        ("data.test_size=0.8", WARPED, layers(3, 256), "optimizer.learning_rate=0.01", "training.epochs=60"),
        gap,
    ),
]
IDS = [f"{name}-{key}-{k}" for k, (name, key, _, _) in enumerate(CASES)]


def ratios(
    name: str, key: str, settings: tuple[str, ...], figure: Callable[[Rows], float], seeds: Iterable[int]
) -> list[float]:
    """Return the validation loss with the advice over that without, for each seed at which the finding comes first.

    A single seed proves nothing: with another last bit of a product a training takes another way.
    """
    found = []
    for seed in seeds:
        _, rows, findings = trained(*settings, f"seed={seed}")
        first = findings[0] if findings else None
        if first is None or first.name != name or not first.change.startswith(f"{key}="):
            continue
        assert first.figure == pytest.approx(figure(rows), rel=1e-3)
        mended, _, _ = trained(*settings, f"seed={seed}", first.change)
        found.append(mended.summary()["val_loss"] / val_loss(rows) if rows else 0.0)
    return found


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_training_that_is_spoilt_on_purpose_is_found_out_and_mended(case: Any) -> None:
    found = ratios(*case, seeds=SEEDS[:2])
    assert found, "not found, or another comes first"
    assert median(found) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_so_it_is_with_four_seeds_of_six_and_the_advice_helps_in_the_median(case: Any) -> None:
    found = ratios(*case, seeds=SEEDS)
    assert len(found) >= 4
    assert median(found) < 0.8


def test_a_deep_network_that_left_the_finite_numbers_after_it_had_begun_to_learn_exploded() -> None:
    rows = [{"epoch": k, "loss": 2.0 / k, "val_loss": 2.0 / k, "grad_norm": float(k)} for k in (1, 2, 3, 4)]
    settings = load_config("quick", [layers(10), sgd(0.3)]).to_dict()
    (found,) = diagnose(rows, settings, Sizes(1797, 1257, 180, 10), diverged=True)
    assert (found.name, found.figure, found.change) == ("exploding_gradient", 2.5, "training.gradient_clip=2")
    (found,) = diagnose(rows[:1], settings, Sizes(1797, 1257, 180, 10), diverged=True)
    assert (found.name, found.change) == ("diverged", "optimizer.learning_rate=0.03")


def test_only_layers_that_need_it_are_changed() -> None:
    _, _, (found, *_) = trained("network.layers=[{units: 64}, {units: 2}]")
    assert found.change.startswith("network.layers=[{units: 64, ")
    assert "units: 40" in found.change


def test_an_ensemble_that_diverged_is_told_the_epoch_of_the_network_that_did() -> None:
    finished = [{"epoch": 1, "member": 0, "loss": 0.3, "stop_reason": "completed"}]
    settings = load_config("quick", [sgd(3.0), "ensemble=2"]).to_dict()
    for rows, epoch in (([], 1), ([{"epoch": 1, "member": 1, "loss": 0.3, "stop_reason": None}], 2)):
        (found,) = diagnose([*finished, *rows], settings, Sizes(100, 80, 10, 10), diverged=True)
        assert f"in epoch {epoch}:" in found.text


def test_an_epoch_chosen_by_few_rows_is_chosen_worse() -> None:
    """Over twelve splits, since it is a matter of luck: what counts is the loss on rows never seen."""

    def mean_test_loss(*settings: str) -> float:
        losses = []
        for seed in range(12):
            experiment, _, findings = trained(*settings, f"data.split_seed={seed}")
            found.extend(finding for finding in findings if finding.name == "validation_too_small")
            dataset, rows = experiment.split_data.select("test")
            logits = experiment.networks[0].logits(experiment.scaling.apply(dataset.pictures[rows]))
            losses.append(log_loss(experiment.config.loss.probabilities(logits), dataset.labels[rows]))
        return fmean(losses)

    found: list[Finding] = []
    settings = ("optimizer.learning_rate=0.03", "data.validation_size=0.01")
    before = mean_test_loss(*settings)
    assert [(finding.figure, finding.change) for finding in found] == [(18, "data.validation_size=0.06")] * 12
    found.clear()
    assert mean_test_loss(*settings, "data.validation_size=0.06") < 0.8 * before
    assert found == []


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        *(("quick", f"seed={seed}") for seed in range(3)),
        *(("textbook", f"seed={seed}") for seed in range(3)),
        ("digits", "seed=0"),
        ("digits", "seed=3"),
        ("digits", "training.epochs=20"),
        ("deep", "seed=0"),
        ("deep", "training.epochs=20"),
        ("best", "training.epochs=30"),
        ("best-ensemble", "training.epochs=10"),
    ],
)
def test_in_a_healthy_training_nothing_is_found(config: str, settings: str) -> None:
    _, rows, findings = trained(settings, config=config)
    assert findings == []
    assert has_layer_figures(rows)


# ---- what the rows may lack ----------------------------------------------------------------------------------------


def test_rows_of_an_older_version_are_judged_by_their_losses() -> None:
    experiment, rows, findings = trained("training.epochs=3")
    old = [{key: value for key, value in row.items() if key != "layers"} for row in rows]
    assert experiment.findings(old) == findings
    assert not has_layer_figures(old)
    experiment, rows, _ = trained("network.initializer=zeros")
    old = [{key: value for key, value in row.items() if key != "layers"} for row in rows]
    assert "vanishing_gradient" not in [finding.name for finding in experiment.findings(old)]


def test_without_validation_the_training_loss_tells_what_it_can() -> None:
    _, _, (found,) = trained("training.epochs=3", "data.validation_size=0")
    assert found.name == "too_few_epochs"
    assert "training loss fell" in found.text
    assert trained("data.test_size=0.8", "data.validation_size=0", layers(2, 256))[2] == []


def test_a_training_that_is_not_over_is_not_called_short_or_small() -> None:
    experiment, rows, _ = trained(layers(1, 2))
    assert [found.name for found in experiment.findings(rows)] == ["underfitting"]
    assert experiment.findings(rows[:10]) == []


def test_of_an_ensemble_each_network_is_judged_and_a_change_is_named_once() -> None:
    _, rows, findings = trained("ensemble=2", "training.epochs=3")
    assert {row["member"] for row in rows} == {0, 1}
    assert [found.change for found in findings] == ["training.epochs=6"]


def test_there_are_at_most_three() -> None:
    """A network that is too narrow and learns by heart, one that was too short: with the few rows, four findings."""
    by_heart = [{"member": 0, "loss": 1.2, "val_loss": 2.0, "stop_reason": "completed"}] * 20
    short = [{"member": 1, "loss": 2.2 / n, "val_loss": 2.3 / n, "stop_reason": "completed"} for n in range(1, 6)]
    settings = load_config("quick", [layers(1, 2), "ensemble=2"]).to_dict()
    one, other = (diagnose(rows, settings, Sizes(1000, 900, 9, 10)) for rows in (by_heart, short))
    assert [found.name for found in one] == ["underfitting", "overfitting", "validation_too_small"]
    assert len(one) + len(other) > 3
    assert len(diagnose([*by_heart, *short], settings, Sizes(1000, 900, 9, 10))) == 3


@pytest.mark.parametrize("squared", ["softmax", "sigmoid"])
def test_squared_error_is_judged_on_its_own_scale(squared: str) -> None:
    """Guessing costs 0.45 there, not 2.3."""
    _, rows, findings = trained(f"loss={{name: mse, output: {squared}}}", sgd(1e-4))
    assert rows[-1]["loss"] < 2.0
    assert [found.name for found in findings] == ["learning_rate_too_low"]


@pytest.mark.parametrize(
    "odd",
    [
        {"layers": None},
        {"layers": {"grad_norm": "no"}},
        {"layers": {"grad_norm": [1.0], "update_ratio": [], "dead_share": [None, 1], "saturated_share": [True, 1]}},
        {"loss": "low"},
        {"loss": float("nan")},
        {"val_loss": [1]},
        {"val_loss": None},
        {"grad_norm": {}, "stop_reason": []},
    ],
)
def test_what_is_no_figure_is_not_judged(odd: dict[str, Any]) -> None:
    experiment, rows, _ = trained("training.epochs=3")
    for damaged in ([row | odd for row in rows], [rows[0] | odd, *rows[1:]]):
        for found in experiment.findings(damaged):
            assert np.isfinite(found.figure)
            assert set(asdict(found)) == {"name", "text", "figure", "change"}
    assert diagnose([], experiment.config.to_dict(), Sizes(10, 10, 10, 10)) == []
