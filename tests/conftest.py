"""What the tests of the command line share: an empty working directory, and one with two trained runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest
from browser import browser, browser_page, new_page  # noqa: F401  (fixtures)
from command_line import answer

from backprop_cli.engine.training import EpochResult, Progress

# Every run tries the same examples: what passes here passes anywhere. For new ones: --hypothesis-profile=new
# How long an example takes is no verdict: a busy machine takes any time.
unhurried = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("new", unhurried)
hypothesis.settings.register_profile("repeatable", unhurried, derandomize=True)
hypothesis.settings.load_profile("repeatable")

# A shell starts what it puts in the background with Ctrl-C ignored, and the programs started here would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def never_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a command that would begin anew with another kernel from taking all tests along with it."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"a command in the tests' own process began anew: {arguments[:2]}")

    monkeypatch.setattr(os, "execve", refuse)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty directory, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BACKPROP_MODEL", raising=False)


@pytest.fixture
def made_up_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for openml.org: no picture, but of the size of MNIST's."""

    def fetch(name: str, **options: Any) -> SimpleNamespace:
        pixels = np.random.default_rng(0).integers(0, 256, (280, 784))
        return SimpleNamespace(data=pixels, target=np.array([str(k % 10) for k in range(280)], object))

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, before = tmp_path_factory.mktemp("trained"), Path.cwd()
    os.chdir(folder)
    try:
        for config in ("quick", "digits"):
            answer("train", "-c", config)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def trained(trained_once: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the working directory that holds runs/quick-1 and runs/digits-1, the latest; only to be read."""
    monkeypatch.chdir(trained_once)
    yield trained_once
    left = {path.name for path in (trained_once / "runs").iterdir()}
    assert left == {"latest", "quick-1", "digits-1"}
    assert (trained_once / "runs/latest").read_text() == "digits-1\n"


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what makes the next training send itself a SIGTERM at its n-th event."""

    def stop_at(n: int) -> None:
        events = iter(range(1, n + 1))

        def update(view: Any, event: Progress | EpochResult) -> None:
            if next(events, 0) == n:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr("backprop_cli.cli.progress.PlainView.update", update)

    return stop_at
