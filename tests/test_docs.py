"""What is written about the program is true: help, README and docs, links, hints, bundled configs."""

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
from urllib.parse import unquote

import pytest
import yaml
from command_line import CHECKOUT, SAMPLES, answer, backprop, document, environment
from make_docs import ROOT, Key, anchor, commands, made, parted, sections, takes
from typer.core import TyperGroup

import backprop_cli
from backprop_cli.cli.app import COMMANDS
from backprop_cli.config.config import bundled_names, load_config
from backprop_cli.config.keys import keys
from backprop_cli.config.schema import json_schema

MADE = made()
CONFIGS = sorted((CHECKOUT / "configs").glob("*.yaml"))
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


NEVER_ENDING = "backprop draw"  # has tests of its own


EXAMPLES = [line for command in EVERY.values() for line, _ in parted(command.epilog or "")[0]]


@pytest.fixture
def furnished(trained_once: Path, work: Path) -> Path:
    """Give a working directory with all that examples name, in it three runs."""
    for target, source in {"digits-1": "digits-1", "digits-3": "digits-1", "quick-1": "quick-1"}.items():
        shutil.copytree(trained_once / "runs" / source, work / "runs" / target)
    (work / "runs/latest").write_text("digits-1\n")
    sample = SAMPLES / "7-1658.png" if (SAMPLES / "7-1658.png").exists() else min(SAMPLES.glob("*.png"))
    for place in ("photo.png", "postcode.png", "PICTURE", "scans/1.png", "mine/7/0001.png"):
        (work / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample, work / place)
    shutil.copy(CHECKOUT / "configs/quick.yaml", work / "my.yaml")
    rows = [f"{k % 10}," + ",".join(["0", "9", "16", "3"] * 16) for k in range(40)]
    head = ",".join(f"pixel{k}" for k in range(64))
    (work / "train.csv").write_text("\n".join([f"label,{head}", *rows]) + "\n")
    (work / "test.csv").write_text("\n".join([head, *(row.partition(",")[2] for row in rows)]) + "\n")
    return work


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in EXAMPLES if not line.startswith(NEVER_ENDING)])
def test_every_example_in_help_runs(line: str, furnished: Path) -> None:
    if line.startswith("backprop ") and words_of(line) == shlex.split(line)[1:]:
        result = backprop(*words_of(line))
        assert result.exit_code == 0, result.output
    else:
        done = in_a_shell(line, furnished)
        assert done.returncode == 0, done.stderr.decode()


# ---- README and docs -----------------------------------------------------------------------------------------------

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
MARKDOWN = sorted(
    path
    for path in CHECKOUT.rglob("*.md")
    if not {"runs", "build", "dist", "node_modules"} & set(path.parts)
    and not any(part.startswith(".") and part != ".github" for part in path.relative_to(CHECKOUT).parts)
)


