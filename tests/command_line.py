"""How tests run the command line: in this process where they can, as a process of its own where that matters."""

from __future__ import annotations

import json
import math
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from typer.testing import CliRunner, Result

import backprop_cli
from backprop_cli.cli.app import app

CHECKOUT = Path(backprop_cli.__file__).parents[1]
SAMPLES = CHECKOUT / "data" / "samples"
PROGRAM = (sys.executable, "-W", "error", "-m", "backprop_cli")
PATIENCE = 600.0  # seconds until what hangs is ended: no verdict on how fast it is, however busy the machine

_UNSET = ("CI", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TERM", "GITHUB_ACTIONS", "PYTHONWARNINGS")


def backprop(*args: str | Path, stdin: bytes | None = None, columns: int | None = None) -> Result:
    """Run a command in this process, perhaps on a screen of that width; warnings are errors here, as in every test."""
    unset: dict[str, str | None] = {**dict.fromkeys(_UNSET), "COLUMNS": None if columns is None else str(columns)}
    return CliRunner(env=unset).invoke(app, [str(arg) for arg in args], input=stdin, prog_name="backprop")


def answer(*args: str | Path, code: int = 0) -> str:
    """Run a command that must end with this code; return its stdout."""
    result = backprop(*args)
    assert result.exit_code == code, (args, result.exit_code, result.output)
    return result.stdout


def document(*args: str | Path, code: int = 0) -> dict[str, Any]:
    """Run a command with --json; return the one document that is all of its stdout."""
    return parsed(answer(*args, "--json", code=code))


def parsed(stdout: str) -> dict[str, Any]:
    """Return the one JSON document that `stdout` must be, checked for numbers that are none."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in JSON")

    assert stdout.endswith("}\n"), stdout[-200:]
    value: dict[str, Any] = json.loads(stdout, parse_constant=refuse)
    assert all(map(math.isfinite, numbers_in(value)))
    return value


def numbers_in(value: Any) -> list[float]:
    """Return every number inside a JSON value."""
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return [number for item in inside for number in numbers_in(item)]
    return [value] if isinstance(value, int | float) else []


def refusal(*args: str | Path, stdin: bytes | None = None) -> str:
    """Run a command that must be refused: exit code 2, nothing on stdout, no traceback; return its stderr."""
    result = backprop(*args, stdin=stdin)
    assert result.exit_code == 2, (args, result.exit_code, result.output)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process of its own: this one's without what steers a terminal, and `more`."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNSET}
    return kept | {"PYTHONPATH": str(CHECKOUT)} | more


def process(
    *args: str | Path,
    cwd: Path,
    program: Sequence[str] = PROGRAM,
    env: dict[str, str] | None = None,
    stdout: int | BinaryIO = subprocess.PIPE,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a process of its own to its end."""
    return subprocess.run(
        [*program, *map(str, args)],
        cwd=cwd,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
    )


def python(script: str, *, cwd: Path, **env: str) -> str:
    """Run a Python script as a process of its own; return its stdout."""
    done = process(cwd=cwd, program=(sys.executable, "-W", "error", "-c", script), env=env)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def started(
    *args: str | Path, cwd: Path, program: Sequence[str] = PROGRAM, start_new_session: bool = False
) -> subprocess.Popen[bytes]:
    """Start a command as a process of its own."""
    return subprocess.Popen(
        [*program, *map(str, args)],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=start_new_session,
    )


def on_a_terminal(*args: str | Path, cwd: Path, keys: bytes = b"", after: str = "", **env: str) -> tuple[int, str, str]:
    """Run a command whose stderr is a terminal; return its exit code, stdout and what the terminal got.

    Args:
        args: The command.
        cwd: Where it runs.
        keys: What is typed on that terminal.
        after: When: as soon as the terminal got this.
        env: Of its environment.
    """
    master, slave = pty.openpty()
    surroundings = environment(**{"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "24"} | env)
    shell = ["sh", "-c", 'exec "$@" 2<>"$0"', os.ttyname(slave)]  # opened in a new session, it is where ^C comes from
    running = subprocess.Popen(
        [*shell, *PROGRAM, *map(str, args)],
        cwd=cwd,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    too_long = threading.Timer(PATIENCE, running.kill)
    too_long.start()
    seen = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        seen += chunk
        if keys and after.encode() in seen:
            os.write(master, keys)
            keys = b""
    stdout, _ = running.communicate()
    too_long.cancel()
    os.close(master)
    return running.returncode, stdout.decode(), seen.decode()


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait for something another process does."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def contents(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory, to see later that nothing changed."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
