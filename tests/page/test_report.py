"""Reports: what stands in them, that it is what the library says, and that nothing of a stranger gets in or out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answer, backprop, refusal

import backprop_cli as library
from backprop_cli.api import report as api
from backprop_cli.api.comparison import accuracy_differences, config_differences
from backprop_cli.page import report as pages
from backprop_cli.page.html import shortened

QUICK = ("--epochs", "3", "--progress", "none")


class Tags(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of a kind."""
        return [attributes for tag, attributes in self.tags if tag == name]


def data_of(page: bytes) -> Mapping[str, Any]:
    """Return what the page's script is given."""
    (found,) = re.findall(rb'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)  # type: ignore[no-any-return]


def sections(page: bytes) -> list[str | None]:
    return [attributes["id"] for attributes in Tags(page).all("section") if "id" in attributes]


@pytest.fixture(scope="module")
def digits(trained_once: Path) -> tuple[api.RunReport, bytes]:
    found = api.report(trained_once / "runs/digits-1")
    return found, pages.run_page(found)


@pytest.fixture
def tiny(work: Path) -> Path:
    """Return a run of three epochs of `quick`."""
    answer("train", "-c", "quick", *QUICK)
    return work / "runs/quick-1"


# ---- what stands in it ---------------------------------------------------------------------------------------------


def test_a_report_has_its_sections_and_is_at_most_a_megabyte(digits: tuple[api.RunReport, bytes]) -> None:
    found, page = digits
    assert len(page) <= 1_000_000
    assert sections(page) == ["training", "test", "weights", "explained", "play", "settings"]
    tags = Tags(page)
    assert len(tags.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {use["href"] for use in tags.all("use")} <= {f"#{name}" for name in ids}
    cells = {link["href"] for link in tags.all("a")}
    assert len(cells) == np.count_nonzero(found.evaluation.confusion_matrix)
    assert cells <= {f"#{name}" for name in ids}
    assert page.count(b'class="cursor"') == 6


def test_its_data_are_those_of_the_library(digits: tuple[api.RunReport, bytes], trained_once: Path) -> None:
    found, page = digits
    data, model = data_of(page), library.load(trained_once / "runs/digits-1")
    rows = [json.loads(line) for line in (trained_once / "runs/digits-1/metrics.jsonl").read_text().splitlines()]
    (series,) = data["series"][0]
    assert series["val_loss"] == [row["val_loss"] for row in rows]
    assert series["layers.update_ratio.2"] == [row["layers"]["update_ratio"][2] for row in rows]
    assert data["series"] == [list(found.series)]
    (weights,) = data["network"]["members"]
    assert base64.b64decode(weights) == model.predictor.model.members[0].astype("<f4").tobytes()
    assert data["ink"] == pytest.approx(found.explanation.pixels.ravel().tolist(), abs=1e-4)
    text = Tags(page).text
    evaluation = model.evaluate()
    assert f"{round(evaluation.accuracy * evaluation.n)} of {evaluation.n}" in text
    assert found.explanation.loss_formula in text
    assert found.explanation.path == evaluation.worst_answers[0].sample


def test_each_unit_has_the_digits_that_excite_it_most(digits: tuple[api.RunReport, bytes]) -> None:
    found, _ = digits
    unit = found.units[7]
    layer = found.model.predictor.networks[0].layers[0]
    np.testing.assert_array_equal(unit.weights.ravel(), layer.weight[:, 7])
    own = found.evaluation.worst_answers
    grids = np.array([one.pixels for one in own]) * found.model.predictor.scaling.max_value
    sums = found.model.predictor.scaling.apply(grids) @ layer.weight[:, 7] + layer.bias[7]
    assert unit.excited_by[0].sample == own[int(sums.argmax())].sample
    assert [one.sum for one in unit.excited_by] == pytest.approx(np.sort(sums)[::-1][:4].tolist(), rel=1e-4)


def test_the_document_of_a_report_is_plain_json(digits: tuple[api.RunReport, bytes]) -> None:
    document = json.loads(json.dumps(digits[0].to_dict(), allow_nan=False))
    assert document["schema"] == "backprop.report/1"
    assert document["best_epoch"] == 14


def test_an_ensemble_with_a_temperature_is_drawn_with_all_its_networks(work: Path) -> None:
    settings = ("--set", "ensemble=2", "--set", "calibration={temperature: 0.7}", "--set", "network.layers=[]")
    answer("train", "-c", "quick", *QUICK, *settings)
    found = api.report()
    page = pages.run_page(found)
    assert len(found.series) == 2
    assert len(data_of(page)["network"]["members"]) == 2
    assert "Each of its 2 networks is a line" in Tags(page).text
    assert len(found.units) == 10  # without a hidden layer: the classes


def test_a_run_without_a_test_part_shows_its_validation_part(work: Path) -> None:
    answer("train", "-c", "quick", *QUICK, "--set", "data.test_size=0")
    assert "<h2>Validation part</h2>" in pages.run_page(api.report()).decode()


def test_a_run_whose_data_are_gone_shows_the_rest(work: Path) -> None:
    images = np.random.default_rng(0).integers(0, 17, (60, 8, 8))
    np.savez(work / "mine.npz", images=images, labels=np.arange(60) % 3)
    answer("train", "-c", "quick", *QUICK, "--set", "data.source=mine.npz", "--set", "data.picture=raw")
    (work / "mine.npz").unlink()
    found = api.report()
    assert sections(pages.run_page(found)) == ["training", "weights", "settings"]
    assert "mine.npz" in found.notes[0]


def test_a_run_without_a_model_shows_its_training(tiny: Path) -> None:
    (tiny / "model.safetensors").unlink()
    found = api.report()
    assert sections(pages.run_page(found)) == ["training", "settings"]
    assert "no model" in found.notes[0]


def test_weights_that_are_too_many_stay_out_and_that_is_said(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_WEIGHT_BYTES", 2410 * 4 - 1)
    page = pages.run_page(api.report())
    assert "network" not in data_of(page)
    assert "The weights do not travel in this file: they are more than 2 MB." in Tags(page).text
    monkeypatch.setattr(api, "MAX_WEIGHT_BYTES", 2410 * 4)
    assert "network" in data_of(pages.run_page(api.report()))


def test_a_long_training_is_thinned_to_what_can_be_seen() -> None:
    rows = [{"epoch": epoch, "loss": 1.0 / epoch} for epoch in range(1, 2002)]
    notes: list[str] = []
    (series,) = api._series(rows, 1, notes)
    assert len(series["epoch"]) <= 1000
    assert (series["epoch"][0], series["epoch"][-1]) == (1.0, 2001.0)
    assert series["val_loss"][0] is None
    assert notes == ["of 2,001 epochs one in 3 is drawn"]


# ---- nothing gets in, nothing gets out -----------------------------------------------------------------------------


def test_nothing_may_run_or_be_fetched_but_its_own_style_and_script(digits: tuple[api.RunReport, bytes]) -> None:
    page = digits[1].decode()
    tags = Tags(digits[1])
    (policy,) = (meta["content"] for meta in tags.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for pattern in (r"<style>(.*?)</style>", r"<script>(.*?)</script>"):
        (content,) = re.findall(pattern, page, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() in policy
    for tag, attributes in tags.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "form", "base"}
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src")], (tag, attributes)
        assert (attributes.get("href") or "#").startswith("#")


def test_names_of_strangers_are_text(work: Path) -> None:
    names = ["<b>", "</script><script>alert(1)</script>", '" onclick="x', "&lt;"]
    images = np.random.default_rng(0).integers(0, 17, (80, 8, 8))
    np.savez(work / "<i>.npz", images=images, labels=np.array(names)[np.arange(80) % 4])
    settings = ("--set", "data.source='<i>.npz'", "--set", "data.picture=raw", "--set", "data.split=stratified")
    answer("train", "-c", "quick", *QUICK, *settings, "--run-dir", "runs/<u>&")
    page = pages.run_page(api.report("runs/<u>&"))
    tags = Tags(page)
    assert len(tags.all("script")) == 2
    assert not {"i", "u"} & {tag for tag, _ in tags.tags}
    assert len(tags.all("b")) == len(re.findall(rb'<b class="(?:plus|minus)">', page))
    assert all(f in tags.text for f in ("<b>", "</script><script>alert(1)</script>", "<u>&"))
    assert data_of(page)["network"]["classes"] == sorted(names)


def test_neither_home_nor_user_is_in_it(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = work / "homes" / "bob smith"
    (home / "digits").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    images = np.random.default_rng(0).integers(0, 17, (60, 8, 8))
    np.savez(home / "digits/mine.npz", images=images, labels=np.arange(60) % 3)
    settings = ("--set", f"data.source={home}/digits/mine.npz", "--set", "data.picture=raw")
    answer("train", "-c", "quick", *QUICK, *settings, "--run-dir", home / "first")
    answer("train", "-c", "quick", *QUICK, "--run-dir", home / "second")
    reports = [api.report(home / name) for name in ("first", "second")]
    for page in (pages.run_page(reports[0]), pages.comparison_page(reports)):
        text = page.decode()
        assert "mine.npz" in text
        assert not re.search(r"bob|smith|homes|/tmp", text)
    (home / "digits/mine.npz").unlink()
    assert not re.search(r"bob|smith|homes", pages.run_page(api.report(home / "first")).decode())


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("/home/bob/x.npz: gone", "x.npz: gone"),
        ("data.source: ~/a/b.csv:17", "data.source: b.csv:17"),
        ("../../bob/runs/a and C:\\Users\\bob\\b.png", "a and b.png"),
        ("f(z) = 1 / (1 + exp(-z)), 1/2 (p - t)^2 and and/or", "f(z) = 1 / (1 + exp(-z)), 1/2 (p - t)^2 and and/or"),
        (r"\x1b[2J\x1b", r"\x1b[2J\x1b"),
    ],
)
def test_paths_are_shortened_to_names(text: str, short: str) -> None:
    assert shortened(text) == short


# ---- several runs --------------------------------------------------------------------------------------------------


def test_several_runs_stand_beside_each_other(tiny: Path) -> None:
    answer("train", "-c", "quick", *QUICK, "--set", "optimizer.learning_rate=1e-3", "--seed", "1")
    answer("train", "-c", "quick", *QUICK, "--set", "data.split=ordered")
    reports = [api.report(name) for name in ("quick-1", "quick-2", "quick-3")]
    differences = config_differences(reports)
    assert differences == {
        "seed": ("0", "1", "0"),
        "data.split": ("stratified", "stratified", "ordered"),
        "optimizer.learning_rate": ("0.003", "0.001", "0.003"),
    }
    same, *others = accuracy_differences(reports)
    assert "of the" in same.reason or "the same of" in same.reason
    assert all("measured on other rows" in one.reason for one in others)
    page = pages.comparison_page(reports)
    assert sections(page) == ["figures", "differences", "training", "settings", "findings"]
    text = Tags(page).text
    assert all(word in text for words in [differences, *differences.values()] for word in words)
    assert data_of(page)["series"] == [list(one.series) for one in reports]


def test_a_difference_is_borne_only_if_its_interval_leaves_out_chance(tiny: Path) -> None:
    found = api.report().evaluation
    right = [one._replace(predicted=one.label) for one in found.answers]
    wrong = [one._replace(predicted="x") for one in right]

    def judged(n: int) -> Any:
        first = Changed(found, (*right,))
        second = Changed(found, (*wrong[:n], *right[n:]))
        return accuracy_differences([Changed.report(first), Changed.report(second)])[0]

    assert [judged(n).is_borne for n in (0, 3, 4, 40)] == [False, False, True, True]
    assert judged(40).difference == pytest.approx(40 / found.n)


class Changed:
    """An evaluation with other answers."""

    def __init__(self, found: Any, answers: tuple[Any, ...]) -> None:
        self.answers, self.n = answers, len(answers)
        self.accuracy = sum(one.label == one.predicted for one in answers) / self.n

    @staticmethod
    def report(evaluation: Changed) -> Any:
        """Return a report of which only this is known."""
        return type("Report", (), {"evaluation": evaluation})


def test_more_runs_than_colors_are_refused(tiny: Path) -> None:
    assert "9 runs: at most 8" in refusal("report", *["quick-1"] * 9)


# ---- the commands --------------------------------------------------------------------------------------------------


def test_the_command_writes_a_file_named_after_the_run_and_none_over_another(tiny: Path) -> None:
    assert re.fullmatch(r"report      quick-1\.html \([\d,]+ kB\)\n", answer("report"))
    before = Path("quick-1.html").read_bytes()
    assert "already exists; --force overwrites it" in refusal("report", "quick-1")
    assert Path("quick-1.html").read_bytes() == before
    answer("report", tiny, "--force", "--picture", "digits:7")
    assert b"digits:7, what the network sees" in Path("quick-1.html").read_bytes()
    answer("report", "quick-1", "runs/quick-1", "-o", "both.html")
    assert b"quick-1 and quick-1" in Path("both.html").read_bytes()
    assert "must end in .html" in refusal("report", "-o", "x.txt")
    assert "no such run" in refusal("report", "nothing")
    assert "samples are counted" in refusal("report", "--picture", "digits:99999", "-o", "y.html")
    assert not Path("y.html").exists()


def test_train_writes_its_report_at_the_end(work: Path) -> None:
    result = backprop("train", "-c", "quick", *QUICK, "--report")
    assert result.exit_code == 0
    assert "report: runs/quick-1/report.html" in result.stderr
    assert b"<h1>quick-1</h1>" in Path("runs/quick-1/report.html").read_bytes()


def test_explain_writes_a_page_with_its_worksheet_and_the_key_apart(tiny: Path) -> None:
    answer("explain", "digits:1425", "--html", "digit.html", "--path", "20,3,9")
    page = Path("digit.html").read_bytes()
    sheet, key = (part.partition("</section>")[0] for part in page.decode().split('<section class="sheet">')[1:])
    assert "pixel 20 -&gt; unit 3 of layer 1 -&gt; class 9" in sheet
    assert "________ (1)" in sheet
    assert key.startswith("<h2>Key</h2>")
    assert "(1)" in key
    assert sections(page) == ["explained", "play"]
    assert "already exists" in refusal("explain", "digits:1425", "--html", "digit.html")


def test_the_pretrained_model_explains_a_picture_of_its_own_size(work: Path) -> None:
    shutil.copy(Path(library.__file__).parents[1] / "data/samples/4-1419.png", "four.png")
    answer("explain", "four.png", "--html", "four.html", "-m", "pretrained")
    data = data_of(Path("four.html").read_bytes())
    assert len(data["ink"]) == 256
    assert len(data["network"]["members"]) == 4
