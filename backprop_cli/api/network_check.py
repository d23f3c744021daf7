"""Whether a network's gradients are right, it starts as it should, and it can overfit one batch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.api.arguments import Reference, as_config
from backprop_cli.api.models import Model
from backprop_cli.blas import blas_threads
from backprop_cli.config.config import Config
from backprop_cli.engine.gradient_check import GradientCheck, Memorized, check_gradients, memorize, propagate
from backprop_cli.engine.losses import Loss, loss_and_gradient
from backprop_cli.engine.network import Network, as_float64
from backprop_cli.errors import DataError
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.run_data import load_model_data
from backprop_cli.files import clean

N_ROWS = 8  # pictures that the gradients are taken at
N_ROWS_START = 1024  # training rows that the loss at the start is taken over


@dataclass(frozen=True, eq=False, repr=False)
class NetworkCheck:
    """What came of checking a network.

    Attributes:
        about: Which network.
        n_parameters: Of it.
        n_classes: Of it.
        n_rows: Pictures that the gradients were taken at.
        gradients: Every gradient against central differences.
        initial_loss: Before any training; None for a trained network.
        expected_initial_loss: Of a uniform guess; None where the loss has no such reference.
        memorized: Whether a fresh network can overfit one batch; None for a trained one.
        problems: What did not pass, a line each.
        warnings: What it was not checked at, in words.
        seconds: That moving every weight and input by itself took.
        n_guesses: Made for it: two for each of them.
        backward_seconds: That backpropagation took for all of their gradients: one pass.
    """

    about: str
    n_parameters: int
    n_classes: int
    n_rows: int
    gradients: GradientCheck
    initial_loss: float | None
    expected_initial_loss: float | None
    memorized: Memorized | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float
    n_guesses: int
    backward_seconds: float

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "; ".join(self.problems)
        error = f"worst error {self.gradients.max_relative_error:.1e} of {self.n_parameters:,} gradients"
        return f"<NetworkCheck {clean(self.about)}: {verdict}; {error}>"

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of `check`."""
        return {
            "schema": "backprop.check/1",
            "passed": self.passed,
            "n_parameters": self.n_parameters,
            "max_relative_error": self.gradients.max_relative_error,
            "layers": [asdict(layer) for layer in self.gradients.layers],
            "inputs": asdict(self.gradients.inputs),
            "n_rows": self.n_rows,
            "loss": self.gradients.loss,
            "initial_loss": self.initial_loss,
            "expected_initial_loss": self.expected_initial_loss,
            "memorised": asdict(self.memorized) if self.memorized else None,
            "problems": list(self.problems),
            "seconds": round(self.seconds, 3),
            "n_guesses": self.n_guesses,
            "backward_seconds": round(self.backward_seconds, 6),
        }


@dataclass(frozen=True, eq=False)
class _Subject:
    """A network in float64 and rows to check it at; `start` are more of them, inputs and labels, for a fresh one."""

    network: Network
    loss: Loss
    inputs: NDArray[Any]
    labels: NDArray[Any]
    about: str
    n_threads: int
    start: tuple[NDArray[Any], NDArray[Any]] | None = None
    batch_size: int = 0
    warnings: tuple[str, ...] = ()


def check(subject: Config | Model | Reference | Mapping[str, Any] = "digits") -> NetworkCheck:
    """Check every gradient of a network against central differences.

    Args:
        subject: A config, or what `load_config` takes for one: its network as training would begin with it, of which
            the first loss and overfitting one batch are checked too; or a model.

    Raises:
        ConfigError: There is no such config, or it holds mistakes.
        DataError: Its data is not there, or not what it should be.
    """
    if isinstance(subject, Model):
        return _checked(_trained(subject))
    return _checked(_fresh(as_config(subject)))


