"""How the learning rate changes over training: step -> a factor in [0, 1] of `optimizer.learning_rate`.

A schedule is a frozen record and one pure function, so a resumed run needs no schedule state. Factors are Python
floats (`math`, not NumPy: a `np.float64` would widen float32 arrays).
"""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass
from typing import Literal

from backprop_cli.errors import require


@dataclass(frozen=True)
class Constant:
    """The same learning rate throughout: factor 1.

    Attributes:
        name: `constant`.
    """

    name: Literal["constant"] = "constant"

    def factor_at(self, step: int, n_steps: int) -> float:
        """Return 1 at every `step` in [0, n_steps)."""
        return 1.0


@dataclass(frozen=True)
class WarmupCosine:
    """A straight line up, then half a cosine down to 0.

    Attributes:
        name: `warmup_cosine`.
        warmup: Share of all steps spent going up, in [0, 1].

    Source: Loshchilov and Hutter 2017, equation 5 (one cycle, eta_min = 0); Goyal et al. 2017, section 2.2 (warm-up).
    """

    name: Literal["warmup_cosine"] = "warmup_cosine"
    warmup: float = 0.1

    def __post_init__(self) -> None:
        require((0.0 <= self.warmup <= 1.0, f"warmup: {self.warmup} is not in [0, 1]"))

    def factor_at(self, step: int, n_steps: int) -> float:
        """Return the factor at `step` in [0, n_steps)."""
        n_warmup = self.warmup * n_steps
        if step < n_warmup:
            return min(1.0, (step + 1) / n_warmup)
        progress = (step - n_warmup) / max(1.0, n_steps - n_warmup)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


@dataclass(frozen=True)
class OneCycle:
    """Half a cosine up from 1/25 to 1, then half a cosine down to 1e-4 of where it began.

    Attributes:
        name: `one_cycle`.
        warmup: Share of all steps spent going up, in [0, 1].

    Source: Smith and Topin 2018, section 3; the numbers are those of PyTorch's OneCycleLR. Momentum is left alone.
    """

    name: Literal["one_cycle"] = "one_cycle"
    warmup: float = 0.3

    def __post_init__(self) -> None:
        require((0.0 <= self.warmup <= 1.0, f"warmup: {self.warmup} is not in [0, 1]"))

    def factor_at(self, step: int, n_steps: int) -> float:
        """Return the factor at `step` in [0, n_steps)."""
        start, end = 1.0 / 25.0, 1.0 / 25.0 * 1e-4
        n_warmup = self.warmup * n_steps
        if step < n_warmup:
            return _cosine(start, 1.0, step / n_warmup)
        return _cosine(1.0, end, min(1.0, (step - n_warmup) / max(1.0, n_steps - n_warmup)))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Step:
    """Multiply by `gamma` each time another share `every` of the steps is done.

    Attributes:
        name: `step`.
        every: Share of all steps between two drops, in (0, 1].
        gamma: What a drop multiplies by, in (0, 1].

    Source: Krizhevsky et al. 2012, section 5 (dropping by a constant factor).
    """

    name: Literal["step"] = "step"
    every: float = 0.3
    gamma: float = 0.1

    def __post_init__(self) -> None:
        require(
            (0.0 < self.every <= 1.0, f"every: {self.every} is not in (0, 1]"),
            (0.0 < self.gamma <= 1.0, f"gamma: {self.gamma} is not in (0, 1]"),
        )

    def factor_at(self, step: int, n_steps: int) -> float:
        """Return the factor at `step` in [0, n_steps)."""
        n_drops = min(step / (self.every * n_steps), 1e6)
        return float(self.gamma ** int(n_drops))


Schedule = Constant | WarmupCosine | OneCycle | Step
SCHEDULES: dict[str, type[Schedule]] = {kind.name: kind for kind in typing.get_args(Schedule)}
