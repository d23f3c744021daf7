"""Each activation beside its derivative.

An activation is one function `f(z, a, slope)`: it reads the pre-activation `z` and writes the value f(z) into `a` and
the derivative f'(z) into `slope`. All three have the shape (batch, units) and one floating dtype; `a` may be a view
with gaps between its rows; `z` is left as it is. Written side by side the two share their work, and the backward pass
is one line for every activation: `delta *= slope`.

To add one: write the function under its formulas, add it to `ACTIVATIONS`. The config, its messages, the worksheet and
the gradient tests follow. Only the forward pass in a report's script and the ONNX export have a line of their own for
each; tests hold them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from backprop_cli.arrays import Array

Activation = Callable[[Array, Array, Array], None]

LEAKY_SLOPE = 0.01
SATURATED_BEYOND = {"sigmoid": 4.36, "tanh": 2.18}  # |z| from which f' is under a twentieth of the steepest
ZERO = np.zeros((), np.float32)  # a 0-d array: NumPy takes in a Python float slower

FORMULAS: dict[str, tuple[str, str]] = {}  # by name: f and f' in words, as the worksheet prints them


def formulas(value: str, slope: str) -> Callable[[Activation], Activation]:
    """Note the formulas of the activation below."""

    def note(activation: Activation) -> Activation:
        FORMULAS[activation.__name__] = value, slope
        return activation

    return note


@formulas("f(z) = z", "f'(z) = 1")
def identity(z: Array, a: Array, slope: Array) -> None:
    """Leave everything as it is."""
    np.copyto(a, z)
    slope.fill(1.0)


@formulas("f(z) = 1 / (1 + exp(-z)) = (1 + tanh(z / 2)) / 2", "f'(z) = f(z) (1 - f(z))")
def sigmoid(z: Array, a: Array, slope: Array) -> None:
    """Press into (0, 1); the form with tanh cannot overflow. Source: Goodfellow et al. 2016, section 6.3.2."""
    np.multiply(z, 0.5, out=slope)
    np.tanh(slope, out=slope)
    np.multiply(slope, 0.5, out=a)
    a += 0.5
    np.multiply(slope, slope, out=slope)  # f (1 - f) = (1 - tanh(z / 2)^2) / 4
    slope *= -0.25
    slope += 0.25


@formulas("f(z) = tanh(z)", "f'(z) = 1 - tanh(z)^2")
def tanh(z: Array, a: Array, slope: Array) -> None:
    """Press into (-1, 1). Source: Goodfellow et al. 2016, section 6.3.2."""
    np.tanh(z, out=a)
    np.multiply(a, a, out=slope)
    np.subtract(1.0, slope, out=slope)


@formulas("f(z) = max(0, z)", "f'(z) = 1 where z > 0, else 0")
def relu(z: Array, a: Array, slope: Array) -> None:
    """Let through what is above 0. Source: Nair and Hinton 2010."""
    np.greater(z, ZERO, out=slope, casting="unsafe")
    np.multiply(z, slope, out=a)


@formulas("f(z) = z where z > 0, else 0.01 z", "f'(z) = 1 or 0.01")
def leaky_relu(z: Array, a: Array, slope: Array) -> None:
    """Let a hundredth through below 0, so that no unit dies. Source: Maas et al. 2013, equation 2."""
    np.greater(z, 0.0, out=slope, casting="unsafe")
    slope *= 1.0 - LEAKY_SLOPE
    slope += LEAKY_SLOPE
    np.multiply(z, slope, out=a)


@formulas("f(z) = z where z > 0, else exp(z) - 1", "f'(z) = 1 or exp(z)")
def elu(z: Array, a: Array, slope: Array) -> None:
    """Bend smoothly to -1 below 0. Source: Clevert et al. 2016, equation 15."""
    np.minimum(z, 0.0, out=slope)
    np.expm1(slope, out=slope)
    np.maximum(z, slope, out=a)  # exp(z) - 1 >= z, and both are negative together
    slope += 1.0


@formulas(
    "f(z) = z s with s = (1 + tanh(u)) / 2, u = c (z + 0.044715 z^3), c = sqrt(2 / pi)",
    "f'(z) = s (1 + z u' (1 - s) 2), where u' = c (1 + 3 * 0.044715 z^2)",
)
def gelu(z: Array, a: Array, slope: Array) -> None:
    """Weigh z by about the share of a normal distribution below it; the slope is exactly that of this form.

    Source: Hendrycks and Gimpel 2016, section 2 (the tanh form; it needs no erf, which NumPy lacks).
    """
    c = math.sqrt(2.0 / math.pi)
    np.multiply(z, z, out=slope)
    np.multiply(slope, c * 0.044715, out=a)
    a += c
    a *= z  # u
    np.tanh(a, out=a)
    a *= -0.5
    a += 0.5  # 1 - s
    slope *= 6.0 * c * 0.044715
    slope += 2.0 * c
    slope *= z  # 2 z u'
    slope *= a
    slope += 1.0
    np.subtract(1.0, a, out=a)  # s
    slope *= a
    a *= z


@formulas("f(z) = z s with s = sigmoid(z)", "f'(z) = s (1 + z (1 - s))")
def silu(z: Array, a: Array, slope: Array) -> None:
    """Weigh z by its own sigmoid. Source: Elfwing et al. 2018, equations 2 and 3."""
    np.multiply(z, 0.5, out=a)
    np.tanh(a, out=a)
    a *= -0.5
    a += 0.5  # 1 - s
    np.multiply(z, a, out=slope)
    slope += 1.0
    np.subtract(1.0, a, out=a)  # s
    slope *= a
    a *= z


@formulas("f(z) = ln(1 + exp(z))", "f'(z) = sigmoid(z)")
def softplus(z: Array, a: Array, slope: Array) -> None:
    """Round relu's corner off. Source: Dugas et al. 2001."""
    np.logaddexp(z, 0.0, out=a)
    np.multiply(z, 0.5, out=slope)
    np.tanh(slope, out=slope)
    slope *= 0.5
    slope += 0.5


ACTIVATIONS: dict[str, Activation] = {
    "identity": identity,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "gelu": gelu,
    "silu": silu,
    "softplus": softplus,
}
