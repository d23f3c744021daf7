import gzip
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from backprop_cli.data.readers import csv_file as tables
from backprop_cli.data.sources import load_source
from backprop_cli.errors import DataError

NO_SQUARE = (
    "pixels beside the label; expected a square number, such as 64 or 784 (an npz with images, (n, height, width), "
    "holds pictures of any shape)"
)
ROWS = "3,0,1,2,255\n7,4,5,6,7\n3,8,9,10,11\n"
PIXELS = [[[0, 1], [2, 255]], [[4, 5], [6, 7]], [[8, 9], [10, 11]]]


def written(path: Path, content: str | bytes) -> str:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return str(path)


def problems(source: str, **options: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        load_source(source, **options)
    return caught.value.problems


# ---- CSV -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV"])
@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        ROWS.rstrip("\n"),
        ROWS.replace("\n", "\r\n"),
        "\ufeff" + ROWS,
        "\n" + ROWS.replace("\n", "\n  \n"),
        "label,a,b,c,d\n" + ROWS,
        "\ufeffLabel,0,1,2,3\n" + ROWS,
        "digit,a,b,c,d\n" + ROWS,
        "0,1,2,3, CLASS \n0,1,2,255,3\n4,5,6,7,7\n8,9,10,11,3\n",
        'a,"target",b,c,d\n0,"3",1,2,255\n"4",7,5,6,7\n8,3,9,10,11\n',
        "3.0,0.0, 1,2,2.55e2\n7.000e+00,4,5,6,7.\n3.,8,9,10,11\n",
    ],
)
def test_the_forms_of_a_csv_file(name: str, text: str, tmp_path: Path) -> None:
    data = load_source(written(tmp_path / name, text))
    assert data.pictures.tolist() == PIXELS
    assert data.pictures.dtype == np.uint8
    assert (data.classes, data.labels.tolist(), data.n_skipped) == (("3", "7"), [0, 1, 0], 0)
    assert data.name == str(tmp_path / name)


@given(
    hnp.arrays(np.float32, (5, 9), elements=st.just(0.0) | st.floats(2.0**-20, 2.0**20, width=32)),
    st.lists(st.integers(-50, 50), min_size=5, max_size=5).filter(lambda labels: len(set(labels)) > 1),
)
@settings(max_examples=50)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, pixels: NDArray[np.float32], labels: list[int]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    lines = [",".join([str(label), *map(repr, row.tolist())]) for label, row in zip(labels, pixels, strict=True)]
    data = load_source(written(path, "\n".join(lines)))
    np.testing.assert_array_equal(data.pictures, pixels.reshape(5, 3, 3))
    assert [data.classes[k] for k in data.labels] == [str(label) for label in labels]
    assert [int(name) for name in data.classes] == sorted(set(labels))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ("10,9,2", ("2", "9", "10")),
        ("b,a,10", ("10", "a", "b")),
        ("-1,+3,2", ("-1", "2", "+3")),
        ("ö,x,y", tuple("xyö")),
    ],
)
def test_classes_are_in_order_of_number_or_alphabet(labels: str, classes: tuple[str, ...], tmp_path: Path) -> None:
    data = load_source(written(tmp_path / "a.csv", "".join(f"{label},1\n" for label in labels.split(","))))
    assert data.classes == classes
    assert [data.classes[k] for k in data.labels] == labels.split(",")


BAD = """\
label,a,b,c,d
3,0,1,2,255
7,4,5,6
7,4,5,6,7,8
,4,5,6,7

7,4,-1,6,7
7,4,5,nan,7
7,4,5,6,inf
7,,5,6,7
7,4,five,6,7
7,1_0,5,6,7
7,1e39,5,6,7
\x1b[2J,4,5,6,7
7,4,5,6,7
"""
COMPLAINTS = [
    "3: 3 pixels; expected 4",
    "4: 5 pixels; expected 4",
    "5: no label",
    '7: pixel 2 is "-1"; expected a finite number of at least 0',
    '8: pixel 3 is "nan"; expected a finite number of at least 0',
    '9: pixel 4 is "inf"; expected a finite number of at least 0',
    '10: pixel 1 is ""; expected a finite number of at least 0',
    '11: pixel 2 is "five"; expected a finite number of at least 0',
    '12: pixel 1 is "1_0"; expected a finite number of at least 0',
    '13: pixel 1 is "1e39"; expected a finite number of at least 0',
]


def test_all_bad_rows_are_named_with_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", BAD)
    head, *told, more = problems(path)
    assert head == f"{path}: 11 bad rows; data.skip_bad: true leaves them out"
    assert told == [f"{path}, line {text}" for text in COMPLAINTS]
    assert more == f"{path}: and 1 more"


