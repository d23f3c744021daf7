"""Words beside an error are dropped in a process of our own, and standard error is there again afterward."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from command_line import environment

from backprop_cli.data.quiet import libtiff_hushed

OVERLAP = """
import os, sys, threading
from backprop_cli.data.quiet import claim_process, libtiff_hushed

claim_process()
first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

def first():
    with libtiff_hushed():
        os.write(2, b"dropped")
        first_in.set()
        second_in.wait(0.5)  # in vain, unless both can be inside
    first_out.set()

def second():
    first_in.wait()
    with libtiff_hushed():
        second_in.set()
        first_out.wait()
        os.write(2, b"dropped too")

threads = [threading.Thread(target=work) for work in (first, second)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
os.write(2, b"kept")
print(len(os.listdir("/proc/self/fd")))
os.close(2)
with libtiff_hushed():
    print(len(os.listdir("/proc/self/fd")))
"""


def test_blocks_of_two_threads_leave_standard_error_where_it_was() -> None:
    command = [sys.executable, "-c", OVERLAP]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stderr == "kept"
    n_open, n_without_stderr = map(int, done.stdout.split())
    assert n_without_stderr == n_open - 1


def test_in_another_program_nothing_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with libtiff_hushed():
        os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
