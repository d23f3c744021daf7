"""What Pillow and libtiff say of a picture beside its error: dropped in a process of our own, left alone in any other.

Nothing less than global state drops it: a filter of warnings, a handler of Pillow's logger, and descriptor 2, since
libtiff prints from C. Where other code runs too, that state is not ours: other threads read pictures, or write there.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_is_ours = False
_descriptor_2 = threading.Lock()


def claim_process() -> None:
    """Say that this process is the command's, or one that shares its work: its global state is ours."""
    global _is_ours
    _is_ours = True


def hush_pillow() -> None:
    """Drop Pillow's warnings and log from now on, in a process of our own."""
    if _is_ours:
        _drop_words()


@cache
def _drop_words() -> None:
    import logging  # takes longer than all else here, and most commands read no picture

    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextmanager
def libtiff_hushed() -> Iterator[None]:
    """Drop what is written to standard error inside the block, in a process of our own."""
    if not _is_ours:
        yield
        return
    with _descriptor_2:
        try:
            kept = os.dup(2)
        except OSError:  # standard error is closed already
            yield
            return
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