def _checked(subject: _Subject) -> NetworkCheck:
    initial_loss, expected, learned = None, None, None
    with blas_threads(subject.n_threads):
        backward_seconds = _seconds_backward(subject)
        started = time.perf_counter()
        result = check_gradients(subject.network, subject.loss, subject.inputs, subject.labels)
        seconds = time.perf_counter() - started
        if subject.start is not None:
            initial_loss, expected = _loss_at_the_start(subject.network, subject.loss, *subject.start)
            n = subject.batch_size
            learned = memorize(subject.network, subject.loss, subject.start[0][:n], subject.start[1][:n])
    return NetworkCheck(
        about=subject.about,
        n_parameters=subject.network.n_params,
        n_classes=subject.network.n_classes,
        n_rows=len(subject.inputs),
        gradients=result,
        initial_loss=initial_loss,
        expected_initial_loss=expected,
        memorized=learned,
        problems=tuple(_problems(result, subject.network, initial_loss, expected, learned)),
        warnings=subject.warnings,
        seconds=seconds,
        n_guesses=2 * sum(layer.n for layer in (*result.layers, result.inputs)),
        backward_seconds=backward_seconds,
    )


def _seconds_backward(subject: _Subject) -> float:
    """Return how long it takes to find all gradients by one pass forward and one backward: the middle of five times."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        propagate(subject.network, subject.loss, subject.inputs, subject.labels)
        times.append(time.perf_counter() - started)
    return sorted(times)[2]


def _fresh(config: Config) -> _Subject:
    """Return a config's network as training would begin with it."""
    experiment = Experiment(config)
    dataset, train_rows = experiment.split_data.select("train")
    rows = train_rows[:N_ROWS_START]
    inputs, labels = experiment.scaling.apply(dataset.pictures[rows]), dataset.labels[rows]
    return _Subject(
        as_float64(experiment.networks[0]),
        config.loss,
        inputs[:N_ROWS],
        labels[:N_ROWS],
        f"{config.name}, freshly initialized{_one_of(config.ensemble)}",
        config.training.threads,
        (inputs, labels),
        min(config.training.batch_size, len(rows)),
    )


def _trained(model: Model) -> _Subject:
    """Return a model's network, at the first rows it was trained on; where they are gone, at made-up ones."""
    predictor, warnings = model.predictor, list[str]()
    network = as_float64(predictor.networks[0])
    try:
        dataset, rows = load_model_data(predictor.model, where=predictor.where, path=model.path).select("train")
        inputs, labels = predictor.scaling.apply(dataset.pictures[rows[:N_ROWS]]), dataset.labels[rows[:N_ROWS]]
    except DataError as problem:
        warnings.append(f"{problem}; checked at random pictures instead")
        rng = np.random.default_rng(0)
        inputs, labels = rng.standard_normal((N_ROWS, network.n_inputs)), rng.integers(network.n_classes, size=N_ROWS)
    about = f"{predictor.where}{_one_of(len(predictor.networks))}"
    return _Subject(network, predictor.loss, inputs, labels, about, predictor.n_threads, warnings=tuple(warnings))


def _one_of(n_networks: int) -> str:
    return f", network 1 of {n_networks}" if n_networks > 1 else ""


def _loss_at_the_start(
    network: Network, loss: Loss, inputs: NDArray[Any], labels: NDArray[Any]
) -> tuple[float, float | None]:
    """Return the loss before any training, and the loss of a uniform guess (None: the loss has no such reference)."""
    value, _ = loss_and_gradient(loss, network.logits(inputs), labels)
    return value, math.log(network.n_classes) if loss.is_log_likelihood else None


def _problems(
    result: GradientCheck,
    network: Network,
    initial_loss: float | None,
    expected: float | None,
    learned: Memorized | None,
) -> Iterator[str]:
    """Give what did not pass, a line each."""
    wrong = [k for k, layer in enumerate(result.layers) if not layer.passed]
    if wrong:
        yield _fault(result, network, wrong)
    elif not result.inputs.passed:
        yield (
            f"inputs: wrong by up to {result.inputs.max_relative_error:.1e} of the largest gradient; "
            "look at layer 1's backward to its inputs"
        )
    if initial_loss is not None and expected is not None and not 0.5 * expected <= initial_loss <= 2.0 * expected:
        yield (
            f"loss at the start: {initial_loss:.3f} is not within half and twice ln(classes) = {expected:.3f}; "
            "look at network.initializer and data.scaling"
        )
    if learned is not None and not learned.passed:
        yield (
            f"overfit one batch: the loss went from {learned.first_loss:.4g} to {learned.last_loss:.4g} in "
            f"{learned.steps:,} steps, not below 1 %; look at network.initializer, network.layers and data.scaling"
        )


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
