"""A run whose folder is moved together with its data goes on as before; data that changed under a run are refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
from command_line import answer, backprop, contents, document, refusal

TRAIN = ("train", "-c", "quick", "--epochs", "2", "--set", "data.split=stratified", "--set", "data.picture=8x8")
RUN = Path("runs/quick-1")
N = 90
IMAGES, LABELS = foreign.large(0, N), foreign.labels(0, N)


def folder_of_pictures(path: Path) -> None:
    path.mkdir(parents=True)
    for name in map(str, range(10)):
        foreign.save_pictures(path / name, IMAGES[str(name) == LABELS.astype(str)])


def folder_of_arrays(path: Path) -> None:
    path.mkdir(parents=True)
    np.save(path / "images.npy", IMAGES)
    np.save(path / "labels.npy", LABELS)


MAKE: dict[str, Callable[[Path], object]] = {
    "mine.npz": lambda path: foreign.save(path, IMAGES, LABELS),
    "mine.csv": lambda path: foreign.csv(path, IMAGES, LABELS),
    "pictures": folder_of_pictures,
    "arrays": folder_of_arrays,
}


@pytest.fixture
def project(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a project's folder with an empty `data/`; it is the working directory."""
    (work / "project" / "data").mkdir(parents=True)
    monkeypatch.chdir(work / "project")
    return work / "project"


def trained(*options: str, source: str = "mine.npz") -> None:
    MAKE[source](Path("data") / source)
    answer(*TRAIN, "--set", f"data.source=data/{source}", *options)


def moved(project: Path, to: str = "renamed/elsewhere") -> Path:
    """Move the project's folder, and go along with it."""
    new = project.parent / to
    new.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(project, new)
    os.chdir(new)
    return new


