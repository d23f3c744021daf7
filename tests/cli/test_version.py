"""`backprop version`: all that a report of a bug needs, and nothing of whose machine it is."""

from __future__ import annotations

import getpass
import importlib.metadata
import platform
import re
import tomllib
from pathlib import Path

import pytest
from command_line import CHECKOUT, answer, document, process

from backprop_cli import __version__
from backprop_cli.api.version import PACKAGES, version


def test_the_document_holds_what_is_promised() -> None:
    found = document("version")
    assert found["schema"] == "backprop.version/1"
    assert found["backprop"] == __version__
    assert found["python"].startswith(platform.python_version())
    assert found["packages"]["numpy"] == importlib.metadata.version("numpy")
    assert found["packages"].keys() == set(PACKAGES)
    assert found["n_cores"] >= 1
    assert found["threads"] in (1, None)
    assert {"blas", "blas_kernel", "cpu", "cpu_features", "platform"} <= found.keys()


def test_every_package_that_is_needed_is_listed() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["heif"]]
    assert {re.split(r"[<>=\[ ]", one)[0] for one in needed} <= set(PACKAGES)


def test_the_text_is_an_aligned_list_of_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backprop_cli.api.version.PACKAGES", ("numpy", "no-such-package"))
    lines = answer("version").splitlines()
    assert lines[0] == f"{'backprop':<15}  {__version__}"
    assert lines[-1] == "no-such-package  not installed"
    assert all(re.fullmatch(r"\S+ +\S.*", line) for line in lines)
    assert len({len(re.match(r"\S+ +", line)[0]) for line in lines}) == 1


def test_it_says_nothing_of_whose_machine_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-built-by-somebody+")
    assert " 6.1.0 " in version().platform
    monkeypatch.undo()
    home = tmp_path / "home-of-somebody"
    home.mkdir()
    told = b"".join(
        process(
            "version", *more, cwd=tmp_path, env={"HOME": str(home), "USER": "somebody", "LOGNAME": "somebody"}
        ).stdout
        for more in ((), ("--json",))
    ).decode()
    words = set(re.findall(r"[\w.-]+", told.lower()))
    for secret in ("somebody", str(tmp_path), str(Path.home())):
        assert secret not in told
    assert not words & {getpass.getuser().lower(), platform.node().lower()}


def test_the_short_form_stays_as_it_was() -> None:
    assert answer("--version") == f"backprop {__version__}\n"
