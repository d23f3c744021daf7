"""`backprop explain`: its numbers are those of a calculation by other means, straight from the model file."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SAMPLES, answer, backprop, document, process, refusal
from gradient_check import with_slope_off
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from scipy.special import expit, softmax
from sklearn.datasets import load_digits

from backprop_cli.api.pictures import picture_input
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.predictor import Predictor

Array = NDArray[Any]

SMALL = ("train", "-c", "quick", "--epochs", "2", "--progress", "none", "--run-dir")
STRAY = "digits:1660"  # a 4 that looks like a 9


def gelu_angle(z: Array) -> tuple[Array, Array]:
    """Return tanh(u) and u' of the tanh form of gelu."""
    c = np.sqrt(2 / np.pi)
    return np.tanh(c * (z + 0.044715 * z**3)), c * (1 + 3 * 0.044715 * z**2)


def gelu_slope(z: Array) -> Array:
    t, du = gelu_angle(z)
    return np.asarray(0.5 * (1 + t) + 0.5 * z * (1 - t**2) * du)


# Value and derivative, as a textbook has them.
FUNCTIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "identity": (lambda z: z, np.ones_like),
    "sigmoid": (expit, lambda z: expit(z) * expit(-z)),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "elu": (lambda z: np.where(z > 0, z, np.exp(z) - 1), lambda z: np.where(z > 0, 1.0, np.exp(z))),
    "gelu": (lambda z: 0.5 * z * (1 + gelu_angle(z)[0]), gelu_slope),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) + z * expit(z) * expit(-z)),
    "softplus": (lambda z: np.log(1 + np.exp(z)), expit),
}


class Reference:
    """The first network of a model file in float64, with nothing of the engine in it."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "np") as file:
            tensors = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118 - no dict
            self.about = json.loads(file.metadata()["backprop"])["content"]
        self.names = [layer["activation"] for layer in self.about["layers"]]
        self.tables = [
            [tensors[f"members.0.layers.{k}.{part}"] for part in ("weight", "bias")] for k in range(len(self.names) + 1)
        ]
        self.mean = tensors["preprocessing.mean"]

    def inputs(self, pixels: Array) -> Array:
        about = self.about["preprocessing"]
        return (np.asarray(pixels, np.float64).ravel() / about["max_value"] - self.mean) / about["scale"]

    def forward(self, inputs: Array, tables: Any = None) -> tuple[list[Array], list[Array]]:
        """Return what enters each layer, and each layer's z."""
        entering, zs = [inputs], []
        for k, (weight, bias) in enumerate(tables or self.tables):
            zs.append(entering[-1] @ weight + bias)
            if k < len(self.names):
                entering.append(FUNCTIONS[self.names[k]][0](zs[-1]))
        return entering, zs

    def loss(self, logits: Array, label: int) -> tuple[float, Array, Array]:
        """Return the loss, its gradient with respect to the logits, and the probabilities."""
        settings, target = self.about["loss"], np.eye(len(logits))[label]
        p = softmax(logits)
        if settings["name"] == "cross_entropy":
            e = settings["label_smoothing"]
            target = (1 - e) * target + e / len(logits)
            # -ln p_k = ln(1 + sum_others exp(z - z_k)), which keeps the digits of sure answers
            surprise = [np.log1p(np.exp(np.delete(logits, k) - logits[k]).sum()) for k in np.flatnonzero(target)]
            return float(target[target > 0] @ surprise), p - target, p
        if settings["output"] == "softmax":
            jacobian = np.diag(p) - np.outer(p, p)
            return float(((p - target) ** 2).sum() / 2), jacobian @ (p - target), p
        o = expit(logits)
        return float(((o - target) ** 2).sum() / 2), (o - target) * o * (1 - o), o / o.sum()

    def backward(self, inputs: Array, label: int) -> tuple[list[list[Array]], list[Array], Array]:
        """Return the gradients of all weights and biases, each layer's delta, and the gradient of the inputs."""
        entering, zs = self.forward(inputs)
        delta, grads, deltas = self.loss(zs[-1], label)[1], [], []
        for k in range(len(zs) - 1, -1, -1):
            grads.insert(0, [np.outer(entering[k], delta), delta])
            deltas.insert(0, delta)
            blame = self.tables[k][0] @ delta
            delta = blame * FUNCTIONS[self.names[k - 1]][1](zs[k - 1]) if k else blame
        return grads, deltas, delta

    def corrected(self, grads: list[list[Array]], rate: float) -> list[list[Array]]:
        return [
            [part - rate * grad for part, grad in zip(*pair, strict=True)]
            for pair in zip(self.tables, grads, strict=True)
        ]


