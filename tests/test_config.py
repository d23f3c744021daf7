import dataclasses
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import process
from hypothesis import given
from hypothesis import strategies as st

from backprop_cli.config import mistakes, yaml_reader
from backprop_cli.config.config import (
    Calibration,
    Config,
    bundled_folder,
    bundled_names,
    config_of,
    load_config,
    read_config,
)
from backprop_cli.config.schema import json_schema
from backprop_cli.config.short_forms import spell_out
from backprop_cli.data.augment import Warps
from backprop_cli.data.sources import DataSettings
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.layers import INITIALIZERS, LayerSpec
from backprop_cli.engine.losses import LOSSES, CrossEntropy, MeanSquaredError
from backprop_cli.engine.network import NetworkSettings
from backprop_cli.engine.optimizers import OPTIMIZERS, SGD, Adam, AdamW, RMSprop
from backprop_cli.engine.schedules import Constant, OneCycle, Step, WarmupCosine
from backprop_cli.engine.training import EarlyStopping, TrainingSettings
from backprop_cli.errors import ConfigError

KEYS = "name, seed, data, network, loss, optimizer, schedule, training, ensemble, calibration"
NO_ANCHORS = "anchors and aliases are not allowed; write the settings out"
IN_QUOTES = "a backslash in double quotes starts an escape; put a Windows path in single quotes, or write it with /"
NO_TABS = "a tab in the indentation; indent with spaces, not tabs"
ACTIVATION_NAMES = ", ".join(ACTIVATIONS)


def read(text: str, *overrides: str) -> Config:
    return read_config(text, where="my.yaml", overrides=overrides, option="--set ")


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, *overrides)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


# ---- what is read --------------------------------------------------------------------------------------------------


def test_a_key_left_out_takes_its_default() -> None:
    assert read("seed: 0") == Config()
    assert read("optimizer: {}\nloss: {}\nschedule: {}\ndata: {}\nnetwork: {}\ntraining: {}") == Config()
    assert read("optimizer: {learning_rate: 0.5}").optimizer == Adam(learning_rate=0.5)


def test_the_defaults_are_these() -> None:  # a config that leaves a key out computes something else with another one
    text = """
        name: run
        seed: 0
        data:
          {source: digits, test_source: null, split: null, split_seed: 0, validation_size: 0.1, test_size: 0.2,
          scaling: centered, max_value: null, picture: null, skip_bad: false, augment: {kind: warps, rotation: 0,
          log_scale: 0, shear: 0, shift: 0, elastic: 0, gamma: 0, noise: 0, probability: 1,
          interpolation: bilinear}}
        network: {layers: [{units: 64, activation: relu, dropout: 0}], initializer: he_normal}
        loss: {name: cross_entropy, label_smoothing: 0}
        optimizer: {name: adam, learning_rate: 1e-3, weight_decay: 0, beta1: 0.9, beta2: 0.999, eps: 1e-8}
        schedule: {name: constant}
        training:
          {epochs: 40, batch_size: 32, gradient_clip: null, threads: 1, early_stopping: {monitor: val_loss,
          patience: 10, min_delta: 0}, class_weight: null}
        ensemble: 1
        calibration: null
    """
    assert read(text) == read("data: {augment: {}}\ntraining: {early_stopping: {}}\nnetwork: {layers: [{units: 64}]}")
    assert read("seed: 0") == Config()
    assert (Config().data.augment, Config().training.early_stopping) == (None, None)
    assert Config().network == read(text).network


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("loss", "name: mse, output: softmax"),
        ("optimizer", "name: sgd, learning_rate: 0.1, weight_decay: 0, momentum: 0, nesterov: false"),
        ("optimizer", "name: rmsprop, learning_rate: 1e-3, weight_decay: 0, decay: 0.9, eps: 1e-8"),
        ("optimizer", "name: adamw, learning_rate: 1e-3, weight_decay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8"),
        ("schedule", "name: warmup_cosine, warmup: 0.1"),
        ("schedule", "name: one_cycle, warmup: 0.3"),
        ("schedule", "name: step, every: 0.3, gamma: 0.1"),
        (
            "data.augment",
            "kind: copies, rotation: 0, log_scale: 0, shear: 0, shift: 0, elastic: 0, gamma: 0, noise: 0, "
            "probability: 1, thickness: 0, copies: 30",
        ),
    ],
)
def test_and_those_of_what_can_be_chosen(section: str, settings: str) -> None:
    name, *_ = settings.split(",")
    chosen = [f"{section}={{{text}}}" for text in (settings, name)]
    assert read("data: {picture: 8x8}", chosen[0]) == read("data: {picture: 8x8}", chosen[1])


