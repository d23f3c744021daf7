"""Two trainings in one run directory: the second is refused, the first does not notice."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

from command_line import process, started
from faults.trials import EAGER, Tally, Training, refused, repeat


def check_sharing(
    training: Training, wanted: int, jobs: int, program: Sequence[str] = EAGER, *, seed: int = 0
) -> Tally:
    """Start a second training at a random moment of the first; of two started at once, one must win."""

    def trial(folder: Path, chance: random.Random) -> int:
        first = started(*training.command(folder / "run"), cwd=folder, program=program)
        time.sleep(chance.choice((0.0, chance.uniform(0.0, training.seconds))))
        second = process(*training.command(folder / "run"), cwd=folder, program=program)
        _, stderr = first.communicate()
        codes = {first.returncode, second.returncode}
        if codes == {0}:  # one after the other: then it was resumed, as it was
            training.compare(folder)
            return 0
        loser, its_stderr = (first.returncode, stderr) if first.returncode else (second.returncode, second.stderr)
        assert 0 in codes, f"both failed: {stderr!r}, {second.stderr!r}"
        refused(loser, its_stderr, wanted=2)
        assert b"another training is running here" in its_stderr or b"is already a run" in its_stderr, its_stderr
        training.compare(folder)
        return 1

    return repeat("two trainings in one directory", trial, wanted, jobs, seed)
