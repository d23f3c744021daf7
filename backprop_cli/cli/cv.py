"""`backprop cv`."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.kernel import hold_portable
from backprop_cli.cli.options import AsJson, ConfigName, Overrides
from backprop_cli.cli.signals import Interrupt
from backprop_cli.errors import UsageError, quoted

if TYPE_CHECKING:
    from backprop_cli.config import Config
    from backprop_cli.experiment.cross_validation import Answers, CrossValidation, Fold

app = command_app()

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
        str, typer.Option("--folds", metavar="K|writers", help="K: each class in proportion. writers: one each.")
    ] = "10",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Trainings of each fold.")] = 1,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, max=256, help="Processes at a time. Default: the cores.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure a config by cross-validation."""
    from backprop_cli.config import load_config
    from backprop_cli.data.processes import n_cores
    from backprop_cli.data.sources import load_data
    from backprop_cli.experiment.cross_validation import make_folds, summarize

    started = time.perf_counter()
    settings = load_config(config or "digits", list(overrides or []), stdin=sys.stdin)
    hold_portable(settings, from_stdin=config == "-")
    if settings.data.test_source is not None:
        raise UsageError("data.test_source: cross-validation cuts its own test parts; set it to null")
    dataset = load_data(settings.data)
    parts = make_folds(dataset, _count(folds), settings.data.split_seed)
    if settings.calibration or settings.training.early_stopping:
        console.story("without calibration and early stopping: each fold is trained on all of its rows, to the end")
    answers = _answers(settings, parts, seeds, jobs or n_cores())
    result = summarize(answers, dataset.classes)
    seconds = round(time.perf_counter() - started, 3)
    if as_json:
        console.answer_json("cv/1", _document(result, parts, settings.seed) | {"seconds": seconds})
    else:
        kind = "writers, each unseen by the networks that read them" if folds == "writers" else "stratified folds"
        _show(result, parts, f"{len(parts)} {kind}; {seeds} seed{'s' * (seeds > 1)}; {seconds:.1f} s")


def _count(folds: str) -> int | None:
    """Return how many folds, None for writers."""
    if folds == "writers":
        return None
    if not re.fullmatch("[0-9]{1,4}", folds) or not 2 <= int(folds) <= 1000:
        raise UsageError(f"--folds {quoted(folds)}: 2 to 1000, or writers")
    return int(folds)


def _answers(config: Config, parts: list[Fold], n_seeds: int, n_jobs: int) -> list[Answers]:
    """Train everything, telling how far it is."""
    from backprop_cli.experiment.cross_validation import cross_validate
    from backprop_cli.predictor import percent

    interrupt, answers, total = Interrupt(), [], len(parts) * n_seeds
    try:
        with _bar(total) as advance, closing(cross_validate(config, parts, n_seeds, n_jobs)) as events:
            for one in events:
                if interrupt.signum:
                    break
                if one is None:
                    continue
                answers.append(one)
                right = float((one.probabilities.argmax(axis=1) == one.labels).mean())
                advance(f"{parts[one.fold].name}, seed {one.seed}: {percent(right)} of {len(one.labels):,}")
    except Exception:
        if not interrupt.signum:  # a signal to all of the group ends the processes too
            raise
    finally:
        interrupt.restore()
    if interrupt.signum:
        console.error(f"interrupted after {len(answers)} of {total} trainings")
        raise typer.Exit(interrupt.exit_code)
    return answers


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str], None]]:
    """Give a function that tells of one training more: a bar on a terminal, else a line each."""
    if console.Voice.quiet or not console.is_terminal(sys.stderr):
        count = iter(range(1, total + 1))
        yield lambda text: console.story(f"{next(count)}/{total}  {text}")
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.completed}/{task.total}"), BarColumn(bar_width=20), TimeRemainingColumn(compact=True))
    text_column = TextColumn("{task.description}", markup=False)
    with Progress(*columns, text_column, console=console.rich_console(sys.stderr), refresh_per_second=2) as bar:
        task = bar.add_task("", total=total)
        yield lambda text: bar.update(task, advance=1, description=text)


def _document(result: CrossValidation, parts: list[Fold], first_seed: int) -> dict[str, Any]:
    return {
        "folds": [
            {"name": part.name, "n": len(part.test), "accuracy": one.accuracy, "log_loss": one.log_loss}
            for part, one in zip(parts, result.fold_evaluations, strict=True)
        ],
        "seeds": [
            {"seed": seed, "accuracy": one.accuracy, "log_loss": one.log_loss, "ece": one.ece}
            for seed, one in enumerate(result.seed_evaluations, first_seed)
        ],
        "n": result.n,
        "accuracy": result.accuracy,
        "accuracy_interval": list(result.accuracy_interval),
        "sd": result.sd,
        "seed_sd": result.seed_sd,
        "log_loss": result.log_loss,
        "ece": result.ece,
    }


def _show(result: CrossValidation, parts: list[Fold], about: str) -> None:
    from backprop_cli.predictor import percent

    low, high = result.accuracy_interval
    by_fold = [one.accuracy for one in result.fold_evaluations]
    console.answer(
        f"accuracy   {100 * result.accuracy:.2f} % of {result.n:,}; 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    )
    console.answer(f"folds      {percent(min(by_fold))} to {percent(max(by_fold))}, sd {100 * result.sd:.2f} points")
    if len(result.seed_evaluations) > 1:
        by_seed = ", ".join(f"{100 * one.accuracy:.2f}" for one in result.seed_evaluations)
        console.answer(f"seeds      {by_seed} %, sd {100 * result.seed_sd:.2f} points")
    console.answer(f"log loss   {result.log_loss:.4f}")
    console.answer(f"ECE        {100 * result.ece:.2f} %")
    console.answer(f"trained    {about}")
    if len(parts) <= 50:
        width = max(len(part.name) for part in parts)
        console.answer(f"\n{'fold':<{width}}      n  accuracy  log loss")
        for part, one in zip(parts, result.fold_evaluations, strict=True):
            console.answer(
                f"{part.name:<{width}}  {len(part.test):>5,}  {percent(one.accuracy):>8}  {one.log_loss:>8.4f}"
            )