def test_every_section_is_read_into_its_settings() -> None:
    text = """
        name: mine
        seed: 7
        data: {split: ordered, test_size: 0, augment: {rotation: 5}}
        network: {layers: [{units: 8, activation: tanh, dropout: 0.5}, {units: 4}], initializer: glorot_uniform}
        loss: {name: mse, output: sigmoid}
        optimizer: {name: sgd, learning_rate: 1, momentum: .5, nesterov: true}
        schedule: {name: step, every: 0.5}
        training: {epochs: 3, gradient_clip: 2, early_stopping: {monitor: val_accuracy}}
        ensemble: 3
        calibration: temperature
    """
    assert read(text) == Config(
        name="mine",
        seed=7,
        data=DataSettings(split="ordered", test_size=0.0, augment=Warps(rotation=5.0)),
        network=NetworkSettings((LayerSpec(8, "tanh", 0.5), LayerSpec(4)), "glorot_uniform"),
        loss=MeanSquaredError(output="sigmoid"),
        optimizer=SGD(learning_rate=1.0, momentum=0.5, nesterov=True),
        schedule=Step(every=0.5),
        training=TrainingSettings(epochs=3, gradient_clip=2.0, early_stopping=EarlyStopping("val_accuracy")),
        ensemble=3,
        calibration=Calibration(),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E-3", 1e-3),
        ("1e3", 1e3),
        ("+1.e+0", 1.0),
        (".5", 0.5),
        ("5", 5.0),
        ("0.1", 0.1),
        ("1_0", None),
        ("012", None),
        ("0x1F", None),
        ("0o17", None),
        ("1_000", None),
        ("12:30", None),
        ("1e", None),
        ("e3", None),
        (".", None),
        ("0,5", None),
        ("\u0661", None),
        ("2024-01-01", None),
    ],
)
def test_what_is_a_number_and_what_is_not(text: str, value: float | None) -> None:
    if value is None:
        assert problems(f"optimizer:\n  learning_rate: {text}\n") == [
            f'my.yaml:2: optimizer.learning_rate: "{text}" is not a number'
        ]
    else:
        assert read(f"optimizer: {{learning_rate: {text}}}").optimizer.learning_rate == value


@pytest.mark.parametrize("text", ["null", "~", "Null", ""])
def test_null_is_nothing(text: str) -> None:
    assert read(f"training:\n  gradient_clip: {text}\n").training.gradient_clip is None


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("YES", True), ("on", True), ("false", False), ("No", False)]
)
def test_the_words_for_true_and_false(text: str, value: bool) -> None:
    optimizer = read(f"optimizer: {{name: sgd, momentum: 0.5, nesterov: {text}}}").optimizer
    assert isinstance(optimizer, SGD)
    assert optimizer.nesterov is value


@pytest.mark.parametrize("name", ["no", "12", "1e-3", "null", "012", "true"])
def test_text_in_quotes_is_text(name: str) -> None:
    assert read(f'name: "{name}"').name == read(f"name: '{name}'").name == name


def test_the_name_is_the_one_given_where_the_text_has_none() -> None:
    assert read_config("seed: 1", where="a", default_name="digits").name == "digits"
    assert read_config("name: own", where="a", default_name="digits").name == "own"
    assert read_config("seed: 1", where="a", default_name="ça va").name == "run"


def test_a_tab_is_a_blank_where_it_indents_nothing() -> None:
    assert read("seed:\t1\t# one\n\t\n\t# two\ndata:\t{split:\tordered}\t\n") == read("seed: 1\ndata: {split: ordered}")
    assert read('{\n\t"seed": 1,\n\t"loss": {\n\t\t"name": "mse"\n\t}\n}') == read("seed: 1\nloss: {name: mse}")


def test_a_windows_path_is_read_in_single_quotes_in_none_and_with_its_backslashes_doubled() -> None:
    for path in (r"'C:\new\a.npz'", r"C:\new\a.npz", r'"C:\\new\\a.npz"'):
        assert read(f"data: {{source: {path}}}").data.source.endswith(r"C:\new\a.npz")


def test_what_older_runs_wrote_is_read() -> None:  # PyYAML's own escapes, in a path from the root
    text = r'data: {source: "/my\_\L\tdata.npz", test_source: "/\xE9\u0119.npz"}'
    data = read_config(text, where="my.yaml", saved=True).data
    assert (data.source, data.test_source) == ("/my\xa0\u2028\tdata.npz", "/éę.npz")


# ---- one line for each mistake -------------------------------------------------------------------------------------

