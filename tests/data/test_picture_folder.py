import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backprop_cli.data.image import read_picture
from backprop_cli.data.normalize import normalize_many
from backprop_cli.data.readers import picture_folder
from backprop_cli.data.readers.picture_folder import LAYOUTS
from backprop_cli.data.sources import load_source
from backprop_cli.errors import DataError

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of the classes 0, 1, 2 and 10 with three pictures each."""
    for path in sorted(SAMPLES.glob("[0-3]-*")):
        place = tmp_path / "mine" / path.name[0].replace("3", "10")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return tmp_path / "mine"


def problems(folder: Path, **options: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        load_source(str(folder), **options)
    return caught.value.problems


def stroke(path: Path, across: bool = False) -> None:
    pixels = np.full((24, 24), 255, np.uint8)
    pixels[(slice(10, 13), slice(3, 21)) if across else (slice(3, 21), slice(10, 13))] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_pictures_become_counts_labeled_with_their_folders(folder: Path) -> None:
    data = load_source(str(folder))
    assert (len(data), data.picture_size, data.max_value, data.n_skipped) == (12, (8, 8), 16.0, 0)
    assert data.classes == ("0", "1", "2", "10")
    assert data.pictures.dtype == np.uint8
    assert data.name == str(folder)
    files = [path for name in ("0", "1", "10", "2") for path in sorted((folder / name).iterdir())]
    assert [data.classes[label] for label in data.labels] == [path.parent.name for path in files]
    expected = normalize_many([read_picture(path).levels for path in files], slant="moments")
    np.testing.assert_array_equal(data.pictures, expected)


def test_pictures_are_brought_to_the_size_asked_for(folder: Path) -> None:
    data = load_source(str(folder), picture=(20, 12))
    assert data.pictures.shape == (12, 20, 12)
    assert 0 < data.pictures.max() <= 16


def test_hidden_files_are_not_looked_at_and_endings_may_be_in_capitals(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "0/.hidden.png").write_bytes(b"x")
    next((folder / "1").iterdir()).rename(folder / "1/A.PNG")
    assert len(load_source(str(folder))) == 12


def spoil(folder: Path) -> list[str]:
    """Put bad files among the good; return what is wrong with them."""
    (folder / "0/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (folder / "1/blank.png").parent.mkdir(exist_ok=True)
    Image.new("L", (20, 20), 255).save(folder / "1/blank.png")
    (folder / "1/inner").mkdir()
    (folder / "2/notes.txt").write_text("x")
    os.mkfifo(folder / "2/pipe.png")
    (folder / "2/folder.png").mkdir()
    (folder / "loose.png").write_bytes(b"")
    return [
        f"{folder}/0/broken.png: ",
        f"{folder}/1/blank.png: blank",
        f"{folder}/2/pipe.png: not a regular file",
    ]


def test_all_bad_files_are_named(folder: Path) -> None:
    expected = spoil(folder)
    head, *told = problems(folder)
    assert head == f"{folder}: 3 bad rows; data.skip_bad: true leaves them out"
    assert [line[: len(start)] for line, start in zip(told, expected, strict=True)] == expected
    assert not any(line.count(str(folder)) > 1 for line in told)


def test_bad_files_are_left_out_where_that_is_asked_for(folder: Path) -> None:
    before = load_source(str(folder))
    spoil(folder)
    data = load_source(str(folder), skip_bad=True)
    assert (len(data), data.n_skipped) == (12, 3)
    assert data.notes == ("2 files left out (not a picture of a class): notes.txt, loose.png",)
    np.testing.assert_array_equal(data.pictures, before.pictures)
    np.testing.assert_array_equal(data.labels, before.labels)


def test_more_than_ten_bad_files_are_counted(folder: Path) -> None:
    for k in range(25):
        (folder / f"2/{k:02}.png").write_bytes(b"")
    head, *told, more = problems(folder)
    assert head == f"{folder}: 25 bad rows; data.skip_bad: true leaves them out"
    assert [line.partition(":")[0] for line in told] == [f"{folder}/2/{k:02}.png" for k in range(10)]
    assert more == f"{folder}: and 15 more"


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_folder_without_classes_or_without_a_readable_picture_is_refused(skip_bad: bool, tmp_path: Path) -> None:
    def refused(why: str) -> None:
        assert problems(tmp_path, skip_bad=skip_bad) == (f"{tmp_path}: {why}; {LAYOUTS}",)

    refused("no folders of classes, and no pictures")
    shutil.copy(SAMPLES / "1-1416.png", tmp_path)
    refused("no folders of classes, and the pictures' names do not contain a class")
    (tmp_path / "a").mkdir()
    refused("no folders of classes, and the pictures' names do not contain a class")
    (tmp_path / "1-1416.png").unlink()
    (tmp_path / "a/x.png").write_bytes(b"")
    refused("pictures of one class")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x.png").write_bytes(b"")
    assert problems(tmp_path, skip_bad=skip_bad)[0] == f"{tmp_path}: 2 bad rows and no good one"
    stroke(tmp_path / "a/x.png")
    if skip_bad:
        assert problems(tmp_path, skip_bad=True) == (f"{tmp_path}: 1 classes; expected 2 to 1,000",)


def test_a_class_with_an_unprintable_name_is_refused(folder: Path) -> None:
    (folder / "0").rename(folder / "\x1b[2J")
    assert problems(folder) == (f'{folder}: the class "\x1b[2J" is not 1 to 100 printable characters',)


def test_a_folder_that_may_not_be_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", forbidden)
    assert problems(folder) == (f"{folder}: Permission denied",)


@pytest.mark.slow
def test_processes_read_what_one_reads_and_progress_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(folder)
    for k in range(150):
        stroke(folder / f"{k % 3}/{k}.png", across=k % 2 == 0)
    told: list[tuple[int, int]] = []
    one = load_source(str(folder), skip_bad=True, progress=lambda *count: told.append(count))
    assert told == [(64, 165), (128, 165), (165, 165)]
    (_, *problems_of_one) = problems(folder)
    monkeypatch.setattr(picture_folder, "MANY", 100)
    for n_cores in (1, 3):
        monkeypatch.setattr(picture_folder, "n_cores", lambda n=n_cores: n)
        again: list[tuple[int, int]] = []
        several = load_source(str(folder), skip_bad=True, progress=lambda *count, again=again: again.append(count))
        np.testing.assert_array_equal(several.pictures, one.pictures)
        np.testing.assert_array_equal(several.labels, one.labels)
        assert (several.n_skipped, again) == (one.n_skipped, told)
    assert problems(folder)[1:] == tuple(problems_of_one)


def test_whoever_listens_may_leave(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    monkeypatch.setattr(picture_folder, "MANY", 1)

    def leave(n_done: int, n_all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_source(str(folder), progress=leave)
    assert not multiprocessing.active_children()


def test_processes_say_nothing_of_damaged_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "0/packed.tif"
    Image.effect_noise((50, 50), 50).save(path, compression="tiff_lzw")
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 10 + content[110:])
    monkeypatch.setattr(picture_folder, "MANY", 1)
    assert problems(folder)[1] == f"{path}: damaged picture (decoder error -2); save it again"
    assert capfd.readouterr() == ("", "")


def kill(*task: Any) -> Any:
    os._exit(9)


def test_a_killed_process_is_told_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_folder, "MANY", 1)
    monkeypatch.setattr(picture_folder, "_read_chunk", kill)
    assert problems(folder) == (
        f"{folder}: a process reading pictures was killed; perhaps there was too little memory",
    )
