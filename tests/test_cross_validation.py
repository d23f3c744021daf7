"""Cross-validation: every row answered once by networks that never saw it, and figures worked out by hand."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import PATIENCE, backprop, document, process, refusal, started, wait_until

from backprop_cli.config.config import Config, load_config
from backprop_cli.data.dataset import load_digits
from backprop_cli.data.sources import load_data
from backprop_cli.data.splits import Splits
from backprop_cli.errors import BackpropError, DataError, DivergenceError
from backprop_cli.experiment.cross_validation import Fold, FoldPredictions, cross_validate, make_folds, summarize
from backprop_cli.experiment.data_checks import trained_on
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.predictor import Predictor

DIGITS = load_digits()
FEW = np.arange(120)


def tiny(**training: object) -> Config:
    config = load_config("quick")
    return replace(config, training=replace(config.training, epochs=2, **training))  # type: ignore[arg-type]


def answers_of(config: Config, folds: list[Fold], n_seeds: int = 1, n_jobs: int = 1) -> list[FoldPredictions]:
    with closing(cross_validate(config, folds, n_seeds, n_jobs)) as events:
        return [one for one in events if one is not None]


@pytest.mark.parametrize("n_folds", [2, 10, 174, None])
def test_the_folds_answer_every_row_once_and_never_train_on_it(n_folds: int | None) -> None:
    folds = make_folds(DIGITS, n_folds)
    assert len(folds) == (n_folds or 14)
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(1797))
    for fold in folds:
        assert not np.isin(fold.train, fold.test).any()
        assert len(fold.train) + len(fold.test) == 1797


def test_writers_are_never_on_both_sides() -> None:
    assert DIGITS.groups is not None
    for fold in make_folds(DIGITS, None):
        assert not set(DIGITS.groups[fold.train]) & set(DIGITS.groups[fold.test])


def test_the_drawing_of_the_folds_follows_its_seed() -> None:
    first, again, other = (make_folds(DIGITS, 5, seed)[0].test for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(DataError, match="175 folds, but the rarest class has only 174 rows"):
        make_folds(DIGITS, 175)
    with pytest.raises(DataError, match="who wrote what"):
        make_folds(replace(DIGITS, groups=None), None)
    with pytest.raises(DataError, match="at least 2"):
        make_folds(replace(DIGITS, groups=np.zeros(1797, int)), None)


def test_a_fold_is_an_experiment_on_its_rows_and_the_number_of_processes_changes_nothing() -> None:
    config = tiny()
    folds = [Fold("a", np.arange(120, 400), FEW), Fold("b", np.arange(400, 700), FEW[:50])]
    one = answers_of(config, folds, n_seeds=2, n_jobs=1)
    two = answers_of(config, folds, n_seeds=2, n_jobs=2)
    order = lambda answers: sorted(answers, key=lambda each: (each.seed, each.fold))  # noqa: E731
    assert [(each.seed, each.fold) for each in order(one)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for left, right in zip(order(one), order(two), strict=True):
        assert np.array_equal(left.probabilities, right.probabilities)
    config = replace(config, seed=1, data=replace(config.data, validation_size=0))
    experiment = Experiment(config, SplitData(DIGITS, DIGITS, Splits(folds[1].train, FEW[:0], folds[1].test)))
    with closing(experiment.train()) as events:
        for _ in events:
            pass
    expected = Predictor(experiment.model()).probabilities(DIGITS.pictures[folds[1].test])
    assert np.array_equal(order(one)[3].probabilities, expected)


def test_the_figures_are_means_over_seeds_and_the_interval_is_for_n_rows() -> None:
    sure = np.array([[0.9, 0.1], [0.9, 0.1]])
    right, wrong = np.array([0, 0]), np.array([0, 1])
    made = ((1, 0, wrong), (0, 0, right), (0, 1, right), (1, 1, right))
    result = summarize([FoldPredictions(fold, seed, sure, labels) for fold, seed, labels in made], ("no", "yes"))
    assert [one.accuracy for one in result.seed_evaluations] == [0.75, 1.0]
    assert [one.accuracy for one in result.fold_evaluations] == [1.0, 0.75]
    assert (result.n, result.accuracy) == (4, 0.875)
    assert result.sd == result.seed_sd == pytest.approx(0.25 / 2**0.5)
    assert result.log_loss == pytest.approx((-np.log(0.9) * 3 - np.log(0.1) - np.log(0.9) * 4) / 8)
    assert result.ece == pytest.approx((0.15 + 0.1) / 2)
    low, high = result.accuracy_interval
    assert high - low > 0.4  # of 4 rows; of 8 it would be narrower


def test_a_test_source_answers_for_the_folds(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    np.savez(path, images=DIGITS.pictures[:300], labels=DIGITS.labels[:300])
    config = tiny()
    config = replace(config, data=replace(config.data, source=str(path), test_source="digits", split=None))
    (answers,) = answers_of(config, [Fold("all", np.arange(300), np.arange(1700, 1797))])
    assert np.array_equal(answers.labels, DIGITS.labels[1700:])


def test_a_network_learns_from_the_source_and_answers_the_test_source(tmp_path: Path) -> None:
    """The two hold other pictures at the same rows, so that none can stand in for the other."""
    path, train, test = tmp_path / "other.npz", np.arange(300), np.arange(100, 160)
    np.savez(path, images=16 - DIGITS.pictures[:300], labels=DIGITS.labels[:300])
    config = tiny()
    config = replace(config, data=replace(config.data, source=str(path), test_source="digits", split=None))
    (answers,) = answers_of(config, [Fold("all", train, test)])
    other = load_data(config.data)
    config = replace(config, data=replace(config.data, validation_size=0.0))
    experiment = Experiment(config, SplitData(other, DIGITS, Splits(train, train[:0], test)))
    with closing(experiment.train()) as events:
        for _ in events:
            pass
    expected = Predictor(experiment.model()).probabilities(DIGITS.pictures[test])
    assert np.allclose(answers.probabilities, expected, atol=1e-3)  # not to the bit: the processes' BLAS may differ


def test_divergence_names_fold_and_seed() -> None:
    config = load_config("quick", ["optimizer={name: sgd, learning_rate: 1e30}", "seed=7"])
    with pytest.raises(DivergenceError, match=r"on b, seed 7; lower optimizer\.learning_rate"):
        answers_of(config, [Fold("b", np.arange(120, 400), FEW)])


def test_a_killed_process_is_an_error_and_not_a_wait_for_ever() -> None:
    folds = [Fold("a", np.arange(400), FEW)]
    with closing(
        cross_validate(replace(tiny(), training=replace(tiny().training, epochs=100_000)), folds, 1, 1)
    ) as run:
        assert next(run) is None
        for child in multiprocessing.active_children():
            child.kill()
        with pytest.raises(BackpropError, match="too little memory for so many jobs"):
            for _ in run:
                pass


CV = ("cv", "-c", "quick", "--set", "training.epochs=2", "--jobs", "2")


def test_cv_json_keeps_its_promises() -> None:
    found = document(*CV, "--folds", "writers", "--seeds", "2", "--set", "seed=5")
    promised = {"schema", "folds", "n", "accuracy", "accuracy_interval", "sd", "log_loss", "ece", "seconds"}
    assert promised <= found.keys()
    assert found["schema"] == "backprop.cv/1"
    assert sum(fold["n"] for fold in found["folds"]) == found["n"] == 1797
    assert [fold["name"] for fold in found["folds"]][:2] == ["writers 1", "writers 2"]
    assert [one["seed"] for one in found["seeds"]] == [5, 6]
    weighted = sum(fold["n"] * fold["accuracy"] for fold in found["folds"]) / 1797
    assert found["accuracy"] == pytest.approx(weighted)
    low, high = found["accuracy_interval"]
    assert low < found["accuracy"] < high


def test_cv_in_words_tells_how_far_it_is_on_stderr() -> None:
    result = backprop(*CV, "--folds", "3")
    assert result.exit_code == 0
    assert result.stdout.startswith("accuracy ")
    assert "3 stratified folds; 1 seed; " in result.stdout
    assert len(result.stderr.splitlines()) == 3
    assert "3/3  fold " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--folds", "1"), '--folds "1": 2 to 1000, or writers'),
        (("--folds", "some"), "2 to 1000, or writers"),
        (("--folds", "9" * 5000), "2 to 1000, or writers"),
        (("--folds", "1001"), "2 to 1000, or writers"),
        (("--folds", "\uff11\uff10"), "2 to 1000, or writers"),
        (("--folds", "500"), "500 folds, but the rarest class has only 174 rows"),
        (("--set", "data.test_source=digits"), "cuts its own test parts"),
        (("--seeds", "0"), "--seeds"),
    ],
)
def test_cv_refuses_what_makes_no_sense(arguments: tuple[str, ...], words: str) -> None:
    assert words in refusal(*CV, *arguments)


def test_cv_divergence_is_exit_1() -> None:
    result = backprop("cv", "-c", "quick", "--set", "optimizer={name: sgd, learning_rate: 1e30}", "--folds", "2")
    assert result.exit_code == 1
    assert "training diverged on fold 1, seed 0" in result.stderr or "fold 2, seed 0" in result.stderr


@contextmanager
def long_training(folder: Path, **options: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Start `cv` with folds of hours, and end it if the test has not."""
    command = ("cv", "-c", "quick", "--folds", "2", "--jobs", "2", "--set", "training.epochs=1000000")
    with started(*command, cwd=folder, **options) as run:
        try:
            yield run
        finally:
            run.kill()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_cv_and_its_processes_in_the_middle_of_a_fold(tmp_path: Path, signum: int, code: int) -> None:
    with long_training(tmp_path) as run:
        wait_until(lambda: any(processor_seconds(child) > 1 for child in children_of(run.pid)))
        children = children_of(run.pid)
        run.send_signal(signum)
        _, told = run.communicate(timeout=PATIENCE)
    assert (run.returncode, told.decode()) == (code, "error: interrupted after 0 of 2 trainings\n")
    wait_until(lambda: not any(map(is_alive, children)))


