"""The forward pass in a page's script is ours: every activation, loss, ensemble and temperature."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from backprop_cli.api.models import Model
from backprop_cli.api.report import network_data
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.network import append_ones
from backprop_cli.page.html import asset
from backprop_cli.predictor import Predictor
from backprop_cli.store.model_file import Model as Stored

LOSSES = [
    {"name": "cross_entropy", "label_smoothing": 0.1},
    {"name": "mse", "output": "softmax"},
    {"name": "mse", "output": "sigmoid"},
]
CALL = "cases.map(([network, ink]) => forward(unpacked(network), ink))"


def predictor(activations: tuple[str, ...], loss: dict[str, Any], n_members: int, temperature: float) -> Predictor:
    """Return a network of random weights, large enough to reach the flat parts of its activations."""
    rng = np.random.default_rng(len(activations) + n_members)
    units = [12, *(7 for _ in activations), 4]
    n_params = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(units))
    return Predictor(
        Stored(
            n_inputs=12,
            layers=tuple({"units": 7, "activation": name, "dropout": 0.0} for name in activations),
            classes=("a", "b", "c", "d"),
            members=tuple(rng.normal(0, 1.5, n_params).astype(np.float32) for _ in range(n_members)),
            loss=loss,
            preprocessing={"picture": [3, 4], "max_value": 16.0, "scale": 0.37, "slant": "edges"},
            mean=rng.random(12).astype(np.float32),
            config={},
            summary={},
            temperature=temperature,
        )
    )


def cases() -> list[tuple[Predictor, np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(0)
    made = [predictor((name, name), LOSSES[0], 1, 1.0) for name in ACTIVATIONS]
    made += [
        predictor(("tanh",), loss, n, temperature) for loss in LOSSES for n in (1, 3) for temperature in (0.6, 2.0)
    ]
    made.append(predictor((), LOSSES[0], 1, 1.0))
    return [(one, rng.random((3, 4)).astype(np.float32)) for one in made]


def in_javascript(asked: list[Any], browser: Any) -> list[Any]:
    """Return what the script makes of networks and pictures: run by node, else in Chromium."""
    script = f"{asset('forward.js')}\nconst cases = {json.dumps(asked)};"
    if node := shutil.which("node"):
        program = f"{script}\nconsole.log(JSON.stringify({CALL}));"
        done = subprocess.run([node, "-"], input=program.encode(), capture_output=True, check=True)
        return json.loads(done.stdout)  # type: ignore[no-any-return]
    page = browser.new_page()
    page.add_script_tag(content=f"{script}\nwindow.answers = {CALL};")
    found: list[Any] = page.evaluate("answers")
    page.close()
    return found


def test_the_forward_pass_in_javascript_is_ours(request: pytest.FixtureRequest) -> None:
    browser = None if shutil.which("node") else request.getfixturevalue("browser")
    tried = cases()
    asked = [[network_data(Model(one)), ink.ravel().tolist()] for one, ink in tried]
    for (one, ink), answer in zip(tried, in_javascript(asked, browser), strict=True):
        pictures = ink[None] * np.float32(16.0)
        np.testing.assert_allclose(answer["probabilities"], one.probabilities(pictures)[0], rtol=0, atol=1e-5)
        for network, layers in zip(one.networks, answer["members"], strict=True):
            workspace = network.workspace(1)
            logits = network.forward(append_ones(one.scaling.apply(pictures)), workspace)
            np.testing.assert_allclose(layers[-1], logits[0], rtol=1e-5, atol=1e-5)
            for buffers, values in zip(workspace.layers[:-1], layers[:-1], strict=True):
                np.testing.assert_allclose(values, buffers.outputs[0][:-1], rtol=1e-5, atol=1e-5)


def test_it_is_at_most_sixty_lines() -> None:
    assert len(asset("forward.js").splitlines()) <= 60
