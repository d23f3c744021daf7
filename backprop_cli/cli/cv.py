"""`backprop cv`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from backprop_cli.api.words import percent
from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.kernel import hold_portable
from backprop_cli.cli.options import AsJson, ConfigName, Overrides, load_config
from backprop_cli.cli.signals import Interrupt

if TYPE_CHECKING:
    from backprop_cli.api.cross_validation import CrossValidation, FoldDone
    from backprop_cli.config.config import Config

app = command_app()

MOST_FOLDS = 50  # that a table shows

EXAMPLES = """\
\b
Examples:
  backprop cv                              10 folds of the default config
  backprop cv --folds writers --seeds 3    each writer read by networks that never saw them
  backprop cv -c best --set training.epochs=50 --json
"""


@app.command(epilog=EXAMPLES)
def cv(
    config: ConfigName = None,
    folds: Annotated[
        str, typer.Option("--folds", metavar="K|writers", help="K: stratified. writers: one fold per writer.")
    ] = "10",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Training runs per fold.")] = 1,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, max=256, help="Parallel processes. Default: all cores.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure a config by cross-validation."""
    wanted = load_config(config, overrides)
    hold_portable(wanted, from_stdin=config == "-")
    found = _validated(wanted, folds, seeds, jobs)
    console.print_detail(f"trained: {len(found.folds)} folds, {seeds} times each")
    if as_json:
        console.print_json(found.to_dict())
    else:
        console.print_lines(format_folds(found))


def _validated(config: Config, folds: str, seeds: int, jobs: int | None) -> CrossValidation:
    """Train everything, telling how far it is."""
    from backprop_cli.api.cross_validation import cross_validate

    interrupt = Interrupt()
    teller = _Teller(config, interrupt)
    try:
        with teller.bar:
            return cross_validate(config, folds=folds, seeds=seeds, jobs=jobs, progress=teller)
    except Exception:  # a signal to all of the group ends the processes too
        if not interrupt.signum:
            raise
        console.error(f"interrupted after {teller.n_done} of {teller.n_all} trainings")
        raise typer.Exit(interrupt.exit_code) from None
    finally:
        interrupt.restore()


class _Teller:
    """Tells of each training that has ended, and leaves on a signal.

    Attributes:
        bar: Closed in the end.
        n_done: Trainings that have ended.
        n_all: All of them.
    """

    def __init__(self, config: Config, interrupt: Interrupt) -> None:
        self.bar, self.n_done, self.n_all = ExitStack(), 0, 0
        self._config, self._interrupt = config, interrupt
        self._advance: Callable[[str], object] = console.print_status

    def __call__(self, one: FoldDone | None, total: int) -> None:
        if not self.n_all:
            self._begin(total)
        if self._interrupt.signum:
            raise typer.Exit(self._interrupt.exit_code)
        if one is not None:
            self.n_done += 1
            self._advance(f"{one.name}, seed {one.seed}: {percent(one.accuracy)} of {one.n:,}")

    def _begin(self, total: int) -> None:
        from backprop_cli.api.cross_validation import notes

        for note in notes(self._config):
            console.print_status(note)
        self.n_all = total
        self._advance = self.bar.enter_context(_bar(total))


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str], object]]:
    """Give a function that tells of one training more: a bar on a terminal, else a line each."""
    if console.Verbosity.quiet or not console.is_terminal(sys.stderr):
        count = iter(range(1, total + 1))
        yield lambda text: console.print_status(f"{next(count)}/{total}  {text}")
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.completed}/{task.total}"), BarColumn(bar_width=20), TimeRemainingColumn(compact=True))
    text_column = TextColumn("{task.description}", markup=False)
    with Progress(*columns, text_column, console=console.rich_console(sys.stderr), refresh_per_second=2) as bar:
        task = bar.add_task("", total=total)
        yield lambda text: bar.update(task, advance=1, description=text)


def format_folds(found: CrossValidation) -> list[str]:
    """Return what all folds come to as lines."""
    low, high = found.accuracy_interval
    by_fold, n_seeds = [one.accuracy for one in found.fold_evaluations], len(found.seed_evaluations)
    kind = "writers, each unseen by the networks that read them" if found.by_writers else "stratified folds"
    trained = f"{len(found.folds)} {kind}; {n_seeds} seed{'s' * (n_seeds > 1)}; {found.seconds:.1f} s"
    lines = [
        f"accuracy   {100 * found.accuracy:.2f} % of {found.n:,}; 95 % interval {100 * low:.1f} to {100 * high:.1f} %",
        f"folds      {percent(min(by_fold))} to {percent(max(by_fold))}, sd {100 * found.sd:.2f} points",
    ]
    if n_seeds > 1:
        by_seed = ", ".join(f"{100 * one.accuracy:.2f}" for one in found.seed_evaluations)
        lines.append(f"seeds      {by_seed} %, sd {100 * found.seed_sd:.2f} points")
    lines += [f"log loss   {found.log_loss:.4f}", f"ECE        {100 * found.ece:.2f} %", f"trained    {trained}"]
    if len(found.folds) <= MOST_FOLDS:
        width = max(len(fold.name) for fold in found.folds)
        lines += ["", f"{'fold':<{width}}      n  accuracy  log loss"]
        for fold, one in zip(found.folds, found.fold_evaluations, strict=True):
            figures = f"{percent(one.accuracy):>8}  {one.log_loss:>8.4f}"
            lines.append(f"{fold.name:<{width}}  {len(fold.test):>5,}  {figures}")
    return lines
