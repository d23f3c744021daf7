"""Pages in a real browser: Playwright with the system's Chromium; without either, the tests skip with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

LOCAL = ("http://127.0.0.1:", "http://localhost:", "file:", "data:", "blob:", "about:")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Give a Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browser_page(browser: Any) -> Iterator[Any]:
    """Give a fresh page; at its end, no error may stand in its console, and nothing may have been asked of a host."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(LOCAL) else problems.append(request.url))
    yield page
    context.close()
    assert not problems


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
