"""The directory of a zip, bounded before `zipfile` makes an object of each of its entries."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from backprop_cli.errors import DataError

MAX_READ = 20 * 1024**2  # bytes: a directory is read in one piece; of all else pieces are small
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile unpacks a piece of bzip2 or LZMA whole, however large


@contextmanager
def opened_zip(name: str, file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """Open a zip of plain entries.

    Args:
        name: What messages call it.
        file: May be walked through in any order.

    Raises:
        DataError: Its directory is too large, or entries are encrypted or packed in unusual ways.
    """
    with zipfile.ZipFile(_InPieces(name, file)) as archive:
        for entry in archive.infolist():
            if entry.flag_bits & 1:
                raise DataError(f"{name}: encrypted; unpack it")
            if entry.compress_type not in _METHODS:
                raise DataError(f"{name}: compressed by a method other than deflate; unpack it, or compress it again")
        yield archive


class _InPieces:
    """A file of which no large piece is read at once."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name, self.file = name, file

    def read(self, n: int = -1) -> bytes:
        data = self.file.read(min(n, MAX_READ + 1) if n >= 0 else MAX_READ + 1)
        if len(data) > MAX_READ:
            raise DataError(f"{self.name}: a zip of too many files; unpack it")
        return data

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.file, attribute)
