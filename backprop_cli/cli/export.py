"""`backprop export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import AsJson, Force, as_a_shell, check_new, load_model
from backprop_cli.files import clean

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop export -o digits.onnx             the last run's model, for ONNX Runtime
  backprop export pretrained -o model.npz    the one in the package, as NumPy arrays
  backprop export runs/digits-1 -o model.json
"""


@app.command(epilog=EXAMPLES)
def export(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="FILE.onnx, FILE.npz or FILE.json.", callback=as_a_shell),
    ],
    model: Annotated[
        str | None,
        typer.Argument(metavar="RUN|FILE", help="Default: see backprop use; else the last run.", callback=as_a_shell),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a model in another format: ONNX, NumPy arrays or JSON."""
    from backprop_cli.api.export import FORMATS, export

    check_new(output, tuple(FORMATS), option="--output ", force=force)
    written = export(load_model(model, or_pretrained=True), output, force=force)
    if as_json:
        console.print_json(written.to_dict())
    else:
        console.print_result(f"exported    {clean(written.path)} ({written.n_bytes / 1000:,.0f} kB)")
        console.print_result(f"holds       {written.sentence}")
        console.print_result(f"left out    {written.left_out}".replace("\n", f"\n{'':12}"))
    console.print_status(f"use it: {written.usage}")
