"""Disks that refuse: full ones, and an I/O error at the k-th system call; nothing that was saved is lost."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from command_line import process
from faults.trials import EAGER, Tally, Training, epochs_kept, patched, refused, repeat, rows

from backprop_cli.errors import BackpropError
from backprop_cli.store.model_file import load_model

# System call -> the errors that a sick disk, a full one or one mounted anew may give.
ERRORS = {
    "write": ("EIO", "ENOSPC", "EDQUOT"),
    "fsync": ("EIO", "ENOSPC"),
    "rename": ("EIO", "ENOSPC", "EROFS"),
    "openat": ("EIO", "ENOSPC", "EROFS", "EACCES", "EMFILE"),
    "mkdir": ("EIO", "ENOSPC", "EROFS"),
    **dict.fromkeys(("read", "close", "newfstatat", "getdents64", "flock", "unlink"), ("EIO",)),
}
HALFWAY = """
import os
from backprop_cli.store.run_directory import RunDirectory
append, counted = RunDirectory.append_metrics, iter(range(1, 1000))
def append_and_die(self, row):
    append(self, row)
    if next(counted) == {n}:
        os.kill(os.getpid(), 9)
RunDirectory.append_metrics = append_and_die
"""


def begin_halfway(training: Training, folder: Path, n_left: int) -> None:
    """Leave in a directory what a training killed in the epoch before its `n_left` last ones leaves there."""
    n = len(rows(training.run)) - n_left
    process(*training.command(folder / "run"), cwd=folder, program=patched(HALFWAY.format(n=n)))
    assert epochs_kept(folder / "run") == n - 1


# ---- the k-th system call ------------------------------------------------------------------------------------------


class Tracer:
    """strace, which makes one system call of a process fail."""

    def __init__(self, folder: Path, program: Sequence[str]) -> None:
        self.folder, self.program, self.log = folder, program, folder.parent / f"{folder.name}.trace"

    @staticmethod
    def why_not() -> str:
        """Return why calls cannot be made to fail here; nothing when they can."""
        if shutil.which("strace") is None:
            return "there is no strace here"
        tried = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False)
        return "" if tried.returncode == 0 else "strace may not trace here"

    def run(self, training: Training, *inject: str) -> subprocess.CompletedProcess[bytes]:
        """Begin or go on with the training in the folder's `run`."""
        calls = f"trace={','.join(ERRORS)}"
        strace = ("strace", "-f", "-y", "-qq", "-o", str(self.log), "-e", calls, *inject)
        return process(*training.command(self.folder / "run"), cwd=self.folder, program=(*strace, *self.program))

    def calls(self) -> list[tuple[str, int, str]]:
        """Return name, number and line of the traced calls that were about the run directory or `runs/`."""
        counts: dict[str, int] = {}
        found = []
        for line in self.log.read_text("utf-8", "replace").splitlines():
            if match := re.match(r"\d+ +(\w+)\(", line):
                name = match[1]
                counts[name] = counts.get(name, 0) + 1
                if f"{self.folder}/run" in line or '"runs' in line:
                    found.append((name, counts[name], line))
        return found


