"""Learning without a gradient: nudge all weights at random, and keep what lowers the loss."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backprop_cli.engine.losses import Loss
from backprop_cli.engine.minibatches import Chunks, Minibatches
from backprop_cli.engine.network import EVALUATION_ROWS, Network

if TYPE_CHECKING:
    from numpy.random import Generator as Rng

FIRST_SIZE = 0.03  # of a nudge: its standard deviation, weight by weight
LARGER = 1.5  # after a nudge that was kept; after one that was not, smaller by its fourth root: one in five is kept


@dataclass(frozen=True)
class BlindGuess:
    """One nudge.

    Attributes:
        number: From 1; 0 is where it began.
        loss: Mean over the rows, of what is kept.
        is_kept: Whether the nudge lowered it.
        size: Of the nudge: standard deviation of the change of each weight.
    """

    number: int
    loss: float
    is_kept: bool
    size: float


def sculpt(network: Network, loss: Loss, rows: Chunks, rng: Rng) -> Generator[BlindGuess]:
    """Nudge a network for ever; it always stands at the best weights found.

    Args:
        network: Its parameters are changed in place.
        loss: What is to fall.
        rows: What it is the mean over: all of them, for every guess.
        rng: Draws the nudges.

    Source: the (1+1) evolution strategy with the one-fifth rule, Rechenberg 1973.
    """
    minibatches = Minibatches(network, loss, EVALUATION_ROWS)
    kept, nudge, size, number = network.params.copy(), np.empty_like(network.params), FIRST_SIZE, 0
    lowest = minibatches.evaluate(rows)[0]
    yield BlindGuess(number, lowest, is_kept=True, size=0.0)
    while True:
        number += 1
        rng.standard_normal(out=nudge, dtype=np.float32)
        nudge *= size
        np.add(kept, nudge, out=network.params)
        tried = minibatches.evaluate(rows)[0]
        is_kept = tried < lowest  # never, where it is no number
        if is_kept:
            lowest = tried
            kept[...] = network.params
        network.params[...] = kept
        yield BlindGuess(number, lowest, is_kept=is_kept, size=size)
        size *= LARGER if is_kept else LARGER**-0.25
