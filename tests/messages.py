"""`make messages`: print each error and warning that the tests provoke once, with paths and numbers normalized.

    python tests/messages.py                            all tests but the slow ones
    python tests/messages.py tests/test_config.py       only these, with any option of pytest

As a script it runs pytest with itself as a plugin; as a plugin it writes down what is raised and printed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
FOLDER = "BACKPROP_MESSAGES"  # the variable that names the folder to write to, a file per process
QUICK = ("-m", "not slow", "--ignore", "tests/faults", "--ignore", "tests/fuzz")


def pytest_configure() -> None:
    """Write down every BackpropError that is made, and every error and warning that a command prints."""
    from backprop_cli.cli import console
    from backprop_cli.errors import BackpropError

    made, printed = BackpropError.__init__, {"error": console.error, "warning": console.warn}

    def record(kind: str, lines: tuple[str, ...]) -> None:
        with Path(os.environ[FOLDER], str(os.getpid())).open("a", encoding="utf-8", errors="replace") as file:
            file.writelines(f"{kind}: {' '.join(line.split())}\n" for line in lines)

    def make(self: BackpropError, *problems: str, **options: Any) -> None:
        made(self, *problems, **options)
        record("error", tuple(map(str, self.problems)))

    def printer(kind: str) -> Any:
        def show(text: Any) -> None:
            if isinstance(text, str):
                record(kind, (text,))
            printed[kind](text)

        return show

    BackpropError.__init__ = make  # type: ignore[method-assign]
    console.error, console.warn = printer("error"), printer("warning")


def normalized(line: str) -> str:
    """Return a message without what differs from test to test: folders and numbers."""
    line = re.sub(r"(?:(?<=[\s\"'(=])|(?<=^))/(?:[^\s:/\"']+/)+", "", line)
    return re.sub(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])", "N", line)


def main(options: list[str]) -> int:
    """Run the tests, then print their messages, sorted; return pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "messages", *(options or QUICK)],
            env=os.environ | {FOLDER: folder, "PYTHONPATH": path},
            stdout=sys.stderr,
            check=False,
        )
        lines = (line for file in Path(folder).iterdir() for line in file.read_text(encoding="utf-8").splitlines())
        for line in sorted(set(map(normalized, lines))):
            print(line)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
