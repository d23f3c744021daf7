"""A zip with one table, one npz or one folder of pictures in it: read in place, and nothing is written to the disk.

Names in it never become paths. Sizes are bounded by what its directory says before anything is read, and while it is
read, since a directory may lie.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.image import MAX_BYTES, SUFFIXES, is_litter
from backprop_cli.data.readers import csv_file, npz, picture_folder
from backprop_cli.data.readers.arrays import part_named
from backprop_cli.data.readers.shared import MAX_UNPACKED, Wanted, open_data, parted
from backprop_cli.data.readers.zip_directory import opened_zip
from backprop_cli.errors import DataError, listed, reason_of

MAX_MEMBERS = 200_000
MAX_DEPTH = 20  # folders in folders
MAX_FOLDERS = 50_000
MAX_NAME = 500  # characters, folders included
MAX_NPZ = 512 * 1024**2  # bytes, which are held in memory
_PART = 2**20  # bytes
MAX_NAMED = 5


def matches(source: str) -> bool:
    """Return whether a source is a zip, by its name."""
    name, _ = parted(source, ".zip")
    return name.lower().endswith(".zip") and not Path(name).is_dir()


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the data set in a zip, or the part of it that stands behind a `#`.

    Raises:
        DataError: It is not there, damaged or too large, or holds something else, or several data sets.
    """
    name, part = parted(source, ".zip")
    with _opened(name) as archive:
        entries = _entries(name, archive)
        arrays = [entry for entry in entries if entry.filename.lower().endswith(".npz")]
        tables = [entry for entry in entries if csv_file.is_named_as_table(entry.filename)]
        found = [*arrays, *tables]
        if len(found) > 1:
            raise DataError(f"{name}: holds {_named(found)}; unpack it, and name one of them")
        if arrays:
            return npz.read(source, io.BytesIO(_content(name, archive, arrays[0], MAX_NPZ)), wanted, part=part)
        if tables:
            with archive.open(tables[0]) as file:
                return csv_file.read(name, file, wanted)
        if not any(Path(entry.filename).suffix.lower() in SUFFIXES for entry in entries):
            raise DataError(
                f"{name}: holds {_named(entries) or 'nothing'}; expected a table, an npz file or pictures; unpack it"
            )
        if wanted.only_pictures:
            raise DataError(f"{name}: holds pictures; unpack it, and give the folder")
        members = {f"{name}/{entry.filename}": entry for entry in entries}

        def content(path: str) -> bytes:
            return _content(name, archive, members[path], MAX_BYTES)

        return picture_folder.load_place(_tree(name, entries), source, wanted, part=part, content=content)


def test_source(source: str) -> str | None:
    """Return the part of a zip that is a test of its own, as a source; None: it has none."""
    name, part = parted(source, ".zip")
    if part is not None:
        return None
    try:
        with _opened(name) as archive:
            entries = _entries(name, archive)
            arrays = [entry for entry in entries if entry.filename.lower().endswith(".npz")]
            if len(arrays) == 1:
                found = npz.test_part_of(io.BytesIO(_content(name, archive, arrays[0], MAX_NPZ)))
            else:
                found = picture_folder.test_part_of(_tree(name, entries))
    except DataError:  # said when it is read
        return None
    return found and f"{name}#{found}"


_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OverflowError, ValueError)


@contextmanager
def _opened(name: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip.

    Raises:
        DataError: It is not there, or damaged (also while it is read inside the block).
    """
    with open_data(Path(name)) as file:
        try:
            with opened_zip(name, file) as archive:
                yield archive
        except _DAMAGED as error:
            raise DataError(f"{name}: a damaged zip ({reason_of(error)})") from error
        except OSError as error:
            raise DataError(f"{name}: {error.strerror or error}") from error


def _entries(name: str, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files in a zip, without what systems leave about.

    Raises:
        DataError: There are too many, they are too large together, or a name is too long.
    """
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS or sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise DataError(
            f"{name}: more than 4 GB unpacked, or than {MAX_MEMBERS:,} files; unpack it, and give the folder"
        )
    if any(len(entry.filename) > MAX_NAME for entry in entries):
        raise DataError(f"{name}: a name of more than {MAX_NAME} characters")
    files = [entry for entry in entries if not entry.is_dir()]
    return [entry for entry in files if not any(map(is_litter, entry.filename.split("/")))]


def _content(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """Return a file of a zip.

    Raises:
        DataError: It is larger than allowed, whatever the directory says.
    """
    content = bytearray()
    with archive.open(entry) as file:
        while max(len(content), entry.file_size) <= limit and (part := file.read(_PART)):
            content += part
    if max(len(content), entry.file_size) > limit:
        raise DataError(f"{name}: {entry.filename[:80]} is larger than {limit // 1_000_000:,} MB")
    return bytes(content)


def _named(entries: list[zipfile.ZipInfo]) -> str:
    return listed([entry.filename[:80] for entry in entries[:MAX_NAMED]], len(entries))


class _Inside:
    """A folder or a file of a zip, as far as `picture_folder` looks at such: no path, though it looks like one."""

    __slots__ = ("inside", "is_file", "name", "where")

    def __init__(self, where: str, name: str, *, is_file: bool = False) -> None:
        self.where, self.name, self.is_file = where, name, is_file
        self.inside: dict[str, _Inside] = {}

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name

    @property
    def suffix(self) -> str:
        stem, dot, ending = self.name.rpartition(".")
        return dot + ending if stem else ""

    def __str__(self) -> str:
        return self.where

    def __lt__(self, other: _Inside) -> bool:
        return self.name < other.name

    def is_dir(self) -> bool:
        return not self.is_file

    def iterdir(self) -> Iterator[_Inside]:
        return iter(self.inside.values())


def _tree(name: str, entries: list[zipfile.ZipInfo]) -> _Inside:
    """Return the folders and files of a zip; where all lies in one folder, what is in that.

    Raises:
        DataError: Folders lie too deep, there are too many, or one is called as a file is.
    """
    root, n_folders = _Inside(name, name), 0
    for entry in entries:
        *folders, file = entry.filename.split("/")
        if len(folders) > MAX_DEPTH:
            raise DataError(f"{name}: folders in more than {MAX_DEPTH} folders")
        place = root
        for folder in folders:
            if folder not in place.inside:
                place.inside[folder] = _Inside(f"{place.where}/{folder}", folder)
                n_folders += 1
            place = place.inside[folder]
            if place.is_file:
                break
        if n_folders > MAX_FOLDERS:
            raise DataError(f"{name}: more than {MAX_FOLDERS:,} folders; unpack it, and give the folder")
        if place.is_file or (file in place.inside and place.inside[file].is_dir()):
            raise DataError(f"{name}: {entry.filename[:80]}: a folder and a file have the same name")
        place.inside[file] = _Inside(f"{name}/{entry.filename}", file, is_file=True)
    while len(root.inside) == 1 and (only := next(iter(root.inside.values()))).is_dir():
        if part_named(only.name):
            break
        root = only
    return root