def test_ctrl_c_while_the_processes_start_prints_no_traceback_of_theirs(tmp_path: Path) -> None:
    with long_training(tmp_path, start_new_session=True) as run:
        wait_until(lambda: sum(map(would_print_ctrl_c, children_of(run.pid))) == 2)
        children = children_of(run.pid)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        _, told = run.communicate(timeout=PATIENCE)
    assert (run.returncode, told.decode()) == (130, "error: interrupted after 0 of 2 trainings\n")
    wait_until(lambda: not any(map(is_alive, children)))


@pytest.mark.parametrize(("rate", "code", "words"), [("1e30", 1, "error: training diverged on "), ("1e-3", 0, "2/2  ")])
def test_cv_that_diverges_or_ends_says_no_more_than_that(tmp_path: Path, rate: str, code: int, words: str) -> None:
    options = ("--set", f"optimizer={{name: sgd, learning_rate: {rate}}}", "--set", "training.epochs=1")
    done = process("cv", "-c", "quick", "--folds", "2", "--jobs", "2", *options, cwd=tmp_path)
    *story, last = done.stderr.decode().splitlines()
    assert done.returncode == code
    assert last.startswith(words)
    assert all(line.startswith("1/2  fold ") for line in story), story


def test_a_host_keeps_its_own_processes() -> None:
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(1_000_000,))
    child.start()
    answers_of(tiny(), [Fold("a", np.arange(120, 400), FEW)])
    with closing(cross_validate(tiny(), [Fold("a", np.arange(120, 400), FEW)], 1, 1)) as events:
        next(events)
    assert multiprocessing.active_children() == [child]
    child.kill()
    child.join()


