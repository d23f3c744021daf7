"""The short version of `make fuzz`: what failed once, the worst of the bombs, some hundred cases of each kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import judge
import numpy as np
import pytest
from bombs import BOMBS
from campaign import KINDS, corpus, first, run, sound_checkpoint, sound_models
from command_line import PATIENCE
from commands import run_commands
from mutations import Case, bundled_folder, sound_pictures
from signing import body_of, header_of, sign
from worker import Worker

from backprop_cli.errors import ConfigError
from backprop_cli.files import clean

COUNTS = {"model": 400, "checkpoint": 40, "config": 100, "picture": 150, "data": 120}
SLOW_BOMBS = ("model", "config")  # seconds
WORST = [
    *(("model", name) for name in ("nearly-sound", "zeros", "wide-header", "deep-header")),
    *(("picture", name) for name in ("lossless.webp", "scans.jpg", "markers.jpg", "comments.ppm")),
    *(("config", name) for name in ("numbers", "keys-below-the-limit", "aliases", "too-large")),
    ("checkpoint", "deep-header"),
    *(
        ("data", name)
        for name in (
            "shape",
            "lying",
            "header",
            "objects",
            "mapped",
            "cells",
            "indices",
            "one-label",
            "dimensions",
        )
    ),
]


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW_BOMBS)) for k in KINDS])
def test_the_worst_bombs_take_little_memory(kind: str) -> None:
    tally = run(kind, (BOMBS[kind][name]() for of, name in WORST if of == kind), timed=False)
    assert not tally.accepted


@pytest.mark.parametrize("kind", KINDS)
def test_some_hundred_files_are_refused_clearly_or_keep_every_rule(kind: str) -> None:
    tally = run(kind, first(kind, COUNTS[kind], seed=1), timed=False)
    assert tally.tried == COUNTS[kind]
    assert tally.accepted < tally.tried


@pytest.mark.parametrize("kind", KINDS)
def test_what_failed_once_fails_no_more(kind: str) -> None:
    many = corpus(kind)
    assert many
    assert run(kind, many, timed=False).tried == len(many)


def test_what_is_sound_is_accepted() -> None:
    """A judge that refused all would find no fault."""
    configs = [path.read_bytes() for path in bundled_folder().glob("*.yaml")]
    pictures = sound_pictures()
    assert n_accepted("model", [{"m": content} for content in sound_models()]) == 4
    assert n_accepted("checkpoint", [{"checkpoint.safetensors": sound_checkpoint()}]) == 1
    assert n_accepted("config", [{"c.yaml": content} for content in configs]) == len(configs)
    assert n_accepted("picture", [{"p": content} for content in pictures]) > 0.8 * len(pictures)  # some are animated


def n_accepted(kind: str, many: list[Case]) -> int:
    return run(kind, many, timed=False).accepted


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_ends_with_a_line_and_a_code(kind: str) -> None:
    assert run_commands(kind, [*corpus(kind)[:1], *first(kind, 1, seed=2)]).tried == 2


# ---- every check can fail ------------------------------------------------------------------------------------------

FAULTS = {
    "raise KeyError('x')": "KeyError: 'x'",
    "import warnings; warnings.warn('old')": "UserWarning: old",
    "raise SystemExit(3)": "SystemExit: 3",
    "import os; os._exit(7)": "the process died with 7",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "the process died with -11",
    "import time; time.sleep(6000)": "no answer within 2 s",
    "sum(range(30_000_000))": "it took ",
    "len(bytearray(200_000_000))": " MB (accepted)",
    "bytearray(8 * 2**30)": "MemoryError",
    "import os; os.write(2, b'TIFFReadDirectory: oops')": "it printed b'TIFFReadDirectory: oops'",
    "print('hm')": "it printed b'hm",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_notices(fault: str, tmp_path: Path) -> None:
    limits = "class L: seconds, megabytes = 0.1, 150\nLIMITS = {'x': L}\n"
    (tmp_path / "bad.py").write_text(
        f"{limits}def judge(kind, path):\n    if path.name == 'bad': {fault}\n    return ''\n"
    )
    with Worker("x", patience=2 if "sleep" in fault else PATIENCE, judge=tmp_path / "bad.py") as worker:
        assert FAULTS[fault] in worker.read(Path("bad")).failure
        worker.patience = PATIENCE
        assert worker.read(Path("good")).failure == ""  # a new process, or the same one once more


@pytest.mark.parametrize(
    "lines",
    [(), ("x\ny of /a/f",), ("f: " + "x" * 1000,), ("no such file",), ("/a/f: fine", "\n"), ("/a/f",) * 14],
    ids=ascii,
)
def test_a_refusal_that_is_not_clear_is_noticed(lines: tuple[str, ...]) -> None:
    judge.check_refusal(ConfigError("/a/f:3: seed: wrong"), Path("/a/f"))
    with pytest.raises(AssertionError):
        judge.check_refusal(ConfigError(*lines), Path("/a/f"))


def test_text_that_steers_a_terminal_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "clean", str)
    for text in ("\x1b[2J", "\x9b", "\u202e", "\u2028", "\udc80"):
        assert clean(text) != text
        with pytest.raises(AssertionError):
            judge.check_refusal(ConfigError(f"/a/f: {text}"), Path("/a/f"))


def edited(edit: Callable[[dict[str, Any]], object]) -> bytes:
    content = sound_models()[0]
    header = header_of(content)
    fields = json.loads(header["__metadata__"]["backprop"])
    edit(fields["content"])
    header["__metadata__"]["backprop"] = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return sign(header, body_of(content))


def test_an_accepted_model_that_breaks_a_rule_is_noticed() -> None:
    content = sound_models()[0]
    judge.check_model(content)
    header, body = header_of(content), body_of(content)
    moved = json.loads(json.dumps(header))
    moved["members.0.layers.0.weight"]["data_offsets"] = moved["members.0.layers.0.bias"]["data_offsets"]
    broken = [
        content[:-1] + bytes([content[-1] ^ 1]),
        content + b"\0",
        sign(header, body + bytes(4)),
        sign(header, body[:-4] + np.float32(np.nan).tobytes()),
        sign(moved, body),
        sign(header | {"x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, body),
        edited(lambda fields: fields["layers"][0].update(units=4)),
        edited(lambda fields: fields.update(classes=["0", "0"])),
        edited(lambda fields: fields.update(temperature=0)),
        edited(lambda fields: fields.update(members=2)),
        edited(lambda fields: fields["summary"].update(x=float("nan"))),
    ]
    for raw in broken:
        with pytest.raises((AssertionError, ValueError)):
            judge.check_model(raw)
