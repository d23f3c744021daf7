"""kill -9 at any moment, perhaps again and again: the run goes on and ends in the very bytes of one left alone."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from pathlib import Path

from faults.trials import EAGER, Tally, Training, repeat


def check_kills(training: Training, wanted: int, jobs: int, program: Sequence[str] = EAGER, *, seed: int = 0) -> Tally:
    """Kill trainings at random moments; resume; compare."""

    def trial(folder: Path, chance: random.Random) -> int:
        n_hit = 0
        for _ in range(chance.choice((1, 1, 2, 3))):
            running = training.begun(folder, program, chance)
            running.kill()
            _, stderr = running.communicate()
            assert running.returncode in (0, -signal.SIGKILL), f"does not go on: {stderr.decode()}"
            n_hit += running.returncode != 0
        training.finish(folder, program)
        return n_hit

    return repeat("kill -9, then resume", trial, wanted, jobs, seed)
