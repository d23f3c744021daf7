"""A report in a real browser: one slider for every chart, cells that open, pixels to click; legible everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CONTRASTS

from backprop_cli.api import report as api
from backprop_cli.page import report as pages

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def quick(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[api.RunReport, str]:
    """Return the report of a run, and where it stands."""
    found = api.report(trained_once / "runs/quick-1")
    file = tmp_path_factory.mktemp("report") / "quick.html"
    file.write_bytes(pages.run_page(found))
    return found, file.as_uri()


def test_one_slider_sets_the_epoch_in_every_chart(browser_page: Any, quick: tuple[api.RunReport, str]) -> None:
    found, address = quick
    browser_page.goto(address)
    browser_page.locator("#epoch").fill("12")
    assert browser_page.locator("#shown").inner_text() == "12"
    (series,) = found.series
    values = {value.get_attribute("data-key"): value.text_content() for value in browser_page.locator(".value").all()}
    assert values["0.0.val_accuracy"] == f"{100 * series['val_accuracy'][11]:.1f} %"
    assert float(values["0.0.loss"]) == pytest.approx(series["loss"][11], rel=5e-3)
    assert float(values["0.0.layers.grad_norm.1"]) == pytest.approx(series["layers.grad_norm.1"][11], rel=5e-3)
    cursors = {cursor.get_attribute("x1") for cursor in browser_page.locator(".cursor").all()}
    assert len(cursors) == 1  # of charts of one width all stand at one place


def test_a_cell_opens_its_pictures(browser_page: Any, quick: tuple[api.RunReport, str]) -> None:
    found, address = quick
    browser_page.goto(address)
    matrix = found.evaluation.confusion_matrix
    i, j = max(np.argwhere(matrix), key=lambda place: matrix[tuple(place)] * (place[0] != place[1]))
    link, cell = browser_page.locator(f'a[href="#cell-{i}-{j}"]'), browser_page.locator(f"#cell-{i}-{j}")
    assert not cell.is_visible()
    link.click()
    assert cell.is_visible()
    assert cell.locator("figure").count() == matrix[i, j]
    browser_page.locator(f'a[href="#cell-{i}-{i}"]').focus()
    browser_page.keyboard.press("Enter")
    assert not cell.is_visible()
    assert browser_page.locator(f"#cell-{i}-{i}").is_visible()


def test_clicked_pixels_are_guessed_anew_as_we_do(browser_page: Any, quick: tuple[api.RunReport, str]) -> None:
    found, address = quick
    browser_page.goto(address)
    board, guess = browser_page.locator("#board"), browser_page.locator("#guess")

    def ours(ink: Any) -> str:
        answer = found.model.predict_proba(ink[None] * 16.0)[0]
        return f"{min(100 * answer.max(), 99.9):.1f} % sure: {found.model.classes[int(answer.argmax())]}"

    ink = np.array(found.explanation.pixels)
    assert guess.inner_text() == ours(ink)
    size = board.bounding_box()["width"] / 8
    for row, column in ((4, 1), (2, 3)):
        board.click(position={"x": (column + 0.5) * size, "y": (row + 0.5) * size})
        ink[row, column] = float(ink[row, column] < 0.5)
        assert guess.inner_text() == ours(ink)
    browser_page.get_by_role("button", name="blank").click()
    assert guess.inner_text() == ours(np.zeros((8, 8)))
    board.focus()
    for key in ("ArrowDown", "ArrowRight", " "):  # the pixel that was clicked last: row 2, column 3
        browser_page.keyboard.press(key)
    line = np.zeros((8, 8))
    line[3, 4] = 1.0
    assert guess.inner_text() == ours(line)
    browser_page.get_by_role("button", name="as it was").click()
    assert guess.inner_text() == ours(np.array(found.explanation.pixels))


def test_it_is_legible_and_never_wider_than_the_screen(browser_page: Any, quick: tuple[api.RunReport, str]) -> None:
    browser_page.goto(quick[1])
    browser_page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    browser_page.locator('a[href="#cell-1-1"]').click()
    for scheme in ("light", "dark"):
        browser_page.emulate_media(color_scheme=scheme)
        lowest = browser_page.evaluate(CONTRASTS)
        assert lowest
        assert lowest[0][0] >= 4.5, (scheme, lowest)
    for width in (1280, 390):
        browser_page.set_viewport_size({"width": width, "height": 800})
        assert browser_page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_paper_there_is_nothing_to_press(browser_page: Any, quick: tuple[api.RunReport, str]) -> None:
    browser_page.goto(quick[1])
    browser_page.emulate_media(media="print", color_scheme="dark")
    assert not browser_page.locator("#play, #epoch, .screen").filter(visible=True).count()
    assert browser_page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
