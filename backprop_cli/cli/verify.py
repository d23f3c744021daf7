"""`backprop verify`."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.kernel import hold_recorded
from backprop_cli.cli.options import AsJson
from backprop_cli.cli.signals import Interrupt, reading
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.experiment.verification import Comparison, Verification

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
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Default: the last run.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a run again and compare the model's bytes."""
    interrupt, started = Interrupt(), time.perf_counter()
    try:
        from backprop_cli.cli.progress import view_of
        from backprop_cli.experiment.verification import Verification
        from backprop_cli.store.run_directory import RunDirectory, find_run

        path = find_run(run)
        hold_recorded(RunDirectory(path, None, is_new=False).read_environment())
        verification = Verification(path, reading(interrupt))
        if run is None:
            console.story(f"run: {clean(verification.path)}")
        with view_of("auto", verification.experiment) as view, closing(verification.train()) as events:
            for event in events:
                view.update(event)
                if interrupt.signum:
                    console.error("interrupted")
                    raise typer.Exit(interrupt.exit_code)
    finally:
        interrupt.restore()
    result = verification.result()
    if as_json:
        _print_json(verification, result, time.perf_counter() - started)
    else:
        _show(verification, result)
    if result.verdict == "different":
        for reason in result.reasons:
            console.error(f"{verification.path}: {reason}")
        raise typer.Exit(1)


def _print_json(verification: Verification, result: Comparison, seconds: float) -> None:
    from backprop_cli.experiment.verification import TOLERANCE

    console.answer_json(
        "verify/1",
        {
            "run": str(verification.path),
            **asdict(result),
            "environment": {name: {"then": a, "now": b} for name, (a, b) in verification.environment.items()},
            "tolerance": TOLERANCE,
            "seconds": round(seconds, 3),
        },
    )


def _show(verification: Verification, result: Comparison) -> None:
    from backprop_cli.experiment.verification import TOLERANCE

    console.answer(f"{'model':<14}{result.verdict}{': byte for byte' if result.verdict == 'equal' else ''}")
    stopped = "" if result.is_whole else ", where the run was stopped"
    console.answer(f"{'compared':<14}after epoch {result.epochs}{stopped}")
    for name, (then, now) in verification.environment.items():
        console.answer(f"{'environment':<14}{name}: {_shown(then)}, now {_shown(now)}")
    if result.first_difference is not None:
        console.answer(f"{'metrics':<14}differ from row {result.first_difference} on")
    if result.verdict != "equal" and result.parameters is not None:
        about = f"{result.parameters:.2g} apart of their length; {TOLERANCE['parameters']:g} is allowed"
        console.answer(f"{'parameters':<14}{about}")
        about = f"{result.probabilities:.2g} apart in the mean; {TOLERANCE['probabilities']:g} is allowed"
        console.answer(f"{'probabilities':<14}{about}")
        console.answer(f"{'answers':<14}{result.n_agreeing:,} of {result.n_rows:,} are the same")


def _shown(value: object) -> str:
    return "not set" if value is None else clean(value)
