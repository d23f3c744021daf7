"""What a shell is offered for the word that is being typed: configs, runs, models, settings, files.

Nothing is read but lists of names, and nothing heavy is imported: the user waits for the answer to Tab. A folder
that is all there is to offer is offered with what is in it, since a shell puts a blank after a lone answer.
"""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any

from backprop_cli.api.runs import newest_runs
from backprop_cli.config.keys import keys
from backprop_cli.files import clean, shipped

_BREAK = re.compile("[=:]+")  # what bash makes words of their own
_SPECIAL = re.compile(r"([^\w@%+=:,./~\[\]-])")  # what bash wants a backslash before
_LOST_ON_ZSH = re.compile(r"['\"\\]|  ")  # what Typer's answer to zsh cannot carry; zsh's own completion of files can
_SOURCES = ("digits", "pens", "openml:")
_TAKES_SOURCE = re.compile(r"data\.((test_)?source|extra(\.0\.source)?)")


def _configs(typed: str) -> list[str]:
    return [*_templates(typed), *_paths(typed, (".yaml", ".yml"))]


def _templates(typed: str) -> list[str]:
    return sorted(path.stem for path in shipped("configs", "configs").glob("*.yaml"))


def _models(typed: str) -> list[str]:
    return [*newest_runs(with_model=True), "pretrained", *_paths(typed, (".safetensors",))]


def _runs(typed: str) -> list[str]:
    return [*newest_runs(), *_paths(typed, ())]


def _pictures(typed: str) -> list[str]:
    """Offer the names of samples; files are left to the shell, which knows best how to."""
    return [f"samples:{digit}" for digit in range(10)] if typed else []


def _sources(typed: str) -> list[str]:
    return [*_SOURCES, *_paths(typed, None)] if any(word.startswith(typed) for word in _SOURCES) else []


def _settings(typed: str) -> list[str]:
    """Offer the keys, and behind the `=` what the key may be."""
    known = keys()
    if index := re.search(r"\[\d{1,4}\]|(?<=layers|.extra)\.\d{1,4}(?=\.|$)", typed):
        known = {key.replace(".0", index[0], 1): values for key, values in known.items()}
    key, equals, value = typed.partition("=")
    found = [one for one in known if one.startswith(key)]
    if not equals and len(found) != 1:
        return [f"{one}=" for one in found]
    key = key if equals else found[0]
    values = list(known.get(key, ()))
    if _TAKES_SOURCE.fullmatch(key):
        values = _with_inside([*_SOURCES, *_paths(value, None)], value, None)
    alone = [f"{key}="] if not equals and len(values) == 1 else []
    return [*alone, *(f"{key}={one}" for one in values)]


OFFERS: dict[str, Callable[[str], list[str]]] = {
    "config": _configs,
    "template": _templates,
    "model": _models,
    "run": _runs,
    "picture": _pictures,
    "source": _sources,
    "setting": _settings,
}
_ENDINGS: dict[str, tuple[str, ...] | None] = {"config": (".yaml", ".yml"), "model": (".safetensors",), "run": ()}


def offered(kind: str, typed: str) -> list[str]:
    """Return what may stand for the word that is typed so far; where that is nothing, the shell offers files.

    Args:
        kind: One of `OFFERS`.
        typed: The word so far, without quotes.
    """
    found = [one for one in dict.fromkeys(OFFERS[kind](typed)) if one.startswith(typed) and clean(one) == one]
    if os.environ.get("_BACKPROP_COMPLETE") == "complete_zsh":
        found = [one for one in found if not _LOST_ON_ZSH.search(one)]
    return _with_inside(found, typed, _ENDINGS.get(kind))


def _with_inside(found: list[str], typed: str, endings: tuple[str, ...] | None) -> list[str]:
    """Add to a lone folder what is in it."""
    matching = [one for one in found if one.startswith(typed)]
    return [*found, *_paths(matching[0], endings)] if len(matching) == 1 and matching[0].endswith("/") else found


def _paths(typed: str, endings: tuple[str, ...] | None) -> list[str]:
    """Return the folders, with a slash, and the files of some endings that a path may become; None: any ending."""
    folder, slash, begun = typed.rpartition("/")
    found = []
    with suppress(OSError, ValueError), os.scandir(os.path.expanduser(folder + slash) or ".") as entries:  # noqa: PTH111
        for entry in entries:
            is_hidden = entry.name.startswith(".") and not begun
            if is_hidden or not entry.name.startswith(begun):
                continue
            with suppress(OSError):
                is_folder = entry.is_dir()
                if is_folder or endings is None or entry.name.lower().endswith(endings):
                    found.append(f"{folder}{slash}{entry.name}{'/' * is_folder}")
    return sorted(found)


# ---- shells --------------------------------------------------------------------------------------------------------


def answer_shell(app: Callable[..., Any], instruction: str) -> str:
    """Return what a shell is to be told; whatever goes wrong, it is told nothing, and offers files.

    Args:
        app: The command line, which answers to the shell's variables in the environment.
        instruction: `complete_bash` or `complete_zsh`.
    """
    is_bash = instruction == "complete_bash"
    said, before, is_quoted = io.StringIO(), "", False
    with suppress(Exception, SystemExit), redirect_stdout(said), redirect_stderr(io.StringIO()):
        if is_bash:
            before, is_quoted = _join_words()
        app(prog_name="backprop")
    lines = said.getvalue().splitlines()
    return "\n".join(_for_bash(lines, before, is_quoted=is_quoted) if is_bash else _for_zsh(lines))


def _for_bash(lines: list[str], before: str, *, is_quoted: bool) -> list[str]:
    """Return the answers as bash puts them in place of the last part of a word, behind what is before it."""
    value = re.sub(r"^--[\w-]+=", "", before)  # the option is no part of an answer
    lines = [line.removeprefix(value) for line in lines]
    return lines if is_quoted else [_SPECIAL.sub(r"\\\1", line) for line in lines]


def _for_zsh(lines: list[str]) -> list[str]:
    """Return the command that shows the answers, or files, as possible ends of the word."""
    word = os.environ["_TYPER_COMPLETE_ARGS"].rpartition(" ")[2]
    if re.match(r"[^'\"]*(?<!\\)\[", word):  # a pattern to zsh, which would not run it as it stands
        return []
    option = re.match(r"--[\w-]+=", word)  # no part of an answer
    return [(f"compset -P '{option[0]}'; " if option else "") + ("\n".join(lines) or "_files")]


def _join_words() -> tuple[str, bool]:
    """Put words that bash has parted at `=` and `:` together again, for Typer to see them as they are.

    Returns:
        What of the current word stands before the part that bash replaces, and whether that part is in quotes.
    """
    words, n = os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"])
    if len(words) <= n:  # a line break within quotes, or nobody's bash
        return "", False
    joined: list[str] = []
    parts: list[str] = []  # of the last one
    for word in words[: n + 1]:
        if len(joined) > 1 and word and (_BREAK.fullmatch(word) or _BREAK.fullmatch(parts[-1])):
            parts.append(word)
            joined[-1] += word
        else:
            parts = [word]
            joined.append(word)
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(joined), str(len(joined) - 1)
    before = parts if _BREAK.fullmatch(parts[-1]) else parts[:-1]
    with suppress(ValueError):  # a quote that is open
        return "".join(shlex.split("".join(before))), parts[-1][:1] in ("'", '"')
    return "".join(before), True
