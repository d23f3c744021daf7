"""A process that reads file after file, while its parent watches its time, its memory and what it says."""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Self

MOST_MEMORY = 6 * 2**30  # bytes of address space, so that a bomb hurts nobody else

HERE = Path(__file__).parent
CHECKOUT = str(HERE.parents[1])


@dataclass(frozen=True)
class Outcome:
    """What came of one file.

    Attributes:
        refusal: What it was refused with; nothing where it was accepted.
        failure: What must not be: a traceback, too much time or memory, words on stderr.
        seconds: Processor time.
        megabytes: The highest memory while it was read.
    """

    refusal: str = ""
    failure: str = ""
    seconds: float = 0.0
    megabytes: int = 0


class Worker:
    """One such process for a kind of file; a new one follows where it dies or hangs.

    Args:
        kind: One of the keys of the judge's `LIMITS`.
        patience: Seconds until a process that does not answer is ended.
        timed: Whether too much processor time is a failure.
        judge: The module that has `judge` and `LIMITS`.
    """

    def __init__(self, kind: str, *, patience: float, timed: bool = True, judge: Path = HERE / "judge.py") -> None:
        self.arguments = [kind, str(int(timed)), str(judge)]
        self.patience = patience
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
            self.words.close()

    def start(self) -> subprocess.Popen[str]:
        self.words = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (it lives as long as the process)
        return subprocess.Popen(
            [sys.executable, "-W", "error", __file__, *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            env=os.environ | {"PYTHONPATH": CHECKOUT, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
            text=True,
        )

    def read(self, path: Path) -> Outcome:
        """Have one file read."""
        self.process = self.process or self.start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(str(path)) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], self.patience)[0]:
            self.end()
            return Outcome(failure=f"no answer within {self.patience:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            self.words.seek(0)
            words = self.words.read().decode(errors="replace")
            code = self.process.wait()
            self.end()
            return Outcome(failure=f"the process died with {code}: {words[-2000:]}")
        return Outcome(**json.loads(line))


def serve(kind: str, timed: bool, judge: Path) -> None:
    """Answer each path on standard input with an outcome on standard output."""
    sys.path[:0] = [str(judge.parent), str(HERE.parent)]
    module = import_module(judge.stem)

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    limits = module.LIMITS[kind]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a decoder prints is a failure, wherever it prints it
    for line in sys.stdin:
        forget_peak()
        refusal, failure, start = "", "", time.process_time()
        try:
            refusal = module.judge(kind, Path(json.loads(line)))
        except BaseException:
            failure = traceback.format_exc()
        seconds, megabytes = time.process_time() - start, peak()
        sys.stdout.flush()
        if n_bytes := os.fstat(2).st_size:
            os.lseek(2, 0, os.SEEK_SET)
            failure = failure or "it printed " + ascii(os.read(2, min(n_bytes, 2000)))
            os.ftruncate(2, 0)
        if megabytes > limits.megabytes:
            failure = failure or f"it took {megabytes} MB ({refusal or 'accepted'})"
        if timed and seconds > limits.seconds:
            failure = failure or f"it took {seconds:.1f} s ({refusal or 'accepted'})"
        answer = {"refusal": refusal, "failure": failure, "seconds": seconds, "megabytes": megabytes}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def forget_peak() -> None:
    """Have the system measure the highest memory anew, where it can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the highest memory of this process in MB: since `forget_peak`, or else since its start."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2] == "1", Path(sys.argv[3]))
