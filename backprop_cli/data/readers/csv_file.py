"""Tables of text in which a row is a label and the pixels of a square picture, or names a picture's file."""

from __future__ import annotations

import codecs
import csv
import io
import math
import os
import re
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.csv_columns import Columns, Delimiter, Dialect, cell_value, columns_of, dialect_of
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
MAX_LINE = 16 * 1024**2  # characters
MAX_LINES = 10_000_000
MAX_FILES = 1_000_000  # that a table may name
MAX_SPARSE = 65_536  # pixels of a picture that is given by its ink alone
USUAL_SIDES = (8, 16, 20, 28, 32)
MOST_KNOWN = 100_000  # labels, which are counted as long as they may be held
SAMPLE = 200  # lines that tell how the others are to be read
SAMPLE_SIZE = 16 * 1024**2  # characters
SUFFIXES = (".csv", ".tsv", ".libsvm", ".svmlight", ".tra", ".tes")

_BYTES = {str(k): k for k in range(256)}
_SEPARATOR = re.compile(
    r'"?sep=([^\w\s"\'.+-]|\t| )"?\s*', re.IGNORECASE
)  # as spreadsheets write it into the first line
_NO_TEXT = re.compile("[\ud800-\udfff\ufffd]")


def matches(source: str) -> bool:
    """Return whether a source is a table of text, by its name."""
    return is_named_as_table(source) and not Path(source).is_dir()


