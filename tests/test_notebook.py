"""What records show in a notebook: small, without script, outside text as text; and the notebook in the docs, run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from command_line import CHECKOUT, PATIENCE, environment

import backprop_cli as library
from backprop_cli.api.evaluation import WorstAnswer
from backprop_cli.insight import metrics

NOTEBOOK = CHECKOUT / "docs/backprop.ipynb"
HOSTILE = ("<script>alert(1)</script>", "<b>", "é漢\U0001f600", '"\\\n\0&', "x" * 10_000, "<" * 10_000, "\x1b" * 10_000)
MOST = 30_000  # bytes


def text_of(record: Any) -> str:
    """Return the text of what a notebook shows, once it is seen to be small, whole and without script."""
    html = record._repr_html_()
    assert len(html.encode()) < MOST
    root = ET.fromstring(html)  # so that no outside text has become an element
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert kinds <= {"div", "span", "svg", "g", "path", "text", "tspan", "rect", "table", "tr", "th", "td", "progress"}
    addresses = {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"\w+://[^\"')\s<]+", html)) <= addresses
    assert not re.search(r"url\(|@import|\son\w+=|href=|background:#fff|color:#000", html)
    return " ".join("".join(root.itertext()).split())


@pytest.fixture(scope="module")
def run() -> library.Run:
    return library.train("quick", overrides={"training.epochs": 4}, run_dir=False)


def test_a_prediction_shows_the_picture_the_answer_and_its_doubts() -> None:
    model = library.load("pretrained")
    said = text_of(one := model.predict(CHECKOUT / "data/samples/4-1419.png"))
    assert said.startswith(one.sentence(top=2))
    assert "is not sure" in text_of(replace(one, warnings=("the network is not sure (41 %)",)))
    (wrong,) = model.predict_many(["nothing.png"])
    assert "nothing.png: No such file" in text_of(wrong)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:12])
def test_a_hostile_class_name_is_text(name: str, run: library.Run) -> None:
    pixels = np.random.default_rng(0).random((1000, 700))
    one = library.Prediction(name, name, 0.7, {name: 0.7, "other": 0.3}, (name,), pixels)
    assert "<" not in name or "<" in text_of(one)
    assert "alert" not in name or "<script>alert(1)</script>" in text_of(one)
    text_of(library.Prediction(name, error=name))
    explained = run.model.explain("digits:1628", label="4")
    text_of(replace(explained, classes=(name, *explained.classes[1:4], name * 2, *explained.classes[5:])))
    found = run.model.evaluate()
    text_of(replace(found, classes=(name, *found.classes[1:]), source=name, model=name, warnings=(name,)))
    text_of(replace(run, warnings=(name,)))


def test_an_evaluation_shows_figures_confusions_and_the_worst_answers(run: library.Run) -> None:
    said = text_of(found := run.model.evaluate())
    assert found.sentence in said
    assert "read as" in said
    assert f"{found.worst_answers[0].label} read as {found.worst_answers[0].predicted}" in said


@pytest.mark.parametrize("n_classes", [10, 11, 1000])
def test_an_evaluation_is_small_however_many_classes_and_pixels_there_are(n_classes: int, run: library.Run) -> None:
    rng, found = np.random.default_rng(0), run.model.evaluate()
    classes = tuple(f"{k}{'<' * 100}" for k in range(n_classes))
    labels = rng.integers(0, n_classes, 20 * n_classes)
    figures = metrics.evaluate(rng.dirichlet(np.ones(n_classes), len(labels)), labels, classes)
    figures = replace(figures, confusion_matrix=rng.integers(100_000, 999_999, (n_classes, n_classes)))
    worst = tuple(WorstAnswer("row", classes[0], classes[1], 0.5, rng.random((28, 28))) for _ in range(50))
    text_of(replace(found, **vars(figures), classes=classes, worst_answers=worst))


def test_an_explanation_shows_guess_loss_blame_and_steps(run: library.Run) -> None:
    said = text_of(
        found := run.model.explain("digits:1628", label="4", learning_rates=tuple(np.linspace(0.01, 0.2, 20)))
    )
    assert f"the truth is 4: loss = {found.loss_formula}" in said
    assert "step at rate" in said
    large = np.random.default_rng(0).normal(size=found.pixels.size * 100**2)
    trace = replace(found.trace, grad_inputs=large)
    text_of(replace(found, pixels=np.abs(large).reshape(800, 800) / 9.0, trace=trace))
    assert "of the first of 4 networks" in text_of(library.load("pretrained").explain("digits:1628"))


def test_a_run_shows_its_curves_and_findings(run: library.Run) -> None:
    said = text_of(run)
    assert run.sentence in said
    assert "To fix it: training.epochs=8" in said
    long = tuple(replace(run.history[0], epoch=k % 1000 + 1, val_loss=0.1 + k % 7) for k in range(20_000))
    text_of(replace(run, history=long))
    text_of(replace(run, history=()))
    text_of(replace(run, history=(replace(run.history[0], train_loss=float("nan"), val_loss=float("inf")),)))


def test_a_training_shows_how_far_it_is() -> None:
    for n_networks, wanted in ((1, "epoch 1 of 2, loss "), (2, "network 1 of 2, epoch 1 of 2, loss ")):
        changes = {"training.epochs": 2, "ensemble": n_networks}
        with library.training("quick", overrides=changes, run_dir=False) as events:
            assert "1,797" in text_of(events) or "digits" in text_of(events)
            next(event for event in events if isinstance(event, library.EpochResult))
            assert text_of(events).startswith(wanted)
            assert f'value="{0.5 / n_networks:.4f}"' in events._repr_html_()
            for _ in events:
                pass
            assert 'value="1.0000"' in events._repr_html_()


# ---- the notebook --------------------------------------------------------------------------------------------------

RUN = """
import sys, nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
nbformat.write(notebook, "executed.ipynb")
"""


def test_the_notebook_in_the_docs_holds_no_outputs_and_names_its_cells() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z]+", name) for name in ids)


def test_the_notebook_in_the_docs_runs_in_a_clean_kernel(tmp_path: Path) -> None:
    for name in ("nbclient", "nbformat", "ipykernel", "onnx"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    homes = ("HOME", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(NOTEBOOK)],
        cwd=tmp_path,
        env=environment(**dict.fromkeys(homes, str(tmp_path / "home"))),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    cells = {cell["id"]: cell for cell in json.loads((tmp_path / "executed.ipynb").read_text("utf-8"))["cells"]}
    shown = {name: json.dumps(cell["outputs"]) for name, cell in cells.items() if cell["cell_type"] == "code"}
    assert "sure this is a 7" in shown["predict"]
    assert "the truth is 1" in shown["explain"]
    assert "epoch 40 of 40" in shown["train"]
    assert "best epoch" in shown["train"]
    assert "interval" in shown["evaluate"]
    assert all("text/html" in shown[name] for name in ("predict", "explain", "train", "evaluate"))
    printed = [name for name, outputs in shown.items() if '"stream"' in outputs]
    assert printed == ["export"]  # by the cell itself; nothing is warned of
    assert (tmp_path / "digits.onnx").stat().st_size > 100_000
