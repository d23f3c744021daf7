"""Drawings kept as a folder of pictures, `mine/7/0001.png`, which training reads as any other folder of classes."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backprop_cli.data.image import decode, is_litter
from backprop_cli.errors import PictureError, UsageError
from backprop_cli.files import clean, write_new

if TYPE_CHECKING:
    from backprop_cli.api.models import Model

FOLDER = "mine"
MAX_KEPT = 2000  # pictures in the folder; each is at most 320 pixels wide and high

_NUMBER = re.compile(r"([0-9]{4,9})\.png")
_CLASS = re.compile(r"[^/\\\x00-\x1f\x7f:]{1,100}")


def small_picture(content: bytes, where: str = "picture") -> bytes:
    """Return any picture file as a PNG in gray, at most 320 pixels wide and high.

    Raises:
        PictureError: It cannot be read.
    """
    from PIL import Image

    try:
        levels = np.round(decode(content, where) * 255.0).astype(np.uint8)
    except PictureError as problem:
        raise PictureError(str(problem).removeprefix(f"{where}: ")) from None
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def keep_picture(folder: Path, label: str, content: bytes) -> Path:
    """Write a picture into the folder of its class, under the next number; nothing that is there is changed.

    Args:
        folder: Of all classes; made where it is missing.
        label: What the picture shows.
        content: A picture file.

    Raises:
        PictureError: It cannot be read.
        UsageError: The folder is full, or the class has a name that no folder can have.
        OSError: It cannot be written.
    """
    if not _CLASS.fullmatch(label) or is_litter(label):
        raise UsageError(f"{clean(label)}: the name of this class cannot be the name of a folder")
    picture, place = small_picture(content), folder / label
    if n_kept(folder) >= MAX_KEPT:
        raise UsageError(f"{folder}: holds {MAX_KEPT:,} pictures, the most it may; move some away")
    place.mkdir(parents=True, exist_ok=True)
    number = max((int(match[1]) for path in place.iterdir() if (match := _NUMBER.fullmatch(path.name))), default=0)
    while True:
        number += 1
        path = place / f"{number:04}.png"
        try:
            write_new(path, picture)
        except FileExistsError:  # somebody else has just taken that number
            continue
        return path


def n_kept(folder: Path) -> int:
    """Return how many pictures the folder holds."""
    return sum(1 for path in folder.glob("*/*") if _NUMBER.fullmatch(path.name))


def n_right(model: Model, folder: Path) -> tuple[int, int]:
    """Return how many of the pictures in the folder a model reads rightly, and how many there are."""
    paths = [path for path in sorted(folder.glob("*/*")) if _NUMBER.fullmatch(path.name)]
    found = model.predict_many(paths) if paths else ()
    return sum(one.predicted == path.parent.name for one, path in zip(found, paths, strict=True)), len(paths)
