"""What a caller may change while a network learns: between two steps, never within one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Part = TypeVar("Part")


class Steering:
    """The wheel of a training; where nobody turns it, the training goes as its settings say.

    Args:
        learning_rate: The optimizer's own.

    Attributes:
        by_step: Stop after every step, not only after chunks of them and at the end of an epoch.
        learning_rate: The one in force, which the schedule goes on to scale.
        n_steps_in_all: Steps made so far, of all networks.
        changes: Since the epoch began: how many of its steps were done, and the rate from there on.
    """

    def __init__(self, learning_rate: float) -> None:
        self.by_step = False
        self.learning_rate = self._own = self._wanted = learning_rate
        self.changes: list[tuple[int, float]] = []
        self.n_steps_in_all = self._n_before = 0

    @property
    def wanted_rate(self) -> float:
        """The learning rate from the next step on."""
        return self._wanted

    def set_learning_rate(self, learning_rate: float) -> None:
        """Let this rate hold from the next step on, or where steps are not stopped at, from the next chunk on."""
        self._wanted = learning_rate

    def begin_epoch(self) -> None:
        """Forget the changes of the epoch before; a rate that is not the optimizer's own is one from its beginning."""
        self._n_before = self.n_steps_in_all
        self.changes = [] if self.learning_rate == self._own else [(0, self.learning_rate)]

    def portions(self, parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
        """Yield the parts of a chunk in portions, after each of which a caller may have changed something."""
        start = 0
        while start < len(parts):
            if self._wanted != self.learning_rate:
                self.learning_rate = self._wanted
                self.changes.append((self.n_steps_in_all - self._n_before, self.learning_rate))
            portion = parts[start : start + 1] if self.by_step else parts[start:]
            start += len(portion)
            self.n_steps_in_all += len(portion)
            yield portion
