"""A training that somebody looks on at: moved a little at a time, and told as plain data after each move."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from backprop_cli.api.blind import BlindResult, BlindSculptor, blind_sculptor
from backprop_cli.api.drawing import finite, rounded
from backprop_cli.api.keeping import FOLDER, n_right
from backprop_cli.api.models import Model
from backprop_cli.api.others import OtherPictures
from backprop_cli.api.run import Run
from backprop_cli.api.training import EpochResult, Progress, Training, training
from backprop_cli.api.words import percent
from backprop_cli.errors import UsageError

__all__ = ["MOVES", "Move", "Watch", "teaching"]

Move = Literal["look", "go", "epoch", "step", "hardest", "end"]
MOVES: tuple[Move, ...] = get_args(Move)

SLICE = 0.1  # seconds of work in one move
MAX_POINTS = 200  # of a curve
MAX_UNITS = 40
MAX_PIXELS = 40_000  # of all pictures of weights together


class Watch:
    """A training under way, and what is shown of it.

    Args:
        training: Is closed by `close`, and when it has come to its end.
        pupil: The model that is taught, and the folder of the drawings that it is taught; None: none is.

    Attributes:
        run: What came of it; None while it goes on.
    """

    def __init__(self, training: Training, pupil: tuple[Model, Path] | None = None) -> None:
        self.training = training
        self.run: Run | None = None
        self._pupil, self._right = pupil, [] if pupil is None else [n_right(*pupil)]
        self._others: dict[str, Any] | None = None
        self._digit = training.hardest_digit()
        self._event: Progress | EpochResult | None = None
        self._ends: list[tuple[int, float]] = []  # of each epoch the network and the seconds worked, without pauses
        self._blind: BlindSculptor | None = None
        self._is_blind_over = False

    def move(self, move: Move, learning_rate: float | None = None) -> dict[str, Any]:
        """Go on a little, and return how things stand: to the next event or for a tenth of a second.

        Args:
            move: `go` goes on, `epoch` not past its end, `step` by one step; `look` and `hardest`, which chooses the
                digit to watch again, leave it where it stands; `end` ends it there.
            learning_rate: From the next step on; None: as before.

        Raises:
            ArgumentError: The learning rate is not above 0.
        """
        if self.run is None:
            if learning_rate is not None:
                self.training.learning_rate = learning_rate
            if move in ("go", "epoch", "step"):
                self._advance(move)
            elif move == "hardest":
                self._digit = self.training.hardest_digit()
            if self.training.is_finished or move == "end":
                self.close()
        return self.to_dict()

    def _advance(self, move: Move) -> None:
        n_before, end = len(self.training.history), time.perf_counter() + SLICE
        events = iter([self.training.one_step()]) if move == "step" else self.training
        for event in events:
            self._event = event or self._event
            if isinstance(event, EpochResult):
                self._ends.append((self.training.member + 1, self.training.seconds))
            if time.perf_counter() >= end or (move == "epoch" and isinstance(event, EpochResult)):
                break
        if n_before == 0 and self.training.history:  # before, all of them are as hard
            self._digit = self.training.hardest_digit()

    def close(self) -> Run:
        """End it where it stands; what was trained stays in its directory. Return what came of it."""
        if self.run is None:
            self.run = self.training.run()
            if self._pupil is not None and self.run.has_model:
                self._right.append(n_right(self.run.model, self._pupil[1]))
                self._others = OtherPictures(self._pupil[0]).accuracy(self.run.model.predictor.networks)
        return self.run

    @property
    def model(self) -> Model:
        """The trained model.

        Raises:
            UsageError: It is still in training.
            ModelFileError: There is none.
        """
        if self.run is None:
            raise UsageError("the training is still running; end it first")
        return self.run.model

    # ---- what is told ----------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return how things stand, as plain data of bounded size."""
        training, config, event = self.training, self.training.config, self._event
        return {
            "run": None if training.path is None else str(training.path),
            "about": training.about,
            "member": training.member + 1,
            "n_members": config.ensemble,
            "epoch": 0 if event is None else event.epoch,
            "n_epochs": config.training.epochs,
            "share": event.share if isinstance(event, Progress) else 1.0,
            "n_finished": len(training.history),
            "train_loss": None if event is None else finite(event.train_loss),
            "seconds": training.seconds,
            "history": self._history(),
            "digit": self._watched(),
            "units": self._units(),
            "learning_rate": training.learning_rate,
            "is_repeatable": training.is_repeatable,
            "is_over": self.run is not None,
            "has_model": training.has_model,
            "said": self._said(),
            "taught": self._taught(),
        }

    def _history(self) -> list[dict[str, Any]]:
        """Return the epochs so far, or so many of them, the last among them."""
        history = self.training.history
        chosen = sorted({*range(0, len(history), max(1, -(-len(history) // MAX_POINTS))), len(history) - 1} - {-1})
        return [
            {
                "epoch": history[k].epoch,
                "member": self._ends[k][0],
                "seconds": self._ends[k][1],
                "train_loss": finite(history[k].train_loss),
                "val_loss": _finite(history[k].val_loss),
                "val_accuracy": history[k].val_accuracy,
            }
            for k in chosen
        ]

    def _watched(self) -> dict[str, Any]:
        digit, probabilities = self._digit, self._digit.probabilities()
        best = max(probabilities, key=lambda name: probabilities[name])
        return {
            "name": digit.name,
            "label": digit.label,
            "pixels": rounded(digit.picture),
            "guess": best,
            "probabilities": probabilities,
        }

    def _units(self) -> list[Any]:
        """Return the weights of the first units, each as a picture."""
        weights = np.nan_to_num(self.training.first_layer(), posinf=0.0, neginf=0.0)
        return rounded(weights[: min(MAX_UNITS, max(1, MAX_PIXELS // weights[0].size))])

    def _said(self) -> str:
        """Return what came of it, in words; nothing while it goes on."""
        if self.run is None:
            return ""
        if self.run.divergence is not None:
            return self.run.divergence
        if not self.run.has_model:
            return "ended before an epoch was finished: there is no model"
        ended = "ended early, can be resumed" if self.run.stop_reason == "interrupted" else "trained to its end"
        accuracy = self.run.summary["val_accuracy"]
        figures = "" if accuracy is None else f", {percent(accuracy)} of {self.run.n_val:,} validation digits read"
        return f"{ended}: best epoch {self.run.summary['best_epoch']} of {self.run.summary['epochs']}{figures}"

    def _taught(self) -> dict[str, Any] | None:
        """Return how many of the drawings, and of the others, are read rightly before and, when it is over, after."""
        if not self._right:
            return None
        before, after = self._right[0], self._right[-1] if len(self._right) > 1 else None
        drawings = {"n": before[1], "before": before[0], "after": None if after is None else after[0]}
        return drawings | {"others": self._others}

    # ---- the blind sculptor ----------------------------------------------------------------------------------------

    def blind(self) -> dict[str, Any]:
        """Let the blind sculptor go on a little, for as long in all as the training worked; return how it stands.

        When it has had its time, what came of it is written into the run.

        Raises:
            UsageError: The training goes on, or did not begin with random weights.
        """
        if self._pupil is not None:
            raise UsageError("the blind sculptor begins with random weights: a model that is taught does not")
        if self.run is None:
            raise UsageError("the blind sculptor gets the time that the training took; let the training end first")
        if self._blind is None:
            self._blind = blind_sculptor(self.training.config, seconds=max(0.01, self.training.seconds))
        end = time.perf_counter() + SLICE
        while not self._is_blind_over and time.perf_counter() < end:
            self._is_blind_over = next(self._blind, None) is None
            if self._is_blind_over and self.run.path is not None:
                self._result(self._blind, self.run).save(self.run.path)
        found = self._result(self._blind, self.run).to_dict()
        curve: Sequence[Any] = found["curve"]
        step = -(-len(curve) // MAX_POINTS)
        return found | {"curve": [*curve[:-1:step], curve[-1]], "is_over": self._is_blind_over}

    def _result(self, blind: BlindSculptor, run: Run) -> BlindResult:
        return replace(blind.result(run), trained_seconds=self.training.seconds)  # without pauses


def teaching(model: Model, folder: Path = Path(FOLDER)) -> Watch:
    """Begin to teach a model the drawings that were kept, beside its own data.

    Raises:
        UsageError: There are none.
        ConfigError: The model's config is not one of this version.
        DataError: Its data are gone, or the drawings have other classes.
    """
    if not n_right(model, folder)[1]:
        raise UsageError(f"{folder}: there are no drawings yet")
    return Watch(training(init_from=model, overrides={"data.extra": str(folder)}), (model, folder))


def _finite(value: float | None) -> float | None:
    return None if value is None else finite(value)