def name_of(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def blocks(page: Path, kind: str) -> list[str]:
    """Return a page's fenced blocks of exactly this kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def shell_lines(block: str) -> list[tuple[str, str]]:
    """Return the command lines of a block, continued ones joined, each with the output shown below it."""
    parts = re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]
    return [(line, output) for line, _, output in (part.partition("\n") for part in parts)]


def in_a_shell(line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a line of a shell in a folder, where `backprop` is the program under test."""
    program = folder / ".bin" / "backprop"
    if not program.exists():
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m backprop_cli "$@"\n')
        program.chmod(0o755)
    env = environment(PATH=f"{program.parent}:{os.environ['PATH']}")
    return subprocess.run(["bash", "-c", line], cwd=folder, env=env, capture_output=True, check=False)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_is_in_the_docs(path: tuple[str, ...]) -> None:
    name = " ".join(("backprop", *path))
    assert re.search(rf"^#+ {name}$", (CHECKOUT / "docs/commands.md").read_text("utf-8"), re.MULTILINE)


def table(page: str, above: str) -> list[list[str]]:
    """Return the cells of the table below some words, without its ruler."""
    text = (CHECKOUT / page).read_text("utf-8").partition(above)[2]
    first, _, *rest = text[text.index("|") :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in (first, *rest)]


def test_the_readme_compares_with_the_figures_that_were_measured() -> None:
    measured = {
        (job.partition(" ")[2], by): ratio for job, by, _, ratio in table("docs/performance.md", "## A training")
    }
    (_, *peers), *jobs = table("README.md", "Time of a training step")
    names = {
        "scikit-learn": "scikit-learn MLPClassifier",
        "PyTorch": "torch eager Adam",
        "PyTorch, fused Adam": "torch fused Adam",
        "JAX, one call a step": "jax, one jit per step",
        "JAX, one call an epoch": "jax, lax.scan over an epoch",
    }
    for job, *ratios in jobs:
        assert ratios == [f"{float(measured[job, names[peer]]):.1f}" for peer in peers]
    (_, *protocols), *methods = table("docs/accuracy.md", "prints this table")
    right = {
        (row[0].split(",")[0].strip("`"), name): float(cell)
        for row in methods
        for name, cell in zip(protocols, row[1:], strict=True)
    }
    (_, *others), *rows = table("README.md", "Mistakes on the digits")
    for about, *ratios in rows:
        name = about[:2]
        ours = 100 - right["best-ensemble.yaml", name]
        known = [right[other.split(",")[0].strip("`").replace("digits", "digits.yaml"), name] for other in others]
        assert ratios == [f"{(100 - one) / ours:.1f}" for one in known], about


def likeness(output: str) -> list[str]:
    """Return an output's lines without what may differ: numbers, digests, and the spaces they push around."""
    output = re.sub(r"\b[0-9a-f]{64}\b", "0", output)
    return [re.sub(r"\d[\d.,]*", "N", re.sub(r" +", " ", line)).strip() for line in output.splitlines()]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console run")], ids=name_of)
def test_the_run_blocks_of_a_page_run_in_order_and_print_what_they_show(page: Path, tmp_path: Path) -> None:
    for name in ("data", "configs"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    for line, shown in [pair for block in blocks(page, "console run") for pair in shell_lines(block)]:
        done = in_a_shell(line, tmp_path)
        assert done.returncode == 0, (line, done.stderr.decode())
        wanted, printed = likeness(shown.partition("\n...")[0]), likeness(done.stdout.decode())
        assert printed[: len(wanted)] == wanted, line
        assert "\n..." in shown or len(printed) == len(wanted), line


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "pycon run")], ids=name_of)
def test_the_python_of_a_page_runs_and_gives_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").symlink_to(CHECKOUT / "data")
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks(page, "pycon run")), {}, page.name, page.name, 0)
    told: list[str] = []
    runner = doctest.DocTestRunner(checker=Alike(), verbose=False)
    assert runner.run(test, out=told.append).failed == 0, "".join(told)


class Alike(doctest.OutputChecker):
    """Takes numbers for equal: the last bits hang on the processor."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return likeness(want) == likeness(got)


def test_the_pages_run_something() -> None:
    assert len([line for page in PAGES for block in blocks(page, "console run") for line in shell_lines(block)]) >= 3
    assert sum(block.count(">>> ") for page in PAGES for block in blocks(page, "pycon run")) >= 8


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_the_commands_of_a_page_parse(page: Path) -> None:
    lines = [line for block in blocks(page, "console(?: run)?") for line, _ in shell_lines(block)]
    lines += re.findall(r"`(backprop [a-z][^`|]*)`", page.read_text("utf-8"))
    for line in lines:
        words = words_of(line)
        if "backprop " in line and not words[0].startswith("--") and words not in ([path] for path in COMMANDS):
            parse(words)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=name_of)
def test_the_configs_of_a_page_are_the_bundled_ones(page: Path, tmp_path: Path) -> None:
    for shown in blocks(page, "yaml"):
        (tmp_path / "shown.yaml").write_text(shown)
        name = yaml.safe_load(shown)["name"]
        assert load_config(str(tmp_path / "shown.yaml")) == load_config(name)
        assert shown in (CHECKOUT / f"configs/{name}.yaml").read_text("utf-8")


# ---- links ---------------------------------------------------------------------------------------------------------


def links(text: str) -> list[str]:
    """Return where a page's links and pictures point, those in code left out."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "code", text)
    return re.findall(r"\]\(<?([^)\s>]+)", text) + re.findall(r"^\[[^\]]+\]: (\S+)", text, re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them: the second of the same name ends in -1."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found: dict[str, int] = {}
    names = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#{1,6} (.*?)\s*#*$", text, re.MULTILINE):
        name = anchor(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading))
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


