"""What all fault checks share: a small training, what it must come to, and the count of what was tried and failed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from command_line import contents, process, started

from backprop_cli.files import list_litter
from backprop_cli.store.tensor_file import load_checkpoint

MAX_FAILURES = 20  # of one check: more tell nothing new
TRAINING = (
    *("train", "-c", "quick", "--progress", "none"),
    *("--set", "network.layers=[{units: 24, activation: gelu, dropout: 0.2}]"),
    *("--set", "data.augment={rotation: 10, shift: 0.5}", "--set", "schedule={name: warmup_cosine, warmup: 0.1}"),
    *("--set", "ensemble=2", "--set", "calibration=temperature"),
)
STORY = ("model: ", "going on after epoch ", "epoch ", "1/2  fold", "2/2  fold")  # what may stand before an error
FILES = ("model.safetensors", "checkpoint.safetensors", "config.yaml", "environment.json")


def patched(code: str = "") -> tuple[str, ...]:
    """Return a program that is backprop after `code` has changed it, with a checkpoint after every epoch."""
    lines = (
        "import signal",
        "before = signal.signal(signal.SIGINT, signal.SIG_DFL)",  # as in `backprop_cli.__main__` while it imports
        "from backprop_cli.experiment import experiment",
        "from backprop_cli.__main__ import main",
        "experiment.CHECKPOINT_SECONDS = 0.0",
        code,
        "signal.signal(signal.SIGINT, before)",
        "main()",
    )
    return sys.executable, "-W", "error", "-c", "\n".join(lines)


EAGER = patched()


@dataclass
class Tally:
    """What one check has tried and what failed of it."""

    check: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


Trial = Callable[[Path, random.Random], int]


def repeat(check: str, trial: Trial, wanted: int, jobs: int, seed: int = 0) -> Tally:
    """Repeat a trial, each in a directory of its own, until it has tried `wanted` faults.

    Args:
        check: Its name in the table.
        trial: Gets its directory and its chance; returns how many faults hit; raises AssertionError where one did harm.
        wanted: Faults that must have hit. A check whose faults miss, three trials out of four, has failed.
        jobs: Trials at a time.
        seed: Of the chance.
    """
    tally = Tally(check)
    trials = iter(range(4 * wanted + 8))
    with ThreadPoolExecutor(jobs) as pool:
        while tally.tried < wanted and len(tally.failures) < MAX_FAILURES:
            batch = list(islice(trials, min(2 * jobs, wanted - tally.tried)))
            attempts = pool.map(lambda k: _attempt(trial, random.Random(f"{seed} {k}")), batch)
            for k, found in zip(batch, attempts, strict=True):
                tally.tried += found if isinstance(found, int) else 1
                tally.failures += [f"trial {k}: {found}"] if isinstance(found, str) else []
            if not batch:
                tally.failures.append(f"only {tally.tried} of {wanted} faults hit")
                break
    return tally


def _attempt(trial: Trial, chance: random.Random) -> int | str:
    with tempfile.TemporaryDirectory(prefix="backprop-fault-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # some trials run as somebody else
        try:
            return trial(folder, chance)
        except Exception as problem:
            return f"{type(problem).__name__}: {problem}"


class Training:
    """The small training, done once without any fault.

    Attributes:
        run: Its run directory.
        seconds: What it took, start to end.
    """

    def __init__(self, folder: Path, program: Sequence[str] = EAGER, *, epochs: int = 40) -> None:
        self.folder, self.run, self.epochs = folder, folder / "run", epochs
        begin = time.monotonic()
        done = process(*self.command(self.run), cwd=folder, program=program)
        self.seconds = time.monotonic() - begin
        assert done.returncode == 0, done.stderr.decode()

    def command(self, run: Path) -> tuple[str | Path, ...]:
        """Return the arguments that begin the training, or go on with it where it is a run already."""
        if (run / "config.yaml").exists():
            return ("train", "--resume", run, "--progress", "none")
        return (*TRAINING, "--epochs", str(self.epochs), "--run-dir", run)

    def finish(self, folder: Path, program: Sequence[str] = EAGER) -> None:
        """Train to the end in a directory where faults have been; raise AssertionError unless all is as it is here."""
        done = process(*self.command(folder / "run"), cwd=folder, program=program)
        assert done.returncode == 0, f"does not go on: exit {done.returncode}, {done.stderr.decode()}"
        self.compare(folder)

    def begun(self, folder: Path, program: Sequence[str], chance: random.Random) -> subprocess.Popen[bytes]:
        """Start in a directory what `command` says; return it at a random moment, most often one past its first epoch.

        The start takes most of the time, and trials that hit nothing but imports find little.
        """
        metrics = folder / "run/metrics.jsonl"
        before = metrics.stat().st_mtime_ns if metrics.exists() else 0
        running = started(*self.command(folder / "run"), cwd=folder, program=program)
        if chance.random() < 0.7:
            while running.poll() is None and not (metrics.exists() and metrics.stat().st_mtime_ns > before):
                time.sleep(0.002)
            time.sleep(chance.uniform(0.0, self.seconds / 3))
        else:
            time.sleep(chance.uniform(0.0, self.seconds))
        return running

    def compare(self, folder: Path) -> None:
        """Raise AssertionError where a finished training differs from this one in a byte, or left something lying."""
        found = differences(folder / "run", self.run)
        litter = contents(folder).keys() ^ contents(self.folder).keys()
        assert not found, f"not as the undisturbed run: {', '.join(found)}"
        assert not litter, f"litter or lost files: {sorted(litter)}"


def differences(run: Path, whole: Path) -> list[str]:
    """Return the files in which a run differs from another; of the metrics, `seconds` may."""
    differing = [name for name in FILES if _bytes(run / name) != _bytes(whole / name)]
    return differing + ["metrics.jsonl"] * (rows(run) != rows(whole))


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def rows(run: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run but for their seconds."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") > 0 for row in found)
    return found


def epochs_kept(run: Path) -> int:
    """Return how many epochs a run would not have to train again; raise AssertionError for litter."""
    assert not list_litter(run), f"litter: {list_litter(run)}"
    path = run / "checkpoint.safetensors"
    return sum(member["epoch"] for member in load_checkpoint(path)[1]["members"]) if path.exists() else 0


def refused(code: int, stderr: bytes, *, wanted: int = 1) -> None:
    """Raise AssertionError unless a command ended with this exit code and one line that says why."""
    lines = [line for line in stderr.decode().splitlines() if not line.startswith(STORY)]
    told = f"exit {code}, {stderr.decode()!r}"
    assert code == wanted, told
    assert len(lines) == 1, told
    assert lines[0].startswith("error: "), told
    assert not lines[0].startswith("error: system"), f"names no file: {told}"
