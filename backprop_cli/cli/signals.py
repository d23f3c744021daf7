"""Ctrl-C and SIGTERM while a training runs: a flag that is looked at between steps, so that nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

import typer

from backprop_cli.cli import console

HANDLED = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """From its making on, the first signal only sets `signum`; a second one leaves at once.

    Attributes:
        signum: The signal that came, 0 before.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._before = {number: signal.signal(number, self._note) for number in HANDLED}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum:
            os._exit(128 + signum)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum

    def restore(self) -> None:
        """Give the signals back to whoever had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def progress_printer(interrupt: Interrupt) -> Callable[[int, int], None]:
    """Return a callback that prints, at most once a second, how many pictures are read, and leaves on a signal."""
    last_time = time.monotonic()

    def print_progress(n_done: int, n_all: int) -> None:
        nonlocal last_time
        if interrupt.signum:
            raise typer.Exit(interrupt.exit_code)
        if time.monotonic() - last_time >= 1.0:
            last_time = time.monotonic()
            console.print_status(f"read {n_done:,} of {n_all:,} pictures")

    return print_progress
