import hashlib
import json
import math
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save
from signing import body_of, header_of, sign

from backprop_cli.errors import ModelFileError
from backprop_cli.store.model_file import Model, load_model, save_model
from backprop_cli.store.tensor_file import MAX_HEADER, load_checkpoint, pack, save_checkpoint, unpack

N_INPUTS, UNITS, CLASSES = 6, 3, ("zero", "one")
N_PARAMS = (N_INPUTS + 1) * UNITS + (UNITS + 1) * len(CLASSES)


def make_model(**changes: Any) -> Model:
    rng = np.random.default_rng(1)
    fields: dict[str, Any] = {
        "n_inputs": N_INPUTS,
        "layers": ({"units": UNITS, "activation": "gelu", "dropout": 0.25},),
        "classes": CLASSES,
        "members": tuple(rng.normal(size=N_PARAMS).astype(np.float32) for _ in range(2)),
        "loss": {"name": "cross_entropy", "label_smoothing": 0.0},
        "preprocessing": {"picture": [2, 3], "max_value": 16.0, "scale": 3.5, "slant": "edges"},
        "mean": rng.random(N_INPUTS, dtype=np.float32),
        "config": {"name": "digits", "data": {"sha256": "0" * 64, "test_source": None}, "epochs": 3},
        "summary": {"best_epoch": 2, "val_loss": 0.125, "stop_reason": "completed", "test": None},
        "temperature": 1.5,
    }
    return Model(**(fields | changes))


def same(first: Model, second: Model) -> bool:
    """Return whether two models are equal to the last bit."""
    names = ("n_inputs", "layers", "classes", "loss", "preprocessing", "config", "summary", "temperature")
    arrays = [(first.mean, second.mean), *zip(first.members, second.members, strict=True)]
    return all(getattr(first, name) == getattr(second, name) for name in names) and all(
        a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in arrays
    )


@pytest.fixture
def raw(tmp_path: Path) -> bytes:
    save_model(tmp_path / "sound", make_model())
    return (tmp_path / "sound").read_bytes()


# What is whole comes back


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model = make_model()
    save_model(tmp_path / "m", model)
    again = load_model(tmp_path / "m")
    assert same(model, again)
    assert all(vector.flags.writeable for vector in again.members)


def test_the_same_model_gives_the_same_bytes_whatever_the_order_of_its_keys(tmp_path: Path) -> None:
    model = make_model()
    save_model(tmp_path / "a", model)
    save_model(tmp_path / "b", replace(model, config=dict(reversed(model.config.items()))))
    save_model(tmp_path / "c", load_model(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_the_weights_stand_in_the_file_layer_by_layer(raw: bytes) -> None:
    tensors = load(raw)
    vector = make_model().members[1]
    table = vector[: (N_INPUTS + 1) * UNITS].reshape(N_INPUTS + 1, UNITS)
    assert (tensors["members.1.layers.0.weight"] == table[:-1]).all()
    assert (tensors["members.1.layers.0.bias"] == table[-1]).all()
    assert tensors["members.1.layers.1.weight"].shape == (UNITS, len(CLASSES))
    assert (tensors["members.1.layers.1.bias"] == vector[-len(CLASSES) :]).all()
    assert len(tensors) == 9


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(raw: bytes) -> None:
    digits = json.loads(header_of(raw)["__metadata__"]["backprop"])["sha256"]
    assert raw.count(digits.encode()) == 1
    assert hashlib.sha256(raw.replace(digits.encode(), b"0" * 64)).hexdigest() == digits


names = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_any_model_comes_back_to_the_last_bit(tmp_path: Path, data: st.DataObject) -> None:
    floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
    height, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    units = data.draw(st.lists(st.integers(1, 4), max_size=3))
    classes = tuple(data.draw(st.lists(names, min_size=2, max_size=4, unique=True)))
    widths = [height * width, *units, len(classes)]
    n_params = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))
    members = data.draw(st.lists(hnp.arrays(np.float32, n_params, elements=floats), min_size=1, max_size=3))
    model = Model(
        n_inputs=height * width,
        layers=tuple({"units": n, "activation": data.draw(names), "dropout": 0.5} for n in units),
        classes=classes,
        members=tuple(members),
        loss={"name": data.draw(names)},
        preprocessing={
            "picture": [height, width],
            "max_value": 16,
            "scale": data.draw(st.floats(1e-30, 1e30)),
            "slant": data.draw(st.sampled_from(["edges", "moments", "none"])),
        },
        mean=data.draw(hnp.arrays(np.float32, height * width, elements=floats)),
        config=data.draw(st.dictionaries(names, scalars | st.lists(names), max_size=3)),
        summary=data.draw(st.dictionaries(names, scalars | names, max_size=3)),
        temperature=data.draw(st.floats(1e-3, 1e3)),
    )
    save_model(tmp_path / "m", model)
    assert same(model, load_model(tmp_path / "m"))


