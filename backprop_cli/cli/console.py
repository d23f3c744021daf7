"""How this program speaks: results on stdout, status on stderr; every outside text as text, never as markup."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from backprop_cli.errors import ArgumentError, BackpropError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    Line = str | Text | Table  # of a result; a table is several

GOOD, BAD, WARNING, FAINT = "green", "red", "yellow", "dim"  # the colors, as Rich names them
TRAINING, VALIDATION, GRADIENT = "yellow", "cyan", "magenta"
WORSE, BETTER = "red", "blue"  # what more of something would do
_ANSI = {BAD: "31", WARNING: "33"}

SHADES = " ░▒▓█"
WIDE = 10_000  # columns: wider than any table

ADVICE = {
    "train": "run `backprop train` first",
    "resume": "add --resume {about} to continue it, or choose another --run-dir",
    "directory": "choose another --run-dir",
    "template": "`backprop init` writes a config to start from",
    "jobs": "perhaps there was too little memory for so many --jobs; try fewer",
    "other_data": "--data SOURCE measures on other data",
    "run_data": "restore it, give its new place with --set data.source=SOURCE, or start a new run",
    "verified_data": "restore it to verify the run",
}
"""What to do, in words of the command line: see `errors.ADVICE`."""


class Verbosity:
    """What the global options have set, and when it began, in seconds of `time.perf_counter`."""

    begin = time.perf_counter()
    verbose = False
    quiet = False
    debug = False


def print_result(text: str = "") -> None:
    """Print a line of the result, or several; names in it that may hold a line's end are cleaned by the caller."""
    _write(sys.stdout, _cleaned(text))


def print_lines(lines: Iterable[Line]) -> None:
    """Print the lines of a result."""
    screen: Console | None = None
    for line in lines:
        if isinstance(line, str):
            print_result(line)
            continue
        from rich.table import Table

        screen = screen or rich_console(sys.stdout)
        if isinstance(line, Table) and width_of(line) > screen.width:
            print_lines(stacked(line, screen.width))
        else:
            screen.print(line)


def print_json(document: dict[str, Any]) -> None:
    """Print the result as the one JSON document on stdout: finite numbers, text, lists and mappings."""
    _write(sys.stdout, json.dumps(document, allow_nan=False))  # in ASCII: no locale breaks it, it steers no terminal


def print_json_list(document: dict[str, Any], items: Iterable[dict[str, Any]]) -> None:
    """Print a JSON document whose last value is a list, item by item, so that there may be any number of them."""
    head, comma = json.dumps(document, allow_nan=False).removesuffix("]}"), ""
    for item in items:
        _write(sys.stdout, f"{head}{comma}{json.dumps(item, allow_nan=False)}", end="")
        head, comma = "", ", "
    _write(sys.stdout, f"{head}]}}")


def print_status(text: str) -> None:
    """Print a line about what goes on; not with `-q`, and with `-v` after the seconds since the start."""
    if not Verbosity.quiet:
        passed = f"{time.perf_counter() - Verbosity.begin:7.3f} s  " if Verbosity.verbose else ""
        _write(sys.stderr, passed + _cleaned(text))


def print_detail(text: str) -> None:
    """Print what was read, chosen or done, for those who want to know: with `-v`."""
    if Verbosity.verbose:
        print_status(text)


def program() -> str:
    """Return what a shell finds this program by: its name, or its path where the name alone would not do."""
    called = Path(sys.argv[0])
    return "backprop" if called.name != "backprop" or shutil.which("backprop") else str(called)


def warn(text: str) -> None:
    """Print a warning."""
    if not Verbosity.quiet:
        _write(sys.stderr, f"{_painted('warning:', WARNING)} {clean(text)}")


