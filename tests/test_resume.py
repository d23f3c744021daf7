"""A run that was stopped, killed or only paused ends in the very bytes of one that was not."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import PATIENCE, answer, backprop, contents, document, refusal, started, wait_until
from faults.trials import differences, patched, rows

from backprop_cli.engine import training

WARPED = "data.augment={rotation: 10, shift: 0.5}"
PLAIN = ("train", "-c", "quick", "--epochs", "12")
VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "momentum": ("--set", "optimizer={name: sgd, learning_rate: 0.1, momentum: 0.9, nesterov: true}"),
    "schedule": ("--set", "schedule={name: warmup_cosine, warmup: 0.2}"),
    "dropout": ("--set", "network.layers=[{units: 16, activation: relu, dropout: 0.3}]"),
    "augmentation": ("--set", WARPED),
    "ensemble": ("--set", "ensemble=2", "--epochs", "6"),
    "early stopping": ("--set", "training.early_stopping={monitor: val_accuracy, patience: 3}", "--epochs", "60"),
    "class weights": ("--set", "training.class_weight=balanced"),
    "no validation": ("--set", "data.validation_size=0"),
    "everything": (
        *("--set", "ensemble=2", "--set", WARPED, "--set", "calibration=temperature", "--epochs", "6"),
        *("--set", "network.layers=[{units: 16, activation: gelu, dropout: 0.2}]"),
    ),
}


def same(run: Path, whole: Path) -> None:
    """Check that a run came out as the uninterrupted one did, and left nothing lying about."""
    assert differences(run, whole) == []
    assert contents(run).keys() == contents(whole).keys()


@pytest.mark.parametrize("variant", VARIANTS)
def test_interrupted_and_resumed_is_the_same_to_the_last_bit(
    work: Path, stop_at: Callable[[int], None], variant: str
) -> None:
    command = (*PLAIN, *VARIANTS[variant])
    answer(*command, "--run-dir", "whole")
    n_epochs = len(rows(work / "whole"))
    first = n_epochs // 3  # of an ensemble, in its first network
    second = n_epochs - 1 - first  # in its second; with early stopping, when patience is all but at its end
    stop_at(first)
    assert document(*command, "--run-dir", "broken", code=143)["stop_reason"] == "interrupted"
    assert len(rows(work / "broken")) == first
    stop_at(second)
    answer("train", "--resume", "broken", code=143)
    assert len(rows(work / "broken")) == first + second
    answer("train", "--resume", "broken")
    same(work / "broken", work / "whole")


def test_interrupted_in_the_middle_of_an_epoch_goes_back_to_its_beginning(
    work: Path, stop_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0.0)  # an event after every chunk,
    monkeypatch.setattr("backprop_cli.data.dataset.CHUNK_FLOATS", 65 * 32 * 10)  # of which an epoch has four
    command = (*PLAIN, "--set", WARPED, "--set", "network.layers=[{units: 16, activation: relu, dropout: 0.3}]")
    answer(*command, "--run-dir", "whole")
    stop_at(4 * 5 + 2)
    answer(*command, "--run-dir", "broken", code=143)
    assert len(rows(work / "broken")) == 5
    answer("train", "--resume", "broken")
    same(work / "broken", work / "whole")


def test_interrupted_before_the_first_epoch_is_over_it_starts_there(
    work: Path, stop_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr("backprop_cli.data.dataset.CHUNK_FLOATS", 65 * 32 * 10)
    stop_at(1)
    assert document(*PLAIN, "--run-dir", "broken", code=143)["model"] is None
    assert not (work / "runs/latest").exists()
    answer("train", "--resume", "broken")
    answer(*PLAIN, "--run-dir", "whole")
    same(work / "broken", work / "whole")


SLOW = """
import time
from backprop_cli.store.run_directory import RunDirectory
append = RunDirectory.append_metrics
RunDirectory.append_metrics = lambda self, row: (append(self, row), time.sleep(0.5))
"""


def test_signaled_processes_resume_to_the_same_bytes(work: Path) -> None:
    command, slow = ("train", "-c", "quick", "--epochs", "100", "--set", WARPED), patched(SLOW)
    answer(*command, "--run-dir", "whole")
    running = started(*command, "--run-dir", "broken", cwd=work, program=slow)
    wait_until(lambda: (work / "broken/metrics.jsonl").exists())
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=PATIENCE)
    assert running.returncode == 130
    n_rows = len(rows(work / "broken"))
    running = started("train", "--resume", "broken", cwd=work, program=slow)
    wait_until(lambda: len((work / "broken/metrics.jsonl").read_bytes().splitlines()) > n_rows)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=PATIENCE)
    assert running.returncode == 143
    assert n_rows < len(rows(work / "broken")) < 100
    answer("train", "--resume", "broken")
    same(work / "broken", work / "whole")


def test_a_torn_line_and_rows_beyond_the_checkpoint_are_cut_back(work: Path, stop_at: Callable[[int], None]) -> None:
    answer(*PLAIN, "--run-dir", "whole")
    stop_at(5)
    answer(*PLAIN, "--run-dir", "broken", code=143)
    whole = (work / "whole/metrics.jsonl").read_text().splitlines()
    with (work / "broken/metrics.jsonl").open("a") as metrics:
        metrics.write(f'{whole[5]}\n{whole[6]}\n{{"epoch": 8, "lo')
    answer("train", "--resume", "broken")
    same(work / "broken", work / "whole")


def test_a_finished_run_stays_as_it_is(work: Path) -> None:
    answer(*PLAIN)
    before = contents(work / "runs/quick-1")
    result = backprop("train", "--resume", "quick-1", "--json")
    assert result.exit_code == 0
    assert "finished" in result.stderr
    assert json.loads(result.stdout)["stop_reason"] == "completed"
    assert contents(work / "runs/quick-1") == before


@pytest.mark.parametrize("written", [["config.yaml"], ["config.yaml", "environment.json"]])
def test_a_run_killed_before_its_first_checkpoint_starts_at_epoch_1(work: Path, written: list[str]) -> None:
    answer(*PLAIN, "--run-dir", "whole")
    (work / "broken").mkdir()
    for name in written:
        (work / "broken" / name).write_bytes((work / "whole" / name).read_bytes())
    answer("train", "--resume", "broken")
    same(work / "broken", work / "whole")


def test_the_model_of_a_run_killed_after_its_last_checkpoint_is_written(work: Path) -> None:
    answer(*PLAIN)
    before = contents(work / "runs/quick-1")
    (work / "runs/quick-1/model.safetensors").unlink()
    answer("train", "--resume", "quick-1")
    assert contents(work / "runs/quick-1") == before


def test_more_epochs_go_on_as_if_there_had_always_been_so_many(work: Path) -> None:
    answer("train", "-c", "quick", "--epochs", "12", "--run-dir", "whole")
    answer("train", "-c", "quick", "--epochs", "5", "--run-dir", "broken")
    found = document("train", "--resume", "broken", "--epochs", "12")
    assert found["epochs"] == 12
    drop = {"stop_reason"}  # epoch 5 says that it was the last
    without = [[{k: row[k] for k in row.keys() - drop} for row in rows(work / run)] for run in ("broken", "whole")]
    assert without[0] == without[1]
    assert (work / "broken/model.safetensors").read_bytes() == (work / "whole/model.safetensors").read_bytes()
    assert "epochs: 12" in (work / "broken/config.yaml").read_text()
    before = contents(work / "broken")
    assert "training.epochs" in refusal("train", "--resume", "broken", "--epochs", "11")
    assert contents(work / "broken") == before


def test_more_epochs_for_an_ensemble_are_trained_in_every_network(work: Path) -> None:
    answer("train", "-c", "quick", "--epochs", "3", "--set", "ensemble=2", "--run-dir", "broken")
    answer("train", "-c", "quick", "--epochs", "6", "--set", "ensemble=2", "--run-dir", "whole")
    assert document("train", "--resume", "broken", "--epochs", "6")["epochs"] == 6
    assert (work / "broken/model.safetensors").read_bytes() == (work / "whole/model.safetensors").read_bytes()
    assert len(rows(work / "broken")) == 12


def test_a_run_raised_in_epochs_can_be_interrupted_too(work: Path, stop_at: Callable[[int], None]) -> None:
    answer(*PLAIN, "--run-dir", "whole")
    answer(*PLAIN, "--epochs", "4", "--run-dir", "broken")
    stop_at(3)
    answer("train", "--resume", "broken", "--epochs", "12", code=143)
    answer("train", "--resume", "broken")  # the new total was saved with the run
    assert (work / "broken/model.safetensors").read_bytes() == (work / "whole/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--seed", "3"), ["seed"]),
        (("--set", "optimizer.learning_rate=1", "--set", "ensemble=2"), ["optimizer.learning_rate", "ensemble"]),
        (("-c", "digits"), ["network.layers", "data.augment", "data.split", "schedule.name"]),
        (("--set", "optimizer={name: sgd, momentum: 0.5}"), ["optimizer.name", "optimizer.momentum"]),
    ],
)
def test_settings_that_differ_are_refused_by_name(work: Path, options: tuple[str, ...], named: list[str]) -> None:
    answer(*PLAIN)
    before = contents(work)
    message = refusal("train", "--resume", "quick-1", *options)
    assert message.count("\n") == 1
    assert all(key in message for key in named)
    assert "training" not in message.partition("differ: ")[2] or options[0] == "-c"
    assert contents(work) == before


def test_settings_that_are_the_runs_own_are_no_obstacle(work: Path, stop_at: Callable[[int], None]) -> None:
    stop_at(3)
    answer(*PLAIN, "--seed", "3", code=143)
    answer("train", "--resume", "quick-1", "-c", "quick", "--epochs", "12", "--seed", "3")
    assert len(rows(work / "runs/quick-1")) == 12


def damage(path: Path, kind: str) -> None:
    """Do to a checkpoint what disks and people do."""
    raw = path.read_bytes()
    if kind == "of another run":
        answer("train", "-c", "quick", "--epochs", "2", "--seed", "1", "--run-dir", "other")
        path.write_bytes(Path("other/checkpoint.safetensors").read_bytes())
    elif kind == "a directory":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"cut": raw[:-1], "empty": b"", "one bit": raw[:-9] + bytes([raw[-9] ^ 4]) + raw[-8:]}[kind])


@pytest.mark.parametrize("kind", ["cut", "empty", "one bit", "of another run", "a directory"])
def test_a_damaged_checkpoint_is_named_with_the_way_out_and_nothing_is_lost(work: Path, kind: str) -> None:
    answer(*PLAIN)
    damage(work / "runs/quick-1/checkpoint.safetensors", kind)
    before = contents(work)
    line = refusal("train", "--resume", "quick-1")
    assert line.startswith("error: runs/quick-1/checkpoint.safetensors: ")
    assert line.count("\n") == 1
    assert "remove it to start again" in line
    assert contents(work) == before


def test_two_trainings_never_share_a_directory(work: Path) -> None:
    running = started("train", "-c", "quick", "--epochs", "1000000", cwd=work)
    try:
        wait_until((work / "runs/quick-1/metrics.jsonl").exists)
        assert refusal("train", "--resume", "quick-1") == "error: runs/quick-1: another training is running here\n"
    finally:
        running.kill()
        running.communicate()
