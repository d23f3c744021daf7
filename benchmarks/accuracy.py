"""`make peers`: our configs and scikit-learn's classical methods on the same rows, under five protocols.

P1: the first 898 digits against the last 899, scikit-learn's own example. P2: stratified 80/20, ten draws. P3: ten
stratified folds. P4: UCI's training part (other people; `DATA=optdigits_tra.npz`) against all 1,797. P5: each writer
group read by a model trained on the others. Every method with a seed is trained with several; the means are printed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from backprop_cli.config.config import Config, load_config
from backprop_cli.data.dataset import Dataset, load_digits
from backprop_cli.data.sources import load_source
from backprop_cli.data.splits import split
from backprop_cli.experiment.cross_validation import (
    CrossValidation,
    Fold,
    FoldPredictions,
    cross_validate,
    make_folds,
    summarize,
)

OURS = ("digits", "best", "best-ensemble")
N_DRAWS = 10


@dataclass(frozen=True)
class Protocol:
    """One way to measure: the folds, and where their rows are."""

    name: str
    folds: Sequence[Fold]
    source: str = "digits"

    def datasets(self) -> tuple[Dataset, Dataset]:
        """Return the data sets that the folds' training and test rows belong to."""
        return load_source(self.source), load_digits()


def protocols(tra: Path | None) -> list[Protocol]:
    """Return P1 to P5; P4 only where UCI's training part is at hand."""
    digits = load_digits()
    rows = np.arange(len(digits))

    def cut(name: str, kind: Any, size: float, seed: int = 0) -> Fold:
        parts = split(kind, digits.labels, digits.groups, validation_size=0, test_size=size, seed=seed)
        return Fold(name, parts.train, parts.test)

    found = [
        Protocol("P1", [cut("P1", "ordered", 0.5)]),
        Protocol("P2", [cut(f"draw {seed}", "stratified", 0.2, seed) for seed in range(N_DRAWS)]),
        Protocol("P3", make_folds(digits, 10)),
    ]
    if tra is not None:
        found.append(Protocol("P4", [Fold("P4", np.arange(len(load_source(str(tra)))), rows)], str(tra)))
    return [*found, Protocol("P5", make_folds(digits, None))]


def peers() -> dict[str, tuple[Callable[[int], Any], int]]:
    """Return how to make each method from a seed, and how many seeds it has a use for (0: any number)."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    return {
        "kNN, 3 neighbors": (lambda seed: KNeighborsClassifier(3), 1),
        "SVC, gamma 0.001": (lambda seed: SVC(gamma=0.001), 1),
        "random forest, 500 trees": (lambda seed: RandomForestClassifier(500, random_state=seed), 0),
        "MLPClassifier, defaults": (lambda seed: MLPClassifier(random_state=seed), 0),
    }


def peer_answers(task: tuple[str, Protocol, int, int]) -> FoldPredictions:
    """Fit one method on one fold with one seed; its answers as certainties, since not all have probabilities."""
    name, protocol, number, seed = task
    dataset, test_dataset = protocol.datasets()
    fold = protocol.folds[number]
    model = peers()[name][0](seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLPClassifier's defaults do not always converge
        model.fit(dataset.pictures[fold.train].reshape(len(fold.train), -1).astype(float), dataset.labels[fold.train])
    answers = model.predict(test_dataset.pictures[fold.test].reshape(len(fold.test), -1).astype(float))
    return FoldPredictions(number, seed, np.eye(len(dataset.classes))[answers], test_dataset.labels[fold.test])


def measure_peer(name: str, protocol: Protocol, n_seeds: int, pool: ProcessPoolExecutor) -> CrossValidation:
    """Return the figures of one of scikit-learn's methods."""
    seeds = peers()[name][1] or n_seeds
    tasks = [(name, protocol, k, seed) for seed in range(seeds) for k in range(len(protocol.folds))]
    return summarize(list(pool.map(peer_answers, tasks)), protocol.datasets()[0].classes)


def measure_ours(config: Config, protocol: Protocol, n_seeds: int, n_jobs: int) -> CrossValidation:
    """Return the figures of one of our configs."""
    test_source = None if protocol.source == "digits" else "digits"
    config = replace(config, data=replace(config.data, source=protocol.source, test_source=test_source, split=None))
    with closing(cross_validate(config, protocol.folds, n_seeds, n_jobs)) as events:
        answers = [one for one in events if one is not None]
    return summarize(answers, protocol.datasets()[0].classes)


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="UCI's training part as npz, for P4")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--config", action="append", help="instead of " + ", ".join(OURS) + "; may be repeated")
    parser.add_argument("--only", action="append", help="a protocol, such as P1; may be repeated")
    arguments = parser.parse_args()
    chosen = [one for one in protocols(arguments.data) if not arguments.only or one.name in arguments.only]
    configs = [load_config(name) for name in arguments.config or OURS]
    table: dict[str, list[CrossValidation]] = {}
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        for protocol in chosen:
            for name in peers():
                say(f"{protocol.name} {name}")
                table.setdefault(name, []).append(measure_peer(name, protocol, arguments.seeds, pool))
    for protocol in chosen:
        for config in configs:
            started = time.perf_counter()
            result = measure_ours(config, protocol, arguments.seeds, arguments.jobs)
            table.setdefault(f"`{config.name}.yaml`", []).append(result)
            say(f"{protocol.name} {config.name}: {_described(result)}, {time.perf_counter() - started:.0f} s")
    names = [one.name for one in chosen]
    print(f"| accuracy % | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for name, results in table.items():
        print(f"| {name} | {' | '.join(f'{100 * one.accuracy:.2f}' for one in results)} |")
    for config in configs:
        results = table[f"`{config.name}.yaml`"]
        print(f"| ECE of `{config.name}.yaml` | {' | '.join(f'{100 * one.ece:.2f}' for one in results)} |")


def _described(result: CrossValidation) -> str:
    low, high = result.accuracy_interval
    seeds = " ".join(f"{100 * one.accuracy:.2f}" for one in result.seed_evaluations)
    return (
        f"{100 * result.accuracy:.2f} % ({100 * low:.1f} to {100 * high:.1f}), seeds {seeds}, "
        f"log loss {result.log_loss:.4f}, ECE {100 * result.ece:.2f} %"
    )


def say(text: str) -> None:
    """Tell what is being measured."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
