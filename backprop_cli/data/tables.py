"""Tables in which a row is a label and the pixels of a square picture: CSV files, and data sets of openml.org."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.reading import (
    LARGEST,
    MAX_NAME,
    MAX_UNPACKED,
    BadRows,
    compact,
    dataset_of,
    is_name,
    unpacked,
)
from backprop_cli.errors import DataError, reason_of
from backprop_cli.files import open_regular, write_atomic

MAX_FILE = 2 * 1024**3  # bytes
MAX_LINE = 16 * 1024**2  # bytes
MAX_LINES = 10_000_000
LABEL_NAMES = ("label", "class", "target")
OPENML_SECONDS = 10.0  # without a byte from the other side

_WANTED = "a finite number of at least 0 is wanted"
_BYTES = {str(k): k for k in range(256)}


# ---- CSV -----------------------------------------------------------------------------------------------------------


def load_csv(path: Path, *, skip_bad: bool = False) -> Dataset:
    """Return the data set of a CSV file, plain or packed with gzip.

    Args:
        path: A row is a label and the pixels of a square picture, row by row. The label comes first, unless a header
            names another column label, class or target.
        skip_bad: Leave out bad rows instead of refusing the file.

    Raises:
        DataError: It is not there or too large, its pixels make no square, or rows are bad; all of them are named.
    """
    bad, labels, pictures = BadRows(str(path)), list[str](), list[NDArray[Any]]()
    at, n_pixels = 0, 0
    with unpacked(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE:
            raise DataError(f"{path}: larger than 2 GB; a folder with images.npy and labels.npy may be of any size")
        for number, cells in _rows(path, file, bad):
            if not n_pixels:
                n_pixels = len(cells) - 1
                _side(f"{path}:{number}", n_pixels)
                at, is_header = _label_column(f"{path}:{number}", cells)
                if is_header:
                    continue
            try:
                label, pixels = _read_row(cells, at, n_pixels)
            except ValueError as error:
                bad.add(f"{path}:{number}", str(error))
                continue
            labels.append(label)
            pictures.append(pixels)
    bad.settle(len(labels), skip=skip_bad)
    side = _side(str(path), n_pixels)
    return dataset_of(str(path), np.stack(pictures).reshape(-1, side, side), np.array(labels), n_skipped=bad.n)


def _rows(path: Path, file: BinaryIO, bad: BadRows) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not blank, counted from 1, and its cells."""
    n_bytes = number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        n_bytes += len(line)
        if len(line) > MAX_LINE:
            raise DataError(f"{path}:{number}: a line of more than 16 MB")
        if n_bytes > MAX_UNPACKED or number > MAX_LINES:
            raise DataError(
                f"{path}: more than {'4 GB unpacked' if n_bytes > MAX_UNPACKED else f'{MAX_LINES:,} lines'}"
            )
        if not line.strip():
            continue
        try:
            yield number, next(csv.reader([line.decode("utf-8-sig" if number == 1 else "utf-8")]))
        except UnicodeDecodeError:
            bad.add(f"{path}:{number}", "not UTF-8 text")
        except csv.Error as error:
            bad.add(f"{path}:{number}", f"not a row of a CSV file ({reason_of(error)})")


def _side(where: str, n_pixels: int) -> int:
    """Return the side of the square that pixels make."""
    side = math.isqrt(max(0, n_pixels))
    if n_pixels < 1 or side * side != n_pixels:
        raise DataError(f"{where}: {n_pixels:,} pixels beside the label; a square number is wanted, such as 64 or 784")
    return side


def _label_column(where: str, cells: list[str]) -> tuple[int, bool]:
    """Return the column of the label, and whether this first row is a header."""
    found = [k for k, cell in enumerate(cells) if cell.strip().lower() in LABEL_NAMES]
    if len(found) > 1:
        raise DataError(f"{where}: {len(found)} columns are named {', '.join(LABEL_NAMES)}; one is wanted")
    return (found[0], True) if found else (0, all(math.isnan(_number(cell)) for cell in cells))


