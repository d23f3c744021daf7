"""The drawing page in a real browser: drawn on by mouse, finger, pen and keys, asked, corrected, read."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import SAMPLES, document
from pages import STROKES, Server, serving
from test_server import model_of

from backprop_cli.api.models import Model

DIGITS = sorted(STROKES)
SOON = 30_000  # milliseconds until what does not come is an error


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("pretrained", tmp_path_factory.mktemp("page") / "mine") as found:
        yield found


def opened(page: Any, server: Server) -> Any:
    server.pages.append(page)
    page.set_default_timeout(SOON)
    page.goto(server.address())
    page.wait_for_selector("body[data-ready]")
    return page


def mouse(page: Any, strokes: list[Any], box: dict[str, float]) -> None:
    for stroke in strokes:
        (x, y), *others = ((box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in stroke)
        page.mouse.move(x, y)
        page.mouse.down()
        for x, y in others:
            page.mouse.move(x, y)
        page.mouse.up()


def touch(page: Any, strokes: list[Any], box: dict[str, float]) -> None:
    """Send touches as a screen does: Chromium makes pointer events of them."""
    session = page.context.new_cdp_session(page)
    for stroke in strokes:
        for k, (u, v) in enumerate(stroke):
            point = {"x": box["x"] + u * box["width"], "y": box["y"] + v * box["height"]}
            kind = "touchStart" if k == 0 else "touchMove"
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()


def pen(page: Any, strokes: list[Any], box: dict[str, float]) -> None:
    session = page.context.new_cdp_session(page)
    for stroke in strokes:
        points = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in stroke]
        moves = [("mousePressed", points[0]), *(("mouseMoved", point) for point in points[1:])]
        for kind, (x, y) in [*moves, ("mouseReleased", points[-1])]:
            event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "pointerType": "pen", "force": 0.5}
            session.send("Input.dispatchMouseEvent", event | ({"clickCount": 1} if kind != "mouseMoved" else {}))
    session.detach()


def draw(page: Any, digit: str, by: Callable[..., None] = mouse) -> None:
    page.locator("#clear").click()
    by(page, STROKES[digit], page.locator("#pad").bounding_box())
    settle(page)


def settle(page: Any) -> None:
    """Wait until nothing is asked any more, also of what was done just now: the page asks when it next paints."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
    page.wait_for_selector("html:not([data-asking])")


def choose(page: Any, label: str) -> None:
    page.locator(f"#truth button[value='{label}']").click()
    page.wait_for_selector("#gradient[data-drawn]")


def asked(page: Any, kind: str, act: Callable[[], Any]) -> dict[str, Any]:
    """Do something; return the answer to the question that it leads to."""
    with page.expect_response(f"**/api/{kind}") as answer:
        act()
    found: dict[str, Any] = answer.value.json()
    return found


def said(page: Any) -> str:
    text: str = page.inner_text("#sentence")
    return text


@pytest.mark.parametrize(
    "by", [mouse, pytest.param(touch, marks=pytest.mark.slow), pytest.param(pen, marks=pytest.mark.slow)]
)
def test_a_plain_1_is_read_without_a_warning(
    new_page: Callable[..., Any],
    server: Server,
    by: Callable[..., None],
) -> None:
    page = opened(new_page(has_touch=by is touch), server)
    draw(page, "1", by)
    assert " 1 (" in said(page)
    assert page.locator("#warnings .warning").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("by", [mouse, touch, pen], ids=lambda by: by.__name__)
def test_ten_digits_are_read_however_they_are_drawn(
    new_page: Callable[..., Any],
    server: Server,
    by: Callable[..., None],
) -> None:
    page = opened(new_page(has_touch=by is touch), server)
    page.evaluate(
        "() => { window.kinds = new Set(); document.getElementById('pad').addEventListener('pointerdown',"
        " (event) => window.kinds.add(event.pointerType)); }"
    )
    right = 0
    for digit in DIGITS:
        draw(page, digit, by)
        right += f" {digit} (" in said(page)
    kinds = page.evaluate("() => [...window.kinds]")
    assert kinds == [by.__name__]
    assert right == 10  # 28 of the 30 were wanted


def test_the_token_leaves_the_address_bar_and_a_reload_still_works(browser_page: Any, server: Server) -> None:
    page = opened(browser_page, server)
    assert server.token not in page.url
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#model").startswith("pretrained: 291,432 weights")


