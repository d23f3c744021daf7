"""A classifier as one ONNX graph: scaling, networks, temperature, output units, their mean, and the best class."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from backprop_cli import __version__
from backprop_cli.engine.activations import LEAKY_SLOPE
from backprop_cli.engine.network import Network
from backprop_cli.errors import UsageError
from backprop_cli.exporters.arrays import about
from backprop_cli.predictor import Predictor

OPSET, IR_VERSION = 13, 7  # of ONNX 1.8: old runtimes read them too
GRIDS, PROBABILITIES, PREDICTIONS = "grids", "probabilities", "predictions"


class _Graph:
    """Nodes and constants in the order they are added; each call returns the name of what comes out."""

    def __init__(self, onnx: Any) -> None:
        self._onnx, self.types = onnx, onnx.TensorProto
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def node(self, operator: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Add an operator."""
        out = out or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, [out], **attributes))
        return out

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant; one that already exists is used again."""
        self.constants[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(value, dtype), name)
        return name

    def number(self, value: float) -> str:
        """Add a number."""
        return self.constant(f"number_{value!r}", np.full((1,), value))

    def times(self, x: str, value: float) -> str:
        """Multiply by a number."""
        return self.node("Mul", x, self.number(value))

    def plus(self, x: str, value: float) -> str:
        """Add a number to each."""
        return self.node("Add", x, self.number(value))


def _half(graph: _Graph, u: str) -> str:
    """Return (1 + tanh(u)) / 2, computed as the engine does."""
    return graph.plus(graph.times(graph.node("Tanh", u), 0.5), 0.5)


def _sigmoid(graph: _Graph, z: str) -> str:
    return _half(graph, graph.times(z, 0.5))


def _gelu(graph: _Graph, z: str) -> str:
    c = math.sqrt(2.0 / math.pi)
    u = graph.node("Mul", z, graph.plus(graph.times(graph.node("Mul", z, z), c * 0.044715), c))
    return graph.node("Mul", z, _half(graph, u))


# By name, as in the engine's `ACTIVATIONS`; a test holds each to the engine's own.
_ACTIVATIONS: dict[str, Callable[[_Graph, str], str]] = {
    "identity": lambda graph, z: z,
    "sigmoid": _sigmoid,
    "tanh": lambda graph, z: graph.node("Tanh", z),
    "relu": lambda graph, z: graph.node("Relu", z),
    "leaky_relu": lambda graph, z: graph.node("LeakyRelu", z, alpha=LEAKY_SLOPE),
    "elu": lambda graph, z: graph.node("Elu", z),
    "gelu": _gelu,
    "silu": lambda graph, z: graph.node("Mul", z, _sigmoid(graph, z)),
    "softplus": lambda graph, z: graph.node("Softplus", z),
}


def onnx_bytes(predictor: Predictor) -> bytes:
    """Return a checked ONNX model; equal models give equal bytes, with one version of the `onnx` package.

    In: `grids`, float32 (n, height * width), what `predict_proba` takes. Out: `probabilities`, float32 (n, n_classes),
    and `predictions`, int64 (n,), the index of the likeliest class.

    Raises:
        UsageError: The `onnx` package is not installed, or an activation has no form in ONNX.
    """
    try:
        import onnx
        from onnx import TensorProto, checker, helper
    except ImportError as error:
        raise UsageError("ONNX: needs the package onnx; pip install 'backprop-cli[onnx]'") from error
    graph = _Graph(onnx)
    inputs = _scaled(graph, predictor)
    answers = [_answer(graph, predictor, k, inputs) for k in range(len(predictor.networks))]
    graph.node("Mean", *answers, out=PROBABILITIES)
    graph.node("ArgMax", PROBABILITIES, out=PREDICTIONS, axis=1, keepdims=0)
    said = about(predictor)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "classifier",
            [helper.make_tensor_value_info(GRIDS, TensorProto.FLOAT, ["n", math.prod(predictor.picture_size)])],
            [
                helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["n", len(predictor.classes)]),
                helper.make_tensor_value_info(PREDICTIONS, TensorProto.INT64, ["n"]),
            ],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="backprop_cli",
        producer_version=__version__,
        doc_string=f"{said['input']}. Left out: {said['left_out']}.",
    )
    helper.set_model_props(
        model, {key: value if isinstance(value, str) else json.dumps(value) for key, value in said.items()}
    )
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _scaled(graph: _Graph, predictor: Predictor) -> str:
    factor, offset = predictor.scaling.affine()
    scaled = graph.node("Mul", GRIDS, graph.constant("factor", [factor]))
    return graph.node("Sub", scaled, graph.constant("offset", offset))


def _answer(graph: _Graph, predictor: Predictor, member: int, inputs: str) -> str:
    """Return the probabilities of one network."""
    logits = _logits(graph, predictor.networks[member], f"members.{member}", inputs)
    logits = graph.node("Div", logits, graph.constant("temperature", [predictor.model.temperature]))
    if predictor.loss.output == "softmax":
        return graph.node("Softmax", logits, axis=1)
    # In double: where no unit fires, what rounding leaves of each is divided by their small sum.
    double = graph.node("Cast", logits, to=graph.types.DOUBLE)
    outputs = graph.node("Sigmoid", double)
    total = graph.node("ReduceSum", outputs, graph.constant("axis", [1], np.int64), keepdims=1)
    least = graph.constant("least", [np.finfo(np.float32).tiny], np.float64)
    shares = graph.node("Div", outputs, graph.node("Max", total, least))
    return graph.node("Cast", shares, to=graph.types.FLOAT)


def _logits(graph: _Graph, network: Network, name: str, inputs: str) -> str:
    for k, layer in enumerate(network.layers):
        if layer.activation not in _ACTIVATIONS:
            raise UsageError(f"ONNX: the activation {layer.activation} has no form in it; .npz and .json take any")
        weight = graph.constant(f"{name}.layers.{k}.weight", layer.weight)
        bias = graph.constant(f"{name}.layers.{k}.bias", layer.bias)
        inputs = _ACTIVATIONS[layer.activation](graph, graph.node("Gemm", inputs, weight, bias))
    return inputs