def close(found: Any, expected: Any) -> None:
    """Hold numbers equal to 1e-6: of their size, or of the whole array's where they are small beside it."""
    expected = np.asarray(expected, np.float64)
    largest = float(np.abs(expected).max())
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=1e-6, atol=1e-6 * min(1.0, largest))


def agree(found: dict[str, Any], path: Path, pixels: Array, test: tuple[Array, Array] | None) -> None:
    """Hold a whole document against the reference."""
    reference = Reference(path)
    classes = reference.about["classes"]
    label, inputs = classes.index(found["label"]), reference.inputs(pixels)
    entering, zs = reference.forward(inputs)
    loss, _, probabilities = reference.loss(zs[-1], label)
    grads, deltas, grad_inputs = reference.backward(inputs, label)

    assert list(found["probabilities"]) == classes
    assert found["predicted"] == classes[int(probabilities.argmax())]
    close(list(found["probabilities"].values()), probabilities)
    close(found["loss"], loss)
    close(found["input_gradient"], grad_inputs.reshape(np.shape(pixels)))
    close(found["pixels"], np.round(np.asarray(pixels, np.float64) / reference.about["preprocessing"]["max_value"], 4))

    tables = [np.vstack(pair) for pair in grads]  # the bias as the last row
    total = sum(np.abs(table).sum() for table in tables)
    names = [*(f"layer {k}" for k in range(1, len(tables))), "output"]
    assert [layer["name"] for layer in found["layers"]] == names
    close([layer["blame_share"] for layer in found["layers"]], [np.abs(table).sum() / total for table in tables])
    close([layer["mean_abs_gradient"] for layer in found["layers"]], [np.abs(table).mean() for table in tables])
    assert [layer["n_weights"] for layer in found["layers"]] == [table.size for table in tables]
    assert [layer["fired"] for layer in found["layers"]] == [int((z > 0).sum()) for z in zs]
    everything = np.sort(np.abs(np.concatenate([table.ravel() for table in tables])))[::-1]
    assert found["zero_gradient_count"] == int((everything == 0).sum())
    few = found["half_blame_count"]
    assert everything[:few].sum() >= total / 2 * (1 - 1e-9) > everything[: few - 1].sum() * (1 - 1e-6)

    rate = found["steps"][0]["learning_rate"]
    for k, name in enumerate(names):
        named = [weight for weight in found["top_weights"] if weight["layer"] == name]
        close([abs(weight["gradient"]) for weight in named], np.sort(np.abs(tables[k]), axis=None)[::-1][: len(named)])
        for weight in named:
            row, column = len(entering[k]) if weight["from"] == "bias" else weight["from"], weight["to"]
            value = np.vstack(reference.tables[k])[row, column]
            close(weight["input"], [*entering[k], 1.0][row])
            close(weight["delta"], deltas[k][column])
            close(weight["gradient"], tables[k][row, column])
            assert weight["weight"] == value
            close(weight["new_weight"], value - rate * tables[k][row, column])

    squared = sum(float((table**2).sum()) for table in tables)
    for step in found["steps"]:
        after = reference.corrected(grads, step["learning_rate"])
        new_loss, _, new_probabilities = reference.loss(reference.forward(inputs, after)[1][-1], label)
        close(step["forecast_loss"], loss - step["learning_rate"] * squared)
        close(step["loss"], new_loss)
        close(list(step["probabilities"].values()), new_probabilities)
        if test is not None:
            right = [
                reference.forward(reference.inputs(picture), after)[1][-1].argmax() == truth
                for picture, truth in zip(*test, strict=True)
            ]
            assert step["test_accuracy"] == pytest.approx(np.mean(right), abs=1e-9)


