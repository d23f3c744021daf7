"""The command line as its users meet it: answers, refusals, exit codes, streams and signals."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import yaml
from command_line import (
    CHECKOUT,
    PATIENCE,
    PROGRAM,
    SAMPLES,
    answer,
    backprop,
    contents,
    document,
    environment,
    on_a_terminal,
    parsed,
    process,
    refusal,
    started,
    wait_until,
)
from PIL import Image

from backprop_cli import __version__
from backprop_cli.cli.signals import Interrupt
from backprop_cli.data import sources
from backprop_cli.data.dataset import load_digits
from backprop_cli.store.runs import PRETRAINED

PICTURE = SAMPLES / "1-1416.png"
TINY = ("train", "-c", "quick", "--epochs", "1")
DIVERGING = ("train", "-c", "quick", "--set", "optimizer={name: sgd, learning_rate: 1e30}")

# What interface.md promises of each JSON document; more keys are fine.
PROMISED = {
    "train/1": {
        *("run", "model", "epochs", "best_epoch", "n_parameters"),
        *("train_loss", "val_loss", "val_accuracy", "seconds", "stop_reason"),
    },
    "eval/1": {
        *("model", "split", "n", "accuracy", "accuracy_interval", "log_loss", "ece", "per_class"),
        *("confusion_matrix", "worst"),
    },
    "predict/1": {"model", "predictions"},
    "runs/1": {"runs"},
}


def promised(found: dict[str, Any], schema: str) -> dict[str, Any]:
    """Check a document's schema and keys."""
    assert found["schema"] == f"backprop.{schema}"
    assert found.keys() >= PROMISED[schema]
    return found


def one_line(stderr: str) -> str:
    """Return the one line that this must be."""
    assert stderr.count("\n") == 1, stderr
    assert stderr.endswith("\n")
    return stderr


# ---- train, eval, predict ------------------------------------------------------------------------------------------


def test_train_then_eval_then_predict_in_an_empty_directory(work: Path) -> None:
    report = answer("train", "-c", "quick", "--epochs", "20")
    assert "runs/quick-1" in report
    assert re.search(r"best epoch +\d+ of 20", report)
    assert set(contents(work)) == {"runs/latest"} | {
        f"runs/quick-1/{name}"
        for name in (
            "config.yaml",
            "environment.json",
            "metrics.jsonl",
            "checkpoint.safetensors",
            "model.safetensors",
        )
    }
    assert re.search(r"accuracy +9\d\.\d %", answer("eval"))
    assert re.fullmatch(r"I am \d+\.\d % sure this is an? \d.*\n", answer("predict", PICTURE))


