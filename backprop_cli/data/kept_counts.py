"""Counts of many pictures, kept for the next time under a digest of what they were made of."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data import arrangement, normalize
from backprop_cli.data.normalize import FULL_COUNT
from backprop_cli.files import open_regular, write_atomic

MOST_FILES, MOST_BYTES = 16, 1024**3  # of what is kept; the files that were not used for longest go first


def digest_of(parts: Iterable[NDArray[Any]], *about: object) -> str:
    """Return the SHA-256 of pictures, part by part, of how they are counted, and of the code that counts."""
    digest = hashlib.sha256(repr(about).encode())
    for module in (arrangement, normalize):
        digest.update(Path(str(module.__file__)).read_bytes())
    for part in parts:
        digest.update(f"{part.dtype.str} {part.shape}".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def kept_counts(digest: str, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the counts that are kept under a digest; None where there are none, or other ones."""
    path = _home() / f"{digest}.npy"
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                return None
            found = np.load(io.BytesIO(file.read()), allow_pickle=False)
        os.utime(path)
    except Exception:  # not there yet, or damaged: counted again
        return None
    is_sound = found.shape == shape and found.dtype == np.uint8 and found.max(initial=0) <= FULL_COUNT
    return found if is_sound else None


def keep_counts(digest: str, counts: NDArray[np.uint8]) -> None:
    """Keep counts under a digest, whole or not at all; where nothing can be kept, nothing is."""
    content = io.BytesIO()
    np.save(content, counts)
    if content.tell() > MOST_BYTES:
        return
    with suppress(OSError):
        _home().mkdir(parents=True, exist_ok=True)
        write_atomic(_home() / f"{digest}.npy", content.getvalue())
        _tidy()


def _home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backprop"


def _tidy() -> None:
    """Remove what was not used for longest, until the rest is little enough."""
    files = sorted(_home().glob("*.npy"), key=lambda path: path.stat().st_mtime, reverse=True)
    n_bytes = 0
    for number, path in enumerate(files, 1):
        n_bytes += path.stat().st_size
        if number > MOST_FILES or n_bytes > MOST_BYTES:
            path.unlink(missing_ok=True)
