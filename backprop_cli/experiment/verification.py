"""A run trained again from what it has saved, and held against the model that it left."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_cli.config.config import config_of, differing_keys, read_config
from backprop_cli.data.readers.shared import ProgressCallback
from backprop_cli.engine.training import EpochResult, Progress
from backprop_cli.errors import RunDirectoryError, advising
from backprop_cli.experiment.environment import environment
from backprop_cli.experiment.experiment import RATES_SET, Experiment
from backprop_cli.experiment.run_data import load_run_data
from backprop_cli.experiment.start import Start
from backprop_cli.files import clean, read_bounded
from backprop_cli.predictor import Predictor
from backprop_cli.store.model_file import Model, load_model, model_bytes
from backprop_cli.store.run_directory import RunDirectory
from backprop_cli.store.tensor_file import MAX_BYTES

# Where environments differ, roundings do. Trained with BLAS kernels made for other processors, `quick`, `digits`,
# `deep` and `textbook` came out with parameters 2e-7 to 4e-2 apart (the most in the deep one) and probabilities up to
# 0.8 points; with another seed with parameters 1.4 and probabilities 1.3 to 6.4 points apart. In the first epoch
# roundings have had no time to grow: there, other data, settings or code show first.
TOLERANCE = {"first_loss": 1e-3, "parameters": 0.1, "probabilities": 0.02}
MAX_ROWS = 10_000  # that answers are compared on

Verdict = Literal["equal", "close", "different"]


@dataclass(frozen=True)
class Comparison:
    """How a model trained again stands to the one that was saved.

    Attributes:
        verdict: `equal`: byte for byte; `close`: within the tolerances, in another environment; else `different`.
        reasons: Why it is `different`, in words.
        epochs: By network, rounded down, when the two were compared.
        is_whole: Whether training had come to its end then; a run that was stopped has a model of its way there.
        first_difference: The first row of the metrics that came out otherwise, from 1; None where all are equal.
        parameters: Euclidean norm of the change of the parameters over that of the saved ones, the largest of an
            ensemble's; None for networks of another form.
        probabilities: Mean over the rows of half the sum of absolute differences, in [0, 1]; None as above.
        n_agreeing: Rows on which both answer the same.
        n_rows: Rows compared on: the validation part, or where there is none the training part, at most 10,000.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    epochs: int = 0
    is_whole: bool = False
    first_difference: int | None = None
    parameters: float | None = None
    probabilities: float | None = None
    n_agreeing: int = 0
    n_rows: int = 0


