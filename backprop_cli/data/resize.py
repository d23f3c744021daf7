"""Pictures of a data set brought to another size, counted in blocks as the digits were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from backprop_cli.data.dataset import Dataset, largest
from backprop_cli.data.normalize import BLOCK, Slant, bitmap, normalize

FULL_COUNT = BLOCK * BLOCK
CHUNK_PICTURES = 4096  # brought to size at a time


def resized(dataset: Dataset, picture: tuple[int, int], slant: Slant | None) -> Dataset:
    """Return the data set with pictures of this size, counted as the digits were."""
    pictures = dataset.pictures
    full = float(dataset.max_value or largest(pictures, np.arange(len(pictures))) or 1.0)
    are_counts = pictures.dtype.kind in "ui" and full <= FULL_COUNT
    if are_counts and dataset.picture_size == picture and slant in (None, dataset.slant):
        return dataset
    counts = np.empty((len(pictures), *picture), np.uint8)
    for start in range(0, len(pictures), CHUNK_PICTURES):
        part = pictures[start : start + CHUNK_PICTURES]
        ink = bitmap(part).astype(np.float32) if are_counts else np.divide(part, full, dtype=np.float32)
        counts[start : start + CHUNK_PICTURES] = normalize(ink, picture=picture, slant=slant or "moments")
    return replace(dataset, pictures=counts, max_value=float(FULL_COUNT), slant=slant or "moments")
