"""Which model a command means, and saying so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from backprop_cli.cli import console
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.data.dataset import Dataset, Rows
    from backprop_cli.predictor import Predictor


def load_predictor(reference: str | None, *, or_pretrained: bool = False) -> tuple[Path, Predictor]:
    """Return the model that `--model` names, the last run's without it (which is said on stderr)."""
    from backprop_cli.predictor import Predictor
    from backprop_cli.store.run_directory import find_model

    path = find_model(reference, or_pretrained=or_pretrained)
    if reference is None:
        console.story(f"model: {clean(path)}")
    return path, Predictor.load(path)


def data_of(path: Path, predictor: Predictor, part: str) -> tuple[Dataset, Rows]:
    """Return the data set that a model was made with, and the rows of its `train`, `validation` or `test` part.

    Raises:
        DataError: The data is gone, or no longer what it was.
    """
    from backprop_cli.config import config_of
    from backprop_cli.errors import DataError
    from backprop_cli.experiment.split_data import SplitData

    config = config_of(predictor.model.config, where=f"{path}: config")
    dataset, rows = SplitData.load(config).select(part)
    if dataset.picture_size != predictor.picture_size or dataset.classes != predictor.classes:
        raise DataError(f"{config.data.source}: no longer what {clean(path)} was trained on")
    return dataset, rows
