"""`make bench-pictures DATA=FILE.npz [MODEL=...]`: how well `backprop predict` reads photo-like pictures of digits.

Prints a Markdown table: first all digits of the file as they are, one PNG each, then 26 kinds of pictures made of them
(`benchmarks/make_pictures.py`). Digits of other people and pens than the model was trained on are the ones to take.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backprop_cli.insight.metrics import wilson_interval
from benchmarks.make_pictures import KINDS, Picture, make_pictures


def main() -> None:
    """Make the pictures, have them read, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="npz of `images` (n, h, w), bright ink, and `labels`")
    parser.add_argument("--model", help="as for backprop predict")
    parser.add_argument("--per-kind", type=int, default=25)
    parser.add_argument("--straight", type=int, default=2000, help="at most so many digits as they are")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with np.load(options.data) as data:
        images, labels = data["images"], data["labels"]
    with tempfile.TemporaryDirectory() as folder:
        whole = make_pictures(images, labels, Path(folder, "whole"), options.seed, options.straight, ["straight"])
        made = make_pictures(images, labels, Path(folder, "kinds"), options.seed, options.per_kind)
        rows = table(whole, read(Path(folder, "whole"), options.model), "all digits as they are")
        rows += table(made, read(Path(folder, "kinds"), options.model), "all kinds together")
    sys.stdout.write(
        "\n".join(["| pictures | n | accuracy, % | 95 % interval | warned of |", "|---|---|---|---|---|", *rows, ""])
    )


FoldPredictions = dict[str, tuple[str | None, bool]]
"""Path of each picture -> what it was read as (None: not at all), and whether it was warned of."""


def read(folder: Path, model: str | None = None) -> FoldPredictions:
    """Have `backprop predict` read all pictures of a folder."""
    command = [sys.executable, "-m", "backprop_cli", "predict", str(folder), "--json"]
    done = subprocess.run([*command, *(["-m", model] if model else [])], stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)
    entries = json.loads(done.stdout)["predictions"]
    return {entry["path"]: (entry.get("predicted"), bool(entry.get("warnings"))) for entry in entries}


def table(made: Sequence[Picture], answers: FoldPredictions, whole: str) -> list[str]:
    """Return a row for each kind, if there are several, and one for all."""
    right = np.array([answers[str(picture.path)][0] == str(picture.label) for picture in made])
    warned = np.array([answers[str(picture.path)][1] for picture in made])
    kinds = np.array([picture.kind for picture in made])
    names = [name for name in KINDS if name in kinds]
    rows = [_row(name, right[kinds == name], warned[kinds == name]) for name in names if len(names) > 1]
    return [*rows, _row(f"**{whole}**", right, warned)]


def _row(name: str, right: NDArray[np.bool_], warned: NDArray[np.bool_]) -> str:
    low, high = wilson_interval(int(right.sum()), len(right))
    accuracy = f"{100 * right.mean():.1f} | {100 * low:.1f} - {100 * high:.1f}"
    return f"| {name} | {len(right)} | {accuracy} | {warned.sum()} |"


if __name__ == "__main__":
    main()