def test_a_checkpoint_comes_back_with_its_generators_to_the_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    tensors: dict[str, Any] = {
        "params": rng.normal(size=7).astype(np.float32),
        "moments": rng.normal(size=(2, 7)),
        "step": np.array(12, np.int64),
        "state": rng.integers(0, 2**64, 4, np.uint64),
        "none": np.zeros((0, 3), np.float32),
        "columns": np.asfortranarray(rng.normal(size=(3, 4))),
        "every_other": rng.normal(size=20)[::2],
        "big_endian": rng.normal(size=3).astype(">f8"),
        "mask": np.array([True, False]),
    }
    metadata = {"rng": rng.bit_generator.state, "epoch": 3, "best": None, "sha256": "f" * 64}
    save_checkpoint(tmp_path / "c", tensors, metadata)
    arrays, content = load_checkpoint(tmp_path / "c")
    assert content == metadata
    assert arrays.keys() == tensors.keys()
    for name, array in tensors.items():
        assert arrays[name].shape == array.shape
        assert arrays[name].dtype == array.dtype.newbyteorder("=")
        assert (arrays[name] == array).all()
    again = np.random.default_rng()
    again.bit_generator.state = content["rng"]
    assert again.random() == rng.random()


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    model = make_model()
    spoiled = [
        replace(model, members=(np.full(N_PARAMS, np.nan, np.float32),)),
        replace(model, mean=np.full(N_INPUTS, np.inf, np.float32)),
        replace(model, config={"x": math.nan}),
        replace(model, config={"x": "x" * MAX_HEADER}),
    ]
    for bad in spoiled:
        with pytest.raises(ModelFileError, match="not written"):
            save_model(tmp_path / "m", bad)
    with pytest.raises(ModelFileError, match="'a' holds a number that is not finite"):
        save_checkpoint(tmp_path / "c", {"a": np.array([1.0, np.inf])}, {})
    with pytest.raises(ModelFileError, match="cannot store the tensor 'a'"):
        save_checkpoint(tmp_path / "c", {"a": np.array([1 + 2j])}, {})
    with pytest.raises(ModelFileError, match="cannot store the tensor '__metadata__'"):
        save_checkpoint(tmp_path / "c", {"__metadata__": np.zeros(1)}, {})
    assert list(tmp_path.iterdir()) == []


