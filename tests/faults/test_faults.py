"""A short version of each fault check; and that each finds the fault it is there for, once its guard is taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import PATIENCE
from faults import disk, kills, sameness, sharing, stops, surroundings, trials
from faults.surroundings import Surrounding
from faults.trials import EAGER, Tally, Training, patched

JOBS = 2  # other tests run beside these
TRIALS = 400  # in which a fault may show itself; the first that does ends them

TORN = """
import os, time
from backprop_cli import files
from backprop_cli.store import run_directory, tensor_file
def write_in_place(path, data):
    with open(path, "wb") as file:
        for start in range(0, len(data), 20_000):
            file.write(data[start:start + 20_000])
            file.flush()
            time.sleep(0.005)
for module in (files, tensor_file, run_directory):
    module.write_atomic = write_in_place
"""
SAME_ORDER = """
from backprop_cli.engine.training_state import TrainingState
restore = TrainingState.restore
def without_rngs(self, arrays, numbers):
    restore(self, arrays, {**numbers, "rng_states": {n: g.bit_generator.state for n, g in self.rngs.items()}})
TrainingState.restore = without_rngs
"""
ROWS_STAY = """
from backprop_cli.store.run_directory import RunDirectory
RunDirectory.cut_metrics = lambda self, n_rows: None
"""
LITTER_STAYS = """
import time
from backprop_cli import files
from backprop_cli.store import run_directory
run_directory.remove_litter = lambda directory, locked: None
write = files._write_durably
files._write_durably = lambda path, data: (write(path, data), time.sleep(0.03))
"""
NO_HANDLER = """
from backprop_cli.cli import signals
signals.HANDLED = ()
"""
UNCHECKED_FSYNC = """
import os
fsync = os.fsync
def careless(descriptor):
    try:
        fsync(descriptor)
    except OSError:
        pass
os.fsync = careless
"""
TRACEBACK = """
from backprop_cli.cli import app, console
def error(problem):
    raise problem if isinstance(problem, BaseException) else RuntimeError(problem)
console.error = error
"""
DIRTY = """
from pathlib import Path
Path.unlink = lambda self, missing_ok=False: None
"""
NO_LOCK = """
from backprop_cli.store import run_directory
run_directory._take_lock = lambda path: None
run_directory._refuse_used = lambda path: None
"""
BRITTLE = """
from backprop_cli.cli import console
def write(stream, text):
    stream.write(text + chr(10))
    stream.flush()
