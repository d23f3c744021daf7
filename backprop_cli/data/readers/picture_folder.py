"""A folder with one folder of pictures for each class -> counts of ink, read by all cores where there are many."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.form import Form
from backprop_cli.data.image import SUFFIXES, read_picture
from backprop_cli.data.processes import n_cores, share_out
from backprop_cli.data.readers.shared import BadRows, Wanted, check_classes, class_order, dataset_of
from backprop_cli.errors import DataError, PictureError

MANY = 500  # pictures from which starting processes is worth it
CHUNK = 64  # pictures that a process reads at a time

Chunk = tuple[NDArray[np.uint8], dict[int, str]]


def matches(source: str) -> bool:
    """Return whether a source is a folder."""
    return Path(source).is_dir()


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the pictures of a folder, each labeled with the name of the folder it lies in.

    Args:
        source: Holds the folders of the classes; what begins with a dot is not looked at.
        wanted: The size to which each is brought (the values are counts of ink from 0 to 16), and so on.

    Raises:
        DataError: There are no such folders, or some files are bad; all of them are named.
    """
    folder, picture = Path(source), wanted.picture
    form = Form(picture, wanted.slant, wanted.layout)
    bad = BadRows(str(folder))
    try:
        files = list(_files(folder, bad))
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from error
    if not files:
        raise DataError(
            f"{folder}: neither folders of pictures, named after their classes, nor images.npy and labels.npy"
        )
    check_classes(str(folder), class_order(label for label, _ in files))
    paths = [path for _, path in files]
    counts, good = np.zeros((len(files), *picture), np.uint8), np.ones(len(files), np.bool_)
    with closing(_read(folder, paths, form)) as chunks:
        for start, (part, problems) in chunks:
            counts[start : start + len(part)] = part
            for index, problem in problems.items():
                good[start + index] = False
                bad.add(paths[start + index], problem)
            if wanted.progress is not None:
                wanted.progress(start + len(part), len(files))
    bad.raise_if_bad(int(good.sum()), skip=wanted.skip_bad)
    labels = np.array([label for label, _ in files])
    dataset = dataset_of(str(folder), counts[good], labels[good], max_value=form.full, n_skipped=bad.n)
    kept = tuple(path for path, is_good in zip(paths, good, strict=True) if is_good)
    return replace(dataset, slant=wanted.slant, is_raw=wanted.layout is not None, paths=kept)


def _files(folder: Path, bad: BadRows) -> Iterator[tuple[str, str]]:
    """Yield the class and the path of each picture, in order, and note what is none."""
    for place in _entries(folder):
        if not place.is_dir():
            bad.add(place, "in no folder of a class")
            continue
        for path in _entries(place):
            if path.suffix.lower() in SUFFIXES:
                yield place.name, str(path)
            else:
                bad.add(path, "not a picture by its name")


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _read(folder: Path, paths: Sequence[str], form: Form) -> Generator[tuple[int, Chunk]]:
    """Yield chunk after chunk with the number of its first picture; the same chunks however many processes read."""
    starts = range(0, len(paths), CHUNK)
    parts = [paths[start : start + CHUNK] for start in starts]
    if len(paths) <= MANY:
        yield from zip(starts, map(partial(_read_chunk, form), parts), strict=True)
        return
    with closing(share_out([(part,) for part in parts], n_cores(), partial, _read_chunk, form)) as chunks:
        try:
            yield from zip(starts, _in_order(chunks), strict=True)
        except ChildProcessError as error:
            raise DataError(
                f"{folder}: a process that read pictures was killed; was there too little memory?"
            ) from error


def _in_order(chunks: Iterable[tuple[int, Chunk] | None]) -> Iterator[Chunk]:
    """Yield numbered chunks by their numbers, each as soon as those before it are there."""
    early: dict[int, Chunk] = {}
    n = 0
    for one in chunks:
        early.update([one] if one else [])
        while n in early:
            yield early.pop(n)
            n += 1


def _read_chunk(form: Form, paths: Sequence[str]) -> Chunk:
    """Return what a network sees, (n, height, width), and the problems of the unreadable, by their number."""
    inks, problems = {}, {}
    for index, path in enumerate(paths):
        try:
            inks[index] = read_picture(Path(path)).levels
        except PictureError as error:
            problems[index] = str(error).removeprefix(f"{path}: ")
    counts = np.zeros((len(paths), *form.picture), np.uint8)
    if inks:
        counts[list(inks)] = np.rint(form.full * form.seen(list(inks.values())))
    return counts, problems
