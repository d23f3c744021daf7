"""What is said of a model and its data is true: what a split proves, what a stopped run has, what backprop saves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import answer, backprop, document
from foreign import labels, large, save

import backprop_cli as library


def test_a_source_without_writers_proves_nothing_about_hands(work: Path) -> None:
    source = save(work / "mine.npz", large(0, 300), labels(0, 300))
    assert backprop("train", "-c", "quick", "--progress", "none", "--set", f"data.source={source}").exit_code == 0
    told = answer("eval")
    assert "does not say who wrote what" in told
    assert "by the same people" not in told
    assert library.load().evaluate().part_kind == "unknown"


def test_a_run_that_was_stopped_has_a_model_and_says_that_it_is_not_finished(
    work: Path, stop_at: pytest.FixtureRequest
) -> None:
    stop_at(5)  # type: ignore[operator]
    assert backprop("train", "-c", "quick", "--progress", "none").exit_code == 143
    assert "not finished" in answer("runs")
    assert document("runs")["runs"][0]["has_model"] is True
    assert "training is not over" in backprop("eval").stderr
    assert backprop("train", "--resume", "runs/quick-1", "--progress", "none").exit_code == 0
    assert "not finished" not in answer("runs")
    assert "training is not over" not in backprop("eval").stderr


def test_what_backpropagation_saves_is_counted_and_timed(work: Path) -> None:
    found = document("check", "-c", "quick")
    assert found["n_guesses"] == 2 * (2410 + 64)
    assert 0 < found["backward_seconds"] < found["seconds"]
    assert "knob by knob: 4,948 guesses, " in answer("check", "-c", "quick")
    assert "backpropagation: 1 backward pass, " in answer("check", "-c", "quick")


def test_the_output_row_shows_what_the_output_units_say(work: Path) -> None:
    assert backprop("train", "-c", "textbook", "--epochs", "2", "--progress", "none").exit_code == 0
    found = library.load().explain("digits:1425")
    row = next(line for line in answer("explain", "digits:1425").splitlines() if line.startswith("output   sigmoid"))
    said = [float(part.partition(": ")[2]) for part in row.split("10  ")[1].strip().split(", ")]
    np.testing.assert_allclose(said, np.sort(found.trace.outputs)[::-1][:3], atol=0.006)
    assert "the share of each digit: its output o, of the sum of all ten o" in answer("explain", "digits:1425")
