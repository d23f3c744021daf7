"""`backprop runs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import AsJson
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.api.runs import RunInfo

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop runs
  backprop runs --json
"""


@app.command(epilog=EXAMPLES)
def runs(as_json: AsJson = False) -> None:
    """List the runs, with their best epochs."""
    from backprop_cli.api import runs as api

    found = api.runs()
    if as_json:
        console.print_json(api.document(found))
    elif found:
        console.print_lines(format_runs(found))
    else:
        console.print_status("no runs here yet; `backprop train` makes one")


def format_runs(found: list[RunInfo]) -> list[str]:
    """Return a table of runs as lines."""
    width = max(len(clean(run.name)) for run in found)
    lines = [f"{'run':<{width}}  epochs  best  val loss  val accuracy"]
    for run in found:
        loss = f"{run.val_loss:.4f}" if run.val_loss is not None else "-"
        accuracy = f"{100 * run.val_accuracy:.1f} %" if run.val_accuracy is not None else "-"
        best = run.best_epoch if run.best_epoch is not None else "-"
        state = "" if run.is_finished else "  not finished" if run.has_model else "  no model yet"
        lines.append(f"{clean(run.name):<{width}}  {run.epochs:>6}  {best:>4}  {loss:>8}  {accuracy:>12}{state}")
    return lines
