"""Named tensors and one JSON text in a safetensors file, all checked before use: how models and checkpoints are kept.

The file's one metadata entry, "backprop", is sorted JSON:

    {"content": {...}, "format": 1 or 2, "kind": "model" | "checkpoint", "sha256": 64 hex digits}

The digits are the SHA-256 of the whole file with zeros in their place. They tell damage, not forgery: a file from a
stranger may carry the right digits, so that everything is looked at as well. No clock and no chance goes into a file:
equal content gives equal bytes.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from backprop_cli.errors import ModelFileError, require
from backprop_cli.files import clean, parse_json, read_bounded, write_atomic

FORMAT: Final = 2  # the newest; what an older version may read is still written in its own
MAX_HEADER: Final = 2**20
MAX_BYTES: Final = {"model": 256 * 2**20, "checkpoint": 2**30}

Kind = Literal["model", "checkpoint"]
Tensors = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[int, ...]]

_DTYPES = {  # what may be stored, by NumPy's name and by that in the file
    "float64": "F64",
    "float32": "F32",
    "int64": "I64",
    "int32": "I32",
    "uint64": "U64",
    "uint32": "U32",
    "uint8": "U8",
    "bool": "BOOL",
}
_DIGITS = re.compile(rb'\\"sha256\\":\\"([0-9a-f]{64})\\"}"')  # the last key, so its closing brace follows
_NO_DIGITS = "0" * 64
_CHUNK = 2**20
_MAX_MESSAGE = 300


def pack(kind: Kind, tensors: Mapping[str, NDArray[Any]], content: Mapping[str, Any], version: int = 1) -> bytes:
    """Return the bytes of a file: built once with zeros for its checksum's digits, then with the digits.

    Raises:
        ValueError: When it could not be read back: a number is not finite, a dtype unknown, or the file too large.
    """
    dense = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    for name, array in dense.items():
        require((name != "__metadata__" and array.dtype.name in _DTYPES, f"cannot store the tensor {name!r}"))
        require((_all_finite(array), f"the tensor {name!r} holds a number that is not finite"))
    zeroed = save(dense, _envelope(kind, content, version, _NO_DIGITS))
    require((_header_length(zeroed) <= MAX_HEADER, f"its header would be larger than {MAX_HEADER} bytes"))
    require((len(zeroed) <= MAX_BYTES[kind], f"it would be larger than {MAX_BYTES[kind] // 2**20} MB"))
    digits = hashlib.sha256(zeroed).hexdigest()
    del zeroed  # not two files in memory beside the tensors
    return save(dense, _envelope(kind, content, version, digits))


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
        for name, entry in header.items():
            dtype = _mapping(entry, f"the tensor {name!r}", {"dtype", "shape", "data_offsets"})["dtype"]
            require((dtype in _DTYPES.values(), f"the tensor {name!r} is of an unknown dtype"))
        shapes = None if expected is None else expected(content)
        tensors: Tensors = load(raw)  # refuses lengths, offsets and shapes that do not fill the file
        require((shapes is None or tensors.keys() == shapes.keys(), "its tensors are not those of its layers"))
        for name, array in tensors.items():
            if shapes is not None:
                fits = array.dtype == np.float32 and array.shape == shapes[name]
                require((fits, f"the tensor {name!r} is not float32 of shape {shapes[name]}"))
            require((_all_finite(array), f"the tensor {name!r} holds a number that is not finite"))
    except MemoryError:
        raise ModelFileError(f"{clean(path)}: there is not enough memory to read it") from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, SafetensorError) as error:
        raise ModelFileError(f"{clean(path)}: {clean(error)[:_MAX_MESSAGE]}") from None
    return tensors, content


def save_tensors(
    path: Path, kind: Kind, tensors: Mapping[str, NDArray[Any]], content: Mapping[str, Any], version: int = 1
) -> None:
    """Write a file of its kind, atomically; see `pack`.

    Raises:
        ModelFileError: When it could not be read back.
        OSError: When the disk refuses; an older file is then still there.
    """
    try:
        raw = pack(kind, tensors, content, version)
    except ValueError as error:
        raise ModelFileError(f"{clean(path)}: not written: {clean(error)[:_MAX_MESSAGE]}") from error
    write_atomic(path, raw)


def load_tensors(
    path: Path, kind: Kind, expected: Callable[[dict[str, Any]], Shapes] | None
) -> tuple[Tensors, dict[str, Any]]:
    """Read and check a file; see `unpack`.

    Raises:
        ModelFileError: For anything but a whole file of its kind that keeps all the rules, whatever its bytes.
    """
    try:
        return unpack(read_bounded(path, MAX_BYTES[kind]), path, kind, expected)
    except OSError as error:
        raise ModelFileError(f"{clean(path)}: {clean(error.strerror or error)}") from error
    except MemoryError:
        raise ModelFileError(f"{clean(path)}: there is not enough memory to read it") from None


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
    save_tensors(path, "checkpoint", tensors, metadata)


def load_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read a checkpoint; the caller checks that its names and shapes are the ones it needs.

    Raises:
        ModelFileError: For anything but a whole checkpoint of finite numbers, whatever its bytes.
    """
    return load_tensors(path, "checkpoint", None)


