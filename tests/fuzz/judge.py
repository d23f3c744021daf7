"""What must hold when a file from a stranger is read: a clear refusal, or a content that keeps every rule."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import struct
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from backprop_cli.config.config import Config, config_of, load_config, read_config
from backprop_cli.data.digit_row import digits_in_row
from backprop_cli.data.image import read_picture
from backprop_cli.data.normalize import normalize
from backprop_cli.data.quiet import claim_process
from backprop_cli.data.resize import resized
from backprop_cli.data.sources import DataSettings, is_table, load_data, load_rows, source_of_test
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.network import NetworkSettings
from backprop_cli.errors import BackpropError, DivergenceError, PictureError
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.files import clean
from backprop_cli.predictor import Predictor
from backprop_cli.store.model_file import load_model
from backprop_cli.store.run_directory import RunDirectory
from backprop_cli.store.runs import PRETRAINED


@dataclass(frozen=True)
class Limits:
    """What one file may take.

    Attributes:
        seconds: Of processor time.
        megabytes: Of memory, the interpreter with its modules included.
    """

    seconds: float
    megabytes: int


LIMITS = {
    "model": Limits(2, 500),
    "checkpoint": Limits(2, 500),
    "config": Limits(2, 500),
    "picture": Limits(5, 1000),
    "data": Limits(5, 1000),
}


def judge(kind: str, path: Path) -> str:
    """Have a file read as the commands read it.

    Returns:
        What it is refused with; nothing where it is accepted.

    Raises:
        BaseException: Whatever else comes of it, an AssertionError where an answer breaks a rule.
    """
    claim_process()
    try:
        _READERS[kind](path)
    except BackpropError as error:
        check_refusal(error, path)
        return str(error)
    return ""


def check_refusal(error: BackpropError, path: Path) -> None:
    """Check that what a user is told is some short lines that name the file and steer no terminal."""
    assert 1 <= len(error.problems) <= 13, error.problems
    for problem in error.problems:
        line = clean(problem)
        assert len(line) < 1000, line
        assert "\n" not in problem, problem
        assert not [c for c in line if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")], ascii(line)
        assert not [c for c in line if unicodedata.bidirectional(c)[:2] in ("LR", "RL", "PD", "LI", "RI")], ascii(line)
    assert any(clean(path.parent) in clean(problem) for problem in error.problems), error.problems


# ---- models --------------------------------------------------------------------------------------------------------


def read_model(path: Path) -> None:
    load_model(path)
    check_model(path.read_bytes())
    predictor = Predictor.load(path)
    height, width = predictor.picture_size
    ink = np.random.default_rng(0).random((3, height, width)) * predictor.scaling.max_value
    answers = predictor.probabilities(np.concatenate([ink, np.zeros((1, height, width))]))
    assert answers.shape == (4, len(predictor.classes))
    assert np.isfinite(answers).all()
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-3), answers
    drawn = np.zeros((40, 30), np.float32)
    drawn[5:30, 10:15] = 1.0
    seen = predictor.form.seen([drawn, drawn[:, ::-1], np.zeros((3, 3), np.float32)])
    assert seen.shape == (3, height, width)
    assert (seen >= 0).all()
    assert (seen <= 1).all()


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs), "a key stands twice"
    return dict(pairs)


def taken_apart(raw: bytes) -> tuple[dict[str, Any], dict[str, tuple[tuple[int, ...], bytes]], dict[str, str]]:
    """Check the container by rules of its own, not the program's; return content, shapes and bytes, and dtypes."""
    (length,) = struct.unpack("<Q", raw[:8])
    assert 2 <= length <= 2**20
    header = json.loads(raw[8 : 8 + length].decode(), object_pairs_hook=unique)
    metadata = header.pop("__metadata__")
    assert list(metadata) == ["backprop"]
    fields = json.loads(metadata["backprop"], object_pairs_hook=unique, parse_constant=refuse)
    assert fields.keys() == {"content", "format", "kind", "sha256"}
    assert fields["format"] in (1, 2)
    digits = fields["sha256"].encode()
    assert any(
        hashlib.sha256(raw[:at] + b"0" * 64 + raw[at + 64 :]).hexdigest().encode() == digits
        for at in [k for k in range(len(raw) - 63) if raw.startswith(digits, k)]
    )
    body, end = raw[8 + length :], 0
    for entry in sorted(header.values(), key=lambda entry: entry["data_offsets"]):
        assert entry["data_offsets"][0] == end
        end = entry["data_offsets"][1]
    assert end == len(body)
    arrays = {}
    for name, entry in header.items():
        assert entry.keys() == {"dtype", "shape", "data_offsets"}
        content = body[slice(*entry["data_offsets"])]
        arrays[name] = (tuple(entry["shape"]), content)
        if entry["dtype"] in ("F32", "F64"):
            values = np.frombuffer(content, {"F32": "<f4", "F64": "<f8"}[entry["dtype"]])
            assert values.size == math.prod(entry["shape"])
            assert np.isfinite(values).all()
    return fields["content"], arrays, {name: entry["dtype"] for name, entry in header.items()}


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in an accepted file")