@pytest.mark.slow
def test_the_correction_has_the_numbers_of_explain(browser_page: Any, server: Server) -> None:
    page = opened(browser_page, server)
    page.fill("#sample", "1628")
    page.locator("#samples button[type=submit]").click()
    page.wait_for_selector("#gradient[data-drawn]")
    settle(page)
    wanted = document("explain", "digits:1628", "-m", "pretrained", "--learning-rate", "0.01", "--top", "1")
    (step,) = wanted["steps"]
    assert f"loss {wanted['loss']:.4g} = " in page.inner_text("#loss")
    assert "t = 0.955" in page.inner_text("#loss")  # labels are smoothed
    assert "Network 1 of 4" in page.inner_text("#loss")
    shares = page.locator("#shares .share").all_inner_texts()
    assert shares == [f"{100 * layer['blame_share']:.1f} %" for layer in wanted["layers"]][::-1]
    rows = page.locator("#weights tbody tr").all_inner_texts()
    for row, weight in zip(rows, wanted["top_weights"], strict=True):
        place, *numbers = row.replace("\u2212", "-").split("\t")
        assert re.findall(r"[\w]+$", place) == [str(weight["to"])]
        assert [float(n) for n in numbers] == pytest.approx(
            [weight["input"], weight["delta"], weight["gradient"]], rel=6e-3
        )
    shown = page.inner_text("#step-loss").replace("\u2212", "-")
    before, after, forecast = map(float, re.findall(r"-?[\d.]+(?:e-?\d+)?", shown))
    assert (before, after, forecast) == pytest.approx((wanted["loss"], step["loss"], step["forecast_loss"]), rel=6e-3)


def test_again_and_undo(browser_page: Any, server: Server) -> None:
    page = opened(browser_page, server)
    draw(page, "3")
    first = said(page)
    choose(page, "5")
    settle(page)
    promised = asked(page, "correct", lambda: page.locator("#rate").fill("-1.7"))["sentence"]
    settle(page)
    assert page.inner_text("#step-guess") == promised
    page.locator("#take").click()
    settle(page)
    assert said(page) == promised
    once = said(page)
    page.locator("#again").click()
    settle(page)
    assert page.inner_text("#n-steps") == "2 of at most 50 steps taken"
    assert said(page) not in (first, once)
    assert page.locator("#history circle").count() == 6
    page.locator("#undo").click()
    settle(page)
    assert said(page) == once
    page.locator("#forget").click()
    settle(page)
    assert said(page) == first
    assert page.locator("#undo").is_disabled()


def test_the_lesson_lights_up_line_by_line(browser_page: Any, server: Server) -> None:
    page = opened(browser_page, server)
    draw(page, "7")
    choose(page, "7")
    page.locator("#start-lesson").click()
    for key in ("GUESS", "LOSS", "BLAME", "CORRECTION"):
        lit = page.locator(".lit")
        assert (lit.count(), lit.get_attribute("data-lesson")) == (1, key)
        assert page.locator("#lesson-keys [aria-current]").inner_text() == key
        assert re.search(r"= [-\d.]+", page.inner_text("#lesson-formula"))
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".lit").get_attribute("data-lesson") == "BLAME"
    page.keyboard.press("Escape")
    assert page.locator(".lit").count() == 0


def test_a_drawing_is_kept_and_the_command_is_shown(browser_page: Any, server: Server) -> None:
    page = opened(browser_page, server)
    draw(page, "7")
    assert page.locator("#keep").is_disabled()  # nobody has said what it is
    choose(page, "7")
    found = asked(page, "keep", lambda: page.locator("#keep").click())
    assert Path(found["path"]).name == "0001.png"
    assert Model.load("pretrained").predict(found["path"]).predicted == "7"
    page.wait_for_selector("#kept[open]")
    assert found["path"] in page.inner_text("#kept-text")
    command = page.inner_text("#kept-command")
    assert command == f"backprop train --from pretrained --set data.extra={server.desk.folder}"


@pytest.mark.slow
def test_units_tell_what_they_look_for(browser_page: Any, server: Server) -> None:
    page = opened(browser_page, server)
    draw(page, "2")
    canvas = page.locator("#layers canvas").first
    found = asked(page, "unit", lambda: canvas.hover(position={"x": 5, "y": 5}))
    assert (found["layer"], found["name"], found["is_direct"]) == ("layer 1", "0", True)
    canvas.focus()
    assert asked(page, "unit", lambda: page.keyboard.press("ArrowRight"))["name"] == "1"
    settle(page)
    text = page.inner_text("#unit-text")
    assert "Unit 1 of layer 1." in text
    assert "sum " in text
    last = page.locator("#layers canvas").last
    assert asked(page, "unit", lambda: last.click(position={"x": 30, "y": 5}))["layer"] == "output"