LINES = [
    # unknown keys
    ("optimzer: {name: adam}", "my.yaml:1: optimzer: unknown key; did you mean optimizer?"),
    ("seed: 1\ntraining:\n  epoch: 3", "my.yaml:3: training.epoch: unknown key; did you mean training.epochs?"),
    (
        "network:\n  layers:\n    - {units: 4}\n    - units: 4\n      dropot: 0.1",
        "my.yaml:5: network.layers[1].dropot: unknown key; did you mean network.layers[1].dropout?",
    ),
    ("bogus: 1", f"my.yaml:1: bogus: unknown key; known here: {KEYS}"),
    ("null: 1", f"my.yaml:1: null: unknown key; known here: {KEYS}"),
    (
        "optimizer:\n  name: sgd\n  beta1: 0.9",
        "my.yaml:3: optimizer.beta1: unknown key; it belongs to name: adam or adamw",
    ),
    (
        "data:\n  augment:\n    kind: warp\n    shift: 1",
        'my.yaml:3: data.augment.kind: "warp" is not one of warps, copies; did you mean "warps"?',
    ),
    (
        "data:\n  augment: {kind: copies, interpolation: bitmap}",
        "my.yaml:2: data.augment.interpolation: unknown key; it belongs to kind: warps",
    ),
    (
        "data:\n  augment:\n    copies: 40",
        "my.yaml:3: data.augment.copies: unknown key; it belongs to kind: copies",
    ),
    (
        "data:\n  augment:\n    shitf: 1",
        "my.yaml:3: data.augment.shitf: unknown key; did you mean data.augment.shift?",
    ),
    ("data:\n  augment:\n    shift: far", 'my.yaml:3: data.augment.shift: "far" is not a number'),
    ("data:\n  augment: true", "my.yaml:2: data.augment: expected a mapping, not true"),
    (
        "data:\n  augment:\n    through_normalizer: true",
        "my.yaml:3: data.augment.through_normalizer: unknown key; write `kind: copies` for `true`; for "
        "`false`, `kind: warps` without copies and thickness",
    ),
    (
        "data:\n  picture: 8x8\n  augment:\n    kind: copies\n    copies: 0\n    rotaton: 1",
        "my.yaml:6: data.augment.rotaton: unknown key; did you mean data.augment.rotation?",
    ),
    (
        "data:\n  picture: 8x8\n  augment: {kind: copies, copies: 0}",
        "my.yaml:3: data.augment.copies: 0 is not between 1 and 1,000",
    ),
    (
        "data:\n  picture: 8x8\n  augment: {kind: copies, copies: 40, interpolation: bitmap}",
        "my.yaml:3: data.augment.interpolation: unknown key; it belongs to kind: warps",
    ),
    (
        "optimizer:\n  adam: 1",
        "my.yaml:2: optimizer.adam: unknown key; known here: learning_rate, weight_decay, beta1, beta2, eps, name",
    ),
    # other libraries' spellings
    ("optimizer:\n  lr: 0.1", "my.yaml:2: optimizer.lr: unknown key; did you mean optimizer.learning_rate?"),
    ("lr: 0.1", "my.yaml:1: lr: unknown key; did you mean optimizer.learning_rate?"),
    ("alpha: 0.1", "my.yaml:1: alpha: unknown key; did you mean optimizer.weight_decay?"),
    ("hidden_layer_sizes: [3]", "my.yaml:1: hidden_layer_sizes: unknown key; did you mean network.layers?"),
    ("model: {units: 3}", "my.yaml:1: model: unknown key; did you mean network?"),
    ("max_iter: 3", "my.yaml:1: max_iter: unknown key; did you mean training.epochs?"),
    ("random_state: 3", "my.yaml:1: random_state: unknown key; did you mean seed?"),
    ("validation_split: 3", "my.yaml:1: validation_split: unknown key; did you mean data.validation_size?"),
    (
        "network: {layers: [{units: 3, size: 3}]}",
        "my.yaml:1: network.layers[0].size: unknown key; did you mean network.layers[0].units?",
    ),
    # numbers that are none
    (
        'optimizer: {learning_rate: "1e-3"}',
        'my.yaml:1: optimizer.learning_rate: "1e-3" is not a number; remove the quotes',
    ),
    ("training: {epochs: '40'}", 'my.yaml:1: training.epochs: "40" is not a whole number; remove the quotes'),
    ("training: {epochs: 012}", 'my.yaml:1: training.epochs: "012" is not a whole number'),
    ("training: {epochs: 1_000}", 'my.yaml:1: training.epochs: "1_000" is not a whole number'),
    ("training: {epochs: 32.0}", 'my.yaml:1: training.epochs: "32.0" is not a whole number; write 32'),
    ("training: {epochs: 1.5}", 'my.yaml:1: training.epochs: "1.5" is not a whole number'),
    ("training: {epochs: 1e3}", 'my.yaml:1: training.epochs: "1e3" is not a whole number; write 1000'),
    ("seed: true", 'my.yaml:1: seed: "true" is not a whole number'),
    ("optimizer: {learning_rate: yes}", 'my.yaml:1: optimizer.learning_rate: "yes" is not a number'),
    ("optimizer: {learning_rate: null}", 'my.yaml:1: optimizer.learning_rate: "null" is not a number'),
    ("seed: .nan", 'my.yaml:1: seed: ".nan" is not a whole number'),
    ("optimizer: {learning_rate: .nan}", "my.yaml:1: optimizer.learning_rate: .nan is not a finite number"),
    ("optimizer: {learning_rate: -.inf}", "my.yaml:1: optimizer.learning_rate: -.inf is not a finite number"),
    ("optimizer: {learning_rate: 1e999}", "my.yaml:1: optimizer.learning_rate: 1e999 is not a finite number"),
    # words
    ("name: no", "my.yaml:1: name: expected text, but no is not text in YAML; put it in quotes"),
    ("name: 12", "my.yaml:1: name: expected text, but 12 is not text in YAML; put it in quotes"),
    ("name: 1e-3", "my.yaml:1: name: expected text, but 1e-3 is not text in YAML; put it in quotes"),
    ("data: {source: off}", "my.yaml:1: data.source: expected text, but off is not text in YAML; put it in quotes"),
    (
        "optimizer: {name: sgd, momentum: 0.5, nesterov: 1}",
        'my.yaml:1: optimizer.nesterov: "1" is neither true nor false',
    ),
    (
        "network:\n  layers:\n    - units: 4\n      activation: rleu",
        f'my.yaml:4: network.layers[0].activation: "rleu" is not one of {ACTIVATION_NAMES}; did you mean "relu"?',
    ),
    (
        "network: {initializer: he_norml}",
        f'my.yaml:1: network.initializer: "he_norml" is not one of {", ".join(INITIALIZERS)};'
        ' did you mean "he_normal"?',
    ),
    (
        "data: {split: writer}",
        'my.yaml:1: data.split: "writer" is not one of writers, stratified, ordered; did you mean "writers"?',
    ),
    (
        "optimizer: {name: adm}",
        f'my.yaml:1: optimizer.name: "adm" is not one of {", ".join(OPTIMIZERS)}; did you mean "adam"?',
    ),
    (
        "schedule: {name: cosines}",
        'my.yaml:1: schedule.name: "cosines" is not one of constant, warmup_cosine, one_cycle, step;'
        ' did you mean "warmup_cosine"?',
    ),
    (
        "loss: {name: mse, output: softmx}",
        'my.yaml:1: loss.output: "softmx" is not one of softmax, sigmoid; did you mean "softmax"?',
    ),
    ("calibration: platt", 'my.yaml:1: calibration.temperature: "platt" is not a number'),
    # shapes
    ("loss: [mse]", 'my.yaml:1: loss: expected a mapping, not ["mse"]'),
    ("\nloss: mze", 'my.yaml:2: loss.name: "mze" is not one of cross_entropy, mse; did you mean "mse"?'),
    ("optimizer: off", "my.yaml:1: optimizer: expected a mapping, not off"),
    ("optimizer: none", f'my.yaml:1: optimizer.name: "none" is not one of {", ".join(OPTIMIZERS)}'),
    ("data: null", "my.yaml:1: data: expected a mapping, not null"),
    ("optimizer: []", "my.yaml:1: optimizer: expected a mapping, not []"),
    ("training: {early_stopping: true}", "my.yaml:1: training.early_stopping: expected a mapping, not true"),
    ("network: {layers: 64}", "my.yaml:1: network.layers: expected a list, such as [{units: 64}], not 64"),
    (
        "network:\n  layers:\n    - 64\n    - '32'",
        'my.yaml:4: network.layers[1].units: "32" is not a whole number; remove the quotes',
    ),
    ("network: {layers: [64, 0]}", "my.yaml:1: network.layers[1].units: 0 is not between 1 and 65,536"),
    (
        "training:\n  early_stopping: 5e-1",
        'my.yaml:2: training.early_stopping.patience: "5e-1" is not a whole number',
    ),
    ("data: {transpose: none}", 'my.yaml:1: data.transpose: "none" is neither true nor false'),
    ("data: {split: none}", 'my.yaml:1: data.split: "none" is not one of writers, stratified, ordered'),
    ("network:\n  layers:\n    - {activation: relu}", "my.yaml:3: network.layers[0].units: missing"),
    # ranges
    ("seed: -1", "my.yaml:1: seed: -1 should be greater than or equal to 0"),
    ("seed: 9223372036854775808", "my.yaml:1: seed: 9223372036854775808 should be less than 9223372036854775808"),
    ("ensemble: 101", "my.yaml:1: ensemble: 101 should be less than or equal to 100"),
    ("training:\n  epochs: 0", "my.yaml:2: training.epochs: 0 is not between 1 and 1,000,000"),
    ("network: {layers: [{units: 65537}]}", "my.yaml:1: network.layers[0].units: 65537 is not between 1 and 65,536"),
    ("optimizer: {name: adamw, beta2: 1.5}", "my.yaml:1: optimizer.beta2: 1.5 is not in [0, 1)"),
    ("optimizer: {name: sgd, nesterov: true}", "my.yaml:1: optimizer.nesterov: needs a momentum above 0"),
    ("data: {augment: {rotation: 200}}", "my.yaml:1: data.augment.rotation: 200.0 is not between 0 and 180"),
    ("training: {early_stopping: {patience: 0}}", "my.yaml:1: training.early_stopping.patience: 0 is not at least 1"),
    (
        "data: {validation_size: 0.6, test_size: 0.5}",
        "my.yaml:1: data.test_size: together with validation_size it leaves nothing to train on",
    ),
    (
        "data: {validation_size: 0}\ntraining:\n  early_stopping: {}",
        "my.yaml:3: training.early_stopping: needs a validation part; set data.validation_size above 0",
    ),
    (
        "data: {validation_size: 0}\ncalibration: temperature",
        "my.yaml:2: calibration: needs a validation part; set data.validation_size above 0",
    ),
    *(
        (f"name: {name}", "my.yaml:1: name: must be 1 to 64 letters, digits, dots, dashes or underlines, no dot first")
        for name in ("../x", ".hidden", "a/b", "a b", "ä", "x" * 65, '""', '"a\\x0a"')
    ),
    # YAML itself
    ("seed: 1\nname: a\nseed: 2", "my.yaml:3: seed: given twice; keep one"),
    ("data:\n  split: ordered\n  'split': writers", "my.yaml:3: data.split: given twice; keep one"),
    ("seed: &x 1", f"my.yaml:1: {NO_ANCHORS}"),
    ("seed: 1\nensemble: *x", f"my.yaml:2: {NO_ANCHORS}"),
    ("seed: !!int 1", "my.yaml:1: tags are not allowed"),
    ("!mine\nseed: 1", "my.yaml:1: tags are not allowed"),
    ("data: !!python/object/apply:os.getcwd []", "my.yaml:1: tags are not allowed"),
    ("data:\n  <<: {split: ordered}", "my.yaml:2: data: expected a plain word as the key"),
    ("? [a]\n: 1", "my.yaml:1: the config: expected a plain word as the key"),
    ("- seed", "my.yaml:1: expected a mapping of settings, such as `seed: 0`"),
    ("\n\njust words", "my.yaml:1: expected a mapping of settings, such as `seed: 0`"),
    ("", "my.yaml: empty; start from a bundled config"),
    ("# nothing\n", "my.yaml: empty; start from a bundled config"),
    ("seed: 1\n\tname: x", f"my.yaml:2: {NO_TABS}"),
    ("network:\n\tlayers: []", f"my.yaml:2: {NO_TABS}"),
    ("network:\n  layers:\n  -\tunits: 4", f"my.yaml:3: {NO_TABS}"),
    *(
        (f"seed: 1\ndata:\n  source: {path}", f"my.yaml:3: {IN_QUOTES}")
        for path in (
            *(
                r'"C:\Users\me\mnist.npz"',
                r'"C:\new"',
                r'"C:\xfa.npz"',
                r'"d:\"',
                r'"data\new.npz"',
                r'"\\server\share"',
            ),
            *(r'"D:\\data\train"', r'"..\_data"', r'"C:\mnist"', r'"D:\u0041"'),
        )
    ),
    ('training: {early_stopping: {monitor: "val\\_loss"}}', f"my.yaml:1: {IN_QUOTES}"),
    ("seed: [1", "my.yaml:1: expected ',' or ']', but got '<stream end>'"),
]


