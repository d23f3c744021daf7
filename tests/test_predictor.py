"""What a model file and pictures come to, by a calculation of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from backprop_cli.api.words import percent
from backprop_cli.errors import ModelFileError
from backprop_cli.predictor import Predictor
from backprop_cli.store.model_file import Model, save_model

Array = NDArray[Any]

LARGEST = float(np.finfo(np.float32).max)


def model_of(*members: Array, **changes: Any) -> Model:
    """Return a softmax regression of two pixels to three classes; a member is its table, (3, 3), the bias last."""
    fields: dict[str, Any] = {
        "n_inputs": 2,
        "layers": (),
        "classes": ("a", "b", "c"),
        "members": tuple(np.asarray(member, np.float32).ravel() for member in members),
        "loss": {"name": "cross_entropy", "label_smoothing": 0.0},
        "preprocessing": {"picture": [1, 2], "max_value": 16.0, "scale": 0.5, "slant": "none"},
        "mean": np.array([0.25, 0.5], np.float32),
        "config": {},
        "summary": {},
    }
    return Model(**(fields | changes))


def tables(n: int) -> list[Array]:
    return list(np.random.default_rng(0).normal(size=(n, 3, 3)))


PICTURES = np.array([[[0.0, 16.0]], [[8.0, 4.0]]])
INPUTS = np.array([[-0.5, 1.0, 1.0], [0.5, -0.5, 1.0]])  # (ink / 16 - mean) / 0.5, and the ones


@pytest.mark.parametrize("n_members", [1, 2, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_answer_is_the_mean_over_all_networks_at_the_temperature(n_members: int, temperature: float) -> None:
    members = tables(n_members)
    found = Predictor(model_of(*members, temperature=temperature)).probabilities(PICTURES)
    expected = np.mean([softmax(INPUTS @ table / temperature, axis=1) for table in members], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("mean", "ink"),
    [(0.0, "full"), (1.0, "none")],  # of pixels: what is left of the other one is 0
)
@pytest.mark.parametrize("member", [0, 1])
def test_numbers_that_overflow_for_some_picture_are_refused_on_loading(
    tmp_path: Path, mean: float, ink: str, member: int
) -> None:
    members = [np.zeros((3, 3)), np.zeros((3, 3))]
    members[member][:2] = LARGEST
    path = tmp_path / "model.safetensors"
    save_model(path, model_of(*members, mean=np.full(2, mean, np.float32)))
    with pytest.raises(ModelFileError) as caught:
        Predictor.load(path)
    assert str(caught.value) == f"{path}: its numbers are too large to give an answer; train it again"


def test_numbers_that_overflow_for_no_picture_are_not_refused(tmp_path: Path) -> None:
    table = np.zeros((3, 3))
    table[2, 0] = LARGEST
    save_model(tmp_path / "model.safetensors", model_of(table))
    found = Predictor.load(tmp_path / "model.safetensors").probabilities(PICTURES)
    np.testing.assert_array_equal(found, [[1.0, 0.0, 0.0]] * 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": {"name": "hinge"}},
        {"loss": {"name": "mse", "label_smoothing": 0.0}},
        {"layers": ({"units": 2, "activation": "rleu", "dropout": 0.0},), "members": (np.zeros(15, np.float32),)},
    ],
)
def test_a_loss_and_an_activation_that_do_not_exist_here_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match=r"^mine: this version cannot build its network: "):
        Predictor(model_of(*tables(1), **changes), "mine")


def test_the_likeliest_class_and_when_it_is_not_sure() -> None:
    predictor = Predictor(model_of(*tables(1)))
    assert predictor.best_class(np.array([0.2, 0.5, 0.3])) == ("b", 0.5)
    assert predictor.warnings(np.array([0.3, 0.3, 0.4])) == []
    assert predictor.warnings(np.array([0.35, 0.26, 0.39])) == ["the network is not sure (39 %)"]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0 %"), (0.9733, "97.3 %"), (0.9999, "99.9 %"), (1.0 - 1e-12, "99.9 %"), (1.0, "100.0 %")],
)
def test_less_than_all_is_never_rounded_up_to_all(share: float, text: str) -> None:
    assert percent(share) == text
