"""`training.class_weight`: rare classes count for more, by one rule for configs and for scikit-learn's users."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answer, document, refusal
from foreign import save
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight

from backprop_cli.config.config import Config, config_digest, read_config
from backprop_cli.data.dataset import load_digits
from backprop_cli.errors import ConfigError
from backprop_cli.experiment.class_weights import class_weights
from backprop_cli.experiment.experiment import Experiment

DIGITS = load_digits()
N_RARE = 12
EIGHTS = np.flatnonzero(DIGITS.labels == 8)
FEW = np.setdiff1d(np.arange(1200), EIGHTS[N_RARE:])  # of the eights, the first dozen
OTHERS = np.arange(1200, 1797)


def few_eights(folder: Path, *settings: str) -> tuple[str, ...]:
    """Return the command that trains on digits with hardly an eight among them, with others to test on."""
    train = save(folder / "few.npz", DIGITS.pictures[FEW], DIGITS.labels[FEW])
    test = save(folder / "test.npz", DIGITS.pictures[OTHERS], DIGITS.labels[OTHERS])
    data = f"data={{source: {train}, test_source: {test}, split: stratified, picture: raw}}"
    options = ["network.layers=[16]", data, *settings]
    return ("train", "-c", "quick", "--epochs", "8", *(word for one in options for word in ("--set", one)))


def recall_of_eights(run: str) -> float:
    return float(document("eval", "-m", run)["per_class"][8]["recall"])


def test_eval_shows_that_a_rare_class_is_found_more_often(work: Path) -> None:
    answer(*few_eights(work), "--run-dir", "plain")
    answer(*few_eights(work, "training.class_weight=balanced"), "--run-dir", "balanced")
    answer(*few_eights(work, "training.class_weight={8: 10}"), "--run-dir", "mapping")
    assert recall_of_eights("balanced") > recall_of_eights("plain") + 0.1
    assert recall_of_eights("mapping") > recall_of_eights("plain") + 0.1
    assert "class_weight: balanced" in Path("balanced/config.yaml").read_text()


def weights_of(setting: Any, labels: NDArray[Any] = DIGITS.labels[FEW]) -> NDArray[Any]:
    dataset = replace(DIGITS, labels=labels, pictures=DIGITS.pictures[: len(labels)])
    return class_weights(setting, dataset, np.arange(len(labels)))


@pytest.mark.parametrize("setting", ["balanced", {"8": 10.0, "1": 0.5}])
def test_the_weights_are_those_of_scikit_learn_scaled_to_be_1_on_average(setting: Any) -> None:
    labels = DIGITS.labels[FEW]
    theirs = {int(k): v for k, v in setting.items()} if isinstance(setting, dict) else setting
    expected = compute_sample_weight(theirs, labels)
    ours = weights_of(setting)[labels]
    np.testing.assert_allclose(ours, expected / expected.mean())
    assert ours.mean() == pytest.approx(1.0)


def test_a_class_without_rows_takes_no_weight_from_the_others() -> None:
    labels = DIGITS.labels[DIGITS.labels != 3]
    np.testing.assert_allclose(weights_of("balanced", labels)[labels], compute_sample_weight("balanced", labels))


def test_the_losses_of_a_run_are_weighted_and_its_accuracy_is_not(work: Path) -> None:
    settings = {"training.epochs": 1, "training.class_weight": {"8": 1000.0}, "data.augment": None, "ensemble": 2}
    config = read_config("network: {layers: [16]}", where="test", overrides=settings)
    experiment = Experiment(config)
    events = [event for event in experiment.train() if hasattr(event, "val_loss")]
    logits = experiment._validation_logits(2)
    labels = DIGITS.labels[experiment.split_data.splits.val]
    weights = np.where(labels == 8, 1000.0, 1.0)
    for event, one in zip(events, logits, strict=True):
        truth = config.loss.probabilities(one)[np.arange(len(labels)), labels]
        assert event.val_loss == pytest.approx(np.average(-np.log(truth), weights=weights), rel=1e-4)
        assert event.val_accuracy == pytest.approx((one.argmax(axis=1) == labels).mean())
    together = np.mean([config.loss.probabilities(one) for one in logits], axis=0)[np.arange(len(labels)), labels]
    expected = np.average(-np.log(together), weights=weights)
    assert experiment.summary()["val_loss"] == pytest.approx(expected, rel=1e-4)


# ---- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("blanced", 'x.yaml:1: training.class_weight: "blanced" is not one of balanced; did you mean "balanced"?'),
        ("[1]", 'x.yaml:1: training.class_weight: "[1]" is not one of balanced'),
        ("{8: much}", 'x.yaml:1: training.class_weight.8: "much" is not a number'),
        ("{8: -1}", 'x.yaml:1: training.class_weight: -1.0 for "8" is not between 0 and 1,000,000'),
        ("{8: .inf}", "x.yaml:1: training.class_weight.8: .inf is not a finite number"),
    ],
)
def test_a_mistake_is_told_once_with_file_and_key(written: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_config(f"training: {{class_weight: {written}}}", where="x.yaml")
    assert str(refused.value) == told


def test_a_class_that_the_data_do_not_have_is_told_with_their_file_and_the_key(work: Path) -> None:
    told = refusal(*few_eights(work, "training.class_weight={eight: 2, 7.0: 1}"), "--dry-run")
    assert 'few.npz has no class "eight"; it has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n' in told
    assert 'no class "7.0"' in told
    told = refusal(*few_eights(work, f"training.class_weight={dict.fromkeys(range(10), 0)}"), "--dry-run")
    assert told.startswith("error: training.class_weight: ")
    assert f"training.class_weight: no row of {work / 'few.npz'} to train on has a weight above 0\n" in told


@pytest.mark.parametrize("word", ["class_weight", "class_weights"])
def test_where_others_have_it_ours_is_named(word: str) -> None:
    with pytest.raises(ConfigError, match=r"did you mean training\.class_weight\?"):
        read_config(f"{word}: balanced", where="x.yaml")


# ---- other versions ------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_before_there_were_weights_fits_the_same_config() -> None:
    without = read_config("seed: 1", where="test")
    text = without.to_yaml()
    assert "class_weight: null" in text
    assert config_digest(text.replace("  class_weight: null\n", "")) == config_digest(without)
    assert config_digest(read_config("training: {class_weight: balanced}\nseed: 1", where="test")) != config_digest(
        without
    )
    assert Config().training.class_weight is None
