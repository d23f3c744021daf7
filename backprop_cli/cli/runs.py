"""`backprop runs`."""

from __future__ import annotations

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import AsJson
from backprop_cli.files import clean

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
    from backprop_cli.store.run_directory import list_runs

    found = list_runs()
    if as_json:
        documents = [
            {
                "run": run.name,
                "path": str(run.path),
                "epochs": run.epochs,
                "best_epoch": run.best_epoch,
                "val_loss": run.val_loss,
                "val_accuracy": run.val_accuracy,
                "finished": run.is_finished,
            }
            for run in found
        ]
        console.answer_json("runs/1", {"runs": documents})
        return
    if not found:
        console.story("no runs here yet; `backprop train` makes one")
        return
    width = max(len(clean(run.name)) for run in found)
    console.answer(f"{'run':<{width}}  epochs  best  val loss  val accuracy")
    for run in found:
        loss = f"{run.val_loss:.4f}" if run.val_loss is not None else "-"
        accuracy = f"{100 * run.val_accuracy:.1f} %" if run.val_accuracy is not None else "-"
        best = run.best_epoch if run.best_epoch is not None else "-"
        state = "" if run.is_finished else "  no model yet"
        console.answer(f"{clean(run.name):<{width}}  {run.epochs:>6}  {best:>4}  {loss:>8}  {accuracy:>12}{state}")