@pytest.mark.parametrize(("text", "line"), LINES, ids=[line[:60] for _, line in LINES])
def test_a_mistake_is_one_line_with_file_line_and_key(text: str, line: str) -> None:
    assert problems(text) == [line]


def test_a_second_document_is_refused() -> None:
    (line,) = problems("seed: 1\n---\nseed: 2")
    assert line.startswith("my.yaml:2: ")
    assert "another document" in line


def test_twenty_levels_are_read_and_one_more_is_refused() -> None:
    def nested(levels: int) -> str:
        return "data: " + "[" * (levels - 2) + "]" * (levels - 2)  # the mapping, and its value, are two

    assert problems(nested(20))[0].startswith("my.yaml:1: data: expected a mapping")
    assert problems(nested(22)) == ["my.yaml:1: more than 20 levels"]
    assert problems("[" * 900_000) == ["my.yaml:1: more than 20 levels"]


def test_a_character_that_yaml_does_not_know_is_refused() -> None:
    (line,) = problems("seed: 1\nname: a\x07b")
    assert line.startswith("my.yaml:2: ")


@pytest.mark.parametrize("escape", ["\\U00110000", "\\UFFFFFFFF"])
def test_an_escape_that_stands_for_no_character_is_refused(escape: str) -> None:
    assert problems(f'seed: 1\nname: "{escape}"') == ["my.yaml:2: an invalid escape sequence"]


