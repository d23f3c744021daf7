"""What a config comes to, before anything is trained or written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from backprop_cli.api.arguments import Reference
from backprop_cli.api.going_on import start_of
from backprop_cli.api.models import Model
from backprop_cli.config.config import Config
from backprop_cli.data.readers.shared import ProgressCallback
from backprop_cli.experiment.data_checks import understood
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.split_data import SplitData


@dataclass(frozen=True)
class LayerPlan:
    """One layer of a network that is not trained yet."""

    units: int
    activation: str
    dropout: float
    n_parameters: int


@dataclass(frozen=True, repr=False)
class Plan:
    """What a config comes to, before anything is trained or written.

    Attributes:
        n_inputs: Numbers that enter a network.
        layers: Of one network; the output layer is the last.
        n_parameters: Of all networks.
        n_networks: How many there are.
        n_train: Rows to train on.
        n_val: Rows to choose by.
        n_test: Rows to look at once.
        data: What the data were understood as.
        about: The same in one line.
        warnings: What is to be known of the data, in words.
    """

    n_inputs: int
    layers: tuple[LayerPlan, ...]
    n_parameters: int
    n_networks: int
    n_train: int
    n_val: int
    n_test: int
    data: dict[str, Any]
    about: str
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        sizes = "-".join(map(str, [self.n_inputs, *(layer.units for layer in self.layers)]))
        return f"<Plan {sizes}, {self.n_parameters:,} parameters; {self.n_train:,} rows to train on>"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of a dry run."""
        return {
            "schema": "backprop.dry_run/1",
            "n_inputs": self.n_inputs,
            "layers": [asdict(layer) for layer in self.layers],
            "n_parameters": self.n_parameters,
            "train": self.n_train,
            "validation": self.n_val,
            "test": self.n_test,
            "data": self.data,
        }


def plan(config: Config, *, init_from: Model | Reference | None = None, progress: ProgressCallback = None) -> Plan:
    """Check a config and its data, and return what they come to; nothing is written.

    Args:
        config: All settings.
        init_from: The model to go on from; None: random weights.
        progress: Is told how many picture files of how many have been read.

    Raises:
        ConfigError: The network is too large, or the model to go on from has other layers, pictures or classes.
        DataError: The data is not there, or not what it should be.
    """
    start = None if init_from is None else start_of(init_from)
    experiment = Experiment(config, SplitData.load(config, progress), start)
    splits = experiment.split_data.splits
    return Plan(
        n_inputs=experiment.n_inputs,
        layers=tuple(
            LayerPlan(
                units=layer.fan_out,
                activation=config.loss.output if layer.is_output else layer.activation,
                dropout=layer.dropout,
                n_parameters=layer.table.size,
            )
            for layer in experiment.networks[0].layers
        ),
        n_parameters=experiment.n_params,
        n_networks=config.ensemble,
        n_train=len(splits.train),
        n_val=len(splits.val),
        n_test=len(splits.test),
        data=understood(experiment.split_data.dataset),
        about=experiment.about,
        warnings=tuple(experiment.split_data.warnings),
    )
