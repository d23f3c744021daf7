"""Cases of each kind made, written down, read by a worker; the ones that fail kept."""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from command_line import PATIENCE
from judge import LIMITS, small_run
from mutations import Case, configs, data_files, model_files, pictures
from worker import Outcome, Worker

from backprop_cli.data.layout import Layout
from backprop_cli.store.model_file import Model, save_model
from backprop_cli.store.run_directory import CHECKPOINT

FAILURES = Path(__file__).parent / "failures"
KINDS = tuple(LIMITS)
ODD_FOLDER = "[red]\x1b[2J\u202e"


@dataclass
class Tally:
    """What came of the cases of one kind."""

    tried: int = 0
    accepted: int = 0
    failed: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    largest: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def cases(kind: str, seed: int) -> Iterator[Case]:
    """Return the cases of a kind, without end."""
    rng = random.Random(f"{kind} {seed}")
    if kind == "model":
        return model_files(rng, sound_models(), "model.safetensors")
    if kind == "checkpoint":
        return model_files(rng, [sound_checkpoint()], CHECKPOINT)
    return {"config": configs, "picture": pictures, "data": data_files}[kind](rng)


@cache
def sound_models() -> list[bytes]:
    """Return models of several forms, a very small one first, one with names that would steer a terminal."""
    return [
        saved((2, 3), (3,), ("0", "1")),
        saved((2, 3), (), ("\x1b[2J\x1b[31mred", "[bold]b[/bold]", "\u202ec\n")),
        saved((4, 4), (5, 4), tuple("0123456789"), members=3, loss={"name": "mse"}, temperature=0.5),
        saved((6, 5), (3,), ("a", "b"), layout=LAYOUT),
    ]


LAYOUT = Layout(
    fit="longer",
    height=4.0,
    width=3.0,
    longer=4.0,
    center="mass",
    y=2.5,
    x=2.0,
    upright=True,
    least=(1.0, 1.0, 0.5, 0.5),
    most=(6.0, 5.0, 4.0, 4.0),
)


def saved(
    picture: tuple[int, int],
    units: tuple[int, ...],
    classes: tuple[str, ...],
    *,
    members: int = 1,
    loss: dict[str, object] | None = None,
    temperature: float = 1.0,
    layout: Layout | None = None,
) -> bytes:
    rng = np.random.default_rng(0)
    widths = [picture[0] * picture[1], *units, len(classes)]
    n_params = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))
    model = Model(
        n_inputs=widths[0],
        layers=tuple({"units": n, "activation": "relu", "dropout": 0.0} for n in units),
        classes=classes,
        members=tuple(rng.random(n_params, np.float32) - np.float32(0.5) for _ in range(members)),
        loss=loss or {"name": "cross_entropy", "label_smoothing": 0.0},
        preprocessing={
            "picture": list(picture),
            "max_value": 16.0,
            "scale": 0.5,
            "slant": "edges",
            **({} if layout is None else {"layout": layout.to_dict()}),
        },
        mean=rng.random(widths[0], dtype=np.float32),
        config={"name": "[bold]x\x1b[2J", "seed": 0},
        summary={"best_epoch": 1, "val_loss": 0.5, "note": "\x1b]0;title\x07"},
        temperature=temperature,
    )
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "m", model)
        return (Path(folder) / "m").read_bytes()


@cache
def sound_checkpoint() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return small_run(Path(folder) / "run")


def run(kind: str, many: Iterable[Case], *, keep: Path | None = None, timed: bool = True) -> Tally:
    """Have cases read one after the other.

    Args:
        kind: One of `KINDS`.
        many: What is read.
        keep: Where the failing ones are left, each with a note of what failed; None: an AssertionError ends it.
        timed: Whether too much processor time is a failure.
    """
    tally = Tally()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, Worker(kind, patience=PATIENCE, timed=timed) as worker:
        for case in many:
            place = Path(scratch) / ODD_FOLDER
            outcome = worker.read(written(case, place))
            tally.tried += 1
            tally.accepted += not (outcome.refusal or outcome.failure)
            tally.longest, tally.largest = max(tally.longest, outcome.seconds), max(tally.largest, outcome.megabytes)
            if outcome.failure:
                tally.failed += 1
                tally.reasons[outcome.failure.strip().splitlines()[-1][:150]] += 1
                assert keep is not None, outcome.failure
                kept(kind, case, outcome, keep)
            shutil.rmtree(place)
    tally.seconds = time.monotonic() - start
    return tally


def written(case: Case, place: Path) -> Path:
    """Write a case's files into a new folder; return what is to be read."""
    for name, content in case.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            with suppress(IsADirectoryError):
                path.write_bytes(content)
        else:
            with suppress(FileExistsError):
                content(path)
    return place / next(iter(case)).partition("/")[0]


def kept(kind: str, case: Case, outcome: Outcome, keep: Path) -> None:
    """Leave a case where it becomes a regression test, once its fault is mended, by being moved to `failures`."""
    digest = hashlib.sha256(b"".join(content for content in case.values() if isinstance(content, bytes))).hexdigest()
    place = keep / kind / digest[:12]
    if not place.exists():
        written(case, place)
        (keep / kind / f"{digest[:12]}.txt").write_text(outcome.failure, errors="backslashreplace")


def corpus(kind: str) -> list[Case]:
    """Return what failed once."""
    return [
        {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
        for place in sorted((FAILURES / kind).glob("*/"))
    ]


def first(kind: str, n: int, seed: int) -> Iterator[Case]:
    return islice(cases(kind, seed), n)
