"""What strangers wrote comes out as text: names of classes, runs, files and configs that would steer a terminal."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SAMPLES, answer, backprop
from signing import body_of, header_of, sign

MARKUP = ("[bold red]a[/bold red]", "[/red]", ":smile: b", "[link=file:///x]c[/link]")
ESCAPES = ("\x1b[2J\x1b[31ma", "\x9b31mb", "c\x07\r\n\x08", "\u202ed\u2066")
SHOWN = (r"\x1b[2J\x1b[31ma", r"\x9b31mb", r"c\x07\x0d\x0a\x08", r"\u202ed\u2066")
SOURCE = "data.source='[red]odd.npz'"
PICTURE = SAMPLES / "3-1418.png"


def said(*args: str | Path, code: int = 0, n_errors: int | None = None) -> str:
    """Run a command, check that nothing it prints steers a terminal, and return all of it."""
    result = backprop(*args)
    assert result.exit_code == code, result.output
    for stream in (result.stdout, result.stderr):
        steering = [c for c in stream if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c != "\n"]
        assert not steering, ascii(stream)
        assert not [
            c for c in stream if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")
        ]
    if n_errors is not None:
        lines = result.stderr.splitlines()
        assert sum(line.startswith("error: ") for line in lines) == n_errors
        assert "Traceback" not in result.stderr
    return result.output


def holds(text: str, names: tuple[str, ...]) -> bool:
    return any(name in text for name in names)


@pytest.fixture
def four_classes(work: Path) -> Path:
    """Return a working directory with pictures of four oddly named classes, and a model of them in runs/odd."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    images = rng.integers(0, 3, (80, 8, 8)).astype(np.uint8)
    images[np.arange(80), 2 * labels, :] = 16
    np.savez(work / "[red]odd.npz", images=images, labels=np.array(MARKUP)[labels])
    answer("train", "-c", "quick", "--set", SOURCE, "--epochs", "3", "--run-dir", "runs/odd")
    return work


def renamed(path: Path, classes: tuple[str, ...]) -> Path:
    """Write a model that differs in the names of its classes, all else that is text in it, and the right checksum."""
    raw = path.read_bytes()
    header = header_of(raw)
    fields: dict[str, Any] = json.loads(header["__metadata__"]["backprop"])
    fields["content"]["classes"] = list(classes)
    fields["content"]["summary"]["stop_reason"] = ESCAPES[0]
    digits = fields.pop("sha256")
    header["__metadata__"]["backprop"] = json.dumps(fields | {"sha256": digits}, separators=(",", ":"))
    target = path.with_name("[red]\x1b[2Jmodel.safetensors")
    target.write_bytes(sign(header, body_of(raw)))
    return target


def test_markup_in_the_names_of_classes_is_text(four_classes: Path) -> None:
    evaluated = said("eval", "--errors", "9")
    assert all(name in evaluated for name in MARKUP)
    for options in ([], ["--show"], ["--digits", "many"], ["--top", "4"]):
        assert holds(said("predict", PICTURE, *options), MARKUP)
    assert holds(said("explain", PICTURE, "--label", MARKUP[1], "--worksheet", "[i]sheet.md"), MARKUP)
    assert "[red]odd.npz: 80 pictures" in said("data", "show", "-c", "quick", "--set", SOURCE)
    assert holds(said("data", "show", "-c", "quick", "--index", "3", "--set", SOURCE), MARKUP)
    said("check", "-m", "runs/odd")
    said("cv", "-c", "quick", "--set", SOURCE, "--set", "training.epochs=1", "--folds", "2")
    document = json.loads(answer("eval", "--json"))
    assert [figures["label"] for figures in document["per_class"]] == sorted(MARKUP)


def test_escapes_in_a_model_are_text(four_classes: Path) -> None:
    model = renamed(four_classes / "runs/odd/model.safetensors", ESCAPES)
    for options in ([], ["--show"], ["--digits", "many"]):
        assert holds(said("predict", "-m", model, PICTURE, *options), SHOWN)
    assert holds(said("explain", "-m", model, PICTURE, "--worksheet", "sheet.md"), SHOWN)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", Path("sheet.md").read_text())
    assert r"[red]\x1b[2Jmodel.safetensors" in said("check", "-m", model)
    assert "no longer what" in said("eval", "-m", model, code=2, n_errors=1)  # its data has other names
    for line in (said("predict", "-m", model, PICTURE, "--json"), said("explain", "-m", model, PICTURE, "--json")):
        assert line.isascii()
    predicted = json.loads(answer("predict", "-m", model, PICTURE, "--json"))["predictions"][0]
    assert set(predicted["probabilities"]) == set(ESCAPES)


def test_names_of_runs_and_files_are_text(work: Path) -> None:
    odd = "[red]\x1b[2J\nx\u202e"
    shown = r"[red]\x1b[2J\x0ax\u202e"
    assert shown in said("train", "-c", "quick", "--epochs", "1", "--progress", "plain", "--run-dir", f"runs/{odd}")
    assert shown in said("runs")
    assert shown in said("train", "--resume", f"runs/{odd}")
    assert shown in said("predict", odd, code=1, n_errors=1)
    assert shown in said("init", f"{odd}.yaml")
    assert shown in said("config", "validate", f"{odd}.yaml")
    assert shown in said("init", f"{odd}.yaml", code=2, n_errors=1)
    assert shown in said("eval", "--data", f"{odd}.npz", code=2, n_errors=1)
    assert said("runs", "--json").isascii()


@pytest.mark.parametrize(
    "command", [("config", "validate"), ("config", "show"), ("train", "--dry-run", "-c"), ("check", "-c")]
)
@pytest.mark.parametrize("key", ["name", "data.source", "optimizer.name", "seed", "network.layers"])
def test_values_of_a_config_are_text(work: Path, command: tuple[str, ...], key: str) -> None:
    section, _, inner = key.partition(".")
    value = '"[bold]x[/bold]\\x1b[2J\\u202e\\x0a"'
    Path("c.yaml").write_text(f"{section}: {value}\n" if not inner else f"{section}: {{{inner}: {value}}}\n")
    is_shown = key == "data.source" and command[0] == "config"  # whether there is such a file is not asked yet
    said(*command, "c.yaml", code=0 if is_shown else 2, n_errors=0 if is_shown else 1)
    Path("c.yaml").write_text(f"{value}: 1\n")
    said(*command, "c.yaml", code=2, n_errors=1)


def test_what_is_not_cleaned_would_be_noticed(four_classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = renamed(four_classes / "runs/odd/model.safetensors", ESCAPES)
    for module in ("cli.console", "api.words"):
        monkeypatch.setattr(f"backprop_cli.{module}.clean", str)
    with pytest.raises(AssertionError):
        said("predict", "-m", model, PICTURE)
