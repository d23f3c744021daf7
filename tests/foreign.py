"""Arrays as people have them, made from scikit-learn's digits: MNIST-like, and every way in which they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backprop_cli.data.dataset import load_digits

Array = NDArray[Any]


def large(start: int, n: int) -> Array:
    """Return digits drawn 20x20 in the middle of 28x28 bytes, ink bright on 0, (n, 28, 28)."""
    out = np.zeros((n, 28, 28), np.uint8)
    for row, counts in zip(out, load_digits().pictures[start : start + n], strict=True):
        digit = Image.fromarray((counts * 15.9375).astype(np.uint8)).resize((20, 20), Image.Resampling.BICUBIC)
        row[4:24, 4:24] = np.asarray(digit)
    return out


def labels(start: int, n: int) -> Array:
    return load_digits().labels[start : start + n]


FORMS: dict[str, Any] = {  # the same digits, as others keep them
    "bytes": lambda images: images,
    "unit": lambda images: (images / 255).astype(np.float32),
    "half": lambda images: (images / 255).astype(np.float16),
    "around 0": lambda images: (images / 127.5 - 1).astype(np.float32),
    "big-endian": lambda images: np.asfortranarray(images.astype(">i4")),
    "around 0, half as far": lambda images: (images / 255 - 0.5).astype(np.float32),
    "paper": lambda images: 255 - images,
    "paper, unit": lambda images: ((255 - images) / 255).astype(np.float32),
    "transposed": lambda images: images.transpose(0, 2, 1),
    "transposed paper": lambda images: 255 - images.transpose(0, 2, 1),
}


def csv(path: Path, images: Array, names: Array | None = None, *, header: bool = True) -> str:
    """Write a CSV file, as Kaggle's are."""
    rows = images.reshape(len(images), -1).astype(str).tolist()
    lines = [",".join([*([] if names is None else [str(names[k])]), *row]) for k, row in enumerate(rows)]
    head = ",".join([*([] if names is None else ["label"]), *(f"pixel{k}" for k in range(len(rows[0])))])
    path.write_text("\n".join([head, *lines] if header else lines) + "\n")
    return str(path)


def save(path: Path, images: Array, names: Array) -> str:
    np.savez(path, images=images, labels=names)
    return str(path)


def save_pictures(folder: Path, images: Array) -> list[str]:
    """Write pictures as a person sees them, dark on white; return their paths."""
    folder.mkdir()
    paths = []
    for k, image in enumerate(images):
        paths.append(str(folder / f"{k:03d}.png"))
        Image.fromarray(255 - image).save(paths[-1])
    return paths