def is_named_as_table(name: str) -> bool:
    """Return whether a name is that of a table."""
    return name.lower().removesuffix(".gz").endswith(SUFFIXES)


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the data set of a table, plain or packed with gzip.

    Args:
        source: A row is a label and the pixels of a square picture, row by row; see `read`.
        wanted: Whether bad rows are left out, where the label is, and so on.

    Raises:
        DataError: It is not there or too large, its pixels make no square, or rows are bad; all of them are named.
    """
    path = Path(source)
    with unpacked(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE:
            raise DataError(f"{path}: larger than 2 GB; a folder with images.npy and labels.npy may be of any size")
        return read(str(path), file, wanted, folder=path.parent)


def read(name: str, file: IO[bytes], wanted: Wanted, folder: Path | None = None) -> Dataset:
    """Return the data set of an open table.

    Args:
        name: What messages call it.
        file: UTF-8, or UTF-16 with its mark. Cells are parted by commas, semicolons, tabs or blanks; lines that begin
            with # are left out; a header may name the columns (`csv_columns.LABEL_NAMES`); a line may also be a label
            and `index:value`, as libsvm has it, or a label and the name of a picture's file.
        wanted: Whether bad rows are left out, where the label is, and so on.
        folder: Where the files that it names lie; None: it may name none.

    Raises:
        DataError: As `load`.
    """
    bad = BadRows(name)
    lines = _lines(name, file, bad)
    sample, size = list[tuple[int, str]](), 0
    for number, line in lines:
        if line.startswith("#") and sample and sample[-1][1].startswith("#"):
            size -= len(sample.pop()[1])  # only the last of several comments may be a header
        sample.append((number, line))
        size += len(line)
        if len(sample) >= SAMPLE or size > SAMPLE_SIZE:
            break
    separator, sample = _without_comments(sample)
    dialect = dialect_of([line for _, line in sample if line], separator)
    rest = ((number, line) for number, line in lines if not line.startswith("#"))
    if dialect.is_sparse:
        return _read_sparse(name, chain(sample, rest), wanted, bad)
    rows = _cells(name, chain(sample, rest), dialect, bad)
    uncut = BadRows(name)
    first = [cells for _, cells in _cells(name, sample, dialect, uncut) if cells]
    if not first:
        (uncut if uncut.n else bad).raise_if_bad(0, skip=wanted.skip_bad)
    where = f"{name}, line {sample[0][0]}"
    columns = columns_of(where, first, header=wanted.header, label=wanted.label, only_pictures=wanted.only_pictures)
    if columns.file is not None:
        return _read_files(name, rows, columns, wanted, folder)
    square_side(where, columns.n_pixels)
    return _read_pixels(name, rows, columns, wanted, bad)


def _read_pixels(
    name: str, rows: Iterator[tuple[int, list[str]]], columns: Columns, wanted: Wanted, bad: BadRows
) -> Dataset:
    """Return the data set of rows that hold pixels."""
    labels, known, pictures = list[str](), dict[str, str](), _Pictures(name, columns.n_pixels)
    places, lines = array("q"), array("q")  # the how manieth row, from 0, and its line in the file, from 1
    n_rows, most = 0, 0.0
    for k, (number, cells) in enumerate(rows):
        if k == 0 and columns.is_header:
            continue
        n_rows += 1
        if not cells:
            continue
        try:
            label = "" if wanted.only_pictures else _label_of(cells, columns)
            pixels = _read_row(cells, columns, -1.0 if most <= 1.0 else 0.0)
        except ValueError as error:
            bad.add(f"{name}, line {number}", str(error))
            continue
        if most <= 1.0:
            most = max(most, *pixels)
        places.append(n_rows - 1)
        lines.append(number)
        labels.append(_known(name, known, label))
        pictures.add(pixels)
    images, numbers = pictures.all(), np.frombuffer(places, np.int64)
    if most > 1.0 and images.dtype != np.uint8:
        below = images.min(axis=1, initial=0.0) < 0.0  # they came before the range was seen
        for k in np.flatnonzero(below).tolist():
            worst = int((images[k] < 0.0).argmax())
            bad.add(f"{name}, line {lines[k]}", f'pixel {worst + 1:,} is "{images[k, worst]:g}"; {A_PIXEL}')
        if below.any():
            images, numbers = images[~below], numbers[~below]
            labels = [labels[k] for k in np.flatnonzero(~below)]
    bad.raise_if_bad(len(labels), skip=wanted.skip_bad)
    side = square_side(name, columns.n_pixels)
    names = None if wanted.only_pictures else labels
    return dataset_of(name, images.reshape(-1, side, side), names, n_skipped=bad.n, numbers=numbers if bad.n else None)


def _known(name: str, known: dict[str, str], label: str) -> str:
    """Return a label as the one text that stands for all that are equal to it.

    Raises:
        DataError: There are far too many different ones.
    """
    if len(known) > MOST_KNOWN:
        raise DataError(f"{name}: more than {MOST_KNOWN:,} classes; expected 2 to 1,000")
    return known.setdefault(label, label)


class _Pictures:
    """Pictures one after the other, as bytes as long as that loses nothing, then as float32."""

    def __init__(self, name: str, n_pixels: int) -> None:
        self.name, self.n_pixels = name, n_pixels
        self.held = bytearray()
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)

    def add(self, pixels: bytes | NDArray[np.float32]) -> None:
        """Add one, (n_pixels,).

        Raises:
            DataError: They are too many.
        """
        is_first_float = self.dtype == np.uint8 and not isinstance(pixels, bytes)
        if len(self.held) * (4 if is_first_float else 1) > MAX_UNPACKED:
            raise DataError(f"{self.name}: more than 4 GB unpacked")
        if is_first_float:
            self.dtype = np.dtype(np.float32)
            self.held = bytearray(np.frombuffer(self.held, np.uint8).astype(np.float32).tobytes())
        if isinstance(pixels, bytes) and self.dtype != np.uint8:
            pixels = np.frombuffer(pixels, np.uint8).astype(np.float32)
        self.held += pixels if isinstance(pixels, bytes) else pixels.tobytes()

    def all(self) -> NDArray[Any]:
        """Return them, (n, n_pixels)."""
        return np.frombuffer(self.held, self.dtype).reshape(-1, self.n_pixels)


# ---- lines and cells -----------------------------------------------------------------------------------------------


def _lines(name: str, file: IO[bytes], bad: BadRows) -> Iterator[tuple[int, str]]:
    """Yield the number of each line that is not blank, counted from 1, and its text; none where that is not text."""
    head = file.read(3)
    file.seek(0)
    is_wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding, errors = ("utf-16", "replace") if is_wide else ("utf-8-sig", "surrogateescape")
    text = io.TextIOWrapper(file, encoding, errors, newline=None)
    n_characters = number = 0
    try:
        while line := text.readline(MAX_LINE + 1):
            number += 1
            n_characters += len(line)
            if len(line) > MAX_LINE:
                raise DataError(f"{name}, line {number}: more than 16 MB")
            if n_characters > MAX_UNPACKED or number > MAX_LINES:
                too_much = "4 GB unpacked" if n_characters > MAX_UNPACKED else f"{MAX_LINES:,} lines"
                raise DataError(f"{name}: more than {too_much}")
            if not line.strip():
                continue
            if not line.isascii() and _NO_TEXT.search(line):
                bad.add(f"{name}, line {number}", "not UTF-8 text")
                line = ""
            yield number, line
    finally:
        with suppress(ValueError, OSError):
            text.detach()


def _without_comments(sample: list[tuple[int, str]]) -> tuple[Delimiter | None, list[tuple[int, str]]]:
    """Return the delimiter that the first line may say, and the lines without comments; `# a,b,c` may be a header."""
    separator = None
    if sample and (said := _SEPARATOR.fullmatch(sample[0][1])) is not None:
        separator, sample = said[1], sample[1:]
    comments = [one for one in sample if one[1].startswith("#")]
    data = [one for one in sample if not one[1].startswith("#")]
    if comments and data:
        number, line = comments[-1]
        dialect, words = dialect_of([text for _, text in data if text], separator), line.lstrip("# ")  # type: ignore[arg-type]
        with suppress(csv.Error):
            if data[0][1] and len(dialect.cells(words)) == len(dialect.cells(data[0][1])) > 1:
                data = [(number, words), *data]
    return separator, data  # type: ignore[return-value]


def _cells(
    name: str, lines: Iterator[tuple[int, str]] | list[tuple[int, str]], dialect: Dialect, bad: BadRows
) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line and its cells; none where it is bad."""
    for number, line in lines:
        cells: list[str] = []
        try:
            cells = dialect.cells(line) if line else []
        except csv.Error as error:
            bad.add(f"{name}, line {number}", f"not a row of a CSV file ({reason_of(error)})")
        yield number, cells