BAD_FIELDS: list[dict[str, Any]] = [
    {"n_inputs": 7},
    {"n_inputs": True},
    {"layers": ({"units": 0, "activation": "relu", "dropout": 0.0},)},
    {"layers": ({"units": 65_537, "activation": "relu", "dropout": 0.0},)},
    {"layers": ({"units": 3, "activation": 5, "dropout": 0.0},)},
    {"layers": ({"units": 3, "activation": "relu", "dropout": 1.0},)},
    {"layers": ({"units": 3, "activation": "relu"},)},
    {"layers": ({"units": 3, "activation": "relu", "dropout": 0.0, "x": 1},)},
    {"layers": ({"units": 1, "activation": "relu", "dropout": 0.0},) * 65},
    {"layers": ({"units": 65_536, "activation": "relu", "dropout": 0.0},) * 2},
    {"classes": ("one",)},
    {"classes": ("one", "one")},
    {"classes": ("one", "x" * 101)},
    {"classes": ("one", 2)},
    {"classes": tuple(str(k) for k in range(1001))},
    {"loss": {}},
    {"loss": {"name": "mse", "x": []}},
    {"summary": {"x": math.inf}},
    {"summary": {"x": {}}},
    {"preprocessing": {"picture": [2, 3], "max_value": 16.0}},
    {"preprocessing": {"picture": [2, 3], "max_value": 16.0, "scale": 1.0, "slant": "sideways"}},
    {"preprocessing": {"picture": [2, 3], "max_value": 16.0, "scale": 0.0, "slant": "edges"}},
    {"preprocessing": {"picture": [2, 3], "max_value": math.inf, "scale": 1.0, "slant": "edges"}},
    {"preprocessing": {"picture": [2, 3, 1], "max_value": 16.0, "scale": 1.0, "slant": "edges"}},
    {"preprocessing": {"picture": [-2, -3], "max_value": 16.0, "scale": 1.0, "slant": "edges"}},
    {"preprocessing": {"picture": [2, 3], "max_value": 16.0, "scale": 1.0, "x": 1}},
    {"temperature": 0.0},
    {"temperature": math.nan},
    {"temperature": "1"},
]


@pytest.mark.parametrize("changes", BAD_FIELDS, ids=str)
def test_a_model_of_parts_that_do_not_fit_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        make_model(**changes)


def test_arrays_must_fit_the_layers() -> None:
    for changes in ({"members": (np.zeros(N_PARAMS - 1, np.float32),)}, {"members": ()}, {"mean": np.zeros(6)}):
        with pytest.raises(ValueError, match=r"parameters|members|float32"):
            make_model(**changes)


# What is damaged is refused


def refused(path: Path, raw: bytes, match: str = ": ") -> str:
    """Check that bytes are refused as a model and as a checkpoint, in one clean line, and return the line."""
    path.write_bytes(raw)
    with pytest.raises(ModelFileError, match=re.escape(match)) as caught:
        load_model(path)
    with pytest.raises(ModelFileError):
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_every_flipped_byte_is_found(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "m"
    for position in range(len(raw)):
        damaged = bytearray(raw)
        damaged[position] ^= 0x20
        with pytest.raises(ModelFileError, match=r"the file is damaged|or damaged"):
            unpack(bytes(damaged), path, "model")


def test_every_cut_and_every_addition_is_found(tmp_path: Path, raw: bytes) -> None:
    for length in range(len(raw)):
        with pytest.raises(ModelFileError, match=r"the file is damaged|or damaged"):
            unpack(raw[:length], tmp_path / "m", "model")
    refused(tmp_path / "m", raw + b"\0", "checksum mismatch; the file is damaged")
    refused(tmp_path / "m", b"\0" + raw, "checksum mismatch; the file is damaged")


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"^m: not a backprop file"):
        unpack(noise, Path("m"), "model")


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch sprung",)


def test_files_of_other_kinds_are_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("model.pkl", pickle.dumps(Trap()))
    np.savez(tmp_path / "model.npz", weight=np.zeros(3))
    others = {
        "pickle": pickle.dumps(Trap()),
        "zip": (tmp_path / "zip").read_bytes(),
        "npz": (tmp_path / "model.npz").read_bytes(),
        "safetensors": save({"a": np.zeros(3)}),
        "empty": b"",
    }
    for name, content in others.items():
        refused(tmp_path / name, content, "not a backprop file, or damaged")
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**31)
    expected = {
        "pipe": "not a regular file",
        "sparse": "larger than 256 MB",
        "missing": "No such file or directory",
        ".": "Is a directory",
    }
    for name, message in expected.items():
        with pytest.raises(ModelFileError, match=message):
            load_model(tmp_path / name)
    with pytest.raises(ModelFileError, match="larger than 1024 MB"):
        load_checkpoint(tmp_path / "sparse")