def environment_is(change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the run has recorded."""
    found = json.loads((RUN / "environment.json").read_text())
    change(found)
    (RUN / "environment.json").write_text(json.dumps(found))


def refused_thrice(about: str) -> None:
    """Check that nobody takes the data for the run's own: one line, exit code 2, nothing written."""
    before = contents(Path())
    for command, way_out in (
        (("eval",), "--data SOURCE measures on other data"),
        (("train", "--resume", "quick-1", "--epochs", "3"), "or start a new run"),
        (("verify",), "restore it to verify the run"),
    ):
        lines = [line for line in refusal(*command).splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert about in lines[0]
        assert lines[0].endswith(way_out)
    assert contents(Path()) == before


@pytest.mark.parametrize(
    "source", [pytest.param(source, marks=[pytest.mark.slow] * (source == "pictures")) for source in MAKE]
)
def test_a_project_that_is_moved_goes_on_as_before(project: Path, source: str) -> None:
    trained(source=source)
    shutil.copytree(RUN, "kept")
    answer("train", "--resume", "kept", "--epochs", "3")
    before = document("eval", "-m", "quick-1")
    new = moved(project)
    found = document("eval", "-m", "quick-1")
    assert (found["accuracy"], found["log_loss"]) == (before["accuracy"], before["log_loss"])
    assert found["worst"][0]["sample"].startswith(str(new / "data"))
    assert document("verify", "quick-1")["verdict"] == "equal"
    assert "test set" in answer("explain", "digits:3", "-m", "quick-1").partition("CORRECTION")[2]
    answer("train", "--resume", "quick-1", "--epochs", "3")
    for name in ("model.safetensors", "checkpoint.safetensors", "config.yaml", "environment.json"):
        wanted = Path("kept", name).read_bytes().replace(b'"../data/', b'"../../data/')
        assert (RUN / name).read_bytes() == wanted, name


def test_the_other_sources_move_along(project: Path) -> None:
    for name in ("mine.csv", "arrays"):
        MAKE[name](Path("data") / name)
    trained("--set", "data.test_source=data/mine.csv", "--set", "data.extra=[{source: data/arrays, share: 0.3}]")
    written = json.loads((RUN / "environment.json").read_text())["data"]
    paths = {"source": "../../data/mine.npz", "test_source": "../../data/mine.csv", "extra.0": "../../data/arrays"}
    assert {key: one["path"] for key, one in written.items()} == paths
    new = moved(project)
    found = document("eval")
    assert (found["n"], found["worst"][0]["sample"].partition(":")[0]) == (N, str(new / "data/mine.csv"))
    assert f"all of {new}/data/mine.csv" in " ".join(answer("eval").split())
    assert document("verify")["verdict"] == "equal"
    answer("train", "--resume", "quick-1", "--epochs", "3")
    shutil.copy("data/mine.csv", "copy.csv")
    settings = (RUN / "config.yaml").read_text().replace(str(project), str(new))
    Path("moved.yaml").write_text(settings)
    answer("train", "--resume", "quick-1", "-c", "moved.yaml")  # other places of the same data are no other settings
    Path("moved.yaml").write_text(settings.replace("data/mine.csv", "copy.csv"))
    assert refusal("train", "--resume", "quick-1", "-c", "moved.yaml").endswith("differ: data.test_source\n")
    np.save("data/arrays/images.npy", IMAGES[::-1])
    told = refusal("train", "--resume", "quick-1")
    assert f"error: data.extra.0: {new}/data/arrays: no longer what runs/quick-1 was trained on" in told
    foreign.csv(Path("data/mine.csv"), IMAGES[1:], LABELS[1:])
    assert (
        f"data.test_source: {new}/data/mine.csv: no longer what runs/quick-1 was trained on: 89 rows, not 90; --"
        in (refusal("eval"))
    )


def test_a_run_that_is_moved_alone_finds_its_data_where_they_are(project: Path) -> None:
    trained()
    Path("a/b/c").mkdir(parents=True)
    shutil.move(RUN, "a/b/c/run")
    assert document("eval", "-m", "a/b/c/run")["n"] == 18
    Path("a/data").mkdir()
    foreign.save(Path("a/data/mine.npz"), IMAGES[::-1], LABELS)  # which the recorded path now leads to, by chance
    shutil.move("a/b/c/run", "a/b/run")
    assert document("eval", "-m", "a/b/run")["worst"][0]["sample"].startswith(str(project / "data"))
    assert document("verify", "a/b/run")["verdict"] == "equal"


def test_a_model_that_is_copied_alone_names_its_data_and_the_way_out(project: Path) -> None:
    trained()
    shutil.copy(RUN / "model.safetensors", "mine.safetensors")
    assert document("eval", "-m", "mine.safetensors")["n"] == 18
    shutil.move("data", "gone")
    told = refusal("eval", "-m", "mine.safetensors").splitlines()[-1]
    where = f"error: {project}/data/mine.npz: there is no such file or folder"
    assert told == f"{where}; --data SOURCE measures on other data"
    assert document("eval", "-m", "mine.safetensors", "--data", "gone/mine.npz")["n"] == N
    refused_thrice(where)


def test_resume_takes_the_same_data_from_another_place(project: Path, stop_at: Callable[[int], None]) -> None:
    trained("--run-dir", "runs/whole", "--epochs", "6")
    stop_at(2)
    answer(*TRAIN, "--set", "data.source=data/mine.npz", "--epochs", "6", code=143)
    shutil.move("data", "new")
    foreign.save(Path("new/less.npz"), IMAGES[1:], LABELS[1:])
    told = refusal("train", "--resume", "quick-1", "--set", "data.source=new/less.npz")
    assert f"{project}/new/less.npz: not what runs/quick-1 was trained on: 89 rows, not 90; restore it, " in told
    assert "no such file" in refusal("train", "--resume", "quick-1", "--set", "data.source=new/more.npz")
    told = refusal("train", "--resume", "quick-1", "--set", "data.source=new/mine.npz", "--set", "data.test_size=0.3")
    assert told.endswith("differ: data.test_size\n")
    stop_at(2)
    answer("train", "--resume", "quick-1", "--set", "data.source=new/mine.npz", code=143)
    answer("train", "--resume", "quick-1")  # where they lie is known from now on
    for name in ("model.safetensors", "checkpoint.safetensors", "config.yaml"):
        assert (RUN / name).read_bytes() == Path("runs/whole", name).read_bytes(), name
    assert document("eval", "-m", "quick-1")["n"] == 18
    assert document("verify", "quick-1")["verdict"] == "equal"


ROWS = f"its {N} rows hold other pictures or labels"
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "a pixel": ({"images": np.where(np.arange(28 * 28).reshape(28, 28) == 400, 255 - IMAGES, IMAGES)}, ROWS),
    "two labels": ({"labels": np.concatenate([LABELS[1::-1], LABELS[2:]])}, ROWS),
    "fewer rows": ({"images": IMAGES[:-1], "labels": LABELS[:-1], "groups": LABELS[:-1] // 2}, "89 rows, not 90"),
    "more rows": (
        {key: np.tile(LABELS, 2) for key in ("labels", "groups")} | {"images": np.tile(IMAGES, (2, 1, 1))},
        "180 rows, not 90",
    ),
    "writers": ({"groups": LABELS // 3}, "other names of classes, or other writers"),
    "names": ({"labels": np.array([f"{k} apples" for k in LABELS])}, "other names of classes, or other writers"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_data_that_changed_under_a_run_are_refused(project: Path, change: str) -> None:
    arrays: dict[str, Any] = {"images": IMAGES, "labels": LABELS, "groups": LABELS // 2}
    np.savez("data/mine.npz", **arrays)
    answer(*TRAIN, "--set", "data.source=data/mine.npz", "--set", "data.split=writers")
    changed, about = CHANGES[change]
    np.savez("data/mine.npz", **arrays | changed)
    no_longer = f"{project}/data/mine.npz: no longer what runs/quick-1 was trained on: {about}"
    refused_thrice(f"error: {no_longer}; ")
    assert f"without the test set: {no_longer}" in " ".join(backprop("explain", "digits:3").stderr.split())
    if change != "names":
        assert document("eval", "--data", "data/mine.npz")["n"] == len(changed.get("labels", LABELS))
    np.savez("data/mine.npz", **arrays)
    assert document("verify")["verdict"] == "equal"


def test_what_an_older_run_has_not_recorded_is_not_missed(project: Path) -> None:
    trained()
    environment_is(lambda found: found.pop("data"))
    assert document("verify")["verdict"] == "equal"
    foreign.save(Path("data/mine.npz"), IMAGES[1:], LABELS[1:])
    refused_thrice("no longer what runs/quick-1 was trained on: its 89 rows hold other pictures or labels; ")
    environment_is(lambda found: found.pop("data_sha256"))
    assert document("eval")["n"] == 18
    told = refusal("train", "--resume", "quick-1", "--set", "data.source=data/other.npz")
    assert told.endswith("differ: data.source\n")
    answer("train", "--resume", "quick-1", "--epochs", "3")


def test_another_environment_is_a_warning_as_before(project: Path) -> None:
    trained()
    environment_is(lambda found: found.update(numpy="1.0"))
    told = backprop("train", "--resume", "quick-1", "--epochs", "3")
    assert told.exit_code == 0
    assert "warning: numpy: changed since the run began; the last bits may differ" in told.stderr


@pytest.mark.parametrize(
    "record", [[], {"source": 3}, {"source": {"path": 3}}, {"source": {"path": "\0\ud800"}}, "absolute"]
)
def test_records_that_lead_nowhere_are_not_followed(project: Path, record: Any) -> None:
    trained()
    shutil.copy("data/mine.npz", "other.npz")
    record = {"source": {"path": str(project / "other.npz")}} if record == "absolute" else record
    environment_is(lambda found: found.update(data=record))
    assert document("eval")["worst"][0]["sample"].startswith(str(project / "data"))


def test_a_damaged_record_is_named_and_prediction_needs_none(project: Path) -> None:
    trained()
    (RUN / "environment.json").write_text("{")
    told = "runs/quick-1/environment.json: not a JSON object"
    assert told in refusal("eval")
    assert told in refusal("train", "--resume", "quick-1")
    assert told in backprop("explain", "digits:3").stderr
    answer("predict", "digits:3")


def test_the_model_in_use_moves_along(project: Path) -> None:
    trained()
    answer("use", "quick-1")
    answer(*TRAIN)
    moved(project)
    assert "quick-1" in backprop("predict", "digits:3").stderr


def test_a_test_part_that_the_source_brought_and_that_is_gone_is_missed(project: Path) -> None:
    arrays = {"x_train": IMAGES, "y_train": LABELS}
    np.savez("data/mine.npz", **arrays, x_test=IMAGES[:20], y_test=LABELS[:20])
    answer(*TRAIN, "--set", "data.source=data/mine.npz")
    assert document("eval")["n"] == 20
    np.savez("data/mine.npz", **arrays)
    refused_thrice("its test part is gone")


def test_a_test_part_that_came_afterwards_is_not_taken(project: Path) -> None:
    trained()
    np.savez("data/mine.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:20], y_test=LABELS[:20])
    refused_thrice("it has a test part of its own now")


def test_a_moved_run_finds_the_test_part_that_its_source_brings(project: Path) -> None:
    np.savez("data/mine.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:20], y_test=LABELS[:20])
    answer(*TRAIN, "--set", "data.source=data/mine.npz")
    before = document("eval")
    moved(project)
    after = document("eval")
    assert (after["n"], after["accuracy"]) == (20, before["accuracy"])
    assert document("verify")["verdict"] == "equal"
    name = after["answers"][3]["sample"]
    assert name.endswith("data/mine.npz#test:3")
    assert answer("predict", name).startswith("I am ")
