"""Other people's data: arrays and pictures go the same way, what was understood is said, what cannot be is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import backprop, document, refusal
from foreign import FORMS, csv, labels, large, save, save_pictures

import backprop_cli as library
from backprop_cli.config.config import load_config
from backprop_cli.data import kept_counts, resize
from backprop_cli.data.dataset import Dataset, load_digits
from backprop_cli.data.layout import Layout
from backprop_cli.data.sources import DataSettings, load_data
from backprop_cli.errors import DataError
from backprop_cli.experiment.split_data import SplitData

N, M = 400, 100  # to train on, to look at
IMAGES, DIGITS = large(0, N), labels(0, N)
OTHERS, THEIRS = large(1000, M), labels(1000, M)
DRY = ("train", "-c", "quick", "--dry-run", "--set")


def loaded(path: Path, form: str, **settings: Any) -> SplitData:
    source = save(path / f"{form}.npz", FORMS[form](IMAGES), DIGITS)
    keys = {f"data.{key}": value for key, value in settings.items()}
    return SplitData.load(load_config("quick", {"data.source": source, **keys}))


# ---- the same digits in every form ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Give the digits as they are read from bytes with bright ink on 0."""
    return loaded(tmp_path_factory.mktemp("plain"), "bytes").dataset


@pytest.mark.parametrize("form", [form for form in FORMS if form != "bytes"])
def test_every_form_of_the_same_digits_is_the_same_to_a_network(form: str, plain: Dataset, tmp_path: Path) -> None:
    other = loaded(tmp_path, form).dataset
    assert plain.picture_size == (28, 28)
    assert plain.max_value == other.max_value == 16.0
    differing = (plain.pictures != other.pictures).mean()
    assert differing <= (0.01 if "half" in form or "0" in form else 0.0)  # rounded before it came here


@pytest.mark.parametrize("form", ["bytes", "unit", "around 0", "paper"])
def test_a_table_of_text_is_the_same_as_its_arrays(form: str, tmp_path: Path) -> None:
    table = csv(tmp_path / "table.csv", FORMS[form](IMAGES[:50]), DIGITS[:50])
    array = save(tmp_path / "array.npz", FORMS[form](IMAGES[:50]), DIGITS[:50])
    found = [SplitData.load(load_config("quick", {"data.source": source})).dataset for source in (table, array)]
    np.testing.assert_array_equal(found[0].pictures, found[1].pictures)
    np.testing.assert_array_equal(found[0].labels, found[1].labels)


def test_lines_below_0_among_bytes_are_named_and_may_be_left_out(tmp_path: Path) -> None:
    images = IMAGES[:50].astype(int)
    images[[7, 9], 3, 5] = -1
    table = csv(tmp_path / "table.csv", images, DIGITS[:50])
    with pytest.raises(DataError, match=r"table\.csv, line 9: pixel 90 is \"-1\"") as told:
        load_data(DataSettings(table))
    assert f"{table}, line 11: " in str(told.value)
    assert load_data(DataSettings(table, skip_bad=True)).n_skipped == 2


@pytest.mark.parametrize("form", ["bytes", "unit", "around 0", "paper", "paper, unit"])
def test_rows_that_stay_as_they_are_are_bright_ink_on_0(form: str, tmp_path: Path) -> None:
    found = loaded(tmp_path, form, picture="raw").dataset
    assert found.is_raw
    ink = found.pictures / found.max_value
    np.testing.assert_allclose(ink, IMAGES / 255, atol=0.005)


def test_counts_of_the_digits_own_form_stay_as_they_are(tmp_path: Path) -> None:
    digits = load_digits()
    for divisor in (1, 16.0):
        source = save(
            tmp_path / "own.npz", digits.pictures / divisor if divisor > 1 else digits.pictures, digits.labels
        )
        found = SplitData.load(load_config("quick", {"data.source": source})).dataset
        assert np.array_equal(found.pictures, digits.pictures)
        assert not found.is_raw


