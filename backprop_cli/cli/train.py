"""`backprop train`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backprop_cli.api.words import percent
from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.findings import change_of, format_findings
from backprop_cli.cli.kernel import hold_portable
from backprop_cli.cli.options import SET, AsJson, ConfigName, Overrides, as_a_shell, load_config, offering
from backprop_cli.cli.signals import Interrupt, progress_printer
from backprop_cli.errors import DivergenceError, UsageError
from backprop_cli.files import clean, write_atomic

if TYPE_CHECKING:
    from backprop_cli.api.plan import Plan
    from backprop_cli.api.run import Run
    from backprop_cli.api.training import Training
    from backprop_cli.config.config import Config

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop train                                   the bundled config `digits`
  backprop train -c quick --epochs 10              another bundled config, shorter
  backprop train -c my.yaml --set optimizer.learning_rate=1e-2
  backprop train --resume runs/digits-1            go on after an interruption
  backprop train --from pretrained --set data.extra=mine      teach it your hand

--from takes the config of its model, at a tenth of the learning rate and for at most 5 epochs; --set changes that.
There, a bare name for data.extra is added to the model's own list, with a tenth of every batch; a list replaces it.
"""

Display = Literal["auto", "rich", "plain", "none"]


@app.command(epilog=EXAMPLES)
def train(
    config: ConfigName = None,
    overrides: Overrides = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", help="Where to write. Default: runs/NAME-N.", callback=as_a_shell)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Resume a run from its last checkpoint.",
            callback=as_a_shell,
            autocompletion=offering("run"),
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN|FILE|pretrained",
            help="Start a new run from a model's weights, with that model's config.",
            callback=as_a_shell,
            autocompletion=offering("model"),
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Total number of epochs.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed of weights, order, dropout, augmentation.")
    ] = None,
    portable: Annotated[
        bool,
        typer.Option("--portable", help="Train to the same bytes as on every x86-64 processor with AVX2."),
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="At the end, write an HTML page: report.html in the run's directory.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    progress: Annotated[
        Display,
        typer.Option("--progress", help="rich: a bar and live panels. auto: rich on a terminal, else plain."),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a network from a YAML config."""
    interrupt = Interrupt()  # before anything slow: from here on Ctrl-C loses nothing
    try:
        settings = list(overrides or [])
        settings += [f"training.epochs={epochs}"] if epochs is not None else []
        settings += [f"seed={seed}"] if seed is not None else []
        settings += ["training.kernel=portable"] if portable else []
        if resume is not None:
            if run_dir is not None or dry_run or init_from is not None:
                raise UsageError(
                    "--resume cannot be used with --run-dir, --dry-run or --from: "
                    "it continues the run in its own directory"
                )
            run = _follow(_resumed(resume, config, settings, interrupt), progress, interrupt)
        else:
            wanted = _wanted(config, settings, init_from)
            hold_portable(wanted, from_stdin=config == "-")
            if dry_run:
                from backprop_cli.api.plan import plan

                with interrupt.at_once():
                    found = plan(wanted, init_from=init_from, progress=progress_printer())
                _show_plan(found, as_json)
                return
            from backprop_cli.api.training import training

            with interrupt.at_once():
                begun = training(wanted, init_from=init_from, run_dir=run_dir, progress=progress_printer())
            run = _follow(begun, progress, interrupt)
        _tell(run, as_json, interrupt)
        if report:
            write_page(run)
    finally:
        interrupt.restore()


def _wanted(config: str | None, settings: list[str], init_from: str | None) -> Config:
    """Return the config to train with; say how a training goes on."""
    if init_from is None or config is not None:
        return load_config(config, settings)
    from backprop_cli.api.going_on import config_to_go_on

    wanted = config_to_go_on(init_from, settings, option=SET)
    beside = ", ".join(clean(one.source) for one in wanted.data.extra)
    console.print_status(
        f"starting from {clean(init_from)}: epochs {wanted.training.epochs}, learning rate "
        f"{wanted.optimizer.learning_rate:g}, data {clean(wanted.data.source)}{' beside ' * bool(beside)}{beside}"
    )
    return wanted


def _resumed(reference: str, config: str | None, settings: list[str], interrupt: Interrupt) -> Training:
    """Go on with a run; say where it stands."""
    from backprop_cli.api.training import config_of_run, resuming

    hold_portable(config_of_run(reference))
    wanted = None if config is None else load_config(config, settings)
    with interrupt.at_once():
        training = resuming(reference, config=wanted, overrides=settings, option=SET, progress=progress_printer())
    if training.is_finished:
        console.print_status(f"{clean(training.path)} is finished and stays as it is (raise --epochs to continue)")
    else:
        console.print_status(f"going on after epoch {training.epoch} of {clean(training.path)}")
    return training


def _follow(training: Training, progress: Display, interrupt: Interrupt) -> Run:
    """Show a training until it ends, or a signal comes."""
    from backprop_cli.cli.progress import view_of

    _tell_data(training.about, training.warnings, is_known=training.config.data.source == "digits")
    for name, value in training.environment.items():
        console.print_detail(f"{name}: {value}")
    with training, view_of(progress, training) as view:
        for event in training:
            view.update(event)
            if interrupt.signum:
                break
    console.print_detail(f"trained to epoch {training.epoch}")
    run = training.run()
    console.print_detail(f"written: {clean(run.path)}")
    return run


def _tell(run: Run, as_json: bool, interrupt: Interrupt) -> None:
    """Print what came of a training, and end the command where it did not come to its end."""
    path = shlex.quote(clean(run.path))
    if run.latest_problem is not None:
        console.warn(f"{run.latest_problem}; the next commands need -m {path}")
    if as_json:
        console.print_json(run.to_dict())
    elif run.has_model:
        console.print_lines(format_run(run))
    if run.divergence is not None:
        raise DivergenceError(f"{run.divergence}: {change_of(run.findings[0])}")
    if run.stop_reason == "interrupted":
        console.print_status(f"interrupted; resume with: {console.program()} train --resume {path}")
        raise typer.Exit(interrupt.exit_code)


def write_page(run: Run) -> None:
    """Write the page of a run into its directory, over the one from before it was resumed."""
    from backprop_cli.api.report import report
    from backprop_cli.page.report import run_page

    path = Path(str(run.path)) / "report.html"
    write_atomic(path, run_page(report(path.parent)))
    console.print_status(f"report: {clean(path)}")


def format_run(run: Run) -> list[str]:
    """Return what came of a training as lines."""
    figures, validation = run.summary, "none: the last epoch is kept"
    if figures["val_loss"] is not None:
        accuracy = percent(figures["val_accuracy"])
        validation = f"loss {figures['val_loss']:.4f}, accuracy {accuracy} of {run.n_val:,}"
    return [
        f"run         {clean(run.path)}",
        f"best epoch  {figures['best_epoch']} of {figures['epochs']} ({run.stop_reason.replace('_', ' ')})",
        f"validation  {validation}",
        f"parameters  SHA-256 {run.parameters_sha256}",
        f"time        {run.seconds:.1f} s",
        f"next        {console.program()} {'eval' if run.n_test else 'predict PICTURE'}",
        *format_findings(run.findings),
    ]


def _tell_data(about: str, warnings: Iterable[str], *, is_known: bool) -> None:
    """Say what the data were understood as (of those in the package only with -v), and what speaks against them."""
    (console.print_detail if is_known else console.print_status)(about)
    for warning in warnings:
        console.warn(warning)


def _show_plan(plan: Plan, as_json: bool) -> None:
    _tell_data(plan.about, plan.warnings, is_known=plan.data["source"] == "digits")
    if as_json:
        console.print_json(plan.to_dict())
        return
    console.print_lines(format_plan(plan))
    console.print_detail("a dry run: nothing was written")


def format_plan(plan: Plan) -> list[str]:
    """Return the network and the splits of a dry run as lines."""
    lines = [f"{'inputs':<10}{plan.n_inputs:>8,}"]
    for k, layer in enumerate(plan.layers, 1):
        kind = layer.activation + (f", dropout {layer.dropout:g}" if layer.dropout else "")
        lines.append(f"{f'layer {k}':<10}{layer.units:>8,}  {layer.n_parameters:>12,} parameters  {kind}")
    networks = f" in {plan.n_networks} networks" if plan.n_networks > 1 else ""
    lines.append(f"{'in all':<10}{'':>8}  {plan.n_parameters:>12,} parameters{networks}")
    lines.append(f"rows      {plan.n_train:,} train, {plan.n_val:,} validation, {plan.n_test:,} test")
    return lines
