"""Training from a program: to the end or event by event, with and without files, and what is left behind."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CHECKOUT, PATIENCE, contents, document, process, wait_until

import backprop_cli as backprop
from backprop_cli.store.run_directory import RunDirectory

PYTHON = sys.executable
SHORT = {"training.epochs": 3}


def quick(**overrides: Any) -> backprop.Config:
    return backprop.load_config("quick", SHORT | {key.replace("__", "."): value for key, value in overrides.items()})


# ---- configs -------------------------------------------------------------------------------------------------------


def test_a_config_is_a_name_a_file_or_a_mapping(work: Path) -> None:
    by_name = backprop.load_config("quick", {"training.epochs": 10, "network.layers": [{"units": 4}]})
    assert (by_name.training.epochs, by_name.network.layers[0].units) == (10, 4)
    Path("mine.yaml").write_text(by_name.to_yaml())
    assert backprop.load_config("mine.yaml") == backprop.load_config(Path("mine.yaml")) == by_name
    assert backprop.load_config(by_name.to_dict()) == by_name
    assert backprop.load_config({"optimizer": {"learning_rate": 0.5}}).optimizer.learning_rate == 0.5
    assert backprop.load_config("quick", ["seed=5"]).seed == backprop.load_config("quick", {"seed": 5}).seed == 5


@pytest.mark.parametrize(
    ("config", "overrides", "problem"),
    [
        ({"sed": 1}, {}, "^config: sed: unknown key; did you mean seed?"),
        (
            {"network": {"layers": [{"units": 0}]}},
            {},
            r"^config: network.layers\[0\].units: 0 is not between 1 and 65,536$",
        ),
        ({"seed": object()}, {}, "^config: expected plain mappings, lists, numbers and text"),
        ("quick", {"optimizer.lr": 1}, "^optimizer.lr=1: optimizer.lr: unknown key"),
        ("quick", {"seed": "a b"}, '^seed="a b": seed: "a b" is not a whole number'),
        ("qick", {}, r'^qick: there is no such file; did you mean "quick"\?$'),
    ],
)
def test_a_wrong_config_names_the_place(config: Any, overrides: Any, problem: str) -> None:
    with pytest.raises(backprop.ConfigError, match=problem):
        backprop.load_config(config, overrides)


# ---- to the end ----------------------------------------------------------------------------------------------------


def test_a_run_is_what_the_command_writes_and_says(work: Path) -> None:
    told = document("train", "-c", "quick", "--epochs", "3", "--run-dir", "by-command")
    run = backprop.train(quick(), run_dir="by-call")
    assert run.to_dict() | {"run": 0, "model": 0, "seconds": 0} == told | {"run": 0, "model": 0, "seconds": 0}
    assert (run.path, run.model.path) == (Path("by-call"), Path("by-call/model.safetensors"))
    assert [event.epoch for event in run.history] == [1, 2, 3]
    assert run.summary["epochs"] == 3
    for name in ("model.safetensors", "checkpoint.safetensors", "config.yaml", "environment.json"):
        assert Path("by-call", name).read_bytes() == Path("by-command", name).read_bytes()
    assert Path("runs/latest").read_text().strip().endswith("by-call")
    assert backprop.train(quick()).path == Path("runs/quick-1")


def test_nothing_is_written_where_that_is_asked(work: Path) -> None:
    run = backprop.train(quick(), run_dir=False)
    assert not list(work.iterdir())
    assert run.path is None
    assert run.model.path is None
    assert run.to_dict()["run"] is run.to_dict()["model"] is None
    assert run.model.predict("digits:3").predicted == "3"
    assert run.model.evaluate().accuracy > 0.8
    assert run.model.explain("digits:3").check.passed
    with pytest.raises(backprop.RunDirectoryError, match=r"^this model: never saved"):
        run.model.evaluate(diagnose=True)


def test_the_model_of_a_run_is_the_one_in_its_file(work: Path) -> None:
    run = backprop.train(quick(ensemble=2, calibration="temperature"))
    for model in (run.model, backprop.load("quick-1")):
        assert model.predict("digits:3").to_dict() == run.model.predict("digits:3").to_dict()
    assert run.model is run.model


def test_a_path_is_a_file_whatever_word_it_looks_like(work: Path) -> None:
    backprop.train(quick(), run_dir=Path("pretrained"))
    assert backprop.load(Path("pretrained")).picture_size == (8, 8)
    assert backprop.load("pretrained").picture_size == (16, 16)
    model = backprop.load(Path("pretrained") / "model.safetensors")
    Path("digits").mkdir()
    with pytest.raises(backprop.DataError, match="no folders of classes, and no pictures"):
        model.evaluate(data=Path("digits"))
    assert model.evaluate(data="digits").n == 1797
    for name in ("-", "digits:5"):
        with pytest.raises(backprop.PictureError, match="No such file"):
            model.predict(Path(name))
    Path("quick").write_text("seed: 77\n")
    assert backprop.check(Path("quick")).about.startswith("quick")
    with pytest.raises(backprop.ArgumentError, match=r"^run_dir 5: expected a path, None or False"):
        backprop.train(quick(), run_dir=5)  # type: ignore[arg-type]


def test_values_of_a_program_are_taken_as_they_are(work: Path) -> None:
    overrides = {
        "data.source": Path("😀.csv"),
        "training.epochs": np.int64(2),
        "optimizer.learning_rate": np.float32(0.5),
    }
    config = backprop.load_config("quick", overrides)
    assert config.data.source.endswith("/😀.csv")
    assert (config.training.epochs, config.optimizer.learning_rate) == (2, 0.5)
    assert backprop.load_config({"data": {"source": Path("x.csv")}}).data.source.endswith("/x.csv")
    with pytest.raises(backprop.ConfigError, match=r"^seed: expected plain mappings, lists, numbers and text"):
        backprop.load_config("quick", {"seed": object()})
    with pytest.raises(backprop.ConfigError, match=r"^seed.5=1: seed is not a mapping$"):
        backprop.load_config({"seed": 1}, {"seed.5": 1})


def test_a_name_or_a_mapping_serves_as_a_config(work: Path) -> None:
    plain = {"name": "mine", "training": {"epochs": 1}, "network": {"layers": [{"units": 32}]}}
    assert backprop.train(plain).path == Path("runs/mine-1")
    assert backprop.check(backprop.load_config(plain)).passed


def test_divergence_is_an_error_with_its_remedy_and_a_record_for_who_watches(work: Path) -> None:
    config = quick(optimizer={"name": "sgd", "learning_rate": 1e9})
    with pytest.raises(backprop.DivergenceError, match=r"diverged in epoch 1 .*: set optimizer.learning_rate="):
        backprop.train(config, run_dir=False)
    with backprop.training(config) as events:
        list(events)
    run = events.run()
    assert (run.stop_reason, run.has_model, run.findings[0].change[:24]) == (
        "diverged",
        False,
        "optimizer.learning_rate=",
    )
    with pytest.raises(backprop.ModelFileError, match="training diverged in epoch 1"):
        _ = run.model
    assert not Path("runs/latest").exists()


# ---- event by event ------------------------------------------------------------------------------------------------


def test_who_leaves_early_finds_a_checkpoint_a_model_and_a_free_directory(work: Path) -> None:
    with closing(backprop.training(quick(), run_dir="mine")) as events:
        for event in events:
            if isinstance(event, backprop.EpochResult) and event.epoch == 2:
                break
    run = events.run()
    assert (run.stop_reason, run.summary["epochs"], run.findings) == ("interrupted", 2, ())
    assert len(run.history) == 2
    resumed = backprop.resume("mine")
    assert [event.epoch for event in resumed.history] == [3]
    whole = backprop.train(quick(), run_dir=False)
    assert resumed.parameters_sha256 == whole.parameters_sha256


def test_a_loop_that_is_left_lying_lets_go_of_its_directory(work: Path) -> None:
    for event in backprop.training(quick(), run_dir="mine"):
        if isinstance(event, backprop.EpochResult):
            break
    assert backprop.resume("mine").summary["epochs"] == 3


def test_a_program_may_watch_the_hardest_digit(work: Path) -> None:
    with backprop.training(quick(), run_dir=False) as events:
        next(event for event in events if isinstance(event, backprop.EpochResult))
        watched = events.hardest_digit()
        assert watched.name.startswith("digits:")
        guess, probability = watched.guess()
        assert guess in "0123456789"
        assert 0.0 < probability < 1.0
        assert (events.member, events.config.training.epochs) == (0, 3)


def test_a_directory_is_refused_before_anything_is_trained(work: Path) -> None:
    backprop.train(quick(), run_dir="mine")
    before = contents(work)
    with pytest.raises(backprop.RunDirectoryError, match=r"^mine: is already a run; resume it, or choose another dir"):
        backprop.training(quick(), run_dir="mine")
    Path("other").mkdir()
    Path("other/file").write_text("")
    with pytest.raises(backprop.RunDirectoryError, match=r"^other: is not empty; choose another directory$"):
        backprop.train(quick(), run_dir="other")
    shutil.rmtree("other")
    assert contents(work) == before


def test_another_thread_may_end_a_training_and_its_directory_is_not_free_before(work: Path) -> None:
    events = backprop.training(quick(training__epochs=100_000), run_dir="mine")
    walker = threading.Thread(target=list, args=(events,))
    walker.start()
    wait_until(lambda: len(events.history) > 3)
    with pytest.raises(backprop.RunDirectoryError, match="another training is running here"):
        RunDirectory.open(Path("mine"))
    events.close()
    walker.join(PATIENCE)
    assert not walker.is_alive()
    RunDirectory.open(Path("mine")).close()
    run = events.run()
    assert run.stop_reason == "interrupted"
    rows = Path("mine/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == list(range(1, len(rows) + 1))


CTRL_C = """
import os, signal
import backprop_cli as backprop
backprop.train(backprop.load_config("quick", {"training.epochs": 1}), run_dir="before")
try:
    with backprop.training(backprop.load_config("quick", {"training.epochs": 100_000}), run_dir="mine") as events:
        for event in events:
            if len(events.history) == 5:
                os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    run = events.run()
    print(run.stop_reason, run.latest_problem, run.model.predict("digits:3").predicted)
