"""Odd places to run in: streams, environments, limits, file systems, users, terminals; each a line of shell."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from command_line import PATIENCE, PROGRAM, SAMPLES, environment, process
from faults.disk import can_mount
from faults.trials import STORY, Tally, repeat

TRAIN = "train -c quick --epochs 2 --progress plain"
EVERY = (
    *(TRAIN, "eval", "predict 4.png --show", "explain digits:3 --top 3", "check -c quick", "runs", "data show"),
    *("config list", "config show quick", "config schema", "init new.yaml", "verify quick-1", "--help", "--version"),
    "cv -c quick --folds 2 --jobs 1 --set training.epochs=1",
)
USUAL = (TRAIN, "predict 4.png --show", "eval", "runs")
IN_TERMINAL = """exec "$PYTHON" -c '
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' "$@" """
AS_NOBODY = 'setpriv --reuid=65534 --regid=65534 --clear-groups "$@"'


@dataclass(frozen=True)
class Surrounding:
    """One odd place.

    Attributes:
        name: In the list of failures.
        shell: What bash does; the command is `"$@"`, the working directory `$WORK`.
        commands: What is run there, one after the other.
        code: What each ends with.
        says: What the one line on stderr holds, where `code` is not 0.
        env: More variables.
        needs: `root` (only as root) or `mount`.
        is_terminal: Escapes are all right.
        hides: How many model files there are afterward cannot be told.
    """

    name: str
    shell: str = 'exec "$@"'
    commands: tuple[str, ...] = USUAL
    code: int = 0
    says: str = ""
    env: dict[str, str] = field(default_factory=dict)
    needs: Literal["", "root", "mount"] = ""
    is_terminal: bool = False
    hides: bool = False


S = Surrounding


