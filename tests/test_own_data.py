"""Training on a user's own data, from the command line."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLES, answer, backprop, contents, document, refusal

from backprop_cli.cli import signals, train
from backprop_cli.data.readers import picture_folder
from backprop_cli.errors import ConfigError, DataError
from backprop_cli.experiment import experiment

TRAIN = ("train", "-c", "quick", "--epochs", "2")


@pytest.fixture
def folder(work: Path) -> Path:
    """Return a folder of ten classes with three pictures each, in the working directory."""
    for path in SAMPLES.glob("[0-9]-*"):
        (work / "mine" / path.name[0]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, work / "mine" / path.name[0])
    return work / "mine"


@pytest.mark.slow
def test_a_folder_of_pictures_is_trained_on_measured_and_gone_on_with(folder: Path) -> None:
    trained = document(*TRAIN, "--set", "data.source=mine")
    assert trained["run"] == "runs/quick-1"
    assert document("eval")["n"] == 6
    assert document("eval", "--data", "mine")["n"] == 30
    assert document("train", "--resume", "runs/quick-1", "--epochs", "3")["epochs"] == 3
    assert "mine: 30 pictures of 8x8, 10 classes" in answer("data", "show", "-c", "quick", "--set", "data.source=mine")


def test_bad_pictures_are_errors_a_line_each_and_at_most_twelve(folder: Path, work: Path) -> None:
    for k in range(20):
        (folder / "3" / f"bad{k:02}.png").write_bytes(b"")
    before = contents(work)
    told = refusal(*TRAIN, "--set", "data.source=mine").splitlines()
    lines = [line for line in told if not line.startswith("read ")]  # progress, where reading takes long
    assert len(lines) == 12
    assert lines[0] == f"error: {folder}: 20 bad rows; data.skip_bad: true leaves them out"
    assert lines[1].startswith(f"error: {folder}/3/bad00.png: empty file")
    assert lines[11] == f"error: {folder}: and 10 more"
    assert contents(work) == before


@pytest.mark.slow
def test_what_is_skipped_is_told(folder: Path) -> None:
    (folder / "3" / "broken.png").write_text("")
    (folder / "3" / "notes.txt").write_text("")
    skipping = ("--set", "data.source=mine", "--set", "data.skip_bad=true")
    result = backprop(*TRAIN, *skipping)
    assert result.exit_code == 0
    assert f"warning: {folder}: 1 bad row left out\n" in result.stderr
    assert f"warning: {folder}: 1 file left out (not a picture of a class): notes.txt\n" in result.stderr
    (folder / "3" / "more.png").write_text("")
    assert "2 bad rows left out" in backprop("train", "--resume", "runs/quick-1").stderr
    both = backprop(*TRAIN, *skipping, "--set", "data.test_source=mine", "--dry-run").stderr
    assert both.count("mine: 2 bad rows left out") == 2
    assert backprop("eval", "--data", "mine").exit_code == 0
    assert document("cv", "-c", "quick", "--folds", "2", "--set", "training.epochs=1", *skipping)["n"] == 30


def test_the_reading_of_many_pictures_is_told_once_a_second(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.4, 0.8, 1.2, 1.2, 1.6, 2.3, 2.3, *map(float, range(3, 30))])
    monkeypatch.setattr(picture_folder, "CHUNK", 6)
    monkeypatch.setattr(signals, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    told = backprop(*TRAIN, "--set", "data.source=mine", "--dry-run").stderr
    assert told.splitlines()[:2] == ["read 18 of 30 pictures", "read 30 of 30 pictures"]


@pytest.mark.parametrize(("signum", "exit_code"), [(2, 130), (15, 143)])
def test_a_signal_ends_the_reading(
    folder: Path, work: Path, monkeypatch: pytest.MonkeyPatch, signum: int, exit_code: int
) -> None:
    def interrupted() -> Callable[[int, int], None]:
        return lambda n_done, n_all: os.kill(os.getpid(), signum)

    monkeypatch.setattr(train, "progress_printer", interrupted)
    result = backprop(*TRAIN, "--set", "data.source=mine")
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", "error: interrupted\n")
    assert not (work / "runs").exists()


def test_a_csv_serves_as_test_source(work: Path) -> None:
    rows = [f"{k % 3}," + ",".join(str((k * j) % 17) for j in range(16)) for k in range(60)]
    (work / "a.csv").write_text("\n".join(rows))
    (work / "b.csv").write_text("\n".join(rows[:12]))
    document(*TRAIN, "--set", "data.source=a.csv", "--set", "data.test_source=b.csv")
    assert document("eval")["n"] == 12


def test_errors_keep_their_lines_on_the_way_from_another_process() -> None:
    for error in (DataError("a", "b\nc"), ConfigError("a"), ConfigError()):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert again.problems == error.problems
        assert str(again) == "\n".join(error.problems)


IN_BITMAPS = ("--set", "data.augment={rotation: 5, interpolation: bitmap}", "--dry-run")
RAW = ("--set", "data.picture=raw")


def test_warps_are_read_in_bitmaps_of_counts_alone(work: Path) -> None:
    images, labels = np.arange(240.0).reshape(15, 4, 4) % 17, np.arange(15) % 3
    np.savez(work / "whole.npz", images=images, labels=labels)
    np.savez(work / "others.npz", images=images / 2, labels=labels)
    assert backprop(*TRAIN, "--set", "data.source=whole.npz", *IN_BITMAPS).exit_code == 0
    told = refusal(*TRAIN, "--set", "data.source=others.npz", *RAW, *IN_BITMAPS)
    assert "data.augment.interpolation: bitmap needs whole numbers from 0 to 16, unlike" in told
    assert "set data.picture (such as 4x4), or use bilinear" in told
    assert backprop(*TRAIN, "--set", "data.source=others.npz", "--set", "data.picture=8x8", *IN_BITMAPS).exit_code == 0
    images[-1, 0, 0] = 0.5  # of a row that is not trained on, but may be looked at
    np.savez(work / "one.npz", images=images, labels=labels)
    look = (
        "data",
        "show",
        "-c",
        "quick",
        "--set",
        "data.source=one.npz",
        "--set",
        "data.split=ordered",
        *RAW,
        *IN_BITMAPS[:2],
    )
    assert "unlike" in refusal(*look, "--augmented", "--index", "14")


def test_bitmaps_that_take_too_much_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    n_bytes = 1257 * 37 * 37
    monkeypatch.setattr(experiment, "MAX_POINTS", n_bytes)
    assert backprop(*TRAIN, *IN_BITMAPS).exit_code == 0
    monkeypatch.setattr(experiment, "MAX_POINTS", n_bytes - 1)
    told = refusal(*TRAIN, *IN_BITMAPS)
    assert "data.augment.interpolation: bitmap takes 1.7 MB for 1,257 pictures of 8x8, more than 1.7 MB" in told
