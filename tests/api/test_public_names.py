"""`import backprop_cli`: what it loads, which names it has, and that a type checker sees the same ones."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import environment, python

import backprop_cli as backprop

SOURCE = Path(backprop.__file__)


def test_importing_it_loads_no_module_but_its_own(work: Path) -> None:
    script = "import sys; before = set(sys.modules); import backprop_cli; print(*set(sys.modules) - before)"
    found = python(script, cwd=work)
    ours = {name for name in found.split() if name.startswith("backprop_cli")}
    assert ours == {"backprop_cli"}
    assert not {"numpy", "typer", "rich", "pydantic", "yaml", "PIL", "sklearn"} & set(found.split())


@pytest.mark.parametrize("name", ["runs", "BackpropError", "load"])
def test_a_name_loads_no_command_and_no_typer(name: str, work: Path) -> None:
    found = python(f"import sys, backprop_cli; backprop_cli.{name}; print(*sys.modules)", cwd=work).split()
    assert not {"typer", "rich", "click", "sklearn", "scipy"} & set(found)
    assert not [module for module in found if module.startswith("backprop_cli.cli")]
    assert name == "load" or "numpy" not in found


def test_every_name_is_there_and_listed() -> None:
    assert set(backprop.__all__) <= set(dir(backprop))
    for name in backprop.__all__:
        assert getattr(backprop, name) is not None
    assert not [name for name in dir(backprop) if name not in backprop.__all__ and not name.startswith("__")]
    with pytest.raises(AttributeError, match="'backprop_cli' has no attribute 'lod'"):
        backprop.lod  # type: ignore[attr-defined]  # noqa: B018


def test_a_type_checker_sees_the_names_that_there_are() -> None:
    seen = {
        alias.asname: node.module
        for node in ast.walk(ast.parse(SOURCE.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("backprop_cli.")
        for alias in node.names
    }
    assert seen == {name: f"backprop_cli.{module}" for name, module in backprop._HOMES.items()}
    assert SOURCE.with_name("py.typed").is_file()


TYPED = """
import numpy as np
import backprop_cli as backprop

model: backprop.Model = backprop.load("pretrained")
prediction: backprop.Prediction = model.predict("photo.png")
sure: float | None = prediction.probability
for one in model.predict_many(["a.png", b"", np.zeros((8, 8))]):
    error: str | None = one.error
run: backprop.Run = backprop.train(backprop.load_config("quick", {"training.epochs": 1}), run_dir=False)
evaluation: backprop.Evaluation = run.model.evaluate("test")
explanation: backprop.Explanation = model.explain("digits:3", label="4", learning_rates=(0.1,))
model.predict(5)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_the_calls_are_typed_for_those_who_use_them(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "user.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stdout.splitlines() if "error" in line and line.startswith("user.py")]
    assert 'user.py:13: error: Argument 1 to "predict" of "Model" has incompatible type "int"' in line
