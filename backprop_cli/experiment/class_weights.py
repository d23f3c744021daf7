"""What a row of each class counts for in the loss, as a config asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from backprop_cli.arrays import Array, Rows
from backprop_cli.config.mistakes import did_you_mean
from backprop_cli.data.dataset import Dataset
from backprop_cli.errors import ConfigError, quoted
from backprop_cli.files import clean

MOST_NAMED = 20  # classes that a message names
KEY = "training.class_weight"


def class_weights(setting: Literal["balanced"] | Mapping[str, float], dataset: Dataset, rows: Rows) -> Array:
    """Return the weight of a row of each class, (n_classes,), 1 on average over the training part.

    Args:
        setting: `balanced`: len(rows) / (number of classes * rows of the class), over the classes that are there. Or
            class -> weight, 1 for those left out.
        dataset: That is trained on.
        rows: Its training part.

    Raises:
        ConfigError: A class that the data do not have, or no row with a weight above 0.
    """
    counts = np.bincount(dataset.labels[rows], minlength=len(dataset.classes))
    weights = np.ones(len(counts))
    if setting == "balanced":
        here = counts > 0
        weights[here] = len(rows) / (here.sum() * counts[here])
    else:
        if problems := [_unknown(name, dataset) for name in setting if name not in dataset.classes]:
            raise ConfigError(*problems)
        for name, weight in setting.items():
            weights[dataset.classes.index(name)] = weight
    total = float(counts @ weights)
    if not total > 0.0:
        raise ConfigError(f"{KEY}: no row of {clean(dataset.name)} to train on has a weight above 0")
    return weights * (len(rows) / total)


def _unknown(name: str, dataset: Dataset) -> str:
    known = ", ".join(dataset.classes[:MOST_NAMED]) + ", ..." * (len(dataset.classes) > MOST_NAMED)
    hint = did_you_mean(name, dataset.classes)
    return clean(f"{KEY}: {dataset.name} has no class {quoted(name)}; it has {known}{hint}")
