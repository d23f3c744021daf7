"""`training.threads` holds for whoever calls, and what the caller had is there again afterward."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answer, python
from threadpoolctl import threadpool_limits

from backprop_cli import blas
from backprop_cli.blas import blas_kernel, blas_threads, in_blas_threads, n_blas_threads
from backprop_cli.config.config import load_config
from backprop_cli.engine.network import Network
from backprop_cli.experiment.environment import environment
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.watched_digit import WatchedDigit
from backprop_cli.predictor import Predictor

HOSTS = 3  # threads of the program that calls


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    """Stand in for a program that has set its own number, and look at it afterward."""
    if not blas._libraries():
        pytest.skip("a BLAS that threadpoolctl does not know")
    before = [library.get_num_threads() for library in blas._libraries()]
    blas._set([HOSTS] * len(before))
    yield
    assert n_blas_threads() == HOSTS
    assert blas._n_inside == 0
    blas._set(before)


def test_inside_the_block_holds_its_number() -> None:
    with blas_threads(1):
        assert n_blas_threads() == 1
    with suppress(ZeroDivisionError), blas_threads(2):
        assert n_blas_threads() == 2
        raise ZeroDivisionError


def test_blocks_may_overlap_in_several_threads() -> None:
    """A leaves while B is inside: B goes on with its number, and the host gets its own back from B."""
    a_is_in, b_is_in, a_is_out = threading.Event(), threading.Event(), threading.Event()
    seen: list[int | None] = []

    def first() -> None:
        with blas_threads(1):
            a_is_in.set()
            b_is_in.wait()
        a_is_out.set()

    def second() -> None:
        a_is_in.wait()
        with blas_threads(1):
            b_is_in.set()
            a_is_out.wait()
            seen.append(n_blas_threads())

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1]
    assert n_blas_threads() == HOSTS


def test_a_host_that_limits_blas_itself_does_not_stand_in_the_way() -> None:
    seen: list[int | None] = []

    def work() -> None:
        with blas_threads(1):
            seen.append(n_blas_threads())
        seen.append(n_blas_threads())

    with threadpool_limits(2, user_api="blas"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert n_blas_threads() == 2
    assert seen == [1, 2]


def test_many_threads_leave_the_hosts_number() -> None:
    wrong: list[int | None] = []

    def work() -> None:
        for _ in range(200):
            with blas_threads(1):
                if n_blas_threads() != 1:
                    wrong.append(n_blas_threads())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_between_the_steps_of_a_generator_the_hosts_number_holds() -> None:
    inside: list[int | None] = []

    def events() -> Iterator[int]:
        try:
            for k in range(3):
                inside.append(n_blas_threads())
                yield k
        finally:
            inside.append(n_blas_threads())

    for _ in in_blas_threads(events(), 2):  # type: ignore[arg-type]
        assert n_blas_threads() == HOSTS
    with closing(in_blas_threads(events(), 2)) as left_early:  # type: ignore[arg-type]
        next(left_early)
    assert inside == [2] * 6


def quick(*settings: str) -> Experiment:
    return Experiment(load_config("quick", ["training.epochs=1", *settings]))


def train(experiment: Experiment) -> Experiment:
    for _ in experiment.train():
        pass
    return experiment


def evaluated(*settings: str) -> None:
    experiment = train(quick(*settings))
    Predictor(experiment.model()).probabilities(np.zeros((2, 8, 8)))


CALLS: dict[str, Callable[[Path], Any]] = {
    "train": lambda work: train(quick("training.threads=2")),
    "summary of an ensemble": lambda work: train(quick("training.threads=2", "ensemble=2")).summary(),
    "predict": lambda work: evaluated("training.threads=2"),
    "watch": lambda work: WatchedDigit(quick("training.threads=2")).guess(),
    "explain": lambda work: answer("explain", "digits:1700"),
    "check a config": lambda work: answer("check", "-c", "quick", "--set", "training.threads=2"),
    "check a model": lambda work: answer("check", "-m", "latest"),
    "eval": lambda work: answer("eval"),
    "verify": lambda work: answer("verify"),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_product_of_ours_is_made_with_the_configs_number(
    name: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer("train", "-c", "quick", "--epochs", "1", "--set", "training.threads=2")
    used: set[int | None] = set()
    forward = Network.forward

    def noted(*args: Any, **options: Any) -> Any:
        used.add(n_blas_threads())
        return forward(*args, **options)

    monkeypatch.setattr(Network, "forward", noted)
    CALLS[name](work)
    assert used == {2}


def test_what_blas_really_uses_is_recorded() -> None:
    two = quick("training.threads=2")
    found = environment(two.split_data, two.config.training)
    assert (found["threads"], found["blas_kernel"]) == (2, blas_kernel())


SCRIPT = """
import numpy
from backprop_cli.config.config import load_config
from backprop_cli.experiment.experiment import Experiment
experiment = Experiment(load_config("quick", ["training.epochs=5", "network.layers=[{units: 300}]"]))
list(experiment.train())
print(experiment.parameters_sha256)
"""


def test_a_host_with_any_number_of_threads_trains_to_the_same_bytes(work: Path) -> None:
    found = {python(SCRIPT, cwd=work, OPENBLAS_NUM_THREADS=number) for number in ("1", "2", "5")}
    assert len(found) == 1
