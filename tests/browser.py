"""A real browser for the tests of the pages: the system's Chromium, driven by Playwright; they skip without it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return Chromium, started once."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not Path(CHROMIUM).is_file():
        pytest.skip(f"no Chromium at {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return what opens a fresh page, of any context options; at the end none has complained or called elsewhere."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def open_page(**options: Any) -> Any:
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 720}} | options))
        page = contexts[-1].new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: None if _is_here(asked.url) else complaints.append(f"asked {asked.url}"))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def browser_page(new_page: Callable[..., Any]) -> Any:
    """Return a fresh page, 1280x720."""
    return new_page()


def _is_here(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "file", "about") or parts.hostname in ("127.0.0.1", "localhost")


# Every text that is shown -> its contrast with what lies behind it, the lowest first; see WCAG 2.2, section 1.4.3.
CONTRASTS = """() => {
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const over = (top, under) => {
    const a = top[3] ?? 1;
    return [0, 1, 2].map(k => a * top[k] + (1 - a) * under[k]);
  };
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(numbers(getComputedStyle(e).backgroundColor));
    const rect = element.tagName === "text" && element.previousElementSibling;
    let color = layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
    if (rect && rect.tagName === "rect") {
      const style = getComputedStyle(rect);
      color = over([...numbers(style.fill).slice(0, 3), Number(style.fillOpacity)], color);
    }
    return color;
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join("");
    if (!own || !element.checkVisibility() || ["SCRIPT", "STYLE", "TITLE", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element), under = behind(element);
    const color = numbers(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [a, b] = [light(over(color, under)), light(under)].sort((p, q) => q - p);
    found.push([(a + 0.05) / (b + 0.05), own.slice(0, 40)]);
  }
  return found.sort((p, q) => p[0] - q[0]).slice(0, 5);
}"""