def test_links_and_anchors_are_found() -> None:
    text = "# One `two`: 3\n\n## A_b, c\n## A_b, c\n```\n[x](no)\n```\n[`a`](b.md#c) ![p](p.svg) `[x](no)`\n[r]: d.md\n"
    assert links(text) == ["b.md#c", "p.svg", "d.md"]
    assert anchors(text) == {"one-two-3", "a_b-c", "a_b-c-1"}


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, name = link.partition("#")
        target = page.parent / unquote(path) if path else page
        assert target.exists(), f"{name_of(page)}: {link}: there is no such file"
        if name:
            assert name in anchors(target.read_text("utf-8")), f"{name_of(page)}: {link}: no such heading"


# ---- what is made --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MADE, ids=name_of)
def test_what_is_made_from_the_program_is_current(path: Path) -> None:
    assert path.read_text("utf-8") == MADE[path], "`make docs` writes it anew"


def test_what_is_made_says_nothing_of_the_machine_that_made_it() -> None:
    for text in MADE.values():
        assert not re.search(
            rf"{re.escape(str(CHECKOUT))}|{re.escape(str(Path.home()))}/|/tmp|\d+\.\d+\.\d+\.\d+:", text
        )


KEYS = [key for section in sections(json_schema()) for key in section.keys]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_the_example_of_every_key_is_a_valid_setting(key: Key) -> None:
    of_copies = "copies" in key.setting() or key.name == "kinds"
    load_config("digits", [*["data.augment=copies", "data.picture=8x8"] * of_copies, key.setting()])


def test_the_list_of_keys_has_every_key_of_every_config() -> None:
    found = keys()
    for path in CONFIGS:
        for key in leaves(load_config(path.stem).to_dict()):
            assert key in found, f"{path.name}: {key}"


def leaves(plain: Any, path: str = "") -> Iterator[str]:
    """Walk to the keys of a config that hold no mapping; of a list of mappings to those of its first."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(plain, list) and plain and isinstance(plain[0], dict):
        yield from leaves(plain[0], f"{path}.0")
    else:
        yield path


def test_a_setting_of_any_type_is_told_in_words() -> None:
    texts, counts = {"type": "array", "items": {"type": "string"}}, {"type": "integer"}
    schema = {
        "anyOf": [{"const": "balanced"}, {"enum": ["a", "b"]}, {"type": "boolean"}, texts, counts, {"type": "null"}]
    }
    key = Key("training.weights", {"": schema})
    assert takes(key) == "`balanced`, or `a`, `b`, or `true`, `false`, or a list of texts, or a whole number, or null"
    assert key.setting() == "training.weights=balanced"


@pytest.mark.slow
def test_the_public_names_become_pages_without_a_warning(tmp_path: Path) -> None:
    command = (sys.executable, "-W", "error", "tests/make_api.py", str(tmp_path))
    done = subprocess.run(command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    page = (tmp_path / "backprop_cli.html").read_text("utf-8")
    assert all(f'id="{name}"' in page for name in backprop_cli.__all__ if name != "__version__")
    assert str(CHECKOUT) not in page


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
    (line,) = re.findall(r"(?:next:? +|resume with: )(backprop .*)", text)
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
