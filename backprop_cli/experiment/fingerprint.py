"""What a data set holds, in a few figures that tell whether it has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backprop_cli.data.dataset import Dataset


@dataclass(frozen=True)
class Fingerprint:
    """What a data set holds.

    Attributes:
        rows: How many.
        sha256: Of its pictures and labels.
        names_sha256: Of the names of its classes, and of who wrote what, which decides how it is split.
    """

    rows: int
    sha256: str
    names_sha256: str

    @classmethod
    def of(cls, dataset: Dataset) -> Fingerprint:
        """Return the fingerprint of a data set as the network sees it."""
        contents, names = hashlib.sha256(), hashlib.sha256(json.dumps(dataset.classes).encode())
        for array in (dataset.pictures, dataset.labels):
            contents.update(np.ascontiguousarray(array).data)
        if dataset.groups is not None:
            names.update(np.ascontiguousarray(dataset.groups).data)
        return cls(len(dataset), contents.hexdigest(), names.hexdigest())

    def change(self, then: Mapping[str, object]) -> str | None:
        """Return what is not as in a recorded fingerprint, in words; None where all that it holds is the same."""
        rows = then.get("rows")
        if isinstance(rows, int) and rows != self.rows:
            return f"{self.rows:,} rows, not {rows:,}"
        if then.get("sha256", self.sha256) != self.sha256:
            return f"its {self.rows:,} rows hold other pictures or labels"
        if then.get("names_sha256", self.names_sha256) != self.names_sha256:
            return "other names of classes, or other writers"
        return None
