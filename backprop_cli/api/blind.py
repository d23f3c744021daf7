"""The blind sculptor: what a network learns by nudges alone, in the time that a training had."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from backprop_cli.api.arguments import Reference, as_config, whole_number
from backprop_cli.api.run import Run
from backprop_cli.api.words import percent
from backprop_cli.config.config import Config
from backprop_cli.engine.blind import BlindGuess
from backprop_cli.errors import ArgumentError
from backprop_cli.experiment.blind import BlindTrial
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.store.run_directory import read_record, write_record

__all__ = ["BlindGuess", "BlindResult", "BlindSculptor", "blind_result_of", "blind_sculptor"]

SECONDS = 5.0  # where nothing says how long
MOST_POINTS = 500  # of a curve
RECORD = "blind.json"


@dataclass(frozen=True, repr=False)
class BlindResult:
    """What came of nudges alone, beside what came of the gradient.

    Attributes:
        guesses: Nudges tried.
        kept: Those that lowered the loss.
        seconds: That they took.
        loss: Mean over the training rows, at the end.
        val_accuracy: Share of the validation part that is then read; None without one.
        trained_val_accuracy: The same of the training that it is held against; None without one.
        trained_seconds: That this training took; None without one.
        curve: (guesses, seconds, loss), at most 500 points; the loss never rises.
    """

    guesses: int
    kept: int
    seconds: float
    loss: float
    val_accuracy: float | None
    trained_val_accuracy: float | None
    trained_seconds: float | None
    curve: tuple[tuple[int, float, float], ...]

    def __repr__(self) -> str:
        blind, trained = (
            "none" if share is None else percent(share) for share in (self.val_accuracy, self.trained_val_accuracy)
        )
        return f"<BlindResult: {self.guesses:,} guesses, validation accuracy {blind}; with the gradient {trained}>"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        plain = {key: value for key, value in vars(self).items() if key != "curve"}
        return {"schema": "backprop.blind/1", **plain, "curve": [list(point) for point in self.curve]}

    def save(self, run: Path) -> None:
        """Write it into a run's directory, beside the training that it is held against.

        Raises:
            OSError: It cannot be written.
        """
        write_record(run / RECORD, self.to_dict())


def blind_result_of(run: Path) -> BlindResult | None:
    """Return what was saved in a run's directory; None where there is none, or it is damaged."""
    plain = read_record(run / RECORD)
    with suppress(KeyError, TypeError, ValueError):
        curve = tuple((int(n), float(seconds), float(loss)) for n, seconds, loss in plain.pop("curve"))
        if plain.pop("schema") == "backprop.blind/1":
            return BlindResult(**plain, curve=curve)
    return None


class BlindSculptor(Iterator[BlindGuess]):
    """A network that is nudged at random, guess by guess; `result` tells what came of it.

    Attributes:
        last: The last guess; None before the first.
        seconds: That it has worked, pauses not counted.
    """

    def __init__(self, experiment: Experiment, seconds: float | None, guesses: int | None, seed: int) -> None:
        self._trial = BlindTrial(experiment, seed)
        self._events = self._trial.train()
        self._limits, self._kept, self._step = (seconds, guesses), 0, 1
        self._curve: list[tuple[int, float, float]] = []
        self.last: BlindGuess | None = None
        self.seconds = 0.0

    def __next__(self) -> BlindGuess:
        seconds, guesses = self._limits
        n_done = 0 if self.last is None else self.last.number
        if (seconds is not None and self.seconds >= seconds) or (guesses is not None and n_done >= guesses):
            self.close()
        started = time.perf_counter()
        guess = self.last = next(self._events)
        self.seconds += time.perf_counter() - started
        self._kept += guess.is_kept and guess.number > 0
        self._note(guess)
        return guess

    def _note(self, guess: BlindGuess) -> None:
        """Keep every so many guesses for the curve, ever fewer the longer it is."""
        if guess.number % self._step == 0:
            self._curve.append((guess.number, self.seconds, guess.loss))
        if len(self._curve) >= MOST_POINTS:
            self._curve, self._step = self._curve[::2], 2 * self._step

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._events.close()

    def result(self, trained: Run | None = None) -> BlindResult:
        """Return what has come of it so far.

        Args:
            trained: The training that it is held against.
        """
        guess = self.last or next(self)
        end = (guess.number, self.seconds, guess.loss)
        return BlindResult(
            guesses=guess.number,
            kept=self._kept,
            seconds=self.seconds,
            loss=guess.loss,
            val_accuracy=self._trial.val_accuracy(),
            trained_val_accuracy=None if trained is None else trained.summary["val_accuracy"],
            trained_seconds=None if trained is None else trained.seconds,
            curve=(*(point for point in self._curve if point[0] < guess.number), end),
        )


def blind_sculptor(
    config: Config | Reference | Mapping[str, Any] | None = None,
    *,
    seconds: float | None = None,
    guesses: int | None = None,
    seed: int = 0,
) -> BlindSculptor:
    """Begin to nudge the first network of a config from its first weights, on its training rows, without a gradient.

    Args:
        config: As in `train`.
        seconds: How long; None, with no number of guesses either: five.
        guesses: How many nudges; with `seconds` too, whichever comes first.
        seed: Of the nudges.

    Raises:
        ArgumentError: A limit is not above 0.
        ConfigError: The config holds mistakes, or its network is too large.
        DataError: The data is not there, or not what it should be.
    """
    if seconds is not None and not seconds > 0:
        raise ArgumentError(f"seconds {seconds}: expected a number above 0")
    if guesses is not None:
        guesses = whole_number("guesses", guesses, 1, 10**12)
    if seconds is None and guesses is None:
        seconds = SECONDS
    return BlindSculptor(Experiment(as_config(config)), seconds, guesses, whole_number("seed", seed, 0, 2**63 - 1))
