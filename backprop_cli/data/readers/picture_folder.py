"""Folders of pictures, labeled by folders or names -> counts of ink, read by all cores where there are many."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.form import Form
from backprop_cli.data.image import SUFFIXES, is_litter, read_picture
from backprop_cli.data.processes import n_cores, share_out
from backprop_cli.data.readers.arrays import Part, part_named
from backprop_cli.data.readers.shared import BadRows, Wanted, check_classes, class_order, dataset_of
from backprop_cli.errors import DataError, PictureError, listed

MANY = 500  # pictures from which starting processes is worth it
CHUNK = 64  # pictures that a process reads at a time
LEAST_WRITERS = 3  # to learn from, to choose by and to measure with
MAX_WRAPPED = 5  # folders in folders
MAX_NAMED = 3  # files that a message names
LAYOUTS = "what works: CLASS/picture.png; train/CLASS/picture.png beside test/; CLASS_1.png, the class in its name"


class _Place(Protocol):
    """A folder or a file: a path, or what looks like one inside a zip."""

    @property
    def name(self) -> str: ...
    @property
    def stem(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    def is_dir(self) -> bool: ...
    def iterdir(self) -> Iterator[Any]: ...


Content = Callable[[str], bytes]  # of a picture, by what messages call it
Chunk = tuple[NDArray[np.uint8], dict[int, str]]


def matches(source: str) -> bool:
    """Return whether a source is a folder."""
    return Path(source).is_dir()


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the pictures of a folder, each labeled with the name of the folder it lies in.

    Args:
        source: Holds the folders of the classes, in which there may be folders of writers; or `train` and perhaps
            `test` with such folders; or pictures whose names say their class, such as `3_17.png`. What systems leave
            about is not looked at; other files are left out, and said.
        wanted: The size to which each is brought (the values are counts of ink from 0 to 16), and so on.

    Raises:
        DataError: There are no such folders, or some files are bad; all of them are named.
    """
    try:
        return load_place(Path(source), source, wanted)
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from error


def load_place(
    folder: _Place, source: str, wanted: Wanted, *, part: str | None = None, content: Content | None = None
) -> Dataset:
    """Return the pictures of a folder, or of what looks like one.

    Args:
        folder: Which.
        source: What messages call it.
        wanted: The size to which each is brought, and so on.
        part: Which part of it; None: the one that is trained on.
        content: Returns a picture's content; None: from the disk.

    Raises:
        DataError: As `load`.
        OSError: A folder may not be looked into.
    """
    folder = _unwrapped(folder)
    if part is not None:
        inside = _parts(folder).get(part_named(part) or "train")
        if inside is None:
            raise DataError(f"{source}: there is no such part in it")
        folder = inside
    found = _found(folder, wanted)
    if len({label for label, _ in found.files}) < (1 if wanted.one_class else 2):
        raise DataError(f"{source}: {found.problem or 'pictures of one class'}; {LAYOUTS}")
    bad = BadRows(source)
    for place in found.empty:
        bad.add(place, f"no pictures in the folder of this class; {LAYOUTS}")
    dataset = read_files(source, found.files, wanted, bad, found.writers, content)
    return replace(dataset, notes=found.notes())


def test_source(source: str) -> str | None:
    """Return the folder of the test part inside a folder; None: it has none."""
    part = test_part_of(Path(source))
    return None if part is None else str(_parts(_unwrapped(Path(source)))[part])


def test_part_of(folder: _Place) -> Part | None:
    """Return which part of a folder is a test of its own; None: there is none."""
    parts = _parts(_unwrapped(folder))
    if "train" not in parts:
        return None
    return "test" if "test" in parts else "validation" if "validation" in parts else None


