"""CSV files in which a row is a label and the pixels of a square picture."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.shared import (
    A_PIXEL,
    LARGEST,
    MAX_NAME,
    MAX_UNPACKED,
    BadRows,
    Wanted,
    as_bytes_if_exact,
    dataset_of,
    is_name,
    square_side,
    unpacked,
)
from backprop_cli.errors import DataError, reason_of

MAX_FILE = 2 * 1024**3  # bytes
MAX_LINE = 16 * 1024**2  # bytes
MAX_LINES = 10_000_000
LABEL_NAMES = ("label", "class", "target", "y", "digit", "category")

_BYTES = {str(k): k for k in range(256)}


class Place(NamedTuple):
    """Where a row stands: the how manieth it is, from 0, and its line in the file, from 1."""

    row: int
    line: int


def matches(source: str) -> bool:
    """Return whether a source is a CSV file, by its name."""
    path = Path(source)
    return path.name.lower().endswith((".csv", ".csv.gz")) and not path.is_dir()


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the data set of a CSV file, plain or packed with gzip.

    Args:
        source: A row is a label and the pixels of a square picture, row by row. The label comes first, unless a header
            names another column so (`LABEL_NAMES`).
        wanted: Whether bad rows are left out.

    Raises:
        DataError: It is not there or too large, its pixels make no square, or rows are bad; all of them are named.
    """
    path = Path(source)
    bad, rows, labels, pictures = BadRows(str(path)), list[Place](), list[str](), list[NDArray[Any]]()
    at: int | None = 0
    n_pixels, n_rows, most = 0, 0, 0.0
    with unpacked(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE:
            raise DataError(f"{path}: larger than 2 GB; a folder with images.npy and labels.npy may be of any size")
        for number, cells in _rows(path, file, bad):
            if cells and not n_pixels:
                at, is_header = _label_column(f"{path}, line {number}", cells)
                if wanted.only_pictures and _are_all_pixels(cells):
                    at = None
                n_pixels = len(cells) - (at is not None)
                square_side(f"{path}, line {number}", n_pixels)
                if is_header:
                    continue
            n_rows += 1
            if not cells:
                continue
            try:
                least = -1.0 if most <= 1.0 else 0.0
                label, pixels = _read_row(cells, at, n_pixels, least, only_pictures=wanted.only_pictures)
            except ValueError as error:
                bad.add(f"{path}, line {number}", str(error))
                continue
            most = max(most, float(pixels.max()))
            rows.append(Place(n_rows - 1, number))
            labels.append(label)
            pictures.append(pixels)
    good = range(len(labels)) if most <= 1.0 else _without_negative(path, rows, pictures, bad)
    bad.raise_if_bad(len(good), skip=wanted.skip_bad)
    side = square_side(str(path), n_pixels)
    names = None if wanted.only_pictures else np.array([labels[k] for k in good])
    images = np.stack([pictures[k] for k in good]).reshape(-1, side, side)
    numbers = np.array([rows[k].row for k in good]) if bad.n else None
    return dataset_of(str(path), images, names, n_skipped=bad.n, numbers=numbers)


def _without_negative(path: Path, rows: list[Place], pictures: list[NDArray[Any]], bad: BadRows) -> list[int]:
    """Return which rows hold nothing below 0, and note the others, which came before the range was seen."""
    below = {k for k, pixels in enumerate(pictures) if pixels.dtype != np.uint8 and pixels.min() < 0.0}
    for k in sorted(below):
        worst = int((pictures[k] < 0.0).argmax())
        bad.add(f"{path}, line {rows[k].line}", f'pixel {worst + 1:,} is "{pictures[k][worst]:g}"; {A_PIXEL}')
    return [k for k in range(len(pictures)) if k not in below]


def _rows(path: Path, file: BinaryIO, bad: BadRows) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not blank, counted from 1, and its cells; none where it is bad."""
    n_bytes = number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        n_bytes += len(line)
        if len(line) > MAX_LINE:
            raise DataError(f"{path}, line {number}: more than 16 MB")
        if n_bytes > MAX_UNPACKED or number > MAX_LINES:
            raise DataError(
                f"{path}: more than {'4 GB unpacked' if n_bytes > MAX_UNPACKED else f'{MAX_LINES:,} lines'}"
            )
        if not line.strip():
            continue
        try:
            yield number, next(csv.reader([line.decode("utf-8-sig" if number == 1 else "utf-8")]))
        except UnicodeDecodeError:
            bad.add(f"{path}, line {number}", "not UTF-8 text")
            yield number, []
        except csv.Error as error:
            bad.add(f"{path}, line {number}", f"not a row of a CSV file ({reason_of(error)})")
            yield number, []


def _label_column(where: str, cells: list[str]) -> tuple[int, bool]:
    """Return the column of the label, and whether this first row is a header."""
    found = [k for k, cell in enumerate(cells) if cell.strip().lower() in LABEL_NAMES]
    if len(found) > 1:
        raise DataError(f"{where}: {len(found)} columns are named {', '.join(LABEL_NAMES)}; one is wanted")
    return (found[0], True) if found else (0, all(math.isnan(_cell_value(cell)) for cell in cells))


def _are_all_pixels(cells: list[str]) -> bool:
    """Return whether a first row has the pixels of a square picture and no label beside them."""
    names = [cell.strip().lower() for cell in cells]
    return not set(LABEL_NAMES) & set(names) and math.isqrt(len(cells)) ** 2 == len(cells) > 1


def _read_row(
    cells: list[str], at: int | None, n_pixels: int, least: float, *, only_pictures: bool = False
) -> tuple[str, NDArray[Any]]:
    """Return the label ("" where there is none, or none is wanted) and the pixels, (n_pixels,), of one row.

    Args:
        cells: As they are in the file.
        at: Where the label is; None: there is none.
        n_pixels: How many there must be.
        least: What a pixel may be: 0, or -1 as long as none was above 1.
        only_pictures: No label is wanted.

    Raises:
        ValueError: With what is wrong with it.
    """
    n_beside = 0 if at is None else 1
    if len(cells) != n_pixels + n_beside:
        raise ValueError(f"{len(cells) - n_beside:,} pixels; {n_pixels:,} are wanted")
    text = "" if at is None else cells.pop(at)
    label = "" if only_pictures else _label(text)
    with suppress(KeyError):  # nearly always: five times as fast
        return label, np.frombuffer(bytes(map(_BYTES.__getitem__, cells)), np.uint8)
    pixels = np.array([*map(_cell_value, cells)])
    good = (pixels >= least) & (pixels <= LARGEST)  # false for what is not a number
    if not good.all():
        worst = int(good.argmin())
        raise ValueError(f'pixel {worst + 1:,} is "{cells[worst][:20]}"; {A_PIXEL}')
    return label, as_bytes_if_exact(pixels)


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


def _cell_value(text: str) -> float:
    """Return a number, NaN for what is none (and for 1_0, which Python takes for one)."""
    with suppress(ValueError):
        return float(text) if "_" not in text else math.nan
    return math.nan
