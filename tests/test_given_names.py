"""Names as people give them: addresses and patterns are named, `~` and `$VAR` spelled out where no shell does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import SAMPLES, answer, backprop, document, refusal
from foreign import labels, large, save

from backprop_cli.config.config import load_config, read_config
from backprop_cli.files import spelled_out, why_no_file

PICTURE = SAMPLES / "4-1419.png"
DRY = ("train", "-c", "quick", "--dry-run", "--set")
PATTERN = "a pattern that the shell did not expand: nothing matches it, or it is in quotes"


@pytest.fixture
def home(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return somebody's home, with a picture and data in it; $PLACE names it too."""
    place = work / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("PLACE", str(place))
    monkeypatch.delenv("NOWHERE", raising=False)
    (place / "4.png").write_bytes(PICTURE.read_bytes())
    save(place / "mine.npz", large(0, 200), labels(0, 200))
    return place


# ---- what is no file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["https://a.org/4.png", "HTTP://a.org/4", "ftp://a.org/x[1].png"])
def test_a_picture_on_the_web_is_not_fetched(work: Path, name: str) -> None:
    told = f"{name}: a web address, from which nothing is downloaded; save the picture to a file"
    assert document("predict", name, code=1)["predictions"] == [{"path": name, "error": told}]
    assert told in backprop("explain", name, "-m", "pretrained").stderr


@pytest.mark.parametrize("name", ["https://a.org/train.npz", "http://a.org/train.csv.gz", "https://a.org/data/"])
def test_data_on_the_web_are_not_fetched(home: Path, name: str) -> None:
    told = f"error: {name}: a web address, from which nothing is downloaded; save the file, or use openml:NAME\n"
    assert refusal(*DRY, f"data.source={name}").endswith(told)
    (home / "c.yaml").write_text(f"data: {{source: '{name}'}}\n")
    assert refusal("train", "--dry-run", "-c", home / "c.yaml").endswith(told)
    assert refusal("eval", "-m", "pretrained", "--data", name).endswith(told)


def test_a_table_on_the_web_is_not_fetched(work: Path) -> None:
    assert "from which nothing is downloaded; save the file, or use openml:NAME" in refusal(
        "predict", "https://a.org/x.csv"
    )


@pytest.mark.parametrize("name", ["*.png", "scans/[0-9]*.png", "?.jpg", "scans/*/4.png"])
def test_a_pattern_that_matches_nothing_is_named_as_one(work: Path, name: str) -> None:
    (work / "scans").mkdir()
    assert document("predict", name, code=1)["predictions"][0]["error"] == f"{name}: {PATTERN}"


@pytest.mark.parametrize("name", ["*.csv", "[ab].npz", "many/*"])
def test_so_it_is_of_data(work: Path, name: str) -> None:
    told = f"{work / name}" if name == "many/*" else f"--set data.source={name}"  # the others are odd YAML
    assert refusal(*DRY, f"data.source={name}") == f"error: {told}: {PATTERN}\n"
    assert refusal(*DRY, f"data.source='{name}'") == f"error: {work / name}: {PATTERN}\n"
    assert refusal("eval", "-m", "pretrained", "--data", name).endswith(f"error: {name}: {PATTERN}\n")
    (work / "c.yaml").write_text(f"data: {{source: '{name}'}}\n")
    assert refusal("train", "--dry-run", "-c", "c.yaml") == f"error: {work / name}: {PATTERN}\n"


def test_a_file_that_bears_such_a_name_is_read(work: Path) -> None:
    (work / "scan[1]").mkdir()
    for name in ("scan[1]/*.png", "what?.png"):
        (work / name).write_bytes(PICTURE.read_bytes())
        assert "error" not in document("predict", name)["predictions"][0]
    assert why_no_file("scan[1]/missing.png", "") is None
    assert why_no_file("nul\0*", "") == PATTERN
    assert why_no_file("missing.png", "") is None


# ---- what a shell would put in its place ---------------------------------------------------------------------------


def test_names_on_the_command_line_are_spelled_out(home: Path) -> None:
    for name in ("~/4.png", "$PLACE/4.png", "${PLACE}/4.png"):
        assert document("predict", name, "samples:4")["predictions"][0]["path"] == str(home / "4.png")
    assert document("explain", "~/4.png", "-m", "pretrained")["path"] == str(home / "4.png")
    (home / "c.yaml").write_text("name: mine\ndata: {source: mine.npz}\ntraining: {epochs: 1}\n")
    answer("train", "--config=~/c.yaml", "--run-dir=$PLACE/run", "--progress", "none")
    assert backprop("train", "--resume=~/run", "--progress", "none").exit_code == 0
    assert document("eval", "--model=~/run", "--data=~/mine.npz")["model"] == str(home / "run" / "model.safetensors")


@pytest.mark.parametrize("value", ["~/mine.npz", "$PLACE/mine.npz", "'~/mine.npz'", '"$PLACE/mine.npz"'])
def test_so_are_sources_behind_set(home: Path, value: str) -> None:
    for key in ("source", "test_source"):
        assert getattr(load_config("quick", [f"data.{key}={value}"]).data, key) == str(home / "mine.npz")
    for change in (f"data.extra={value}", f"data.extra=[pens, {value}]"):
        assert load_config("quick", [change]).data.extra[-1].source == str(home / "mine.npz")
    assert load_config("quick", ["data.test_source=~"]).data.test_source is None


@pytest.mark.parametrize(
    "data",
    ["{source: ~/x.npz}", "{source: digits, test_source: ~/x.npz}", "{source: digits, extra: [{source: ~/x.npz}]}"],
)
def test_a_file_knows_the_home_but_no_variables(home: Path, data: str) -> None:
    def sources(text: str) -> set[Any]:
        found = read_config(f"data: {text}\n", where="c.yaml", folder=home / "configs").data
        return {found.source, found.test_source, *(one.source for one in found.extra)}

    assert str(home / "x.npz") in sources(data)
    assert str(home / "configs" / "$PLACE" / "x.npz") in sources(data.replace("~", "$PLACE"))


def test_a_file_of_that_very_name_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("~", "$PLACE", "~root"):
        Path(name).mkdir()
        save(Path(name, "mine.npz"), large(0, 200), labels(0, 200))
        assert spelled_out(f"{name}/mine.npz") == f"{name}/mine.npz"
        for value in (f"{name}/mine.npz", f"'{name}/mine.npz'"):
            assert load_config("quick", [f"data.source={value}"]).data.source == str(Path.cwd() / name / "mine.npz")
    assert spelled_out("~/other.npz") == str(home / "other.npz")
    assert spelled_out("x.npz", home) == "x.npz"


@pytest.mark.parametrize(
    "name", ["", "-", "digits:5", "a~b", "$NOWHERE/x", "~nobody-of-that-name/x", "a\0b", "~\0", "~\ud800"]
)
def test_other_names_stay_as_they_are(home: Path, name: str) -> None:
    assert spelled_out(name) == name
