"""How well the model in the package learns a hand: ten drawings of a digit that it misreads, and ten new ones.

    python -m benchmarks.teaching [KIND ...] [--set KEY=VALUE] [--held-out FILE.npz]

Each kind is an odd way of writing a digit, drawn with strokes; every drawing has a shape, a slant and a pen of its own.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import backprop_cli as backprop

SIZE, MARGIN = 280, 50  # pixels, as the drawing page has them
Stroke = list[tuple[float, float]]


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> Stroke:
    """Return points on an ellipse, angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, stop, 24))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


# x to the right and y down, from 0 to 1
LOOP = arc(0.45, 0.35, 0.4, 0.35, 0, -270)
CUP = [(0.1, 0.0), *arc(0.45, 0.3, 0.35, 0.3, 180, 0), (0.8, 0.0)]
KINDS: dict[str, tuple[str, list[Stroke]]] = {
    "7 with a foot": ("7", [[(0.1, 0.0), (0.9, 0.0), (0.4, 1.0)], [(0.05, 1.0), (0.8, 1.0)]]),
    "7 with a foot and a bar": (
        "7",
        [[(0.1, 0.0), (0.9, 0.0), (0.4, 1.0)], [(0.15, 1.0), (0.8, 1.0)], [(0.3, 0.5), (0.9, 0.5)]],
    ),
    "1 like a tent": ("1", [[(0.0, 0.9), (0.5, 0.0), (0.62, 1.0)]]),
    "1 that swings": ("1", [[(0.3, 0.1), (0.6, 0.0), (0.45, 0.5), (0.35, 1.0), (0.8, 0.9)]]),
    "4 like a u": ("4", [CUP, [(0.8, 0.0), (0.8, 0.6), *arc(0.55, 0.75, 0.25, 0.25, 0, 150)]]),
    "4 like a flag": ("4", [[(0.1, 0.5), (0.85, 0.5), (0.5, 0.0), (0.1, 0.5)], [(0.6, 0.5), (0.6, 1.0)]]),
    "9 like a snail": ("9", [[(0.5, 0.3), *arc(0.5, 0.3, 0.2, 0.15, 180, 360), *LOOP, (0.8, 1.0)]]),
    "9 like an e": ("9", [[*arc(0.5, 0.3, 0.4, 0.3, 90, 450), (0.75, 0.6), (0.1, 1.0), (0.9, 1.0)]]),
}


def drawn(kind: str, rng: np.random.Generator) -> Image.Image:
    """Return one drawing: dark ink on white."""
    angle, shear = rng.normal(0.0, math.radians(5)), rng.normal(0.0, 0.1)
    scale = rng.normal((1.0, 1.0), 0.08) * (SIZE - 2 * MARGIN)
    turn = np.array([[math.cos(angle), -math.sin(angle) + shear], [math.sin(angle), math.cos(angle)]])
    width = int(rng.integers(10, 24))
    picture = Image.new("L", (SIZE, SIZE), 255)
    pen = ImageDraw.Draw(picture)
    place = rng.normal(SIZE / 2, 8, 2)
    for stroke in KINDS[kind][1]:
        shaken = np.array(stroke) - 0.5
        n_moves = 4
        moves = rng.normal(0.0, 0.04, (n_moves, 2))
        along = np.linspace(0, n_moves - 1, len(shaken))
        shaken += np.stack([np.interp(along, range(n_moves), moves[:, k]) for k in (0, 1)], axis=1)
        points = [tuple(point) for point in (shaken * scale) @ turn.T + place]
        pen.line(points, 0, width, joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), 0)
    return picture


def saved(folder: Path, kind: str, n: int, seed: int) -> Path:
    """Draw a folder of one class, as the drawing page saves it: `mine/7/0001.png`."""
    rng, place = np.random.default_rng([seed, list(KINDS).index(kind)]), folder / KINDS[kind][0]
    place.mkdir(parents=True)
    for number in range(1, n + 1):
        drawn(kind, rng).save(place / f"{number:04}.png")
    return folder


def n_read(model: backprop.Model, folder: Path) -> int:
    """Return how many drawings of a folder a model reads."""
    return sum(one.predicted == Path(str(one.path)).parent.name for one in model.predict_many(folder))


def taught(kind: str, changes: list[str], held_out: str | None) -> str:
    """Teach one kind; return how many of a hundred new drawings are read before and after, and what is forgotten."""
    before = backprop.load("pretrained")
    with tempfile.TemporaryDirectory() as folder:
        mine, new = saved(Path(folder, "mine"), kind, 10, 0), saved(Path(folder, "new"), kind, 100, 1)
        started = time.process_time()
        model = backprop.train(init_from="pretrained", overrides=[f"data.extra={mine}", *changes], run_dir=False).model
        text = f"{n_read(before, new):3} -> {n_read(model, new):3} of 100; {time.process_time() - started:.0f} s"
    if held_out:
        then, now = (one.evaluate(data=held_out) for one in (before, model))
        text += f"; held out {100 * then.accuracy:.2f} -> {100 * now.accuracy:.2f} %, "
        text += f"log loss {then.log_loss:.4f} -> {now.log_loss:.4f}, ece {then.ece:.4f} -> {now.ece:.4f}"
    return text


def main() -> None:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--held-out", help="digits that nobody taught: what is forgotten")
    options = parser.parse_args()
    for kind in options.kinds:
        print(f"{kind:24}{taught(kind, options.changes, options.held_out)}", flush=True)


if __name__ == "__main__":
    main()
