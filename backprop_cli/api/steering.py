"""A training under way: event by event, or in the hands of who watches it."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Generator, Iterator
from typing import Any, Self

from numpy.typing import NDArray

from backprop_cli.config.config import Config
from backprop_cli.engine.training import EpochResult, Progress
from backprop_cli.errors import ArgumentError
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.watched_digit import WatchedDigit

__all__ = ["EpochResult", "Events", "Progress", "Steered", "WatchedDigit"]


class Events(Iterator[Progress | EpochResult]):
    """A training under way, event by event. `close` it, or use it in `with`, however you leave.

    Attributes:
        history: The epochs so far.
    """

    def __init__(self, experiment: Experiment, events: Generator[Progress | EpochResult]) -> None:
        self._experiment, self._events = experiment, events
        self._is_to_end = False
        self.history: list[EpochResult] = []

    def __next__(self) -> Progress | EpochResult:
        if self._is_to_end:
            self.close()
        event = next(self._events)
        if isinstance(event, EpochResult):
            self.history.append(event)
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End it where it stands; called while another thread trains, it ends before its next event."""
        self._end()

    def _end(self) -> bool:
        """Return whether it has ended; if not, it will."""
        try:
            self._events.close()
        except ValueError:
            if inspect.getgeneratorstate(self._events) != inspect.GEN_RUNNING:
                raise
            self._is_to_end = True
            return False
        return True

    @property
    def config(self) -> Config:
        """All settings."""
        return self._experiment.config

    @property
    def member(self) -> int:
        """Which network of an ensemble is in training, from 0."""
        return self._experiment.member

    def hardest_digit(self) -> WatchedDigit:
        """Return the digit that the network in training finds hardest now, to be watched from now on."""
        return WatchedDigit(self._experiment)


class Steered(Events):
    """A training that goes on only as far as it is asked to, and may be looked into whenever it stands still.

    `one_step`, `one_epoch` and `advance` may be mixed with each other and with `next`; between two calls it is paused.
    No two threads may be in it at once.

    Attributes:
        seconds: That it has worked, pauses not counted.
    """

    def __init__(self, experiment: Experiment, events: Generator[Progress | EpochResult]) -> None:
        super().__init__(experiment, events)
        self.seconds = 0.0

    def __next__(self) -> Progress | EpochResult:
        started = time.perf_counter()
        try:
            return super().__next__()
        finally:
            self.seconds += time.perf_counter() - started

    def one_step(self) -> Progress | EpochResult | None:
        """Make one step; return what came of it, None where training has ended.

        The last step of an epoch gives its `EpochResult`. Before the first step of a network its copies are made.
        """
        steering, n_before = self._experiment.steering, self._experiment.steering.n_steps_in_all
        steering.by_step = True
        try:
            event = next(self, None)
            while event is not None and steering.n_steps_in_all == n_before:
                event = next(self, None)
        finally:
            steering.by_step = False
        return event

    def one_epoch(self) -> EpochResult | None:
        """Train to the end of this epoch; return it, None where training has ended."""
        return next((event for event in self if isinstance(event, EpochResult)), None)

    def advance(self, seconds: float) -> list[Progress | EpochResult]:
        """Train until so much time has passed, at least to the next event; return the events, none at the end."""
        end, found = time.perf_counter() + seconds, []
        for event in self:
            found.append(event)
            if time.perf_counter() >= end:
                break
        return found

    @property
    def learning_rate(self) -> float:
        """The learning rate that is in force or will be from the next step on; the schedule scales it."""
        return self._experiment.steering.wanted_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        if not 0.0 < rate < math.inf:
            raise ArgumentError(f"learning_rate {rate}: expected a number above 0")
        self._experiment.steering.set_learning_rate(float(rate))

    @property
    def is_repeatable(self) -> bool:
        """Whether `verify` can repeat it: not where the learning rate was changed by hand."""
        is_set = self.learning_rate != self.config.optimizer.learning_rate
        return not is_set and not any(event.rates_set for event in self.history)

    def first_layer(self) -> NDArray[Any]:
        """Return what the units of the first layer look for: a copy of their incoming weights, (n, height, width)."""
        weight = self._experiment.networks[self.member].layers[0].table[:-1]
        return weight.T.reshape(-1, *self._experiment.split_data.dataset.picture_size).copy()

    def watch(self, number: int) -> WatchedDigit:
        """Return a row of the data set by its number, to be watched from now on.

        Raises:
            ArgumentError: There is no such row.
        """
        dataset = self._experiment.split_data.dataset
        if (row := dataset.row_of(number)) is None:
            raise ArgumentError(f"number {number}: {dataset.name} has no such row")
        return WatchedDigit(self._experiment, row)