# What is signed but hostile is refused


def sign_fields(raw: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the file with the JSON in its metadata edited."""
    header = header_of(raw)
    fields = json.loads(header["__metadata__"]["backprop"])
    edit(fields)
    digits = fields.pop("sha256")
    header["__metadata__"]["backprop"] = json.dumps(fields | {"sha256": digits}, separators=(",", ":"))
    return sign(header, body_of(raw))


def sign_tensors(raw: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the file with its header edited."""
    header = header_of(raw)
    edit(header)
    return sign(header, body_of(raw))


def test_signing_anew_without_an_edit_gives_a_sound_file(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "m").write_bytes(sign_fields(raw, lambda fields: None))
    assert same(load_model(tmp_path / "m"), make_model())


WEIGHT, BIAS = "members.0.layers.0.weight", "members.0.layers.0.bias"
LARGE_LAYER = {"units": 65_536, "activation": "relu", "dropout": 0.0}


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda f: f.update(format=3), "written by a newer backprop (format 3, this one reads 2)"),
        (lambda f: (f.update(format=3), f.pop("kind")), "written by a newer backprop (format 3, this one reads 2)"),
        (lambda f: f.update(format=True), "format number is missing"),
        (lambda f: f.update(format=0), "format number is missing"),
        (lambda f: f.pop("format"), "format number is missing"),
        (lambda f: f.update(kind="pickle"), "unknown kind"),
        (lambda f: f.update(kind=["model"]), ": "),
        (lambda f: f.update(kind="checkpoint"), "this is a checkpoint, not a model"),
        (lambda f: f.update(extra=1), "unknown keys: 'extra'"),
        (lambda f: f.update(content=[]), "content is not a mapping"),
        (lambda f: f["content"].update(extra=1), "extra: Extra inputs are not permitted"),
        (lambda f: f["content"].pop("loss"), "loss: Field required"),
        (lambda f: f["content"].update(members=3), "its tensors are not those"),
        (lambda f: f["content"].update(members=10**30), "members: Input should be less than or equal to 1000"),
        (lambda f: f["content"].update(members=-1), "members: Input should be greater than or equal to 1"),
        (lambda f: f["content"].update(config=7), "config: Input should be a valid dictionary"),
        (lambda f: f["content"].update(config={"n": 10**41}), "out of range"),
        (lambda f: f["content"].update(config={"n": math.nan}), "NaN is not allowed"),
        (lambda f: f["content"].update(config={"n": math.inf}), "Infinity is not allowed"),
        (lambda f: f["content"].update(classes="01"), "classes: Input should be a valid list"),
        (lambda f: f["content"].update(layers={}), "layers: Input should be a valid list"),
        (lambda f: f["content"]["layers"][0].update(units=4), "is not float32 of shape"),
        (lambda f: f["content"]["layers"][0].update(units=65_536, dropout=0), "is not float32 of shape"),
        (lambda f: f["content"].update(layers=f["content"]["layers"] * 2), "its tensors are not those"),
        (lambda f: f["content"].update(layers=[LARGE_LAYER] * 2), "at most 50000000 are allowed"),
        (lambda f: f["content"].update(layers=[LARGE_LAYER] * 65), "layers: List should have at most 64 items"),
        (lambda f: f["content"].update(summary={"x": [1]}), "summary.x: Numbers, texts and null only"),
        (
            lambda f: f["content"].update(summary=dict.fromkeys(map(str, range(1001)))),
            "summary: Dictionary should have",
        ),
        (lambda f: f["content"].update(loss={"name": "x\x1b[2J" * 100}), "loss.name"),
        (lambda f: f["content"].update(n_inputs=10**9), "n_inputs"),
        (lambda f: f["content"]["preprocessing"].update(scale=-1), "scale"),
    ],
)
def test_signed_metadata_that_breaks_a_rule_is_refused(
    tmp_path: Path, raw: bytes, edit: Callable[[dict[str, Any]], object], match: str
) -> None:
    path = tmp_path / "m"
    path.write_bytes(sign_fields(raw, edit))
    with pytest.raises(ModelFileError, match=re.escape(match)) as caught:
        load_model(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda h: h[WEIGHT].update(shape=[3, 6]), "is not float32 of shape (6, 3)"),
        (lambda h: h[WEIGHT].update(shape=[18]), "is not float32 of shape (6, 3)"),
        (lambda h: h[WEIGHT].update(dtype="I32"), "is not float32 of shape (6, 3)"),
        (lambda h: h[WEIGHT].update(dtype="F64", shape=[3, 3]), "is not float32 of shape (6, 3)"),
        (lambda h: h[WEIGHT].update(dtype="F16", shape=[6, 6]), "is of an unknown dtype"),
        (lambda h: h[WEIGHT].update(dtype=["F32"]), "is of an unknown dtype"),
        (lambda h: h[WEIGHT].update(shape=[2**62, 2**62]), "deserializing"),
        (lambda h: h[WEIGHT].update(shape=[6, -3]), "deserializing"),
        (lambda h: h[WEIGHT].update(shape=[6, 3.0]), "deserializing"),
        (lambda h: h[WEIGHT].update(shape=[1] * 100), "deserializing"),
        (lambda h: h[WEIGHT].update(data_offsets=[0, 10**18]), "deserializing"),
        (lambda h: h[WEIGHT].update(data_offsets=[72, 0]), "deserializing"),
        (lambda h: h[WEIGHT].update(data_offsets=[0]), "deserializing"),
        (lambda h: h[WEIGHT].update(data_offsets=[-72, 0]), "deserializing"),
        (lambda h: h[WEIGHT].update(data_offsets=h["members.1.layers.0.weight"]["data_offsets"]), "deserializing"),
        (lambda h: h[WEIGHT].update(extra=1), "unknown keys"),
        (lambda h: h.update({WEIGHT: [1, 2]}), "not a mapping"),
        (lambda h: h.update(pretender=h.pop(BIAS)), "its tensors are not those"),
        (lambda h: h.pop(BIAS), ": "),
        (lambda h: h.update(more={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}), "are not those"),
        (lambda h: h["__metadata__"].update(other="x"), "unknown keys: 'other'"),
    ],
)
def test_signed_tensors_that_break_a_rule_are_refused(
    tmp_path: Path, raw: bytes, edit: Callable[[dict[str, Any]], object], match: str
) -> None:
    refused(tmp_path / "m", sign_tensors(raw, edit), match)


