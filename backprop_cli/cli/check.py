"""`backprop check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import AsJson, ConfigName, Overrides, load_config, load_model, offering
from backprop_cli.errors import UsageError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from rich.table import Table

    from backprop_cli.api.network_check import NetworkCheck
    from backprop_cli.cli.console import Line

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop check                           the default config's network, freshly initialized
  backprop check -c deep --set network.initializer=glorot_normal
  backprop check -m runs/digits-1          a trained network
"""


@app.command(epilog=EXAMPLES)
def check(
    config: ConfigName = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m", "--model", metavar="RUN|FILE", help="A trained network instead.", autocompletion=offering("model")
        ),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check every gradient of a network against central differences."""
    from backprop_cli.api.network_check import check

    if model is not None and (config is not None or overrides):
        raise UsageError("--model: cannot be used with --config or --set")
    found = check(load_config(config, overrides) if model is None else load_model(model))
    console.print_detail(f"checked: {found.n_parameters:,} slopes at {found.n_rows} rows")
    for warning in found.warnings:
        console.warn(warning)
    if as_json:
        console.print_json(found.to_dict())
    else:
        console.print_lines(format_check(found))
    for problem in found.problems:
        console.error(problem)
    if not found.passed:
        raise typer.Exit(1)
    if not as_json:
        console.print_result("passed")


def format_check(found: NetworkCheck) -> list[Line]:
    """Return what came of a check as lines, but for its problems."""
    lines: list[Line] = [
        f"network    {clean(found.about)}",
        f"gradients  {found.n_parameters:,} weights and biases at {found.n_rows} pictures, float64",
        f"knob by knob: {found.n_guesses:,} guesses, {_duration(found.seconds)}; "
        f"backpropagation: 1 backward pass, {_duration(found.backward_seconds)}",
        "",
        _gradient_table(found),
        "errors are relative to the layer's largest gradient; below 1e-6 passes",
    ]
    if found.initial_loss is not None:
        expected = found.expected_initial_loss
        beside = f"; a uniform guess: ln({found.n_classes}) = {expected:.3f}" if expected else ""
        lines += ["", f"loss at the start    {found.initial_loss:.3f}{beside}"]
    if (learned := found.memorized) is not None:
        losses = f"loss {learned.first_loss:.3f} to {learned.last_loss:.4f}"
        lines.append(f"overfit one batch    {losses} in {learned.steps:,} steps")
    return lines


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"


def _gradient_table(found: NetworkCheck) -> Table:
    from rich.text import Text

    table = console.table("gradients of", "n", "largest", "worst error", "median", "kinks", "")
    table.columns[-1].justify = "left"
    for layer in (*found.gradients.layers, found.gradients.inputs):
        verdict, style = ("ok", console.GOOD) if layer.passed else ("wrong", console.BAD)
        if layer.passed and layer.is_faint:
            verdict, style = "too small to check", console.WARNING
        errors = [layer.largest_gradient, layer.max_relative_error, layer.median_relative_error]
        table.add_row(
            layer.name, f"{layer.n:,}", *(f"{x:.1e}" for x in errors), f"{layer.kinks:,}", Text(verdict, style)
        )
    return table
