"""A trained model in its file: what belongs to it, and what it may say."""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic_core import CoreSchema, SchemaValidator, ValidationError
from pydantic_core import core_schema as cs

from backprop_cli.errors import require
from backprop_cli.store.tensor_file import Shapes, Tensors, load_tensors, pack, save_tensors

MAX_UNITS: Final = 65_536
MAX_LAYERS: Final = 64
MAX_PARAMETERS: Final = 50_000_000
MAX_MEMBERS: Final = 1_000
MAX_CLASSES: Final = 1_000
MAX_NAME: Final = 100
MAX_SIDE: Final = 1_024
MAX_SCALARS: Final = 1_000


@dataclass(frozen=True, eq=False)
class Model:
    """A trained classifier with all that prediction needs: what is not in here plays no part in it.

    Activation and loss are names only, not looked up here: the network's builder checks them against its tables.

    Attributes:
        n_inputs: Pixels of a picture.
        layers: The hidden layers: {"units": int, "activation": str, "dropout": float in [0, 1)}. The output layer
            follows from the classes.
        classes: The class names, in the order of the outputs.
        members: One parameter vector per network of the ensemble, float32: layer after layer a table
            (fan_in + 1, fan_out), row by row, the bias in its last row.
        loss: The loss's settings, e.g. {"name": "cross_entropy", "label_smoothing": 0.0}.
        preprocessing: {"picture": [height, width], "max_value": what full ink is, "scale": float > 0,
            "slant": how pictures are set upright, edges, moments or none}, and for rows that were taken as they are
            "layout": how the ink of a picture is laid like them, see `data.layout.Layout`; format 2.
        mean: Mean of the training pixels, float32, (n_inputs,).
        config: The resolved config as plain data.
        summary: Numbers, strings and None that tell of the training: best_epoch, val_loss, ...
        temperature: Divides the logits before the softmax.

    Raises:
        ValueError: When made of parts that do not fit together or are too large.
    """

    n_inputs: int
    layers: tuple[dict[str, Any], ...]
    classes: tuple[str, ...]
    members: tuple[NDArray[np.float32], ...]
    loss: dict[str, Any]
    preprocessing: dict[str, Any]
    mean: NDArray[np.float32]
    config: dict[str, Any]
    summary: dict[str, Any]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        shapes = _expected_shapes(_describe(self))
        n_params = sum((fan_in + 1) * fan_out for fan_in, fan_out in _layer_shapes(_describe(self)))
        require((self.mean.shape == shapes["preprocessing.mean"], "mean does not have one value per input"))
        for vector in self.members:
            require((vector.shape == (n_params,), f"a member does not have the {n_params} parameters of its layers"))
        for array in (self.mean, *self.members):
            require((array.dtype == np.float32, "parameters and mean must be float32"))


def save_model(path: Path, model: Model) -> None:
    """Write a model file, atomically; equal models give equal bytes.

    Raises:
        ModelFileError: When a number is not finite or the file would be larger than one that can be read.
        OSError: When the disk refuses; an older file is then still there.
    """
    save_tensors(path, "model", _model_tensors(model), _describe(model), _format_of(model))


def model_bytes(model: Model) -> bytes:
    """Return what `save_model` writes: equal models give equal bytes.

    Raises:
        ValueError: When a number is not finite or the file would be larger than one that can be read.
    """
    return pack("model", _model_tensors(model), _describe(model), _format_of(model))


def load_model(path: Path) -> Model:
    """Read and check a model file; every bit is as it was saved.

    Raises:
        ModelFileError: For anything but a whole model file that keeps all the rules, whatever its bytes.
    """
    tensors, content = load_tensors(path, "model", _expected_shapes)
    names = [f"layers.{k}.{part}" for k in range(len(content["layers"]) + 1) for part in ("weight", "bias")]
    members = []
    for k in range(content.pop("members")):  # the tensors go as the vectors come: the file is never in memory thrice
        members.append(np.concatenate([tensors.pop(f"members.{k}.{name}").ravel() for name in names]))
    return Model(
        n_inputs=content["n_inputs"],
        layers=tuple(content["layers"]),
        classes=tuple(content["classes"]),
        members=tuple(members),
        loss=content["loss"],
        preprocessing=content["preprocessing"],
        mean=tensors["preprocessing.mean"],
        config=content["config"],
        summary=content["summary"],
        temperature=float(content["temperature"]),
    )


# The model's content


def _describe(model: Model) -> dict[str, Any]:
    """Return what a model file says besides its tensors."""
    return {
        "classes": list(model.classes),
        "config": model.config,
        "layers": list(model.layers),
        "loss": model.loss,
        "members": len(model.members),
        "n_inputs": model.n_inputs,
        "preprocessing": model.preprocessing,
        "summary": model.summary,
        "temperature": model.temperature,
    }


def _format_of(model: Model) -> int:
    """Return 2 where an older version would misread a picture, else what all of them read."""
    return 2 if "layout" in model.preprocessing else 1