def test_signed_bodies_that_break_a_rule_are_refused(tmp_path: Path, raw: bytes) -> None:
    path, header, body = tmp_path / "m", header_of(raw), body_of(raw)
    refused(path, sign(header, body + bytes(4)), "deserializing")
    refused(path, sign(header, body[:-4]), "deserializing")
    refused(path, sign(header, b""), "deserializing")
    for value in (np.nan, np.inf, -np.inf):
        numbers = np.frombuffer(body, np.float32).copy()
        numbers[-1] = value
        refused(path, sign(header, numbers.tobytes()), "not finite")


def test_a_checksum_in_a_tensor_s_name_does_not_count(tmp_path: Path) -> None:
    raw = pack("checkpoint", {"a": np.zeros(1)}, {})
    header = header_of(raw)
    decoy = 'a"sha256":"' + "0" * 64 + '"}'
    (tmp_path / "c").write_bytes(sign({decoy: header.pop("a"), **header}, body_of(raw)))
    with pytest.raises(ModelFileError, match="its checksum is in the wrong place"):
        load_checkpoint(tmp_path / "c")


def test_signed_headers_that_are_bad_json_are_refused(tmp_path: Path, raw: bytes) -> None:
    path, text, body = tmp_path / "m", json.dumps(header_of(raw), separators=(",", ":")), body_of(raw)
    bomb = f'{text[:-1]},"bomb":{"[" * 100_000}{"]" * 100_000}}}'
    refused(path, sign(bomb, body), "nested too deeply")
    refused(path, sign(text.replace("{", '{"a":' + "[" * 200_000 + ",", 1), body), "nested too deeply")
    refused(path, sign(text[:-1] + f',"{BIAS}":' + json.dumps(header_of(raw)[BIAS]) + "}", body), "a duplicate key")
    refused(path, sign(text[:-1], body), ": ")
    refused(path, sign(text + "x", body), ": ")
    refused(path, sign(text + " " * MAX_HEADER, body), "header's length")
    refused(path, sign(text[:-1] + ',"\ud83d\ude00\x07":1}'.encode("utf-16", "surrogatepass").decode("utf-16"), body))
    for length in (0, 1, 2**20 + 1, 2**63, 2**64 - 1):
        lying = length.to_bytes(8, "little") + sign(text, body)[8:]
        start = lying.index(b'\\"sha256\\":\\"', lying.index(b'kind\\"')) + len(b'\\"sha256\\":\\"')
        zeroed = lying[:start] + b"0" * 64 + lying[start + 64 :]
        signed = zeroed.replace(b"0" * 64 + b'\\"}"', hashlib.sha256(zeroed).hexdigest().encode() + b'\\"}"')
        refused(path, signed, "header's length")


