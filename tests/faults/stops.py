"""Ctrl-C and SIGTERM at any moment: out at once, with the right exit code, and resumable to the last bit."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from command_line import PROGRAM
from faults.trials import Tally, Training, repeat


def check_signals(
    training: Training, wanted: int, jobs: int, program: Sequence[str] = PROGRAM, *, seed: int = 0, seconds: float = 1.0
) -> Tally:
    """Signal trainings at random moments, a quarter of them twice; resume; compare.

    Args:
        training: Undisturbed.
        wanted: Signals.
        jobs: Trials at a time.
        program: What to test.
        seed: Of the moments.
        seconds: How long the training may take to leave.
    """

    def trial(folder: Path, chance: random.Random) -> int:
        signum = chance.choice((signal.SIGINT, signal.SIGTERM))
        running = training.begun(folder, program, chance)
        running.send_signal(signum)
        begin = time.monotonic()
        if chance.random() < 0.25:
            running.send_signal(signum)
        _, stderr = running.communicate()
        took, code = time.monotonic() - begin, running.returncode
        told = f"{signum.name}: exit {code} after {took:.2f} s, {stderr.decode()!r}"
        if code != 0:  # it may have been at its end already
            begun = (folder / "run").exists()
            assert code == 128 + signum or (code == -signum and not begun), told
            assert b"backprop_cli" not in stderr, told  # a traceback of Python's own start is none of ours
            assert took < seconds, told
        training.finish(folder, program)
        return int(code != 0)

    return repeat("SIGINT and SIGTERM, then resume", trial, wanted, jobs, seed)
