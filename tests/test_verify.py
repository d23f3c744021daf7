"""`backprop verify`: a run is trained again, and what does not come out as it was is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answer, backprop, contents, document, refusal

from backprop_cli.store.model_file import load_model, save_model

PLAIN = ("train", "-c", "quick", "--epochs", "6")
SCHEDULE = ("--set", "schedule={name: warmup_cosine, warmup: 0.2}")
RUN = Path("runs/quick-1")


def tampered(change: float) -> None:
    """Move every parameter of the run's model by a share of itself, and sign the file again."""
    model = load_model(RUN / "model.safetensors")
    members = tuple((member * np.float32(1.0 + change)).astype(np.float32) for member in model.members)
    save_model(RUN / "model.safetensors", replace(model, members=members))


def from_another_machine() -> None:
    """Let the run say that it was made with another NumPy."""
    path = RUN / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"numpy": "1.0"}))


def verdict(code: int) -> dict[str, Any]:
    found = document("verify", "quick-1", code=code)
    assert found["schema"] == "backprop.verify/1"
    return found


@pytest.mark.parametrize(
    "options",
    [
        (),
        SCHEDULE,
        ("--set", "ensemble=2", "--set", "calibration=temperature", "--set", "data.augment={rotation: 10}"),
        ("--set", "training.early_stopping={monitor: val_accuracy, patience: 1}", "--epochs", "60"),
        ("--set", "data.validation_size=0"),
        ("--set", "training.class_weight={8: 3.0}", "--set", "ensemble=2"),
    ],
)
def test_a_run_comes_out_equal_and_nothing_is_written(work: Path, options: tuple[str, ...]) -> None:
    answer(*PLAIN, *options)
    before = contents(work)
    found = verdict(0)
    assert (found["verdict"], found["first_difference"], found["environment"]) == ("equal", None, {})
    assert found["is_whole"]
    assert found["n_agreeing"] == found["n_rows"] > 0
    assert "equal: byte for byte" in answer("verify")
    assert contents(work) == before


@pytest.mark.parametrize(("n_events", "options"), [(3, ()), (9, ("--set", "ensemble=2")), (8, ("--set", "ensemble=3"))])
def test_a_run_that_was_stopped_is_verified_up_to_there(
    work: Path, stop_at: Callable[[int], None], n_events: int, options: tuple[str, ...]
) -> None:
    stop_at(n_events)
    answer(*PLAIN, *SCHEDULE, *options, code=143)
    found = verdict(0)
    assert found["verdict"] == "equal"
    assert not found["is_whole"]
    assert "where the run was stopped" in answer("verify")


def test_a_run_raised_in_epochs_is_trained_the_way_it_went(work: Path) -> None:
    answer(*PLAIN, *SCHEDULE, "--set", "ensemble=2")
    for epochs in ("8", "11"):
        answer("train", "--resume", "quick-1", "--epochs", epochs)
    found = verdict(0)
    assert (found["verdict"], found["epochs"]) == ("equal", 11)


def test_a_run_raised_while_it_was_stopped_is_told_apart_with_the_epoch(
    work: Path, stop_at: Callable[[int], None]
) -> None:
    stop_at(3)
    answer(*PLAIN, *SCHEDULE, code=143)
    answer("train", "--resume", "quick-1", "--epochs", "9")  # its first three epochs knew nothing of that
    assert verdict(1)["first_difference"] == 1


def test_a_model_with_changed_parameters_and_the_right_checksum_is_found(work: Path) -> None:
    answer(*PLAIN)
    tampered(1e-6)
    found = verdict(1)
    assert found["verdict"] == "different"
    assert found["first_difference"] is None
    assert 1e-7 < found["parameters"] < 1e-5
    result = backprop("verify")
    assert result.exit_code == 1
    assert "error: runs/quick-1: the environment is the same, so the bytes should be\n" in result.stderr


def test_on_another_machine_small_differences_are_close_and_large_ones_are_not(work: Path) -> None:
    answer(*PLAIN)
    from_another_machine()
    assert verdict(0)["verdict"] == "equal"  # that its bytes are equal counts more
    tampered(1e-3)
    found = verdict(0)
    assert (found["verdict"], found["environment"]["numpy"]["then"]) == ("close", "1.0")
    assert found["tolerance"]["parameters"] > found["parameters"] > 0
    text = answer("verify")
    assert "numpy: 1.0, now " in text
    assert "is allowed" in text
    tampered(0.5)
    assert "parameters" in verdict(1)["reasons"][0]


def test_the_model_of_another_seed_is_never_close(work: Path) -> None:
    answer(*PLAIN)
    answer(*PLAIN, "--seed", "1")
    (RUN / "model.safetensors").write_bytes(Path("runs/quick-2/model.safetensors").read_bytes())
    from_another_machine()
    reasons = verdict(1)["reasons"]
    assert reasons[0] == "config.yaml is not the config in the model: seed"
    assert any(reason.startswith("parameters: 1.") for reason in reasons)


def test_other_first_epochs_are_found_in_the_metrics(work: Path) -> None:
    answer(*PLAIN)
    from_another_machine()
    tampered(1e-6)
    path = RUN / "metrics.jsonl"
    path.write_text(path.read_text().replace('"loss": ', '"loss": 1', 1))
    found = verdict(1)
    assert found["first_difference"] == 1
    assert found["reasons"][0].startswith("first loss: ")


def test_a_changed_config_is_named(work: Path) -> None:
    answer(*PLAIN)
    path = RUN / "config.yaml"
    path.write_text(path.read_text().replace("learning_rate: 0.003", "learning_rate: 0.004").replace("32", "16"))
    reasons = verdict(1)["reasons"]
    assert "network.layers" in reasons[0]
    assert "optimizer.learning_rate" in reasons[0]
    assert "the model is of another form" in reasons


def test_changed_data_is_refused(work: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 17, (60, 4, 4)).astype(np.uint8), np.arange(60) % 3
    np.savez("mine.npz", images=images, labels=labels)
    answer(*PLAIN, "--set", "data.source=mine.npz", "--set", "data.split=stratified")
    assert verdict(0)["verdict"] == "equal"
    images[7, 2, 2] ^= 1
    np.savez("mine.npz", images=images, labels=labels)
    message = refusal("verify")
    assert (
        "mine.npz: no longer what runs/quick-1 was trained on: its 60 rows hold other pictures or labels; restore"
        in message
    )


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml"])
def test_what_is_not_there_or_damaged_is_refused_by_name(work: Path, name: str) -> None:
    answer(*PLAIN)
    raw = (RUN / name).read_bytes()
    (RUN / name).write_bytes(raw[:-1] + b"\xff")
    assert str(RUN / name) in refusal("verify", "quick-1")
    (RUN / name).unlink()
    assert "quick-1" in refusal("verify", "quick-1")
    assert "no such run" in refusal("verify", "quick-7")


def test_a_signal_ends_it_without_an_answer(work: Path, stop_at: Callable[[int], None]) -> None:
    answer(*PLAIN)
    stop_at(2)
    result = backprop("verify")
    assert (result.exit_code, result.stdout) == (143, "")
    assert result.stderr.endswith("error: interrupted\n")