def test_bad_rows_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    data = load_source(written(tmp_path / "a.csv", BAD), skip_bad=True)
    assert (data.pictures.tolist(), data.classes, data.n_skipped) == (PIXELS[:2], ("3", "7"), 11)


def test_a_row_that_is_no_text_is_a_bad_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"3,1\n\xff,1\n7,2\n")
    assert problems(path) == (
        f"{path}: 1 bad row; data.skip_bad: true leaves it out",
        f"{path}, line 2: not UTF-8 text",
    )
    assert load_source(path, skip_bad=True).n_skipped == 1


def test_a_label_too_long_and_a_quote_left_open_are_bad_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", f'3,1\n{"x" * 101},1\n"7,1\n7,2\n"{"y" * 200_000}",1\n')
    _, long, quote, field = problems(path)
    assert long == f"{path}, line 2: the label is not a name of at most 100 printable characters"
    assert quote == f"{path}, line 3: 0 pixels; expected 1"
    assert field.startswith(f"{path}, line 5: not a row of a CSV file (field larger than field limit")


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": no rows; expected labeled pictures"),
        ("\n\n", ": no rows; expected labeled pictures"),
        ("label,a,b,c,d\n", ": no rows; expected labeled pictures"),
        ("label,a\n3,x\n", ": 1 bad row and no good one"),
        ("3\n7\n", f", line 1: 0 {NO_SQUARE}"),
        ("3;1;2\n7;1;2\n", f", line 1: 2 {NO_SQUARE}"),
        ("3,1,2,3,4\n7,1,2,3,4\n".replace(",4", ",4,5"), f", line 1: 5 {NO_SQUARE}"),
        (
            "3,1,2,3\n",
            ", line 1: 4 pixels and no label; expected a column called label, labels, class, target, y, digit or "
            "category, or one more column in front or behind",
        ),
        ("label,a,b\n3,1\n", f", line 1: 2 {NO_SQUARE}"),
        (
            "label,a,b,c,class\n3,1,2,3,4\n",
            ", line 1: columns label and class may be the label; set data.label=label or data.label=class",
        ),
        ("3,1\n3,2\n", ": 1 classes; expected 2 to 1,000"),
    ],
)
def test_a_csv_without_labeled_squares_is_refused(text: str, message: str, skip_bad: bool, tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", text)
    assert problems(path, skip_bad=skip_bad)[0] == path + message


def test_a_csv_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    assert problems(str(tmp_path / "no.csv")) == (f"{tmp_path}/no.csv: there is no such file",)
    os.mkfifo(tmp_path / "pipe.csv")
    assert problems(str(tmp_path / "pipe.csv")) == (f"{tmp_path}/pipe.csv: not a regular file",)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: raw[:20] + b"\xff" * 20])
def test_a_damaged_gz_is_refused(damage: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    content = np.random.default_rng(0).bytes(500).replace(b"\n", b"n")  # no line ends before the damage
    path.write_bytes(damage(gzip.compress(content, mtime=0)))
    (line,) = problems(str(path))
    assert line.startswith(f"{path}: damaged (")


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.csv.gz", "3,1\n7,1\n" * 1000)
    for name, limit, message in [
        ("MAX_UNPACKED", 7_999, "more than 4 GB unpacked"),
        ("MAX_LINES", 1_999, "more than 1,999 lines"),
        ("MAX_FILE", 20, "larger than 2 GB; a folder with images.npy and labels.npy may be of any size"),
    ]:
        with monkeypatch.context() as patched:
            patched.setattr(tables, name, limit)
            assert problems(path) == (f"{path}: {message}",)
            patched.setattr(tables, name, 8_000)
            assert len(load_source(path)) == 2000


def test_a_bomb_of_one_endless_line_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv.gz", b"3,1\n" + b"1" * 40_000_000)
    assert problems(path) == (f"{path}, line 2: more than 16 MB",)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_a_data_set_or_a_refusal(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = written(tmp_path_factory.mktemp("csv") / "a.csv", content)
    lines: list[str] = []
    for skip_bad in (False, True):
        try:
            assert len(load_source(path, skip_bad=skip_bad)) >= 2
        except DataError as error:
            lines += error.problems
    assert all(line.startswith(path) for line in lines)


# ---- openml.org ----------------------------------------------------------------------------------------------------


class OpenML:
    """Stands in for openml.org."""

    def __init__(self, data: Any = None, target: Any = None, error: Exception | None = None) -> None:
        self.found, self.error = SimpleNamespace(data=data, target=target), error
        self.n_asked = 0

    def __call__(self, name: str, **options: Any) -> Any:
        assert options == {"as_frame": False, "parser": "liac-arff", "n_retries": 1, "delay": 0.2}
        self.n_asked += 1
        if self.error:
            raise self.error
        return self.found


TARGET = np.array(["3", "7", "3"], object)


@pytest.fixture
def openml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "home"))

    def stand_in(*args: Any, **options: Any) -> OpenML:
        site = OpenML(*args, **options)
        monkeypatch.setattr("sklearn.datasets.fetch_openml", site)
        return site

    return stand_in


