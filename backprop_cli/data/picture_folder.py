"""A folder with one folder of pictures for each class -> counts of ink, read by all cores where there are many."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.image import SUFFIXES, read_picture
from backprop_cli.data.normalize import Slant, normalize_many
from backprop_cli.data.processes import end_with_parent, n_cores, process_pool
from backprop_cli.data.reading import BadRows, check_classes, class_order, dataset_of
from backprop_cli.errors import DataError, PictureError

MANY = 500  # pictures from which starting processes is worth it
CHUNK = 64  # pictures that a process reads at a time

Chunk = tuple[NDArray[np.uint8], dict[int, str]]


def load_pictures(
    folder: Path,
    *,
    picture: tuple[int, int] = (8, 8),
    slant: Slant = "moments",
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Return the pictures of a folder, each labelled with the name of the folder it lies in.

    Args:
        folder: Holds the folders of the classes; what begins with a dot is not looked at.
        picture: Height and width to which each is brought; the values are counts of ink from 0 to 16.
        slant: How slanted digits are set upright.
        skip_bad: Leave out what is no picture, or cannot be read, instead of refusing the folder.
        progress: Is told how many pictures of how many have been read.

    Raises:
        DataError: There are no such folders, or some files are bad; all of them are named.
    """
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
    with closing(_read(folder, paths, picture, slant)) as chunks:
        for start, (part, problems) in chunks:
            counts[start : start + len(part)] = part
            for index, problem in problems.items():
                good[start + index] = False
                bad.add(paths[start + index], problem)
            if progress is not None:
                progress(start + len(part), len(files))
    bad.settle(int(good.sum()), skip=skip_bad)
    labels = np.array([label for label, _ in files])
    dataset = dataset_of(str(folder), counts[good], labels[good], max_value=16.0, n_skipped=bad.n)
    return replace(dataset, slant=slant)


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


def _read(folder: Path, paths: Sequence[str], picture: tuple[int, int], slant: Slant) -> Generator[tuple[int, Chunk]]:
    """Yield chunk after chunk with the number of its first picture; the same chunks however many processes read."""
    from concurrent.futures.process import BrokenProcessPool

    starts = range(0, len(paths), CHUNK)
    tasks = [(paths[start : start + CHUNK], picture, slant) for start in starts]
    try:
        with _mapping(len(paths)) as mapped:
            yield from zip(starts, mapped(_read_chunk, tasks), strict=True)
    except BrokenProcessPool as error:
        raise DataError(f"{folder}: a process that read pictures was killed; was there too little memory?") from error


@contextmanager
def _mapping(n_pictures: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give `map`, or for many pictures one that does the work in processes, as many as there are cores."""
    if n_pictures <= MANY:
        yield map
        return
    pool = process_pool(n_cores(), _start_worker)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Prepare a process: Ctrl-C is for its parent, with which it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _read_chunk(task: tuple[Sequence[str], tuple[int, int], Slant]) -> Chunk:
    """Return counts of ink, (n, height, width), and the problems of those that cannot be read, by their number."""
    paths, picture, slant = task
    inks, problems = {}, {}
    for index, path in enumerate(paths):
        try:
            inks[index] = read_picture(Path(path)).levels
        except PictureError as error:
            problems[index] = str(error).removeprefix(f"{path}: ")
    counts = np.zeros((len(paths), *picture), np.uint8)
    if inks:
        counts[list(inks)] = normalize_many(list(inks.values()), picture=picture, slant=slant)
    return counts, problems