"""


def test_ctrl_c_in_a_program_keeps_the_model_and_latest_names_it(work: Path) -> None:
    done = process(cwd=work, program=(PYTHON, "-c", CTRL_C))
    assert (done.returncode, done.stdout) == (0, b"interrupted None 3\n"), done.stderr
    assert Path("runs/latest").read_text().strip().endswith("mine")
    assert backprop.load().path == work / "mine/model.safetensors"


def test_latest_names_no_run_without_a_model(work: Path) -> None:
    backprop.train(quick(), run_dir="mine")
    Path("mine/model.safetensors").unlink()
    Path("runs/latest").unlink()
    with backprop.training(quick(), run_dir="other"):
        pass
    from backprop_cli.api.training import resuming

    with resuming("mine", epochs=9):
        pass
    assert not Path("runs/latest").exists()


def test_an_error_in_a_program_keeps_what_was_trained(work: Path) -> None:
    def fail() -> None:
        with backprop.training(quick(), run_dir="mine") as events:
            for event in events:
                if isinstance(event, backprop.EpochResult):
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert backprop.load("mine").predict("digits:3").predicted
    assert backprop.resume("mine", epochs=4).summary["epochs"] == 4


# ---- going on, folds, again ----------------------------------------------------------------------------------------


def test_a_run_goes_on_to_a_new_total_and_not_to_a_lower_one(work: Path) -> None:
    backprop.train(quick())
    run = backprop.resume("quick-1", epochs=5)
    assert (run.summary["epochs"], len(run.history)) == (5, 2)
    assert backprop.verify("quick-1").verdict == "equal"
    with pytest.raises(backprop.ConfigError, match="may be raised from 5, not lowered"):
        backprop.resume(epochs=2)
    with pytest.raises(backprop.RunDirectoryError, match="no such run"):
        backprop.resume("nothing")
    for wrong in (7.0, True, "8", 0):
        with pytest.raises(
            backprop.ArgumentError, match=f"^epochs {wrong}: expected a whole number from 1 to 1,000,000"
        ):
            backprop.resume("quick-1", epochs=wrong)  # type: ignore[arg-type]
    assert backprop.resume("quick-1", epochs=np.int64(6)).summary["epochs"] == 6  # type: ignore[arg-type]
    assert backprop.resume().history == ()
    assert backprop.verify("quick-1").verdict == "equal"


def test_old_runs_are_read_by_the_same_calls(work: Path) -> None:
    shutil.copytree(CHECKOUT / "tests" / "old", work / "runs")
    assert [run.name for run in backprop.runs()] == ["copies", "finished", "interrupted"]
    assert backprop.load("finished").evaluate().accuracy == pytest.approx(303 / 360)
    assert backprop.verify("finished").verdict in ("equal", "close")
    assert len(backprop.resume("interrupted").history) == 3


FOLDS = """
import json, sys
import backprop_cli as backprop
print("once")
config = backprop.load_config("quick", {"training.epochs": 2})
done = []
found = backprop.cross_validate(config, folds=2, seeds=2, jobs=2, progress=lambda one, total: done.append((one, total)))
print(json.dumps(found.to_dict()))
ended = [one for one, _ in done if one is not None]
print([one.number for one in ended], {total for _, total in done}, ended[0].total)
print(found)
"""


def test_folds_are_trained_from_a_script_without_a_guard_which_runs_once(work: Path) -> None:
    Path("script.py").write_text(FOLDS)
    once, record, numbers, line = process("script.py", cwd=work, program=(PYTHON,)).stdout.decode().splitlines()
    assert once == "once"
    folds = ("cv", "-c", "quick", "--folds", "2", "--seeds", "2", "--set", "training.epochs=2")
    assert json.loads(record) | {"seconds": 0} == document(*folds) | {"seconds": 0}
    assert numbers == "[1, 2, 3, 4] {4} 4"
    assert line.startswith("<CrossValidation of 1,797: ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"folds": 1}, r'^folds "1": 2 to 1000, or writers$'),
        ({"folds": "people"}, '^folds "people": 2 to 1000'),
        ({"seeds": 0}, "^seeds 0: expected a whole number from 1 to 1,000$"),
        ({"jobs": 1000}, "^jobs 1000: expected a whole number from 1 to 256$"),
        ({"config": {"data": {"test_source": "digits"}}}, "^data.test_source: cross-validation cuts its own"),
    ],
)
def test_what_cannot_be_cut_into_folds_is_refused(arguments: dict[str, Any], problem: str) -> None:
    config = backprop.load_config(arguments.pop("config", "quick"))
    with pytest.raises(backprop.UsageError, match=problem):
        backprop.cross_validate(config, **arguments)


def test_what_a_caller_raises_ends_the_processes() -> None:
    class LeftError(Exception):
        pass

    def leave(one: Any, total: int) -> None:
        raise LeftError

    with pytest.raises(LeftError):
        backprop.cross_validate(quick(), folds=2, progress=leave)


QUIET = """
import warnings
import backprop_cli as backprop
run = backprop.train("quick", run_dir=False)
model = run.model
model.predict("digits:3"), model.explain("digits:3"), model.evaluate(), list(model.predict_many("."))
backprop.check("quick")
try:
    backprop.load("nothing")
except backprop.BackpropError:
    pass
"""


def test_a_library_prints_nothing(work: Path) -> None:
    (work / "damaged.png").write_bytes(b"\\x89PNG")
    done = process(cwd=work, program=(PYTHON, "-W", "error", "-c", QUIET))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