def test_a_data_set_of_openml_is_fetched_once(openml: Any, tmp_path: Path) -> None:
    site = openml(np.array(PIXELS, float).reshape(3, 4), TARGET)
    for _ in range(2):
        data = load_source("openml:mnist_784")
        assert (data.name, data.classes, data.labels.tolist()) == ("openml:mnist_784", ("3", "7"), [0, 1, 0])
        assert data.pictures.tolist() == PIXELS
        assert data.pictures.dtype == np.uint8
    assert site.n_asked == 1
    assert [path.name for path in (tmp_path / "home/backprop").iterdir()] == ["mnist_784.npz"]


def test_what_was_kept_and_is_damaged_is_fetched_anew(openml: Any, tmp_path: Path) -> None:
    site = openml(np.array(PIXELS, float).reshape(3, 4), TARGET)
    load_source("openml:a")
    (tmp_path / "home/backprop/a.npz").write_bytes(b"PK\x03\x04")
    load_source("openml:a")
    assert site.n_asked == 2


def test_where_nothing_can_be_kept_it_is_fetched_each_time(openml: Any, tmp_path: Path) -> None:
    site = openml(np.array(PIXELS, float).reshape(3, 4), TARGET)
    (tmp_path / "home").write_bytes(b"")
    assert len(load_source("openml:a")) == len(load_source("openml:a")) == 3
    assert site.n_asked == 2


@pytest.mark.parametrize(
    "error", [URLError("Name or service not known"), TimeoutError("timed out"), ValueError("No active\nx"), KeyError()]
)
def test_without_a_network_one_line_says_so(error: Exception, openml: Any, tmp_path: Path) -> None:
    openml(error=error)
    (line,) = problems("openml:mnist_784")
    assert re.fullmatch(
        r"openml:mnist_784: cannot be fetched \(.+\); check the network, and the name at openml.org", line
    )
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a b", ".", "ö", "a\n", "x" * 101])
def test_what_is_no_name_is_not_asked_for(name: str, openml: Any) -> None:
    site = openml(error=URLError("asked"))
    (line,) = problems(f"openml:{name}")
    assert line == f"openml:{name}: not the name of a data set, such as openml:mnist_784"
    assert site.n_asked == 0


@pytest.mark.parametrize(
    ("data", "target", "message"),
    [
        (np.ones((3, 5)), TARGET, f"5 {NO_SQUARE}"),
        (np.ones((3, 4), object), TARGET, "not a table of numbers"),
        (SimpleNamespace(toarray=None), TARGET, "not a table of numbers"),
        (np.ones((3, 4)), None, "not a table with one column of labels"),
        (np.ones((3, 4)), np.ones((3, 2)), "not a table with one column of labels"),
        (np.ones((0, 4)), TARGET[:0], "no rows; expected labeled pictures"),
    ],
)
def test_a_data_set_that_is_no_table_of_squares_is_refused(data: Any, target: Any, message: str, openml: Any) -> None:
    openml(data, target)
    assert problems("openml:a") == (f"openml:a: {message}",)


def test_bad_rows_of_openml_are_named_or_left_out(openml: Any) -> None:
    pixels = np.array([[1, 2, 3, 4], [1, np.nan, 3, 4], [5, 6, 7, 8], [1, 2, 3, -1], [1, 1, 1, 1]], float)
    openml(pixels, np.array(["b", "b", "a", "a", None], object))
    wanted = "some pixels are not valid; expected a finite number of at least 0 for each"
    assert problems("openml:a") == (
        "openml:a: 3 bad rows; data.skip_bad: true leaves them out",
        f"openml:a:1: {wanted}",
        f"openml:a:3: {wanted}",
        "openml:a:4: no label",
    )
    data = load_source("openml:a", skip_bad=True)
    assert (data.pictures.tolist(), data.classes, data.n_skipped) == (
        [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
        ("a", "b"),
        3,
    )
