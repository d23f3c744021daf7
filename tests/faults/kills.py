"""kill -9 at any moment, perhaps again and again: the run goes on and ends in the very bytes of one left alone."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from command_line import started
from faults.trials import EAGER, Tally, Training, repeat


def check_kills(training: Training, wanted: int, jobs: int, program: Sequence[str] = EAGER, *, seed: int = 0) -> Tally:
    """Kill trainings at random moments; resume; compare."""

    def trial(folder: Path, chance: random.Random) -> int:
        n_hit = 0
        for _ in range(chance.choice((1, 1, 2, 3))):
            metrics = folder / "run/metrics.jsonl"
            before = metrics.stat().st_mtime_ns if metrics.exists() else 0
            running = started(*training.command(folder / "run"), cwd=folder, program=program)
            if chance.random() < 0.7:  # most of the time goes into the start: more often, wait for the first epoch
                while running.poll() is None and not (metrics.exists() and metrics.stat().st_mtime_ns > before):
                    time.sleep(0.002)
                time.sleep(chance.uniform(0.0, training.seconds / 3))
            else:
                time.sleep(chance.uniform(0.0, training.seconds))
            running.kill()
            _, stderr = running.communicate()
            assert running.returncode in (0, -signal.SIGKILL), f"does not go on: {stderr.decode()}"
            n_hit += running.returncode != 0
        training.finish(folder, program)
        return n_hit

    return repeat("kill -9, then resume", trial, wanted, jobs, seed)
