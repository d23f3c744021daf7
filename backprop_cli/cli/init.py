"""`backprop init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import Force, check_new, offering
from backprop_cli.errors import UsageError
from backprop_cli.files import clean, write_atomic

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop init                            writes backprop.yaml
  backprop init mine.yaml --template quick
"""


@app.command(epilog=EXAMPLES)
def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Where to write it.")] = Path("backprop.yaml"),
    template: Annotated[
        str,
        typer.Option(
            "--template",
            metavar="NAME",
            help="A bundled config: see `backprop config list`.",
            autocompletion=offering("template"),
        ),
    ] = "digits",
    force: Force = False,
) -> None:
    """Write a config to start from."""
    from backprop_cli.config.config import bundled_names, bundled_text

    if template not in bundled_names():
        raise UsageError(f"--template {template}: not one of {', '.join(bundled_names())}")
    target = path / "backprop.yaml" if path.is_dir() else path
    check_new(target, (), force=force)
    write_atomic(target, bundled_text(template).encode())
    console.print_result(clean(target))
    console.print_status(f"next: backprop train -c {clean(target)}")
