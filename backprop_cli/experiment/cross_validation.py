"""Cross-validation: every row is answered once by a network that was trained without it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Rows
from backprop_cli.config.config import Config
from backprop_cli.data.dataset import Dataset
from backprop_cli.data.processes import share_out
from backprop_cli.data.sources import load_data, load_test_data
from backprop_cli.data.splits import Splits, group_folds, stratified_folds
from backprop_cli.errors import BackpropError, DataError, DivergenceError
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.split_data import SplitData, extra_rows
from backprop_cli.insight.metrics import Evaluation, evaluate, wilson_interval
from backprop_cli.predictor import Predictor, lies_transposed


@dataclass(frozen=True, eq=False)
class Fold:
    """One round: what is trained on, and what is answered afterward.

    Attributes:
        name: As the tables call it.
        train: Rows of the source.
        test: Rows of the test source where the config names one, else of the source.
    """

    name: str
    train: Rows
    test: Rows


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """What the networks of one fold and one seed answered.

    Attributes:
        fold: Number of the fold.
        seed: Of the training.
        probabilities: (rows of the fold's test part, n_classes).
        labels: The truth, (rows,).
    """

    fold: int
    seed: int
    probabilities: NDArray[Any]
    labels: Rows


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What all folds come to.

    Attributes:
        fold_evaluations: Of each fold, the answers of all seeds together.
        seed_evaluations: Of each seed, the answers of all folds together.
        n: Examples.
        accuracy: Mean over the seeds of the share right among all examples, in [0, 1].
        accuracy_interval: 95 % Wilson interval of `accuracy` for `n` examples (not for seeds times n).
        sd: Standard deviation of the folds' accuracies.
        seed_sd: Standard deviation of the seeds' accuracies; 0 for one.
        log_loss: Mean over the seeds, nats.
        ece: Mean over the seeds of the expected calibration error of all answers together, in [0, 1].
    """

    fold_evaluations: tuple[Evaluation, ...]
    seed_evaluations: tuple[Evaluation, ...]
    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    sd: float
    seed_sd: float
    log_loss: float
    ece: float


def make_folds(dataset: Dataset, n_folds: int | None, seed: int = 0) -> list[Fold]:
    """Return the folds of a data set.

    Args:
        dataset: What is cut.
        n_folds: 2 or more folds with each class in proportion; None: one fold for each writer.
        seed: Of the drawing.

    Raises:
        DataError: More folds than rows of the rarest class, or nobody knows who wrote what.
    """
    if n_folds is None:
        if dataset.groups is None:
            raise DataError(f"{dataset.name}: folds by writers need to know who wrote what; give a number")
        parts = group_folds(dataset.groups)
    else:
        rarest = int(np.bincount(dataset.labels).min())
        if n_folds > rarest:
            raise DataError(f"{dataset.name}: {n_folds} folds, but the rarest class has only {rarest:,} rows")
        parts = stratified_folds(dataset.labels, n_folds, seed)
    if len(parts) < 2:
        raise DataError(f"{dataset.name}: {len(parts)} fold; at least 2 are needed")
    rows, kind = np.arange(len(dataset)), "writers" if n_folds is None else "fold"
    return [Fold(f"{kind} {k}", np.setdiff1d(rows, test), test) for k, test in enumerate(parts, 1)]


def cross_validate(
    config: Config, folds: Sequence[Fold], n_seeds: int, n_jobs: int
) -> Generator[FoldPredictions | None]:
    """Train on each fold with each seed, in processes of their own; yield the answers as they come.

    Every training goes to the last epoch on the fold's whole training part: without validation, and so without early
    stopping or calibration. What comes out does not depend on `n_jobs`.

    Args:
        config: All settings; its seed is the first of the seeds.
        folds: From `make_folds`, or others.
        n_seeds: How often each fold is trained, >= 1.
        n_jobs: Processes at a time, >= 1.

    Yields:
        FoldPredictions, in no certain order; None about five times a second, so that the consumer may leave.

    Raises:
        DivergenceError: A training did not stay finite.
        BackpropError: A process was killed.
    """
    config = replace(
        config,
        data=replace(config.data, validation_size=0.0),
        training=replace(config.training, early_stopping=None),
        calibration=None,
    )
    tasks = [(k, fold, config.seed + n) for n in range(n_seeds) for k, fold in enumerate(folds)]
    with closing(share_out(tasks, n_jobs, _trainer, config)) as events:
        try:
            for event in events:
                yield event and event[1]
        except ChildProcessError as problem:
            raise BackpropError("a training process was killed", advice="jobs") from problem


def _trainer(config: Config) -> Callable[[int, Fold, int], FoldPredictions]:
    """Read the data, once for all folds that a process is given; return what trains on one of them."""
    dataset = load_data(config.data, judge=lies_transposed)
    test_dataset = load_test_data(config.data, dataset, judge=lies_transposed) if config.data.test_source else dataset
    extra = extra_rows(config.data, dataset)
    return partial(_answer, config, SplitData(dataset, test_dataset, Splits(*[np.arange(0)] * 3), extra, config.data))


def _answer(config: Config, split_data: SplitData, number: int, fold: Fold, seed: int) -> FoldPredictions:
    """Train on one fold with one seed, and answer its test part."""
    split_data = replace(split_data, splits=Splits(fold.train, fold.train[:0], fold.test))
    experiment = Experiment(replace(config, seed=seed), split_data)
    with closing(experiment.train()) as events:
        for _ in events:
            pass
    if experiment.stop_reason == "diverged":
        raise DivergenceError(f"training diverged on {fold.name}, seed {seed}; lower optimizer.learning_rate")
    probabilities = Predictor(experiment.model()).probabilities(split_data.test_dataset.pictures[fold.test])
    return FoldPredictions(number, seed, probabilities, split_data.test_dataset.labels[fold.test])


def summarize(answers: Sequence[FoldPredictions], classes: tuple[str, ...]) -> CrossValidation:
    """Return the figures of all answers, every fold answered with every seed."""
    answers = sorted(answers, key=lambda one: (one.seed, one.fold))
    by_fold = tuple(
        _pooled([one for one in answers if one.fold == k], classes) for k in sorted({one.fold for one in answers})
    )
    by_seed = tuple(
        _pooled([one for one in answers if one.seed == s], classes) for s in sorted({one.seed for one in answers})
    )
    n = by_seed[0].n
    accuracy = float(np.mean([one.accuracy for one in by_seed]))
    return CrossValidation(
        fold_evaluations=by_fold,
        seed_evaluations=by_seed,
        n=n,
        accuracy=accuracy,
        accuracy_interval=wilson_interval(accuracy * n, n),
        sd=_sd([one.accuracy for one in by_fold]),
        seed_sd=_sd([one.accuracy for one in by_seed]),
        log_loss=float(np.mean([one.log_loss for one in by_seed])),
        ece=float(np.mean([one.ece for one in by_seed])),
    )


def _pooled(answers: Sequence[FoldPredictions], classes: tuple[str, ...]) -> Evaluation:
    return evaluate(
        np.concatenate([one.probabilities for one in answers]),
        np.concatenate([one.labels for one in answers]),
        classes,
    )


def _sd(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
