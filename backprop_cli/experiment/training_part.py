"""What one network is trained on: the training part, where asked for its copies, and the sources beside it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Labels, Rows
from backprop_cli.config.config import Config
from backprop_cli.data.copies import Copies, pen_copies, warped_copies
from backprop_cli.data.extra import Mixture
from backprop_cli.data.sources import ExtraRows
from backprop_cli.data.strokes import distances
from backprop_cli.engine.training import Progress
from backprop_cli.experiment.split_data import SplitData


class TrainingPart(NamedTuple):
    """What one network is trained on.

    Attributes:
        pictures: (n, height, width).
        labels: (n,).
        rows: Which of them.
        mixture: What a pass over these rows is made of; None: each of them once.
    """

    pictures: NDArray[Any]
    labels: Labels
    rows: Rows
    mixture: Mixture | None = None


def training_part(
    config: Config, split_data: SplitData, member: int, tick: Progress
) -> Generator[Progress, None, TrainingPart]:
    """Return what a network of the ensemble is trained on, and yield a tick after each round of copies.

    The copies of each member have generators of their own, which no checkpoint needs: they are the same each time.
    """
    dataset, rows = split_data.dataset, split_data.splits.train
    copies = config.data.augment if isinstance(config.data.augment, Copies) else None
    if copies is None and not split_data.extra:
        return TrainingPart(dataset.pictures, dataset.labels, rows)
    seeds = [config.seed, member]
    first = dataset.pictures[rows]
    pictures, labels = [first], [dataset.labels[rows]]
    if copies is not None:
        rng = np.random.default_rng([*seeds, 1])
        for _ in range(copies.copies):
            pictures.append(warped_copies(first, copies, rng))
            yield tick
        labels *= copies.copies + 1
    n_first, groups = sum(map(len, labels)), []
    for number, one in enumerate(split_data.extra, 2):
        own = [one.dataset.pictures]
        if copies is not None:
            for copy in _copies_of(one, copies, np.random.default_rng([*seeds, number])):
                own.append(copy)
                yield tick
        pictures += own
        labels += [one.dataset.labels] * len(own)
        whose = one.dataset.groups
        groups.append(np.tile(np.zeros(len(one.dataset), np.int64) if whose is None else whose, len(own)))
    shares = [one.settings.share for one in split_data.extra]
    mixture = Mixture(n_first, groups, shares) if groups else None
    together = np.concatenate(labels)
    return TrainingPart(np.concatenate(pictures), together, np.arange(len(together)), mixture)


def _copies_of(one: ExtraRows, copies: Copies, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Yield warped copies of a further source, its kinds in turn."""
    counts, kinds = one.dataset.pictures, one.settings.kinds
    picture = one.dataset.picture_size
    inks = None if one.own is None else np.divide(one.own.pictures, one.own.max_value, dtype=np.float32)
    away = None if inks is None else distances(inks)
    for number in range(copies.copies):
        kind = kinds[number % len(kinds)]
        if kind == "normalized" or inks is None or away is None:
            yield warped_copies(counts, copies, rng)
        else:
            yield pen_copies(inks, kind, picture, copies, rng, away)