def _label_of(cells: list[str], columns: Columns) -> str:
    """Return the label of one row, "" where there is none.

    Raises:
        ValueError: With what is wrong with it.
    """
    _check_length(cells, columns)
    return "" if columns.label is None else read_label(cells[columns.label])


def _check_length(cells: list[str], columns: Columns) -> None:
    if len(cells) != columns.n:
        n_pixels = len(cells) - (columns.n - columns.n_pixels)
        raise ValueError(f"{n_pixels:,} pixels; expected {columns.n_pixels:,}")


def _read_row(cells: list[str], columns: Columns, least: float) -> bytes | NDArray[np.float32]:
    """Return the pixels, (n_pixels,), of one row: bytes where that loses nothing.

    Args:
        cells: As they are in the file.
        columns: Which is what.
        least: What a pixel may be: 0, or -1 as long as none was above 1.

    Raises:
        ValueError: With what is wrong with it.
    """
    _check_length(cells, columns)
    for k in sorted((k for k in (columns.label, *columns.left_out) if k is not None), reverse=True):
        del cells[k]
    with suppress(KeyError):  # nearly always: five times as fast
        return bytes(map(_BYTES.__getitem__, cells))
    pixels = np.array([*map(cell_value, cells)])
    good = (pixels >= least) & (pixels <= LARGEST)  # false for what is not a number
    if not good.all():
        worst = int(good.argmin())
        raise ValueError(f'pixel {worst + 1:,} is "{cells[worst][:20]}"; {A_PIXEL}')
    exact = as_bytes_if_exact(pixels)
    return exact.tobytes() if exact.dtype == np.uint8 else exact


@lru_cache(1000)
def read_label(text: str) -> str:
    """Return a label as a class's name; a whole number written as 7.0 or 7.000e+00 is 7.

    Raises:
        ValueError: It is empty, or no name.
    """
    text = text.strip()
    if text.lower() in ("", "nan"):  # as pandas writes what is missing
        raise ValueError("no label")
    if not is_name(text):
        raise ValueError(f"the label is not a name of at most {MAX_NAME} printable characters")
    if re.fullmatch(r"[+-]?[0-9]{1,15}\.[0-9]*(e[+-]?[0-9]{1,2})?", text) and float(text).is_integer():
        return str(int(float(text)))
    return text


# ---- other kinds of rows -------------------------------------------------------------------------------------------