def _model_tensors(model: Model) -> Tensors:
    """Return views of the parameter vectors, layer by layer, under their names in the file."""
    tensors: Tensors = {"preprocessing.mean": model.mean}
    for k, vector in enumerate(model.members):
        start = 0
        for layer, (fan_in, fan_out) in enumerate(_layer_shapes(_describe(model))):
            stop = start + (fan_in + 1) * fan_out
            table = vector[start:stop].reshape(fan_in + 1, fan_out)
            tensors[f"members.{k}.layers.{layer}.weight"] = table[:-1]
            tensors[f"members.{k}.layers.{layer}.bias"] = table[-1]
            start = stop
    return tensors


def _layer_shapes(content: dict[str, Any]) -> list[tuple[int, int]]:
    """Return (fan_in, fan_out) of every layer, the output layer last."""
    units = [layer["units"] for layer in content["layers"]]
    return list(pairwise([content["n_inputs"], *units, len(content["classes"])]))


def _expected_shapes(content: dict[str, Any]) -> Shapes:
    """Check a model's content and return the name and shape of every tensor that belongs to it."""
    _check_content(content)
    shapes = _layer_shapes(content)
    n_params = content["members"] * sum((fan_in + 1) * fan_out for fan_in, fan_out in shapes)
    require((n_params <= MAX_PARAMETERS, f"it has {n_params} parameters; at most {MAX_PARAMETERS} are allowed"))
    expected: Shapes = {"preprocessing.mean": (content["n_inputs"],)}
    for k in range(content["members"]):
        for layer, (fan_in, fan_out) in enumerate(shapes):
            expected[f"members.{k}.layers.{layer}.weight"] = (fan_in, fan_out)
            expected[f"members.{k}.layers.{layer}.bias"] = (fan_out,)
    return expected


def _record(*, optional: str = "", **fields: CoreSchema) -> CoreSchema:
    """Return the schema of a mapping with exactly these keys, one of which may be missing."""
    required = {name: cs.typed_dict_field(schema, required=name != optional) for name, schema in fields.items()}
    return cs.typed_dict_schema(required, extra_behavior="forbid")


_NAME = cs.str_schema(max_length=MAX_NAME)
_POSITIVE = cs.float_schema(ge=1e-30, le=1e30)  # it can be divided by, and what is left is still a number
_SCALAR = cs.union_schema(
    [cs.none_schema(), cs.bool_schema(), cs.str_schema(), cs.int_schema(), cs.float_schema(allow_inf_nan=False)],
    custom_error_type="scalar",
    custom_error_message="Numbers, texts and null only",
)
_SCALARS = cs.dict_schema(cs.str_schema(), _SCALAR, max_length=MAX_SCALARS)
_LAYER = _record(units=cs.int_schema(ge=1, le=MAX_UNITS), activation=_NAME, dropout=cs.float_schema(ge=0, lt=1))
_PLACE = cs.float_schema(ge=-1e5, le=1e5)  # in pixels
_LENGTH = cs.float_schema(ge=1, le=1e5)
_LAYOUT = _record(
    fit=cs.literal_schema(["longer", "height", "width", "both"]),
    height=_LENGTH,
    width=_LENGTH,
    longer=_LENGTH,
    center=cs.literal_schema(["mass", "box"]),
    y=_PLACE,
    x=_PLACE,
    upright=cs.bool_schema(),
    least=cs.list_schema(_PLACE, min_length=4, max_length=4),
    most=cs.list_schema(_PLACE, min_length=4, max_length=4),
)
_PREPROCESSING = _record(
    picture=cs.list_schema(cs.int_schema(ge=1, le=MAX_SIDE), min_length=2, max_length=2),
    max_value=_POSITIVE,
    scale=_POSITIVE,
    slant=cs.literal_schema(["edges", "moments", "none"]),
    layout=_LAYOUT,
    optional="layout",
)
# Built from its parts, as pydantic's own way to them, from annotations, adds 20 ms to every start.
_CONTENT = SchemaValidator(
    _record(
        classes=cs.list_schema(_NAME, min_length=2, max_length=MAX_CLASSES),
        config=cs.dict_schema(cs.str_schema()),
        layers=cs.list_schema(_LAYER, max_length=MAX_LAYERS),
        loss=_SCALARS,
        members=cs.int_schema(ge=1, le=MAX_MEMBERS),
        n_inputs=cs.int_schema(),
        preprocessing=_PREPROCESSING,
        summary=_SCALARS,
        temperature=_POSITIVE,
    ),
)


def _check_content(content: dict[str, Any]) -> None:
    """Raise ValueError for the first thing in a model's content that breaks a rule."""
    try:
        _CONTENT.validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    n_pixels = math.prod(content["preprocessing"]["picture"])
    require((content["n_inputs"] == n_pixels, "n_inputs is not the number of pixels"))
    require((len(set(content["classes"])) == len(content["classes"]), "a class name appears twice"))
    name = content["loss"].get("name")
    require((isinstance(name, str) and len(name) <= MAX_NAME, "loss.name must be a short text"))
