"""Tables as programs and people write them: the same digits in each, or one line that names the way out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backprop_cli.data.dataset import Dataset, load_digits
from backprop_cli.data.readers import csv_file
from backprop_cli.data.readers.shared import Wanted
from backprop_cli.data.sources import load_source
from backprop_cli.errors import DataError

N = 60
DIGITS = load_digits()
PICTURES, LABELS = DIGITS.pictures[:N], DIGITS.labels[:N]
ROWS = PICTURES.reshape(N, 64).tolist()
NAMES = [f"pixel{k}" for k in range(64)]
Table = list[list[object]]


def first(label: Callable[[int], object] = int) -> Table:
    """Return rows whose label comes first."""
    return [[label(y), *row] for y, row in zip(LABELS.tolist(), ROWS, strict=True)]


def last() -> Table:
    return [[*row, y] for y, row in zip(LABELS.tolist(), ROWS, strict=True)]


def text(rows: Table, delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(map(str, row)) + end for row in rows)


def read(folder: Path, content: str | bytes, name: str = "a.csv", **options: Any) -> Dataset:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return csv_file.load(str(path), Wanted(**options))


def check(found: Dataset) -> None:
    np.testing.assert_array_equal(found.pictures, PICTURES)
    assert [found.classes[k] for k in found.labels] == [str(k) for k in LABELS.tolist()]
    assert found.numbers is None


HEADED = text([["label", *NAMES], *first()])

FORMS: dict[str, str | bytes] = {
    "semicolons": text([["label", *NAMES], *first()], ";"),
    "tabs": text([["label", *NAMES], *first()], "\t"),
    "blanks": text(first(), " "),
    "several blanks": text(first(), "  ").replace("\n", "\n   "),
    "blank after each comma": text(first(), ", "),
    "a comma at each line's end": text(first(), end=",\n"),
    "the same with a header": text([["label", *NAMES], *first()], end=",\n"),
    "carriage returns alone": HEADED.replace("\n", "\r"),
    "Windows ends": HEADED.replace("\n", "\r\n"),
    "UTF-16": HEADED.encode("utf-16"),
    "UTF-16, big-endian": b"\xfe\xff" + HEADED.encode("utf-16-be"),
    "UTF-8 with its mark": HEADED.encode("utf-8-sig"),
    "a separator that is said": "sep=;\n" + text(first(), ";"),
    "the same in quotes": '"sep=;"\r\n' + text(first(), ";", "\r\n"),
    "comments": "# exported\n#\n" + HEADED,
    "a comment in between": HEADED.replace("\n", "\n# here\n", 5),
    "a header as numpy.savetxt writes it": "# label," + ",".join(NAMES) + "\n" + text(first()),
    "quoted cells": "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in [["label", *NAMES], *first()]),
    "float labels": text([["label", *NAMES], *first(float)]),
    "decimal commas": text([["label", *NAMES], *first()], ";").replace(";5;", ";5,0;").replace(";7;", ";7,00;"),
    "decimal commas in labels": text(first(lambda y: f"{y},0"), ";"),
    "an index that pandas wrote": text([["", "label", *NAMES], *[[k, *row] for k, row in enumerate(first())]]),
    "an index that R wrote": text([["label", *NAMES], *[[k + 1, *row] for k, row in enumerate(first())]]),
    "an index without a header": text([[k, *row] for k, row in enumerate(last())]),
    "an index called id": text([["id", *NAMES, "y"], *[[900 + 7 * k, *row] for k, row in enumerate(last())]]),
    "a header that pandas made of numbers": text([list(range(65)), *first()]),
    "such a header, the label last": text([list(range(65)), *last()]),
    "a header with a name twice and thrice": text([[0, "0.1", *[f"0.{k}" for k in range(2, 65)]], *first()]),
    "bars": text(first(), "|"),
    "columns that are no pixels": text(
        [["id", "writer", "label", *NAMES, "remark"], *[[k, f"w{k % 3}", *row, "-"] for k, row in enumerate(first())]]
    ),
    "such a header and an index": text([["", *range(65)], *[[k, *row] for k, row in enumerate(first())]]),
    "a label called y, last": text([[*NAMES, "y"], *last()]),
    "a label called Class, last": text([[*NAMES, "Class"], *last()]),
    "a label in the middle": text([[*NAMES[:9], "digit", *NAMES[9:]], *[[*r[1:10], r[0], *r[10:]] for r in first()]]),
    "the label last, no header": text(last()),
    "the label first, no header": text(first()),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_ways_to_write_a_table_hold_the_same_digits(form: str, tmp_path: Path) -> None:
    check(read(tmp_path, FORMS[form]))


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "A.TSV"])
def test_the_content_says_what_parts_cells_and_not_the_name(name: str, tmp_path: Path) -> None:
    check(read(tmp_path, FORMS["tabs"], name))


def sparse(start: int = 1, label: Callable[[int], object] = int) -> str:
    lines = [
        " ".join([str(label(y)), *(f"{k + start}:{ink}" for k, ink in enumerate(row) if ink or not k)])
        for y, row in zip(LABELS.tolist(), ROWS, strict=True)
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("content", [sparse(), sparse(0), sparse(1, float), sparse().replace("\n", "  # a remark\n")])
@pytest.mark.parametrize("name", ["a.libsvm", "a.csv", "a.svmlight"])
def test_lines_of_libsvm(content: str, name: str, tmp_path: Path) -> None:
    check(read(tmp_path, content, name))


def test_a_picture_of_libsvm_has_a_usual_size_though_its_last_pixels_are_blank(tmp_path: Path) -> None:
    found = read(tmp_path, "".join(f"{k % 2} 30:5 674:1\n" for k in range(10)))
    assert found.picture_size == (28, 28)
    assert found.pictures[0, 1, 1] == 5
    assert found.notes == ("its lines do not say how large a picture is; assuming 28x28, the pixels counted from 1",)


def test_bad_lines_of_libsvm_are_named(tmp_path: Path) -> None:
    lines = ["1 1:5 2:x", "2 3:4", "3 9999999:1", "4 4:-1", "5 4:nan", "6 1:1 2:2"] + ["7 1:1"] * 20
    with pytest.raises(DataError) as caught:
        read(tmp_path, "\n".join(lines))
    assert [line.partition("line ")[2] for line in caught.value.problems[1:]] == [
        '1: pixel 2 is "x"; expected a finite number of at least 0',
        '3: "9999999:1": expected an index of at most 65,536 and a value',
        '4: pixel 4 is "-1"; expected a finite number of at least 0',
        '5: pixel 4 is "nan"; expected a finite number of at least 0',
    ]
    found = read(tmp_path, "\n".join(lines), skip_bad=True)
    assert found.numbers is not None
    assert found.numbers.tolist() == [1, *range(5, 26)]


# ---- which column the label is in ----------------------------------------------------------------------------------


def noisy(rows: Table, columns: slice) -> Table:
    """Return rows whose pixels in the corners are alive."""
    noise = np.random.default_rng(0).integers(0, 4, (N, 64)).tolist()
    return [[*row[: columns.start], *noise[k], *row[columns.stop :]] for k, row in enumerate(rows)]


def test_a_label_is_told_from_pixels_by_being_unlike_its_neighbors(tmp_path: Path) -> None:
    for rows, columns in ((last(), slice(0, 64)), (first(), slice(1, 65))):
        found = read(tmp_path, text(noisy(rows, columns)))
        assert [found.classes[k] for k in found.labels] == [str(k) for k in LABELS.tolist()]


def test_where_both_ends_may_be_the_label_both_are_named(tmp_path: Path) -> None:
    rows = [[y, *row[1:], y] for y, row in zip(LABELS.tolist(), ROWS, strict=True)]
    with pytest.raises(DataError, match=r"the first column or the last may be the label; set data.label=first or data"):
        read(tmp_path, text(rows))
    assert read(tmp_path, text(rows), label="first").pictures[5, 0, 1] == PICTURES[5, 0, 2]
    assert read(tmp_path, text(rows), label="last").pictures[5, 0, 1] == PICTURES[5, 0, 1]


def test_a_column_that_is_said_is_the_label(tmp_path: Path) -> None:
    named = text([["kind", *NAMES], *first()])
    check(read(tmp_path, named, label="kind"))
    check(read(tmp_path, named, label="first"))
    check(read(tmp_path, text(last()), label="last"))
    check(read(tmp_path, text([[*NAMES, "kind"], *last()]), label="KIND "))
    with pytest.raises(
        DataError, match=r'line 1: data.label: no column is called "kynd"; the columns are kind, pixel0, pix'
    ):
        read(tmp_path, named, label="kynd")
    with pytest.raises(DataError, match=r"columns y and class may be the label; set data.label=y or data.label=class"):
        read(tmp_path, text([["y", *NAMES[:63], "class"], *first()]))


def test_a_label_of_two_classes_of_which_one_is_rare_is_not_guessed(tmp_path: Path) -> None:
    pictures = DIGITS.pictures[:300, 1:7, 1:7].reshape(300, -1).tolist()
    rows = [[*row, int(y == 7)] for row, y in zip(pictures, DIGITS.labels.tolist(), strict=False)]
    with pytest.raises(DataError, match="the first column or the last may be the label"):
        read(tmp_path, text(rows))
    assert read(tmp_path, text(rows), label="last").classes == ("0", "1")
    few = text([[*row, y] for row, y in zip(ROWS[:12], LABELS[:12].tolist(), strict=True)])
    assert read(tmp_path, few).pictures.tolist() == PICTURES[:12].tolist()


def test_two_columns_that_may_be_the_label_are_chosen_between(tmp_path: Path) -> None:
    rows: Table = [["label", "class", *NAMES], *[[row[0], "x", *row[1:]] for row in first()]]
    check(read(tmp_path, text(rows), label="label"))
    with pytest.raises(DataError, match=r"2 columns are called label; set data.label=first or last"):
        read(tmp_path, text([["label", "label", *NAMES], *rows[1:]]))


def test_a_table_of_names_without_endings_is_no_table_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a table of names and labels; names of picture files need their ending"):
        read(tmp_path, "id,label\n" + "".join(f"{k:05d},{y}\n" for k, y in enumerate(LABELS.tolist())))


@pytest.mark.parametrize("name", ["zip.train", "semeion.data", "digits.txt", "zip.test.gz"])
def test_tables_under_any_name_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text(first(), " "))
    check(load_source(str(tmp_path / name)))
    for content in (b"", b"Dear reader, this is a letter\nand no table\n", bytes(range(256)), b"%PDF-1.4 1 2 3 4 \0"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="is not one of digits"):
            load_source(str(tmp_path / name))


def test_whether_there_is_a_header_may_be_said(tmp_path: Path) -> None:
    rows: Table = [["label", *NAMES], *first()]
    rows[0] = [7, *range(1, 65)]
    check(read(tmp_path, text(rows)))
    assert len(read(tmp_path, text(rows), header="no")) == N + 1
    check(read(tmp_path, text([[3, *[5] * 64], *first()]), header="yes"))


def test_pixels_without_a_label_are_refused_where_it_is_wanted(tmp_path: Path) -> None:
    content = text([NAMES, *ROWS])
    with pytest.raises(DataError, match=r"a.csv, line 1: 64 pixels and no label; expected a column called label, "):
        read(tmp_path, content)
    np.testing.assert_array_equal(read(tmp_path, content, only_pictures=True).pictures, PICTURES)


@pytest.mark.parametrize("form", FORMS)
def test_labels_that_are_not_wanted_are_left_out(form: str, tmp_path: Path) -> None:
    found = read(tmp_path, FORMS[form], only_pictures=True)
    np.testing.assert_array_equal(found.pictures, PICTURES)


@given(st.lists(st.text(alphabet='0123456789,;\t .:"#\r\n-lab', max_size=30), max_size=40))
@settings(max_examples=150)
def test_any_text_is_a_table_or_refused(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    for only_pictures in (False, True):
        with suppress(DataError):
            assert len(read(folder, "\n".join(lines), only_pictures=only_pictures)) > 0


# ---- tables of files -----------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    (folder / "sub").mkdir(parents=True)
    for k in range(12):
        ink = (PICTURES[k] * 15).repeat(6, 0).repeat(6, 1)
        Image.fromarray(255 - np.pad(ink, 6)).save(folder / f"sub/{k}.png")
    return folder


LISTED = [[f"sub/{k}.png", LABELS[k]] for k in range(12)]


@pytest.mark.parametrize(
    "rows",
    [
        [["filename", "label"], *LISTED],
        [["label", "filename"], *([y, file] for file, y in LISTED)],
        [["id", "path", "who", "digit"], *([k, file, "a", y] for k, (file, y) in enumerate(LISTED))],
        LISTED,
        [[file.replace("/", "\\"), y] for file, y in LISTED],
    ],
)
def test_a_table_of_files_and_labels_is_their_pictures(pictures: Path, rows: Table) -> None:
    found = read(pictures, text(rows), "labels.csv")
    assert [found.classes[k] for k in found.labels] == [str(k) for k in LABELS[:12].tolist()]
    assert found.paths is not None
    assert [Path(path).name for path in found.paths] == [f"{k}.png" for k in range(12)]
    np.testing.assert_array_equal(found.pictures, load_source(f"{pictures}/labels.csv").pictures)


def test_files_outside_of_the_tables_folder_are_refused(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes((pictures / "sub/0.png").read_bytes())
    (pictures / "link.png").symlink_to(tmp_path / "secret.png")
    rows = [*LISTED, ["../secret.png", 1], [tmp_path / "secret.png", 1], ["link.png", 1], ["sub/none.png", 1]]
    with pytest.raises(DataError) as caught:
        read(pictures, text(rows), "labels.csv")
    head, *told = caught.value.problems
    assert head.endswith("labels.csv: 4 bad rows; data.skip_bad: true leaves them out")
    assert [line.partition(": ")[2].partition('" ')[2] for line in told[:3]] == [
        "is not in the folder of the table"
    ] * 3
    assert told[3].startswith(f"{pictures}/sub/none.png: No such file")


# ---- bounds --------------------------------------------------------------------------------------------------------


def refused(folder: Path, content: str | bytes, name: str = "a.csv", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, content, name, **options)
    return str(caught.value)


def test_rows_of_more_cells_than_any_network_has_inputs_are_refused(tmp_path: Path) -> None:
    told = refused(tmp_path, b"," * 2_000_000 + b"\n")
    assert told.endswith("a.csv, line 1: not a row of a CSV file (more than 1,048,596 cells)")
    told = refused(tmp_path, (b"1 " + b"1:1 " * 70_000 + b"\n") * 2, "a.libsvm")
    assert told.endswith("a.libsvm, line 2: more than 65,536 pixels")


def test_pixels_that_are_blank_everywhere_take_no_memory_before_they_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "1 65536:1\n2 65536:1\n"
    assert read(tmp_path, content, "a.libsvm").pictures.nbytes == 2 * 65_536
    monkeypatch.setattr(csv_file, "MAX_UNPACKED", 2 * 65_536 - 1)
    monkeypatch.setattr(np, "zeros", lambda *a, **k: pytest.fail("memory was taken"))
    assert refused(tmp_path, content, "a.libsvm").endswith("a.libsvm: more than 4 GB unpacked")


def test_rows_are_held_as_bytes_until_one_is_not(tmp_path: Path) -> None:
    rows = "1,1,2,3,4\n2,1,2,3,0.5\n1,9,9,9,9\n"
    found = read(tmp_path, rows)
    assert found.pictures.tolist() == [[[1, 2], [3, 4]], [[1, 2], [3, 0.5]], [[9, 9], [9, 9]]]
    assert found.pictures.dtype == np.float32


def test_labels_that_all_differ_are_not_all_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "MOST_KNOWN", 9)
    assert refused(tmp_path, "".join(f"{k},1\n" for k in range(15))).endswith(
        "a.csv: more than 9 classes; expected 2 to 1,000"
    )


def test_many_comments_are_no_rows(tmp_path: Path) -> None:
    check(read(tmp_path, "# a comment\n" * 1000 + HEADED))


@pytest.mark.parametrize("said", ["sep=\t", '"sep=\t"'])
def test_a_tab_may_be_said_to_part_cells(said: str, tmp_path: Path) -> None:
    check(read(tmp_path, f"{said}\n" + text(first(), "\t")))


@pytest.mark.parametrize("said", ['sep="', "sep=", "sep=1", "sep=."])
def test_what_cannot_part_cells_is_a_line_as_others(said: str, tmp_path: Path) -> None:
    assert refused(tmp_path, f"{said}\n" + text(first())).startswith(f"{tmp_path}/a.csv")