def test_ten_thousand_values_are_read_and_one_more_is_refused() -> None:
    def listed(n: int) -> str:
        return "seed: [\n" + "1,\n" * (n - 3) + "]"  # the mapping, the key and the list count too

    assert "more than" not in problems(listed(10_000))[0]
    assert problems(listed(10_001)) == ["my.yaml:9999: more than 10,000 values"]


def test_a_long_key_makes_a_short_message() -> None:
    assert len(problems("x" * 100_000 + ": 1\n? " + "y" * 100_000)[0]) < 300


def test_all_mistakes_are_told_at_once() -> None:
    text = "sed: 0\ntraining: {epochs: x}\nnetwork:\n  layers:\n    - {units: 0}\noptimizer: {name: adm}\n"
    assert set(problems(text)) == {
        "my.yaml:1: sed: unknown key; did you mean seed?",
        'my.yaml:2: training.epochs: "x" is not a whole number',
        "my.yaml:5: network.layers[0].units: 0 is not between 1 and 65,536",
        'my.yaml:6: optimizer.name: "adm" is not one of sgd, rmsprop, adam, adamw; did you mean "adam"?',
    }


def test_all_mistakes_of_one_section_are_told_at_once() -> None:
    assert set(problems("training:\n  epochs: 0\n  batch_size: 0\n")) == {
        "my.yaml:2: training.epochs: 0 is not between 1 and 1,000,000",
        "my.yaml:3: training.batch_size: 0 is not between 1 and 1,000,000",
    }


def test_at_most_twelve_lines_are_told() -> None:
    def wrong(n: int) -> list[str]:
        return problems("\n".join(f"bogus{i}: 1" for i in range(n)))

    assert len(wrong(12)) == 12
    assert all("unknown key" in line for line in wrong(12))
    assert len(wrong(15)) == 12
    assert wrong(15)[-1] == "my.yaml: and 4 more"
    assert len(problems("seed: 1\n" * 30)) <= 12


def test_a_hint_never_names_the_very_key_that_is_wrong() -> None:
    (line,) = problems("loss: {name: mse, label_smoothing: 0.1}")
    assert line.startswith("my.yaml:1: loss.label_smoothing: unknown key; ")
    assert "did you mean loss.label_smoothing?" not in line