def test_train_json_keeps_its_promises(work: Path) -> None:
    found = promised(document("train", "-c", "quick", "--epochs", "3"), "train/1")
    assert (found["run"], found["epochs"], found["stop_reason"]) == ("runs/quick-1", 3, "completed")
    assert Path(found["model"]).is_file()
    assert found["n_parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert 0 < found["val_accuracy"] <= 1


def test_without_validation_the_figures_are_null_and_the_last_epoch_is_kept(work: Path) -> None:
    found = document(*TINY, "--epochs", "2", "--set", "data.validation_size=0")
    assert (found["val_loss"], found["val_accuracy"], found["best_epoch"]) == (None, None, 2)


def test_eval_json_keeps_its_promises(trained: Path) -> None:
    found = promised(document("eval", "--errors", "3"), "eval/1")
    low, high = found["accuracy_interval"]
    assert (found["model"], found["split"], found["n"]) == ("runs/digits-1/model.safetensors", "test", 382)
    assert low < found["accuracy"] < high
    assert len(found["worst"]) == 3
    assert all(entry.keys() >= {"sample", "label", "predicted", "probability"} for entry in found["worst"])
    assert [entry["label"] for entry in found["per_class"]] == list("0123456789")
    assert all(entry.keys() >= {"precision", "recall", "f1", "support"} for entry in found["per_class"])
    right = sum(found["confusion_matrix"][k][k] for k in range(10))
    assert right / 382 == found["accuracy"]
    assert [sum(row) for row in found["confusion_matrix"]] == [entry["support"] for entry in found["per_class"]]


def test_predict_json_keeps_its_promises(trained: Path) -> None:
    found = promised(document("predict", PICTURE, "digits:1500"), "predict/1")
    for path, entry in zip((str(PICTURE), "digits:1500"), found["predictions"], strict=True):
        assert entry["path"] == path
        assert entry.keys() >= {"path", "predicted", "probability", "probabilities", "warnings", "pixels"}
        assert entry["probabilities"][entry["predicted"]] == max(entry["probabilities"].values())
        assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert [len(row) for row in entry["pixels"]] == [8] * 8
    assert found["predictions"][0]["predicted"] == "1"


def test_runs_lists_every_run_with_its_figures(trained: Path) -> None:
    found = {run["run"]: run for run in promised(document("runs"), "runs/1")["runs"]}
    assert found.keys() == {"quick-1", "digits-1"}
    assert all(run["epochs"] == 40 and run["finished"] and 0 < run["val_accuracy"] <= 1 for run in found.values())
    assert "no model" not in answer("runs")


def test_eval_of_the_parts_and_of_other_data(trained: Path) -> None:
    sizes = {split: document("eval", "--split", split)["n"] for split in ("train", "validation", "test")}
    assert sizes == {"train": 1287, "validation": 128, "test": 382}
    assert document("eval", "--data", "digits")["n"] == 1797
    assert "people the network has never seen" in answer("eval")


def test_min_accuracy_is_a_fraction_that_decides_the_exit_code(trained: Path) -> None:
    answer("eval", "--min-accuracy", "0.9")
    result = backprop("eval", "--min-accuracy", "0.999")
    assert result.exit_code == 1
    assert re.search(r"^error: accuracy 0\.9\d+ is below --min-accuracy 0\.999$", result.stderr, re.MULTILINE)
    assert document("eval", "--min-accuracy", "0.999", code=1)["n"] == 382  # the answer is given all the same
    refusal("eval", "--min-accuracy", "95")


def test_eval_without_the_part_is_refused(work: Path) -> None:
    answer(*TINY, "--set", "data.test_size=0")
    assert "trained without a test part" in refusal("eval")


# ---- which model ---------------------------------------------------------------------------------------------------


def test_the_last_run_is_the_model_and_stderr_says_which(trained: Path) -> None:
    assert "model: runs/digits-1/model.safetensors" in backprop("predict", "digits:3").stderr
    assert "runs/quick-1" not in backprop("eval", "-m", "runs/quick-1").stderr


@pytest.mark.parametrize("name", ["runs/quick-1", "quick-1", "runs/quick-1/model.safetensors"])
def test_a_model_is_named_by_its_run_or_its_file(trained: Path, name: str) -> None:
    assert document("predict", "digits:3", "-m", name)["model"] == "runs/quick-1/model.safetensors"


@pytest.mark.parametrize("command", [("eval",), ("eval", "-m", "latest"), ("check", "-m", "latest")])
def test_with_no_run_at_all_the_hint_is_to_train(work: Path, command: tuple[str, ...]) -> None:
    assert "run `backprop train` first" in one_line(refusal(*command))
    assert not contents(work)


def test_without_a_run_pictures_are_read_by_the_pretrained_model_which_says_so(work: Path) -> None:
    names = sorted(str(path) for path in SAMPLES.glob("*.png"))
    result = backprop("predict", *names, "--json")
    assert "model: " in result.stderr
    assert "pretrained.safetensors" in result.stderr
    read = [one["predicted"] for one in parsed(result.stdout)["predictions"]]
    assert read == [Path(name).name[0] for name in names]
    assert document("predict", "digits:1500", "-m", "pretrained")["predictions"][0]["predicted"] == "1"
    assert not contents(work)


def test_the_pretrained_model_is_small_and_the_one_that_the_readme_describes() -> None:
    content = PRETRAINED.read_bytes()
    assert len(content) <= 1_200_000
    assert hashlib.sha256(content).hexdigest() in (CHECKOUT / "docs/accuracy.md").read_text("utf-8")


def test_a_choice_that_is_mistyped_is_told_in_one_line_with_the_right_ones(work: Path) -> None:
    line = one_line(refusal("predict", "a.png", "--invert", "maybe"))
    assert line.startswith("error: Invalid value for '--invert': 'maybe' is not one of 'auto', 'yes', 'no'")
    assert line.endswith("see backprop predict --help\n")


def test_a_model_that_is_not_there_or_damaged_is_refused(trained: Path, tmp_path: Path) -> None:
    assert "nope" in one_line(refusal("eval", "-m", "nope"))
    damaged = tmp_path / "model.safetensors"
    raw = bytearray((trained / "runs/quick-1/model.safetensors").read_bytes())
    raw[-5] ^= 1
    damaged.write_bytes(raw)
    assert f"error: {damaged}: checksum mismatch; the file is damaged\n" == refusal(
        "predict", "digits:1", "-m", damaged
    )


def test_latest_follows_a_run_with_its_own_directory(work: Path) -> None:
    answer(*TINY)
    answer(*TINY, "--run-dir", "elsewhere/mine")
    assert document("predict", "digits:3")["model"] == str(work / "elsewhere/mine/model.safetensors")


# ---- train: configs and directories --------------------------------------------------------------------------------


def test_numbered_runs_are_never_used_again(work: Path) -> None:
    runs = [document(*TINY)["run"] for _ in range(2)]
    assert runs == ["runs/quick-1", "runs/quick-2"]


@pytest.mark.parametrize("used", ["a run", "a folder of other things"])
def test_a_used_run_dir_is_refused_and_left_untouched(work: Path, used: str) -> None:
    directory = work / "mine"
    if used == "a run":
        answer(*TINY, "--run-dir", directory)
    else:
        directory.mkdir()
        (directory / "thesis.txt").write_text("years of work")
    before = contents(work)
    assert str(directory) in one_line(refusal(*TINY, "--run-dir", directory))
    assert contents(work) == before


def test_a_run_dir_is_taken_literally(work: Path) -> None:
    assert document(*TINY, "--run-dir", "a [bold] place")["run"] == "a [bold] place"
    assert (work / "a [bold] place" / "model.safetensors").is_file()
    assert not (work / "runs" / "quick-1").exists()


@pytest.mark.parametrize("arguments", [(), ("-c", "textbook"), ("-c", "quick", "--run-dir", "mine", "--json")])
def test_a_dry_run_writes_nothing(work: Path, arguments: tuple[str, ...]) -> None:
    stdout = answer("train", "--dry-run", *arguments)
    assert not list(work.iterdir())
    assert re.search(r"2,410 param|2410|85,002|2,260", stdout)
    assert re.search(r"128 validation|\"validation\": 180", stdout)


def test_a_refused_config_creates_nothing(work: Path) -> None:
    refusal("train", "--set", "optimizer.lr=1")
    refusal("train", "--set", "network.layers=[{units: 60000}, {units: 60000}]")
    refusal("train", "--set", "data.source=nowhere.npz", "--run-dir", "mine")
    assert not list(work.iterdir())


def test_a_config_comes_from_a_name_a_file_or_stdin(work: Path) -> None:
    quick = (CHECKOUT / "configs" / "quick.yaml").read_bytes()
    (work / "mine.yaml").write_bytes(quick)
    (work / "nameless.yaml").write_bytes(quick.replace(b"name: quick\n", b""))
    from_stdin = backprop(*TINY, "-c", "-", stdin=quick)
    assert from_stdin.exit_code == 0
    models = [document(*TINY, "-c", source)["model"] for source in ("quick", "mine.yaml", "nameless.yaml")]
    assert models[-1] == "runs/nameless-1/model.safetensors"
    assert len({Path(model).read_bytes() for model in [*models[:2], "runs/quick-1/model.safetensors"]}) == 1


def test_the_saved_config_trains_the_same_model_again(work: Path) -> None:
    first = document(*TINY, "--set", "optimizer.learning_rate=1e-2", "--seed", "7")
    again = document("train", "-c", f"{first['run']}/config.yaml")
    assert Path(first["model"]).read_bytes() == Path(again["model"]).read_bytes()


def test_flags_win_over_set_and_set_over_the_file(work: Path) -> None:
    answer("train", "-c", "quick", "--set", "training.epochs=3", "--set", "seed=5", "--epochs", "2")
    config = yaml.safe_load((work / "runs/quick-1/config.yaml").read_text("utf-8"))
    assert (config["training"]["epochs"], config["seed"], config["training"]["batch_size"]) == (2, 5, 32)


# ---- mistakes ------------------------------------------------------------------------------------------------------


def test_a_mistaken_setting_is_one_line_with_the_option_the_key_and_the_right_one(work: Path) -> None:
    line = one_line(refusal("train", "--set", "optimizer.lr=1"))
    assert line.startswith("error: --set optimizer.lr=1: optimizer.lr: ")
    assert "did you mean optimizer.learning_rate?" in line


def test_all_mistakes_of_a_config_are_told_at_once_with_their_lines(work: Path) -> None:
    (work / "mine.yaml").write_text("seed: x\ntraining:\n  epoch: 3\nnetwork: {layers: [{units: 8, activation: rleu}]}")
    lines = refusal("train", "-c", "mine.yaml").splitlines()
    assert len(lines) == 3
    assert {line.split(": ")[1] for line in lines} == {"mine.yaml:1", "mine.yaml:3", "mine.yaml:4"}
    assert any('network.layers[0].activation: "rleu"' in line and 'did you mean "relu"?' in line for line in lines)


def test_all_numbers_out_of_range_are_told_at_once(work: Path) -> None:
    (work / "mine.yaml").write_text("seed: -1\ntraining: {epochs: 0, batch_size: 0}\ndata: {test_size: 2.0}")
    assert len(refusal("train", "-c", "mine.yaml").splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trian",), "train"),
        (("train", "--epoch", "3"), "--epochs"),
        (("train", "--epochs", "0"), "--epochs"),
        (("train", "--epochs", "many"), "--epochs"),
        (("train", "--progress", "loud"), "--progress"),
        (("train", "-c", "quikc"), "quick"),
        (("train", "-c", "nowhere.yaml"), "nowhere.yaml"),
        (("train", "--set", "seed"), "KEY=VALUE"),
        (("train", "--resume", "nowhere"), "nowhere"),
        (("train", "--resume", "nowhere", "--dry-run"), "--dry-run"),
        (("predict",), "PICTURE"),
        (("eval", "--split", "banana"), "--split"),
        (("eval", "extra"), "extra"),
        (("config", "show"), "NAME|FILE"),
        (("config", "validate", "nowhere.yaml"), "nowhere.yaml"),
        (("data", "show", "--index", "1797"), "1796"),
        (("data", "show", "-c", "quick", "--augmented"), "data.augment"),
        (("init", "--template", "nope"), "quick"),
        (("config",), "validate"),
        (("data",), "show"),
    ],
)
def test_wrong_usage_is_exit_2_names_what_is_meant_and_leaves_stdout_empty(
    work: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refusal(*arguments)
    assert not contents(work)


def test_errors_begin_with_the_word_error(work: Path) -> None:
    for arguments in (("eval",), ("train", "-c", "nowhere"), ("init", "--template", "nope")):
        assert refusal(*arguments).startswith("error: "), arguments


def test_errors_of_usage_begin_with_the_word_error_too(work: Path) -> None:
    for arguments in (("trian",), ("train", "--lr", "3")):
        assert re.search(r"^error: ", refusal(*arguments), re.MULTILINE), arguments


def test_init_writes_a_config_that_is_valid_once(work: Path) -> None:
    assert answer("init", "mine.yaml", "--template", "quick") == "mine.yaml\n"
    assert answer("config", "validate", "mine.yaml") == "mine.yaml: valid\n"
    before = contents(work)
    assert "--force" in one_line(refusal("init", "mine.yaml"))
    assert contents(work) == before
    answer("init", "mine.yaml", "--force")
    assert contents(work) != before


def test_config_show_prints_what_reads_back_as_itself(work: Path) -> None:
    shown = answer("config", "show", "digits", "--set", "seed=9")
    (work / "shown.yaml").write_text(shown)
    assert answer("config", "show", "shown.yaml") == shown
    assert "seed: 9\n" in shown


def test_config_list_and_schema_answer(work: Path) -> None:
    listed = answer("config", "list")
    assert [line.split()[0] for line in listed.splitlines()] == sorted(
        path.stem for path in (CHECKOUT / "configs").glob("*.yaml")
    )
    assert '"$schema": "https://json-schema.org/draft/2020-12/schema"' in answer("config", "schema")


def test_data_show_draws_digits(work: Path) -> None:
    overview = answer("data", "show")
    assert "1,797" in overview
    assert "1,287 train, 128 validation, 382 test" in overview
    one = answer("data", "show", "--index", "555")
    assert len(one.splitlines()) == 9
    assert re.match(r"digits:555 is a \d, in the training part", one)
    assert answer("data", "show", "--augmented") != overview
    copies = ("data", "show", "--augmented", "--set", "data.picture=8x8", "--set")
    still = answer(*copies, "data.augment={kind: copies}")
    assert still.splitlines()[0] == overview.splitlines()[0]
    assert answer(*copies, "data.augment={kind: copies, elastic: 3.5}") != still
    assert not contents(work)


# ---- global options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [("-q", "eval"), ("eval", "-q"), ("eval", "--quiet")])
def test_global_flags_stand_before_or_after_the_command(trained: Path, place: tuple[str, ...]) -> None:
    result = backprop(*place)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "accuracy" in result.stdout


def test_version_and_short_help(work: Path) -> None:
    assert answer("--version") == answer("train", "--version") == f"backprop {__version__}\n"
    assert answer() == answer("-h") == answer("--help")
    assert answer().count("\n    backprop ") == 2  # two examples


def told_with_times(*args: str) -> list[str]:
    """Run a command; return what it says on stderr without the seconds before each line, which never fall."""
    result = backprop(*args)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    found = [re.fullmatch(r" *(\d+\.\d{3}) s  (.*)", line) for line in lines]
    seconds = [float(match[1]) for match in found if match is not None]
    assert seconds == sorted(seconds)
    assert len(seconds) == len(found) > 0
    return [match[2] for match in found if match is not None]


@pytest.mark.parametrize(
    ("command", "chosen", "last"),
    [
        (("eval",), True, r"measured: \d+ answers, .*"),
        (("predict", "digits:3", "samples:4"), True, r"answered: 2 pictures, 0 of them with an error"),
        (("explain", "digits:3"), True, r"explained: digits:3, its label known"),
        (("check", "-c", "quick"), False, r"checked: 2,410 slopes at \d+ rows"),
        (
            ("cv", "-c", "quick", "--folds", "2", "--set", "training.epochs=1", "--jobs", "1"),
            False,
            r"trained: 2 folds, 1 times each",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_verbose_says_what_is_read_chosen_and_done_and_when(
    trained: Path, command: tuple[str, ...], chosen: bool, last: str
) -> None:
    told = told_with_times(*command, "-v")
    assert ("chosen by: no choice, so the latest" in told) == chosen
    assert any(line.startswith(("config: quick", "Model runs/")) for line in told)
    assert any(re.fullmatch(last, line) for line in told)
    assert backprop(*command, "-v", "-q").stderr == ""


def test_verbose_says_what_a_run_is_trained_with_and_what_a_model_is(work: Path) -> None:
    train = ("train", "-c", "quick", "--epochs", "1", "--progress", "none")
    config, *told = told_with_times("-v", *train)
    assert config == "config: quick --set training.epochs=1"
    written = json.loads((work / "runs" / "quick-1" / "environment.json").read_text())
    about, *rest = told
    assert about.startswith("digits: 1,797 rows of 8x8, 0 to 16; 10 classes: 0 (178), 1 (182), ")
    assert rest[:-2] == [f"{name}: {value}" for name, value in written.items() if name != "data"]
    assert rest[-2:] == ["trained to epoch 1", "written: runs/quick-1"]
    assert "Model runs/quick-1/model.safetensors: 8x8 pictures to 10 classes, 2,410 parameters" in (
        backprop("eval", "-v").stderr
    )
    assert backprop("-v", "-q", *train).stderr == ""


def test_quiet_never_hides_errors_or_results(work: Path) -> None:
    loud, quiet = backprop("train", "--lr", "1"), backprop("-q", "train", "--lr", "1")
    assert quiet.stderr == loud.stderr != ""
    assert one_line(refusal("-q", "eval", "-m", "nope")).startswith("error: nope")
    result = backprop("-q", *TINY)
    assert result.stderr == ""
    assert "best epoch" in result.stdout
    assert answer("predict", "digits:3", "-q") == answer("predict", "digits:3") != ""


def test_after_two_dashes_a_flag_is_a_picture(trained: Path) -> None:
    assert "error: -q: " in backprop("predict", "--", "-q").stderr


# ---- pictures ------------------------------------------------------------------------------------------------------


def test_digits_samples_are_counted_from_0_to_1796(trained: Path) -> None:
    found = document("predict", "digits:0", "digits:1796")
    assert [entry["predicted"] for entry in found["predictions"]] == ["0", "8"]
    for sample in ("digits:1797", "digits:-1", "digits:", "digits:x", "digits:1e3", "digits:99999999999999999999"):
        assert "1796" in refusal("predict", "-q", sample)


def test_a_sample_is_refused_by_a_model_of_other_classes(work: Path) -> None:
    import numpy as np

    pictures = np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8)
    np.savez("letters.npz", images=pictures, labels=np.array(["A", "B"] * 20))
    answer(*TINY, "--set", "data={source: letters.npz}")
    assert "digits:3" in refusal("predict", "digits:3")
    assert document("predict", PICTURE)["predictions"][0]["predicted"] in ("A", "B")


def test_an_unreadable_picture_is_an_error_of_its_own_and_the_others_are_answered(
    trained: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("not a picture")
    missing, too_long = tmp_path / "missing.png", tmp_path / ("n" * 300)
    arguments = ("predict", PICTURE, text, "digits:3", missing, too_long)
    found = document(*arguments, code=1)["predictions"]
    assert [entry["path"] for entry in found] == [str(PICTURE), str(text), "digits:3", str(missing), str(too_long)]
    assert [set(entry) == {"path", "error"} for entry in found] == [False, True, False, True, True]
    result = backprop(*arguments)
    assert result.exit_code == 1
    assert result.stdout.count("sure this is") == 2
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines() if line.startswith("error: ")] == [
        str(text),
        str(missing),
        str(too_long),
    ]


def test_a_blank_picture_is_an_error(trained: Path, tmp_path: Path) -> None:
    Image.new("L", (40, 40), 255).save(tmp_path / "blank.png")
    assert document("predict", tmp_path / "blank.png", code=1)["predictions"][0].keys() == {"path", "error"}


def test_a_picture_that_is_no_single_digit_is_doubted(trained: Path, tmp_path: Path) -> None:
    black = Image.new("L", (80, 80), 255)
    black.paste(0, (20, 20, 60, 60))
    black.save(tmp_path / "square.png")
    (entry,) = document("predict", tmp_path / "square.png")["predictions"]
    assert entry["warnings"][0] == "this looks like a filled shape, too thick for strokes"
    result = backprop("predict", tmp_path / "square.png")
    assert result.exit_code == 0
    assert f"warning: {tmp_path}/square.png: {entry['warnings'][0]}" in result.stderr
    assert document("predict", PICTURE)["predictions"][0]["warnings"] == []


def test_a_folder_stands_for_its_pictures_in_order(trained: Path, tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "c.png"):
        shutil.copy(PICTURE, tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    shutil.copytree(tmp_path, tmp_path / "sub")
    found = document("predict", tmp_path)["predictions"]
    assert [entry["path"] for entry in found] == [str(tmp_path / name) for name in ("a.PNG", "b.png", "c.png")]
    (tmp_path / "empty").mkdir()
    assert "no pictures" in refusal("predict", tmp_path / "empty")


def test_a_picture_comes_from_stdin(trained: Path) -> None:
    result = backprop("predict", "-", "--json", stdin=PICTURE.read_bytes())
    (entry,) = parsed(result.stdout)["predictions"]
    (from_file,) = document("predict", PICTURE)["predictions"]
    assert entry == from_file | {"path": "-"}
    assert backprop("predict", "-", stdin=b"").exit_code == 1


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[bold]x.png", "[bold]x.png"),
        ("a\x1b[31mb.png", r"a\x1b[31mb.png"),
        ("two\nlines.png", r"two\x0alines.png"),
        ("byte\udcff.png", r"byte\xff.png"),
    ],
)
def test_a_path_comes_out_as_text(trained: Path, tmp_path: Path, name: str, shown: str) -> None:
    shutil.copy(PICTURE, tmp_path / name)
    both = process("predict", tmp_path / name, "digits:3", tmp_path / f"no{name}", cwd=trained)
    assert f"{tmp_path}/{shown}: I am" in both.stdout.decode()
    assert f"error: {tmp_path}/no{shown}: " in both.stderr.decode()
    assert b"\x1b" not in both.stdout + both.stderr
    parsed(process("predict", tmp_path / name, "--json", cwd=trained).stdout.decode())


def test_a_config_path_comes_out_as_text(work: Path) -> None:
    assert r"error: [bold]\x1b.yaml: " in one_line(refusal("train", "-c", "[bold]\x1b.yaml"))
    assert r"\x1b" in one_line(refusal("train", "--set", "\x1b[31m=1"))


def test_show_and_save_input_give_what_the_network_saw(trained: Path, tmp_path: Path) -> None:
    drawn = answer("predict", PICTURE, "--show").splitlines()
    assert len(drawn) == 1 + 8
    answer("predict", PICTURE, "--save-input", tmp_path / "seen.png")
    with Image.open(tmp_path / "seen.png") as seen:
        assert seen.size == (128, 128)
    again = document("predict", PICTURE, tmp_path / "seen.png")["predictions"]
    assert again[0]["predicted"] == again[1]["predicted"]


def test_top_says_how_many_answers(trained: Path) -> None:
    assert [answer("predict", "digits:3", "--top", str(n)).count("%") for n in (1, 2, 10, 20)] == [1, 2, 10, 10]


# ---- exit codes 1 and 70 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True])
def test_divergence_is_exit_1_and_leaves_no_model(work: Path, as_json: bool) -> None:
    result = backprop(*DIVERGING, *(["--json"] if as_json else []))
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "diverged in epoch 1" in errors[0]
    assert "optimizer.learning_rate" in errors[0]
    assert "Warning" not in result.stderr
    assert not list(work.rglob("model.safetensors"))
    assert not (work / "runs/latest").exists()
    if as_json:
        assert parsed(result.stdout)["stop_reason"] == "diverged"
    else:
        assert result.stdout == ""


def test_divergence_gives_no_runtime_warning_in_a_process(work: Path) -> None:
    done = process(*DIVERGING, cwd=work)  # runs with -W error
    assert done.returncode == 1
    assert b"Warning" not in done.stderr


def test_later_divergence_keeps_the_last_good_epoch_and_comes_again_on_resume(work: Path) -> None:
    doubling = ("--set", "optimizer={name: adamw, weight_decay: 2500}")  # each step turns the weights w into -1.5 w
    first = backprop("train", "-c", "quick", *doubling, "--json")
    again = backprop("train", "--resume", "quick-1", "--json")
    for result in (first, again):
        assert result.exit_code == 1
        assert "error: training diverged in epoch 3 " in result.stderr
        found = parsed(result.stdout)
        assert (found["epochs"], found["model"], found["stop_reason"]) == (2, None, "diverged")
    assert (work / "runs/quick-1/checkpoint.safetensors").is_file()
    assert not list(work.rglob("model.safetensors"))


class SurpriseError(Exception):
    """Something that no handler has heard of."""


@pytest.mark.parametrize("bug", [KeyError("x"), ZeroDivisionError("x"), AssertionError("x"), SurpriseError("x")])
def test_a_bug_is_one_line_and_exit_70_and_debug_shows_it(
    work: Path, monkeypatch: pytest.MonkeyPatch, bug: Exception
) -> None:
    def broken() -> NoReturn:
        raise bug

    monkeypatch.setattr("backprop_cli.api.runs.runs", broken)
    result = backprop("runs")
    assert result.exit_code == 70
    assert result.stdout == ""
    line = one_line(result.stderr)
    assert line.startswith("error: a bug in backprop: ")
    assert type(bug).__name__ in line
    assert "--debug" in line
    assert backprop("runs", "--debug").exception is bug


@pytest.mark.parametrize("number", ["ENOSPC", "EIO", "EROFS"])
def test_a_disk_that_refuses_is_exit_1_with_the_path(work: Path, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    import errno

    code = getattr(errno, number)

    def refuse(self: Any, tensors: Any, metadata: Any) -> NoReturn:
        raise OSError(code, os.strerror(code), "runs/quick-1/checkpoint.safetensors")

    monkeypatch.setattr("backprop_cli.store.run_directory.RunDirectory.save_checkpoint", refuse)
    result = backprop(*TINY)
    assert result.exit_code == 1
    assert f"error: runs/quick-1/checkpoint.safetensors: {os.strerror(code)}\n" in result.stderr
    assert result.stdout == ""


def test_where_latest_cannot_be_written_there_is_a_warning_and_the_run_counts(work: Path) -> None:
    (work / "runs").write_text("a file")
    result = backprop(*TINY, "--run-dir", "mine")
    assert result.exit_code == 0
    assert "warning: runs" in result.stderr
    assert "-m mine" in result.stderr
    assert (work / "mine/model.safetensors").is_file()


# ---- signals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_how_to_resume_and_leaves(work: Path, signum: int, code: int) -> None:
    running = started("train", "-c", "quick", "--epochs", "1000000", "--json", cwd=work)
    wait_until((work / "runs/quick-1/metrics.jsonl").exists)
    running.send_signal(signum)
    stdout, stderr = running.communicate(timeout=PATIENCE)
    assert running.returncode == code
    assert "backprop train --resume runs/quick-1" in stderr.decode()
    assert b"Traceback" not in stderr
    found = promised(parsed(stdout.decode()), "train/1")
    assert found["stop_reason"] == "interrupted"
    assert (work / found["model"]).is_file()
    assert (work / "runs/quick-1/checkpoint.safetensors").is_file()
    assert (work / "runs/latest").is_file()


def test_a_ctrl_c_outside_of_training_is_130_without_a_traceback(trained: Path) -> None:
    pipe = subprocess.PIPE
    waiting = subprocess.Popen(
        [*PROGRAM, "predict", "-"], cwd=trained, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert waiting.stderr is not None
    assert waiting.stderr.readline().startswith(b"model: ")  # now it waits for stdin
    time.sleep(0.1)
    waiting.send_signal(signal.SIGINT)
    stdout, stderr = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, stdout) == (130, b"")
    assert b"Traceback" not in stderr


def test_a_ctrl_c_while_the_commands_are_put_together_is_130_without_a_traceback(tmp_path: Path) -> None:
    code = """
import os, signal, typer.main
typer.main.get_command = lambda app: os.kill(os.getpid(), signal.SIGINT)
from backprop_cli.__main__ import main
main()
"""
    done = process("runs", cwd=tmp_path, program=(sys.executable, "-c", code))
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"error: interrupted\n")


def test_the_first_signal_is_noted_and_the_second_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    before = signal.getsignal(signal.SIGTERM)
    interrupt = Interrupt()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (interrupt.signum, interrupt.exit_code, left) == (signal.SIGTERM, 143, [])
        os.kill(os.getpid(), signal.SIGINT)
        assert left == [130]
    finally:
        interrupt.restore()
    assert signal.getsignal(signal.SIGTERM) is before


# ---- streams and surroundings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [TINY, ("eval",), ("predict", "digits:3"), ("--help",), ("config", "schema")])
def test_a_reader_that_has_left_stdout_is_no_reason_to_fail(
    trained: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    reading, writing = os.pipe()
    os.close(reading)
    done = process(*command, cwd=tmp_path / "copy", stdout=writing)
    os.close(writing)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert done.returncode == 0
    assert command != TINY or (tmp_path / "copy/runs/quick-2/model.safetensors").is_file()


@pytest.mark.parametrize(("closed", "command", "code"), [(1, "runs", 0), (2, "runs", 0), (2, "eval -m nope", 2)])
def test_a_closed_stream_changes_no_exit_code(trained: Path, closed: int, command: str, code: int) -> None:
    line = f"exec {closed}>&-; exec {sys.executable} -m backprop_cli {command}"
    done = subprocess.run(["bash", "-c", line], cwd=trained, env=environment(), capture_output=True, check=False)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr


def test_a_full_device_behind_stdout_is_exit_1(trained: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = process("runs", cwd=trained, stdout=full)
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "surroundings",
    [
        {"COLUMNS": "20", "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        pytest.param({"CI": "true", "TERM": "xterm-256color", "PYTHONDEVMODE": "1"}, marks=pytest.mark.slow),
        pytest.param({"TERM": "dumb", "NO_COLOR": "1"}, marks=pytest.mark.slow),
        pytest.param({"HOME": "", "TMPDIR": "/nowhere"}, marks=pytest.mark.slow),
    ],
    ids=lambda surroundings: ",".join(surroundings),
)
def test_not_on_a_terminal_there_are_no_escapes_and_no_carriage_returns(
    work: Path, surroundings: dict[str, str]
) -> None:
    commands = [TINY, ("eval",), ("predict", str(PICTURE), "--show"), ("data", "show"), ("--help",), ("train", "-h")]
    for command in commands:
        done = process(*command, cwd=work, env=surroundings)
        assert done.returncode == 0, (command, done.stderr)
        assert not {b"\x1b", b"\r"} & {bytes([byte]) for byte in done.stdout + done.stderr}, command
    done = process("eval", "-m", "nope", cwd=work, env=surroundings)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: ")
    assert b"\x1b" not in done.stderr


def test_plain_progress_is_at_most_a_line_a_second_with_the_first_and_the_last_epoch(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(0.0, 0.4)  # an epoch takes so long
    monkeypatch.setattr("backprop_cli.cli.progress.View.clock", lambda view: next(seconds))
    lines = backprop("train", "-c", "quick", "--epochs", "9").stderr.splitlines()
    epochs = [match[1] for line in lines if (match := re.match(r"epoch (\d)/9 ", line))]
    assert epochs == ["1", "4", "7", "9"]
    assert backprop(*TINY, "--progress", "none").stderr == ""


def test_a_terminal_gets_a_bar_and_stdout_stays_clean(work: Path) -> None:
    code, stdout, seen = on_a_terminal("train", "-c", "quick", "--json", cwd=work)
    assert code == 0
    assert promised(parsed(stdout), "train/1")["epochs"] == 40
    assert "\x1b[" in seen
    assert "━" in seen
    assert re.search(r"epoch 40/40", seen)
    for figure in ("loss", "val loss", "val accuracy", "rate", "/s"):
        assert figure in seen


def test_a_bar_on_80_columns_still_tells_the_epoch_and_the_figures(work: Path) -> None:
    _, _, seen = on_a_terminal("train", "-c", "quick", "--epochs", "100", cwd=work, COLUMNS="80")
    last = seen.rpartition("epoch")[2]
    assert re.match(r" +100/100 .*loss \d\.\d+ .*val accuracy 9\d\.\d %", last)
    assert "…" not in last


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"CI": "true"}])
def test_a_dumb_terminal_and_ci_get_plain_lines(work: Path, env: dict[str, str]) -> None:
    code, _, seen = on_a_terminal(*TINY, cwd=work, **env)
    assert code == 0
    assert "epoch 1/1" in seen
    assert "\x1b" not in seen
    assert "\r" not in seen.replace("\r\n", "\n")  # the terminal itself turns \n into \r\n


def test_color_on_a_terminal_is_wanted_unless_no_color_says_so(work: Path) -> None:
    code, _, colored = on_a_terminal("eval", "-m", "nope", cwd=work)
    assert code == 2
    assert "\x1b[1;31merror:\x1b[0m nope" in colored
    assert on_a_terminal("eval", "-m", "nope", cwd=work, NO_COLOR="1")[2].startswith("error: nope")
    barred = on_a_terminal(*TINY, cwd=work, NO_COLOR="1")[2]
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][;m]", barred)  # a bar, but no color


def test_a_ctrl_c_that_an_import_turned_into_another_error_is_130(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> NoReturn:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as problem:
            raise ImportError("cannot load module more than once per process") from problem

    monkeypatch.setattr("backprop_cli.api.models.Model.load", interrupted)
    result = backprop("predict", "digits:3")
    assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")


# ---- diagnosis -----------------------------------------------------------------------------------------------------


def test_train_says_what_went_wrong_and_its_remedy_can_be_typed_as_it_stands(work: Path) -> None:
    spoilt = ("optimizer.learning_rate=0.01", "data.test_size=0.8", "network.layers=[{units: 256}, {units: 256}]")
    command = ("train", "-c", "quick", *(word for setting in spoilt for word in ("--set", setting)))
    report = answer(*command)
    assert re.search(r"^finding     It overfits: ", report, re.MULTILINE)
    assert max(map(len, report.splitlines()[5:7])) <= 80
    (remedy,) = re.findall(r"^ {12}(--set .*)$", report, re.MULTILINE)
    words = shlex.split(remedy)
    assert words[1].startswith("data.augment={")
    assert re.search(r"^ {12}helped in 5 of 5 trials, median loss x 0\.63$", report, re.MULTILINE)
    (before,) = re.findall(r"^validation  loss (\d\.\d+)", report, re.MULTILINE)
    assert document(*command, *words)["val_loss"] < 0.8 * float(before)


def test_the_findings_are_in_the_json_of_train_and_eval(work: Path) -> None:
    found = document("train", "-c", "quick", "--epochs", "3")["findings"]
    assert [set(finding) for finding in found] == [{"name", "text", "figure", "change", "trials"}]
    assert set(found[0]["trials"]) == {"n", "n_helped", "median_ratio"}
    assert found[0]["change"] == "training.epochs=6"
    assert document("eval", "--diagnose")["findings"] == found
    assert "findings" not in document("eval")
    assert "What went wrong in training:\nfinding     It was still learning" in answer("eval", "--diagnose")


def test_of_a_healthy_run_eval_says_that_it_is_and_train_says_nothing(trained: Path) -> None:
    assert answer("eval", "--diagnose", "--errors", "0").endswith(
        "The training was healthy: nothing was found to fix.\n"
    )
    assert document("eval", "--diagnose", "-m", "quick-1")["findings"] == []


def test_a_run_of_an_older_version_is_judged_by_its_losses_and_that_is_said(work: Path) -> None:
    answer("train", "-c", "quick", "--epochs", "3")
    path = Path("runs/quick-1/metrics.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "layers"}) + "\n" for row in rows))
    result = backprop("eval", "--diagnose")
    assert "finding     It was still learning" in result.stdout
    assert "runs/quick-1: recorded by an older version, without figures by layer" in result.stderr


def test_a_model_file_without_its_run_cannot_be_diagnosed(trained: Path, tmp_path: Path) -> None:
    shutil.copy("runs/quick-1/model.safetensors", tmp_path / "alone.safetensors")
    assert "not in a run's directory" in refusal("eval", "--diagnose", "-m", tmp_path / "alone.safetensors")
    assert "not in a run's directory" in refusal("eval", "--diagnose", "-m", "pretrained")
    (tmp_path / "config.yaml").touch()
    assert "metrics.jsonl: no figures of a training" in refusal(
        "eval", "--diagnose", "-m", tmp_path / "alone.safetensors"
    )


@pytest.mark.parametrize(
    ("command", "n_sources"),
    [
        (("train", "-c", "quick", "--dry-run"), 1),
        (("eval",), 1),
        (("eval", "--split", "train"), 1),
        (("eval", "--diagnose"), 1),
        (("eval", "--data", "other.npz"), 2),
        (("eval", "--data", "other.npz", "--diagnose"), 2),
        (("explain", PICTURE, "--label", "1"), 1),
        (("check", "-m", "quick-1"), 1),
        (("verify", "quick-1"), 1),
        (("data", "show"), 1),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_command_reads_each_of_its_data_sets_once(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str | Path, ...], n_sources: int
) -> None:
    digits, read, sources_read = load_digits(), sources._read, []

    def load(source: str, *settings: Any) -> Any:
        sources_read.append(source)
        return read(source, *settings)

    monkeypatch.setattr(sources, "_read", load)
    np.savez(tmp_path / "other.npz", images=digits.pictures[:40], labels=digits.labels[:40])
    answer(*(tmp_path / word if word == "other.npz" else word for word in command))
    assert len(sources_read) == len(set(sources_read)) == n_sources


LONG_NUMBER = "9" * 5000


@pytest.mark.parametrize(
    "command",
    [
        ("train", "-c", "quick", "--epochs", LONG_NUMBER),
        ("train", "-c", "quick", "--set", f"seed={LONG_NUMBER}"),
        ("train", "-c", "quick", "--set", f"training.epochs={LONG_NUMBER}"),
        ("train", "-c", "quick", "--set", f"optimizer.learning_rate={LONG_NUMBER}"),
        ("train", "-c", "quick", "--set", f"network.layers[{LONG_NUMBER}].units=3"),
        ("train", "-c", "quick", "--set", f"data.picture={LONG_NUMBER}x8"),
        ("eval", "--errors", LONG_NUMBER),
        ("eval", "--min-accuracy", LONG_NUMBER),
        ("predict", f"digits:{LONG_NUMBER}"),
        ("predict", PICTURE, "--top", LONG_NUMBER),
        ("explain", f"digits:{LONG_NUMBER}"),
        ("explain", "digits:3", "--path", f"{LONG_NUMBER},0,0"),
        ("explain", "digits:3", "--learning-rate", LONG_NUMBER),
        ("explain", "digits:3", "--label", LONG_NUMBER),
        ("cv", "-c", "quick", "--folds", LONG_NUMBER),
        ("cv", "-c", "quick", "--seeds", LONG_NUMBER),
        ("cv", "-c", "quick", "--jobs", LONG_NUMBER),
        ("data", "show", "--index", LONG_NUMBER),
        ("check", "-c", "quick", "--set", f"training.batch_size={LONG_NUMBER}"),
    ],
    ids=lambda command: " ".join(map(str, command)).replace(LONG_NUMBER, "999"),
)
def test_a_number_of_5000_digits_is_wrong_usage(trained: Path, command: tuple[str | Path, ...]) -> None:
    assert refusal(*command).splitlines()[-1].startswith("error: ")


def test_the_error_of_a_diverged_training_names_the_change_that_mends_it(work: Path) -> None:
    command = ("train", "-c", "quick", "--set", "optimizer={name: sgd, learning_rate: 3}")
    result = backprop(*command, "--json")
    assert result.exit_code == 1
    assert [found["name"] for found in parsed(result.stdout)["findings"]] == ["diverged"]
    (remedy,) = re.findall(r"which is 3: (--set \S+)$", result.stderr, re.MULTILINE)
    assert document(*command, *shlex.split(remedy))["val_accuracy"] > 0.9


def test_an_interrupted_training_is_not_judged_yet(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "backprop_cli.cli.progress.PlainView.update", lambda view, event: os.kill(os.getpid(), signal.SIGINT)
    )
    assert document("train", "-c", "quick", "--epochs", "3", code=130)["findings"] == []
    result = backprop("eval", "--diagnose")
    assert result.exit_code == 0
    assert "runs/quick-1: its training is not finished" in result.stderr
