"""Processes that share a job: every task is done once, and in the end none is left and none of others is touched."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import environment, wait_until

from backprop_cli.data.processes import share_out
from backprop_cli.errors import DataError


def adder(base: int) -> Callable[[int], tuple[int, int]]:
    """Return what adds, and tells which process it did so in."""
    return partial(added, base)


def added(base: int, number: int) -> tuple[int, int]:
    return base + number, os.getpid()


def refuse(number: int) -> None:
    raise DataError(f"{number}: wrong", "and more")


def leave(number: int) -> None:
    os._exit(9)


def go_on_for_ever(begun: Path) -> None:
    begun.touch()
    time.sleep(1_000_000)


def forgetful() -> Callable[..., None]:
    raise DataError("nothing to prepare")


@pytest.fixture(autouse=True)
def somebody_elses_process() -> Iterator[multiprocessing.process.BaseProcess]:
    """Have a child that the test's subject did not start: it lives through the test, and is the only one afterward."""
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(1_000_000,))
    child.start()
    yield child
    left = multiprocessing.active_children()
    child.kill()
    child.join()
    assert left == [child]


def results_of(*arguments: Any) -> list[tuple[int, Any]]:
    with closing(share_out(*arguments)) as events:
        return [event for event in events if event is not None]


@pytest.mark.parametrize("n_processes", [1, 2, 9])
def test_every_task_is_done_once_whoever_does_it(n_processes: int) -> None:
    results = results_of([(number,) for number in range(5)], n_processes, adder, 100)
    assert sorted((task, value) for task, (value, _) in results) == [(k, 100 + k) for k in range(5)]
    assert 1 <= len({pid for _, (_, pid) in results} - {os.getpid()}) <= n_processes


def test_no_task_needs_no_process() -> None:
    assert results_of([], 3, adder, 100) == []


def test_what_a_task_or_its_preparation_raises_is_raised_here_and_says_where_it_was() -> None:
    with pytest.raises(DataError) as caught:
        results_of([(1,), (2,)], 1, partial, refuse)
    assert caught.value.problems == ("1: wrong", "and more")
    assert "in refuse" in caught.value.__notes__[0]
    with pytest.raises(DataError, match="nothing to prepare"):
        results_of([(1,)], 2, forgetful)


def test_a_process_that_dies_is_told_and_not_waited_for() -> None:
    with pytest.raises(ChildProcessError):
        results_of([(1,), (2,)], 2, partial, leave)


def test_whoever_leaves_waits_for_no_task(tmp_path: Path) -> None:
    with closing(share_out([(tmp_path / "a",), (tmp_path / "b",)], 2, partial, go_on_for_ever)) as events:
        wait_until(lambda: next(events) is None and len(list(tmp_path.iterdir())) == 2)


LEFT_LYING = """
from test_processes import *
if __name__ == "__main__":
    events = share_out([(Path("begun"),)], 1, partial, go_on_for_ever)
    while not Path("begun").exists():
        next(events)
    print(*(child.pid for child in multiprocessing.active_children()))
"""


def test_a_program_that_forgets_to_leave_ends_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "forgetful.py").write_text(LEFT_LYING)
    env = environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "error", "forgetful.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not Path(f"/proc/{int(done.stdout)}").exists()