def test_what_is_certain_can_be_said_otherwise(tmp_path: Path) -> None:
    found = loaded(tmp_path, "bytes", picture="raw", invert="yes", transpose=True).dataset
    np.testing.assert_allclose(found.pictures, 255 - IMAGES.transpose(0, 2, 1).astype(float), atol=1e-3)


@pytest.mark.parametrize("form", [pytest.param("bytes", marks=pytest.mark.slow), "transposed paper"])
@pytest.mark.parametrize("picture", [None, "raw"])
def test_pictures_are_read_as_rows_are(form: str, picture: str | None, work: Path) -> None:
    source = save(work / "mine.npz", FORMS[form](IMAGES), DIGITS)
    run = library.train(load_config("quick", {"data.source": source, "data.picture": picture}), run_dir=False)
    rows = run.model.evaluate(data=save(work / "others.npz", FORMS[form](OTHERS), THEIRS)).accuracy
    scaled = run.model.evaluate(data=save(work / "unit.npz", FORMS["unit"](OTHERS), THEIRS)).accuracy
    read = [one.predicted for one in run.model.predict_many(save_pictures(work / "pictures", OTHERS))]
    files = np.mean([name == str(label) for name, label in zip(read, THEIRS, strict=True)])
    assert rows == scaled
    assert rows > 0.7
    assert abs(rows - files) <= 0.03


def test_a_model_of_rows_as_they_are_keeps_how_they_lie(work: Path) -> None:
    names = np.array(list("abcdefghij"))[DIGITS]
    source = save(work / "letters.npz", IMAGES, names)
    result = backprop("train", "-c", "quick", "--set", f"data.source={source}", "--progress", "none")
    assert result.exit_code == 0
    assert "28x28, 0 to 255, as it is; 10 classes: a (41), " in result.stderr
    assert "set data.transpose=true" in result.stderr
    model = library.load()
    assert model.predictor.form.layout is not None
    assert b'\\"format\\":2' in (work / "runs" / "quick-1" / "model.safetensors").read_bytes()
    assert document("predict", save_pictures(work / "p", OTHERS)[0])["predictions"][0]["predicted"] in "abcdefghij"


# ---- layouts -------------------------------------------------------------------------------------------------------


def test_a_layout_tells_what_rows_have_in_common_and_lays_ink_so() -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros((200, 28, 28), np.float32)
    for row in rows:  # 20 high, of any width, its center of mass in the middle
        wide = int(rng.integers(6, 16))
        row[4:24, 14 - wide // 2 : 14 - wide // 2 + wide] = 1.0
    found = Layout.of(rows)
    assert (found.height, found.longer) == (20.0, 20.0)
    assert found.fit in ("height", "longer")
    drawn = np.zeros((300, 200), np.float32)
    drawn[20:220, 120:180] = 1.0
    laid = found.laid(drawn, (28, 28))
    inked = laid >= 0.5
    assert inked.any(axis=1).sum() == 20
    assert inked.any(axis=0).sum() == 6
    assert found.holds(laid)
    assert not found.holds(np.roll(laid, 6, axis=0))
    assert Layout.from_dict(found.to_dict()) == found
    assert not found.laid(np.zeros((5, 5), np.float32), (28, 28)).any()


# ---- said before anything is learned -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"images": np.concatenate([IMAGES, IMAGES[:9]]), "labels": np.concatenate([DIGITS, DIGITS[:9]])},
            "memory, not",
        ),
        ({"images": IMAGES // 3}, "match none of 0..1, 0..16, 0..255"),
        ({"images": np.where(np.arange(N)[:, None, None] < 3, 0, IMAGES)}, "3 rows (0, 1, 2) are blank or full of ink"),
        ({"labels": np.where(np.arange(N) == 7, 9, np.where(DIGITS == 9, 8, DIGITS))}, "1 row (7) is alone in 9"),
        (
            {"images": np.concatenate([IMAGES, IMAGES[:2]]), "labels": np.concatenate([DIGITS, DIGITS[:2] + 1])},
            "2 rows (400, 401) are equal to others of another class",
        ),
        ({"labels": np.where(DIGITS == 0, 10, DIGITS)}, 'set data.classes={10: "0"}'),
    ],
)
def test_a_warning_says_what_speaks_against_the_data(change: dict[str, Any], words: str, work: Path) -> None:
    source = save(work / "mine.npz", change.get("images", IMAGES), change.get("labels", DIGITS))
    result = backprop(*DRY, f"data.source={source}", "--set", "data.test_size=0.4")
    assert result.exit_code == 0, result.stderr
    assert words in result.stderr


