"""Exports: the same answers in ONNX Runtime and by the reader in the docs, the same bytes, and what is refused."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CHECKOUT, answer, backprop, document, refusal
from numpy.typing import NDArray

import backprop_cli as library
from backprop_cli.config.config import bundled_names, load_config
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.network import Network
from backprop_cli.exporters.arrays import json_bytes, npz_bytes
from backprop_cli.exporters.onnx import _ACTIVATIONS, onnx_bytes
from backprop_cli.predictor import Predictor
from backprop_cli.store.model_file import Model

CLOSE = 5e-6  # of probabilities
CLEAR = 1e-5  # between the two best, from which the class must be the same
LOSSES: dict[str, dict[str, Any]] = {
    "cross_entropy": {"name": "cross_entropy", "label_smoothing": 0.1},
    "mse_softmax": {"name": "mse", "output": "softmax"},
    "mse_sigmoid": {"name": "mse", "output": "sigmoid"},
}
ENSEMBLES = [(1, 1.0), (2, 4.2), (3, 0.37)]  # networks, temperature
HOSTILE = ("<b>", "<script>alert(1)</script>", "é漢\U0001f600", '"\\\n\0', "x" * 100, "", " ", "[]", "{", "9\0")


def made(
    specs: list[LayerSpec],
    loss: dict[str, Any],
    ensemble: tuple[int, float],
    picture: tuple[int, int] = (8, 8),
    classes: tuple[str, ...] = tuple("0123456789"),
) -> Predictor:
    """Return networks with random weights and biases."""
    rng, n_inputs = np.random.default_rng(0), picture[0] * picture[1]
    members = [Network(specs, n_inputs, len(classes), rng=rng).params for _ in range(ensemble[0])]
    return Predictor(
        Model(
            n_inputs=n_inputs,
            layers=tuple({"units": s.units, "activation": s.activation, "dropout": s.dropout} for s in specs),
            classes=classes,
            members=tuple(params + rng.normal(0.0, 0.05, params.shape).astype(np.float32) for params in members),
            loss=loss,
            preprocessing={"picture": list(picture), "max_value": 16.0, "scale": 0.376, "slant": "edges"},
            mean=rng.random(n_inputs, np.float32),
            config={},
            summary={},
            temperature=ensemble[1],
        )
    )


def grids_for(predictor: Predictor, n: int = 500) -> NDArray[np.float32]:
    shape = (n, predictor.model.n_inputs)
    full = predictor.scaling.max_value
    return (np.random.default_rng(1).integers(0, 17, shape) * full / 16.0).astype(np.float32)


def assert_same(predictor: Predictor, grids: NDArray[Any], probabilities: Any, best: Any) -> None:
    wanted = predictor.probabilities(grids.reshape(-1, *predictor.picture_size))
    assert np.abs(probabilities - wanted).max() <= CLOSE
    second, first = np.sort(wanted, axis=1)[:, -2:].T
    clear = first - second > CLEAR
    assert clear.any()
    np.testing.assert_array_equal(np.asarray(best)[clear], wanted.argmax(axis=1)[clear])


def session(content: bytes) -> Any:
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return runtime.InferenceSession(content, providers=["CPUExecutionProvider"])


def blocks() -> list[str]:
    """Return the Python of the section on exports in docs/python.md."""
    section = (CHECKOUT / "docs/python.md").read_text("utf-8").partition("\n## Export\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def read_with(folder: Path, predictor: Predictor, ending: str) -> Any:
    """Return what the reader in the docs makes of a file: its function from grids to probabilities."""
    reader, for_json = (next(text for text in blocks() if mark in text) for mark in ("np.load(", "loaded.pop("))
    reader = reader.rpartition("\nprint(")[0]
    for name, content in (("model.npz", npz_bytes(predictor)), ("model.json", json_bytes(predictor))):
        (folder / name).write_bytes(content)
    names: dict[str, Any] = {}
    exec(reader, names)
    if ending == ".json":
        exec(for_json, names)
    return names["probabilities"]


# ---- the same answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=lambda pair: f"{pair[0]} at {pair[1]}")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_loss_and_ensemble_answers_the_same(
    work: Path, activation: str, loss: str, ensemble: tuple[int, float]
) -> None:
    specs = [LayerSpec(24, activation, 0.2), LayerSpec(16, activation)]
    predictor = made(specs, LOSSES[loss], ensemble)
    grids = grids_for(predictor)
    for ending in (".npz", ".json"):
        found = read_with(work, predictor, ending)(grids)
        assert_same(predictor, grids, found, found.argmax(axis=1))
    pytest.importorskip("onnx")
    content = onnx_bytes(predictor)
    assert content == onnx_bytes(predictor)
    assert_same(predictor, grids, *session(content).run(None, {"grids": grids}))


@pytest.mark.parametrize("name", bundled_names())
def test_every_bundled_config_answers_the_same(name: str) -> None:
    pytest.importorskip("onnx")
    config = load_config(name)
    picture = {"mnist": (28, 28), "pictures": (16, 16)}.get(name, (8, 8))
    loss = {key: value for key, value in config.to_dict()["loss"].items() if value is not None}
    predictor = made(list(config.network.layers), loss, (config.ensemble, 0.7), picture)
    grids = grids_for(predictor)
    assert_same(predictor, grids, *session(onnx_bytes(predictor)).run(None, {"grids": grids}))


def test_a_network_without_hidden_layers_one_row_and_no_row(work: Path) -> None:
    pytest.importorskip("onnx")
    predictor = made([], LOSSES["cross_entropy"], (1, 1.0), classes=("a", "b"))
    running, grids = session(onnx_bytes(predictor)), grids_for(predictor)
    assert_same(predictor, grids[:1], *running.run(None, {"grids": grids[:1]}))
    probabilities, predictions = running.run(None, {"grids": grids[:0]})
    assert (probabilities.shape, predictions.shape, predictions.dtype) == ((0, 2), (0,), np.int64)
    assert_same(predictor, grids, found := read_with(work, predictor, ".json")(grids), found.argmax(axis=1))


def test_sigmoid_outputs_of_which_none_fires_answer_the_same() -> None:
    pytest.importorskip("onnx")
    predictor = made([LayerSpec(24, "sigmoid")], LOSSES["mse_sigmoid"], (1, 1.0))
    predictor.networks[0].layers[-1].bias[...] -= 6.0
    grids = grids_for(predictor, 5000)
    assert predictor.loss.outputs(predictor.networks[0].logits(predictor.scaling.apply(grids))).sum(axis=1).min() < 0.05
    assert_same(predictor, grids, *session(onnx_bytes(predictor)).run(None, {"grids": grids}))


def test_the_pretrained_model_and_the_docs_as_they_stand(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (work / "data").symlink_to(CHECKOUT / "data")
    names: dict[str, Any] = {}
    for block in blocks():
        exec(block, names)
    assert re.fullmatch(r"4 0\.9\d+\n4\n", capsys.readouterr().out)
    reader = next(block for block in blocks() if "np.load(" in block)
    ten = [line for line in reader.partition("\n}\n")[2].splitlines() if line and not line.startswith("print(")]
    assert len(ten) == 10
    model = library.load("pretrained")
    np.testing.assert_allclose(names["probabilities"](names["grids"]), model.predict_proba(names["grids"]), atol=CLOSE)
    wanted = list((model.predict("data/samples/4-1419.png").probabilities or {}).values())
    np.testing.assert_allclose(names["session"].run(None, {"grids": names["grids"]})[0], [wanted], atol=CLOSE)


# ---- bytes and what they say ---------------------------------------------------------------------------------------


def test_hostile_class_names_come_back_as_they_are() -> None:
    predictor = made([LayerSpec(4)], LOSSES["mse_sigmoid"], (1, 1.0), (2, 3), HOSTILE)
    assert json.loads(json_bytes(predictor))["about"]["classes"] == list(HOSTILE)
    with np.load(io.BytesIO(npz_bytes(predictor))) as file:
        assert json.loads(str(file["about"]))["classes"] == list(HOSTILE)
    pytest.importorskip("onnx")
    said = session(onnx_bytes(predictor)).get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == list(HOSTILE)
    assert json.loads(said["picture_size"]) == [2, 3]
    assert json.loads(said["preprocessing"])["kind"] == "counts"
    assert "cropped to its ink" in said["left_out"]
    assert "model.predict(PICTURE).pixels" in said["how_to"]


def test_numbers_in_json_are_finite_and_read_back_as_the_same_float32() -> None:
    predictor = made([LayerSpec(40, "gelu")], LOSSES["cross_entropy"], (2, 0.5))
    weights = predictor.networks[0].params
    weights[:6] = [-0.0, 1e-45, 3.4028235e38, 1.1754944e-38, 0.1, 16777217.0]
    bits = np.random.default_rng(3).integers(0, 2**32, 2000, np.uint32).view(np.float32)
    weights[6 : 6 + len(bits)] = np.where(np.isfinite(bits), bits, 0.0)
    found = json.loads(json_bytes(predictor), parse_constant=lambda name: pytest.fail(name))
    layers = predictor.networks[0].layers
    np.testing.assert_array_equal(
        np.array(found["weight_1"][0], np.float32).view(np.uint32), layers[0].weight.view(np.uint32)
    )
    assert len(json_bytes(predictor)) < 14 * 2 * predictor.networks[0].n_params


@pytest.mark.parametrize("ending", [".onnx", ".npz", ".json"])
def test_written_twice_the_bytes_are_the_same(work: Path, ending: str) -> None:
    if ending == ".onnx":
        pytest.importorskip("onnx")
    for name in ("a", "b"):
        answer("export", "pretrained", "-o", f"{name}{ending}")
    assert (work / f"a{ending}").read_bytes() == (work / f"b{ending}").read_bytes()


def test_a_model_of_raw_rows_says_how_its_ink_lies(work: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (60, 12, 10)).astype(np.uint8)
    rows[:, [0, -1]] = 0
    np.savez("rows.npz", images=rows, labels=np.arange(60) % 3)
    change = ("--set", "data.source=rows.npz", "--set", "data.picture=raw", "--set", "data.split=stratified")
    answer("train", "-c", "quick", "--epochs", "1", "--progress", "none", *change)
    found = document("export", "-o", "m.npz")
    assert found["preprocessing"]["kind"] == "layout"
    assert found["preprocessing"]["layout"]["fit"] in ("longer", "height", "width", "both")
    assert found["max_value"] == 255.0
    assert "laid" in found["left_out"]


# ---- the command ---------------------------------------------------------------------------------------------------


def test_the_command_tells_what_it_wrote_and_how_to_use_it(work: Path) -> None:
    done = backprop("export", "-o", "m.npz")
    assert done.exit_code == 0
    assert re.match(r"exported +m\.npz \(1,1\d\d kB\)\nholds +4 networks and their mean answer: 16x16 ", done.stdout)
    assert "\nleft out    how a picture becomes counts" in done.stdout
    assert done.stdout.endswith("\n            grid = model.predict(PICTURE).pixels.reshape(1, -1) * 16\n")
    assert "pretrained.safetensors" in done.stderr
    assert "ten lines of NumPy" in done.stderr
    written = document("export", "pretrained", "-o", "m.json", "--force")
    assert (written["schema"], written["format"]) == ("backprop.export/1", "json")
    assert written["n_bytes"] == (work / "m.json").stat().st_size


def test_what_cannot_be_written_is_refused_in_one_line(work: Path) -> None:
    (work / "m.npz").write_text("mine")
    assert "must end in .onnx or .npz or .json" in refusal("export", "-o", "m.txt")
    assert "already exists; --force overwrites it" in refusal("export", "-o", "m.npz")
    assert "Missing option '-o'" in refusal("export")
    assert "no such model" in refusal("export", "nothing", "-o", "x.npz")
    assert (work / "m.npz").read_text() == "mine"
    done = backprop("export", "-o", "none/m.npz", "-q")
    assert (done.exit_code, done.stderr) == (1, "error: none/m.npz: No such file or directory\n")
    answer("export", "-o", "m.npz", "--force")
    assert sorted(path.name for path in work.iterdir()) == ["m.npz"]


def test_without_the_extra_one_line_names_it(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    said = refusal("export", "-o", "m.onnx", "-q")
    assert said == "error: ONNX: needs the package onnx; pip install 'backprop-cli[onnx]'\n"
    assert not (work / "m.onnx").exists()
    answer("export", "-o", "m.npz")


def test_an_activation_that_onnx_cannot_say_is_named(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.delitem(_ACTIVATIONS, "relu")
    said = refusal("export", "-o", "m.onnx", "-q")
    assert said == "error: ONNX: the activation relu has no form in it; .npz and .json take any\n"
    assert not list(work.iterdir())


def test_from_python(work: Path) -> None:
    model = library.load("pretrained")
    written = library.export(model, "m.npz")
    assert repr(written).startswith("<Export m.npz: 4 networks and their mean answer: 16x16 grids from 0")
    assert library.export("pretrained", work / "n.json").to_dict()["model"] == str(model.path)
    with pytest.raises(library.ArgumentError, match=r"path m.npz: already exists; force=True overwrites it"):
        library.export(model, "m.npz")
    with pytest.raises(library.ArgumentError, match=r"must end in .onnx or .npz or .json"):
        library.export(model, "m.pt")
    assert library.export(model, "m.npz", force=True).n_bytes == written.n_bytes
