"""What bash and zsh are told for a word that is being typed: through their variables, as their scripts ask."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import environment, process

from backprop_cli.cli.completion import OFFERS, offered
from backprop_cli.config.config import bundled_names

SHOW = """printf '<%s>' "${COMPREPLY[@]}\""""
BREAKS = re.compile(r"([=:]+)")


def bash_words(line: str) -> list[str]:
    """Part a line as bash does: at blanks, and at `=` and `:` where they are not in quotes."""
    words = re.findall(r"""(?:[^\s"'\\]|\\.|"[^"]*(?:"|$)|'[^']*(?:'|$))+""", line)
    parted = [part for word in words for part in ([word] if word[0] in "'\"" else filter(None, BREAKS.split(word)))]
    return [*parted, *[""] * line.endswith(" ")]


def bash(line: str, cwd: Path) -> list[str]:
    """Return what bash is told at the end of a line."""
    words = bash_words(line)
    asked = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1), "_BACKPROP_COMPLETE": "complete_bash"}
    return told(asked, cwd).splitlines()


def zsh(line: str, cwd: Path) -> str:
    """Return the command that zsh is told to evaluate at the end of a line."""
    return told({"_TYPER_COMPLETE_ARGS": line, "_BACKPROP_COMPLETE": "complete_zsh"}, cwd)


def told(variables: dict[str, str], cwd: Path) -> str:
    done = process(cwd=cwd, env=variables)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().strip()


@pytest.fixture
def place(work: Path) -> Path:
    """Give a working directory with configs, models and runs, whole and broken."""
    for name, age in (("quick-1", 300), ("quick-10", 100), ("quick-2", 200), ("no-model", 50)):
        run = work / "runs" / name
        run.mkdir(parents=True)
        (run / "config.yaml").touch()
        if name != "no-model":
            (run / "model.safetensors").touch()
        os.utime(run, (1e9 - age, 1e9 - age))
    (work / "runs/latest").write_text("quick-2\n")
    (work / "runs/empty").mkdir()
    (work / "runs/a file").touch()
    (work / "runs/dangling").symlink_to("nowhere")
    (work / "runs/circle").symlink_to("circle")
    (work / "my files/deep").mkdir(parents=True)
    for name in (
        "it's.yaml",
        "two words.yaml",
        "my files/a b.yml",
        "my files/m.safetensors",
        "photo 1.png",
        ".hidden.yaml",
        "x\ny.yaml",
    ):
        (work / name).touch()
    return work


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("backprop pre", ["predict"]),
        ("backprop data ", ["show"]),
        ("backprop train -c q", ["quick"]),
        ("backprop train --config=q", ["quick"]),
        ("backprop config show di", ["digits"]),
        ("backprop init --template qu", ["quick"]),
        ("backprop train -c tw", [r"two\ words.yaml"]),
        ('backprop train -c "tw', ["two words.yaml"]),
        (r"backprop train -c two\ w", [r"two\ words.yaml"]),
        ("backprop train -c it", [r"it\'s.yaml"]),
        ("backprop train -c my", [r"my\ files/", r"my\ files/a\ b.yml", r"my\ files/deep/"]),
        ("backprop eval -m quick-", ["quick-10", "quick-2", "quick-1"]),
        ("backprop eval --model pr", ["pretrained"]),
        (r"backprop eval -m my\ files/m", [r"my\ files/m.safetensors"]),
        ("backprop use la", ["latest"]),
        ("backprop verify no", ["no-model"]),
        ("backprop eval -m no", []),
        ("backprop report quick-1 quick-10 quick-2", ["quick-2"]),
        ("backprop train --from quick-1", ["quick-10", "quick-1"]),
        ("backprop predict samples:", [str(digit) for digit in range(10)]),
        ("backprop predict samples:4", ["4"]),
        ("backprop explain samples:4 --label 4 -m quick-10", ["quick-10"]),
        ("backprop predict photo", []),  # bash completes files itself
        ("backprop train --set see", ["seed=", "seed=0"]),
        ("backprop train --set seed=", ["0"]),
        ("backprop train --set optimizer.name=ad", ["adam", "adamw"]),
        ("backprop train --set=optimizer.name=r", ["rmsprop"]),
        ("backprop train --set data.augment=", ["warps", "copies", "null"]),
        ("backprop train --set network.layers[1].activation=si", ["sigmoid", "silu"]),
        ("backprop train --set network.layers.1.activation=si", ["sigmoid", "silu"]),
        ("backprop train --set network.layers=[64,32] -c q", ["quick"]),
        ("backprop train --set 'network.layers=[{units: 64}, {units: 32}]' --set seed=1 -c q", ["quick"]),
        ('backprop train --set "data.extra=[{source: pens, share: 0.4}]" --set training.kernel=p', ["portable"]),
        ("backprop train --set data.source=pe", ["pens"]),
        ("backprop train --set data.source=pho", [r"photo\ 1.png"]),
        (
            "backprop train --set data.source=my",
            [r"my\ files/", *(rf"my\ files/{n}" for n in (r"a\ b.yml", "deep/", "m.safetensors"))],
        ),
        ("backprop eval --split=te", ["test"]),
        ("backprop eval --split te", ["test"]),
        ("backprop train --set nosuch.key=", []),
        ("backprop train --set nonsense -c q", ["quick"]),
        ("backprop train --epochs none -c q", ["quick"]),
        ("backprop --version pre", ["predict"]),
        ("backprop nosuch -c q", []),
        ("backprop train --nosuch -c q", ["quick"]),
    ],
)
def test_bash_is_told(place: Path, line: str, answer: list[str]) -> None:
    assert bash(line, place) == answer


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("backprop train -c q", """_arguments '*: :(("quick"))'"""),
        ("backprop train --config=q", """compset -P '--config='; _arguments '*: :(("quick"))'"""),
        ("backprop train -c tw", """_arguments '*: :(("two words.yaml"))'"""),
        (r"backprop train -c two\ w", """_arguments '*: :(("two words.yaml"))'"""),
        ("backprop eval -m quick-", """_arguments '*: :(("quick-10"\n"quick-2"\n"quick-1"))'"""),
        ("backprop predict samples:4", r"""_arguments '*: :(("samples\\:4"))'"""),
        ("backprop predict photo", "_files"),
        ("backprop train --set seed", """_arguments '*: :(("seed="\n"seed=0"))'"""),
        ("backprop train --set optimizer.name=r", """_arguments '*: :(("optimizer.name=rmsprop"))'"""),
        ("backprop train --set 'network.layers=[{units: 64}]' -c q", """_arguments '*: :(("quick"))'"""),
        ("backprop train --set network.layers[0].act", ""),  # a pattern that matches nothing: zsh would not run it
        ("backprop train --set 'network.layers[0].dropout=", """_arguments '*: :(("network.layers[0].dropout=0"))'"""),
        ("backprop nosuch -c q", "_files"),
        ("backprop train -c it", "_files"),  # with a quote in its name
    ],
)
def test_zsh_is_told(place: Path, line: str, answer: str) -> None:
    assert zsh(line, place) == answer