def test_what_is_said_of_a_table_is_how_it_came(work: Path) -> None:
    digits = load_digits()
    unit = save(work / "unit.npz", (digits.pictures[:200] / 16).astype(np.float32), digits.labels[:200])
    assert (
        "unit.npz: 200 rows of 8x8, 0 to 1, counted at 8x8; 10 classes" in backprop(*DRY, f"data.source={unit}").stderr
    )
    whole = save(work / "whole.npz", digits.pictures[:200], digits.labels[:200])
    said = backprop("train", "-c", "pictures", "--dry-run", "--set", f"data.source={whole}").stderr
    assert "whole.npz: 200 rows of 8x8, 0 to 16, counted at 16x16; 10 classes" in said


def test_sound_data_are_said_in_one_line_and_warned_of_nothing(work: Path) -> None:
    source = save(work / "mine.npz", IMAGES, DIGITS)
    assert backprop(*DRY, f"data.source={source}").stderr == (
        f"{source}: 400 rows of 28x28, 0 to 255, counted at 28x28; 10 classes: 0 (41), 1 (41), 2 (41), 3 (42), 4 (39), "
        "5 (40), 6 (39), 7 (39), 8 (39), 9 (39); split stratified\n"
    )
    found = document(*DRY, f"data.source={source}")["data"]
    assert (found["rows"], found["range"], found["inverted"], found["classes"]["3"]) == (400, [0.0, 255.0], False, 42)


def test_sorted_rows_are_no_training_part_for_an_ordered_split(work: Path) -> None:
    order = np.argsort(DIGITS, kind="stable")
    source = save(work / "sorted.npz", IMAGES[order], DIGITS[order])
    line = refusal(*DRY, f"data.source={source}", "--set", "data.split=ordered")
    assert "data.split: ordered leaves no 7, 8, 9 to train on" in line
    assert line.endswith("set data.split=stratified\n")


@pytest.mark.parametrize("config", ["quick", "digits", "best", "best-ensemble", "deep", "mnist", "textbook"])
def test_every_bundled_config_takes_other_data_as_it_is(config: str, work: Path) -> None:
    source = save(work / "mine.npz", IMAGES, DIGITS)
    assert backprop("train", "-c", config, "--dry-run", "--set", f"data.source={source}").exit_code == 0


# ---- other data to measure on --------------------------------------------------------------------------------------


def test_a_test_set_may_lack_classes_and_an_unknown_one_is_named(work: Path) -> None:
    source = save(work / "mine.npz", IMAGES, DIGITS)
    assert backprop("train", "-c", "quick", "--set", f"data.source={source}", "--progress", "none").exit_code == 0
    few = THEIRS < 7
    found = document("eval", "--data", save(work / "few.npz", OTHERS[few], THEIRS[few]))
    assert [figures["support"] == 0 for figures in found["per_class"]] == [False] * 7 + [True] * 3
    names = np.array([f"{label:02d}" for label in THEIRS])
    line = refusal("eval", "--data", save(work / "named.npz", OTHERS, names))
    assert 'the model does not know the classes "00" (did you mean "0"?), "01" (did you mean "1"?)' in line