def test_a_picture_is_dropped_opened_or_pasted(browser_page: Any, server: Server) -> None:
    page = opened(browser_page, server)
    asked(page, "look", lambda: page.set_input_files("#file", SAMPLES / "8-1433.jpg"))
    settle(page)
    assert " 8 (" in said(page)
    content = base64.b64encode((SAMPLES / "3-1428.jpg").read_bytes()).decode()
    for kind, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.locator("#clear").click()
        send = """([kind, holder, content]) => {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                const data = new DataTransfer();
                data.items.add(new File([bytes], "3.jpg", { type: "image/jpeg" }));
                const event = kind === "drop" ? new DragEvent(kind, { [holder]: data, bubbles: true })
                                              : new ClipboardEvent(kind, { [holder]: data, bubbles: true });
                document.getElementById("pad").dispatchEvent(event);
            }"""
        asked(page, "look", partial(page.evaluate, send, [kind, holder, content]))
        settle(page)
        assert " 3 (" in said(page), kind
    page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"})
    page.wait_for_selector("#problem:not([hidden])")
    assert "not a picture" in page.inner_text("#problem")


@pytest.mark.slow
def test_the_keyboard_alone_suffices(browser_page: Any, server: Server) -> None:
    page = opened(browser_page, server)

    def tab_to(wanted: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
                return
        raise AssertionError(f"{wanted} is out of reach")

    tab_to("#pad")
    page.keyboard.press(" ")
    for _ in range(18):
        page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    settle(page)
    assert " 1 (" in said(page)
    tab_to("#layers canvas")
    page.keyboard.press("ArrowRight")
    tab_to("#truth button[value='7']")
    page.keyboard.press("Enter")
    page.wait_for_selector("#gradient[data-drawn]")
    tab_to("#rate")
    page.keyboard.press("ArrowRight")
    tab_to("#take")
    page.keyboard.press("Enter")
    settle(page)
    assert page.inner_text("#n-steps").startswith("1 of")
    tab_to("#start-lesson")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    assert page.locator(".lit").get_attribute("data-lesson") == "LOSS"
    page.keyboard.press("Escape")
    tab_to(".q")
    page.keyboard.press("Enter")
    assert page.locator("[popover]:popover-open").count() == 1


# ---- how it looks --------------------------------------------------------------------------------------------------

CONTRAST = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = numbers(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !node.checkVisibility()) continue;
    const both = [light(numbers(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => b - a);
    found.push([(both[0] + 0.05) / (both[1] + 0.05), text]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_every_text_stands_out(new_page: Callable[..., Any], server: Server, scheme: str) -> None:
    page = opened(new_page(color_scheme=scheme), server)
    draw(page, "3")
    choose(page, "8")
    page.locator("#take").click()
    settle(page)
    page.locator("#start-lesson").click()
    found = page.evaluate(CONTRAST)
    assert len(found) > 60
    assert found[0][0] >= 4.5, found[:5]


def test_a_phone_has_nothing_beside_the_screen(new_page: Callable[..., Any], server: Server) -> None:
    page = opened(new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True), server)
    draw(page, "4", touch)
    assert " 4 (" in said(page)
    assert page.evaluate("() => scrollY") == 0  # a finger draws, it does not scroll
    choose(page, "9")
    page.locator("#take").click()
    settle(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390


@pytest.mark.slow
def test_a_projector_shows_all_at_once(browser_page: Any, server: Server) -> None:
    page = opened(browser_page, server)
    draw(page, "4")
    choose(page, "9")
    page.locator("#take").click()
    settle(page)
    assert page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
        1280,
        720,
    ]


def test_the_name_of_a_class_is_text(browser_page: Any, tmp_path: Path) -> None:
    evil = "<b>bold</b><img src=x onerror=alert(1)>"
    with serving(model_of((evil, "<script>alert(1)</script>"), {"name": "cross_entropy"}), tmp_path) as server:
        page = opened(browser_page, server)
        draw(page, "2")
        page.locator("#truth button").first.click()
        page.wait_for_selector("#gradient[data-drawn]")
        page.locator("#start-lesson").click()
        assert page.locator("#truth button").first.inner_text() == evil
        assert page.locator("main b, main img, main script").count() == page.locator("#loss b").count()
        assert evil in said(page) or "<script>" in said(page)


def test_the_strokes_are_handwriting_inside_the_pad() -> None:
    assert "".join(DIGITS) == "0123456789"
    points = [point for strokes in STROKES.values() for stroke in strokes for point in stroke]
    assert all(0.05 < u < 0.95 and 0.05 < v < 0.95 for u, v in points)
    assert len(json.dumps(STROKES)) < 20_000
