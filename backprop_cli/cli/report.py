"""`backprop report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import Force, as_a_shell, check_new, offering
from backprop_cli.files import clean, write_atomic

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop report                          the last run, as digits-1.html or so
  backprop report digits-1 -o digits.html --picture photo.png
  backprop report quick-1 digits-1         both beside each other, as compared.html
"""


@app.command(epilog=EXAMPLES)
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Default: the last run.",
            show_default=False,
            callback=as_a_shell,
            autocompletion=offering("run"),
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Default: RUN.html, compared.html.", callback=as_a_shell),
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option(
            "--picture",
            metavar="P",
            help="Picture to explain. Default: the worst digit of the test part.",
            callback=as_a_shell,
            autocompletion=offering("picture"),
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Write a run as an HTML page, or several side by side."""
    from backprop_cli.api.report import report
    from backprop_cli.page.report import comparison_page, run_page

    if output is not None:
        check_new(output, (".html", ".htm"), option="--output ", force=force)
    found = [report(name, picture=picture) for name in runs or (None,)]
    target = output or Path(f"{found[0].info.path.resolve().name}.html" if len(found) == 1 else "compared.html")
    check_new(target, (".html", ".htm"), force=force)
    for one in found:
        for note in one.notes:
            console.warn(f"{one.info.path}: {note}")
    page = run_page(found[0]) if len(found) == 1 else comparison_page(found)
    write_atomic(target, page)
    console.print_result(f"report      {clean(target)} ({len(page) / 1000:,.0f} kB)")
