"""How the lines of a table are cut into cells, and which column is what: found out from its first lines."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from backprop_cli.data.image import SUFFIXES
from backprop_cli.data.readers.shared import Header
from backprop_cli.errors import DataError, quoted

LABEL_NAMES = ("label", "labels", "class", "target", "y", "digit", "category")
INDEX_NAMES = ("", "id", "index", "idx", "imageid", "image_id", "unnamed: 0", "row", "no", "nr")
FILE_NAMES = ("file", "filename", "file_name", "path", "filepath", "image", "img", "picture", "name", "image_path")
LEAST_COUNTED = 15  # columns that are numbered, not a picture of rising ink
ENOUGH = 20  # rows from which values tell where the labels are
MOST_CLASSES = 1000
UNLIKE = 0.5  # from which two columns are not neighbors in a picture
MOST_MATCHED = 10_000  # characters of a line
MAX_CELLS = 2**20 + 20  # of a row: no network sees more pixels
_SPARSE = re.compile(r"\S+(\s+\d+:\S+)+\s*(#.*)?")  # a line of libsvm's
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")

Delimiter = Literal[",", ";", "\t", "|", " "]


@dataclass(frozen=True)
class Dialect:
    """How lines are cut into cells.

    Attributes:
        delimiter: Between cells; a blank stands for any white space.
        has_decimal_commas: 0,5 is a half.
        has_empty_end: Each line ends with a delimiter.
        is_sparse: Each line is a label and `index:value`, as libsvm has it.
    """

    delimiter: Delimiter = ","
    has_decimal_commas: bool = False
    has_empty_end: bool = False
    is_sparse: bool = False

    def cells(self, line: str) -> list[str]:
        """Return the cells of a line.

        Raises:
            csv.Error: A cell is too long, or there are too many.
        """
        line = line.rstrip("\r\n")
        if line.count(self.delimiter) > MAX_CELLS and (self.delimiter != " " or len(line.split()) > MAX_CELLS):
            raise csv.Error(f"more than {MAX_CELLS:,} cells")
        if self.delimiter == " ":
            return line.split()
        quotes = '"' in line
        cells = next(csv.reader([line], delimiter=self.delimiter)) if quotes else line.split(self.delimiter)
        if self.has_empty_end and len(cells) > 1 and not cells[-1].strip():
            cells.pop()
        if self.has_decimal_commas:
            return [one.replace(",", ".") if _DECIMAL_COMMA.fullmatch(one.strip()) else one for one in cells]
        return cells


def dialect_of(lines: Sequence[str], delimiter: Delimiter | None = None) -> Dialect:
    """Return how the lines of a table are cut into cells.

    Args:
        lines: The first ones, without comments.
        delimiter: As the file itself says; None: it says nothing.
    """
    data = lines[1:] or lines  # the first may be a header
    if data and all(_SPARSE.fullmatch(_beginning(line)) for line in data[:ENOUGH]):
        return Dialect(" ", is_sparse=True)
    found = delimiter or _delimiter(data)
    plain = Dialect(found)
    with suppress(csv.Error):
        cells = [plain.cells(line) for line in data]
        has_empty_end = sum(len(row) > 1 and not row[-1].strip() for row in cells) > 0.8 * len(cells)
        commas = found != "," and any(_DECIMAL_COMMA.fullmatch(cell.strip()) for row in cells for cell in row)
        return Dialect(found, commas, has_empty_end)
    return plain


def _beginning(line: str) -> str:
    """Return a line, or of a long one as many whole words as tell what it is."""
    return line.strip() if len(line) <= MOST_MATCHED else line[:MOST_MATCHED].strip().rpartition(" ")[0]


def _delimiter(lines: Sequence[str]) -> Delimiter:
    """Return the delimiter that stands equally often in all lines, or nearly all; of several, not the comma."""
    for delimiter in ("\t", ";", "|", ","):
        counts = Counter(line.count(delimiter) for line in lines)
        (most, n), *_ = counts.most_common(1) or [(0, 0)]
        if most and n >= 0.8 * len(lines):
            return delimiter
    if any("," in line for line in lines) or not all(len(line.split()) > 1 for line in lines):
        return ","
    return " "


@dataclass(frozen=True)
class Columns:
    """Which column of a table is what.

    Attributes:
        n: Cells in a row.
        label: Where the label is; None: there is none.
        left_out: Columns that are neither: those that number the rows, and named ones that are not pixels.
        file: Where the name of a picture's file is; None: the pictures are in the table itself.
        is_header: The first row names the columns.
    """

    n: int
    label: int | None
    left_out: tuple[int, ...]
    file: int | None
    is_header: bool

    @property
    def n_pixels(self) -> int:
        """How many cells of a row are pixels."""
        return self.n - (self.label is not None) - len(self.left_out)


def columns_of(
    where: str, rows: Sequence[list[str]], *, header: Header = "auto", label: str | None, only_pictures: bool
) -> Columns:
    """Return which column of a table is what.

    Args:
        where: What messages call the first row.
        rows: The first ones, cut into cells; at least one.
        header: Whether the first names the columns.
        label: `data.label`: the name of the label's column, `first` or `last`; None: find it.
        only_pictures: No label is needed.

    Raises:
        DataError: Two columns may be the label's, or none is called as it was said.
    """
    first, data = rows[0], rows[1:]
    is_header = _is_header(first, data) if header == "auto" else header == "yes"
    n = len(data[0]) if is_header and data and len(data[0]) == len(first) + 1 else len(first)
    names = ["", *first][-n:] if is_header else []  # R names all columns but the one that numbers the rows
    names = [name.strip().lower() for name in names]
    values = [row for row in (data if is_header else rows) if len(row) == n]
    file = _file_column(names, values)
    at = None if label is None else _said(where, label, names, n, only_pictures=only_pictures)
    at = _named(where, names) if at is None and label is None else at
    left_out = () if file is not None or at is None else _no_pixels(names, at)
    if not left_out and (index := _index_column(names, values, n, at)) is not None:
        left_out = (index,)
    n_left = n - len(left_out)
    if at is None and label is None and (file is not None or not _is_square(n_left)):
        at = _found(where, values, n, (*left_out, file))
    if at is None and not only_pictures and file is None and _is_square(n_left):
        raise DataError(
            f"{where}: {n:,} pixels and no label; expected a column called {', '.join(LABEL_NAMES[:-1])} "
            f"or {LABEL_NAMES[-1]}, or one more column in front or behind"
        )
    if n_left == 2 and file is None and names and {*names} & {*INDEX_NAMES, *FILE_NAMES}:
        raise DataError(f"{where}: a table of names and labels; names of picture files need their ending, such as .png")
    return Columns(n, at, left_out, file, is_header)


def _is_square(n: int) -> bool:
    return n > 1 and math.isqrt(n) ** 2 == n


def _is_header(first: list[str], data: Sequence[list[str]]) -> bool:
    """Return whether the first row names the columns: words, or numbers one after the other as pandas makes them."""
    names = [name.strip().lower() for name in first]
    if set(names) & set(LABEL_NAMES):
        return True
    numbers = [cell_value(name) for name in names]
    if _has_points(names) and data and not any(map(_has_points, data[:ENOUGH])):
        return True  # 0, 0.1, 0.2 ...: so pandas numbers names that are there twice
    if sum(map(math.isnan, numbers)) > len(names) / 2:
        return True
    inner = numbers[1:]
    is_counted = len(inner) >= LEAST_COUNTED and all(after - before == 1.0 for before, after in pairwise(inner))
    return is_counted and not any([cell_value(cell) for cell in row[1:]] == inner for row in data[:1])


def _has_points(cells: list[str]) -> bool:
    return len(cells) >= LEAST_COUNTED and sum("." in cell for cell in cells) > len(cells) / 2


def _said(where: str, label: str, names: list[str], n: int, *, only_pictures: bool) -> int | None:
    """Return the column that `data.label` says."""
    if label.strip().lower() in names:
        return names.index(label.strip().lower())
    if label in ("first", "last"):
        return None if only_pictures and _is_square(n) else 0 if label == "first" else n - 1
    if only_pictures:
        return None
    held = ", ".join(name or '""' for name in (names if len(names) < 8 else [*names[:3], "...", *names[-3:]]))
    raise DataError(f"{where}: data.label: no column is called {quoted(label)}; the columns are {held or 'no names'}")


def _named(where: str, names: list[str]) -> int | None:
    """Return the column that is called as labels are."""
    found = [k for k, name in enumerate(names) if name in LABEL_NAMES]
    if len(found) > 1 and len({names[k] for k in found}) == 1:
        raise DataError(f"{where}: {len(found)} columns are called {names[found[0]]}; set data.label=first or last")
    if len(found) > 1:
        raise DataError(
            f"{where}: columns {' and '.join(names[k] for k in found)} may be the label; "
            f"set data.label={names[found[0]]} or data.label={names[found[1]]}"
        )
    return found[0] if found else None


def _no_pixels(names: list[str], label: int | None) -> tuple[int, ...]:
    """Return the columns beside the label that are called otherwise than the many that make a square."""
    stems = [re.sub(r"\d+", "#", name) for name in names]
    stem, n_pixels = next(iter(Counter(stems).most_common(1)), ("", 0))
    if n_pixels < LEAST_COUNTED or not _is_square(n_pixels):
        return ()
    return tuple(k for k, one in enumerate(stems) if one != stem and k != label)


def _index_column(names: list[str], rows: Sequence[list[str]], n: int, label: int | None) -> int | None:
    """Return the column that numbers the rows: the one too many, by its name or by what it holds."""
    n_beside = n - (label is not None)
    if _is_square(n_beside):
        return None
    if not _is_square(n_beside - 1) and not (label is None and _is_square(n_beside - 2)):
        return None
    for k in range(n):
        if k != label and names and names[k] in INDEX_NAMES:
            return k
    for k in (0, n - 1):
        if k != label and _is_counting([row[k] for row in rows]) and not (label is None and _is_square(n - 1)):
            return k
    return None


def _is_counting(cells: Sequence[str]) -> bool:
    """Return whether cells are 0, 1, 2 ... or 1, 2, 3 ..."""
    values = [cell_value(cell) for cell in cells]
    return len(values) > 2 and values[0] in (0.0, 1.0) and values == [values[0] + k for k in range(len(values))]


def _file_column(names: list[str], rows: Sequence[list[str]]) -> int | None:
    """Return the column that names picture files."""
    if not rows or len(rows[0]) > 20:
        return None
    endings = tuple(SUFFIXES)
    found = [k for k in range(len(rows[0])) if all(row[k].strip().lower().endswith(endings) for row in rows)]
    called = [k for k in found if names and names[k] in FILE_NAMES]
    return next(iter(called or found), None)


def _found(where: str, rows: Sequence[list[str]], n: int, others: tuple[int | None, ...]) -> int | None:
    """Return the first or the last column, whichever holds labels; the first where too few rows are there to tell.

    Raises:
        DataError: Both may.
    """
    ends = [k for k in range(n) if k not in others]
    if len(ends) < 2 or not rows:
        return ends[0] if ends else None
    first, last = ends[0], ends[-1]
    inner = {first: ends[1], last: ends[-2]}
    columns = {k: [row[k].strip() for row in rows] for k in {*inner, *inner.values()}}
    if len(rows) < ENOUGH:
        return last if len(rows) > 4 and len({*columns[first]}) == 1 < len({*columns[last]}) else first
    kept = [k for k in (first, last) if _may_be_labels(columns[k])]
    if len(kept) < 2:
        return next(iter(kept), first)
    (less, _), (more, unlike) = sorted((_distance(columns[k], columns[inner[k]]), k) for k in kept)
    if more > UNLIKE and more > 2.0 * less:
        return unlike
    raise DataError(f"{where}: the first column or the last may be the label; set data.label=first or data.label=last")


def _may_be_labels(column: Sequence[str]) -> bool:
    """Return whether cells are names or whole numbers, and each class has several rows."""
    values = [cell_value(cell) for cell in column]
    if any(
        cell == "" or not (math.isnan(value) or value.is_integer()) for cell, value in zip(column, values, strict=True)
    ):
        return False
    return 2 <= len(set(column)) <= min(MOST_CLASSES, len(column) // 2)


def _distance(left: Sequence[str], right: Sequence[str]) -> float:
    """Return how far apart two columns' shares of each value are, from 0 to 1: pixels are like their neighbors."""
    ours, theirs = Counter(left), Counter(right)
    return sum(abs(ours[value] - theirs[value]) for value in {*ours, *theirs}) / (2 * len(left))


def cell_value(text: str) -> float:
    """Return a number, NaN for what is none (and for 1_0, which Python takes for one)."""
    with suppress(ValueError):
        return float(text) if "_" not in text else math.nan
    return math.nan
