"""`backprop verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.kernel import hold_recorded
from backprop_cli.cli.options import AsJson, offering
from backprop_cli.cli.signals import Interrupt, progress_printer
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.api.verification import Verification

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop verify                          the last run
  backprop verify runs/digits-1 --json

Nothing is written. Exit code 0: equal, or close where the environment is another one; 1: different.
"""


@app.command(epilog=EXAMPLES)
def verify(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Default: the last run.", autocompletion=offering("run"))
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a run again and compare the model's bytes."""
    interrupt = Interrupt()
    try:
        hold_recorded(run)
        found = _retrained(run, interrupt)
    finally:
        interrupt.restore()
    if as_json:
        console.print_json(found.to_dict())
    else:
        console.print_lines(format_verification(found))
    if found.verdict == "different":
        for reason in found.reasons:
            console.error(f"{found.run}: {reason}")
        raise typer.Exit(1)


def _retrained(run: str | None, interrupt: Interrupt) -> Verification:
    from backprop_cli.api.verification import Verifying
    from backprop_cli.cli.progress import view_of

    with interrupt.at_once():
        training = Verifying(run, progress=progress_printer())
    if run is None:
        console.print_status(f"run: {clean(training.path)}")
    with training, view_of("auto", training) as view:
        for event in training:
            view.update(event)
            if interrupt.signum:
                console.error("interrupted")
                raise typer.Exit(interrupt.exit_code)
    return training.verification()


def format_verification(found: Verification) -> list[str]:
    """Return how a model trained again stands to the saved one, as lines."""
    stopped = "" if found.is_whole else ", where the run was stopped"
    lines = [
        f"{'model':<14}{found.verdict}{': byte for byte' if found.verdict == 'equal' else ''}",
        f"{'compared':<14}after epoch {found.epochs}{stopped}",
    ]
    for name, then, now in found.environment:
        lines.append(f"{'environment':<14}{name}: {_shown(then)}, now {_shown(now)}")
    if found.first_difference is not None:
        lines.append(f"{'metrics':<14}differ from row {found.first_difference} on")
    if found.verdict != "equal" and found.parameters is not None:
        allowed = found.tolerance
        lines += [
            f"{'parameters':<14}{found.parameters:.2g} apart of their length; {allowed['parameters']:g} is allowed",
            f"{'probabilities':<14}{found.probabilities:.2g} apart in the mean; "
            f"{allowed['probabilities']:g} is allowed",
            f"{'answers':<14}{found.n_agreeing:,} of {found.n_rows:,} are the same",
        ]
    return lines


def _shown(value: object) -> str:
    return "not set" if value is None else clean(value)