def check_model(raw: bytes) -> None:
    """Check an accepted model by rules of its own: point 3 of what a model file promises."""
    assert len(raw) <= 256 * 2**20
    content, arrays, dtypes = taken_apart(raw)
    height, width = content["preprocessing"]["picture"]
    widths = [height * width, *(layer["units"] for layer in content["layers"]), len(content["classes"])]
    assert content["n_inputs"] == height * width <= 2**20
    assert len(content["layers"]) <= 64
    assert all(1 <= units <= 65_536 for units in widths[1:-1])
    assert 2 <= len(set(content["classes"])) == len(content["classes"]) <= 1000
    assert content["temperature"] > 0
    shapes: dict[str, tuple[int, ...]] = {"preprocessing.mean": (widths[0],)}
    for member, (k, (fan_in, fan_out)) in itertools.product(
        range(content["members"]), enumerate(itertools.pairwise(widths))
    ):
        shapes[f"members.{member}.layers.{k}.weight"] = (fan_in, fan_out)
        shapes[f"members.{member}.layers.{k}.bias"] = (fan_out,)
    assert {name: shape for name, (shape, _) in arrays.items()} == shapes
    assert set(dtypes.values()) == {"F32"}
    assert sum(math.prod(shape) for shape in shapes.values()) - widths[0] <= 50_000_000


# ---- checkpoints ---------------------------------------------------------------------------------------------------

SMALL = Config(name="small", network=NetworkSettings(layers=(LayerSpec(units=4),)))
SMALL = replace(SMALL, training=replace(SMALL.training, epochs=3, batch_size=64))


@cache
def small_split_data() -> SplitData:
    split_data = SplitData.load(SMALL)
    splits = split_data.splits
    return replace(split_data, splits=replace(splits, train=splits.train[:200], val=splits.val[:50]))


def small_run(folder: Path) -> bytes:
    """Train for three epochs in a folder; return the checkpoint."""
    with RunDirectory.create("small", folder) as directory:
        directory.write_config(SMALL.to_yaml())
        for _ in Experiment(SMALL, small_split_data()).train(directory):
            pass
        return directory.checkpoint_path.read_bytes()


def read_checkpoint(path: Path) -> None:
    """Go on from a checkpoint for two epochs more, as `train --resume` does."""
    (path.parent / "config.yaml").write_text(SMALL.to_yaml())
    longer = replace(SMALL, training=replace(SMALL.training, epochs=5))
    experiment = Experiment(longer, small_split_data())
    with RunDirectory.open(path.parent) as directory:
        experiment.restore(directory)
    taken_apart(path.read_bytes())
    for network, state in zip(experiment.networks, experiment.states, strict=True):
        assert np.isfinite(network.params).all()
        assert all(np.isfinite(array).all() for array in state.arrays().values())
        assert state.epoch >= 0
    for _ in experiment.train():
        pass
    if experiment.stop_reason == "diverged":
        raise DivergenceError(f"{path}: training diverged")
    if experiment.has_model:
        experiment.model()


# ---- the others ----------------------------------------------------------------------------------------------------


def read_config_file(path: Path) -> None:
    config = load_config(str(path))
    again = read_config(config.to_yaml(), where="again")
    assert again == config, "its own YAML means something else"
    assert config_of(json.loads(json.dumps(config.to_dict())), where="again") == config
    assert len(config.network.layers) <= 64
    assert all(1 <= layer.units <= 65_536 for layer in config.network.layers)
    assert 0 <= config.seed < 2**63
    assert 1 <= config.ensemble <= 100
    assert 1 <= len(config.name) <= 64
    assert config.name.isascii()
    assert not set(config.name) & set("/\\\0\n")
    assert not config.name.startswith(".")
    assert config.data.validation_size + config.data.test_size < 1
    for value in numbers_in(config.to_dict()):
        assert math.isfinite(value)


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return [number for item in inside for number in numbers_in(item)]
    return [value] if isinstance(value, int | float) else []


@cache
def pretrained() -> Predictor:
    return Predictor.load(PRETRAINED)


def read_picture_file(path: Path) -> None:
    ink = read_picture(path).levels
    assert ink.ndim == 2
    assert max(ink.shape) <= 320
    assert np.isfinite(ink).all()
    assert 0 <= ink.min() <= ink.max() <= 1
    counts = normalize(ink[None], picture=pretrained().picture_size, slant=pretrained().form.slant)
    assert 0 <= counts.min() <= counts.max() <= 16
    assert np.isfinite(pretrained().probabilities(counts)).all()
    if path.stat().st_size % 4 == 0:  # now and then, as a row of digits too
        try:
            found = digits_in_row(path)
        except PictureError as error:
            check_refusal(error, path)
        else:
            assert all(np.isfinite(one.levels).all() for one in found)


def read_data(path: Path) -> None:
    picture = (None, "raw", "8x8")[hash(path.name) % 3]
    settings = DataSettings(source=str(path), picture=picture, skip_bad=hash(path.name) % 2 == 0)
    test_source = source_of_test(settings)
    assert test_source is None or test_source.startswith(str(path))
    if is_table(str(path)):
        with suppress(BackpropError):
            assert load_rows(str(path), settings).classes == ()
    dataset = load_data(settings)
    n = len(dataset)
    assert n > 0
    assert dataset.pictures.shape[0] == n == dataset.labels.shape[0]
    assert dataset.pictures.ndim == 3
    assert dataset.pictures.dtype.kind in "uif"
    assert np.isfinite(dataset.pictures).all()
    assert (dataset.pictures >= 0).all()
    assert 2 <= len(dataset.classes) == len(set(dataset.classes)) <= 1000
    assert all(1 <= len(name) <= 100 and name.isprintable() for name in dataset.classes)
    assert dataset.labels.min() >= 0
    assert dataset.labels.max() < len(dataset.classes)
    assert resized(dataset, (8, 8), None).pictures.max() <= 16


_READERS: dict[str, Callable[[Path], None]] = {
    "model": read_model,
    "checkpoint": read_checkpoint,
    "config": read_config_file,
    "picture": read_picture_file,
    "data": read_data,
}