# The envelope


def _envelope(kind: Kind, content: Mapping[str, Any], version: int, digits: str) -> dict[str, str]:
    """Return the safetensors metadata: one key, as several would come in random order."""
    fields = {"content": content, "format": version, "kind": kind, "sha256": digits}
    return {"backprop": json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)}


def _header_length(raw: bytes) -> int:
    return int.from_bytes(raw[:8], "little")


def _check_digits(raw: bytes) -> str:
    """Return the checksum's digits, looked for before anything in the file is trusted, if they are right."""
    match = _DIGITS.search(raw, 8, 8 + MAX_HEADER)
    if match is None:
        raise ValueError("not a backprop file, or damaged")
    view = memoryview(raw)
    found = hashlib.sha256(view[: match.start(1)])
    found.update(_NO_DIGITS.encode())
    found.update(view[match.end(1) :])
    digits = match[1].decode()
    require((found.hexdigest() == digits, "checksum mismatch; the file is damaged"))
    return digits


def _parse_header(raw: bytes) -> dict[str, Any]:
    length = _header_length(raw)
    require((2 <= length <= min(MAX_HEADER, len(raw) - 8), "its header's length is wrong"))
    header = parse_json(str(raw[8 : 8 + length], "utf-8"))
    return _mapping(header, "its header")


def _open_envelope(metadata: object, digits: str, kind: Kind) -> dict[str, Any]:
    """Return the content: the format is looked at first, as another one may hold anything else."""
    entries = _mapping(metadata, "its metadata", {"backprop"})
    text = entries["backprop"]
    require((isinstance(text, str), "its metadata is not text"))
    fields = _mapping(parse_json(text), "its metadata")
    version = fields.get("format")
    if type(version) is not int or version < 1:
        raise ValueError("its format number is missing")
    require((version <= FORMAT, f"written by a newer backprop (format {version}, this one reads {FORMAT})"))
    _mapping(fields, "its metadata", {"content", "format", "kind", "sha256"})
    require((fields["sha256"] == digits, "its checksum is in the wrong place"))
    require((fields["kind"] in MAX_BYTES, "it is of an unknown kind"))
    require((fields["kind"] == kind, f"this is a {fields['kind']}, not a {kind}"))
    return _mapping(fields["content"], "its content")


def _all_finite(array: NDArray[Any]) -> bool:
    """Return whether all numbers are finite, a chunk at a time as the answer to each number takes a byte."""
    if array.dtype.kind != "f":
        return True
    flat = array.reshape(-1)
    return all(bool(np.isfinite(flat[start : start + _CHUNK]).all()) for start in range(0, flat.size, _CHUNK))


def _mapping(value: object, name: str, keys: set[str] | None = None) -> dict[str, Any]:
    """Return a value that must be a mapping, of exactly these keys if given."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a mapping")
    if keys is not None and value.keys() != keys:
        odd = ", ".join(repr(key) for key in sorted(value.keys() ^ keys, key=str))
        raise ValueError(f"{name} has missing or unknown keys: {odd}")
    return value