def test_hints_at_other_spellings_name_keys_that_exist() -> None:
    parts = [json_schema(), *json_schema()["$defs"].values()]
    known = {key for part in parts for key in part["properties"]}
    for meant in (mistakes._ELSEWHERE | mistakes._SECTIONS_ELSEWHERE).values():
        assert {re.sub(r"\[0\]", "", key) for key in meant.split(".")} <= known, meant


def test_a_mistake_over_several_lines_is_told_in_one() -> None:
    (line,) = problems("seed: |\n  5\n  6\n")
    assert "\n" not in line


def test_a_name_of_null_is_told_in_yamls_words() -> None:
    (line,) = problems("optimizer: {name: null}")
    assert "None" not in line


def test_a_file_name_with_a_nul_character_is_refused_by_its_place() -> None:
    (line,) = problems('data:\n  source: "a\\x00b.npz"')
    assert line.startswith("my.yaml:2: data.source: ")


def test_half_a_surrogate_pair_is_refused() -> None:
    message = "half of a surrogate pair is not a character"
    assert problems('seed: 1\nname: "\\udc80"') == [f"my.yaml:2: name: {message}"]
    assert problems('seed: 1\n"\\udc80": 2') == [f"my.yaml:2: the config: {message}"]
    assert read('name: "\\u0041"').name == "A"


# ---- --set ---------------------------------------------------------------------------------------------------------

BASE = "network:\n  layers:\n    - {units: 4}\n    - {units: 5}\noptimizer: {name: adamw, learning_rate: 0.1}\n"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("optimizer.learning_rate=1e-2", "optimizer.learning_rate", 1e-2),
        ("network.layers[1].units=7", "network.layers[1].units", 7),
        ("network.layers.0.activation=tanh", "network.layers[0].activation", "tanh"),
        ("network.layers=[{units: 3}]", "network.layers", [{"units": 3, "activation": "relu", "dropout": 0.0}]),
        ("optimizer={name: sgd}", "optimizer.name", "sgd"),
        ("optimizer.name=adam", "optimizer.learning_rate", 0.1),
        ("data.augment.rotation=5", "data.augment.rotation", 5.0),
        ("training.early_stopping.patience=3", "training.early_stopping.patience", 3),
        ("training.gradient_clip=", "training.gradient_clip", None),
        ('name="no"', "name", "no"),
    ],
)
def test_an_override_wins_over_the_file(override: str, key: str, value: Any) -> None:
    found: Any = read(BASE, override).to_dict()
    for part in re.findall(r"\w+", key):
        found = found[int(part) if part.isdecimal() else part]
    assert found == value


def test_the_last_override_wins() -> None:
    assert read(BASE, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=1", "optimizer.lr: unknown key; did you mean optimizer.learning_rate?"),
        ("optimizer.learning_rate=fast", 'optimizer.learning_rate: "fast" is not a number'),
        ("network.layers[0].units=0", "network.layers[0].units: 0 is not between 1 and 65,536"),
        ("network.layers[5].units=1", "network.layers has 2 entries, counted from 0"),
        ("network.layers.x=1", "network.layers has 2 entries, counted from 0"),
        ("optimizer[0]=1", "optimizer is not a list"),
        ("optimizer.name.x=1", "optimizer.name is not a mapping"),
        ("seed=[1", "expected ',' or ']', but got '<stream end>'"),
        ("seed=&a 1", NO_ANCHORS),
        ("name=no", "name: expected text, but no is not text in YAML; put it in quotes"),
        *((wrong, "expected KEY=VALUE, such as optimizer.learning_rate=1e-2") for wrong in ("seed", "=1", "a..b=1")),
    ],
)
def test_a_wrong_override_is_told_by_its_option(override: str, message: str) -> None:
    assert problems(BASE, override) == [f"--set {override}: {message}"]


def test_a_mistake_in_the_file_beside_an_override_is_told_by_the_file() -> None:
    assert problems("optimizer:\n  lr: 1\n", "optimizer.eps=1e-5") == [
        "my.yaml:2: optimizer.lr: unknown key; did you mean optimizer.learning_rate?"
    ]


# ---- there and back ------------------------------------------------------------------------------------------------

