"""The model file and the checkpoint: named tensors and one JSON text in a safetensors file, all checked before use.

The file's one metadata entry, "backprop", is sorted JSON:

    {"content": {...}, "format": 1, "kind": "model" | "checkpoint", "sha256": 64 hex digits}

The digits are the SHA-256 of the whole file with zeros in their place. They tell damage, not forgery: a file from a
stranger may carry the right digits, so that everything is looked at as well. No clock and no chance goes into a file:
equal content gives equal bytes.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from backprop_cli.errors import ModelFileError
from backprop_cli.files import clean, parse_json, read_bounded, write_atomic

FORMAT: Final = 1
MAX_HEADER: Final = 2**20
MAX_BYTES: Final = {"model": 256 * 2**20, "checkpoint": 2**30}
MAX_UNITS: Final = 65_536
MAX_LAYERS: Final = 64
MAX_PARAMETERS: Final = 50_000_000
MAX_MEMBERS: Final = 1_000
MAX_CLASSES: Final = 1_000
MAX_NAME: Final = 100
MAX_SIDE: Final = 1_024

Kind = Literal["model", "checkpoint"]
Tensors = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[int, ...]]

_ITEM_BYTES = {"F64": 8, "F32": 4, "I64": 8, "I32": 4, "U64": 8, "U32": 4, "U8": 1, "BOOL": 1}
_DTYPES = {"float64", "float32", "int64", "int32", "uint64", "uint32", "uint8", "bool"}
_DIGITS = re.compile(rb'\\"sha256\\":\\"([0-9a-f]{64})\\"}"')  # the last key, so its closing brace follows
_NO_DIGITS = "0" * 64
_CHUNK = 2**20
_MAX_MESSAGE = 300


@dataclass(frozen=True, eq=False)
class Model:
    """A trained classifier with all that prediction needs: what is not in here plays no part in it.

    Activation and loss are names only, not looked up here: whoever builds the network checks them against its tables.

    Attributes:
        n_inputs: Pixels of a picture.
        layers: The hidden layers: {"units": int, "activation": str, "dropout": float in [0, 1)}. The output layer
            follows from the classes.
        classes: The class names, in the order of the outputs.
        members: One parameter vector per network of the ensemble, float32: layer after layer a table
            (fan_in + 1, fan_out), row by row, the bias in its last row.
        loss: The loss's settings, e.g. {"name": "cross_entropy", "label_smoothing": 0.0}.
        preprocessing: {"picture": [height, width], "max_value": what full ink is, "scale": float > 0,
            "slant": how pictures are set upright, edges, moments or none}.
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
        _require(self.mean.shape == shapes["preprocessing.mean"], "mean does not have one value per input")
        for vector in self.members:
            _require(vector.shape == (n_params,), f"a member does not have the {n_params} parameters of its layers")
        for array in (self.mean, *self.members):
            _require(array.dtype == np.float32, "parameters and mean must be float32")


def save_model(path: Path, model: Model) -> None:
    """Write a model file, atomically; equal models give equal bytes.

    Raises:
        ModelFileError: When a number is not finite or the file would be larger than one that can be read.
        OSError: When the disk refuses; an older file is then still there.
    """
    _save(path, "model", _model_tensors(model), _describe(model))


def model_bytes(model: Model) -> bytes:
    """Return what `save_model` writes: equal models give equal bytes.

    Raises:
        ValueError: When a number is not finite or the file would be larger than one that can be read.
    """
    return pack("model", _model_tensors(model), _describe(model))


def load_model(path: Path) -> Model:
    """Read and check a model file; every bit is as it was saved.

    Raises:
        ModelFileError: For anything but a whole model file that keeps all the rules, whatever its bytes.
    """
    tensors, content = _load(path, "model", _expected_shapes)
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


