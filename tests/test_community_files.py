"""The files that a host of repositories shows: they parse, and what they name exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import CHECKOUT
from test_docs import COMMANDS, EVERY, options_of, parse, words_of

from backprop_cli import __version__

TEMPLATES = CHECKOUT / ".github" / "ISSUE_TEMPLATE"
FORMS = [TEMPLATES / "bug.yml", TEMPLATES / "feature.yml"]
INPUTS = {"input", "textarea", "dropdown", "checkboxes"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_has_what_github_wants(path: Path) -> None:
    form = read(path)
    assert all(isinstance(form[key], str) for key in ("name", "description"))
    ids = [field["id"] for field in form["body"] if field["type"] in INPUTS]
    assert len(set(ids)) == len(ids) >= 1
    for field in form["body"]:
        assert field.keys() <= {"type", "id", "attributes", "validations"}
        assert field["type"] in INPUTS | {"markdown"}
        assert field["attributes"]["label" if field["type"] in INPUTS else "value"]


def test_a_bug_asks_for_the_versions_the_command_and_both_outcomes() -> None:
    needed = {field["id"] for field in read(FORMS[0])["body"] if field.get("validations", {}).get("required")}
    assert needed == {"version", "command", "expected", "found"}
    assert "`backprop version --json`" in FORMS[0].read_text("utf-8")


def test_other_issues_may_be_opened_too() -> None:
    assert read(TEMPLATES / "config.yml") == {"blank_issues_enabled": True}


@pytest.mark.parametrize("path", [*FORMS, CHECKOUT / "SECURITY.md"], ids=lambda path: path.stem)
def test_the_commands_and_options_that_they_name_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    lines = re.findall(r"`(backprop [a-z][^`]*)`|placeholder: (backprop .*)", text)
    for line in filter(None, (part for pair in lines for part in pair)):
        words = words_of(line)
        if words not in ([name] for name in COMMANDS):
            parse(words)
    known = set().union(*map(options_of, EVERY.values()))
    assert set(re.findall(r"`(--[a-z-]+)`", text)) <= known


def test_security_is_ten_lines_without_an_address() -> None:
    lines = (CHECKOUT / "SECURITY.md").read_text("utf-8").splitlines()
    assert len([line for line in lines if line]) <= 10
    assert "@" not in "".join(lines)


def test_the_citation_is_of_this_very_package() -> None:
    found = read(CHECKOUT / "CITATION.cff")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= found.keys()  # what version 1.2.0 wants
    assert found["cff-version"] == "1.2.0"
    assert found["version"] == __version__
    assert found["license"] == project["license"]
    assert found["title"] == project["name"].replace("-", "_")
    assert found["type"] == "software"
    assert all(author.keys() <= {"name", "family-names", "given-names", "orcid"} for author in found["authors"])


def test_the_changelog_begins_with_this_version_or_with_what_is_not_released() -> None:
    first, *others = re.findall(r"^## (.*)", (CHECKOUT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert __version__ in ([first.partition(" ")[0]] if first != "Unreleased" else [others[0].partition(" ")[0]])
    assert {re.sub(r" - .*", "", version) for version in others} >= {"0.1.0"}
