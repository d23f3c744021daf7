"""What is no digit, or not one, is warned of, blank or refused; what is one, hardly ever."""

from __future__ import annotations

import io

import numpy as np
import pytest
from command_line import SAMPLES
from nonsense import NONSENSE, as_picture

from backprop_cli.data.image import read_picture
from backprop_cli.errors import PictureError

N = 30


def is_doubted(content: bytes) -> bool:
    try:
        return bool(read_picture(content).doubts)
    except PictureError:
        return True


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_warned_of(kind: str) -> None:
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(N):
        file = io.BytesIO()
        as_picture(NONSENSE[kind](rng)).save(file, "PNG")
        found += is_doubted(file.getvalue())
    assert found >= 0.8 * N, f"{found} of {N}"


def test_the_samples_are_not_doubted() -> None:
    doubted = [path.name for path in SAMPLES.glob("*.*g") if read_picture(path).doubts]
    assert not doubted
