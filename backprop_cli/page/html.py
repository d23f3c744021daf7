"""What every written page is made of: outside text, tables, and one file that asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from backprop_cli.files import clean
from backprop_cli.svg import escape

_PATH = re.compile(r"(?<![^\s\"'(=\[{,:])(?:(?:~|\.{1,2})?/|[A-Za-z]:[/\\])(?=[^\s/\\])(?:[^\s/\\\"':,;]+[/\\])*")


def shortened(text: object) -> str:
    """Return text with every absolute path in it shortened to its name: no home folder, no user's name is left."""
    home = str(Path.home()).rstrip("/")  # it may hold blanks, at which the end of a path is not known
    return _PATH.sub("", str(text).replace(f"{home}/", "/") if home else str(text))


def name_of(path: object) -> str:
    """Return the last name in what is a path as a whole, such as a row's, a picture's or a source's."""
    return re.split(r"[/\\]", str(path).rstrip("/\\"))[-1]


def text(outside: object) -> str:
    """Return outside text as it may stand in a page."""
    return escape(clean(shortened(outside)))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, kind: str = "") -> str:
    """Return a table of outside texts; what looks like a number stands on the right."""
    head = "".join(f"<th>{text(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    head = f"<thead><tr>{head}</tr></thead>" if heads else ""
    return f'<div class="wide"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>'


def _cell(value: object) -> str:
    kind = ' class="n"' if re.match(r"[-+]?[\d.,]+(e[-+]\d+)?( %)?$", str(value)) else ""
    return f"<td{kind}>{text(value)}</td>"


def paragraphs(sentences: Iterable[object], kind: str = "") -> str:
    """Return sentences, each a paragraph of its own."""
    attribute = f' class="{kind}"' if kind else ""
    return "".join(f"<p{attribute}>{text(sentence)}</p>" for sentence in sentences)


def section(name: str, heading: str, *parts: str) -> str:
    """Return a section of a page under its heading, which outside text is not."""
    return f'<section id="{name}"><h2>{heading}</h2>{"".join(parts)}</section>'


def data(value: Any) -> str:
    """Return plain data for the page's script; no text in it can end the element."""
    dumped = json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="data">{dumped}</script>'


def document(title: str, body: str, value: Any) -> bytes:
    """Return a whole page: its style and script in it, and nothing else may run or be fetched.

    Args:
        title: Outside text.
        body: HTML.
        value: Plain data for its script.
    """
    style, script = asset("report.css"), asset("forward.js") + asset("report.js")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{text(title)}</title><style>{style}</style></head>"
        f"<body>{body}{data(value)}<script>{script}</script></body></html>\n"
    ).encode()


def asset(name: str) -> str:
    """Return a style sheet or script of the package."""
    return (files("backprop_cli.page") / name).read_text("utf-8")


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
