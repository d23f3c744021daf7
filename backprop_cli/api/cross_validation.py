"""How good a config is: every row answered once by a network that was trained without it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from backprop_cli.api.arguments import Reference, as_config, whole_number
from backprop_cli.api.words import percent
from backprop_cli.config.config import Config
from backprop_cli.data.processes import n_cores
from backprop_cli.data.sources import load_data
from backprop_cli.errors import ArgumentError, UsageError, quoted
from backprop_cli.experiment import cross_validation as folding
from backprop_cli.experiment.cross_validation import Fold, FoldPredictions
from backprop_cli.predictor import lies_transposed


@dataclass(frozen=True, eq=False, repr=False)
class CrossValidation(folding.CrossValidation):
    """What all folds come to.

    Attributes:
        folds: What each was trained on, and tested on.
        first_seed: The trainings of a fold had this seed and the next ones.
        by_writers: Each fold is one writer.
        seconds: That it took.
    """

    folds: tuple[Fold, ...]
    first_seed: int
    by_writers: bool
    seconds: float

    def __repr__(self) -> str:
        low, high = self.accuracy_interval
        return f"<CrossValidation of {self.n:,}: {percent(self.accuracy)}, {100 * low:.1f} to {100 * high:.1f} %>"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of `cv`."""
        keys = ("n", "accuracy", "accuracy_interval", "sd", "seed_sd", "log_loss", "ece")
        return {
            "schema": "backprop.cv/1",
            "folds": [
                {"name": fold.name, "n": len(fold.test), "accuracy": one.accuracy, "log_loss": one.log_loss}
                for fold, one in zip(self.folds, self.fold_evaluations, strict=True)
            ],
            "seeds": [
                {"seed": seed, "accuracy": one.accuracy, "log_loss": one.log_loss, "ece": one.ece}
                for seed, one in enumerate(self.seed_evaluations, self.first_seed)
            ],
            **{key: list(found) if isinstance(found := getattr(self, key), tuple) else found for key in keys},
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class FoldDone:
    """One training of a fold has ended.

    Attributes:
        number: How many have, with it.
        total: How many there are.
        name: The fold's.
        seed: Of the training.
        accuracy: Share right of the fold's test part, in [0, 1].
        n: Its rows.
    """

    number: int
    total: int
    name: str
    seed: int
    accuracy: float
    n: int


def notes(config: Config) -> tuple[str, ...]:
    """Return what of a config cross-validation leaves out, in words."""
    if config.calibration or config.training.early_stopping:
        return ("without calibration and early stopping: each fold is trained on all of its rows, to the end",)
    return ()


def cross_validate(
    config: Config | Reference | Mapping[str, Any] = "digits",
    *,
    folds: int | str = 10,
    seeds: int = 1,
    jobs: int | None = None,
    progress: Callable[[FoldDone | None, int], object] | None = None,
) -> CrossValidation:
    """Train on each fold with each seed, in processes of their own, and return what all come to.

    Every training goes to the last epoch on the fold's whole training part. What comes out does not depend on `jobs`.

    Args:
        config: All settings, or what `load_config` takes for them; its seed is the first of the seeds.
        folds: 2 to 1,000, with each class in proportion, or `writers`: one for each.
        seeds: How often each fold is trained, 1 to 1,000.
        jobs: Processes at a time, 1 to 256; None: as many as there are cores.
        progress: Is called with each training that has ended, and with None about five times a second, each time with
            the number of all trainings; what it raises ends the processes.

    Raises:
        ArgumentError: Another number.
        ConfigError: The config holds mistakes.
        DataError: More folds than rows of the rarest class, or nobody knows who wrote what.
        DivergenceError: A training did not stay finite.
        UsageError: The config has a test source of its own.
        BackpropError: A process was killed.
    """
    started = time.perf_counter()
    config, n_folds, seeds = as_config(config), _parse_folds(folds), whole_number("seeds", seeds, 1, 1000)
    n_jobs = n_cores() if jobs is None else whole_number("jobs", jobs, 1, 256)
    if config.data.test_source is not None:
        raise UsageError("data.test_source: cross-validation cuts its own test parts; set it to null")
    dataset = load_data(config.data, judge=lies_transposed)
    parts = folding.make_folds(dataset, n_folds, config.data.split_seed)
    answers, total = list[FoldPredictions](), len(parts) * seeds
    if progress is not None:
        progress(None, total)
    with closing(folding.cross_validate(config, parts, seeds, n_jobs)) as events:
        for one in events:
            if one is not None:
                answers.append(one)
            if progress is not None:
                progress(None if one is None else _done(one, parts, len(answers), total), total)
    figures = folding.summarize(answers, dataset.classes)
    seconds = time.perf_counter() - started
    return CrossValidation(
        **vars(figures), folds=tuple(parts), first_seed=config.seed, by_writers=n_folds is None, seconds=seconds
    )


def _done(one: FoldPredictions, parts: list[Fold], number: int, total: int) -> FoldDone:
    right = float((one.probabilities.argmax(axis=1) == one.labels).mean())
    return FoldDone(number, total, parts[one.fold].name, one.seed, right, len(one.labels))


def _parse_folds(folds: int | Literal["writers"] | str) -> int | None:
    """Return how many folds, None for writers."""
    if folds == "writers":
        return None
    if not re.fullmatch("[0-9]{1,4}", str(folds)) or not 2 <= int(folds) <= 1000:
        raise ArgumentError(f"folds {quoted(folds)}: 2 to 1000, or writers")
    return int(folds)
