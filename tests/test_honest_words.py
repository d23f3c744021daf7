"""What is said of a model and its data is true: what a split proves, what a stopped run has, what backprop saves."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import answer, backprop, document, parsed, process, refusal
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
    work: Path, stop_at: Callable[[int], None]
) -> None:
    stop_at(5)
    assert backprop("train", "-c", "quick").exit_code == 143
    assert "not finished" in answer("runs")
    assert document("runs")["runs"][0]["has_model"] is True
    assert "training is not finished" in backprop("eval").stderr
    assert backprop("train", "--resume", "runs/quick-1", "--progress", "none").exit_code == 0
    assert "not finished" not in answer("runs")
    assert "training is not finished" not in backprop("eval").stderr


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


@pytest.mark.parametrize(
    ("command", "name", "wrong"),
    [
        (("explain", "digits:1425", "--worksheet"), "sheet.md", "sheet.yaml"),
        (("explain", "digits:1425", "--worksheet"), "sheet.txt", "sheet"),
        (("predict", "digits:1425", "--save-input"), "seen.png", "seen.jpg"),
    ],
)
def test_a_file_that_is_there_is_written_over_only_if_that_is_asked_for(
    command: tuple[str, ...], name: str, wrong: str, work: Path
) -> None:
    (work / name).write_text("mine")
    assert f"{name}: already exists; --force overwrites it" in refusal(*command, name, "-m", "pretrained")
    assert (work / name).read_text() == "mine"
    assert backprop(*command, name, "-m", "pretrained", "--force").exit_code == 0
    assert (work / name).read_bytes() != b"mine"
    assert f"{wrong}: its name must end in ." in refusal(*command, wrong, "-m", "pretrained")
    assert not (work / wrong).exists()


def test_an_option_that_is_a_setting_is_answered_with_the_setting() -> None:
    assert "--lr; it is a setting: --set optimizer.learning_rate=VALUE" in refusal("train", "--lr", "0.1")
    assert "--batch-size; it is a setting: --set training.batch_size=VALUE" in refusal("cv", "--batch-size", "3")
    assert "see backprop eval --help" in refusal("eval", "--lr", "3")  # which takes none
    assert "--set seed: expected KEY=VALUE" in refusal("train", "--set", "seed", "3")


@pytest.mark.parametrize(
    "command", [("verify",), ("predict",), ("explain",), ("init",), ("data", "show"), ("config", "show")]
)
def test_help_speaks_no_python(command: tuple[str, ...]) -> None:
    text = answer(*command, "--help")
    assert not re.search(r"\[\[|\{|<list|[\]A-Z] <str>", text), text


def test_what_is_wrong_with_an_answer_is_said_on_stderr_beside_json(work: Path) -> None:
    (work / "no.png").write_text("no picture")
    np.save(work / "rows.npy", np.zeros((2, 8, 8), np.uint8))
    result = backprop("predict", "no.png", "rows.npy", "-m", "pretrained", "--json")
    assert result.exit_code == 1
    assert "error: no.png: " in result.stderr
    assert "warning: rows.npy:1: blank" in result.stderr
    assert len(parsed(result.stdout)["predictions"]) == 3


# ---- which model is meant --------------------------------------------------------------------------------------------


@pytest.fixture
def two_runs(work: Path) -> Path:
    """Give a working directory with a good run, and a hopeless one after it."""
    hopeless = ("--epochs", "1", "--set", "optimizer.learning_rate=1e-6", "--run-dir", "runs/hopeless")
    assert backprop("train", "-c", "quick", "--progress", "none").exit_code == 0
    assert backprop("train", "-c", "quick", "--progress", "none", *hopeless).exit_code == 0
    return work


def test_the_line_that_says_which_model_reads_says_how_good_it_was(two_runs: Path) -> None:
    told = backprop("predict", "digits:3").stderr
    assert re.search(r"model: runs/hopeless/model\.safetensors \(validation accuracy \d+\.\d %\)", told)
    assert re.search(r"warning: runs/hopeless/model\.safetensors: its validation accuracy is only \d+\.\d %", told)
    assert "is only" not in backprop("predict", "digits:3", "-m", "runs/hopeless").stderr  # asked for by name


def test_use_chooses_the_model_until_it_is_undone(two_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer("use", "quick-1").startswith("runs/quick-1/model.safetensors (validation accuracy 9")
    assert "quick-1" in backprop("predict", "digits:3").stderr
    assert "quick-1" in backprop("explain", "digits:3").stderr
    assert str(library.load().path).endswith("quick-1/model.safetensors")
    assert "hopeless" in backprop("predict", "digits:3", "-m", "latest", "-v").stderr
    assert "(by runs/.use)" in answer("use")
    monkeypatch.setenv("BACKPROP_MODEL", "pretrained")
    assert "pretrained" in backprop("predict", "digits:3").stderr
    assert "BACKPROP_MODEL is set and takes precedence" in backprop("use", "quick-1").stderr
    monkeypatch.delenv("BACKPROP_MODEL")
    assert "hopeless" in answer("use", "--latest")
    assert "hopeless" in backprop("predict", "digits:3").stderr


def test_a_model_that_cannot_be_used_is_told_by_whom_it_was_named(
    two_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nope: no such model" in refusal("use", "nope")
    assert "--latest: cannot be used with the name of a model" in refusal("use", "quick-1", "--latest")
    answer("use", "quick-1")
    shutil.rmtree(two_runs / "runs" / "quick-1")
    assert "runs/.use: " in refusal("predict", "digits:3")
    monkeypatch.setenv("BACKPROP_MODEL", "nope")
    assert "BACKPROP_MODEL: nope: no such model" in refusal("predict", "digits:3")


def test_a_sample_that_was_trained_on_is_said_to_be(work: Path) -> None:
    told = "the network was trained on this very picture"
    assert told in backprop("explain", "digits:1628", "-m", "pretrained").stderr
    assert backprop("train", "-c", "digits", "--epochs", "2", "--progress", "none").exit_code == 0
    assert told in backprop("explain", "digits:3").stderr
    assert told not in backprop("explain", "digits:1628").stderr  # by a writer of the test part


def test_the_next_command_is_one_that_the_shell_finds(work: Path) -> None:
    here = Path(sys.executable).with_name("backprop")
    if not here.exists():
        pytest.skip("backprop is not installed beside this Python")
    words = ("train", "-c", "quick", "--epochs", "1", "--progress", "none", "--run-dir", "a")
    found = [
        process(*words[:-1], name, cwd=work, program=(str(here),), env={"PATH": path}).stdout.decode()
        for name, path in (("a", "/usr/bin:/bin"), ("b", f"{here.parent}:/usr/bin:/bin"))
    ]
    assert f"next        {here} eval" in found[0]
    assert "next        backprop eval" in found[1]


def test_sample_pictures_are_at_hand_anywhere(work: Path) -> None:
    for digit in "0123456789":
        assert f"sure this is a{'n' * (digit == '8')} {digit}" in answer(
            "predict", f"samples:{digit}", "-m", "pretrained"
        )
    assert document("explain", "samples:4", "--label", "4", "-m", "pretrained")["path"] == "samples:4"
    for odd in ("samples:", "samples:x", "samples:10", "samples:*"):
        assert "the samples are samples:0 to samples:9" in refusal("predict", odd, "-m", "pretrained")


def test_the_corrections_rate_is_the_largest_that_harms_nothing(work: Path) -> None:
    assert backprop("train", "-c", "textbook", "--progress", "none").exit_code == 0  # at a rate of 3
    found = library.load().explain("digits:1425")
    (step,) = found.steps
    assert step.learning_rate > 0.01
    assert step.loss <= found.loss
    assert (
        "the largest of 0.01, 0.03, 0.1, 0.3, 1, 3 that neither overshoots nor costs the validation"
        in found.rate_reason
    )
    told = " ".join(answer("explain", "digits:1425").split())
    assert f"weight - {step.learning_rate:g} x gradient" in told
    assert found.rate_reason in told
    given = library.load().explain("digits:1425", learning_rates=(0.02,))
    assert (given.steps[0].learning_rate, given.rate_reason) == (0.02, "")


def test_why_a_step_makes_a_right_answer_less_sure_is_said(work: Path) -> None:
    told = " ".join(answer("explain", "digits:1425", "-m", "pretrained").split())
    assert "It is less sure than before: the labels are smoothed, so 95.5 % is aimed at, not 100 %." in told
    assert backprop("train", "-c", "quick", "--progress", "none").exit_code == 0
    assert "less sure" not in answer("explain", "digits:1425")


@pytest.mark.slow
def test_how_a_blank_pixel_enters_is_said(work: Path) -> None:
    says = "pixels enter centered: a blank one as minus its mean ink"
    assert says in answer("explain", "digits:1628", "-m", "pretrained")
    unit = ("--set", "data.scaling=unit")
    assert backprop("train", "-c", "quick", "--epochs", "1", "--progress", "none", *unit).exit_code == 0
    assert says not in answer("explain", "digits:1628")