class Retraining:
    """What a run has saved, and the experiment that trains it again; nothing is written anywhere.

    Attributes:
        path: The run directory.
        experiment: The training to repeat.
        environment: What is not as it was: name -> (then, now).
    """

    def __init__(self, path: Path, progress: ProgressCallback = None) -> None:
        """Read the run.

        Args:
            path: The run directory.
            progress: Is told how many picture files of how many have been read.

        Raises:
            BackpropError: It has no model yet, something of it is damaged, or its data is no longer the same.
        """
        directory = RunDirectory(path, None, is_new=False)  # no lock: it is only read
        self.path = path
        self._saved = load_model(directory.model_path)
        self._bytes = read_bounded(directory.model_path, MAX_BYTES["model"])
        self._saved_config = config_of(self._saved.config, where=f"{path}: config").to_dict()  # as this version says it
        self._rows = directory.read_metrics()
        if steered := [row for row in self._rows if row.get(RATES_SET)]:
            raise RunDirectoryError(
                f"{clean(path)}: cannot be verified: its learning rate was changed by hand while it trained "
                f"(epoch {steered[0]['epoch']})"
            )
        config = read_config(directory.read_config(), saved=True, where=str(path / "config.yaml"))
        ends = {row["epoch"] for row in self._rows if row.get("stop_reason") == "completed"}
        raised = {end for end in ends if isinstance(end, int) and 0 < end < config.training.epochs}
        self._totals = [*sorted(raised), config.training.epochs]  # a schedule depends on the total of its time
        config = replace(config, training=replace(config.training, epochs=self._totals[0]))
        then = directory.read_environment()
        with advising("verified_data"):
            split_data = load_run_data(config, path, then, progress=progress)
        self.experiment = Experiment(config, split_data, Start.of_run(path, then))
        now = environment(split_data, config.training)
        self.environment = {name: (then.get(name), now[name]) for name in now if now[name] != then.get(name)}
        self._n_done = 0
        self._first_loss: float | None = None
        self._first_difference: int | None = None
        self._last: Comparison | None = None

    def train(self) -> Generator[Progress | EpochResult]:
        """Train until where the saved model was made; yield what happens."""
        for total in self._totals:
            self.experiment.raise_epochs(total)
            with closing(self.experiment.train()) as events:
                for event in events:
                    yield event
                    if isinstance(event, EpochResult) and event.stop_reason != "diverged":
                        self._note(event)
                        if self._is_there() and self._compare().verdict == "equal":
                            return

    def result(self) -> Comparison:
        """Return what came of it."""
        return self._last or self._compare()

    def _note(self, event: EpochResult) -> None:
        """Hold an epoch's figures against those of the run."""
        mine = self.experiment.metrics_row(event)
        saved = self._rows[self._n_done] if self._n_done < len(self._rows) else None
        self._n_done += 1
        if self._n_done == 1:
            self._first_loss = event.train_loss
        if saved is not None and self._first_difference is None:
            drop = {"seconds", "stop_reason"}  # epoch 5 may once have been the last
            if any(mine[key] != saved.get(key) for key in mine.keys() - drop):
                self._first_difference = self._n_done

    def _is_there(self) -> bool:
        """Return whether the saved model may have been made at this epoch.

        Of an ensemble only the mean number of epochs is known, so that there may be several that are to be tried.
        """
        done = [state.epoch for state in self.experiment.states if state.epoch]
        return len(done) == len(self._saved.members) and sum(done) // len(done) == self._saved.summary.get("epochs")

    def _compare(self) -> Comparison:
        """Compare the training as it stands with the saved model, and keep the answer if it is the nearest yet."""
        if not self.experiment.has_model:
            return Comparison("different", ("training diverged in its first epoch",))
        model = self.experiment.model()
        now = Comparison(
            "equal",
            epochs=int(model.summary["epochs"]),
            is_whole=self.experiment.stop_reason is not None,
            first_difference=self._first_difference,
        )
        is_spelled_anew = self._saved_config == model.config
        if model_bytes(replace(model, config=self._saved.config) if is_spelled_anew else model) == self._bytes:
            n_rows = len(self._inputs(model))
            now = replace(now, parameters=0.0, probabilities=0.0, n_agreeing=n_rows, n_rows=n_rows)
        else:
            now = self._judge(now, model)
        if self._last is None or _distance(now) <= _distance(self._last):
            self._last = now
        return now

    def _judge(self, now: Comparison, model: Model) -> Comparison:
        """Say how far apart two models are whose bytes are not equal."""
        saved, reasons = self._saved, []
        if keys := sorted(differing_keys(self._saved_config, model.config)):
            reasons.append(f"config.yaml is not the config in the model: {', '.join(keys)}")
        if now.epochs != saved.summary.get("epochs"):
            reasons.append(f"the model says {saved.summary.get('epochs')} epochs, training ended after {now.epochs}")
        if _form(saved) != _form(model):
            reasons.append("the model is of another form")
        else:
            now = replace(now, parameters=_parameters_apart(saved, model), **self._answers_apart(model))
            for name, found in (
                ("first_loss", self._first_loss_apart()),
                ("parameters", now.parameters),
                ("probabilities", now.probabilities),
            ):
                if found is not None and not found <= TOLERANCE[name]:
                    reasons.append(f"{name.replace('_', ' ')}: {found:.2g} apart, over the {TOLERANCE[name]:g} allowed")
        if not self.environment:
            reasons.append("the environment is the same, so the bytes should be")
        return replace(now, verdict="different" if reasons else "close", reasons=tuple(reasons))

    def _first_loss_apart(self) -> float | None:
        """Return the relative change of the first epoch's training loss; None where the run has no row of it."""
        saved = self._rows[0].get("loss") if self._rows else None
        if not isinstance(saved, int | float) or self._first_loss is None:
            return None
        return abs(self._first_loss - saved) / max(abs(saved), 1e-9)

    def _answers_apart(self, model: Model) -> dict[str, Any]:
        pictures = self._inputs(model)
        mine, saved = (Predictor(one, str(self.path)).probabilities(pictures) for one in (model, self._saved))
        return {
            "probabilities": float(np.abs(mine - saved).sum(axis=1).mean() / 2.0),
            "n_agreeing": int((mine.argmax(axis=1) == saved.argmax(axis=1)).sum()),
            "n_rows": len(pictures),
        }

    def _inputs(self, model: Model) -> NDArray[Any]:
        split_data = self.experiment.split_data
        rows = split_data.splits.val if len(split_data.splits.val) else split_data.splits.train
        return np.asarray(split_data.dataset.pictures[rows[:MAX_ROWS]])


def _form(model: Model) -> tuple[object, ...]:
    """Return what must be the same in any environment."""
    preprocessing = {key: model.preprocessing[key] for key in ("picture", "slant")}
    return len(model.members), model.n_inputs, model.layers, model.classes, model.loss, preprocessing


def _parameters_apart(saved: Model, model: Model) -> float:
    pairs = zip(saved.members, model.members, strict=True)
    return max(float(np.linalg.norm(new - old) / max(float(np.linalg.norm(old)), 1e-12)) for old, new in pairs)


def _distance(comparison: Comparison) -> float:
    return math.inf if comparison.parameters is None else comparison.parameters
