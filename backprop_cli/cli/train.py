"""`backprop train`."""

from __future__ import annotations

import shlex
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.findings import change_of, show_findings
from backprop_cli.cli.kernel import hold_portable
from backprop_cli.cli.options import AsJson, ConfigName, Overrides
from backprop_cli.cli.signals import Interrupt, reading
from backprop_cli.errors import DivergenceError, UsageError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.experiment.experiment import Experiment
    from backprop_cli.insight.diagnosis import Finding
    from backprop_cli.store.run_directory import RunDirectory

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop train                                   the bundled config `digits`
  backprop train -c quick --epochs 10              another bundled config, shorter
  backprop train -c my.yaml --set optimizer.learning_rate=1e-2
  backprop train --resume runs/digits-1            go on after an interruption
"""

Display = Literal["auto", "rich", "plain", "none"]


@app.command(epilog=EXAMPLES)
def train(
    config: ConfigName = None,
    overrides: Overrides = None,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="Where to write. Default: runs/NAME-N.")] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a run from its last checkpoint.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs in all.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed of weights, order, dropout, augmentation.")
    ] = None,
    portable: Annotated[
        bool,
        typer.Option("--portable", help="Train to the same bytes as on every x86-64 processor with AVX2."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    progress: Annotated[
        Display,
        typer.Option("--progress", help="rich: a bar and what goes on. auto: that on a terminal, else plain."),
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
            if run_dir is not None or dry_run:
                raise UsageError("--resume goes with neither --run-dir nor --dry-run: it goes on where the run stands")
            _resume(resume, config, settings, progress, as_json, interrupt)
            return
        _start(config or "digits", settings, run_dir, dry_run, progress, as_json, interrupt)
    finally:
        interrupt.restore()


def _start(
    reference: str,
    settings: list[str],
    run_dir: Path | None,
    dry_run: bool,
    progress: Display,
    as_json: bool,
    interrupt: Interrupt,
) -> None:
    from backprop_cli.config import load_config
    from backprop_cli.experiment.environment import environment
    from backprop_cli.experiment.experiment import Experiment
    from backprop_cli.experiment.split_data import SplitData
    from backprop_cli.store.run_directory import RunDirectory

    config = load_config(reference, settings, stdin=sys.stdin)
    hold_portable(config, from_stdin=reference == "-")
    experiment = Experiment(config, SplitData.load(config, reading(interrupt)))
    _warn_of_skipped(experiment)
    if dry_run:
        _describe(experiment, as_json)
        return
    with RunDirectory.create(experiment.config.name, run_dir) as directory:
        directory.write_config(experiment.config.to_yaml())
        directory.write_environment(environment(experiment.split_data.dataset, experiment.config.training))
        _run(experiment, directory, progress, as_json, interrupt)


def _resume(
    reference: str, config: str | None, settings: list[str], progress: Display, as_json: bool, interrupt: Interrupt
) -> None:
    from backprop_cli.config import load_config, read_config
    from backprop_cli.experiment.environment import environment
    from backprop_cli.experiment.resume import open_run
    from backprop_cli.store.run_directory import RunDirectory, find_run

    with RunDirectory.open(find_run(reference)) as directory:
        where, wanted = str(directory.path / "config.yaml"), None
        hold_portable(read_config(directory.read_config(), where=where))
        if config is not None:
            wanted = load_config(config, settings, stdin=sys.stdin).to_dict()
        elif settings:
            wanted = read_config(directory.read_config(), where=where, overrides=settings).to_dict()
        experiment = open_run(directory, wanted, progress=reading(interrupt))
        _warn_of_skipped(experiment)
        now, then = environment(experiment.split_data.dataset, experiment.config.training), directory.read_environment()
        if not then:  # killed before it was written
            directory.write_environment(now)
        elif changed := [name for name in now if name in then and now[name] != then[name]]:
            console.warn(f"{', '.join(changed)}: not as when the run began; the last bits may differ")
        if experiment.stop_reason is None:
            state = next(state for state in experiment.states if state.stop_reason is None)
            console.story(f"going on after epoch {state.epoch} of {clean(directory.path)}")
        else:
            console.story(f"{clean(directory.path)} was finished; it stays as it is (more --epochs would go on)")
        _run(experiment, directory, progress, as_json, interrupt)


def _warn_of_skipped(experiment: Experiment) -> None:
    """Say how many bad rows `data.skip_bad` left out."""
    material = experiment.split_data
    for dataset in {id(found): found for found in (material.dataset, material.test_dataset)}.values():
        if dataset.n_skipped:
            console.warn(f"{dataset.name}: {dataset.n_skipped:,} bad row{'s' * (dataset.n_skipped > 1)} left out")


def _run(
    experiment: Experiment, directory: RunDirectory, progress: Display, as_json: bool, interrupt: Interrupt
) -> None:
    from backprop_cli.cli.progress import view_of
    from backprop_cli.store.run_directory import write_latest

    with view_of(progress, experiment) as view, closing(experiment.train(directory)) as events:
        for event in events:
            view.update(event)
            if interrupt.signum:
                break
    stop_reason = "interrupted" if interrupt.signum and experiment.stop_reason is None else experiment.stop_reason
    wrote_model = experiment.has_model and stop_reason != "diverged"
    if wrote_model:
        try:
            write_latest(directory.path)
        except OSError as problem:
            model = shlex.quote(clean(directory.path))
            console.warn(f"{problem.filename}: {problem.strerror}; the next commands need -m {model}")
    findings = [] if stop_reason == "interrupted" else experiment.findings(directory.read_metrics())
    _report(experiment, directory, stop_reason or "completed", findings, as_json)
    if stop_reason == "diverged":
        epoch = experiment.states[experiment.member].epoch + 1
        raise DivergenceError(
            f"training diverged in epoch {epoch} (loss is not finite); lower optimizer.learning_rate, "
            f"which is {experiment.config.optimizer.learning_rate:g}: {change_of(findings[0])}"
        )
    if stop_reason == "interrupted":
        console.story(f"interrupted; go on with: backprop train --resume {shlex.quote(clean(directory.path))}")
        raise typer.Exit(interrupt.exit_code)


def _report(
    experiment: Experiment, directory: RunDirectory, stop_reason: str, findings: list[Finding], as_json: bool
) -> None:
    from backprop_cli.predictor import percent

    wrote_model = experiment.has_model and stop_reason != "diverged"
    figures = experiment.summary()
    if as_json:
        keys = ("epochs", "best_epoch", "n_parameters", "train_loss", "val_loss", "val_accuracy")
        console.answer_json(
            "train/1",
            {
                "run": str(directory.path),
                "model": str(directory.model_path) if wrote_model else None,
                **{key: figures[key] for key in keys},
                "seconds": round(experiment.seconds, 3),
                "stop_reason": stop_reason,
                "parameters_sha256": experiment.parameters_sha256 if wrote_model else None,
                "findings": [asdict(finding) for finding in findings],
            },
        )
        return
    if not wrote_model:
        return
    n_val = len(experiment.split_data.splits.val)
    validation = "none: the last epoch is kept"
    if figures["val_loss"] is not None:
        validation = f"loss {figures['val_loss']:.4f}, accuracy {percent(figures['val_accuracy'])} of {n_val:,}"
    console.answer(f"run         {clean(directory.path)}")
    console.answer(f"best epoch  {figures['best_epoch']} of {figures['epochs']} ({stop_reason.replace('_', ' ')})")
    console.answer(f"validation  {validation}")
    console.answer(f"parameters  SHA-256 {experiment.parameters_sha256}")
    console.answer(f"time        {experiment.seconds:.1f} s")
    has_test = len(experiment.split_data.splits.test) > 0
    console.answer(f"next        backprop {'eval' if has_test else 'predict PICTURE'}")
    show_findings(findings)


def _describe(experiment: Experiment, as_json: bool) -> None:
    """Show the network and the splits of a dry run."""
    splits = experiment.split_data.splits
    sizes = {"train": len(splits.train), "validation": len(splits.val), "test": len(splits.test)}
    layers: list[dict[str, Any]] = [
        {
            "units": layer.fan_out,
            "activation": experiment.config.loss.output if layer.is_output else layer.activation,
            "dropout": layer.dropout,
            "n_parameters": layer.table.size,
        }
        for layer in experiment.networks[0].layers
    ]
    if as_json:
        console.answer_json(
            "dry_run/1",
            {"n_inputs": experiment.n_inputs, "layers": layers, "n_parameters": experiment.n_params, **sizes},
        )
        return
    console.answer(f"{'inputs':<10}{experiment.n_inputs:>8,}")
    for k, layer in enumerate(layers, 1):
        kind = layer["activation"] + (f", dropout {layer['dropout']:g}" if layer["dropout"] else "")
        console.answer(f"{f'layer {k}':<10}{layer['units']:>8,}  {layer['n_parameters']:>12,} parameters  {kind}")
    networks = f" in {experiment.config.ensemble} networks" if experiment.config.ensemble > 1 else ""
    console.answer(f"{'in all':<10}{'':>8}  {experiment.n_params:>12,} parameters{networks}")
    console.answer("rows      " + ", ".join(f"{n:,} {name}" for name, n in sizes.items()))
    console.story("a dry run: nothing was written", detail=True)