def read_files(
    name: str,
    files: Sequence[tuple[str, str]],
    wanted: Wanted,
    bad: BadRows,
    writers: Sequence[str] | None = None,
    content: Content | None = None,
) -> Dataset:
    """Return the data set of picture files.

    Args:
        name: What messages call it.
        files: The class and the path of each.
        wanted: The size to which each is brought, and so on.
        bad: What was found wrong with others, so far.
        writers: Who wrote each; None: nobody knows.
        content: Returns a picture's content; None: from the disk, by all cores where there are many.

    Raises:
        DataError: Some are bad; all of them are named.
    """
    form = Form(wanted.picture, wanted.slant, wanted.layout)
    if not wanted.only_pictures and files:
        check_classes(name, class_order(label for label, _ in files), least=1)
    paths = [path for _, path in files]
    counts, good = np.zeros((len(files), *wanted.picture), np.uint8), np.ones(len(files), np.bool_)
    with closing(_read(name, paths, form, content)) as chunks:
        for start, (part, problems) in chunks:
            counts[start : start + len(part)] = part
            for index, problem in problems.items():
                good[start + index] = False
                bad.add(paths[start + index], problem)
            if wanted.progress is not None:
                wanted.progress(start + len(part), len(files))
    bad.raise_if_bad(int(good.sum()), skip=wanted.skip_bad)
    labels = None if wanted.only_pictures else [label for label, _ in compress(files, good)]
    groups = None if writers is None or wanted.only_pictures else list(compress(writers, good))
    dataset = dataset_of(name, counts[good], labels, groups, max_value=form.full, n_skipped=bad.n)
    kept = None if content else tuple(path for path, is_good in zip(paths, good, strict=True) if is_good)
    return replace(dataset, slant=wanted.slant, is_raw=wanted.layout is not None, paths=kept)


# ---- what lies where -----------------------------------------------------------------------------------------------


@dataclass
class _Found:
    """What was found in a folder.

    Attributes:
        files: The class and the path of each picture, in order.
        owners: Who wrote each; "" where its class has no folders of writers.
        left_out: Files that are not pictures by their names, and pictures outside the folders of classes.
        empty: Folders of classes without pictures.
        problem: Why there may be no files.
        joined: The folder of validation pictures that are trained on with the others.
    """

    files: list[tuple[str, str]] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    left_out: list[_Place] = field(default_factory=list)
    empty: list[_Place] = field(default_factory=list)
    problem: str = ""
    joined: _Place | None = None

    @property
    def writers(self) -> list[str] | None:
        """Who wrote each; None where that is not known of all, or there are too few to part them."""
        return self.owners if all(self.owners) and len(set(self.owners)) >= LEAST_WRITERS else None

    def notes(self) -> tuple[str, ...]:
        """Return what is to be known of it, in words."""
        notes = []
        if self.left_out:
            named = listed([path.name for path in self.left_out[:MAX_NAMED]], len(self.left_out))
            plural = "s" if len(self.left_out) > 1 else ""
            notes.append(f"{len(self.left_out):,} file{plural} left out (not a picture of a class): {named}")
        if self.joined is not None:
            notes.append(f"{self.joined.name}/ is joined to the training pictures, of which a part is for validation")
        return tuple(notes)


def _found(folder: _Place, wanted: Wanted) -> _Found:
    """Find the pictures of a folder, in whichever layout.

    Raises:
        OSError: A folder may not be looked into.
        DataError: The names of pictures can be read in two ways.
    """
    parts, found = _parts(folder), _Found()
    if "train" in parts:
        found.joined = parts.get("validation") if "test" in parts else None
        roots = [parts["train"], *([found.joined] if found.joined else [])]
    else:
        roots = [folder]
    for root in roots:
        _look_into(root, found)
    _swap_if_writers_come_first(found)
    if not found.files and len(roots) == 1:
        _look_at_names(roots[0], found, wanted.label)
    return found


def _unwrapped(folder: _Place) -> _Place:
    """Return what is inside folders that hold nothing but one folder, as they come out of archives."""
    with suppress(OSError):
        for _ in range(MAX_WRAPPED):
            inside = _entries(folder)
            if len(inside) != 1 or not inside[0].is_dir() or part_named(inside[0].name):
                break
            if not any(path.is_dir() for path in _entries(inside[0])):
                break  # a single class
            folder = inside[0]
    return folder


def _parts(folder: _Place) -> dict[Part, _Place]:
    """Return the folders of the parts of the data inside a folder."""
    with suppress(OSError):
        inside = {part_named(path.name): path for path in _entries(folder) if path.is_dir()}
        return {part: path for part, path in inside.items() if part is not None}
    return {}


def _swap_if_writers_come_first(found: _Found) -> None:
    """Take the inner folders for the classes where they are called as digits and the outer ones are not."""
    outer = {label for label, _ in found.files}
    if (
        found.owners
        and all(map(_is_digit, found.owners))
        and len({*found.owners}) > 1
        and not any(map(_is_digit, outer))
    ):
        labels = [label for label, _ in found.files]
        found.files = [(owner, path) for owner, (_, path) in zip(found.owners, found.files, strict=True)]
        found.owners = labels


def _is_digit(name: str) -> bool:
    return re.fullmatch(r"[0-9]", name) is not None


