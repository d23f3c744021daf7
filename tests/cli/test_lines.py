"""Text is had as lines, without a terminal; and what the library advises, the command line says in its own words."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from command_line import SAMPLES, answer, refusal
from command_line import backprop as run_backprop
from rich.console import Console

import backprop_cli as backprop
from backprop_cli.cli import console
from backprop_cli.cli.check import format_check
from backprop_cli.cli.evaluate import format_figures, format_worst
from backprop_cli.cli.explain import Screen, format_correction, format_explanation, format_guess, format_loss
from backprop_cli.cli.predict import format_guess as format_prediction
from backprop_cli.cli.predict import format_number
from backprop_cli.cli.runs import format_runs
from backprop_cli.cli.train import format_run
from backprop_cli.errors import ADVICE, ArgumentError, BackpropError

PICTURE = SAMPLES / "4-1419.png"
NARROW, WIDE = Screen(60, is_colored=False), Screen(200, is_colored=True)


def text_of(lines: Iterable[Any], width: int = 200) -> str:
    """Return lines as they would be printed on a screen of this width, without colors."""
    screen = Console(file=io.StringIO(), width=width, color_system=None)
    with screen.capture() as captured:
        for line in lines:
            screen.print(line, highlight=False, markup=False, soft_wrap=isinstance(line, str))
    return captured.get()


def test_a_prediction_and_a_number_are_lines(trained: Path) -> None:
    found = backprop.load().predict(PICTURE)
    first, *drawing = format_prediction(found, 2, draw=True)
    assert first == answer("predict", PICTURE).splitlines()[0]
    assert len(drawing) == 8
    assert answer("predict", PICTURE, "--show").splitlines()[1:] == drawing
    assert format_prediction(found, 1, draw=False) == [found.sentence(1)]
    number = backprop.load().predict_number(PICTURE)
    assert format_number(number) == answer("predict", PICTURE, "--digits", "many").splitlines()


NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*(?:e[-+]?[0-9]+)?")


@pytest.mark.parametrize("width", [40, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "command",
    [
        "eval",
        "eval --diagnose",
        "explain digits:1425",
        "explain digits:1425 --learning-rate 0.001,0.01,1",
        "check -c quick",
        "cv -c quick --folds 2 --epochs 1",
        "runs",
        "data show digits:5 -c quick",
        "train -c quick --dry-run",
    ],
)
def test_no_number_is_cut_however_narrow_the_screen(command: str, width: int, trained: Path) -> None:
    words = command.replace("--epochs 1", "--set training.epochs=1").split()
    narrow, wide = (run_backprop(*words, columns=columns).stdout for columns in (width, 200))
    assert "\N{HORIZONTAL ELLIPSIS}" not in narrow
    numbers = [set(NUMBER.findall(re.sub(r"[0-9.]+ m?s\b", "", text))) for text in (narrow, wide)]
    if "eval" not in command:  # whose confusions are told in words there
        assert numbers[1] <= numbers[0]


def test_figures_checks_runs_and_lists_are_lines_that_the_commands_print(trained: Path, work: Path) -> None:
    model = backprop.load(trained / "runs/quick-1")
    found = model.evaluate()
    lines = text_of([*format_figures(found, 80), *format_worst(found.worst_answers, 80)])
    printed = answer("eval", "-m", trained / "runs/quick-1")
    assert [line.rstrip() for line in lines.splitlines()] == [line.rstrip() for line in printed.splitlines()]
    assert format_worst((), 80) == []
    run = backprop.train("quick", run_dir="mine")
    assert format_run(run)[1] == "best epoch  35 of 40 (completed)"
    assert format_runs(backprop.runs(work))[1].split()[:2] == ["mine", "40"]
    assert "overfit one batch " in text_of(format_check(backprop.check("quick")))


def test_an_explanation_is_lines_for_any_width(trained: Path) -> None:
    found = backprop.load("quick-1").explain("digits:1658", learning_rates=(0.01, 1.0, 100.0))
    text = text_of(format_explanation(found, WIDE))
    for heading in ("GUESS", "LOSS", "BLAME", "CORRECTION", "CHECKED"):
        assert f"\n{heading}" in f"\n{text}"
    assert "(red)" in text
    assert "(+)" in text_of(format_explanation(found, NARROW))
    paragraphs = [line for part in (format_guess, format_loss) for line in part(found, NARROW) if isinstance(line, str)]
    assert max(map(len, paragraphs)) <= NARROW.width
    steps = text_of(format_correction(found, WIDE))
    assert steps.count("overshoots") + steps.count("harms the others") + steps.count("no longer finite") >= 1


def test_lines_are_printed_as_text_and_tables_by_rich(capsys: pytest.CaptureFixture[str]) -> None:
    table = console.table("a", "b")
    table.add_row("[red]x[/red]", "1")
    console.print_lines(["[bold]y[/bold] \x1b[2J", table])
    printed = capsys.readouterr().out
    assert r"[bold]y[/bold] \x1b[2J" in printed
    assert "b" in printed.splitlines()[1]


# ---- advice --------------------------------------------------------------------------------------------------------


def test_every_advice_has_words_for_the_command_line() -> None:
    assert console.ADVICE.keys() == ADVICE.keys()
    assert not [words for words in ADVICE.values() if "--" in words or "`" in words]


REFUSALS = """
eval
    no model yet; run `backprop train` first
verify
    no run yet; run `backprop train` first
train --run-dir old
    old: is already a run; add --resume old to continue it, or choose another --run-dir
train --run-dir full
    full: is not empty; choose another --run-dir
train -c empty.yaml
    empty.yaml: empty; `backprop init` writes a config to start from
train --set sed=1
    --set sed=1: sed: unknown key; did you mean seed?
cv --folds 0
    --folds "0": 2 to 1000, or writers
data show --index 1797
    --index 1797: rows are counted from 0 to 1796
data show -c quick --augmented
    --augmented: this config has no data.augment
explain digits:3 --label x -m pretrained
    --label: "x" is not one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
explain digits:3 --learning-rate -1
    --learning-rate "-1": expected numbers above 0 separated by commas, such as 0.01,0.1
predict digits:3 --digits many -m pretrained
    digits:3: --digits many reads pictures; the samples hold one digit each
"""


@pytest.mark.parametrize(("command", "line"), re.findall(r"^(\S.*)\n    (.*)$", REFUSALS, re.MULTILINE))
def test_errors_name_the_options_of_the_command(work: Path, command: str, line: str) -> None:
    Path("old").mkdir()
    Path("old/config.yaml").write_text("seed: 0\n")
    Path("full").mkdir()
    Path("full/file").write_text("")
    Path("empty.yaml").write_text("")
    assert refusal(*command.split()).splitlines()[-1] == f"error: {line}"


def test_an_error_is_the_same_in_both_words_but_for_its_advice(capsys: pytest.CaptureFixture[str]) -> None:
    problem = BackpropError("a: b", "c: d", advice="resume", about="runs/x")
    assert problem.problems == ("a: b", "c: d; resume it, or choose another directory")
    console.error(problem)
    console.error(ArgumentError("learning_rates 0: numbers above 0"))
    first, second, third = capsys.readouterr().err.splitlines()
    assert (first, third) == ("error: a: b", "error: --learning-rates 0: numbers above 0")
    assert second == "error: c: d; add --resume runs/x to continue it, or choose another --run-dir"
