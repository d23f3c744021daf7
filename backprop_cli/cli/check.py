"""`backprop check`."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import AsJson, ConfigName, Overrides
from backprop_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from backprop_cli.engine.gradient_check import GradientCheck, Memorised
    from backprop_cli.engine.losses import Loss
    from backprop_cli.engine.network import Network

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop check                           the default config's network, freshly initialised
  backprop check -c deep --set network.initializer=glorot_normal
  backprop check -m runs/digits-1          a trained network
"""

N_ROWS = 8  # pictures that the gradients are taken at
N_ROWS_START = 1024  # training rows that the loss at the start is taken over


@dataclass(frozen=True)
class Subject:
    """What is checked: a network in float64 and rows to check it at; `start` are more of them, for a fresh network.

    `n_threads` are BLAS threads.
    """

    network: Network
    loss: Loss
    inputs: Any
    labels: Any
    about: str
    n_threads: int
    start: tuple[Any, Any] | None = None
    batch_size: int = 0


@app.command(epilog=EXAMPLES)
def check(
    config: ConfigName = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="RUN|FILE", help="A trained network instead.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Hold every gradient of a network against central differences."""
    from backprop_cli.blas import blas_threads
    from backprop_cli.engine.gradient_check import check_gradients, memorise

    if model is not None and (config is not None or overrides):
        raise UsageError("--model: a trained network goes with neither --config nor --set")
    subject = _fresh(config or "digits", overrides or []) if model is None else _trained(model)
    started = time.perf_counter()
    initial_loss, expected, learned = None, None, None
    with blas_threads(subject.n_threads):
        result = check_gradients(subject.network, subject.loss, subject.inputs, subject.labels)
        seconds = time.perf_counter() - started
        if subject.start is not None:
            initial_loss, expected = _loss_at_the_start(subject)
            n = subject.batch_size
            learned = memorise(subject.network, subject.loss, subject.start[0][:n], subject.start[1][:n])
    problems = list(_problems(result, subject.network, initial_loss, expected, learned))
    if as_json:
        console.answer_json(
            "check/1",
            {
                "passed": not problems,
                "n_parameters": subject.network.n_params,
                "max_relative_error": result.max_relative_error,
                "layers": [asdict(layer) for layer in result.layers],
                "inputs": asdict(result.inputs),
                "n_rows": len(subject.inputs),
                "loss": result.loss,
                "initial_loss": initial_loss,
                "expected_initial_loss": expected,
                "memorised": asdict(learned) if learned else None,
                "problems": problems,
                "seconds": round(seconds, 3),
            },
        )
    else:
        _show(subject, result, initial_loss, expected, learned, seconds)
    if problems:
        for problem in problems:
            console.error(problem)
        raise typer.Exit(1)
    if not as_json:
        console.answer("passed")


def _fresh(reference: str, overrides: list[str]) -> Subject:
    """Return a config's network as training would begin with it."""
    from backprop_cli.config import load_config
    from backprop_cli.engine.network import as_float64
    from backprop_cli.experiment.experiment import Experiment

    experiment = Experiment(load_config(reference, overrides, stdin=sys.stdin))
    dataset, train_rows = experiment.split_data.select("train")
    rows = train_rows[:N_ROWS_START]
    inputs, labels = experiment.scaling.apply(dataset.pictures[rows]), dataset.labels[rows]
    return Subject(
        as_float64(experiment.networks[0]),
        experiment.config.loss,
        inputs[:N_ROWS],
        labels[:N_ROWS],
        f"{experiment.config.name}, freshly initialised{_one_of(experiment.config.ensemble)}",
        experiment.config.training.threads,
        (inputs, labels),
        min(experiment.config.training.batch_size, len(rows)),
    )


def _trained(reference: str) -> Subject:
    """Return a model's network, at the first rows it was trained on; where they are gone, at made-up ones."""
    import numpy as np

    from backprop_cli.cli.models import data_of, load_predictor
    from backprop_cli.engine.network import as_float64

    path, predictor = load_predictor(reference)
    network = as_float64(predictor.networks[0])
    try:
        dataset, rows = data_of(path, predictor, "train")
        inputs, labels = predictor.scaling.apply(dataset.pictures[rows[:N_ROWS]]), dataset.labels[rows[:N_ROWS]]
    except DataError as problem:
        console.warn(f"{problem}; checked at random pictures instead")
        rng = np.random.default_rng(0)
        inputs, labels = rng.standard_normal((N_ROWS, network.n_inputs)), rng.integers(network.n_classes, size=N_ROWS)
    about = f"{path}{_one_of(len(predictor.networks))}"
    return Subject(network, predictor.loss, inputs, labels, about, predictor.n_threads)


def _one_of(n_networks: int) -> str:
    return f", network 1 of {n_networks}" if n_networks > 1 else ""


def _loss_at_the_start(subject: Subject) -> tuple[float, float | None]:
    """Return the loss before any training, and what a network that knows nothing has (None: not a matter of course)."""
    from backprop_cli.engine.losses import loss_and_gradient

    assert subject.start is not None
    inputs, labels = subject.start
    loss, _ = loss_and_gradient(subject.loss, subject.network.logits(inputs), labels)
    return loss, math.log(subject.network.n_classes) if subject.loss.is_log_likelihood else None


def _problems(
    result: GradientCheck,
    network: Network,
    initial_loss: float | None,
    expected: float | None,
    learned: Memorised | None,
) -> list[str]:
    """Return what did not pass, a line each."""
    problems = []
    wrong = [k for k, layer in enumerate(result.layers) if not layer.passed]
    if wrong:
        problems.append(_fault(result, network, wrong))
    elif not result.inputs.passed:
        problems.append(
            f"inputs: wrong by up to {result.inputs.max_relative_error:.1e} of the largest gradient; "
            "look at layer 1's backward to its inputs"
        )
    if initial_loss is not None and expected is not None and not 0.5 * expected <= initial_loss <= 2.0 * expected:
        problems.append(
            f"loss at the start: {initial_loss:.3f} is not within half and twice ln(classes) = {expected:.3f}; "
            "look at network.initializer and data.scaling"
        )
    if learned is not None and not learned.passed:
        problems.append(
            f"one batch by heart: the loss went from {learned.first_loss:.4g} to {learned.last_loss:.4g} in "
            f"{learned.steps:,} steps, not below 1 %; look at network.initializer, network.layers and data.scaling"
        )
    return problems


def _fault(result: GradientCheck, network: Network, wrong: list[int]) -> str:
    """Name the last wrong layer: blame goes backward, so what is wrong in one layer is wrong in all before it."""
    k = wrong[-1]
    found, layer = result.layers[k], network.layers[k]
    row, column = found.worst
    place = f"the bias of unit {column}" if row == layer.fan_in else f"the weight from {row} to {column}"
    before = ", ".join(result.layers[k].name for k in wrong[-2::-1])
    if layer.is_output:
        source = "the loss's gradient and at this layer's backward"
    else:
        above = result.layers[k + 1].name
        source = f"the slope of {layer.activation}, at this layer's backward and at what {above} hands back"
    return (
        f"{found.name}: wrong by up to {found.max_relative_error:.1e} of its largest gradient, worst at {place}"
        + (f", and with it {before}" if before else "")
        + f"; look at {source}"
    )


def _show(
    subject: Subject,
    result: GradientCheck,
    initial_loss: float | None,
    expected: float | None,
    learned: Memorised | None,
    seconds: float,
) -> None:
    from rich.table import Table
    from rich.text import Text

    from backprop_cli.files import clean

    console.answer(f"network    {clean(subject.about)}")
    console.answer(
        f"gradients  {subject.network.n_params:,} weights and biases at {len(subject.inputs)} pictures, float64; "
        f"{seconds:.1f} s"
    )
    console.answer()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("gradients of")
    for column in ("n", "largest", "worst error", "median", "kinks"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for layer in (*result.layers, result.inputs):
        verdict, style = ("ok", console.GOOD) if layer.passed else ("wrong", console.BAD)
        if layer.passed and layer.is_faint:
            verdict, style = "too faint to check", console.WARNING
        table.add_row(
            layer.name,
            f"{layer.n:,}",
            f"{layer.largest_gradient:.1e}",
            f"{layer.max_relative_error:.1e}",
            f"{layer.median_relative_error:.1e}",
            f"{layer.kinks:,}",
            Text(verdict, style),
        )
    console.rich_console(sys.stdout).print(table)
    console.answer("errors are shares of the layer's largest gradient; below 1e-6 passes")
    if initial_loss is not None:
        beside = f"; a network that knows nothing: ln({subject.network.n_classes}) = {expected:.3f}" if expected else ""
        console.answer(f"\nloss at the start    {initial_loss:.3f}{beside}")
    if learned is not None:
        console.answer(
            f"one batch by heart   loss {learned.first_loss:.3f} to {learned.last_loss:.4f} in {learned.steps:,} steps"
        )