def _variables() -> list[Surrounding]:
    """Return what only some variables make odd."""
    odd: list[dict[str, str]] = [
        {"HOME": ""},
        {"HOME": "/nowhere"},
        {"HOME": "/dev/null"},
        {"TMPDIR": "/nowhere"},
        {"TMPDIR": "/dev/null"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "nonsense"},
        {"LC_ALL": "tr_TR.UTF-8"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1:strict"},
        {"TZ": "Pacific/Apia"},
        {"TZ": ":nonsense/../.."},
        {"COLUMNS": "20"},
        {"COLUMNS": "0"},
        {"COLUMNS": "-5", "LINES": "wide"},
        {"COLUMNS": "1000000000"},
        {"TERM": "nonsense"},
        {"NO_COLOR": "1"},
        {"CI": "true"},
        {"PYTHONDEVMODE": "1"},
        {"PYTHONHASHSEED": "0"},
        {"PYTHONHASHSEED": "4294967295"},
        {"PYTHONWARNINGS": "error"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONUNBUFFERED": "1"},
        {"PYTHONMALLOC": "debug"},
        {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"},
        {"OMP_NUM_THREADS": "nonsense", "OPENBLAS_NUM_THREADS": "0"},
        {"COLUMNS": "", "TERM": "", "LANG": "", "TMPDIR": "", "TZ": ""},
    ]
    return [S(",".join(f"{name}={value}" for name, value in env.items()), env=env) for env in odd]


FULL = "No space left on device"
ELSEWHERE = f"{TRAIN} --run-dir mine"
SURROUNDINGS: tuple[Surrounding, ...] = (
    *_variables(),
    S("no variables at all", 'exec env -i PYTHONPATH="$PYTHONPATH" "$@"'),
    # streams
    S("stdout closed", 'exec "$@" >&-', EVERY),
    S("stdout full", 'exec "$@" >/dev/full', EVERY, 1, FULL, hides=True),
    S("stdout a pipe that nobody reads", '"$@" | true; exit ${PIPESTATUS[0]}', EVERY),
    S("stdout a file", 'exec "$@" >out.txt', EVERY),
    S("stderr closed", 'exec "$@" 2>&-', EVERY),
    S("stderr full", 'exec "$@" 2>/dev/full', EVERY),
    S("stderr a pipe that nobody reads", 'exec "$@" 2> >(true)', EVERY),
    S("stderr closed, an error to tell", 'exec "$@" 2>&-', ("eval -m nope", "train -c nope", "predict"), 2),
    S("stderr full, an error to tell", 'exec "$@" 2>/dev/full', ("eval -m nope", "train -c nope", "predict"), 2),
    S("stdin closed", 'exec "$@" <&-', EVERY),
    S("stdin closed, a picture wanted from it", 'exec "$@" <&-', ("predict -",), 2, "standard input"),
    S("stdin closed, a config wanted from it", 'exec "$@" <&-', ("train -c -",), 2, "standard input"),
    S("no stream at all", 'exec "$@" <&- >&- 2>&-', EVERY),
    # terminals
    S("a terminal", IN_TERMINAL, EVERY, is_terminal=True, env={"TERM": "xterm-256color"}),
    S("a terminal of odd kind", IN_TERMINAL, is_terminal=True, env={"TERM": "nonsense"}),
    S("a terminal of no kind", IN_TERMINAL, is_terminal=True, env={"TERM": ""}),
    S("a dumb terminal", IN_TERMINAL, env={"TERM": "dumb"}),
    S("a terminal of 20 columns", IN_TERMINAL, is_terminal=True, env={"TERM": "xterm", "COLUMNS": "20"}),
    S("color forced without a terminal", is_terminal=True, env={"FORCE_COLOR": "1"}),
    S("no terminal in the session", 'setsid -w "$@"'),
    # limits
    S("64 descriptors", 'ulimit -n 64; exec "$@"', EVERY),
    S("3 GB of address space", 'ulimit -v 3000000; exec "$@"'),
    S("no core files, low priority", 'ulimit -c 0; exec nice -n 19 "$@"'),
    S("one process only", 'ulimit -u 1; exec "$@"'),
    S("a stack of 1 MB", 'ulimit -s 1024; exec "$@"'),
    # signals
    S("hang-ups ignored", 'exec nohup "$@"'),
    S("Ctrl-C ignored from the start", 'trap "" INT; exec "$@"'),
    S("broken pipes ignored from the start", 'trap "" PIPE; exec "$@"'),
    # files and names
    S("everybody may write", 'umask 0; exec "$@"'),
    S("nobody may read what is written", 'umask 777; exec "$@"', (TRAIN,)),
    S("runs is a file", 'mv runs r; echo x >runs; exec "$@"', (TRAIN,), 2, "not a directory"),
    S("runs is a link", 'mv runs r; ln -s r runs; "$@"; code=$?; rm runs; mv r runs; exit $code'),
    S("runs is a link to nowhere", 'mv runs r; ln -s nowhere runs; exec "$@"', (TRAIN,), 2, "not a directory"),
    S("latest is a directory", 'rm -f runs/latest; mkdir -p runs/latest; exec "$@"', (TRAIN,)),
    S("latest is a link to itself", 'ln -sf latest runs/latest; exec "$@"', (TRAIN,)),
    S("latest is a pipe", 'rm -f runs/latest; mkfifo runs/latest; exec "$@"', (TRAIN,)),
    S("latest is nonsense", 'printf "\\377\\0x" >runs/latest; exec "$@"', ("eval",), 2, "runs/latest"),
    S("the run directory is a file", 'touch mine; exec "$@"', (ELSEWHERE,), 2, "not a directory"),
    S("the run directory is a link", 'mkdir there; ln -s there mine; exec "$@"', (ELSEWHERE,)),
    S("the run directory is a link to nowhere", 'ln -s nowhere mine; exec "$@"', (ELSEWHERE,), 2, "not a directory"),
    S("the run directory is deep below what is not there", commands=(f"{TRAIN} --run-dir a/b/c/d/e/f",)),
    S("the run directory is below a file", commands=(f"{TRAIN} --run-dir 4.png/x",), code=1, says="Not a directory"),
    S("the run directory has a name too long", commands=(f"{TRAIN} --run-dir {'x' * 256}",), code=1, says="too long"),
    S("the run directory is in /proc", commands=(f"{TRAIN} --run-dir /proc/x",), code=1, says="/proc/x"),
    S("spaces, colors and brackets in its name", 'exec "$@" --run-dir "$(printf "a b [red]\\033[31m")"', (TRAIN,)),
    S("a new line in its name", "exec \"$@\" --run-dir $'a\\nerror: b'", (TRAIN,)),
    S("bytes that are no text in its name", "exec \"$@\" --run-dir $'\\377\\376'", (TRAIN,)),
    S("other alphabets in its name", 'exec "$@" --run-dir "цифры-数字-🔢"', (TRAIN,)),
    S("alphabets and LANG=C", 'exec "$@" --run-dir "цифры"', (TRAIN,), env={"LC_ALL": "C", "PYTHONUTF8": "0"}),
    S("a name like an option", 'exec "$@" --run-dir=--json', (TRAIN,)),
    S(
        "the working directory is gone",
        'mkdir gone; cd gone; rmdir "$WORK/gone"; exec "$@"',
        (TRAIN,),
        1,
        "No such file",
    ),
    S(
        "it is gone, the run elsewhere",
        'mkdir gone; cd gone; rmdir "$WORK/gone"; exec "$@" --run-dir "$WORK/m"',
        (TRAIN,),
    ),
    # other users and file systems
    S("another user, a directory of his own", f"chown -R 65534 .; exec {AS_NOBODY}", needs="root"),
    S("another user, a foreign directory", f"exec {AS_NOBODY}", (TRAIN,), 1, "Permission denied", needs="root"),
    S(
        "another user, who may only look",
        f"exec {AS_NOBODY}",
        ("predict 4.png", "eval", "runs", "verify quick-1"),
        needs="root",
    ),
    S(
        "another user, nothing to be read",
        f"chmod 700 runs; exec {AS_NOBODY}",
        ("eval -m runs/quick-1",),
        2,
        needs="root",
    ),
    *(
        S(name, f'{prepare}; cd "$WORK"; exec "$@"', commands, code, says, needs="mount", hides="/mnt" in prepare)
        for name, prepare, commands, code, says in (
            ("a read-only place", 'mount --bind -o ro "$WORK" "$WORK"', (TRAIN,), 1, "Read-only file system"),
            ("a read-only place, only read", 'mount --bind -o ro "$WORK" "$WORK"', EVERY[1:10], 0, ""),
            (
                "a read-only place, the run elsewhere",
                "mount --bind -o ro . .; mount -t tmpfs t /mnt",
                (f"{TRAIN} --run-dir /mnt/x",),
                0,
                "",
            ),
            ("runs/latest read-only", "mount --bind -o ro runs/latest runs/latest", (TRAIN,), 0, ""),
            ("a full disk", "mount -t tmpfs -o size=4k t runs", (TRAIN,), 1, FULL),
            ("a disk of few names", "mount -t tmpfs -o nr_inodes=3 t runs", (TRAIN,), 1, FULL),
            ("no /proc", "mount -t tmpfs t /proc", (TRAIN,), 0, ""),
            ("no /dev/shm", "mount -t tmpfs -o ro t /dev/shm", EVERY, 0, ""),
        )
    ),
)


def check_surroundings(
    folder: Path,
    jobs: int,
    program: Sequence[str] = PROGRAM,
    places: Sequence[Surrounding] = SURROUNDINGS,
    *,
    check: str = "odd surroundings",
    train: str = TRAIN,
) -> Tally:
    """Run commands in odd places: the right exit code, no traceback, a line for an error, the model equal to the byte.

    Args:
        folder: For what is made once for all.
        jobs: Places at a time.
        program: What to test.
        places: Which places.
        check: What the table calls it.
        train: The training whose model every other one must equal.
    """
    template = folder / check.replace(" ", "-")
    template.mkdir()
    shutil.copy(SAMPLES / "4-1419.png", template / "4.png")
    done = process(*shlex.split(train), cwd=template, program=program)
    assert done.returncode == 0, done.stderr
    left = iter(places)
    skipped: list[str] = []

    def trial(where: Path, chance: random.Random) -> int:
        place = next(left)
        if place.needs and not (os.geteuid() == 0 and (place.needs == "root" or can_mount())):
            skipped.append(f"{place.name} (needs {place.needs})")
            return 1
        work = where / "work"
        shutil.copytree(template, work)
        for command in place.commands:
            _run_in(place, work, command, program)
        models = [path.read_bytes() for path in work.rglob("model.safetensors")]
        n_expected = 1 + (place.code == 0 and any("train" in line for line in place.commands))
        assert set(models) == {(template / "runs/quick-1/model.safetensors").read_bytes()}, f"{place.name}: other bytes"
        assert place.hides or len(models) == n_expected, f"{place.name}: {len(models)} models, not {n_expected}"
        return 1

    tally = repeat(check, trial, len(places), jobs)
    tally.tried -= len(skipped)
    tally.skipped = skipped
    return tally


def _run_in(place: Surrounding, work: Path, command: str, program: Sequence[str]) -> None:
    """Run a command in a place; raise AssertionError where it behaves worse than it should."""
    shell = ("unshare", "-m", "bash", "-c") if place.needs == "mount" else ("bash", "-c")
    env = environment(WORK=str(work), PYTHON=sys.executable, **place.env)
    line = [*shell, place.shell, "bash", *program, *shlex.split(command)]
    done = subprocess.run(
        line, cwd=work, env=env, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False
    )
    output = done.stdout + done.stderr
    told = f"{place.name}: {command}: exit {done.returncode}, {done.stdout[-300:]!r} {done.stderr[-600:]!r}"
    assert done.returncode == place.code, told
    assert not any(word in output for word in (b"Traceback", b"Exception ignored", b"Warning")), told
    assert place.is_terminal or b"\x1b" not in output, told
    assert place.code != 2 or not done.stdout, told
    if place.code and place.says:
        lines = [text for text in done.stderr.decode().splitlines() if not text.startswith(STORY)]
        assert len(lines) == 1, told
        assert lines[0].startswith("error: "), told
        assert place.says in lines[0], told