def test_json_bombs_in_the_metadata_are_refused(tmp_path: Path, raw: bytes) -> None:
    header = header_of(raw)
    good = header["__metadata__"]["backprop"]
    for bad in ("[" * 100_000, "[" * 50 + "]" * 50, "1" * 5000, "1e999", '{"a":1,"a":2}', "nul"):
        header["__metadata__"]["backprop"] = re.sub(r'"config":{.*?}.*?},', f'"config":{bad},', good)
        refused(tmp_path / "m", sign(header, body_of(raw)), ": ")


@given(data=st.data())
@settings(max_examples=100)
def test_no_signed_nonsense_gets_through_as_another_error(data: st.DataObject) -> None:
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("F32"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )
    raw = pack("checkpoint", {"a": np.zeros((2, 3), np.float32), "b": np.zeros(1)}, {"k": [1, {"x": 2}]})
    header = header_of(raw)
    fields = json.loads(header["__metadata__"]["backprop"])
    digits = fields.pop("sha256")
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0):
            if key != "__metadata__":
                places.append((value, key))
                walk(value[key])

    walk(header)
    walk(fields)
    for _ in range(data.draw(st.integers(1, 3))):
        owner, key = data.draw(st.sampled_from(places))
        owner[key] = data.draw(json_values)
    header["__metadata__"]["backprop"] = json.dumps(fields | {"sha256": digits}, separators=(",", ":"))
    try:
        tensors, _ = unpack(sign(header, body_of(raw)), Path("m"), "checkpoint")
    except ModelFileError:
        return
    assert sum(array.nbytes for array in tensors.values()) == len(body_of(raw))


def test_a_checkpoint_is_not_taken_for_a_model(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", {"a": np.zeros(1)}, {})
    with pytest.raises(ModelFileError, match="this is a checkpoint, not a model"):
        load_model(tmp_path / "c")


def test_a_huge_name_makes_a_short_message(tmp_path: Path, raw: bytes) -> None:
    message = refused(tmp_path / "m", sign_tensors(raw, lambda h: h.update({"\x1b[2J" * 50_000: []})))
    assert len(message) < 500
