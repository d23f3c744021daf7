"""Data sets of openml.org; what was fetched once is kept where scikit-learn keeps its own."""

from __future__ import annotations

import io
import os
import re
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.shared import (
    A_PIXEL,
    LARGEST,
    BadRows,
    Wanted,
    as_bytes_if_exact,
    dataset_of,
    is_name,
    square_side,
)
from backprop_cli.errors import DataError, reason_of
from backprop_cli.files import open_regular, write_atomic

PREFIX = "openml:"
WITH_TEST_LAST = ("mnist_784", "Fashion-MNIST")
OPENML_SECONDS = 10.0  # without a byte from the other side


def matches(source: str) -> bool:
    """Return whether a source is a data set of openml.org."""
    return source.startswith(PREFIX)


def load(source: str, wanted: Wanted) -> Dataset:
    """Return a data set of openml.org; what was fetched once is kept where scikit-learn keeps its own.

    Args:
        source: `openml:NAME`.
        wanted: Whether bad rows are left out.

    Raises:
        DataError: It cannot be downloaded, is not a table of square pictures, or rows are bad.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", name := source.removeprefix(PREFIX), re.ASCII):
        raise DataError(f"{source}: not the name of a data set, such as openml:mnist_784")
    home = Path(os.environ.get("SCIKIT_LEARN_DATA") or Path.home() / "scikit_learn_data")
    kept = home / "backprop" / f"{name}.npz"
    try:
        with open_regular(kept) as file, np.load(file, allow_pickle=False) as arrays:
            pixels, labels = arrays["pixels"], arrays["labels"]
    except Exception:  # not there yet, or damaged: fetched again
        pixels, labels = _fetch(source, name)
        _keep(kept, pixels=pixels, labels=labels)
    found = _dataset_of_table(source, pixels, labels, skip_bad=wanted.skip_bad)
    return replace(found, has_test_last=name in WITH_TEST_LAST)


def _fetch(source: str, name: str) -> tuple[NDArray[Any], NDArray[np.str_]]:
    """Return pixels, (n, n_pixels), and labels, (n,), as they are on openml.org."""
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings(), _patience(OPENML_SECONDS):
            warnings.simplefilter("ignore")  # about versions, and about trying again
            found = fetch_openml(name, as_frame=False, parser="liac-arff", n_retries=1, delay=0.2)
    except Exception as error:  # the network, openml.org and the reader have dozens of kinds
        raise DataError(
            f"{source}: cannot be fetched ({reason_of(error)}); check the network, and the name at openml.org"
        ) from error
    pixels, labels = found.data, found.target
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.dtype.kind not in "fiub":
        raise DataError(f"{source}: not a table of numbers")
    if not isinstance(labels, np.ndarray) or labels.shape != (len(pixels),):
        raise DataError(f"{source}: not a table with one column of labels")
    bad = np.array([label is None or label != label for label in labels.tolist()])
    return _small(pixels), np.where(bad, "", labels.astype(str))


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Limit inside the block how long the network may be silent."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _small(pixels: NDArray[Any]) -> NDArray[Any]:
    return as_bytes_if_exact(pixels) if np.isfinite(pixels).all() and pixels.min(initial=0) >= 0 else pixels


def _keep(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays for the next time, whole or not at all; where that cannot be, there is none."""
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content.getvalue())


def _dataset_of_table(source: str, pixels: NDArray[Any], labels: NDArray[Any], *, skip_bad: bool) -> Dataset:
    """Return the data set of pixels, (n, n_pixels), and labels as text, (n,)."""
    side, bad = square_side(source, pixels.shape[1]), BadRows(source)
    numbers = ((pixels >= 0) & (pixels <= LARGEST)).all(axis=1)
    named = np.array([is_name(label) for label in labels.tolist()], np.bool_)
    for row in np.flatnonzero(~(numbers & named)):
        bad.add(f"{source}:{row}", "no label" if not named[row] else f"some pixels are not valid; {A_PIXEL} for each")
    good = numbers & named
    bad.raise_if_bad(int(good.sum()), skip=skip_bad)
    kept = np.flatnonzero(good) if bad.n else None
    pictures = pixels if good.all() else as_bytes_if_exact(pixels[good])
    return dataset_of(source, pictures.reshape(-1, side, side), labels[good], n_skipped=bad.n, numbers=kept)