def save_checkpoint(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write a checkpoint, atomically; equal content gives equal bytes.

    Args:
        path: The file.
        tensors: Arrays of 32 or 64 bits, uint8 or bool, all numbers finite.
        metadata: Plain JSON data (string keys, no NaN or infinity); integers up to 128 bits stay exact.

    Raises:
        ModelFileError: When a number is not finite, or the file would be larger than one that can be read.
        OSError: When the disk refuses; an older file is then still there.
    """
    _save(path, "checkpoint", tensors, metadata)


def load_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read a checkpoint; the caller checks that its names and shapes are the ones it needs.

    Raises:
        ModelFileError: For anything but a whole checkpoint of finite numbers, whatever its bytes.
    """
    return _load(path, "checkpoint", None)


def pack(kind: Kind, tensors: Mapping[str, NDArray[Any]], content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file: built once with zeros for its checksum's digits, then with the digits.

    Raises:
        ValueError: When it could not be read back: a number is not finite, a dtype unknown, or the file too large.
    """
    dense = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    for name, array in dense.items():
        _require(name != "__metadata__" and array.dtype.name in _DTYPES, f"cannot store the tensor {name!r}")
        _require(_all_finite(array), f"the tensor {name!r} holds a number that is not finite")
    zeroed = save(dense, _envelope(kind, content, _NO_DIGITS))
    _require(_header_length(zeroed) <= MAX_HEADER, f"its header would be larger than {MAX_HEADER} bytes")
    _require(len(zeroed) <= MAX_BYTES[kind], f"it would be larger than {MAX_BYTES[kind] // 2**20} MB")
    digits = hashlib.sha256(zeroed).hexdigest()
    del zeroed  # not two files in memory beside the tensors
    return save(dense, _envelope(kind, content, digits))


def unpack(
    raw: bytes, path: Path, kind: Kind, expected: Callable[[dict[str, Any]], Shapes] | None = None
) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors and the content of a file's bytes once all of it is found sound.

    Args:
        raw: The whole file.
        path: For messages.
        kind: What the file must be.
        expected: Checks the content, raising ValueError, and returns the name and shape of every tensor, all float32.

    Raises:
        ModelFileError: For any bytes that `pack` would not have made.
    """
    try:
        digits = _check_digits(raw)
        header = _parse_header(raw)
        content = _open_envelope(header.pop("__metadata__", None), digits, kind)
        entries = {name: _check_entry(name, entry) for name, entry in header.items()}
        _check_offsets([(begin, end) for _, _, begin, end in entries.values()], len(raw) - 8 - _header_length(raw))
        if expected is not None:
            _check_expected({name: entry[:2] for name, entry in entries.items()}, expected(content))
        tensors: Tensors = load(raw)
        for name, array in tensors.items():
            _require(_all_finite(array), f"the tensor {name!r} holds a number that is not finite")
    except MemoryError:
        raise ModelFileError(f"{clean(path)}: there is not enough memory to read it") from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, SafetensorError) as error:
        raise ModelFileError(f"{clean(path)}: {clean(error)[:_MAX_MESSAGE]}") from None
    return tensors, content


def _save(path: Path, kind: Kind, tensors: Mapping[str, NDArray[Any]], content: Mapping[str, Any]) -> None:
    try:
        raw = pack(kind, tensors, content)
    except ValueError as error:
        raise ModelFileError(f"{clean(path)}: not written: {clean(error)[:_MAX_MESSAGE]}") from error
    write_atomic(path, raw)


def _load(
    path: Path, kind: Kind, expected: Callable[[dict[str, Any]], Shapes] | None
) -> tuple[Tensors, dict[str, Any]]:
    try:
        return unpack(read_bounded(path, MAX_BYTES[kind]), path, kind, expected)
    except OSError as error:
        raise ModelFileError(f"{clean(path)}: {clean(error.strerror or error)}") from error
    except MemoryError:
        raise ModelFileError(f"{clean(path)}: there is not enough memory to read it") from None


# The container


def _envelope(kind: Kind, content: Mapping[str, Any], digits: str) -> dict[str, str]:
    """Return the safetensors metadata: one key, as several would come in random order."""
    fields = {"content": content, "format": FORMAT, "kind": kind, "sha256": digits}
    return {"backprop": json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)}


