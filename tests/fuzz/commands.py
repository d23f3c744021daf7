"""The same files through the front door: a process of its own for each, as a user would start it."""

from __future__ import annotations

import shutil
import tempfile
import time
import unicodedata
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

from campaign import ODD_FOLDER, Tally, kept, written
from command_line import SAMPLES, process
from judge import SMALL
from mutations import Case
from worker import Outcome

PICTURE = SAMPLES / "3-1418.png"


def commands(kind: str, path: Path) -> list[list[str | Path]]:
    """Return the commands that read a file of this kind."""
    return {
        "model": [
            ["predict", "-m", path, PICTURE],
            ["explain", "-m", path, PICTURE],
            ["check", "-m", path],
            ["eval", "-m", path],
        ],
        "checkpoint": [["train", "--resume", path.parent, "--progress", "none"]],
        "config": [["config", "validate", path], ["config", "show", path], ["train", "--dry-run", "-c", path]],
        "picture": [["predict", "-m", "pretrained", path], ["predict", "-m", "pretrained", "--digits", "many", path]],
        "data": [["eval", "-m", "pretrained", "--data", path]],
    }[kind]


def check(command: list[str | Path], cwd: Path) -> Outcome:
    """Run a command on an odd file; it ends well or with errors of a line each, and prints nothing else."""
    start = time.monotonic()
    done = process(*command, cwd=cwd)
    seconds = time.monotonic() - start
    stdout, stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    lines = stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    other = [line for line in lines if not line.startswith(("error: ", "warning: ", "--label D tells"))]
    steering = {c for c in stdout + stderr if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")} - {"\n"}
    faults = {
        f"exit code {done.returncode}": done.returncode not in (0, 1, 2),
        "no error told": done.returncode != 0 and not 1 <= len(errors) <= 13,
        "an error, and exit code 0": done.returncode == 0 and bool(errors),
        "an answer beside an error": done.returncode != 0 and bool(stdout) and command[0] != "check",
        "something else on stderr": bool(other) and not (command[0] in ("train", "eval") and done.returncode == 0),
        f"steers a terminal with {steering}": bool(steering),
    }
    found = [fault for fault, holds in faults.items() if holds]
    failure = f"{command[0]}: {'; '.join(found)}: {stderr[-1500:]}" if found else ""
    return Outcome("\n".join(errors), failure, seconds)


def run_commands(kind: str, many: Iterable[Case], *, keep: Path | None = None) -> Tally:
    """Have each case read by one of the commands that can; see `campaign.run`."""
    tally, start, turn = Tally(), time.monotonic(), cycle(range(12))
    with tempfile.TemporaryDirectory() as scratch:
        for case in many:
            place = Path(scratch) / ODD_FOLDER
            path = written(case, place)
            if kind == "checkpoint":
                (place / "config.yaml").write_text(SMALL.to_yaml())
            choice = commands(kind, path)
            outcome = check(choice[next(turn) % len(choice)], Path(scratch))
            tally.tried += 1
            tally.accepted += not (outcome.refusal or outcome.failure)
            tally.longest = max(tally.longest, outcome.seconds)
            if outcome.failure:
                tally.failed += 1
                tally.reasons[outcome.failure[:200]] += 1
                assert keep is not None, outcome.failure
                kept(kind, case, outcome, keep)
            shutil.rmtree(place)
    tally.seconds = time.monotonic() - start
    return tally
