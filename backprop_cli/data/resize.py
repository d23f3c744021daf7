"""Pictures of a data set brought to another size, counted in blocks as the digits were."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.arrangement import Arrangement, ink_of_arrays
from backprop_cli.data.dataset import Dataset, largest
from backprop_cli.data.kept_counts import digest_of, keep_counts, kept_counts
from backprop_cli.data.normalize import FULL_COUNT, Slant, bitmap, normalize
from backprop_cli.data.processes import n_cores, share_out
from backprop_cli.data.readers.shared import ProgressCallback
from backprop_cli.errors import DataError

CHUNK_PICTURES = 4096  # brought to size at a time
MANY = 12_000  # pictures from which processes share the work: ten seconds of it


def resized(
    dataset: Dataset,
    picture: tuple[int, int],
    slant: Slant | None,
    arrangement: Arrangement | None = None,
    progress: ProgressCallback = None,
) -> Dataset:
    """Return the data set with pictures of this size, counted as the digits were.

    Args:
        dataset: Counts from 0 to 16, or arrays.
        picture: Height and width.
        slant: How slanted digits are set upright; None: as the data set has it.
        arrangement: How the arrays are meant; None: bright ink on 0, to the largest value.
        progress: Is told how many pictures of how many are done.

    Raises:
        DataError: A process that shared the work was killed.
    """
    pictures = dataset.pictures
    full = float(dataset.max_value or largest(pictures, np.arange(len(pictures))) or 1.0)
    are_counts = arrangement is None and pictures.dtype.kind in "ui" and full <= FULL_COUNT
    if are_counts and dataset.picture_size == picture and slant in (None, dataset.slant):
        return dataset
    form = _Form(picture, slant or "moments", full, are_counts, arrangement)
    if len(pictures) <= MANY:
        counts = _all_counted(form, pictures, dataset.name, None)
    else:
        starts = range(0, len(pictures), CHUNK_PICTURES)
        digest = digest_of((pictures[start : start + CHUNK_PICTURES] for start in starts), form)
        kept = kept_counts(digest, (len(pictures), *picture))
        counts = _all_counted(form, pictures, dataset.name, progress) if kept is None else kept
        if kept is None:
            keep_counts(digest, counts)
    return replace(dataset, pictures=counts, max_value=FULL_COUNT, slant=slant or "moments", arrangement=arrangement)


def _all_counted(form: _Form, pictures: NDArray[Any], name: str, progress: ProgressCallback) -> NDArray[np.uint8]:
    counts = np.empty((len(pictures), *form.picture), np.uint8)
    with closing(_counted_in_parts(form, pictures, name)) as parts:
        for n_done, (start, part) in enumerate(parts, 1):
            counts[start : start + len(part)] = part
            if progress is not None:
                progress(min(n_done * CHUNK_PICTURES, len(pictures)), len(pictures))
    return counts


class _Form(NamedTuple):
    picture: tuple[int, int]
    slant: Slant
    full: float
    are_counts: bool
    arrangement: Arrangement | None


def _counted_in_parts(form: _Form, pictures: NDArray[Any], name: str) -> Generator[tuple[int, NDArray[np.uint8]]]:
    """Yield parts of the pictures as counts, each with the number of its first, by all cores where there are many."""
    starts = range(0, len(pictures), CHUNK_PICTURES)
    if len(pictures) <= MANY:
        for start in starts:
            yield start, _counted(form, pictures[start : start + CHUNK_PICTURES])
        return
    tasks = [(np.asarray(pictures[start : start + CHUNK_PICTURES]),) for start in starts]
    try:
        with closing(share_out(tasks, n_cores(), partial, _counted, form)) as done:
            yield from ((starts[number], part) for number, part in filter(None, done))
    except ChildProcessError as error:
        raise DataError(f"{name}: a process counting ink was killed; perhaps there was too little memory") from error


def _counted(form: _Form, part: NDArray[Any]) -> NDArray[np.uint8]:
    """Return some pictures, (n, height, width), as counts of another size."""
    if form.are_counts:
        ink = bitmap(part).astype(np.float32)
    elif form.arrangement is not None:
        ink = ink_of_arrays(part, form.arrangement)
    else:
        ink = np.divide(part, form.full, dtype=np.float32)
    return normalize(ink, picture=form.picture, slant=form.slant).astype(np.uint8)
