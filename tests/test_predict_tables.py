"""`predict` takes tables: a row an answer, with labels or without, as lines, as JSON and as a table."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import answer, backprop, document, refusal
from foreign import FORMS, csv, labels, large, save, save_pictures

import backprop_cli as library
from backprop_cli.cli.predict import csv_lines
from backprop_cli.data.dataset import load_digits
from backprop_cli.store.model_file import load_model, save_model

OTHERS, THEIRS = large(1000, 60), labels(1000, 60)


@pytest.fixture(scope="module")
def trained_on_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    source = csv(folder / "train.csv", large(0, 400), labels(0, 400))
    library.train("quick", overrides={"data.source": str(source)}, run_dir=folder / "run")
    return folder


@pytest.fixture
def trained(trained_on_rows: Path, work: Path) -> Path:
    """Give a working directory with a run that learned from 28x28 arrays."""
    shutil.copytree(trained_on_rows / "run", work / "runs/quick-1")
    (work / "runs/latest").write_text("quick-1\n")
    return work


def test_kaggles_two_files_from_start_to_finish(trained: Path) -> None:
    table = csv(trained / "test.csv", OTHERS)
    assert backprop("predict", table, "--csv", "answers.csv").exit_code == 0
    head, *rows = Path("answers.csv").read_text().splitlines()
    assert head == "ImageId,Label"
    assert [row.split(",")[0] for row in rows] == [str(k) for k in range(1, 61)]
    right = [row.split(",")[1] == str(label) for row, label in zip(rows, THEIRS, strict=True)]
    assert np.mean(right) == pytest.approx(
        document("eval", "--data", save(trained / "o.npz", OTHERS, THEIRS))["accuracy"]
    )
    assert answer("predict", table, "--csv", "-").splitlines() == [head, *rows]


def test_every_form_of_a_table_gives_the_same_answers(trained: Path) -> None:
    np.save(trained / "rows.npy", OTHERS)
    np.save(trained / "flat.npy", OTHERS.reshape(60, -1))
    (trained / "folder").mkdir()
    np.save(trained / "folder" / "images.npy", OTHERS)
    header = bytes((0, 0, 8, 3)) + b"".join(side.to_bytes(4, "big") for side in OTHERS.shape)
    (trained / "t10k-images-idx3-ubyte").write_bytes(header + OTHERS.tobytes())
    np.savez(trained / "only.npz", images=OTHERS)
    sources = ["rows.npy", "flat.npy", "folder", "t10k-images-idx3-ubyte", "only.npz"]
    sources += [csv(trained / "without.csv", OTHERS), csv(trained / "with.csv", OTHERS, THEIRS)]
    sources += [csv(trained / "bare.csv", OTHERS, header=False)]
    sources += [save(trained / f"{form}.npz", FORMS[form](OTHERS), THEIRS) for form in ("paper", "unit", "transposed")]
    found = {answer("predict", source, "--csv", "-") for source in sources}
    assert len(found) == 1


def test_a_row_is_called_by_its_number_and_may_be_asked_for_by_it(trained: Path) -> None:
    table = csv(trained / "test.csv", OTHERS)
    found = document("predict", table)["predictions"]
    assert [one["path"] for one in found] == [f"{table}:{k}" for k in range(60)]
    (one,) = document("predict", f"{table}:17")["predictions"]
    for key in ("path", "predicted", "pixels"):
        assert one[key] == found[17][key]
    assert f"{table}:60: its rows are counted from 0 to 59" in refusal("predict", f"{table}:60")
    assert "I am " in answer("predict", table).splitlines()[59]
    assert document("explain", f"{table}:17")["label_source"] == "guess"
    assert document("explain", f"{table}:17", "--label", "1")["label"] == "1"


@pytest.mark.slow
def test_names_that_one_command_prints_are_names_that_the_others_take(trained: Path) -> None:
    table = csv(trained / "labeled.csv", OTHERS, THEIRS)
    for digit in "0123456789":
        kept = [k for k in range(60) if str(THEIRS[k]) == digit]
        (trained / "mine").mkdir(exist_ok=True)
        save_pictures(trained / "mine" / digit, OTHERS[kept])
    for source in (table, "mine"):
        one = document("eval", "--data", source)["answers"][17]
        name, label = one["sample"], one["label"]
        assert (name == f"{table}:17") if source == table else Path(name).is_file()
        (found,) = document("predict", name)["predictions"]
        assert (found["path"], found["predicted"]) == (name, one["predicted"])
        assert answer("data", "show", name, "-c", "quick").startswith(f"{name} is a")
        explained = document("explain", name)
        assert explained["path"] == name
        if source == table:  # what a lone picture shows, nobody has said
            assert (explained["label"], explained["label_source"]) == (label, "known")
    missing = str(trained / "mine" / "3" / "none.png")
    assert refusal("data", "show", missing, "-c", "quick").startswith(
        f"error: {missing}: not the name of a row, such as"
    )
    assert "error: digits:1797: rows are counted from 0 to 1796" in refusal("data", "show", "digits:1797")
    assert answer("data", "show", "pens:17", "-c", "quick", "--set", "data.picture=8x8").startswith("pens:17 is a 7")
    assert "the row is named already" in refusal("data", "show", "digits:3", "--index", "3")


def test_a_bad_row_has_an_error_and_the_others_keep_their_numbers(trained: Path) -> None:
    images = OTHERS.astype(int)
    images[[7, 59], 3, 5] = -4
    table = csv(trained / "odd.csv", images, THEIRS)
    result = backprop("predict", table, "--csv", "answers.csv")
    assert result.exit_code == 1
    assert f"{table}:7: a bad row; expected as many numbers" in result.stderr
    rows = [line.split(",") for line in Path("answers.csv").read_text().splitlines()[1:]]
    whole = csv(trained / "whole.csv", OTHERS)
    right = [one["predicted"] for one in document("predict", whole)["predictions"]]
    assert rows == [[str(k + 1), "" if k in (7, 59) else right[k]] for k in range(60)]
    assert f"{table}:7: a bad row" in refusal("predict", f"{table}:7")
    assert f"{table}:60: its rows are counted from 0 to 59" in refusal("predict", f"{table}:60")
    found = document("eval", "--data", table)  # what is good is measured, and called as in the file
    assert [one["sample"] for one in found["answers"]] == [f"{table}:{k}" for k in range(59) if k != 7]
    assert document("explain", f"{table}:8")["label"] == str(THEIRS[8])


def test_a_blank_row_is_answered_and_warned_of(trained: Path) -> None:
    images = OTHERS[:5].copy()
    images[1], images[3] = 0, 255
    answers = document("predict", csv(trained / "odd.csv", images))["predictions"]
    blank = [any("blank" in warning for warning in one["warnings"]) for one in answers]
    assert blank == [False, True, False, True, False]


def test_what_is_read_is_never_written_over(trained: Path) -> None:
    table = csv(trained / "test.csv", OTHERS, THEIRS)
    before = Path(table).read_bytes()
    assert "is the file being read" in refusal("predict", table, "--csv", "test.csv")
    assert "is the file being read" in refusal("eval", "--data", table, "--csv", "./test.csv")
    assert Path(table).read_bytes() == before


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_a_row_has_a_number(command: str, trained: Path) -> None:
    table = csv(trained / "test.csv", OTHERS)
    for odd in ("-1", "x", "1.5", ""):
        assert f"{table}:{odd}: rows are counted from 0, such as {table}:0" in refusal(command, f"{table}:{odd}")
    if command == "explain":
        assert f"{table}: a table; name one of its rows" in refusal(command, table)


def test_rows_of_idx_files_are_asked_for_by_the_names_that_are_printed(trained: Path) -> None:
    header = bytes((0, 0, 8, 3)) + b"".join(side.to_bytes(4, "big") for side in OTHERS.shape)
    (trained / "t10k-images-idx3-ubyte").write_bytes(header + OTHERS.tobytes())
    third = document("predict", "t10k-images-idx3-ubyte")["predictions"][3]
    assert document("predict", third["path"])["predictions"][0]["predicted"] == third["predicted"]


def test_other_sizes_go_through_the_normalizer_too(trained: Path) -> None:
    digits = load_digits()
    source = save(trained / "own.npz", digits.pictures[:50], digits.labels[:50])
    assert len(document("predict", source)["predictions"]) == 50
    model = library.load("pretrained")
    read = [one.predicted for one in model.predict_many(source)]
    assert np.mean([name == str(label) for name, label in zip(read, digits.labels[:50], strict=True)]) > 0.9


def test_what_is_no_table_is_refused_in_one_line(trained: Path) -> None:
    for name, words in (("no.csv", "there is no such file"), ("no.npy", "there is no such file")):
        assert refusal("predict", name).endswith(f"error: {name}: {words}\n")
    Path("bad.npy").write_bytes(b"\x93NUMPY but no more")
    assert "bad.npy: not a plain array" in refusal("predict", "bad.npy")
    np.save("objects.npy", np.array([{}], object), allow_pickle=True)
    assert "objects.npy: holds Python objects, which may run code" in refusal("predict", "objects.npy")
    np.savez("none.npz", labels=THEIRS)
    assert "needs the arrays images" in refusal("predict", "none.npz")
    assert "--csv: cannot be used with --json" in refusal("predict", "no.csv", "--csv", "-", "--json")
    np.save("labels_missing.npy", OTHERS)
    assert "holds no labels" in refusal("train", "-c", "quick", "--set", "data.source=labels_missing.npy")


def test_a_folder_of_folders_is_read_picture_by_picture(trained: Path) -> None:
    from foreign import save_pictures

    (trained / "mine").mkdir()
    paths = save_pictures(trained / "mine" / "3", OTHERS[:2]) + save_pictures(trained / "mine" / "4", OTHERS[2:3])
    lines = answer("predict", str(trained / "mine"), "--csv", "-").splitlines()
    assert lines[0] == "path,label,probability"
    assert [line.split(",")[0] for line in lines[1:]] == paths


def test_a_cell_that_a_spreadsheet_would_run_is_text() -> None:
    names = ("=1+1", "+x", "-x", "@x", "plain", 'a "b", c')
    answers = [
        library.Prediction(path=name, predicted=name, probability=0.5, probabilities={name: 0.5}) for name in names
    ]
    assert [line.rsplit(",", 1)[0] for line in csv_lines(answers, is_table=False)][1:] == [
        *(f"'{name},'{name}" for name in names[:4]),
        "plain,plain",
        '"a ""b"", c","a ""b"", c"',
    ]


def test_full_ink_that_was_said_holds_for_tables_as_for_eval(work: Path) -> None:
    source = save(work / "train.npz", large(0, 400), labels(0, 400))
    settings = ("--set", f"data.source={source}", "--set", "data.max_value=200")
    assert backprop("train", "-c", "quick", *settings, "--progress", "none").exit_code == 0
    others = save(work / "others.npz", OTHERS, THEIRS)
    read = [one["predicted"] for one in document("predict", others)["predictions"]]
    assert read == [one["predicted"] for one in document("eval", "--data", others)["answers"]]


def test_a_model_of_before_refuses_rows_of_another_size(work: Path) -> None:
    source = save(work / "train.npz", large(0, 400), np.array(list("abcdefghij"))[labels(0, 400)])
    assert backprop("train", "-c", "quick", "--set", f"data.source={source}", "--progress", "none").exit_code == 0
    path = work / "runs" / "quick-1" / "model.safetensors"
    model = load_model(path)
    save_model(path, replace(model, preprocessing={k: v for k, v in model.preprocessing.items() if k != "layout"}))
    assert len(document("predict", save(work / "same.npz", OTHERS, THEIRS))["predictions"]) == 60
    other = save(work / "other.npz", OTHERS[:, 4:24, 4:24], THEIRS)
    assert "the model reads pictures of 28x28 as they are; these are of 20x20" in refusal("predict", other)
