"""Runs and models of older versions keep their meaning: those in tests/old are of version 0.1.0, at its first release.

`finished` and `interrupted` are one training, `quick` with 8 units, dropout and rotations; the second was stopped after
three epochs. `copies` is `pictures` with 8 units and two copies, from before warps and copies had a record each.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import CHECKOUT, answer, backprop, document, refusal

from backprop_cli.config.config import config_digest
from backprop_cli.store.model_file import load_model, save_model
from backprop_cli.store.tensor_file import load_checkpoint, save_checkpoint

OLD = CHECKOUT / "tests" / "old"


@pytest.fixture
def old(work: Path) -> Path:
    """Give a working directory with copies of the runs."""
    shutil.copytree(OLD, work / "runs")
    return work / "runs"


def accuracy_of(run: str) -> Any:
    return document("eval", "-m", run)["accuracy"]


def test_its_answers_are_what_they_were(old: Path) -> None:
    found = document("predict", "digits:1700", "-m", "finished")["predictions"][0]
    assert (found["predicted"], round(found["probability"], 3)) == ("5", 0.795)
    assert accuracy_of("finished") == pytest.approx(303 / 360)
    assert accuracy_of("interrupted") < 0.8


def test_an_interrupted_run_goes_on_to_the_end_of_the_finished_one(old: Path) -> None:
    result = backprop("train", "--resume", "interrupted", "--progress", "none")
    assert result.exit_code == 0, result.stderr
    rows = [
        [json.loads(line)["val_loss"] for line in (old / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("interrupted", "finished")
    ]
    assert rows[0] == pytest.approx(rows[1], rel=1e-3)
    assert [len(row) for row in rows] == [6, 6]
    ours, theirs = (load_model(old / run / "model.safetensors").members[0] for run in ("interrupted", "finished"))
    assert ours == pytest.approx(theirs, rel=1e-2, abs=1e-4)


def test_a_finished_run_is_verified_though_it_records_no_kernel(old: Path) -> None:
    found = document("verify", "finished")
    assert found["verdict"] in ("equal", "close")
    assert found["environment"]["blas_kernel"]["then"] is None
    assert found["n_agreeing"] == found["n_rows"]


def test_they_are_listed_with_their_figures(old: Path) -> None:
    runs = {line.split()[0]: line for line in answer("runs").splitlines()[1:]}
    assert set(runs) == {"finished", "interrupted", "copies"}
    assert "89.4 %" in runs["finished"]
    assert "not finished" in runs["interrupted"]


@pytest.mark.slow
def test_a_run_on_copies_keeps_its_meaning(old: Path) -> None:
    assert "through_normalizer: true" in (old / "copies" / "config.yaml").read_text()
    assert accuracy_of("copies") == pytest.approx(162 / 360)
    assert document("verify", "copies")["verdict"] in ("equal", "close")  # as close as another processor lets it be
    rows = (old / "copies" / "metrics.jsonl").read_text().splitlines()
    result = backprop("train", "--resume", "copies", "--epochs", "3", "--progress", "none")
    assert result.exit_code == 0, result.stderr
    assert (old / "copies" / "metrics.jsonl").read_text().splitlines()[:2] == rows
    assert "kind: copies" in (old / "copies" / "config.yaml").read_text()


def test_a_config_of_then_is_answered_with_todays_spelling(old: Path) -> None:
    told = refusal("train", "-c", old / "copies" / "config.yaml")
    assert told.count("\n") == 1
    assert (
        "config.yaml:24: data.augment.through_normalizer: unknown key; write `kind: copies` for `true`; for `false`"
        in told
    )


def test_a_run_whose_warps_had_a_number_of_copies_goes_on(old: Path) -> None:
    """It meant nothing then, and stands in the digest that the checkpoint holds."""
    config = old / "interrupted" / "config.yaml"
    written = config.read_text()
    config.write_text(written.replace("copies: 30", "copies: 7"))
    checkpoint, content = load_checkpoint(old / "interrupted" / "checkpoint.safetensors")
    save_checkpoint(
        old / "interrupted" / "checkpoint.safetensors",
        checkpoint,
        {**content, "config_digest": config_digest(config.read_text())},
    )
    assert backprop("train", "--resume", "interrupted", "--progress", "none").exit_code == 0


@pytest.mark.slow
def test_one_weight_that_is_changed_is_no_longer_equal(old: Path) -> None:
    path = old / "copies" / "model.safetensors"
    model = load_model(path)
    model.members[0][0] += 0.01
    save_model(path, model)
    found = json.loads(backprop("verify", "copies", "--json").stdout)
    assert found["verdict"] != "equal"
    assert found["parameters"] > 0.0
