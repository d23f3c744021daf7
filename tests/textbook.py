"""What a reader makes of the formulas of each activation: f and f', written anew, number by number."""

from __future__ import annotations

import math
from collections.abc import Callable


def sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0.0 else math.exp(z) / (1.0 + math.exp(z))


def gelu_share(z: float) -> tuple[float, float]:
    """Return s, and u' (1 - s) 2."""
    c = math.sqrt(2.0 / math.pi)
    s = (1.0 + math.tanh(c * (z + 0.044715 * z**3))) / 2.0
    return s, c * (1.0 + 3.0 * 0.044715 * z**2) * (1.0 - s) * 2.0


TEXTBOOK: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "identity": (lambda z: z, lambda z: 1.0),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1.0 - sigmoid(z))),
    "tanh": (math.tanh, lambda z: 1.0 - math.tanh(z) ** 2),
    "relu": (lambda z: max(0.0, z), lambda z: float(z > 0.0)),
    "leaky_relu": (lambda z: z if z > 0.0 else 0.01 * z, lambda z: 1.0 if z > 0.0 else 0.01),
    "elu": (lambda z: z if z > 0.0 else math.exp(z) - 1.0, lambda z: 1.0 if z > 0.0 else math.exp(z)),
    "gelu": (lambda z: z * gelu_share(z)[0], lambda z: gelu_share(z)[0] * (1.0 + z * gelu_share(z)[1])),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1.0 + z * (1.0 - sigmoid(z)))),
    "softplus": (lambda z: math.log(1.0 + math.exp(z)), sigmoid),
}
