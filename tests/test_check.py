"""`backprop check`: right networks pass; each of the faults patched in here is found and named, with exit code 1."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answer, backprop, document, refusal
from gradient_check import LOSSES, with_gradient_off, with_slope_off
from numpy.typing import NDArray

from backprop_cli.config.config import bundled_names, load_config
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.layers import Dense
from backprop_cli.engine.losses import Loss
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.predictor import Predictor
from backprop_cli.store.model_file import load_model, save_model

Array = NDArray[Any]

SMALL = "network.layers=[{units: 7, activation: tanh}, {units: 8, activation: silu}]"


def faults(*settings: str) -> list[str]:
    """Return what a check that must fail finds, as it says it on stderr."""
    options = [part for setting in settings for part in ("--set", setting)]
    result = backprop("check", "-c", "quick", *options)
    assert result.exit_code == 1, result.output
    assert "passed" not in result.stdout
    lines = result.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return [line.removeprefix("error: ") for line in lines]


# ---- what passes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", bundled_names())
@pytest.mark.usefixtures("work", "made_up_mnist")
def test_every_bundled_config_passes_with_all_its_weights(name: str) -> None:
    settings = load_config(name).network.layers
    settings = [replace(layer, units=min(layer.units, 16)) for layer in settings]  # of wide ones it takes seconds
    layers = [{"units": layer.units, "activation": layer.activation, "dropout": layer.dropout} for layer in settings]
    found = document("check", "-c", name, "--set", f"network.layers={json.dumps(layers)}")
    sizes = [found["inputs"]["n"], *(layer["units"] for layer in layers), 10]
    expected = [(above + 1) * below for above, below in pairwise(sizes)]
    assert found["passed"]
    assert found["problems"] == []
    assert [layer["n"] for layer in found["layers"]] == expected
    assert found["n_parameters"] == sum(expected)
    assert 0 < found["max_relative_error"] < 1e-7
    assert found["memorised"]["passed"]


def test_the_promised_keys(work: Path) -> None:
    found = document("check", "-c", "quick")
    keys = {"passed", "n_parameters", "max_relative_error", "layers", "initial_loss", "expected_initial_loss"}
    assert set(found) >= {"schema", *keys}
    assert found["schema"] == "backprop.check/1"
    layer_keys = {"name", "n", "max_relative_error", "median_relative_error", "kinks"}
    assert all(set(layer) >= layer_keys for layer in found["layers"])
    assert [layer["name"] for layer in found["layers"]] == ["layer 1", "output"]
    assert found["expected_initial_loss"] == pytest.approx(math.log(10))
    assert 0.5 * math.log(10) < found["initial_loss"] < 2 * math.log(10)
    errors = [layer["max_relative_error"] for layer in (*found["layers"], found["inputs"])]
    assert found["max_relative_error"] == max(errors)


def test_the_table_says_what_the_document_says(work: Path) -> None:
    found, text = document("check", "-c", "quick"), answer("check", "-c", "quick")
    assert f"{found['n_parameters']:,} weights and biases at {found['n_rows']} pictures, float64" in text
    for layer in (*found["layers"], found["inputs"]):
        cells = [f"{layer['n']:,}", *(f"{layer[key]:.1e}" for key in ("largest_gradient", "max_relative_error"))]
        cells += [f"{layer['median_relative_error']:.1e}", str(layer["kinks"]), "ok"]
        assert re.search(rf"^{layer['name']} +{' +'.join(map(re.escape, cells))} *$", text, re.MULTILINE)
    assert f"loss at the start    {found['initial_loss']:.3f}; a uniform guess: ln(10) = 2.303" in text
    assert re.search(r"overfit one batch    loss \d\.\d{3} to 0\.0\d* in [\d,]+ steps\n", text)
    assert text.endswith("\npassed\n")
    assert max(map(len, text.splitlines())) <= 80


def test_a_trained_network_is_checked_at_pictures_it_was_trained_on(trained: Path) -> None:
    found = document("check", "-m", "runs/quick-1")
    assert found["passed"]
    assert (found["initial_loss"], found["expected_initial_loss"], found["memorised"]) == (None, None, None)
    assert "freshly" not in answer("check", "-m", "runs/quick-1")
    assert "cannot be used with --config or --set" in refusal("check", "-m", "runs/quick-1", "-c", "quick")
    assert "cannot be used with --config or --set" in refusal("check", "-m", "runs/quick-1", "--set", "seed=1")


def test_where_the_data_is_gone_random_pictures_do(work: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez("own.npz", images=rng.integers(0, 9, (60, 5, 5)).astype(np.uint8), labels=np.arange(60) % 3)
    answer("train", "-c", "quick", "--epochs", "1", "--set", "data.source=own.npz", "--run-dir", "run")
    (work / "own.npz").unlink()
    result = backprop("check", "-m", "run")
    assert result.exit_code == 0
    assert "own.npz" in result.stderr
    assert "checked at random pictures instead" in result.stderr


def test_a_unit_at_its_kink_is_told_apart_from_a_fault(trained: Path, tmp_path: Path) -> None:
    model = load_model(Path("runs/quick-1/model.safetensors"))
    experiment = Experiment(load_config("quick"))
    dataset, rows = experiment.split_data.select("train")
    (first,) = Predictor(model).scaling.apply(dataset.pictures[rows[:1]]).astype(np.float64)
    moved = model.members[0].copy()
    table = moved[: 65 * 32].reshape(65, 32)
    reaching = int(np.abs(moved[65 * 32 :].reshape(33, 10)[:32]).sum(axis=1).argmax())
    table[64, reaching] -= np.float32(first @ table[:64, reaching] + table[64, reaching])
    save_model(tmp_path / "moved.safetensors", replace(model, members=(moved,)))
    before, found = document("check", "-m", "runs/quick-1"), document("check", "-m", tmp_path / "moved.safetensors")
    assert found["passed"]
    assert [layer["kinks"] for layer in before["layers"]] == [0, 0]
    assert found["layers"][0]["kinks"] > 30
    assert found["layers"][1]["kinks"] == 0
    assert found["max_relative_error"] < 1e-7


# ---- what does not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_derivative_off_by_a_twentieth_of_a_percent_is_found_and_named(
    work: Path, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTIVATIONS, activation, with_slope_off(ACTIVATIONS[activation]))
    layers = f"[{{units: 9, activation: silu}}, {{units: 8, activation: {activation}}}, {{units: 7, activation: tanh}}]"
    (fault,) = faults(f"network.layers={layers}")
    name = "layer 3" if activation == "tanh" else "layer 2"
    before = {"tanh": "layer 2, layer 1"}.get(activation, "layer 1")
    assert re.match(rf"{name}: wrong by up to [5-9]\.\de-04 of its largest gradient, worst at the ", fault)
    assert f", and with it {before}; look at the slope of {activation}, " in fault


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_gradient_off_by_a_twentieth_of_a_percent_is_found_and_named(
    work: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss: Loss = LOSSES[name]
    settings = {key: value for key, value in vars(loss).items() if value is not None}
    monkeypatch.setattr(type(loss), "gradient", with_gradient_off(type(loss).gradient))
    (fault,) = faults(SMALL, f"loss={json.dumps(settings)}")
    assert re.match(r"output: wrong by up to 5\.0e-04 ", fault)
    assert ", and with it layer 2, layer 1; look at the loss's gradient" in fault


def bias_off(layer: Dense, grad_inputs: Array | None) -> None:
    layer.grad_bias[...] *= 1.0005


def one_weight_off(layer: Dense, grad_inputs: Array | None) -> None:
    layer.grad_weight[3, 5] += 1e-4 * np.abs(layer.grad_table).max()


def blame_off(layer: Dense, grad_inputs: Array | None) -> None:
    if grad_inputs is not None:
        grad_inputs *= 1.0005


@pytest.mark.parametrize(
    ("fault", "units", "named"),
    [
        (
            bias_off,
            8,
            r"layer 2: wrong by .*, worst at the bias of unit \d; look at the slope of silu, at this",
        ),
        (bias_off, 7, r"layer 1: wrong by .*, worst at the bias of unit \d; look at the slope of tanh"),
        (bias_off, 10, r"output: wrong by .*, worst at the bias of unit \d; look at the loss's gradient and at this"),
        (one_weight_off, 8, r"layer 2: wrong by up to 1\.0e-04 .*, worst at the weight from 3 to 5; look"),
        (one_weight_off, 7, r"layer 1: wrong by up to 1\.0e-04 .*, worst at the weight from 3 to 5; look"),
        (blame_off, 8, r"layer 1: wrong by up to 5\.0e-04 .* and at what layer 2 hands back"),
        (blame_off, 10, r"layer 2: wrong by .*, and with it layer 1; look .* and at what output hands back"),
        (blame_off, 7, r"inputs: wrong by up to 5\.0e-04 .* layer 1's backward to its inputs"),
    ],
)
def test_a_fault_in_one_layers_backward_is_found_and_named(
    work: Path,
    fault: Callable[[Dense, Array | None], None],
    units: int,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Dense.backward

    def wrong(self: Dense, inputs: Array, delta: Array, grad_inputs: Array | None = None) -> None:
        right(self, inputs, delta, grad_inputs)
        if self.fan_out == units:
            fault(self, grad_inputs)

    monkeypatch.setattr(Dense, "backward", wrong)
    (found,) = faults(SMALL)
    assert re.match(named, found)


def test_a_wrong_network_is_wrong_in_the_document_too(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "relu", with_slope_off(ACTIVATIONS["relu"]))
    found = document("check", "-c", "quick", code=1)
    assert not found["passed"]
    assert [layer["max_relative_error"] > 1e-6 for layer in found["layers"]] == [True, False]
    (problem,) = found["problems"]
    assert problem.startswith("layer 1: wrong by up to 5.0e-04")


def test_a_loss_at_the_start_that_is_no_guess_is_found(work: Path) -> None:
    (fault, *_) = faults(SMALL, "data.scaling=unit", "data.max_value=0.1", "network.layers=[]")
    assert re.match(
        r"loss at the start: \d+\.\d{3} is not within half and twice ln\(classes\) = 2\.303; look at", fault
    )


def test_squared_error_has_no_loss_that_it_should_start_with(work: Path) -> None:
    found = document("check", "-c", "quick", "--set", "loss={name: mse}")
    assert found["initial_loss"] is not None
    assert found["expected_initial_loss"] is None


def test_a_network_that_cannot_learn_one_batch_is_found(work: Path) -> None:
    (fault,) = faults("network.initializer=zeros")  # relu at 0 lets no blame through: its units stay silent
    assert re.match(r"overfit one batch: the loss went from \S+ to \S+ in 2,000 steps, not below 1 %; look at", fault)


def test_one_batch_is_learned_without_dropout_and_smoothing(work: Path) -> None:
    layers = "network.layers=[{units: 32, activation: relu, dropout: 0.9}]"
    found = document("check", "-c", "quick", "--set", layers, "--set", "loss.label_smoothing=0.3")
    assert found["memorised"]["last_loss"] <= 0.01 * found["memorised"]["first_loss"]
    assert 0 < found["memorised"]["steps"] < 2000
