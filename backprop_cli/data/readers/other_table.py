"""Tables of text under any other name, such as `zip.train.gz` or `semeion.data`, known by their content."""

from __future__ import annotations

import re
from pathlib import Path

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers import csv_file
from backprop_cli.data.readers.shared import Wanted, unpacked
from backprop_cli.errors import DataError

HEAD = 4096  # bytes
_NUMBERS = re.compile(rb"(\xef\xbb\xbf)?[\x09\x0a\x0d\x20-\x7e\x80-\xff]*")  # text, of which enough is digits


def matches(source: str) -> bool:
    """Return whether a source is a file of text with a number in about every cell."""
    try:
        if not Path(source).is_file():
            return False
        with unpacked(Path(source)) as file:
            head = file.read(HEAD)
    except (DataError, OSError, ValueError):
        return False
    *lines, cut = head.splitlines() or [b""]
    line = lines[-1] if lines else cut
    return _NUMBERS.fullmatch(head) is not None and sum(byte in b"0123456789" for byte in line) > 0.2 * len(line)


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the data set of a table; see `csv_file`.

    Raises:
        DataError: It is none, or not what it should be.
    """
    return csv_file.load(source, wanted)
