"""A classifier as plain arrays with documented names, in .npz or .json; and what every export says of itself.

The names, and a reader of ten lines of NumPy: docs/python.md, "Export".
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from backprop_cli.arrays import Array, Float32Array
from backprop_cli.predictor import Predictor

_LEFT_OUT = {
    "counts": "how a picture becomes counts: cropped to its ink, straightened, its ink counted in blocks",
    "layout": "how a picture's ink is laid as the rows lie that the model was trained on",
    "rows": "how a picture becomes a row such as the model was trained on",
}


def about(predictor: Predictor) -> dict[str, Any]:
    """Return what an export says of itself, as plain data: what goes in, what comes out, and what is left out."""
    model, full = predictor.model, predictor.scaling.max_value
    height, width = predictor.picture_size
    layout = model.preprocessing.get("layout")
    kind = "layout" if layout else "rows" if predictor.sees_rows else "counts"
    return {
        "schema": "backprop.model/1",
        "classes": list(predictor.classes),
        "picture_size": [height, width],
        "max_value": full,
        "input": f"grids, (n, {height * width}): {height}x{width} numbers, row by row, from 0, no ink, to {full:g}",
        "activations": [layer.activation for layer in predictor.networks[0].layers[:-1]],
        "output": predictor.loss.output,
        "temperature": model.temperature,
        "n_networks": len(predictor.networks),
        "preprocessing": {
            "kind": kind,
            "polarity": "ink high",
            "slant": model.preprocessing["slant"],
            "layout": layout,
        },
        "left_out": _LEFT_OUT[kind],
        "how_to": "import backprop_cli as backprop\n"
        "model = backprop.load(MODEL)  # the one that this was made from\n"
        f"grid = model.predict(PICTURE).pixels.reshape(1, -1) * {full:g}",
    }


def named_arrays(predictor: Predictor) -> dict[str, Float32Array]:
    """Return the numbers by their documented names, float32; layers are counted from 1, the output layer is the last.

    factor (), offset (n_inputs,): inputs are grids * factor - offset.
    weight_K (n_networks, fan_in, fan_out), bias_K (n_networks, 1, fan_out): of all networks at once.
    """
    factor, offset = predictor.scaling.affine()
    found: dict[str, Any] = {"factor": factor, "offset": offset}
    for k, layers in enumerate(zip(*(network.layers for network in predictor.networks), strict=True), 1):
        found[f"weight_{k}"] = np.stack([layer.weight for layer in layers])
        found[f"bias_{k}"] = np.stack([layer.bias[None] for layer in layers])
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def npz_bytes(predictor: Predictor) -> bytes:
    """Return a .npz file: the arrays, and `about` as JSON text; equal models give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, about=np.array(json.dumps(about(predictor))), **named_arrays(predictor))
    return buffer.getvalue()


def json_bytes(predictor: Predictor) -> bytes:
    """Return a JSON document: `about`, and the arrays as lists whose numbers read back as the very same float32."""
    lists = {name: _shortest(array).tolist() for name, array in named_arrays(predictor).items()}
    return (json.dumps({"about": about(predictor), **lists}, allow_nan=False, separators=(",", ":")) + "\n").encode()


def _shortest(array: Float32Array) -> Array:
    """Return float32 as the float64 of the fewest digits that is rounded to it."""
    short = array.astype("U16").astype(np.float64)
    return np.where(short.astype(np.float32) == array, short, array)
