"""What is written about the commands is true: help, README, hints, bundled configs."""

from __future__ import annotations

import ast
import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from command_line import CHECKOUT, answer, backprop, document, environment
from typer.core import TyperGroup

from backprop_cli.cli.app import COMMANDS, app
from backprop_cli.config.config import bundled_names, load_config

ROOT: Any = typer.main.get_command(app)
CONFIGS = sorted((CHECKOUT / "configs").glob("*.yaml"))


def commands(group: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Walk through all commands and subcommands, groups among them."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))


EVERY: dict[tuple[str, ...], Any] = dict(commands())
LEAVES = [path for path, command in EVERY.items() if not isinstance(command, TyperGroup)]


def options_of(command: Any) -> set[str]:
    """Return the options that a command takes, with those that stand anywhere."""
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own | {"-h", "--help"} | {name for parameter in ROOT.params for name in parameter.opts}


def parse(words: list[str], group: Any = ROOT) -> None:
    """Parse a command line, all its options and arguments, without running it."""
    with group.make_context("backprop", list(words)) as context:
        rest = [*context._protected_args, *context.args]
        if isinstance(group, TyperGroup) and rest:
            _, command, rest = group.resolve_command(context, rest)
            parse(rest, command)


def words_of(line: str) -> list[str]:
    """Return what `backprop` gets in a shell line: up to a pipe, a redirection or the next command."""
    part = re.split(r"\s(?:[|>&;]|\d>|<)", line.partition("backprop ")[2])[0]
    return shlex.split(part, comments=True)


def test_the_parser_of_this_file_refuses_what_the_program_refuses() -> None:
    parse(words_of("cat x.png | backprop predict - --json > y.json"))
    for line in ("backprop trian", "backprop train --lr 3", "backprop predict", "backprop config show"):
        with pytest.raises(Exception, match=r"trian|--lr|pictures|config") as refused:
            parse(words_of(line))
        assert type(refused.value).__module__.startswith("typer.")


# ---- help ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(path: tuple[str, ...]) -> None:
    help_text, of_group = answer(*path, "--help"), answer(*path[:-1], "--help")
    assert EVERY[path].help
    assert re.search(rf"^ +backprop {' '.join(path)}\b", help_text + of_group, re.MULTILINE)
    assert all(option.help for option in EVERY[path].params if option.name != "help"), "an option without help"


@pytest.mark.parametrize("path", [(), *EVERY], ids=lambda path: " ".join(path) or "backprop")
def test_every_example_in_help_parses(path: tuple[str, ...]) -> None:
    command = EVERY.get(path, ROOT)
    for line in (command.epilog or "").splitlines():
        if "backprop " in line:
            parse(words_of(re.split(r" {3,}\b", line.strip())[0]))


def test_the_table_of_commands_says_what_each_says_itself() -> None:
    own = {name: (EVERY[name,].help or "").partition("\n")[0] for name in COMMANDS}
    assert {name: text for name, (_, text) in COMMANDS.items()} == own
    listed = answer("--help")
    assert all(re.search(rf"^  {name} +{re.escape(text)}$", listed, re.MULTILINE) for name, text in own.items())


# ---- README --------------------------------------------------------------------------------------------------------


def readme() -> str:
    return (CHECKOUT / "README.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    """Return the README's fenced blocks of exactly this kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", readme(), re.MULTILINE | re.DOTALL)


def shell_lines(block: str) -> list[tuple[str, str]]:
    """Return the command lines of a block, continued ones joined, each with the output shown below it."""
    parts = re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]
    return [(line, output) for line, _, output in (part.partition("\n") for part in parts)]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_is_in_the_readme(path: tuple[str, ...]) -> None:
    head, *tail = path
    (row,) = re.findall(rf"^\| `backprop {head}[^`]*` .*", readme(), re.MULTILINE)
    assert all(word in row for word in tail)


def test_every_option_in_the_readmes_table_exists() -> None:
    for head, rest in re.findall(r"^\| `backprop (\w+)[^`]*` (.*)", readme(), re.MULTILINE):
        known = set().union(*(options_of(command) for path, command in EVERY.items() if path[0] == head))
        assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)) <= known


def likeness(output: str) -> list[str]:
    """Return an output's lines without what may differ: numbers, digests, and the spaces they push around."""
    output = re.sub(r"\b[0-9a-f]{64}\b", "0", output)
    return [re.sub(r"\d[\d.,]*", "N", re.sub(r" +", " ", line)).strip() for line in output.splitlines()]


