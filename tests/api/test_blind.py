"""The blind sculptor: nudges instead of a gradient, that never make it worse, and are worth far less."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backprop_cli as backprop
from backprop_cli.api.blind import MOST_POINTS, blind_result_of
from backprop_cli.experiment.experiment import Experiment


@given(seed=st.integers(0, 2**63 - 1), units=st.integers(1, 12), loss=st.sampled_from(["cross_entropy", "mse"]))
@settings(max_examples=15)
def test_the_loss_never_rises_and_is_that_of_the_weights_that_are_kept(seed: int, units: int, loss: str) -> None:
    config = backprop.load_config("quick", {"network.layers": [units], "loss": loss})
    with backprop.blind_sculptor(config, guesses=40, seed=seed) as blind:
        guesses = list(blind)
    assert [guess.number for guess in guesses] == list(range(41))
    for before, after in pairwise(guesses):
        assert (after.loss < before.loss) == after.is_kept
        assert after.loss <= before.loss
        assert after.size == pytest.approx(
            after.size if before.number == 0 else before.size * (1.5 if before.is_kept else 1.5**-0.25)
        )
    result = blind.result()
    assert (result.guesses, result.loss) == (40, guesses[-1].loss)
    assert result.kept == sum(guess.is_kept for guess in guesses[1:])


def test_it_begins_where_the_training_begins_and_a_seed_makes_it_the_same() -> None:
    config = backprop.load_config("quick", {"network.layers": [{"units": 16, "dropout": 0.5}]})
    blind = backprop.blind_sculptor(config, guesses=30)
    network = blind._trial.network
    np.testing.assert_array_equal(network.params, Experiment(config).networks[0].params)
    first = [guess.loss for guess in blind]
    assert not np.array_equal(network.params, Experiment(config).networks[0].params)
    assert first == [guess.loss for guess in backprop.blind_sculptor(config, guesses=30)]
    assert first != [guess.loss for guess in backprop.blind_sculptor(config, guesses=30, seed=1)]


def test_the_gradient_beats_it_by_far(work: Path) -> None:
    run = backprop.train("quick", run_dir="mine")
    with backprop.blind_sculptor(run.config, guesses=3 * 40) as blind:  # a backward pass counts as two forward
        list(blind)
    result = blind.result(run)
    assert result.val_accuracy is not None
    assert result.trained_val_accuracy == run.summary["val_accuracy"] > 0.9
    assert result.val_accuracy < result.trained_val_accuracy - 0.4
    assert result.loss < result.curve[0][2]
    assert 2 < len(result.curve) <= MOST_POINTS + 1
    assert all(one[0] < other[0] and one[2] >= other[2] for one, other in pairwise(result.curve))
    assert repr(result).startswith("<BlindResult: 120 guesses, validation accuracy ")
    result.save(Path("mine"))
    assert blind_result_of(Path("mine")) == result
    assert json.loads(Path("mine/blind.json").read_text())["schema"] == "backprop.blind/1"
    assert backprop.verify("mine").verdict == "equal"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": "backprop.blind/1", "curve": [[1]]}', '{"curve": []}'])
def test_a_damaged_record_is_none(text: str, tmp_path: Path) -> None:
    assert blind_result_of(tmp_path) is None
    (tmp_path / "blind.json").write_text(text)
    assert blind_result_of(tmp_path) is None


def test_it_ends_with_its_time_and_may_be_left_before() -> None:
    blind = backprop.blind_sculptor("quick", seconds=0.05)
    assert len(list(blind)) > 1
    assert blind.seconds >= 0.05
    with backprop.blind_sculptor({"data": {"validation_size": 0.0}}) as blind:
        assert next(blind).number == 0
        assert next(blind).number == 1
    assert list(blind) == []
    assert (blind.result().val_accuracy, blind.result().guesses) == (None, 1)


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"seconds": float("nan")}, {"guesses": 0}, {"seed": -1}])
def test_no_limit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(backprop.ArgumentError, match=f"^{next(iter(wrong))} "):
        backprop.blind_sculptor("quick", **wrong)