def _look_into(root: _Place, found: _Found) -> None:
    """Find the pictures in the folders of classes."""
    for place in _entries(root):
        if not place.is_dir():
            found.left_out.append(place)
            continue
        n_before = len(found.files)
        for path in _entries(place):
            if path.is_dir():
                _add_writer(place.name, path, found)
            else:
                _add(place.name, "", path, found)
        if len(found.files) == n_before:
            found.empty.append(place)
            found.problem = found.problem or "its folders hold no pictures"


def _add_writer(label: str, place: _Place, found: _Found) -> None:
    """Find the pictures of one writer."""
    for path in _entries(place):
        if path.is_dir():
            found.left_out.append(path)
            found.problem = found.problem or f"{path} is a folder in a folder in a folder"
        else:
            _add(label, place.name, path, found)


def _add(label: str, writer: str, path: _Place, found: _Found) -> None:
    if path.suffix.lower() in SUFFIXES:
        found.files.append((label, str(path)))
        found.owners.append(writer)
    else:
        found.left_out.append(path)


def _look_at_names(root: _Place, found: _Found, label: str | None) -> None:
    """Find pictures whose names say their class: their first word, or their last.

    Raises:
        DataError: Both may be it.
    """
    pictures = [path for path in found.left_out if path.suffix.lower() in SUFFIXES]
    if not pictures:
        found.problem = found.problem or "no folders of classes, and no pictures"
        return
    words = [re.findall(r"[^\W_]+", path.stem) for path in pictures]
    columns = [list(column) for column in zip(*words, strict=False)] if len({*map(len, words)}) == 1 else []
    columns = columns or [[one[k] for one in words] for k in (0, -1) if all(words)]
    readings = [column for column in columns if _say_classes(column)]
    readings = [column for column in readings if all(map(_is_digit, column))] or readings
    if label in ("first", "last") and columns:
        readings = [columns[0 if label == "first" else -1]]
    if len(readings) > 1:
        raise DataError(
            f"{root}: the first word of a picture's name or the last may be its class, such as in {pictures[0].name}; "
            "set data.label=first or data.label=last"
        )
    found.problem = "no folders of classes, and the pictures' names do not contain a class"
    for labels in readings:
        found.files = [(label, str(path)) for label, path in zip(labels, pictures, strict=True)]
        found.left_out = [path for path in found.left_out if path.suffix.lower() not in SUFFIXES]


def _say_classes(labels: list[str]) -> bool:
    """Return whether words may be classes: digits, or several pictures of each."""
    different = set(labels)
    return len(different) > 1 and (all(map(_is_digit, different)) or 2 * len(different) <= len(labels))


def _entries(folder: _Place) -> list[Any]:
    """Return what lies in a folder, in order, without what systems leave about."""
    return sorted(path for path in folder.iterdir() if not is_litter(path.name))


# ---- reading -------------------------------------------------------------------------------------------------------


def _read(name: str, paths: Sequence[str], form: Form, content: Content | None) -> Generator[tuple[int, Chunk]]:
    """Yield chunk after chunk with the number of its first picture; the same chunks however many processes read."""
    starts = range(0, len(paths), CHUNK)
    parts = [paths[start : start + CHUNK] for start in starts]
    if len(paths) <= MANY or content is not None:
        yield from zip(starts, map(partial(_read_chunk, form, content=content), parts), strict=True)
        return
    with closing(share_out([(part,) for part in parts], n_cores(), partial, _read_chunk, form)) as chunks:
        try:
            yield from zip(starts, _in_order(chunks), strict=True)
        except ChildProcessError as error:
            told = "a process reading pictures was killed; perhaps there was too little memory"
            raise DataError(f"{name}: {told}") from error


def _in_order(chunks: Iterable[tuple[int, Chunk] | None]) -> Iterator[Chunk]:
    """Yield numbered chunks by their numbers, each as soon as those before it are there."""
    early: dict[int, Chunk] = {}
    n = 0
    for one in chunks:
        early.update([one] if one else [])
        while n in early:
            yield early.pop(n)
            n += 1


def _read_chunk(form: Form, paths: Sequence[str], content: Content | None = None) -> Chunk:
    """Return what a network sees, (n, height, width), and the problems of the unreadable, by their number."""
    inks, problems = {}, {}
    for index, path in enumerate(paths):
        try:
            inks[index] = read_picture(content(path) if content else Path(path), where=path).levels
        except PictureError as error:
            problems[index] = str(error).removeprefix(f"{path}: ")
    counts = np.zeros((len(paths), *form.picture), np.uint8)
    if inks:
        counts[list(inks)] = np.rint(form.full * form.seen(list(inks.values())))
    return counts, problems
