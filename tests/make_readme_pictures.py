"""`make readme-pictures`: the README's pictures, taken of the real programs, light and dark, into docs/pictures.

It needs Chromium (see tests/browser.py) and tmux, a terminal that can be asked what it shows.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[1]
sys.path[:0] = [str(CHECKOUT / "tests"), str(CHECKOUT / "tests/page")]

from browser import CHROMIUM  # noqa: E402
from pages import serving  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, DIMMED_MONOKAI  # noqa: E402
from rich.text import Text  # noqa: E402
from test_draw_page import choose, mouse, opened, settle  # noqa: E402

PICTURES = CHECKOUT / "docs/pictures"
SCHEMES = {"light": DEFAULT_TERMINAL_THEME, "dark": DIMMED_MONOKAI}
SEVEN_WITH_A_FOOT = [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.82)], [(0.25, 0.82), (0.72, 0.82)]]
COLUMNS, LINES = 80, 16
HALFWAY = re.compile(r"epoch (?:[6-9]\d|1\d\d)/150 ")  # what `best` shows when it is well under way


def take_board(browser: Any, scheme: str) -> None:
    """Draw a digit that the network misreads, say what it is, and correct the network."""
    with tempfile.TemporaryDirectory() as folder, serving("pretrained", Path(folder)) as server:
        context = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
        page = opened(context.new_page(), server)
        mouse(page, SEVEN_WITH_A_FOOT, page.locator("#pad").bounding_box())
        settle(page)
        choose(page, "7")
        settle(page)
        page.locator("#step-others", has_text="others").wait_for()
        page.screenshot(path=PICTURES / f"draw-{scheme}.png", clip={"x": 0, "y": 0, "width": 1280, "height": 660})


@contextmanager
def terminal(command: str) -> Iterator[str]:
    """Run a command on a terminal of its own; give the name by which tmux knows it."""
    name = "readme-pictures"
    with tempfile.TemporaryDirectory() as folder:
        size = ["-x", str(COLUMNS), "-y", str(LINES)]
        subprocess.run(["tmux", "new-session", "-d", "-s", name, *size, "-c", folder, command], check=True)
        try:
            yield name
        finally:
            subprocess.run(["tmux", "kill-session", "-t", name], check=False, stderr=subprocess.DEVNULL)


def screen_of(name: str, *options: str) -> str:
    """Return what a terminal shows."""
    command = ["tmux", "capture-pane", "-p", *options, "-t", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def watched_training() -> str:
    """Return the screen of a training that is half done."""
    with terminal(f"{shlex.quote(sys.executable)} -m backprop_cli train -c best; sleep 1") as name:
        while not HALFWAY.search(screen_of(name)):
            time.sleep(0.05)
        return screen_of(name, "-e").rstrip()  # with its colors


def take_terminal(browser: Any, scheme: str, screen: str) -> None:
    """Draw a screen as a terminal shows it."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ backprop train -c best", style="bold"))
    console.print(Text.from_ansi(screen))
    html = console.export_html(theme=SCHEMES[scheme], inline_styles=True, code_format=PAGE)
    page = browser.new_page(viewport={"width": 900, "height": 400}, device_scale_factor=1.5)
    page.set_content(html)
    page.locator("main").screenshot(path=PICTURES / f"train-{scheme}.png")


PAGE = """<style>main {{ display: inline-block; padding: 14px 18px; border-radius: 8px; color: {foreground};
background: {background}; font: 14px/1.25 'DejaVu Sans Mono', monospace }} pre {{ margin: 0; font: inherit }}
body {{ margin: 0 }}</style><main><pre>{code}</pre></main>"""


if __name__ == "__main__":
    PICTURES.mkdir(parents=True, exist_ok=True)
    screen = watched_training()
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in SCHEMES:
            take_board(browser, scheme)
            take_terminal(browser, scheme, screen)
        browser.close()
    for path in sorted(PICTURES.iterdir()):
        print(f"{path.relative_to(CHECKOUT)}: {path.stat().st_size / 1000:,.0f} kB")