ODD_NAMES = ["1e-3", "no", "012", "0x1F", "1_000", "null", "2024-01-01", "1.5", "yes", "ON", "True", "_", "1e", "0"]
positive = st.floats(1e-30, 1e30)
below_1 = st.floats(0.0, 1.0, exclude_max=True)
shares = st.floats(0.0, 1.0)
paths = st.text(
    st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"], exclude_characters="/.\0"), min_size=1, max_size=20
).map(lambda text: f"/data/{text}.npz")
sgd = st.builds(SGD, learning_rate=positive, weight_decay=positive, momentum=below_1, nesterov=st.just(False))
adaptive = {"learning_rate": positive, "weight_decay": positive, "beta1": below_1, "beta2": below_1, "eps": positive}
configs = st.builds(
    Config,
    name=st.sampled_from(ODD_NAMES) | st.from_regex(r"[A-Z0-9_][A-Z0-9._-]{0,63}", fullmatch=True),
    seed=st.integers(0, 2**63 - 1),
    data=st.builds(
        DataSettings,
        source=st.just("digits") | paths,
        test_source=st.none() | paths,
        split=st.sampled_from([None, "writers", "stratified", "ordered"]),
        validation_size=st.floats(0.01, 0.4),
        test_size=st.floats(0.0, 0.5),
        max_value=st.none() | st.floats(1e-5, 1e9),
        augment=st.none() | st.builds(Warps, rotation=st.floats(0, 180), probability=shares),
    ),
    network=st.builds(
        NetworkSettings,
        layers=st.lists(
            st.builds(LayerSpec, st.integers(1, 65_536), st.sampled_from(list(ACTIVATIONS)), below_1), max_size=3
        ).map(tuple),
        initializer=st.sampled_from(list(INITIALIZERS)),
    ),
    loss=st.builds(CrossEntropy, label_smoothing=below_1)
    | st.builds(MeanSquaredError, output=st.just("sigmoid"))
    | st.sampled_from([kind() for kind in LOSSES.values()]),
    optimizer=sgd
    | st.sampled_from([kind() for kind in OPTIMIZERS.values()])
    | st.builds(RMSprop, learning_rate=positive, decay=below_1)
    | st.builds(Adam, **adaptive)
    | st.builds(AdamW, **adaptive),
    schedule=st.just(Constant())
    | st.builds(WarmupCosine, warmup=shares)
    | st.builds(OneCycle, warmup=shares)
    | st.builds(Step, every=st.floats(1e-9, 1.0), gamma=st.floats(1e-9, 1.0)),
    training=st.builds(
        TrainingSettings,
        epochs=st.integers(1, 10**6),
        batch_size=st.integers(1, 10**6),
        gradient_clip=st.none() | positive,
        early_stopping=st.none() | st.builds(EarlyStopping, patience=st.integers(1, 99), min_delta=positive),
        class_weight=st.sampled_from([None, "balanced", {}, {"8": 3.0, "dict[str,float]": 0.5}]),
    ),
    ensemble=st.integers(1, 100),
    calibration=st.sampled_from([None, Calibration(), Calibration(0.7, 0.5)]),
)


@given(configs)
def test_every_config_comes_back_from_its_yaml_and_from_its_dict(made: Config) -> None:
    assert read(made.to_yaml()) == made
    assert config_of(made.to_dict(), where="model") == made


@given(configs)
def test_the_long_form_is_what_it_is(made: Config) -> None:
    source = yaml_reader.Source(made.to_dict(), {}, {})
    spell_out(source, Config)
    assert source.data == made.to_dict()


@pytest.mark.parametrize(
    "file", ["ö.npz", "a\xa0b.npz", "a\nb\tc.npz", "\u2028.npz", "\x7f.npz", "a: b #c.npz", "\N{GRINNING FACE}.npz"]
)
def test_an_odd_file_name_comes_back(file: str) -> None:
    made = Config(data=DataSettings(source=f"/data/{file}"))
    assert read(made.to_yaml()) == made
    assert config_of(made.to_dict(), where="model") == made


@pytest.mark.parametrize("name", [*ODD_NAMES, "tRue", "nO", "nULL", "oFF"])
def test_a_name_that_looks_like_something_else_comes_back(name: str) -> None:
    made = Config(name=name)
    assert read(made.to_yaml()) == made


@given(st.text(max_size=60) | st.text(alphabet="seda:[]{}-?&*!|>'\"%@\n\t 1.,#~", max_size=60))
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    try:
        assert isinstance(read(text), Config)
    except ConfigError as error:
        lines = error.problems
    else:
        return
    assert 1 <= len(lines) <= 12
    assert all(line.startswith("my.yaml") for line in lines)


# ---- finding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(bundled_folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_every_bundled_config_loads_by_name_and_by_path(path: Path) -> None:
    by_name, by_path = load_config(path.stem), load_config(str(path))
    assert by_name == by_path
    assert by_name.name == path.stem
    assert read(by_name.to_yaml()) == by_name


def test_the_bundled_configs_are_these() -> None:
    assert {"digits", "quick", "deep", "textbook"} <= set(bundled_names())


def test_overrides_reach_a_bundled_config() -> None:
    assert load_config("quick", ["seed=5"]).seed == 5


def test_a_file_of_the_same_name_wins_over_a_bundled_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quick").write_text("seed: 77")
    assert load_config("quick").seed == 77


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xef\xbb\xbfseed: 5\n")
    loaded = load_config(str(tmp_path / "mine.yaml"))
    assert (loaded.seed, loaded.name) == (5, "mine")


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"seed: 5\nname: \xe9t\xe9\n")
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    assert str(caught.value) == f"{path}:2: not UTF-8 text; save the file as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_text_is_read_as_editors_on_windows_save_it(encoding: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(f"seed: 5{end}data: {{source: é.npz}}{end}".encode(encoding))
    assert load_config(path).data.source == str(tmp_path / "é.npz")


def test_utf_16_that_breaks_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("seed: 5".encode("utf-16")[:-1])
    with pytest.raises(ConfigError, match=r"mine\.yaml:1: not UTF-8 text; save the file as UTF-8$"):
        load_config(path)


def test_a_missing_file_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match=r'^quik: there is no such file; did you mean "quick"\?$'):
        load_config("quik")
    with pytest.raises(ConfigError, match=r"^zzz.yaml: there is no such file; bundled configs: best, "):
        load_config("zzz.yaml")