def test_the_processes_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    with long_training(tmp_path) as run:
        wait_until(lambda: any(processor_seconds(child) > 1 for child in children_of(run.pid)))
        children = children_of(run.pid)
        run.kill()
    wait_until(lambda: not any(map(is_alive, children)))


def processor_seconds(pid: int) -> float:
    """Return what a process has used, 0 where it is gone; from some half a second on it no longer starts but works."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def would_print_ctrl_c(pid: int) -> bool:
    """Return whether a process is a Python that has set up its own handler of the signal, and is importing now."""
    try:
        caught = re.findall("SigCgt:\\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return False
    return any(int(signals, 16) >> (signal.SIGINT - 1) & 1 for signals in caught)


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_pictures_trained_on_are_counted_whatever_their_type() -> None:
    config = load_config("quick")
    split_data = Experiment(config).split_data
    train = split_data.splits.train[:10]
    test = split_data.splits.test[:7]
    assert len(trained_on(*split_data.select("train"), DIGITS.pictures[train].astype(np.float64))) == 10
    assert len(trained_on(*split_data.select("train"), DIGITS.pictures[np.concatenate([test, train[:2]])])) == 2
    assert len(trained_on(*split_data.select("train"), DIGITS.pictures[test])) == 0


def test_eval_warns_when_the_model_was_trained_on_what_it_is_measured_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert backprop("train", "-c", "quick", "--epochs", "1", "-q").exit_code == 0
    assert "trained on" not in backprop("eval").stderr
    assert "the model was trained on 1,257 of these 1,797 pictures" in backprop("eval", "--data", "digits").stderr
    np.savez("copy.npz", images=DIGITS.pictures, labels=DIGITS.labels)
    assert backprop("train", "-c", "quick", "--epochs", "1", "-q", "--set", "data.source=copy.npz").exit_code == 0
    Path("copy.npz").unlink()
    assert "cannot be told" in backprop("eval", "--data", "digits").stderr
