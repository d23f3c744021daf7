"""What people write in a config means what it plainly means; what is kept is the long form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_cli.config.config import Config, load_config, read_config
from backprop_cli.config.schema import json_schema
from backprop_cli.config.short_forms import spell_out
from backprop_cli.config.yaml_reader import Source
from backprop_cli.data.sources import DataSettings
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.layers import INITIALIZERS
from backprop_cli.engine.losses import LOSSES
from backprop_cli.engine.optimizers import OPTIMIZERS
from backprop_cli.engine.schedules import WarmupCosine

OFF = ("false", "False", "no", "off", "none", "None", "NONE", "null", "'off'", "'null'")
SHORT = [  # key, its short form, its long form
    *(("data.augment", word, "null") for word in OFF),
    *(("training.gradient_clip", word, "null") for word in OFF),
    *(("training.class_weight", word, "null") for word in OFF),
    *(("training.early_stopping", word, "null") for word in OFF),
    *(("calibration", word, "null") for word in OFF),
    ("data.test_source", "false", "null"),
    ("data.max_value", "none", "null"),
    ("data.classes", "none", "null"),
    *(("optimizer", name, f"{{name: {name}}}") for name in OPTIMIZERS),
    *(("loss", name, f"{{name: {name}}}") for name in LOSSES),
    *(("schedule", name, f"{{name: {name}}}") for name in ("constant", "warmup_cosine", "one_cycle", "step")),
    ("schedule", "cosine", "{name: warmup_cosine, warmup: 0}"),
    ("schedule", "{name: Cosine}", "{name: warmup_cosine, warmup: 0}"),
    ("schedule", "{name: cosine, warmup: 0.2}", "{name: warmup_cosine, warmup: 0.2}"),
    ("schedule", "none", "{name: constant}"),
    ("schedule", "off", "{name: constant}"),
    ("data.augment", "warps", "{kind: warps}"),
    ("data.augment", "Copies", "{kind: copies}"),
    ("network.layers", "[64, 32]", "[{units: 64}, {units: 32}]"),
    ("network.layers", "[64, {units: 32, activation: tanh}]", "[{units: 64}, {units: 32, activation: tanh}]"),
    ("training.early_stopping", "5", "{patience: 5}"),
    ("calibration", "temperature", "{temperature: null}"),
    ("calibration", "0.7", "{temperature: 0.7}"),
    ("data.extra", "pens", "[{source: pens}]"),
    ("data.extra", "[pens, {source: pens, share: 0.2}]", "[{source: pens}, {source: pens, share: 0.2}]"),
    ("data.extra", "[{source: pens, kinds: even-stroke}]", "[{source: pens, kinds: [even_stroke]}]"),
    ("data.invert", "no", "'no'"),
    ("data.invert", "true", "'yes'"),
    ("data.scaling", "Unit", "unit"),
    ("optimizer", "Adam", "{name: adam}"),
    ("optimizer", "{name: RMSProp, decay: 0.5}", "{name: rmsprop, decay: 0.5}"),
    ("loss", "{name: MSE, output: Sigmoid}", "{name: mse, output: sigmoid}"),
    ("loss", "CrossEntropy", "{name: cross_entropy}"),
    ("network", "{initializer: HeUniform}", "{initializer: he_uniform}"),
    ("network.layers", "[{units: 4, activation: ReLU}]", "[{units: 4, activation: relu}]"),
    ("network.layers", "[{units: 4, activation: Leaky-ReLU}]", "[{units: 4, activation: leaky_relu}]"),
]
COMMON = "data: {picture: 8x8, augment: {kind: copies}}\n"  # what some of them need


def value(text: str) -> Any:
    from backprop_cli.config.yaml_reader import parse

    return parse(text, "a value").data


def nested(key: str, inner: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        inner = {part: inner}
    return dict(inner)


@pytest.mark.parametrize(("key", "short", "long"), SHORT)
def test_a_short_form_means_its_long_form_wherever_it_is_given(key: str, short: str, long: str) -> None:
    wanted = read_config(COMMON, where="my.yaml", overrides=[f"{key}={long}"])
    assert read_config(COMMON, where="my.yaml", overrides=[f"{key}={short}"]) == wanted
    assert read_config(COMMON, where="my.yaml", overrides={key: value(short)}) == wanted
    written, plainly = (spelled(nested(key, value(form))) for form in (short, long))
    assert written == plainly
    assert read_config(wanted.to_yaml(), where="my.yaml") == wanted


def spelled(plain: Any) -> Any:
    source = Source(plain, {}, {})
    spell_out(source, Config)
    return source.data


@pytest.mark.parametrize(("key", "short", "long"), SHORT)
def test_to_bring_it_to_its_long_form_twice_is_to_do_it_once(key: str, short: str, long: str) -> None:
    once = spelled(nested(key, value(short)))
    assert spelled(json.loads(json.dumps(once))) == once


def test_a_file_and_a_mapping_may_be_written_in_short_forms() -> None:
    text = """
        data: {augment: false, split: ordered}
        network: {layers: [64, 32]}
        loss: cross_entropy
        optimizer: Adam
        schedule: cosine
        training: {early_stopping: 5, gradient_clip: none}
    """
    config = read_config(text, where="my.yaml")
    assert load_config(value(text)) == config
    assert [layer.units for layer in config.network.layers] == [64, 32]
    assert config.schedule == WarmupCosine(warmup=0.0)
    assert config.training.early_stopping is not None
    assert config.training.early_stopping.patience == 5
    assert load_config({"network": {"layers": (64,)}, "calibration": False}).calibration is None


@given(st.lists(st.integers(1, 65_536), max_size=5), st.integers(1, 99), st.sampled_from(list(OPTIMIZERS)))
def test_what_is_kept_is_the_long_form(units: list[int], patience: int, optimizer: str) -> None:
    short = {"network": {"layers": units}, "training": {"early_stopping": patience}, "optimizer": optimizer.title()}
    kept = load_config(short).to_dict()
    assert [layer["units"] for layer in kept["network"]["layers"]] == units
    assert kept["training"]["early_stopping"]["patience"] == patience
    assert kept["optimizer"]["name"] == optimizer
    assert load_config(kept).to_dict() == kept


def test_what_is_written_in_short_can_be_changed_in_part() -> None:
    text = "optimizer: sgd\nnetwork: {layers: [64, 32]}\ntraining: {early_stopping: 5}\ndata: {augment: none}"
    changes = ["optimizer.momentum=0.5", "network.layers[1].units=7", "data.augment.rotation=5", "schedule=step"]
    config = read_config(text, where="my.yaml", overrides=[*changes, "schedule.gamma=0.5"]).to_dict()
    assert config["optimizer"]["momentum"] == 0.5
    assert [layer["units"] for layer in config["network"]["layers"]] == [64, 7]
    assert config["data"]["augment"]["rotation"] == 5.0
    assert (config["schedule"]["name"], config["schedule"]["gamma"]) == ("step", 0.5)


def test_no_two_names_are_the_same_but_for_capitals_dashes_and_underlines() -> None:
    for names in (ACTIVATIONS, INITIALIZERS, OPTIMIZERS, LOSSES):
        assert len({name.replace("_", "") for name in names}) == len(names)


def test_where_a_word_may_mean_something_else_it_does() -> None:
    assert load_config({"data": {"transpose": False}}).data.transpose is False
    assert load_config({"name": "none"}).name == "none"
    assert load_config({"data": {"test_source": "none"}}).data.test_source != DataSettings().test_source


def test_the_schema_has_the_long_form_alone() -> None:
    properties = {**json_schema()["properties"], **json_schema()["$defs"]["NetworkSettings"]["properties"]}
    assert "type" not in properties["optimizer"]
    assert properties["layers"]["items"] == {"$ref": "#/$defs/LayerSpec"}