def digit(number: int) -> Array:
    return np.asarray(load_digits().images[number])


def digits_after(number: int) -> tuple[Array, Array]:
    """Return the test part of a split by writers."""
    digits = load_digits()
    return digits.images[number:], digits.target[number:]


def network(*layers: tuple[int, str]) -> tuple[str, str]:
    return "--set", f"network.layers=[{', '.join(f'{{units: {n}, activation: {name}}}' for n, name in layers)}]"


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param((*network((30, "relu"), (12, "tanh")), "--set", "data.split=writers"), id="cross-entropy"),
        pytest.param(("--set", "loss.label_smoothing=0.1", *network((20, "silu"), (20, "elu"))), id="smoothed"),
        pytest.param(("--set", "loss={name: mse, output: softmax}", *network((20, "leaky_relu"))), id="mse softmax"),
        pytest.param(
            ("--set", "loss={name: mse, output: sigmoid}", "--set", "data.scaling=unit", *network((20, "sigmoid"))),
            id="mse sigmoid",
        ),
        pytest.param(network((15, "softplus"), (15, "sigmoid"), (15, "identity"), (15, "relu")), id="four layers"),
        pytest.param(("--set", "network.layers=[]"), id="no hidden layer"),
        pytest.param(("--set", "ensemble=3", *network((20, "elu"))), id="ensemble"),
        pytest.param(("--set", "calibration=temperature", *network((20, "tanh"))), id="calibrated"),
    ],
)
def test_the_numbers_are_those_of_an_independent_calculation(work: Path, settings: tuple[str, ...]) -> None:
    answer(*SMALL, "run", *settings)
    test = digits_after(1415) if "data.split=writers" in settings else None
    for name, options in ((STRAY, ()), ("digits:3", ("--label", "8", "--top", "7"))):
        found = document("explain", name, "-m", "run", "--learning-rate", "0.01,0.1,0.001", *options)
        number = int(name.partition(":")[2])
        assert (found["label"], found["label_source"]) == (("8", "given") if options else ("4", "known"))
        assert found["member"] == (1 if "ensemble=3" in settings else None)
        assert found["max_relative_error"] < 1e-6
        agree(found, work / "run/model.safetensors", digit(number), test)


@pytest.mark.parametrize("number", [1628, 1425])
def test_so_are_those_of_the_default_network(trained: Path, number: int) -> None:
    found = document("explain", f"digits:{number}", "--learning-rate", "0.003,0.01")
    agree(found, trained / "runs/digits-1/model.safetensors", digit(number), digits_after(1415))


@pytest.mark.slow
def test_a_file_is_explained_as_the_network_sees_it_also_at_16x16(work: Path) -> None:
    answer(*SMALL, "run", "--set", "data.picture=16x16", *network((20, "relu"), (20, "tanh")))
    model = work / "run/model.safetensors"
    for name in (STRAY, str(SAMPLES / "2-1417.jpg")):
        found = document("explain", name, "-m", "run")
        assert np.shape(found["input_gradient"]) == (16, 16)
        assert found["label_source"] == ("known" if name == STRAY else "guess")
        agree(found, model, picture_input(name, Predictor.load(model)).grid, None)


