"""What users read is plain American English: some words stay out of messages, docstrings, pages and docs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import messages
import pytest
from command_line import CHECKOUT, python

# What the field does not write, and what it writes instead.
BANNED = {
    r"\b(is|are) wanted\b": "expected ...",
    r"\b(left|leaves?|leaving) the finite numbers\b": "diverged",
    r"\bnone the worse\b": "not affected",
    r"\bwhoever\b": "anyone who, the caller",
    r"\bknow(s|ing) nothing\b": "a uniform guess",
    r"\banew\b": "again",
    r"\bgone on with\b": "resumed",
    r"\bby heart\b": "overfits",
    r"\bmend(s|ed)?\b": "fix",
    r"\bgoes (not|with neither|with none)\b": "cannot be used with",
    r"\bstands? twice\b": "duplicate",
    r"\bis there already\b": "already exists",
    r"\bof before\b": "earlier",
    r"\bat hand\b": "available",
    r"\bin truth\b": "really",
    r"(?<!there )\b(is|are) no (?!longer\b|more\b)\w+": "is not a ...",
}
PATTERN = re.compile("|".join(f"(?:{word})" for word in BANNED), re.IGNORECASE)
TEXTS = [
    *sorted(CHECKOUT.glob("backprop_cli/**/*.html")),
    *sorted(CHECKOUT.glob("backprop_cli/**/*.js")),
    *sorted(CHECKOUT.glob("docs/*.md")),
    CHECKOUT / "README.md",
    CHECKOUT / "CONTRIBUTING.md",
]


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and text of every string in a file, docstrings and the parts of f-strings too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def found_in(text: str) -> list[str]:
    """Return the banned words in a text, also where a line break parts them."""
    return [found[0] for found in PATTERN.finditer(" ".join(text.split()))]


def test_no_string_of_the_package_holds_a_banned_word() -> None:
    paths = sorted(CHECKOUT.glob("backprop_cli/**/*.py"))
    assert len(paths) > 100
    bad = [
        f"{p.relative_to(CHECKOUT)}:{line}: {word}" for p in paths for line, s in literals(p) for word in found_in(s)
    ]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_page_holds_a_banned_word(path: Path) -> None:
    assert not found_in(path.read_text("utf-8"))


def test_a_message_is_printed_without_what_differs_from_test_to_test() -> None:
    line = "error: /tmp/a-1/b.csv, line 12: 3 pixels; expected 1,024 (0.5 of 1e-3)"
    assert messages.normalized(line) == "error: b.csv, line N: N pixels; expected N (N of N)"


def test_make_messages_prints_what_the_tests_provoke(tmp_path: Path) -> None:
    test = "from command_line import refusal\n\ndef test_it():\n    refusal('train', '--set', 'seed')\n"
    (tmp_path / "test_it.py").write_text(test)
    options = [str(tmp_path / "test_it.py"), "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    told = python(
        f"import messages; messages.main({options!r})", cwd=tmp_path, PYTHONPATH=f"{CHECKOUT / 'tests'}:{CHECKOUT}"
    )
    assert told == "error: --set seed: expected KEY=VALUE, such as --set seed=N\n"
