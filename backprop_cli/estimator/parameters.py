"""An estimator's parameters, as people write them -> the engine's settings; mistakes are told in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np

from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import LOSSES, Loss
from backprop_cli.engine.network import NetworkSettings
from backprop_cli.engine.optimizers import OPTIMIZERS, AdamW, Optimizer
from backprop_cli.engine.schedules import SCHEDULES, Schedule
from backprop_cli.engine.training import EarlyStopping, TrainingSettings
from backprop_cli.errors import quoted, require

# Chosen with layers, dropout, schedule and epochs on other data than are reported: font digits, iris, four made tables.
USUAL = {"adamw": AdamW(learning_rate=5e-3, weight_decay=0.1)}


class Parameters(NamedTuple):
    """What the parameters of an estimator say, as the engine's settings.

    Attributes:
        network: Its hidden layers.
        loss: What is minimized.
        optimizer: How a gradient becomes a step.
        schedule: How the learning rate changes.
        training: How long and in which steps.
        held_out: Share of the rows that is not trained on; 0: none.
    """

    network: NetworkSettings
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    training: TrainingSettings
    held_out: float

    @classmethod
    def of(cls, one: Any) -> Self:
        """Return the settings that an estimator's parameters stand for.

        Args:
            one: A `BackpropClassifier`.

        Raises:
            ValueError: A parameter is not what it should be.
        """
        for name in ("epochs", "batch_size", "ensemble"):
            require((_is(Integral, value := getattr(one, name)), f"{name}: {value!r} is not a whole number"))
        numbers = {name: getattr(one, name) for name in ("learning_rate", "weight_decay", "gradient_clip")}
        for name, value in numbers.items():
            require((value is None or _is(Real, value), f"{name}: {value!r} is neither a number nor None"))
        share, stopping = one.validation_fraction, one.early_stopping
        require(
            (1 <= one.ensemble <= 100, f"ensemble: {one.ensemble} is not between 1 and 100"),
            (_is(Real, share) and 0.0 < share < 1.0, f"validation_fraction: {share!r} is not between 0 and 1"),
            (one.calibration in (None, "temperature"), f"calibration: {one.calibration!r} is not temperature or None"),
        )
        if isinstance(stopping, bool | np.bool_):
            stopping = EarlyStopping() if stopping else None
        elif isinstance(stopping, Integral):
            stopping = EarlyStopping(patience=int(stopping))
        elif not isinstance(stopping, EarlyStopping | None):
            raise ValueError(f"early_stopping: {stopping!r} is not a number of epochs")
        clip = numbers.pop("gradient_clip")
        given = {name: float(value) for name, value in numbers.items() if value is not None}
        return cls(
            NetworkSettings(tuple(_layers(one.hidden_layers, one.activation, one.dropout)), one.initializer),
            _record("loss", one.loss, LOSSES),
            replace(_record("optimizer", one.optimizer, OPTIMIZERS, USUAL), **given),
            _record("schedule", one.schedule, SCHEDULES),
            TrainingSettings(int(one.epochs), int(one.batch_size), clip, stopping),
            float(share) if stopping or one.calibration else 0.0,
        )


def _is(kind: type, value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)


def _record(name: str, value: Any, kinds: Mapping[str, type], usual: Mapping[str, Any] | None = None) -> Any:
    """Return the settings that were given, or that a name stands for: those of `usual`, else the kind's own."""
    if isinstance(value, tuple(kinds.values())):
        return value
    require((isinstance(value, str) and value in kinds, f"{name}: {quoted(value)} is not one of {', '.join(kinds)}"))
    return (usual or {}).get(value) or kinds[value]()


def _listed(name: str, values: Any) -> list[Any]:
    require((isinstance(values, Iterable) and not isinstance(values, str), f"{name}: {values!r} is not a list of them"))
    return list(values)


def _layers(units: Any, activation: Any, dropout: Any) -> Iterator[LayerSpec]:
    """Yield each hidden layer: as it was given, or of its units and the others' share of it."""
    layers = [units] if _is(Integral, units) or isinstance(units, LayerSpec) else _listed("hidden_layers", units)
    activations = [activation] * len(layers) if isinstance(activation, str) else _listed("activation", activation)
    dropouts = [dropout] * len(layers) if _is(Real, dropout) else _listed("dropout", dropout)
    for name, values in (("activation", activations), ("dropout", dropouts)):
        require((len(values) == len(layers), f"{name}: {len(values)} for {len(layers)} hidden layers"))
    for one, kind, share in zip(layers, activations, dropouts, strict=True):
        if isinstance(one, LayerSpec):
            yield one
            continue
        require(
            (_is(Integral, one) and one >= 1, f"hidden_layers: {one!r} is not a number of units"),
            (isinstance(kind, str), f"activation: {kind!r} is not a name"),
            (_is(Real, share), f"dropout: {share!r} is not a number"),
        )
        yield LayerSpec(int(one), kind, float(share))