def test_own_data_with_classes_of_other_names(work: Path) -> None:
    rng = np.random.default_rng(0)
    names = np.array(["cat", "[bold]", "8"])
    np.savez("own.npz", images=rng.integers(0, 200, (90, 6, 9)).astype(np.uint8), labels=names[np.arange(90) % 3])
    answer(*SMALL, "run", "--set", "data.source=own.npz", *network((10, "tanh")))
    model, picture = work / "run/model.safetensors", str(SAMPLES / "9-1424.png")
    pixels = picture_input(picture, Predictor.load(model)).grid
    found = document("explain", picture, "-m", "run", "--label", "cat")
    assert set(found["probabilities"]) == set(names)
    assert (found["label"], found["label_source"]) == ("cat", "given")
    agree(found, model, pixels, None)
    assert "The truth is [bold]: loss = " in answer("explain", picture, "-m", "run", "--label", "[bold]")
    assert '--label: "9" is not one of' in refusal("explain", picture, "-m", "run", "--label", "9")
    assert "this model reads something else" in refusal("explain", STRAY, "-m", "run")


def test_the_promised_keys(trained: Path) -> None:
    found = document("explain", STRAY, "--learning-rate", "0.01,0.1")
    assert set(found) >= {
        *("schema", "path", "predicted", "label", "label_source", "member", "probabilities", "loss", "layers"),
        *("top_weights", "input_gradient", "zero_gradient_count", "half_blame_count", "max_relative_error", "steps"),
    }
    assert (found["schema"], found["path"]) == ("backprop.explain/1", STRAY)
    assert all(set(layer) >= {"name", "n_weights", "blame_share", "mean_abs_gradient"} for layer in found["layers"])
    weight_keys = {"layer", "from", "to", "weight", "input", "delta", "gradient", "new_weight"}
    assert all(set(weight) >= weight_keys for weight in found["top_weights"])
    step_keys = {"learning_rate", "forecast_loss", "loss", "probabilities", "test_accuracy"}
    assert all(set(step) >= step_keys for step in found["steps"])
    assert [step["learning_rate"] for step in found["steps"]] == [0.01, 0.1]


# ---- in words ------------------------------------------------------------------------------------------------------


def row_of(text: str, beginning: str) -> list[str]:
    """Return the words of the first line that begins so."""
    (line, *_) = [line for line in text.splitlines() if line.startswith(beginning)]
    return line.split()


def test_the_words_say_what_the_document_says(trained: Path) -> None:
    options = ("explain", STRAY, "--learning-rate", "0.001,0.1")
    found, text = document(*options), answer(*options)
    ranked = sorted(found["probabilities"].items(), key=lambda item: -item[1])
    (best, p), (second, q), (third, r) = ranked[:3]
    assert f"GUESS       I am {100 * p:.1f} % sure this is a {best} ({second}: {100 * q:.1f} %, {third}: " in text
    assert f"{third}: {100 * r:.1f} %)" in text
    p_truth, loss = found["probabilities"]["4"], found["loss"]
    assert f"LOSS        The truth is 4: loss = -ln {p_truth:.4g} = {loss:.4g}\n" in text
    blank = found["layers"][0]["zero_inputs"]
    blame = f"BLAME Half of it lies on {found['half_blame_count']:,} of 85,002 weights and biases. "
    blame += f"{found['zero_gradient_count']:,} get none: {blank:,} from pixels that are always blank"
    assert blame in " ".join(text.split())
    for layer in found["layers"]:
        blame = f"^{layer['name']} +{100 * layer['blame_share']:.1f} % +{layer['mean_abs_gradient']:#.3g} +"
        assert re.search(blame + f"{layer['half_blame_count']:,} of {layer['n_weights']:,} +", text, re.MULTILINE)
    top = found["top_weights"][0]
    assert row_of(text, f"output   {top['from']} -> {top['to']}")[1:] == [
        *(str(top["from"]), "->", str(top["to"]), f"{top['input']:#.4g}", f"{top['delta']:#.3g}"),
        *(f"{top['gradient']:#.3g}", f"{top['weight']:.5f}", f"{top['new_weight']:.5f}"),
    ]
    first = found["steps"][0]
    assert "CORRECTION  One step, new weight = weight - 0.001 x gradient, and I am " in text
    assert row_of(text, "0.001 ")[:3] == ["0.001", f"{first['forecast_loss']:.4g}", f"{first['loss']:.4g}"]
    assert row_of(text, "before ")[1] == f"{loss:.4g}"
    worst = f"{found['max_relative_error']:.1e}"
    checked = f"All 85,002 gradients and the 64 of the picture against central differences: worst error {worst}"
    assert checked in " ".join(text.split())
    assert "harms the others" in text
    assert "no loss is below 0" in text


