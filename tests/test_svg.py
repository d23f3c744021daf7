"""Charts and pictures as SVG: well-formed for any numbers and names, and what is no number is refused."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backprop_cli import svg

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
POINTS = st.lists(st.tuples(NUMBERS, st.none() | NUMBERS), max_size=6)
SVG = "{http://www.w3.org/2000/svg}"


def drawn(text: str) -> ET.Element:
    """Return a picture as a tree, every number in whose attributes is one."""
    root = ET.fromstring(text)
    assert "nan" not in text.lower().replace("nance", "")
    assert "inf" not in text
    return root


@given(st.lists(st.tuples(st.text(max_size=8), POINTS), max_size=3), st.booleans(), NUMBERS)
@example([], False, 6e305)
def test_any_numbers_make_a_chart(
    lines: list[tuple[str, list[tuple[float, float | None]]]], log: bool, at: float
) -> None:
    made = [svg.Line("line", [x for x, _ in points], [y for _, y in points], k) for k, (_, points) in enumerate(lines)]
    drawn(svg.chart(made, title="t", x_label="x", y_label="y", log=log, at=at))


@given(st.text(), st.text())
def test_outside_text_stays_text(name: str, title: str) -> None:
    root = ET.fromstring(svg.chart([svg.Line(name, [1], [1], key=name)], title=title, x_label=name, y_label=name))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {"svg", "path", "text", "tspan"}
    assert "<b>" not in svg.matrix([[1]], ["<b>"], title='"<b>', row="<b>", column="<b>")


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=4))
def test_any_numbers_make_pictures(rows: list[list[float]]) -> None:
    for inside in (svg.gray(rows), svg.signed(rows)):
        drawn(svg.picture(inside, len(rows), 3, "a picture"))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    for refused in (
        lambda: svg.gray([[bad]]),
        lambda: svg.signed([[0.0, bad]]),
        lambda: svg.chart([svg.Line("a", [1], [bad])], title="", x_label="", y_label=""),
        lambda: svg.chart([svg.Line("a", [bad], [1])], title="", x_label="", y_label=""),
        lambda: svg.chart([], title="", x_label="", y_label="", at=bad),
    ):
        with pytest.raises(ValueError, match="finite"):
            refused()


def test_a_picture_has_a_run_of_pixels_for_each_level() -> None:
    assert svg.gray([[0.0, 1.0, 1.0], [0.5, 0.0, 0.0]]).count("<path") == 2
    assert "M1 0h2" in svg.gray([[0.0, 1.0, 1.0]])
    both = svg.signed([[-2.0, 0.0, 2.0]])
    assert both.index("--plus") < both.index("M2 0h1") < both.index("--minus") < both.index("M0 0h1")


def test_values_stand_where_the_axis_says() -> None:
    axis = svg._Axis(0.0, 10.0, 100.0, 0.0)
    assert [axis.at(value) for value in (0.0, 5.0, 10.0)] == [100.0, 50.0, 0.0]
    assert axis.ticks(5) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    decades = svg._Axis(-3.0, 1.0, 100.0, 0.0, log=True)
    assert decades.at(0.1) == pytest.approx(50.0)
    assert decades.ticks(4) == [0.001, 0.01, 0.1, 1.0, 10.0]
    assert svg._Axis(-1.5, 0.0, 1.0, 0.0, log=True).ticks(4) == pytest.approx([0.05, 0.1, 0.2, 0.5, 1.0])


def test_a_gap_is_left_where_nothing_can_be_drawn() -> None:
    line = svg.Line("a", [1, 2, 3, 4], [1.0, 0.0, None, 10.0])
    broken = svg.chart([line], title="", x_label="", y_label="", log=True)
    assert broken.count("h0") == 2  # two pieces, each of a point


def test_a_matrix_links_its_cells_and_says_what_they_are() -> None:
    root = ET.fromstring(svg.matrix([[3, 0], [1, 2]], ["0", "1"], title="t", row="is", column="as"))
    links = {link.get("href"): link.findtext(f"{SVG}title") for link in root.iter(f"{SVG}a")}
    assert links == {"#cell-0-0": "0 as 0: 3", "#cell-1-0": "1 as 0: 1", "#cell-1-1": "1 as 1: 2"}
