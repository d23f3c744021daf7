"""`backprop use`."""

from __future__ import annotations

from typing import Annotated

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import described, offering
from backprop_cli.errors import UsageError

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop use digits-3                    from now on, here, where none is named
  backprop use pretrained                  the model that travels in the package
  backprop use                             which one is it?
  backprop use --latest                    the last run again
"""


@app.command(epilog=EXAMPLES)
def use(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN|FILE",
            help="A run, a model file, or pretrained. Default: print the current choice.",
            autocompletion=offering("model"),
        ),
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", help="The last run, whichever that is.")] = False,
) -> None:
    """Choose the model that the other commands use."""
    from backprop_cli.api.models import Model
    from backprop_cli.api.runs import VARIABLE, chosen_model, write_used

    if latest and model is not None:
        raise UsageError("--latest: cannot be used with the name of a model")
    if latest:
        write_used(None)
    found = Model.load(model, or_pretrained=True)
    if model is not None:
        write_used(found.path)
    for doubt in found.doubts:
        console.warn(f"{found.path}: {doubt}")
    chosen = chosen_model()
    by = f" (by {chosen[1]})" if model is None and chosen is not None else ""
    console.print_result(f"{described(found)}{by}")
    if model is not None and chosen is not None and chosen[1] == VARIABLE:
        console.warn(f"{VARIABLE} is set and takes precedence")