def test_a_step_that_makes_it_worse_overshoots(work: Path) -> None:
    answer(*SMALL, "run", "--set", "loss.label_smoothing=0.1")
    rates = "0.001,0.01,0.1,1,10"
    options = ("explain", "digits:3", "-m", "run", "--learning-rate", rates)
    found, text = document(*options), answer(*options)
    worse = [step["loss"] > found["loss"] for step in found["steps"]]
    said = ["overshoots" in row_of(text, f"{rate} ") for rate in rates.split(",")]
    assert said == worse
    assert {True, False} == set(worse)


def test_without_a_label_the_own_guess_stands_in_and_the_way_out_is_told(work: Path) -> None:
    picture = str(SAMPLES / "9-1424.png")
    result = backprop("explain", picture)
    assert result.exit_code == 0
    assert "Nobody told me what it shows, so my own guess, 9, stands in for the truth" in " ".join(
        result.stdout.split()
    )
    assert "--label D says what the picture shows" in result.stderr
    assert "pretrained.safetensors" in result.stderr
    assert "test set" not in result.stdout  # that model was trained on all there is
    answer(*SMALL, "run")
    told = backprop("explain", picture, "-m", "run", "--label", "9")
    assert "The truth is 9" in told.stdout
    assert "--label" not in told.stderr


def test_the_network_of_an_ensemble_that_is_explained_is_named(work: Path) -> None:
    answer(*SMALL, "run", "--set", "ensemble=3")
    text = " ".join(answer("explain", STRAY, "-m", "run").split())
    together = max(document("predict", STRAY, "-m", "run")["predictions"][0]["probabilities"].values())
    assert f"network 1 of 3; all 3 together: I am {100 * together:.1f} % sure" in text


def test_doubts_about_a_picture_are_told(trained: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    predicted = backprop("predict", tmp_path / "noise.png").stderr
    explained = backprop("explain", tmp_path / "noise.png").stderr
    warnings = [line for line in predicted.splitlines() if "warning:" in line and "not sure" not in line]
    assert warnings
    assert set(warnings) <= set(explained.splitlines())


def test_a_network_that_leaves_the_finite_numbers_is_no_fault_of_the_document(work: Path) -> None:
    answer(*SMALL, "run", *network(*[(12, "identity")] * 60), "--set", "network.initializer=glorot_normal")
    options = ("explain", "digits:3", "-m", "run", "--label", "8", "--learning-rate", "1e-3,1e6")
    assert document(*options)["steps"][1]["loss"] is None
    assert "no longer finite" in answer(*options)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(work: Path, width: int) -> None:
    layers = network(*[(20, "relu")] * 4)
    answer(*SMALL, "run", "--set", "loss.label_smoothing=0.1", "--set", "ensemble=2", *layers)
    for name in (STRAY, SAMPLES / "2-1417.jpg"):
        env = {"COLUMNS": str(width), "FORCE_COLOR": "1"}
        text = process("explain", name, "-m", "run", cwd=work, env=env).stdout.decode()
        assert "\x1b[31m" in text  # worse
        assert "\x1b[34m" in text  # better
        plain = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
        assert max(map(len, plain)) <= width


@pytest.mark.slow
def test_color_is_for_terminals_that_want_it(trained: Path) -> None:
    for env in ({}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}):
        text = process("explain", STRAY, cwd=trained, env=env).stdout.decode()
        assert not re.search(r"\x1b\[[\d;]*3\dm", text)
        assert "worse (+) or better (-)" in text
    assert "\x1b" not in process("explain", STRAY, cwd=trained).stdout.decode()