console._write = write
"""
BY_HASH = """
import numpy as np
sequence = np.random.SeedSequence
np.random.SeedSequence = lambda entropy: sequence([*entropy, hash("a")  % 2**32])
"""


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return Training(tmp_path_factory.mktemp("whole"), epochs=8)


@pytest.fixture(autouse=True)
def one_failure_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MAX_FAILURES", 1)


def clean(tally: Tally) -> None:
    if tally.skipped and not tally.tried:
        pytest.skip(tally.skipped[0])
    assert tally.tried > 0
    assert tally.failures == []


def found(tally: Tally, word: str) -> None:
    """Check that a check has failed, for this reason."""
    if tally.skipped and not tally.tried:
        pytest.skip(tally.skipped[0])
    assert any(word in failure for failure in tally.failures), tally


def test_kills_do_no_harm(training: Training) -> None:
    clean(kills.check_kills(training, 2, JOBS))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patch", "word"),
    [
        (TORN, "does not go on"),
        (SAME_ORDER, "model.safetensors"),
        (ROWS_STAY, "metrics"),
        (LITTER_STAYS, "litter"),
    ],
    ids=["torn files", "random numbers lost", "rows that stay", "litter that stays"],
)
def test_kills_would_find(training: Training, patch: str, word: str) -> None:
    found(kills.check_kills(training, TRIALS, JOBS, patched(patch)), word)


def test_signals_do_no_harm(training: Training) -> None:
    clean(stops.check_signals(training, 2, JOBS, seconds=PATIENCE))


@pytest.mark.slow
def test_signals_would_find_handlers_not_set(training: Training) -> None:
    found(stops.check_signals(training, TRIALS, JOBS, patched(NO_HANDLER), seconds=PATIENCE), "")


def test_io_errors_do_no_harm(training: Training, tmp_path: Path) -> None:
    clean(disk.check_io_errors(training, 3, JOBS, tmp_path, calls=("write", "fsync", "rename", "mkdir")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patch", "call", "word"),
    [(UNCHECKED_FSYNC, "fsync", "exit 0"), (TRACEBACK, "write", "Traceback"), (DIRTY, "rename", "litter")],
    ids=["an fsync unchecked", "a traceback", "temporaries left"],
)
def test_io_errors_would_find(training: Training, tmp_path: Path, patch: str, call: str, word: str) -> None:
    found(disk.check_io_errors(training, TRIALS, JOBS, tmp_path, patched(patch), calls=(call,)), word)


def test_full_disks_do_no_harm(training: Training) -> None:
    clean(disk.check_full_disks(training, 2, JOBS))


@pytest.mark.slow
@pytest.mark.parametrize(("patch", "word"), [(TORN, ""), (DIRTY, "litter")], ids=["torn files", "temporaries left"])
def test_full_disks_would_find(training: Training, patch: str, word: str) -> None:
    found(disk.check_full_disks(training, TRIALS, JOBS, patched(patch)), word)


def test_two_trainings_never_share_a_directory(training: Training) -> None:
    clean(sharing.check_sharing(training, 2, JOBS))


@pytest.mark.slow
def test_sharing_would_find_a_lock_not_taken(training: Training) -> None:
    found(sharing.check_sharing(training, TRIALS, JOBS, patched(NO_LOCK)), "")


QUICK = ("stdout closed", "stderr full", "64 descriptors", "a full disk", "the working directory is gone")
STREAMS = ("stdout closed", "stderr full")


def places(names: Sequence[str], commands: tuple[str, ...] = ("runs",)) -> list[Surrounding]:
    """Return some places, each with one command only: the campaign runs them all."""
    chosen = {place.name: place for place in surroundings.SURROUNDINGS if place.name in names}
    assert len(chosen) == len(names)
    cut = [tuple(c for c in place.commands if c in commands) or place.commands[:1] for place in chosen.values()]
    return [replace(place, commands=few, hides=True) for place, few in zip(chosen.values(), cut, strict=True)]


def test_odd_surroundings_do_no_harm(tmp_path: Path) -> None:
    clean(surroundings.check_surroundings(tmp_path, JOBS, places=places(QUICK)))


def test_surroundings_would_find_unguarded_streams(tmp_path: Path) -> None:
    for place in places(STREAMS, ("runs", surroundings.TRAIN)):
        folder = tmp_path / place.name
        folder.mkdir()
        found(surroundings.check_surroundings(folder, 1, patched(BRITTLE), [place]), place.name)


def test_surroundings_are_as_many_as_the_campaign_says() -> None:
    names = [place.name for place in surroundings.SURROUNDINGS]
    assert len(names) == len(set(names)) >= 75


@pytest.mark.slow
def test_models_are_equal_anywhere(tmp_path: Path) -> None:
    clean(sameness.check_sameness(tmp_path, JOBS, places=sameness.PLACES[2:9:3]))


@pytest.mark.slow
def test_sameness_would_find_what_depends_on_the_surroundings(tmp_path: Path) -> None:
    hashed = [place for place in sameness.PLACES if place.name.startswith("hash seed")]
    found(sameness.check_sameness(tmp_path, JOBS, patched(BY_HASH), hashed), "other bytes")


@pytest.mark.slow
def test_every_patch_still_trains_when_left_alone(tmp_path: Path) -> None:
    """A patch that breaks the program would be found whatever a check looks at."""
    for number, patch in enumerate((SAME_ORDER, ROWS_STAY, NO_HANDLER, UNCHECKED_FSYNC, NO_LOCK, BY_HASH)):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert Training(folder, patched(patch), epochs=1).seconds > 0
    assert patched("") == EAGER