def _header_length(raw: bytes) -> int:
    return int.from_bytes(raw[:8], "little")


def _check_digits(raw: bytes) -> str:
    """Return the checksum's digits, looked for before anything in the file is trusted, if they are right."""
    match = _DIGITS.search(raw, 8, 8 + MAX_HEADER)
    if match is None:
        raise ValueError("not a file of backprop, or a damaged one")
    view = memoryview(raw)
    found = hashlib.sha256(view[: match.start(1)])
    found.update(_NO_DIGITS.encode())
    found.update(view[match.end(1) :])
    digits = match[1].decode()
    _require(found.hexdigest() == digits, "checksum mismatch; the file is damaged")
    return digits


def _parse_header(raw: bytes) -> dict[str, Any]:
    length = _header_length(raw)
    _require(2 <= length <= min(MAX_HEADER, len(raw) - 8), "its header's length is wrong")
    header = parse_json(str(raw[8 : 8 + length], "utf-8"))
    return _mapping(header, "its header")


def _open_envelope(metadata: object, digits: str, kind: Kind) -> dict[str, Any]:
    """Return the content: the format is looked at first, as another one may hold anything else."""
    entries = _mapping(metadata, "its metadata", {"backprop"})
    text = entries["backprop"]
    _require(isinstance(text, str), "its metadata is not text")
    fields = _mapping(parse_json(text), "its metadata")
    version = fields.get("format")
    _require(type(version) is int and version >= 1, "its format has no number")
    _require(version == FORMAT, f"written by a newer backprop (format {version}, this one reads {FORMAT})")
    _mapping(fields, "its metadata", {"content", "format", "kind", "sha256"})
    _require(fields["sha256"] == digits, "its checksum stands in the wrong place")
    _require(fields["kind"] in MAX_BYTES, "it is of an unknown kind")
    _require(fields["kind"] == kind, f"this is a {fields['kind']}, not a {kind}")
    return _mapping(fields["content"], "its content")