def test_wrong_gradients_are_not_shown_as_if_they_were_right(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "gelu", with_slope_off(ACTIVATIONS["gelu"]))
    result = backprop("explain", STRAY)
    assert result.exit_code == 1
    assert "the gradients are wrong; backprop check -m runs/digits-1/model.safetensors says where" in result.stderr


# ---- the worksheet, what is refused ---------------------------------------------------------------------------------


def test_a_worksheet_is_written_along_the_path_that_is_told(trained: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.md"
    result = backprop("explain", STRAY, "--worksheet", sheet)
    path = re.findall(r"--path (\S+)\)", result.stderr)[0]
    by_default = sheet.read_text()
    found = document("explain", STRAY, "--worksheet", sheet, "--path", path, "--force")
    assert sheet.read_text() == by_default
    pixel, unit, next_unit, name = path.split(",")
    way = f"pixel {pixel} -> unit {unit} of layer 1 -> unit {next_unit} of layer 2 -> class {name}"
    assert f"- path: {way} (" in by_default
    assert by_default.startswith(f"# Backpropagation by hand: {STRAY}\n")
    assert f"The loss goes from {found['loss']:.6g}\nto {found['steps'][0]['loss']:.6g}" in by_default
    document("explain", STRAY, "--worksheet", sheet, "--path", "63, 255, 0, 9", "--force")
    assert "pixel 63 -> unit 255 of layer 1 -> unit 0 of layer 2 -> class 9" in sheet.read_text()


@pytest.mark.slow
def test_a_worksheet_is_the_same_where_python_drops_docstrings(trained: Path, tmp_path: Path) -> None:
    bare, usual = tmp_path / "bare.md", tmp_path / "usual.md"
    for sheet, option in ((bare, "-OO"), (usual, "-B")):
        command = (sys.executable, option, "-m", "backprop_cli")
        assert process("explain", STRAY, "--worksheet", sheet, cwd=trained, program=command).returncode == 0
    assert bare.read_text() == usual.read_text()


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("64,0,0,0", '"64" is not between 0 and 63'),
        ("0,0,256,0", '"256" is not between 0 and 255'),
        ("0,0,0,10", '"10" is not one of 0, 1'),
        ("x,0,0,0", '"x" is not between 0 and 63'),
        ("0,0,0", "this network needs 4: pixel, a unit of each layer, class"),
        ("", "this network needs 4"),
    ],
)
def test_a_path_that_is_none_is_refused(trained: Path, tmp_path: Path, path: str, wrong: str) -> None:
    sheet = tmp_path / "sheet.md"
    assert wrong in refusal("explain", STRAY, "--worksheet", sheet, "--path", path)
    assert not sheet.exists()


@pytest.mark.parametrize("rates", ["0", "-0.1", "nan", "inf", "1e7", "x", "", "0.1,", ",".join(["1"] * 21)])
def test_learning_rates_that_are_none_are_refused(trained: Path, rates: str) -> None:
    assert "numbers above 0 separated by commas" in refusal("explain", STRAY, "--learning-rate", rates)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ((STRAY, "--path", "0,0,0,0"), "--path: chooses what --worksheet FILE writes; give both"),
        ((STRAY, "--label", "ten"), '--label: "ten" is not one of 0, 1'),
        (("digits:1797",), "samples are counted from 0 to 1796"),
        ((STRAY, "--top", "0"), "--top"),
        ((STRAY, "-m", "nowhere"), "nowhere: no such model"),
    ],
)
def test_what_makes_no_sense_is_refused(trained: Path, options: Sequence[str], wrong: str) -> None:
    assert wrong in refusal("explain", *options)


def test_a_picture_that_cannot_be_read_is_an_answer(trained: Path) -> None:
    result = backprop("explain", "nowhere.png", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("error: nowhere.png: No such file or directory; give a picture file\n")