def test_a_folder_and_a_file_too_large_are_refused(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_bytes(b"#" * (2**20 + 1))
    for path in (tmp_path, tmp_path / "large.yaml"):
        with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: "):
            load_config(str(path))


def test_paths_in_a_file_are_relative_to_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/mine.yaml").write_text("data: {source: a.npz, test_source: ../b.npz}")
    monkeypatch.chdir(tmp_path)
    data = load_config("sub/mine.yaml").data
    assert (data.source, data.test_source) == (str(tmp_path / "sub/a.npz"), str(tmp_path / "b.npz"))
    assert load_config("sub/mine.yaml", ["data.source=digits"]).data.source == "digits"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config({"data": {"source": "~/a.npz"}}).data.source == str(tmp_path / "a.npz")


def test_what_openml_calls_a_data_set_is_no_path(tmp_path: Path) -> None:
    text = "data: {source: 'openml:mnist_784', test_source: digits}"
    data = read_config(text, where="a", folder=tmp_path).data
    assert (data.source, data.test_source) == ("openml:mnist_784", "digits")


def test_standard_input_is_read_for_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    def given(content: bytes | None) -> Config:
        stdin = None if content is None else io.TextIOWrapper(io.BytesIO(content))
        monkeypatch.setattr("sys.stdin", stdin)
        return load_config("-")

    assert given(b"seed: 5").seed == 5
    with pytest.raises(ConfigError, match=r"^stdin:1: sed: unknown key"):
        given(b"sed: 5")
    with pytest.raises(ConfigError, match=r"^stdin: larger than 1 MB$"):
        given(b"#" * (2**20 + 1))
    with pytest.raises(ConfigError, match=r"^-: there is no standard input to read$"):
        given(None)


# ---- the schema ----------------------------------------------------------------------------------------------------

SCHEMA = json_schema()
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Return whether a value is what a JSON Schema says; of its words, those that ours uses."""
    if "$ref" in schema and not fits(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]):
        return False
    if "anyOf" in schema and not any(fits(value, one) for one in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(fits(value, one) for one in schema["oneOf"]) != 1:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "type" in schema and not (
        isinstance(value, TYPES[schema["type"]]) and isinstance(value, bool) == (schema["type"] == "boolean")
    ):
        return False
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return (
            (value.keys() <= known.keys() or schema.get("additionalProperties", True))
            and value.keys() >= set(schema.get("required", []))
            and all(fits(part, known[key]) for key, part in value.items() if key in known)
        )
    return True


def plain(text: str) -> Any:
    return yaml_reader.parse(text, "my.yaml").data


@pytest.mark.parametrize("name", bundled_names())
def test_the_schema_accepts_every_bundled_config_as_written_and_resolved(name: str) -> None:
    for text in ((bundled_folder() / f"{name}.yaml").read_text(), load_config(name).to_yaml()):
        assert fits(plain(text), SCHEMA)
        if jsonschema := _jsonschema():
            jsonschema.validate(plain(text), SCHEMA)


def _jsonschema() -> Any:
    try:
        import jsonschema  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        return None
    return jsonschema


@pytest.mark.parametrize(
    "text",
    [
        "optimzer: {}",
        "seed: true",
        "seed: 1.5",
        "network: {layers: [{units: 4, activation: rleu}]}",
        "network: {layers: [{activation: relu}]}",
        "network: {initializer: he}",
        "loss: {name: mse, label_smoothing: 0.1}",
        "data: {split: writer}",
        "data: {augment: {rotate: 4}}",
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(text: str) -> None:
    problems(text)
    assert not fits(plain(text), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "seed: 1",
        "optimizer: {learning_rate: 0.1}",
        "loss: {}",
        "schedule: {}",
        "training: {gradient_clip: 5}",
        "data: {augment: {}}",
    ],
)
def test_the_schema_accepts_what_the_reader_accepts(text: str) -> None:
    read(text)
    assert fits(plain(text), SCHEMA)


def test_the_schema_lists_the_activations_and_initializers() -> None:
    definitions = SCHEMA["$defs"]
    assert definitions["LayerSpec"]["properties"]["activation"]["enum"] == list(ACTIVATIONS)
    assert definitions["NetworkSettings"]["properties"]["initializer"]["enum"] == list(INITIALIZERS)


def test_the_schema_describes_every_key_of_the_config() -> None:
    assert set(SCHEMA["properties"]) == {field.name for field in dataclasses.fields(Config)}
    for name, part in {"Config": SCHEMA, **SCHEMA["$defs"]}.items():
        assert part["description"], name
        for key, known in part["properties"].items():
            assert known.get("description"), f"{name}.{key}"


def test_the_schema_has_a_title_of_its_own() -> None:
    assert SCHEMA["title"] == "A config of backprop"


def test_the_schema_is_the_same_where_python_drops_docstrings(tmp_path: Path) -> None:
    done = process("config", "schema", cwd=tmp_path, program=(sys.executable, "-OO", "-m", "backprop_cli"))
    assert json.loads(done.stdout) == SCHEMA


def test_the_schema_is_plain_json_and_yaml_can_say_it() -> None:
    assert json.loads(json.dumps(SCHEMA, allow_nan=False)) == SCHEMA
    assert yaml.safe_load(yaml.safe_dump(SCHEMA)) == SCHEMA