def error(problem: BackpropError | str) -> None:
    """Print an error; of several problems a line each, with the names of options for those of arguments."""
    for line in (problem,) if isinstance(problem, str) else problem.worded(ADVICE):
        line = f"--{line.replace('_', '-', 1)}" if isinstance(problem, ArgumentError) else line
        _write(sys.stderr, f"{_painted('error:', BAD)} {clean(line)}")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether somebody is watching: a terminal, and neither CI nor a dumb one."""
    if stream is None or os.environ.get("FORCE_COLOR"):
        return stream is not None
    return stream.isatty() and os.environ.get("TERM") != "dumb" and os.environ.get("CI", "") in ("", "0", "false")


def rich_console(stream: TextIO) -> Console:
    """Return a Rich console for `stdout` or `stderr`; imported here, since it takes a tenth of a second."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=False)


def shade_lines(grid: Iterable[Sequence[float]]) -> list[str]:
    """Return a picture as lines of text, two characters a pixel.

    Args:
        grid: Rows of ink from 0 to 1.
    """
    top = len(SHADES) - 1
    return ["".join(SHADES[min(top, max(0, round(ink * top)))] * 2 for ink in row) for row in grid]


def table(*columns: str, left: int = 1, gap: int = 2) -> Table:
    """Return a table without lines; all but the first `left` columns stand to the right, `gap` apart."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0))
    for k, column in enumerate(columns):
        made.add_column(column, justify="left" if k < left else "right", no_wrap=True)
    return made


def width_of(table: Table) -> int:
    """Return how many columns of the screen a table takes."""
    from rich.console import Console

    return Console(width=WIDE, markup=False, emoji=False).measure(table).maximum


def stacked(table: Table, width: int) -> list[str]:
    """Return a table that is too wide as lines: of each row its first cell, and the others with their columns' names.

    No number is ever cut: what does not fit goes on in the next line.
    """
    names = [str(column.header) for column in table.columns]
    lines, title = [], ""
    for row in zip(*(map(str, column.cells) for column in table.columns), strict=True):
        title, cells = row[0] or title, zip(names[1:], row[1:], strict=True)
        parts = [f"{name} {cell}".strip() for name, cell in cells if cell]
        line = title
        for part in parts:
            if len(line) + len(part) + 2 > width:
                lines.append(line.rstrip())
                line = f"  {part}"
            else:
                line = f"{line}  {part}"
        lines.append(line.rstrip())
    return lines


def drawn_signed(grid: Iterable[Sequence[float]], *, colored: bool) -> list[Text]:
    """Return signed numbers as lines of text, two characters each: red or blue, without color + and -.

    Args:
        grid: Rows of numbers from -1 to 1.
        colored: Whether colors can be seen.
    """
    from rich.text import Text

    lines = []
    for row in grid:
        line = Text()
        for value in row:
            cell = shade_lines([[abs(value)]])[0]
            if not colored:
                sign = "+" if value > 0.0 else "-"
                cell = " ·" if abs(value) < 0.125 else f" {sign}" if abs(value) < 0.5 else sign * 2
            line.append(cell, WORSE if value > 0.0 else BETTER)
        lines.append(line)
    return lines


def side_by_side(pictures: Sequence[Sequence[str]], gap: str = "   ") -> list[str]:
    """Return pictures of equal height beside each other."""
    return [gap.join(parts).rstrip() for parts in zip(*pictures, strict=True)]


def _cleaned(text: str) -> str:
    return "\n".join(map(clean, text.split("\n")))


def _painted(word: str, color: str) -> str:
    plain = os.environ.get("NO_COLOR") or not is_terminal(sys.stderr)
    return word if plain else f"\x1b[1;{_ANSI[color]}m{word}\x1b[0m"


def _write(stream: TextIO | None, text: str, end: str = "\n") -> None:
    """Write a line; a reader that has left (`| head`), or was never there, does not stop the work.

    Nor is a full disk, where status lines are concerned; for a result it is.
    """
    if stream is None:
        return
    try:
        stream.write(text + end)
        stream.flush()
    except BrokenPipeError:
        silence(stream)
    except OSError as error:
        if stream is sys.stdout:
            raise OSError(error.errno, error.strerror, "stdout") from error
        silence(stream)


def silence(stream: TextIO) -> None:
    """Send what else is written to a stream nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