def test_the_answer_of_every_row_is_in_the_document_and_in_a_table(work: Path) -> None:
    source = save(work / "mine.npz", IMAGES, DIGITS)
    assert backprop("train", "-c", "quick", "--set", f"data.source={source}", "--progress", "none").exit_code == 0
    others = save(work / "others.npz", FORMS["paper"](OTHERS), THEIRS)
    result = backprop("eval", "--data", others, "--csv", "answers.csv", "--json")
    assert f"{others}: 100 rows of 28x28, 0 to 255, dark ink on a light background, counted at 28x28" in result.stderr
    found = json.loads(result.stdout)
    assert np.mean([one["label"] == one["predicted"] for one in found["answers"]]) == pytest.approx(found["accuracy"])
    head, *rows = Path("answers.csv").read_text().splitlines()
    assert (head, len(rows)) == ("sample,label,predicted,probability", 100)
    assert rows[17].startswith(f"{others}:17,{THEIRS[17]},")
    assert backprop("eval", "--data", others, "--csv", "-").stdout.splitlines() == [head, *rows]
    assert "--csv -: cannot be used with --json" in refusal("eval", "--csv", "-", "--json")


def test_many_rows_are_counted_by_all_cores_to_the_same_counts(monkeypatch: pytest.MonkeyPatch, work: Path) -> None:
    settings = {"data.source": save(work / "mine.npz", IMAGES, DIGITS)}
    alone = SplitData.load(load_config("quick", settings)).dataset.pictures
    monkeypatch.setattr(resize, "MANY", 100)
    monkeypatch.setattr(resize, "CHUNK_PICTURES", 90)
    seen: list[tuple[int, int]] = []
    shared = SplitData.load(load_config("quick", settings), lambda *count: seen.append(count)).dataset.pictures
    assert np.array_equal(alone, shared)
    assert seen[-1] == (400, 400)


@pytest.mark.slow
def test_counts_of_many_rows_are_made_once(monkeypatch: pytest.MonkeyPatch, work: Path) -> None:
    monkeypatch.setattr(resize, "MANY", 100)
    counted: list[int] = []

    def count(images: np.ndarray, **settings: Any) -> np.ndarray:
        counted.clear()
        source = save(work / "mine.npz", images, DIGITS)
        config = load_config("quick", {"data.source": source, **settings})
        return SplitData.load(config, lambda n, total: counted.append(n)).dataset.pictures

    first = count(IMAGES)
    assert counted
    assert np.array_equal(count(IMAGES), first)
    assert not counted  # it was there
    count(IMAGES, **{"data.picture": "16x16"})
    assert counted
    other = IMAGES.copy()
    other[7, 5, 5] = 200
    count(other)
    assert counted
    for path in (work / "cache" / "backprop").iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    assert np.array_equal(count(IMAGES), first)
    assert counted  # damaged ones are made anew
    monkeypatch.setattr(kept_counts, "MOST_FILES", 2)
    count(255 - other)
    assert len(list((work / "cache" / "backprop").iterdir())) == 2
    (work / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "file"))  # nowhere to keep anything
    assert np.array_equal(count(IMAGES), first)


def test_classes_may_be_given_other_names(work: Path) -> None:
    source = save(work / "svhn.npz", IMAGES, np.where(DIGITS == 0, 10, DIGITS))
    found = document(*DRY, f"data.source={source}", "--set", 'data.classes={10: "0"}')["data"]
    assert list(found["classes"]) == list("0123456789")
    assert found["classes"]["0"] == 41
    assert found["seen"] == "counted at 28x28"
    line = refusal(*DRY, f"data.source={source}", "--set", "data.classes=[a, b]")
    assert "data.classes: 2 names for the 10 classes 1, 2, 3, " in line
    line = refusal(*DRY, f"data.source={source}", "--set", 'data.classes={11: "0"}')
    assert "has no 11, but 1, 2, 3, " in line
