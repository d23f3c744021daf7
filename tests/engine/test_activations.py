import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from textbook import TEXTBOOK

from backprop_cli.engine.activations import ACTIVATIONS

Array = NDArray[Any]

GRID = np.linspace(-6.0, 6.0, 240).reshape(3, -1)  # off 0, where some have a kink


def value_and_slope(name: str, z: Array) -> tuple[Array, Array]:
    a, slope = np.empty_like(z), np.empty_like(z)
    ACTIVATIONS[name](z, a, slope)
    return a, slope


def test_every_activation_has_its_textbook_formulas() -> None:
    assert set(TEXTBOOK) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_and_slope_are_the_textbook_formulas(name: str) -> None:
    for found, formula in zip(value_and_slope(name, GRID), TEXTBOOK[name], strict=True):
        np.testing.assert_allclose(found, np.vectorize(formula, otypes=[float])(GRID), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_slope_is_the_derivative_of_the_value(name: str) -> None:
    h = 1e-5
    measured = (value_and_slope(name, GRID + h)[0] - value_and_slope(name, GRID - h)[0]) / (2.0 * h)
    np.testing.assert_allclose(value_and_slope(name, GRID)[1], measured, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "z", "value", "slope"),
    [
        ("sigmoid", 0.0, 0.5, 0.25),
        ("tanh", 0.0, 0.0, 1.0),
        ("relu", 0.0, 0.0, 0.0),
        ("relu", -3.0, 0.0, 0.0),
        ("relu", 2.0, 2.0, 1.0),
        ("leaky_relu", -2.0, -0.02, 0.01),
        ("elu", -1.0, math.exp(-1.0) - 1.0, math.exp(-1.0)),
        ("gelu", 1.0, 0.841192, 1.082964),
        ("silu", 1.0, 0.731059, 0.927671),
        ("softplus", 0.0, math.log(2.0), 0.5),
    ],
)
def test_known_points(name: str, z: float, value: float, slope: float) -> None:
    a, s = value_and_slope(name, np.array([[z]]))
    assert a.item() == pytest.approx(value, abs=1e-6)
    assert s.item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_large_inputs_overflow_nowhere(name: str, dtype: Any) -> None:
    a, slope = value_and_slope(name, np.array([[-1e4, -100.0, 100.0, 1e4]], dtype))
    assert np.isfinite(a).all()
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_z_is_left_as_it_is_and_a_may_have_gaps_between_its_rows(name: str) -> None:
    z = GRID.astype(np.float32)
    outputs, slope = np.ones((len(z), z.shape[1] + 1), np.float32), np.empty_like(z)
    ACTIVATIONS[name](z, outputs[:, :-1], slope)
    np.testing.assert_array_equal(z, GRID.astype(np.float32))
    np.testing.assert_array_equal(outputs[:, :-1], value_and_slope(name, z)[0])
    np.testing.assert_array_equal(outputs[:, -1], 1.0)
