"""Files of other programs are refused unopened, with the line of Python that makes an npz of each."""

from __future__ import annotations

import gzip
import pickle
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import refusal
from scipy.io import savemat

from backprop_cli.data.readers.refused import FORMS, matches
from backprop_cli.data.sources import load_source
from backprop_cli.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)
LABELS = np.arange(20) % 10


def mat(path: Path) -> None:
    pixels = np.stack([IMAGES] * 3, axis=3).transpose(1, 2, 3, 0)
    savemat(path, {"X": pixels, "y": LABELS[:, None].astype(np.uint8)})


def arff(path: Path) -> None:
    names = [f"@attribute pixel{k} numeric" for k in range(784)]
    rows = [",".join(map(str, [*pixels, label])) for pixels, label in zip(IMAGES.reshape(20, -1), LABELS, strict=True)]
    path.write_text("\n".join(["@relation mnist", *names, "@attribute class {0,1,2,3,4,5,6,7,8,9}", "@data", *rows]))


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"images": IMAGES, "labels": LABELS}, 4))


def packed(path: Path) -> None:
    part = (IMAGES.reshape(20, -1), LABELS)
    path.write_bytes(gzip.compress(pickle.dumps((part, part, part), 2)))


def message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_source(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def line_of(path: Path) -> list[str]:
    """Return the command in a refusal, as a shell takes it apart."""
    python, *rest = shlex.split(message(path).partition("(adapt the names): ")[2])
    assert (python, rest[0], len(rest)) == ("python", "-c", 2)
    return [sys.executable, *rest]


@pytest.mark.parametrize(("name", "make"), [("a.mat", mat), ("a.arff", arff), ("a.pkl", pickled), ("a.pkl.gz", packed)])
def test_the_line_makes_an_npz_that_is_read(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    path = tmp_path / "some data" / name
    path.parent.mkdir()
    make(path)
    subprocess.run(line_of(path), check=True)
    found = load_source(str(path.parent / "a.npz"))
    assert np.array_equal(found.pictures, IMAGES)
    assert [found.classes[label] for label in found.labels] == LABELS.astype(str).tolist()


ENDINGS = [ending for form in FORMS for ending in form.endings]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_is_known(work: Path, ending: str) -> None:
    path = work / f"Train{ending.upper()}"
    assert message(path) == f"{path}: there is no such file"
    path.write_bytes(b"")
    command = line_of(path)
    compile(command[-1], "line", "exec")
    assert str(path) in command[-1]
    assert f"'{work / 'Train.npz'}'" in command[-1]
    assert "error: " + message(path) in refusal("train", "--dry-run", "-c", "quick", "--set", f"data.source={path}")
    assert message(path) in refusal("eval", "-m", "pretrained", "--data", path)


BEGINNINGS = {
    "Parquet": b"PAR1" + bytes(40),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "MATLAB": b"MATLAB 5.0 MAT-file, Platform: GLNXA64",
    "import h5py": b"MATLAB 7.3 MAT-file, Platform: GLNXA64",
    "a pickle": pickle.dumps([1], 2),
    "pickle.load(open": pickle.dumps([1], 5),
    "gzip.open": gzip.compress(pickle.dumps([1], 3)),
    "read_feather": b"ARROW1\0\0",
    "ARFF": b"@RELATION x\n",
}


@pytest.mark.parametrize("told", BEGINNINGS)
def test_files_are_known_by_what_they_begin_with(tmp_path: Path, told: str) -> None:
    path = tmp_path / "train"
    path.write_bytes(BEGINNINGS[told])
    assert told in message(path)


def test_matlab_of_either_kind_has_its_own_line(tmp_path: Path) -> None:
    for begin, module in ((b"MATLAB 5.0", "scipy.io"), (b"MATLAB 7.3", "h5py"), (b"", "scipy.io")):
        (tmp_path / "a.mat").write_bytes(begin)
        assert module in message(tmp_path / "a.mat")


class Trap:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


def test_nothing_is_unpickled(work: Path) -> None:
    content = pickle.dumps(Trap(), 4)
    for name in ("a.pkl", "a.pickle", "a.pt", "a.joblib", "a"):
        (work / name).write_bytes(content)
        assert "python -c" in message(work / name)
    (work / "a.pkl.gz").write_bytes(gzip.compress(content))
    assert "If you trust it" in message(work / "a.pkl.gz")
    assert not (work / "sprung").exists()


def test_a_name_that_a_shell_would_not_leave_alone_stays_out_of_the_line(tmp_path: Path) -> None:
    for name in ('a"; rm -rf $HOME; ".mat', "it's.mat", "`a`.mat", "a\n.mat", "a\\.mat"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataError) as caught:
            load_source(str(tmp_path / name))
        assert "loadmat('FILE.mat'); numpy.savez('FILE.npz', " in str(caught.value)


def test_what_is_none_of_these_is_none(tmp_path: Path) -> None:
    (tmp_path / "folder.mat").mkdir()
    for name, content in (
        ("text", b"5,0,0"),
        ("zip", b"PK\3\4"),
        ("gz", gzip.compress(b"5,0")),
        ("cut", b"\x1f\x8b\x08"),
    ):
        (tmp_path / name).write_bytes(content)
    assert not any(matches(str(path)) for path in (*tmp_path.iterdir(), tmp_path / "missing"))
