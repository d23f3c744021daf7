"""Ctrl-C and SIGTERM while a training runs: a flag that is looked at between steps, so that nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        self._leaves_at_once = False
        self._before = {number: signal.signal(number, self._note) for number in HANDLED}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum:
            os._exit(128 + signum)
        self.signum = signum
        if self._leaves_at_once:
            self._leave()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Leave on the first signal inside the block, where nothing can be lost: data is read, nothing trained yet."""
        self._leaves_at_once = True
        try:
            if self.signum:  # it came before
                self._leave()
            yield
        finally:
            self._leaves_at_once = False

    def _leave(self) -> None:
        console.error("interrupted")
        raise typer.Exit(self.exit_code)

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum

    def restore(self) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def progress_printer() -> Callable[[int, int], None]:
    """Return a callback that prints, at most once a second, how many pictures are read."""
    last_time = time.monotonic()

    def print_progress(n_done: int, n_all: int) -> None:
        nonlocal last_time
        if time.monotonic() - last_time >= 1.0:
            last_time = time.monotonic()
            console.print_status(f"read {n_done:,} of {n_all:,} pictures")

    return print_progress
