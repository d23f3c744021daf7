"""What came of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from backprop_cli import notebook
from backprop_cli.api.models import Model
from backprop_cli.api.words import percent
from backprop_cli.config.config import Config
from backprop_cli.engine.training import EpochResult
from backprop_cli.errors import ModelFileError
from backprop_cli.experiment.data_checks import understood
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.files import clean
from backprop_cli.insight.diagnosis import Finding, Trials
from backprop_cli.predictor import Predictor
from backprop_cli.store.run_directory import RunDirectory

__all__ = ["Finding", "Run", "Trials"]

MOST_POINTS = 300  # of the curves that a notebook shows


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """What came of a training.

    Attributes:
        path: The run's directory; None where nothing was written.
        config: All settings.
        history: The epochs that were trained now, of every network in turn.
        summary: Of the best epoch: epochs, best_epoch, n_parameters, train_loss, val_loss, val_accuracy.
        stop_reason: `completed`, `early_stopping`, `interrupted` or `diverged`.
        seconds: That the training took.
        n_val: Rows of the validation part.
        n_test: Rows of the test part.
        parameters_sha256: Of the trained parameters; None without a model.
        findings: What went wrong, the causes of others first; of an interrupted training nothing is said.
        latest_problem: Why `runs/latest` does not name this run, though it has a model; None where it does.
        warnings: What else is to be known, in words.
    """

    path: Path | None
    config: Config
    history: tuple[EpochResult, ...]
    summary: Mapping[str, Any]
    stop_reason: str
    seconds: float
    n_val: int
    n_test: int
    parameters_sha256: str | None
    findings: tuple[Finding, ...]
    latest_problem: str | None
    warnings: tuple[str, ...]
    _experiment: Experiment

    def __repr__(self) -> str:
        return f"<Run {clean(self.path or self.config.name)}: {self.sentence}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        history = self.history[:: 1 + len(self.history) // MOST_POINTS]
        epochs, losses = [one.epoch for one in history], [one.train_loss for one in history]
        chart = notebook.chart(epochs, training=losses, validation=[one.val_loss for one in history])
        found = [f"{one.text} To fix it: {one.change}" for one in self.findings]
        said = [self.path or self.config.name, self.sentence, *found, *self.warnings]
        return notebook.shown(chart, notebook.words(said))

    @property
    def sentence(self) -> str:
        """How it ended, and how good it is, in words."""
        accuracy = self.summary["val_accuracy"]
        figures = "no validation" if accuracy is None else f"validation accuracy {percent(accuracy)} of {self.n_val:,}"
        return f"{self.stop_reason}, best epoch {self.summary['best_epoch']} of {self.summary['epochs']}, {figures}"

    @property
    def has_model(self) -> bool:
        """Whether an epoch was finished, and training stayed finite."""
        return self.parameters_sha256 is not None

    @cached_property
    def model(self) -> Model:
        """The model of the best epoch.

        Raises:
            ModelFileError: There is none.
        """
        if not self.has_model:
            reason = self.divergence or "no epoch was finished"
            raise ModelFileError(f"{clean(self.path or self.config.name)}: {reason}")
        path = self._model_path
        return Model(Predictor(self._experiment.model(), str(path or self.config.name)), path)

    @property
    def _model_path(self) -> Path | None:
        return None if self.path is None else RunDirectory(self.path, None, is_new=False).model_path

    @property
    def divergence(self) -> str | None:
        """What to say if training diverged; None if it did not."""
        if self.stop_reason != "diverged":
            return None
        epoch, rate = self._experiment.states[self._experiment.member].epoch + 1, self.config.optimizer.learning_rate
        return (
            f"training diverged in epoch {epoch} (loss is not finite); lower optimizer.learning_rate, which is {rate:g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of `train`."""
        keys = ("epochs", "best_epoch", "n_parameters", "train_loss", "val_loss", "val_accuracy")
        return {
            "schema": "backprop.train/1",
            "run": None if self.path is None else str(self.path),
            "model": str(self._model_path) if self._model_path and self.has_model else None,
            **{key: self.summary[key] for key in keys},
            "seconds": round(self.seconds, 3),
            "stop_reason": self.stop_reason,
            "parameters_sha256": self.parameters_sha256,
            "data": understood(self._experiment.split_data.dataset),
            "findings": [asdict(finding) for finding in self.findings],
        }
