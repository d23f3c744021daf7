"""`train --from`: a training that goes on from a model's weights is a run like any other; what fits not is refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import answer, backprop, contents, document, refusal
from faults.trials import differences, rows
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import backprop_cli as library
from backprop_cli.data.extra import Extra
from backprop_cli.experiment.start import SHARE, _adding
from backprop_cli.store.model_file import load_model

BASE = ("train", "-c", "quick", "--epochs", "12", "--run-dir", "base")
GO_ON = ("train", "--from", "base")
RUN = Path("runs/quick-1")


def config_of(run: Path) -> dict[str, Any]:
    plain: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    return plain


def hand(folder: Path, n: int = 10, digit: str = "7") -> Path:
    """Draw sevens that stand on a foot, as the drawing page saves them."""
    rng = np.random.default_rng(0)
    (folder / digit).mkdir(parents=True)
    for number in range(1, n + 1):
        picture = Image.new("L", (120, 120), 255)
        x, y = rng.integers(-6, 7, 2)
        pen, width = ImageDraw.Draw(picture), int(rng.integers(6, 12))
        pen.line([(30 + x, 25 + y), (90 + x, 25 - y), (60 + y, 95)], 0, width, joint="curve")
        pen.line([(30 - x, 95), (85 + x, 95 + y)], 0, width)
        picture.save(folder / digit / f"{number:04}.png")
    return folder


@pytest.fixture
def base(work: Path) -> Path:
    """Give a finished run of `quick` to go on from."""
    answer(*BASE)
    return work / "base"


# ---- a run like any other ------------------------------------------------------------------------------------------


def test_it_goes_on_with_the_models_own_config_more_gently(base: Path) -> None:
    found = document(*GO_ON, "--seed", "3")
    own, gone_on = config_of(base), config_of(RUN)
    assert (own["training"]["epochs"], gone_on["training"]["epochs"], gone_on["seed"]) == (12, 5, 3)
    assert gone_on["optimizer"]["learning_rate"] == pytest.approx(own["optimizer"]["learning_rate"] / 10)
    assert gone_on["network"] == own["network"]
    assert found["val_loss"] < document("eval", "-m", "base", "--split", "validation")["log_loss"] + 0.02
    assert (RUN / "from.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    begun = json.loads((RUN / "environment.json").read_text())["from"]
    assert begun["model"] == "../../base/model.safetensors"
    again = backprop("train", "--from", "quick-1")
    assert "starting from quick-1: epochs 5, learning rate 0.0003, data digits" in again.stderr  # not gentler again


def test_the_first_step_is_taken_from_the_models_weights(base: Path) -> None:
    answer(*GO_ON, "--epochs", "1", "--set", "optimizer={name: sgd, learning_rate: 1e-9}")
    before, after = (load_model(run / "model.safetensors") for run in (base, RUN))
    np.testing.assert_allclose(after.members[0], before.members[0], atol=1e-6)
    np.testing.assert_array_equal(after.mean, before.mean)
    assert after.preprocessing == before.preprocessing


@pytest.mark.parametrize(
    "options",
    [
        (),
        (
            "--set",
            "network.layers=[{units: 32, activation: relu, dropout: 0.2}]",
            "--set",
            "data.augment={rotation: 9}",
        ),
        ("--set", "schedule=cosine", "--set", "calibration=temperature"),
    ],
)
def test_interrupted_resumed_and_verified_to_the_last_bit(
    base: Path, work: Path, stop_at: Callable[[int], None], options: tuple[str, ...]
) -> None:
    command = (*GO_ON, "--epochs", "6", *options)
    answer(*command, "--run-dir", "whole")
    stop_at(2)
    answer(*command, "--run-dir", "broken", code=143)
    shutil.rmtree(base)  # the run keeps what it began from
    answer("train", "--resume", "broken")
    assert differences(work / "broken", work / "whole") == []
    assert contents(work / "broken").keys() == contents(work / "whole").keys()
    before = contents(work)
    assert document("verify", "broken")["verdict"] == "equal"
    assert contents(work) == before
    answer("train", "--resume", "broken", "--epochs", "8")
    assert len(rows(work / "broken")) == 8


def test_an_ensemble_goes_on_network_by_network(work: Path, stop_at: Callable[[int], None]) -> None:
    answer(*BASE, "--epochs", "4", "--set", "ensemble=2")
    answer(*GO_ON, "--epochs", "3", "--run-dir", "whole")
    stop_at(4)
    answer(*GO_ON, "--epochs", "3", "--run-dir", "broken", code=143)
    answer("train", "--resume", "broken")
    assert differences(work / "broken", work / "whole") == []
    answer(*GO_ON, "--epochs", "1", "--set", "ensemble=1", "--set", "optimizer.learning_rate=1e-9")
    one, both = (load_model(run / "model.safetensors") for run in (RUN, Path("base")))
    np.testing.assert_allclose(one.members[0], both.members[0], atol=1e-6)


@pytest.mark.parametrize("written", [["config.yaml"], ["config.yaml", "environment.json"]])
def test_killed_before_its_first_checkpoint_it_begins_from_the_model_all_the_same(
    base: Path, work: Path, written: list[str]
) -> None:
    answer(*GO_ON, "--run-dir", "whole")
    (work / "broken").mkdir()
    for name in ("from.safetensors", *written):
        shutil.copy(work / "whole" / name, work / "broken" / name)
    answer("train", "--resume", "broken")
    assert (work / "broken/model.safetensors").read_bytes() == (work / "whole/model.safetensors").read_bytes()


def test_without_the_model_that_it_began_from_it_is_neither_resumed_nor_verified(base: Path) -> None:
    answer(*GO_ON)
    for command in (("train", "--resume", "quick-1", "--epochs", "9"), ("verify", "quick-1")):
        (RUN / "from.safetensors").unlink(missing_ok=True)
        assert "runs/quick-1/from.safetensors: No such file or directory; restore it" in refusal(*command)
        answer(*BASE[:-1], "other", "--seed", "9") if not Path("other").exists() else None
        shutil.copy("other/model.safetensors", RUN / "from.safetensors")
        assert "from.safetensors: not the model that the run started from; restore it" in refusal(*command)
    shutil.copy(base / "model.safetensors", RUN / "from.safetensors")
    assert document("verify", "quick-1")["verdict"] == "equal"


def test_from_python_it_is_the_same(base: Path, work: Path) -> None:
    told = document(*GO_ON, "--epochs", "2")
    run = library.train(init_from="base", overrides={"training.epochs": 2}, run_dir="mine")
    assert run.parameters_sha256 == told["parameters_sha256"]
    for name in ("model.safetensors", "from.safetensors"):
        assert (work / "mine" / name).read_bytes() == (RUN / name).read_bytes()
    model = library.train(init_from=base, run_dir=False).model
    assert library.train(init_from=model, run_dir=False).config.optimizer.learning_rate == pytest.approx(3e-4)
    assert library.train("quick", overrides=["training.epochs=2"], run_dir=False).summary["epochs"] == 2


# ---- what has to fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--set", "network.layers=[16]"), "network.layers: 16 relu, but {} has 32 relu; a run from a model keeps"),
        (("--set", "network.layers=[{units: 32, activation: tanh}]"), "network.layers: 32 tanh, but {} has 32 relu"),
        (("-c", "digits"), "network.layers: 256 gelu, 256 gelu, but {} has 32 relu"),
        (("--set", "data.picture=16x16"), "data.picture: 16x16, but {} has 8x8"),
        (("--set", "ensemble=3"), "ensemble: 3 networks, but {} has 1"),
        (("--set", "data.classes={9: nine}"), "data: classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, nine, but {} has 0, 1, "),
        (("--set", "data.extra=nothing"), 'nothing" is not one of digits, pens, '),
        (("--set", "data.extra=3"), "data.extra: expected a list"),
    ],
)
def test_what_does_not_fit_is_refused_with_both_named(base: Path, options: tuple[str, ...], told: str) -> None:
    before = contents(base.parent)
    for more in ((), ("--dry-run",)):
        assert told.format("base/model.safetensors") in refusal(*GO_ON, *options, *more)
    assert contents(base.parent) == before


def test_another_config_that_fits_is_taken_as_it_stands(base: Path, work: Path) -> None:
    Path("mine.yaml").write_text("{training: {epochs: 2}, network: {layers: [32]}, data: {split: stratified}}")
    answer(*GO_ON, "-c", "mine.yaml", "--run-dir", "gone-on")
    assert config_of(work / "gone-on")["optimizer"]["learning_rate"] == 1e-3  # the default, no tenth of anything
    assert document("verify", "gone-on")["verdict"] == "equal"


def test_what_is_no_model_and_what_goes_with_nothing_is_refused(base: Path) -> None:
    assert "nothing: no such model" in refusal("train", "--from", "nothing")
    assert "--resume cannot be used with" in refusal(*GO_ON, "--resume", "base")
    (base / "model.safetensors").write_bytes(b"x" * 100)
    assert "base/model.safetensors: " in refusal(*GO_ON)


def test_the_scaling_is_the_models_whatever_full_ink_is_in_the_data(work: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (80, 6, 6)).astype(np.uint8), np.arange(80) % 4
    images[:, 0, 0] = 255
    np.savez("bytes.npz", images=images, labels=labels)
    np.savez("shares.npz", images=(images[::-1] / np.float32(255)), labels=labels[::-1])
    raw = ("--set", "data.picture=raw", "--set", "data.split=stratified")
    answer(*BASE, "--set", "data.source=bytes.npz", *raw)
    answer(*GO_ON, "--set", "data.source=shares.npz", "--set", "optimizer={name: sgd, learning_rate: 1e-9}")
    before, after = (library.load(run) for run in ("base", "quick-1"))
    np.testing.assert_array_equal(before.predictor.model.mean, after.predictor.model.mean)
    np.testing.assert_allclose(
        before.predict_proba(images), after.predict_proba(images / np.float32(255)), rtol=1e-3, atol=1e-4
    )


# ---- further sources -----------------------------------------------------------------------------------------------


def added(changes: Sequence[str], *extra: Extra) -> Any:
    return yaml.safe_load(list(_adding(extra, changes))[-1].partition("=")[2])


def test_a_bare_name_is_added_to_the_models_list_and_a_list_replaces_it(work: Path) -> None:
    pens = Extra("pens", 0.7, ("normalized", "even_stroke"))
    plain = {"source": "pens", "share": 0.7, "kinds": ["normalized", "even_stroke"]}
    mine = {"source": "mine", "share": SHARE}
    assert added(["data.extra=mine"], pens) == [plain, mine]
    assert added(["data.extra=mine"]) == [mine]
    assert added(["data.extra=mine", "seed=1", "data.extra='yours'"], pens) == [plain, mine, mine | {"source": "yours"}]
    assert added(["data.extra=pens"], pens) == [plain]
    assert added(["data.extra=mine"], Extra(str(work / "mine"), 0.1)) == [
        {"source": str(work / "mine"), "share": 0.1, "kinds": ["normalized"]}
    ]
    for other in ("data.extra=[mine]", "data.extra={source: mine, share: 0.5}", "data.extra=null", "seed=1"):
        assert list(_adding([pens], [other])) == [other]
    assert _adding([pens], {"data.extra": Path("mine")}) == {"data.extra": [plain, mine]}
    assert _adding([pens], {"data.extra": ["mine"], "seed": 1}) == {"data.extra": ["mine"], "seed": 1}


@given(
    shares=st.lists(st.none() | st.floats(0.01, 0.5), max_size=4).filter(lambda all: sum(s or 0 for s in all) < 0.95)
)
def test_there_is_always_room_for_one_more(shares: list[float | None]) -> None:
    extra = [Extra(f"{k}.npz", share) for k, share in enumerate(shares)]
    whole = added(["data.extra=mine"], *extra)
    assert [one["source"] for one in whole] == [*(one.source for one in extra), "mine"]
    assert 0.0 < whole[-1]["share"] <= SHARE
    assert math.fsum(one["share"] or 0.0 for one in whole) < 1.0


def test_ten_pictures_of_one_digit_are_a_further_source_and_no_source(base: Path, work: Path) -> None:
    hand(work / "mine")
    result = backprop(*GO_ON, "--set", "data.extra=mine")
    assert f"data digits beside {work}/mine" in result.stderr
    assert config_of(RUN)["data"]["extra"] == [
        {"source": str(work / "mine"), "share": SHARE, "kinds": ["normalized"]},
    ]
    assert document("verify", "quick-1")["verdict"] == "equal"
    found = document("eval", "-m", "quick-1", "--data", "mine")
    assert (found["n"], found["per_class"][7]["support"]) == (10, 10)
    assert found["accuracy"] >= document("eval", "-m", "base", "--data", "mine")["accuracy"]
    assert "mine: pictures of one class" in refusal("train", "-c", "quick", "--set", "data.source=mine")
    (work / "mine/7/0011.png").write_bytes((work / "mine/7/0001.png").read_bytes())
    assert "mine: no longer what runs/quick-1 was trained on: 11 rows, not 10" in refusal("verify", "quick-1")


def test_a_run_that_was_moved_with_its_data_is_gone_on_with(base: Path, work: Path) -> None:
    hand(work / "before/mine")
    answer(*GO_ON, "--set", "data.extra=before/mine", "--run-dir", "before/run")
    shutil.move("before", "after")
    result = backprop("train", "--from", "after/run", "--set", "data.extra=after/mine")
    assert result.exit_code == 0
    assert [one["source"] for one in config_of(RUN)["data"]["extra"]] == [str(work / "after/mine")]


@pytest.mark.slow
def test_the_model_in_the_package_is_taught_beside_digits_and_pens(work: Path) -> None:
    hand(work / "mine")
    result = backprop("train", "--from", "pretrained", "--set", "data.extra=mine", "--dry-run")
    assert "epochs 5, learning rate 0.0004, data digits beside pens, mine" in result.stderr.replace(f"{work}/", "")
    assert result.stdout.splitlines()[-1] == "rows      1,797 train, 0 validation, 0 test"
    short = ("--set", "ensemble=1", "--set", "data.augment.copies=1", "--epochs", "2", "--progress", "none")
    answer("train", "--from", "pretrained", "--set", "data.extra=mine", *short)
    before, after = (document("eval", "-m", name, "--data", "mine") for name in ("pretrained", "latest"))
    assert before["accuracy"] <= 0.5
    assert after["accuracy"] == 1.0
    assert document("eval", "-m", "latest", "--data", "digits")["accuracy"] > 0.97
    assert json.loads((work / "runs/pictures-1/environment.json").read_text())["from"]["model"] == "pretrained"
    settings = config_of(work / "runs/pictures-1")
    assert settings["calibration"] == {"temperature": 0.68, "unsure": 0.7}
    assert settings["training"]["kernel"] == "auto"
