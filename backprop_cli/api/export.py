"""A model in a file of another format: ONNX, or plain arrays as .npz or .json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_cli.api.arguments import Reference
from backprop_cli.api.models import Model, load
from backprop_cli.errors import ArgumentError
from backprop_cli.exporters import arrays, onnx
from backprop_cli.files import clean, write_atomic
from backprop_cli.predictor import Predictor

FORMATS: dict[str, Callable[[Predictor], bytes]] = {
    ".onnx": onnx.onnx_bytes,
    ".npz": arrays.npz_bytes,
    ".json": arrays.json_bytes,
}


@dataclass(frozen=True, eq=False, repr=False)
class Export:
    """A model written in another format.

    Attributes:
        path: The file.
        model: The model's file; None for one that was never written.
        n_bytes: Its size.
        about: What it says of itself: what goes in, what comes out, and what is left out.
    """

    path: Path
    model: Path | None
    n_bytes: int
    about: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Export {clean(self.path)}: {self.sentence}>"

    @property
    def sentence(self) -> str:
        """What the file holds, in words."""
        n = self.about["n_networks"]
        networks = "1 network" if n == 1 else f"{n:,} networks and their mean answer"
        (height, width), full = self.about["picture_size"], self.about["max_value"]
        grids = f"{height}x{width} grids from 0 (no ink) to {full:g} (full ink)"
        return f"{networks}: {grids} in, probabilities of {len(self.about['classes']):,} classes out"

    @property
    def left_out(self) -> str:
        """What the file leaves out, in words, and the lines of Python that do it."""
        return f"{self.about['left_out']}; these lines do it:\n{self.about['how_to']}"

    @property
    def usage(self) -> str:
        """How the file is used, in words."""
        if self.path.suffix.lower() == ".onnx":
            run = f'run(None, {{"{onnx.GRIDS}": grids}})'
            return f"probabilities, predictions = onnxruntime.InferenceSession({str(self.path)!r}).{run}"
        return 'ten lines of NumPy read it; they stand in docs/python.md of backprop_cli, under "Export"'

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of `export`."""
        return {
            "schema": "backprop.export/1",
            "path": str(self.path),
            "model": None if self.model is None else str(self.model),
            "format": self.path.suffix.lower().removeprefix("."),
            "n_bytes": self.n_bytes,
            **{key: value for key, value in self.about.items() if key != "schema"},
        }


def export(model: Model | Reference | None, path: Reference, *, force: bool = False) -> Export:
    """Write a model in another format: the whole classifier, but for what brings a picture to the network's form.

    Args:
        model: What `load` gives or takes.
        path: The file, whose ending says the format: .onnx (with the `onnx` package), .npz or .json.
        force: Whether it may be there already.

    Raises:
        ArgumentError: The file has another ending, or already exists.
        ModelFileError: There is no such model, or its file is damaged.
        UsageError: The `onnx` package is not installed, or an activation has no form in ONNX.
        OSError: It cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise ArgumentError(f"path {target}: its name must end in {' or '.join(FORMATS)}")
    if target.exists() and not force:
        raise ArgumentError(f"path {target}: already exists; force=True overwrites it")
    found = model if isinstance(model, Model) else load(model)
    content = FORMATS[target.suffix.lower()](found.predictor)
    write_atomic(target, content)
    return Export(target, found.path, len(content), arrays.about(found.predictor))
