"""`backprop data show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import Overrides
from backprop_cli.cli.pictures import a
from backprop_cli.errors import UsageError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.experiment.experiment import Experiment

app = command_app(no_args_is_help=True)

EXAMPLES = """\
\b
Examples:
  backprop data show                       one digit of each class, and the splits
  backprop data show --index 555           one digit, large, with its counts
  backprop data show --augmented           what training sees instead
"""


@app.callback()
def _group() -> None:
    """Look at the data."""


@app.command(epilog=EXAMPLES)
def show(
    config: Annotated[str, typer.Option("-c", "--config", help="A file, a bundled name, or - for stdin.")] = "digits",
    overrides: Overrides = None,
    index: Annotated[int | None, typer.Option("--index", min=0, help="One row of the data set.")] = None,
    augmented: Annotated[bool, typer.Option("--augmented", help="As training sees it: randomly warped.")] = False,
) -> None:
    """Draw the data, or what training sees of it."""
    import sys

    from backprop_cli.config import load_config
    from backprop_cli.experiment.experiment import Experiment

    experiment = Experiment(load_config(config, overrides or [], stdin=sys.stdin))
    if augmented and experiment.config.data.augment is None:
        raise UsageError("--augmented: this config has no data.augment")
    if index is not None:
        _show_one(experiment, index, augmented)
    else:
        _show_classes(experiment, augmented)


def _show_one(experiment: Experiment, index: int, augmented: bool) -> None:
    dataset = experiment.split_data.dataset
    if index >= len(dataset):
        raise UsageError(f"--index {index}: rows are counted from 0 to {len(dataset) - 1}")
    label = dataset.classes[dataset.labels[index]]
    console.answer(f"{clean(dataset.name)}:{index} is {a(label)}, {_where(experiment, index)}")
    if augmented:
        _draw_augmented(experiment, [index] * 6)
        return
    picture = dataset.pictures[index]
    counts = [" ".join(f"{value:4g}" for value in row) for row in picture]
    for line in console.side_by_side([console.drawn(picture / experiment.scaling.max_value), counts]):
        console.answer(f"  {line}")


def _show_classes(experiment: Experiment, augmented: bool) -> None:
    import numpy as np

    dataset, splits = experiment.split_data.dataset, experiment.split_data.splits
    console.answer(
        f"{clean(dataset.name)}: {len(dataset):,} pictures of {'x'.join(map(str, dataset.picture_size))}, "
        f"{len(dataset.classes)} classes; {len(splits.train):,} train, {len(splits.val):,} validation, "
        f"{len(splits.test):,} test"
    )
    labels = dataset.labels[splits.train]
    first = [
        int(splits.train[np.flatnonzero(labels == k)[0]]) for k in range(len(dataset.classes)) if (labels == k).any()
    ]
    for start in range(0, min(10, len(first)), 5):
        rows = first[start : start + 5]
        console.answer()
        if augmented:
            _draw_augmented(experiment, rows)
        else:
            _draw(dataset.pictures[rows] / experiment.scaling.max_value)


def _draw_augmented(experiment: Experiment, rows: list[int]) -> None:
    import numpy as np

    from backprop_cli.data.augment import augment, readable

    settings = experiment.config.data.augment
    assert settings is not None
    points = readable(experiment.split_data.dataset.pictures[rows], settings)
    rng = np.random.default_rng(experiment.config.seed)
    _draw(augment(points, settings, rng, experiment.scaling.max_value))


def _draw(pictures: object) -> None:
    drawn = [console.drawn(picture) for picture in pictures]  # type: ignore[attr-defined]
    for line in console.side_by_side(drawn):
        console.answer(line)


def _where(experiment: Experiment, index: int) -> str:
    parts = {"train": "training", "validation": "validation", "test": "test"}
    for name, words in parts.items():
        dataset, rows = experiment.split_data.select(name)
        if dataset is experiment.split_data.dataset and index in rows:
            return f"in the {words} part"
    return "in no part"