def _check_entry(name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    """Return one tensor's dtype, shape, begin and end, if they agree."""
    fields = _mapping(entry, f"the tensor {name!r}", {"dtype", "shape", "data_offsets"})
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    _require(isinstance(dtype, str) and dtype in _ITEM_BYTES, f"the tensor {name!r} has an unknown dtype")
    _require(_are_counts(shape) and len(shape) <= 8, f"the tensor {name!r} has an impossible shape")
    _require(_are_counts(offsets) and len(offsets) == 2, f"the tensor {name!r} has impossible offsets")
    begin, end = offsets
    _require(end - begin == math.prod(shape) * _ITEM_BYTES[dtype], f"the tensor {name!r} has the wrong length")
    return dtype, tuple(shape), begin, end


def _check_offsets(offsets: list[tuple[int, int]], n_bytes: int) -> None:
    """Check that the tensors fill the file's body one after the other, with no gap, overlap or rest."""
    position = 0
    for begin, end in sorted(offsets):
        _require(begin == position, "its tensors overlap or leave a gap")
        position = end
    _require(position == n_bytes, "its tensors do not fill the file")


def _check_expected(found: dict[str, tuple[str, tuple[int, ...]]], shapes: Shapes) -> None:
    _require(found.keys() == shapes.keys(), "its tensors are not those of its layers")
    for name, shape in shapes.items():
        _require(found[name] == ("F32", shape), f"the tensor {name!r} is not float32 of shape {shape}")


def _all_finite(array: NDArray[Any]) -> bool:
    """Return whether all numbers are finite, a chunk at a time as the answer to each number takes a byte."""
    if array.dtype.kind != "f":
        return True
    flat = array.reshape(-1)
    return all(bool(np.isfinite(flat[start : start + _CHUNK]).all()) for start in range(0, flat.size, _CHUNK))


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
    _require(n_params <= MAX_PARAMETERS, f"it has {n_params} parameters; at most {MAX_PARAMETERS} are allowed")
    expected: Shapes = {"preprocessing.mean": (content["n_inputs"],)}
    for k in range(content["members"]):
        for layer, (fan_in, fan_out) in enumerate(shapes):
            expected[f"members.{k}.layers.{layer}.weight"] = (fan_in, fan_out)
            expected[f"members.{k}.layers.{layer}.bias"] = (fan_out,)
    return expected


def _check_content(content: dict[str, Any]) -> None:
    keys = {"classes", "config", "layers", "loss", "members", "n_inputs", "preprocessing", "summary", "temperature"}
    _mapping(content, "its content", keys)
    _check_preprocessing(content["preprocessing"], content["n_inputs"])
    _check_layers(content["layers"])
    _check_classes(content["classes"])
    _require(_is_count(content["members"], 1, MAX_MEMBERS), f"members must be 1 to {MAX_MEMBERS} networks")
    _require(_is_positive(content["temperature"]), "temperature must be a number from 1e-30 to 1e30")
    _mapping(content["config"], "config")
    loss = _mapping(content["loss"], "loss")
    _require(_is_name(loss.get("name")), "loss.name must be a short text")
    for name in ("loss", "summary"):
        values = _mapping(content[name], name).values()
        _require(all(_is_scalar(value) for value in values), f"{name} may hold numbers, texts and null only")


def _check_preprocessing(value: object, n_inputs: object) -> None:
    fields = _mapping(value, "preprocessing", {"picture", "max_value", "scale", "slant"})
    _require(fields["slant"] in ("edges", "moments", "none"), "preprocessing.slant must be edges, moments or none")
    picture = fields["picture"]
    is_pair = isinstance(picture, list | tuple) and len(picture) == 2
    _require(is_pair and all(_is_count(side, 1, MAX_SIDE) for side in picture), "picture must be [height, width]")
    _require(type(n_inputs) is int and n_inputs == math.prod(picture), "n_inputs is not the number of pixels")
    for name in ("max_value", "scale"):
        _require(_is_positive(fields[name]), f"preprocessing.{name} must be a number from 1e-30 to 1e30")


def _check_layers(value: object) -> None:
    if not isinstance(value, list) or len(value) > MAX_LAYERS:
        raise ValueError(f"layers must be a list of at most {MAX_LAYERS}")
    for layer in value:
        fields = _mapping(layer, "a layer", {"units", "activation", "dropout"})
        _require(_is_count(fields["units"], 1, MAX_UNITS), f"units must be 1 to {MAX_UNITS}")
        _require(_is_name(fields["activation"]), "activation must be a short text")
        _require(_is_number(fields["dropout"]) and 0 <= fields["dropout"] < 1, "dropout must be from 0 to below 1")


def _check_classes(value: object) -> None:
    if not isinstance(value, list) or not 2 <= len(value) <= MAX_CLASSES:
        raise ValueError(f"classes must be a list of 2 to {MAX_CLASSES}")
    _require(all(_is_name(name) for name in value), f"class names must be texts of at most {MAX_NAME} characters")
    _require(len(set(value)) == len(value), "a class name stands twice")


# Small checks


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _mapping(value: object, name: str, keys: set[str] | None = None) -> dict[str, Any]:
    """Return a value that must be a mapping, of exactly these keys if given."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a mapping")
    if keys is not None and value.keys() != keys:
        odd = ", ".join(repr(key) for key in sorted(value.keys() ^ keys, key=str))
        raise ValueError(f"{name} has missing or unknown keys: {odd}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    """Return whether a number can be divided by, and what is left still be a number."""
    return _is_number(value) and 1e-30 <= value <= 1e30


def _is_count(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, bool | str) or _is_number(value)
