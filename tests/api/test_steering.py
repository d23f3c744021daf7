"""A training in the hands of who watches it: one step, one epoch, another rate; a look changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answer, document, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

import backprop_cli as backprop
from backprop_cli.engine.steering import Steering

N_STEPS = 40  # of an epoch: 1,257 digits in batches of 32


def quick(**overrides: Any) -> backprop.Config:
    given = {"training.epochs": 3} | {key.replace("__", "."): value for key, value in overrides.items()}
    return backprop.load_config("quick", given)


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def moves(training: backprop.Training, choice: str) -> object:
    """Make a move, and look at everything there is."""
    found = {"step": training.one_step, "epoch": training.one_epoch, "burst": lambda: training.advance(0.0)}[choice]()
    training.first_layer()
    training.watch(7).guess()
    return found


@given(choices=st.lists(st.sampled_from(["step", "epoch", "burst"]), max_size=60))
@settings(max_examples=10)
def test_whatever_the_moves_what_is_learned_is_the_same(choices: list[str]) -> None:
    config = quick(data__augment={"rotation": 10}, network__layers=[{"units": 8, "dropout": 0.2}])
    with backprop.training(config, run_dir=False) as training:
        for choice in choices:
            moves(training, choice)
        list(training)
    run = training.run()
    whole = backprop.train(config, run_dir=False)
    assert run.parameters_sha256 == whole.parameters_sha256
    assert [event.train_loss for event in run.history] == [event.train_loss for event in whole.history]
    assert training.is_repeatable


def test_a_step_is_a_step_and_the_last_of_an_epoch_ends_it(work: Path) -> None:
    with backprop.training(quick(), run_dir="mine") as training:
        before = training.first_layer()
        first = training.one_step()
        assert isinstance(first, backprop.Progress)
        assert (first.epoch, first.train_loss > 2.0) == (1, True)
        assert not np.array_equal(before, training.first_layer())
        assert before.shape == (32, 8, 8)
        events = [training.one_step() for _ in range(N_STEPS - 1)]
        assert [type(event) for event in events[:-1]] == [backprop.Progress] * (N_STEPS - 2)
        assert events[-1] == training.history[0]
        assert training.one_step() is not None
        result = training.one_epoch()
        assert result is not None
        assert (result.epoch, result.rates_set) == (2, ())
        assert training.one_epoch() == training.history[2]
        assert training.one_step() is training.one_epoch() is None
        assert training.advance(1.0) == []
        assert training.seconds > 0
    assert document("verify", "mine")["verdict"] == "equal"
    answer("train", "-c", "quick", "--epochs", "3", "--run-dir", "plain")
    assert Path("mine/model.safetensors").read_bytes() == Path("plain/model.safetensors").read_bytes()


def test_a_changed_rate_is_written_down_and_such_a_run_is_not_verified(work: Path) -> None:
    with backprop.training(quick(), run_dir="mine") as training:
        training.one_epoch()
        for _ in range(5):
            training.one_step()
        training.learning_rate = 0.01
        assert training.learning_rate == 0.01
        assert not training.is_repeatable
        training.one_epoch()
        training.one_epoch()
    found = rows(work / "mine")
    assert [row["learning_rate"] for row in found] == [0.003, 0.01, 0.01]
    assert [row.get("learning_rates_set") for row in found] == [None, [[5, 0.01]], [[0, 0.01]]]
    line = refusal("verify", "mine")
    assert line == (
        "error: mine: cannot be verified: its learning rate was changed by hand while it trained (epoch 2)\n"
    )
    with pytest.raises(backprop.RunDirectoryError, match="changed by hand"):
        backprop.verify("mine")
    assert backprop.resume("mine", epochs=4).history[0].learning_rate == 0.003
    assert backprop.load("mine").config.optimizer.learning_rate == 0.003


def test_a_rate_that_is_set_back_before_a_step_changes_nothing(work: Path) -> None:
    with backprop.training(quick(), run_dir="mine") as training:
        training.one_step()
        training.learning_rate = 0.5
        training.learning_rate = 0.003
        list(training)
    assert document("verify", "mine")["verdict"] == "equal"


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_no_rate_is_refused(rate: float) -> None:
    with (
        backprop.training(quick(), run_dir=False) as training,
        pytest.raises(backprop.ArgumentError, match=r"^learning_rate .*: expected a number above 0"),
    ):
        training.learning_rate = rate


def test_the_rate_holds_for_the_networks_after_and_is_told_of_them_too(work: Path) -> None:
    with backprop.training(quick(ensemble=2, training__epochs=1), run_dir="mine") as training:
        training.learning_rate = 0.02
        list(training)
    assert [row["learning_rates_set"] for row in rows(work / "mine")] == [[[0, 0.02]], [[0, 0.02]]]


def test_a_digit_is_watched_by_its_number() -> None:
    with backprop.training(quick(), run_dir=False) as training:
        watched = training.watch(555)
        before = watched.probabilities()
        assert (watched.name, sum(before.values())) == ("digits:555", pytest.approx(1.0))
        training.one_epoch()
        guess, probability = watched.guess()
        assert watched.probabilities()[guess] == probability != before[guess]
        with pytest.raises(backprop.ArgumentError, match=r"^number 1797: digits has no such row"):
            training.watch(1797)


@given(
    n_parts=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    stops=st.lists(st.booleans(), min_size=1, max_size=12),
    rates=st.lists(st.sampled_from([0.1, 0.2, 0.4]), min_size=1, max_size=12),
)
def test_portions_leave_out_no_part_and_changes_say_which_steps_had_which_rate(
    n_parts: list[int], stops: list[bool], rates: list[float]
) -> None:
    steering, k, taken = Steering(0.1), 0, []
    steering.begin_epoch()
    for n in n_parts:
        parts = range(n)
        for portion in steering.portions(parts):
            taken += [steering.learning_rate] * len(portion)
            steering.by_step = stops[k % len(stops)]
            steering.set_learning_rate(rates[k % len(rates)])
            k += 1
    assert len(taken) == sum(n_parts) == steering.n_steps_in_all
    said = [0.1] * len(taken)
    for step, rate in steering.changes:
        said[step:] = [rate] * (len(taken) - step)
    assert said == taken