def test_the_readmes_run_blocks_run_in_order_and_print_what_they_show(tmp_path: Path) -> None:
    for name in ("data", "configs"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    program = tmp_path / "bin" / "backprop"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m backprop_cli "$@"\n')
    program.chmod(0o755)
    env = environment(PATH=f"{program.parent}:{os.environ['PATH']}")
    lines = [pair for block in blocks("console run") for pair in shell_lines(block)]
    assert len(lines) >= 3
    for line, shown in lines:
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, check=False)
        assert done.returncode == 0, (line, done.stderr.decode())
        wanted, printed = likeness(shown.partition("\n...")[0]), likeness(done.stdout.decode())
        assert printed[: len(wanted)] == wanted, line
        assert "\n..." in shown or len(printed) == len(wanted), line


def test_the_readmes_python_runs_and_gives_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").symlink_to(CHECKOUT / "data")
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("pycon run")
    test = doctest.DocTestParser().get_doctest(block, {}, "README.md", "README.md", 0)
    assert len(test.examples) >= 8
    told: list[str] = []
    runner = doctest.DocTestRunner(checker=Alike(), verbose=False)
    assert runner.run(test, out=told.append).failed == 0, "".join(told)


class Alike(doctest.OutputChecker):
    """Takes numbers for equal: the last bits hang on the processor."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return likeness(want) == likeness(got)


def test_the_readmes_other_commands_parse() -> None:
    lines = [line for block in blocks("console(?: run)?") for line, _ in shell_lines(block)]
    lines += re.findall(r"`(backprop [a-z][^`|]*)`", readme())
    assert lines
    for line in lines:
        words = words_of(line)
        if "backprop " in line and words not in ([path] for path in COMMANDS):
            parse(words)


def test_the_config_in_the_readme_is_the_bundled_one(tmp_path: Path) -> None:
    (shown,) = blocks("yaml")
    (tmp_path / "quick.yaml").write_text(shown)
    assert load_config(str(tmp_path / "quick.yaml")) == load_config("quick")
    assert shown in (CHECKOUT / "configs/quick.yaml").read_text("utf-8")


# ---- configs -------------------------------------------------------------------------------------------------------


def test_the_bundled_names_are_the_files() -> None:
    assert bundled_names() == sorted(path.stem for path in CONFIGS)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] * (path.stem == "pictures")) for path in CONFIGS],
    ids=lambda path: path.stem,
)
@pytest.mark.usefixtures("work", "made_up_mnist")
def test_every_config_is_documented_loads_and_trains_an_epoch(path: Path) -> None:
    assert path.read_text("utf-8").startswith("# ")  # what `config list` shows
    assert yaml.safe_load(path.read_text("utf-8"))["name"] == path.stem
    assert load_config(path.stem) == load_config(str(path))
    few = ("--set", "data.augment.copies=1", "--set", "data.test_size=0.8") if path.stem == "pictures" else ()
    found = document("train", "-c", path, "--epochs", "1", *few)  # all rows and all 40 copies would take minutes
    assert (found["run"], found["epochs"]) == (f"runs/{path.stem}-1", 1)


# ---- hints ---------------------------------------------------------------------------------------------------------


def texts(path: Path) -> Iterator[str]:
    """Return every text in a source file, f-strings with X where something is put in."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def test_texts_of_the_program_name_only_commands_and_options_that_exist() -> None:
    n_commands = 0
    known = set().union({"--install-completion", "--show-completion"}, *map(options_of, EVERY.values()))
    for path in sorted((CHECKOUT / "backprop_cli").rglob("*.py")):
        for text in texts(path):
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known, (path, text)
            for name, rest in re.findall(r"(?:^|`|next:? +|with: |^ +)backprop ([a-z]+)([^`\n]*)", text, re.MULTILINE):
                n_commands += 1
                assert name in COMMANDS, (path, text)
                here = set().union(*(options_of(command) for way, command in EVERY.items() if way[0] == name))
                assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)) <= here, (path, text)
    assert n_commands >= 10


def next_of(text: str) -> list[str]:
    """Return the command that an output says is next."""
    (line,) = re.findall(r"(?:next:? +|go on with: )(backprop .*)", text)
    return words_of(line)


def test_the_next_commands_that_train_and_init_name_run(work: Path) -> None:
    train = next_of(backprop("init", "mine.yaml", "--template", "quick").stderr)
    report = answer(*train, "--epochs", "1")
    assert backprop(*next_of(report)).exit_code == 0
    without_test = next_of(answer(*train, "--epochs", "1", "--set", "data.test_size=0"))
    shutil.copy(CHECKOUT / "data/samples/1-1416.png", "PICTURE")
    assert backprop(*without_test).exit_code == 0


def test_the_hint_of_an_interrupted_run_runs_also_in_an_awkward_place(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(view: Any, event: Any) -> None:
        os.kill(os.getpid(), 2)

    with monkeypatch.context() as patched:
        patched.setattr("backprop_cli.cli.progress.PlainView.update", interrupt)
        result = backprop("train", "-c", "quick", "--epochs", "3", "--run-dir", "my run")
    assert result.exit_code == 130
    hint = next_of(result.stderr)
    assert hint == ["train", "--resume", "my run"]
    answer(*hint)