def test_all_that_a_config_and_a_model_may_be_is_offered_runs_newest_first(place: Path) -> None:
    assert offered("config", "") == [*bundled_names(), "it's.yaml", "my files/", "runs/", "two words.yaml"]
    assert offered("config", ".") == [".hidden.yaml"]
    assert offered("model", "") == ["quick-10", "quick-2", "quick-1", "latest", "pretrained", "my files/", "runs/"]
    assert offered("run", "") == ["no-model", "quick-10", "quick-2", "quick-1", "latest", "my files/", "runs/"]
    assert offered("picture", "") == []
    assert len(offered("setting", "")) > 50


@pytest.mark.parametrize("kind", OFFERS)
def test_nothing_is_raised_wherever_it_is_asked(kind: str, work: Path) -> None:
    for typed in ("", "x", "nosuch/", "/nosuch/x", "~nobody/", "\0", "a\0/b", "\udcff", "[", "key=", "=", "x" * 5000):
        assert offered(kind, typed) is not None
    (work / "runs").write_text("no folder")
    assert "quick-1" not in offered(kind, "")
    shutil.rmtree(work)
    assert offered(kind, "./") == []


@pytest.mark.parametrize(
    "line", ["backprop ", "backprop train -c ", "backprop train --set optimizer.name=", "backprop eval -m "]
)
def test_no_completion_loads_what_takes_long(place: Path, line: str) -> None:
    words = bash_words(line)
    asked = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1), "_BACKPROP_COMPLETE": "complete_bash"}
    done = process(cwd=place, env=asked | {"PYTHONPROFILEIMPORTTIME": "1"})
    loaded = {entry.rpartition("|")[2].strip() for entry in done.stderr.decode().splitlines()}
    assert "backprop_cli.cli.completion" in loaded
    assert not loaded & {"numpy", "sklearn", "scipy", "yaml", "PIL", "safetensors", "rich.progress", "rich.console"}


def test_bash_completes_with_the_script_that_is_installed(
    place: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The whole way: the script of `--show-completion`, and the words as this bash parts them."""
    program = tmp_path_factory.mktemp("bin") / "backprop"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m backprop_cli "$@"\n')
    program.chmod(0o755)
    script = told({"_BACKPROP_COMPLETE": "source_bash"}, place)
    calls = [
        f"COMP_WORDS=(backprop train {words}); COMP_CWORD={n}; _backprop_completion backprop; {SHOW}"
        for words, n in (("--set optimizer.name = ad", 5), (r'-c "two\\ w"', 3))
    ]
    env = environment(PATH=f"{program.parent}:{os.environ['PATH']}")
    done = subprocess.run(
        ["bash", "-c", "\n".join([script, *calls])], cwd=place, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == r"<adam><adamw><two\ words.yaml>"
