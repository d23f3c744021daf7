"""`backprop data show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backprop_cli.api.words import with_article
from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import Overrides, as_a_shell, load_config, offering
from backprop_cli.errors import UsageError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.api.data import DataOverview, DataRow

app = command_app(no_args_is_help=True)

A_LINE = 5  # pictures

EXAMPLES = """\
\b
Examples:
  backprop data show                       one digit of each class, and the splits
  backprop data show digits:555            one digit, large, with its counts
  backprop data show train.csv:17          a row of a table of yours, as training reads it
  backprop data show --augmented           what training sees instead
"""


@app.callback()
def _group() -> None:
    """Look at the data."""


@app.command(epilog=EXAMPLES)
def show(
    row: Annotated[
        str | None,
        typer.Argument(
            metavar="ROW",
            help="digits:N, TABLE:N, or a picture in a folder of folders.",
            autocompletion=offering("picture"),
        ),
    ] = None,
    config: Annotated[
        str,
        typer.Option(
            "-c",
            "--config",
            help="A file, a bundled name, or - for stdin.",
            callback=as_a_shell,
            autocompletion=offering("config"),
        ),
    ] = "digits",
    overrides: Overrides = None,
    index: Annotated[int | None, typer.Option("--index", min=0, help="One row of the data set.")] = None,
    augmented: Annotated[bool, typer.Option("--augmented", help="As training sees it: randomly warped.")] = False,
) -> None:
    """Draw the data, or what training sees of it."""
    from backprop_cli.api.data import data_overview, data_row

    settings = load_config(config, overrides)
    if row is not None and index is not None:
        raise UsageError("--index: the row is named already")
    wanted = index if row is None else row
    if wanted is not None:
        console.print_lines(format_row(data_row(settings, wanted, augmented=augmented), with_counts=not augmented))
    else:
        console.print_lines(format_overview(data_overview(settings, augmented=augmented)))


def format_row(row: DataRow, *, with_counts: bool) -> list[str]:
    """Return one row of the data as lines: its picture beside its counts, or warps of it."""
    drawings = [console.shade_lines(picture) for picture in row.pictures]
    place = f"in the {row.part} part" if row.part else "in no part"
    lines = [f"{clean(row.name)} is {with_article(row.label)}, {place}"]
    if not with_counts:
        return lines + console.side_by_side(drawings)
    counts = [" ".join(f"{value:4g}" for value in counts) for counts in row.counts]
    return lines + [f"  {line}" for line in console.side_by_side([*drawings, counts])]


def format_overview(found: DataOverview) -> list[str]:
    """Return the data as a whole as lines: its figures, and a digit of each class."""
    lines = [
        f"{clean(found.name)}: {found.n:,} pictures of {'x'.join(map(str, found.picture_size))}, "
        f"{len(found.classes)} classes; {found.n_train:,} train, {found.n_val:,} validation, "
        f"{found.n_test:,} test"
    ]
    for start in range(0, len(found.pictures), A_LINE):
        drawings = [console.shade_lines(picture) for picture in found.pictures[start : start + A_LINE]]
        lines += ["", *console.side_by_side(drawings)]
    return lines
