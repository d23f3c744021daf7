"""Train a digit classifier whose backpropagation is written by hand in NumPy, and ask it what it sees.

    import backprop_cli as backprop

    model = backprop.load("pretrained")
    model.predict("photo.png")

Every call returns a frozen record: its `to_dict()` is the JSON document of the command of that name. Nothing is loaded
before a name is used, and nothing is printed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backprop_cli.api.blind import BlindResult as BlindResult
    from backprop_cli.api.blind import BlindSculptor as BlindSculptor
    from backprop_cli.api.blind import blind_sculptor as blind_sculptor
    from backprop_cli.api.cross_validation import CrossValidation as CrossValidation
    from backprop_cli.api.cross_validation import cross_validate as cross_validate
    from backprop_cli.api.evaluation import Evaluation as Evaluation
    from backprop_cli.api.explanation import Explanation as Explanation
    from backprop_cli.api.export import Export as Export
    from backprop_cli.api.export import export as export
    from backprop_cli.api.models import Model as Model
    from backprop_cli.api.models import load as load
    from backprop_cli.api.network_check import NetworkCheck as NetworkCheck
    from backprop_cli.api.network_check import check as check
    from backprop_cli.api.number import Number as Number
    from backprop_cli.api.prediction import Prediction as Prediction
    from backprop_cli.api.report import RunReport as RunReport
    from backprop_cli.api.report import report as report
    from backprop_cli.api.run import Run as Run
    from backprop_cli.api.runs import RunInfo as RunInfo
    from backprop_cli.api.runs import runs as runs
    from backprop_cli.api.training import EpochResult as EpochResult
    from backprop_cli.api.training import Progress as Progress
    from backprop_cli.api.training import Training as Training
    from backprop_cli.api.training import resume as resume
    from backprop_cli.api.training import train as train
    from backprop_cli.api.training import training as training
    from backprop_cli.api.verification import Verification as Verification
    from backprop_cli.api.verification import verify as verify
    from backprop_cli.config.config import Config as Config
    from backprop_cli.config.config import load_config as load_config
    from backprop_cli.errors import ArgumentError as ArgumentError
    from backprop_cli.errors import BackpropError as BackpropError
    from backprop_cli.errors import ConfigError as ConfigError
    from backprop_cli.errors import DataError as DataError
    from backprop_cli.errors import DivergenceError as DivergenceError
    from backprop_cli.errors import ModelFileError as ModelFileError
    from backprop_cli.errors import PictureError as PictureError
    from backprop_cli.errors import RunDirectoryError as RunDirectoryError
    from backprop_cli.errors import UsageError as UsageError

__version__ = "1.0.0"

_NAMES = {
    "api.blind": ("BlindResult", "BlindSculptor", "blind_sculptor"),
    "api.cross_validation": ("CrossValidation", "cross_validate"),
    "api.evaluation": ("Evaluation",),
    "api.explanation": ("Explanation",),
    "api.export": ("Export", "export"),
    "api.models": ("Model", "load"),
    "api.network_check": ("NetworkCheck", "check"),
    "api.number": ("Number",),
    "api.prediction": ("Prediction",),
    "api.report": ("RunReport", "report"),
    "api.run": ("Run",),
    "api.runs": ("RunInfo", "runs"),
    "api.training": ("EpochResult", "Progress", "Training", "resume", "train", "training"),
    "api.verification": ("Verification", "verify"),
    "config.config": ("Config", "load_config"),
    "errors": (
        "ArgumentError",
        "BackpropError",
        "ConfigError",
        "DataError",
        "DivergenceError",
        "ModelFileError",
        "PictureError",
        "RunDirectoryError",
        "UsageError",
    ),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
