"""Pictures that hold no single digit, made from a given rng; each is gray, 0 black .. 1 white, (height, width)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from backprop_cli.data.normalize import bitmap

Gray = NDArray[np.float32]
BITMAPS = bitmap(load_digits().images[:200]).astype(np.float32)


def digit(rng: np.random.Generator, tall: int) -> Gray:
    """Return one digit, cropped in width, its ink in [0, 1], (tall, width)."""
    ink = BITMAPS[rng.integers(len(BITMAPS))]
    ink = ink[:, ink.any(axis=0)]
    size = round(ink.shape[1] * tall / 32), tall
    return np.clip(np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC), np.float32), 0, 1)


def noise(rng: np.random.Generator) -> Gray:
    side, grain = int(rng.choice([28, 64, 200, 300])), int(rng.choice([1, 1, 2, 4]))
    values = rng.normal(0.5, rng.uniform(0.05, 0.3), (side // grain, side // grain))
    return np.kron(values, np.ones((grain, grain)))


def checkerboard(rng: np.random.Generator) -> Gray:
    side, cell = int(rng.choice([28, 100, 240])), rng.uniform(0.05, 0.25)
    y, x = np.mgrid[:side, :side] // max(2, int(cell * side))
    return 0.1 + 0.8 * ((x + y + rng.integers(2)) % 2)


def gradient(rng: np.random.Generator) -> Gray:
    side = int(rng.choice([28, 100, 240]))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    turn = rng.uniform(0, 2 * np.pi)
    ways = (np.cos(turn) * x + np.sin(turn) * y) / 1.5, np.hypot(x, y) / 1.5 * 2 - 1
    return 0.5 + 0.5 * rng.uniform(0.3, 1) * ways[int(rng.integers(2))]


def blob(rng: np.random.Generator) -> Gray:
    side = int(rng.choice([28, 100, 240]))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j] - rng.uniform(-0.2, 0.2, (2, 1, 1))
    wide, tall = rng.uniform(0.25, 0.6) * np.array([1, rng.uniform(0.75, 1.3)])
    shapes = (np.abs(x) < wide) & (np.abs(y) < tall), np.hypot(x / wide, y / tall) < 1
    return 1 - 0.9 * shapes[int(rng.integers(2))]


def line(rng: np.random.Generator) -> Gray:
    side = int(rng.choice([100, 240]))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    tilt, place = rng.uniform(-0.3, 0.3), rng.uniform(-0.5, 0.5)
    drawn = (np.abs(y - place - tilt * x) < rng.uniform(0.015, 0.08)) & (np.abs(x) < rng.choice([0.6, 0.8, 2]))
    return 1 - 0.8 * drawn


def frame(rng: np.random.Generator) -> Gray:
    side = int(rng.choice([100, 240]))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    distance = np.maximum(np.abs(x) / rng.uniform(0.8, 1.0), np.abs(y) / rng.uniform(0.8, 1.0))
    return 1 - 0.8 * ((distance < 0.95) & (distance > 0.95 - rng.uniform(0.03, 0.1)))


def several_digits(rng: np.random.Generator) -> Gray:
    tall = int(rng.choice([28, 60, 120]))
    digits = [digit(rng, round(tall * rng.uniform(0.85, 1))) for _ in range(int(rng.integers(2, 5)))]
    gap = round(tall * rng.uniform(0.15, 0.5))
    picture = np.ones((round(1.8 * tall), sum(d.shape[1] + gap for d in digits) + 2 * gap), np.float32)
    left = round(1.5 * gap)
    for ink in digits:
        picture[tall // 3 : tall // 3 + len(ink), left : left + ink.shape[1]] -= 0.9 * ink
        left += ink.shape[1] + gap
    return picture


def cut_off(rng: np.random.Generator) -> Gray:
    tall = int(rng.choice([60, 120]))
    ink = digit(rng, tall)
    picture = np.ones((2 * tall, 2 * tall), np.float32)
    top, left = (2 * tall - ink.shape[0]) // 2, (2 * tall - ink.shape[1]) // 2
    picture[top : top + ink.shape[0], left : left + ink.shape[1]] -= 0.9 * ink
    lost = round(tall * rng.uniform(0.1, 0.4))
    sides = picture[top + lost :], picture[: top + tall - lost], picture[:, left + ink.shape[1] // 3 :]
    return sides[int(rng.integers(3))]


NONSENSE: dict[str, Callable[[np.random.Generator], Gray]] = {
    "noise": noise,
    "checkerboard": checkerboard,
    "gradient": gradient,
    "blob": blob,
    "line": line,
    "frame": frame,
    "several digits": several_digits,
    "cut off": cut_off,
}


def as_picture(gray: Gray) -> Image.Image:
    return Image.fromarray(np.rint(255 * np.clip(gray, 0, 1)).astype(np.uint8))
