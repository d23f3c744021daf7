"""Processes that share a long job: how many there may be, and that none outlives its parent."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor


def n_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(n_processes: int, initializer: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """Return processes that begin as a program does, with nothing of this one's state.

    Raises:
        OSError: The system has none of the semaphores that they share.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    try:
        return ProcessPoolExecutor(n_processes, get_context("spawn"), initializer=initializer, initargs=arguments)
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or "/dev/shm") from error


def end_with_parent() -> None:
    """In a process that another one started: leave when that one is gone, however it went."""
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    from multiprocessing import parent_process

    if parent := parent_process():
        parent.join()
        os._exit(1)