def check_io_errors(
    training: Training,
    wanted: int,
    jobs: int,
    folder: Path,
    program: Sequence[str] = EAGER,
    *,
    calls: Sequence[str] = tuple(ERRORS),
    seed: int = 0,
) -> Tally:
    """Let one system call on a run's files fail; look at what is told and what is left; resume; compare.

    Args:
        training: Undisturbed.
        wanted: Calls that are to fail.
        jobs: Trials at a time.
        folder: For what is made once for all trials.
        program: What to test.
        calls: Only these system calls.
        seed: Of the order.
    """
    check = "an I/O error at the k-th call"
    if reason := Tracer.why_not():
        return Tally(check, skipped=[reason])
    halfway = folder / "halfway"
    halfway.mkdir()
    begin_halfway(training, halfway, 5)
    places = [
        (is_new, name, number, error)
        for is_new in (True, False)
        for name, number in _profile(training, None if is_new else halfway, folder / f"profile{is_new:d}", program)
        for error in ERRORS[name]
        if name in calls
    ]
    random.Random(seed).shuffle(places)
    left = iter(places)

    def trial(where: Path, chance: random.Random) -> int:
        is_new, name, number, error = next(left, None) or chance.choice(places)
        work = where / "work"
        if not is_new:
            shutil.copytree(halfway, work)
        work.mkdir(exist_ok=True)
        kept = epochs_kept(work / "run")
        tracer = Tracer(work, program)
        done = tracer.run(training, "-e", f"inject={name}:error={error}:when={number}")
        hit = [line for _, _, line in tracer.calls() if "(INJECTED)" in line]
        if not hit:
            return 0
        told = f"{error} at {hit[0][6:160]}: exit {done.returncode}, {done.stderr.decode()[:200]!r}"
        try:
            judge(done, is_warning='"runs' in hit[0] or "/runs" in hit[0], is_reading=name in READING)
            assert epochs_kept(work / "run") >= kept, "epochs are lost"
            readable_or_absent(work / "run/model.safetensors")
            training.finish(work)
        except (AssertionError, BackpropError) as problem:
            raise AssertionError(f"{told}: {problem}") from problem
        return 1

    return repeat(check, trial, wanted, jobs, seed)


READING = ("openat", "read", "newfstatat", "getdents64", "close", "flock", "unlink")


def _profile(training: Training, start: Path | None, folder: Path, program: Sequence[str]) -> list[tuple[str, int]]:
    """Return the calls that a training makes on its files: each name with its number among all calls of that name."""
    if start:
        shutil.copytree(start, folder)
    else:
        folder.mkdir()
    tracer = Tracer(folder, program)
    assert tracer.run(training).returncode == 0
    return [(name, number) for name, number, _ in tracer.calls()]


def judge(done: subprocess.CompletedProcess[bytes], *, is_warning: bool, is_reading: bool) -> None:
    """Raise AssertionError unless a command says in one line that the disk refused, or could do without what it asked.

    Args:
        done: The command.
        is_warning: The call was about `runs/latest`, which a run can do without.
        is_reading: The call may be one whose answer is not needed, or one that reads a file, where 2 is right too.
    """
    if done.returncode == 0 and (is_warning or is_reading):
        assert b"Traceback" not in done.stderr
        return
    refused(done.returncode, done.stderr, wanted=2 if is_reading and done.returncode == 2 else 1)


def readable_or_absent(model: Path) -> None:
    """Raise ModelFileError for a model file that is there and not whole."""
    if model.exists():
        load_model(model)


# ---- full disks ----------------------------------------------------------------------------------------------------


def check_full_disks(
    training: Training, wanted: int, jobs: int, program: Sequence[str] = EAGER, *, seed: int = 0
) -> Tally:
    """Train where only some kilobytes may be written, by a small disk or by a limit; make room; resume; compare."""

    def trial(folder: Path, chance: random.Random) -> int:
        n_bytes = chance.randrange(1, max(path.stat().st_size for path in training.run.iterdir()))
        work = folder / "work"
        work.mkdir()
        if can_mount() and chance.random() < 0.5:
            with mounted(work, f"size={4 * (n_bytes // 2048) + 8}k"):
                done = process(*training.command(work / "run"), cwd=work, program=program)
                hit = _refused_for_room(done, b"No space left on device", work)
                subprocess.run(["mount", "-o", "remount,size=64m", work], check=True)
                training.finish(work)
            return hit
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({n_bytes}, {n_bytes}))"
        done = process(*training.command(work / "run"), cwd=work, program=(*program[:-1], f"{limit}\n{program[-1]}"))
        hit = _refused_for_room(done, b"File too large", work)
        training.finish(work)
        return hit

    return repeat("a full disk", trial, wanted, jobs, seed)


def _refused_for_room(done: subprocess.CompletedProcess[bytes], reason: bytes, work: Path) -> int:
    if done.returncode == 0:  # there was room enough
        return 0
    refused(done.returncode, done.stderr)
    assert reason in done.stderr, done.stderr
    epochs_kept(work / "run")
    readable_or_absent(work / "run/model.safetensors")
    return 1


def can_mount() -> bool:
    """Return whether we may mount file systems."""
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    )


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Put a file system in memory over a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
