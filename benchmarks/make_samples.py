"""Draw the sample pictures in data/samples: digits of the data set's test part, large and smooth.

Run `python benchmarks/make_samples.py`; equal versions of Pillow give equal files. Rows are chosen by a rule, not by
what a model makes of them: the first three rows of each digit in the test part, in the order of the data set.
"""

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

from backprop_cli.data.normalize import bitmap

TEST_ROWS = range(1415, 1797)
"""The test part of the default split: the last three groups of writers."""

PER_DIGIT = 3
SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
Color = tuple[int, int, int]


class Style(NamedTuple):
    """How one picture is drawn."""

    height: int  # of the picture, pixels
    wide: float  # width / height of the picture
    margin: float  # empty share of the height, above and below together
    across: float  # where the digit stands from the left (0) to the right edge (1)
    ink: Color
    ground: Color
    suffix: str


STYLES = (
    Style(28, 1.0, 0.25, 0.5, (255, 255, 255), (0, 0, 0), "png"),
    Style(120, 1.0, 0.30, 0.5, (0, 0, 0), (255, 255, 255), "png"),
    Style(300, 1.2, 0.45, 0.3, (25, 45, 140), (250, 248, 240), "jpg"),
    Style(64, 1.0, 0.15, 0.5, (70, 70, 70), (255, 255, 255), "png"),
    Style(600, 1.0, 0.40, 0.5, (0, 0, 0), (255, 255, 255), "png"),
    Style(200, 0.8, 0.35, 0.6, (240, 240, 230), (30, 60, 45), "png"),
    Style(160, 1.5, 0.20, 0.7, (180, 30, 30), (255, 255, 255), "png"),
    Style(400, 1.0, 0.60, 0.4, (120, 120, 120), (235, 235, 230), "jpg"),
    Style(48, 1.3, 0.35, 0.5, (230, 230, 60), (20, 20, 90), "png"),
    Style(96, 1.0, 0.20, 0.5, (0, 0, 0), (200, 200, 200), "png"),
    Style(250, 1.1, 0.50, 0.5, (20, 100, 50), (255, 250, 200), "png"),
)
"""Taken in turn; 11 and the ten digits share no factor, so every digit meets different styles."""


def main() -> None:
    """Write the pictures and labels.csv."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=SAMPLES, help="folder to write to (default: data/samples)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    rows = chosen_rows(digits.target)
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("file", "label", "row"))
        for number, (row, ink) in enumerate(zip(rows, bitmap(digits.images[rows]), strict=True)):
            style = STYLES[number % len(STYLES)]
            name = f"{digits.target[row]}-{row}.{style.suffix}"
            drawn(ink, style).save(out / name, optimize=True)
            table.writerow((name, digits.target[row], row))


def chosen_rows(labels: NDArray[np.integer]) -> list[int]:
    """Return the first rows of each digit in the test part, in ascending order."""
    test = np.array(TEST_ROWS)
    return sorted(int(row) for digit in range(10) for row in test[labels[test] == digit][:PER_DIGIT])


def drawn(ink: NDArray[np.bool_], style: Style) -> Image.Image:
    """Draw a bitmap, (32, 32), with smooth outlines in the given style."""
    height, width = style.height, round(style.height * style.wide)
    tall = round(height * (1 - style.margin))
    box = (round((width - tall) * style.across), (height - tall) // 2)
    mask = Image.new("L", (width, height))
    mask.paste(smooth(ink, tall), box)
    picture = Image.new("RGB", (width, height), style.ground)
    picture.paste(style.ink, (0, 0), mask)
    return picture


def smooth(ink: NDArray[np.bool_], side: int) -> Image.Image:
    """Enlarge a bitmap to about four times `side`, round its stairs off, and shrink it to `side`."""
    framed = np.pad(ink, 2)  # so that outlines at the edge are rounded too
    fine = 4 * side // 32 * framed.shape[0]
    large = Image.fromarray(framed.astype(np.uint8) * 255).resize((fine, fine), Image.Resampling.BICUBIC)
    outline = large.filter(ImageFilter.GaussianBlur(fine / framed.shape[0])).point(lambda level: 255 * (level > 127))
    edge = fine * 1.5 / framed.shape[0]
    return outline.resize((side, side), Image.Resampling.BOX, box=(edge, edge, fine - edge, fine - edge))


if __name__ == "__main__":
    main()