def _read_row(cells: list[str], at: int, n_pixels: int) -> tuple[str, NDArray[Any]]:
    """Return the label and the pixels, (n_pixels,), of one row.

    Raises:
        ValueError: With what is wrong with it.
    """
    if len(cells) != n_pixels + 1:
        raise ValueError(f"{len(cells) - 1:,} pixels; {n_pixels:,} are wanted")
    label = _label(cells.pop(at))
    with suppress(KeyError):  # nearly always: five times as fast
        return label, np.frombuffer(bytes(map(_BYTES.__getitem__, cells)), np.uint8)
    pixels = np.array([*map(_number, cells)])
    good = (pixels >= 0) & (pixels <= LARGEST)  # false for what is not a number
    if not good.all():
        worst = int(good.argmin())
        raise ValueError(f'pixel {worst + 1:,} is "{cells[worst][:20]}"; {_WANTED}')
    return label, compact(pixels)


def _label(text: str) -> str:
    """Return a label as a class's name; a whole number written as 7.0 or 7.000e+00 is 7."""
    text = text.strip()
    if not text:
        raise ValueError("no label")
    if not is_name(text):
        raise ValueError(f"the label is no name of at most {MAX_NAME} printable characters")
    if re.fullmatch(r"[+-]?[0-9]{1,15}\.[0-9]*(e[+-]?[0-9]{1,2})?", text) and float(text).is_integer():
        return str(int(float(text)))
    return text


def _number(text: str) -> float:
    """Return a number, NaN for what is none (and for 1_0, which Python takes for one)."""
    with suppress(ValueError):
        return float(text) if "_" not in text else math.nan
    return math.nan


# ---- openml.org ----------------------------------------------------------------------------------------------------


def load_openml(source: str, *, skip_bad: bool = False) -> Dataset:
    """Return a data set of openml.org; what was fetched once is kept where scikit-learn keeps its own.

    Args:
        source: `openml:NAME`.
        skip_bad: Leave out bad rows instead of refusing the data set.

    Raises:
        DataError: It cannot be had, is no table of square pictures, or rows are bad.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", name := source.removeprefix("openml:"), re.ASCII):
        raise DataError(f"{source}: not the name of a data set, such as openml:mnist_784")
    home = Path(os.environ.get("SCIKIT_LEARN_DATA") or Path.home() / "scikit_learn_data")
    kept = home / "backprop" / f"{name}.npz"
    try:
        with open_regular(kept) as file, np.load(file, allow_pickle=False) as arrays:
            pixels, labels = arrays["pixels"], arrays["labels"]
    except Exception:  # not there yet, or damaged: fetched anew
        pixels, labels = _fetch(source, name)
        _keep(kept, pixels=pixels, labels=labels)
    return _dataset_of_table(source, pixels, labels, skip_bad=skip_bad)


def _fetch(source: str, name: str) -> tuple[NDArray[Any], NDArray[np.str_]]:
    """Return pixels, (n, n_pixels), and labels, (n,), as they are on openml.org."""
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings(), _patience(OPENML_SECONDS):
            warnings.simplefilter("ignore")  # about versions, and about trying again
            found = fetch_openml(name, as_frame=False, parser="liac-arff", n_retries=1, delay=0.2)
    except Exception as error:  # the network, openml.org and the reader have dozens of kinds
        raise DataError(
            f"{source}: cannot be fetched ({reason_of(error)}); a network and the name at openml.org are wanted"
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
    return compact(pixels) if np.isfinite(pixels).all() and pixels.min(initial=0) >= 0 else pixels


def _keep(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays for the next time, whole or not at all; where that cannot be, there is none."""
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content.getvalue())


def _dataset_of_table(source: str, pixels: NDArray[Any], labels: NDArray[Any], *, skip_bad: bool) -> Dataset:
    """Return the data set of pixels, (n, n_pixels), and labels as text, (n,)."""
    side, bad = _side(source, pixels.shape[1]), BadRows(source)
    numbers = ((pixels >= 0) & (pixels <= LARGEST)).all(axis=1)
    named = np.array([is_name(label) for label in labels.tolist()], np.bool_)
    for row in np.flatnonzero(~(numbers & named)):
        bad.add(f"{source}:{row}", "no label" if not named[row] else f"not all pixels are fit; {_WANTED} for each")
    good = numbers & named
    bad.settle(int(good.sum()), skip=skip_bad)
    pictures = pixels if good.all() else compact(pixels[good])
    return dataset_of(source, pictures.reshape(-1, side, side), labels[good], n_skipped=bad.n)
