"""`make bench-estimator`: `BackpropClassifier` beside scikit-learn's MLPClassifier, how fast and how accurate.

Speed: `fit` on networks A and B of `make bench`, the same job, in turn, round after round; the figure is the median of
the rounds' ratios of processor time. Accuracy: both with their defaults, on ten splits of each table; what counts is
the difference on the same split, with a 95 % interval that knows that the splits share rows (Nadeau and Bengio 2003,
corrected resampled t). The defaults of `BackpropClassifier` were chosen on none of these tables.
"""

from __future__ import annotations

import argparse
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from statistics import mean, median, variance
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from backprop_cli.estimator import BackpropClassifier  # noqa: E402
from benchmarks import peers  # noqa: E402

SEEDS = range(10)
TEST_SHARE = 0.3
T_95 = 2.262  # of Student's distribution with 9 degrees of freedom

TABLES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "digits": lambda: load_digits(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
    "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
    "made, 20,000 x 20": lambda: make_classification(20_000, 20, n_informative=10, n_classes=4, random_state=0),
}
OTHERS: dict[str, Callable[[int], Any]] = {
    "MLPClassifier": lambda seed: MLPClassifier(random_state=seed),
    "StandardScaler, MLPClassifier": lambda seed: make_pipeline(StandardScaler(), MLPClassifier(random_state=seed)),
}


def ours(job: peers.Job) -> peers.Run:
    """`fit` on a job of `make bench`: Adam at a constant rate, and its own standardization on top."""
    inputs, labels = job.data()
    model = BackpropClassifier(
        job.sizes[1:-1],
        job.activation,
        job.dropout,
        optimizer="adam",
        learning_rate=peers.LEARNING_RATE,
        schedule="constant",
        epochs=job.epochs,
        batch_size=job.batch_size,
        random_state=0,
    )
    return lambda: model.fit(inputs, labels)


def speed(rounds: int) -> Iterator[str]:
    """Yield the table of speeds."""
    yield "| network | MLPClassifier, ms | ours, ms | times as fast (quartiles) |\n|---|---|---|---|"
    for job in peers.JOBS[:2]:
        runs = {"theirs": peers.scikit_learn(job), "ours": ours(job)}
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for counted in [False, *[True] * rounds]:
            for name, run in runs.items():
                started = time.process_time()
                run()
                if counted:
                    seconds[name].append(time.process_time() - started)
        ratios = sorted(a / b for a, b in zip(seconds["theirs"], seconds["ours"], strict=True))
        quartiles = f"{ratios[rounds // 4]:.2f} to {ratios[3 * rounds // 4]:.2f}"
        theirs, own = (1e3 * median(seconds[name]) for name in ("theirs", "ours"))
        yield f"| {job.name} | {theirs:,.1f} | {own:,.1f} | {median(ratios):.2f} ({quartiles}) |"


def accuracy(names: list[str]) -> Iterator[str]:
    """Yield the table of accuracies, in points of percent."""
    yield "| table | ours | beside | its | ours - its, 95 % interval | fit, times as fast |\n|---|---|---|---|---|---|"
    for name in names:
        table, labels = TABLES[name]()
        scores: dict[str, list[float]] = {key: [] for key in ("ours", *OTHERS)}
        seconds = dict.fromkeys(scores, 0.0)
        for seed in SEEDS:
            parts = train_test_split(table, labels, test_size=TEST_SHARE, stratify=labels, random_state=seed)
            rows, others, truth, truth_of_others = parts
            for key in scores:
                model = OTHERS[key](seed) if key in OTHERS else BackpropClassifier(random_state=seed)
                started = time.process_time()
                model.fit(rows, truth)
                seconds[key] += time.process_time() - started
                scores[key].append(100.0 * model.score(others, truth_of_others))
        for key in OTHERS:
            differences = [a - b for a, b in zip(scores["ours"], scores[key], strict=True)]
            spread = variance(differences) * (1.0 / len(differences) + TEST_SHARE / (1.0 - TEST_SHARE))
            middle, half = mean(differences), T_95 * math.sqrt(spread)
            yield (
                f"| {name} | {mean(scores['ours']):.2f} | {key} | {mean(scores[key]):.2f} | {middle:+.2f}, "
                f"{middle - half:+.2f} to {middle + half:+.2f} | {seconds[key] / seconds['ours']:.1f} |"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["speed", "accuracy"])
    parser.add_argument("--table", choices=TABLES, help="the accuracy on this one only")
    parser.add_argument("--rounds", type=int, default=21, help="of the speed")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # theirs, after its 200 epochs
    if arguments.only != "accuracy":
        for line in speed(arguments.rounds):
            print(line, flush=True)
    if arguments.only != "speed":
        for line in accuracy([arguments.table] if arguments.table else list(TABLES)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