def _read_sparse(name: str, lines: Iterator[tuple[int, str]], wanted: Wanted, bad: BadRows) -> Dataset:
    """Return the data set of lines that are a label and `index:value` of every pixel with ink, as libsvm has them."""
    labels, known, numbers = list[str](), dict[str, str](), array("q")
    found, inks, ends = array("I"), array("f"), array("q", [0])  # of all rows; where each of them ends
    for n, (number, line) in enumerate(lines):
        try:
            if line.count(":") > MAX_SPARSE + 1:
                raise ValueError(f"more than {MAX_SPARSE:,} pixels")
            label, *cells = line.partition("#")[0].split() or [""]
            label, row = read_label(label), [_sparse_cell(cell) for cell in cells]
        except ValueError as error:
            bad.add(f"{name}, line {number}", str(error))
            continue
        labels.append(_known(name, known, label))
        numbers.append(n)
        found.extend([index for index, _ in row])
        inks.extend([ink for _, ink in row])
        ends.append(len(found))
        if len(found) * 8 > MAX_UNPACKED:
            raise DataError(f"{name}: more than 4 GB unpacked")
    bad.raise_if_bad(len(labels), skip=wanted.skip_bad)
    indices, values = np.frombuffer(found, np.uint32), as_bytes_if_exact(np.frombuffer(inks, np.float32))
    start = int(indices.min(initial=1))  # counted from 0 or from 1
    least = math.isqrt(max(0, int(indices.max(initial=0)) - start)) + 1
    side = next((side for side in USUAL_SIDES if side >= least), least)  # the last pixels may be blank in all of them
    if len(labels) * side * side * values.itemsize > MAX_UNPACKED:
        raise DataError(f"{name}: more than 4 GB unpacked")
    images = np.zeros((len(labels), side * side), values.dtype)
    for k, (begin, end) in enumerate(pairwise(ends)):
        images[k, indices[begin:end] - start] = values[begin:end]
    names = None if wanted.only_pictures else labels
    rows = np.frombuffer(numbers, np.int64) if bad.n else None
    dataset = dataset_of(name, images.reshape(-1, side, side), names, n_skipped=bad.n, numbers=rows)
    note = f"its lines do not say how large a picture is; assuming {side}x{side}, the pixels counted from {start}"
    return replace(dataset, notes=(note,))


def _sparse_cell(cell: str) -> tuple[int, float]:
    """Return the index and the value of `index:value`."""
    index, _, text = cell.partition(":")
    value = cell_value(text)
    if not index.isdecimal() or len(index) > 6 or int(index) > MAX_SPARSE:
        raise ValueError(f'"{cell[:20]}": expected an index of at most {MAX_SPARSE:,} and a value')
    if not 0.0 <= value <= LARGEST:
        raise ValueError(f'pixel {index} is "{text[:20]}"; {A_PIXEL}')
    return int(index), value


def _read_files(
    name: str, rows: Iterator[tuple[int, list[str]]], columns: Columns, wanted: Wanted, folder: Path | None
) -> Dataset:
    """Return the data set of rows that name picture files, which lie in the table's own folder or below it.

    Raises:
        DataError: A file lies elsewhere, is not there or no picture; all of them are named.
    """
    from backprop_cli.data.readers.picture_folder import read_files

    if folder is None or columns.file is None:
        raise DataError(f"{name}: names picture files, which does not work inside a zip; unpack it")
    bad, files, known = BadRows(name), list[tuple[str, str]](), dict[str, str]()
    home = folder.resolve()
    for k, (number, cells) in enumerate(rows):
        if (k == 0 and columns.is_header) or not cells:
            continue
        try:
            if len(cells) != columns.n:
                raise ValueError(f"{len(cells)} cells; expected {columns.n}")
            label = "" if columns.label is None else read_label(cells[columns.label])
            text = cells[columns.file].strip()
            path = known[text] if text in known else known.setdefault(text, _inside(folder, home, text))
            files.append((label, path))
        except ValueError as error:
            bad.add(f"{name}, line {number}", str(error))
        if len(files) > MAX_FILES:
            raise DataError(f"{name}: names more than {MAX_FILES:,} files")
    return read_files(name, files, wanted, bad)


def _inside(folder: Path, home: Path, text: str) -> str:
    """Return the path of a file that a table names.

    Args:
        folder: The table's.
        home: The same, links followed.
        text: As it stands in the table.

    Raises:
        ValueError: It, or where a link leads, is not in the table's folder.
    """
    path = folder / text.replace("\\", "/")
    with suppress(OSError, RuntimeError, ValueError):
        if path.resolve().is_relative_to(home):
            return str(path)
    raise ValueError(f'"{text[:80]}" is not in the folder of the table')
