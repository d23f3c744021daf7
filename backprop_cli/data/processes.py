"""Processes that share a long job: how many there may be, and that none outlives the job or its parent."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from backprop_cli.data.quiet import claim_process

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

_MAIN = threading.Lock()

TICK_SECONDS = 0.2  # between two looks of a consumer at its signal flag


def n_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_out(
    tasks: Sequence[tuple[Any, ...]], n_processes: int, prepare: Callable[..., Callable[..., Any]], *arguments: Any
) -> Generator[tuple[int, Any] | None]:
    """Do tasks in processes that begin as a program does, with nothing of this one's state.

    However the consumer leaves (wrap this in `contextlib.closing`), the processes are gone then, and no others are.

    Args:
        tasks: The arguments of each.
        n_processes: How many at a time, >= 1.
        prepare: Called in each process; returns the function that does a task there.
        *arguments: Of `prepare`.

    Yields:
        The number of a task and its result, as they come; None about five times a second, so that the consumer may
        leave.

    Raises:
        ChildProcessError: A process was killed.
        Exception: What a task raised.
    """
    from multiprocessing.connection import wait

    numbers = iter(range(len(tasks)))
    doing: dict[Any, int] = {}  # by connection
    n_left = len(tasks)
    with _started(min(n_processes, len(tasks)), prepare, arguments) as connections:
        while n_left:
            ready: list[Any] = wait(connections, TICK_SECONDS)
            if not ready:
                yield None
            for connection in ready:
                done = doing.pop(connection, None)  # None: it has only been prepared
                try:
                    result, error = connection.recv()
                    if error is None and (number := next(numbers, None)) is not None:
                        connection.send(tasks[number])
                        doing[connection] = number
                except (EOFError, OSError):
                    raise ChildProcessError("a process was killed") from None
                if error is not None:
                    raise error
                if done is not None:
                    n_left -= 1
                    yield done, result


@contextmanager
def _started(n: int, prepare: Callable[..., Any], arguments: tuple[Any, ...]) -> Iterator[list[Connection[Any, Any]]]:
    """Give connections to n processes, and end these processes in the end."""
    from multiprocessing import get_context

    context = get_context("spawn")
    processes: list[BaseProcess] = []
    connections: list[Connection[Any, Any]] = []

    def end() -> None:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()

    atexit.register(end)  # multiprocessing would wait for them before a generator that is left lying is closed
    try:
        with _deaf_to_ctrl_c(), _without_main():
            for _ in range(n):
                ours, theirs = context.Pipe()
                connections.append(ours)
                with theirs:
                    process = context.Process(target=_serve, args=(theirs, prepare, arguments))
                    process.start()
                processes.append(process)
        yield connections
    finally:
        end()
        atexit.unregister(end)
        for connection in connections:
            connection.close()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Have what is started inside the block never hear of Ctrl-C: it is for the parent, which ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # started later, it would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_main() -> Iterator[None]:
    """Have what is started inside the block not run the program's main script again, which nobody has guarded."""
    with _MAIN:
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _serve(connection: Connection[Any, Any], prepare: Callable[..., Callable[..., Any]], arguments: Any) -> None:
    """In a process of its own: say that it is ready, and with what result, and do the task that is sent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    claim_process()
    try:
        work, result = prepare(*arguments), None
        while True:
            connection.send((result, None))
            result = work(*connection.recv())
    except Exception as error:
        error.add_note(f"raised in a process of its own:\n{traceback.format_exc()}")
        with suppress(OSError):  # the parent is gone
            connection.send((None, error))


def _end_with_parent() -> None:
    """Leave when the parent is gone, however it went."""
    from multiprocessing import parent_process

    if parent := parent_process():
        parent.join()
        os._exit(1)
