"""A model -> what a training goes on from, and with which config."""

from __future__ import annotations

from backprop_cli.api.arguments import Reference, named
from backprop_cli.api.models import Model
from backprop_cli.config.config import Config, Overrides
from backprop_cli.experiment.start import Start
from backprop_cli.store.runs import find_model


def start_of(model: Model | Reference) -> Start:
    """Return the model that a training is to go on from.

    Raises:
        ModelFileError: There is none, or its file is damaged, hostile or of a newer version.
    """
    if not isinstance(model, Model):
        return Start.load(find_model(named(model)))
    return Start(model.predictor.model, model.predictor.where) if model.path is None else Start.load(model.path)


def config_to_go_on(model: Model | Reference, overrides: Overrides = (), *, option: str = "") -> Config:
    """Return the config with which a training goes on from a model: its own, at a tenth of its learning rate.

    It has at most 5 epochs and 4 copies of each digit, and the kernel of this processor. A model that has itself been
    trained from another model keeps what it had.

    Args:
        model: What `load` gives or takes.
        overrides: Changes to it, see `load_config`; but a bare name for `data.extra` is added to the model's own
            list, with a tenth of every batch.
        option: Stands before each override in messages.

    Raises:
        ConfigError: The model's config is not one of this version, or an override is wrong.
        ModelFileError: There is no such model, or its file is damaged.
    """
    return start_of(model).config(overrides, option=option)
