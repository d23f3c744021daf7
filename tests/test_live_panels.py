"""What `train` shows on a terminal while it trains: how it looks, what it costs, where it keeps away."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from command_line import document, on_a_terminal, wait_until
from rich.console import Console

from backprop_cli.api.training import training
from backprop_cli.api.words import with_article
from backprop_cli.cli import live_panels, progress
from backprop_cli.config.config import load_config
from backprop_cli.engine.training import EpochResult, LayerFigures
from backprop_cli.experiment.watched_digit import WatchedDigit

TITLE = "gradient norm by layer"


def watched(*settings: str, config: str = "quick", n_events: int = 10) -> live_panels.History:
    """Return what a short training would show."""
    events = training(load_config(config, settings), run_dir=False)
    history = live_panels.History(events)
    for event in (event for event, _ in zip(events, range(n_events), strict=False)):
        if isinstance(event, EpochResult):
            history.note(event)
            history.look()
    return history


def lines_of(history: live_panels.History, width: int) -> list[str]:
    """Return what a terminal of this width shows; a line that is too long would be two."""
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with screen.capture() as captured:
        screen.print(live_panels.draw(history, width))
    return captured.get().rstrip("\n").split("\n")


# ---- how it looks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [50, 60, 76, 77, 80, 120, 300])
@pytest.mark.parametrize("config", ["quick", "deep"])
def test_the_panels_stand_beside_each_other_and_fit(config: str, width: int) -> None:
    history = watched(config=config, n_events=3)
    assert live_panels.fits(width, 24)
    lines = lines_of(history, width)
    assert len(lines) == live_panels.HEIGHT
    assert max(map(len, lines)) <= width - 3  # room for the ^C that a terminal prints
    assert lines[0].startswith("loss  ∙∙ train  ── val")
    assert (TITLE in lines[0]) == (width >= 77)
    assert history.watched is not None
    assert lines[0].endswith(f"{history.watched.name}: {with_article(history.watched.label)}")
    picture = [line[-live_panels.DIGIT_WIDTH :] for line in lines[1:9]]
    assert all(re.search("[░▒▓█]", line) for line in picture)
    assert re.search(r"says \d, \d+\.\d %$", lines[9])


def test_a_small_terminal_keeps_the_bar_alone() -> None:
    assert not any(live_panels.fits(width, 24) for width in (20, 40, 49))
    assert not any(live_panels.fits(80, height) for height in (5, 10, 14))


def event(epoch: int, train_loss: float, val_loss: float | None, n_layers: int = 2, norm: float = 1.0) -> EpochResult:
    layers = tuple(LayerFigures(norm, 1e-3, 0.0, 0.0) for _ in range(n_layers))
    return EpochResult(epoch, 20, train_loss, val_loss, 0.5, 1e-3, norm, layers, 0.1, 10, False, None)


def test_the_curves_fall_from_the_upper_left_and_end_at_the_epoch_that_is_reached() -> None:
    panel = live_panels.curve_panel([event(k, 10.0**-k, 10.0**-k) for k in range(1, 11)], 47)
    rows = [line.plain[7:] for line in panel[1:-1]]
    columns = [[k for k, cell in enumerate(row) if cell != " "] for row in rows]
    assert columns[0][0] == 0  # the highest loss, the first epoch,
    assert columns[-1][-1] == 18  # and the lowest in the tenth of twenty epochs: 9/19 of 40 columns
    assert all(min(upper) <= min(lower) for upper, lower in pairwise(columns))
    assert (panel[1].plain[:6].strip(), panel[-2].plain[:6].strip()) == ("0.1", "1e-10")


def test_losses_that_are_no_numbers_leave_a_gap_and_none_at_all_an_empty_panel() -> None:
    for losses in ([2.0, float("nan"), 1.0], [float("inf")] * 3, [0.0] * 3):
        panel = live_panels.curve_panel([event(k + 1, loss, None) for k, loss in enumerate(losses)], 40)
        assert len(panel) == live_panels.HEIGHT
        assert "val" not in panel[0].plain
        assert any(any(cell != " " for cell in line.plain[7:]) for line in panel[1:-1]) == (losses[0] == 2.0)


def test_the_bars_grow_with_the_gradient_and_many_layers_are_thinned_out() -> None:
    lengths = [
        live_panels.layers_panel(event(1, 1.0, 1.0, norm=norm))[1].plain.count("█") for norm in (0, 1e-3, 1, 1e3)
    ]
    assert lengths == [0, 2, 9, 13]
    names = [line.plain[:3].strip() for line in live_panels.layers_panel(event(1, 1.0, 1.0, n_layers=64))[1:]]
    assert (names[0], names[-1], len(set(names))) == ("1", "out", 10)


def test_the_digit_is_the_hardest_of_the_validation_part_and_its_guess_is_the_network_s() -> None:
    history = watched(n_events=1)
    experiment = history.training._experiment
    seen = WatchedDigit(experiment)
    dataset, rows = experiment.split_data.select("validation")
    logits = experiment.networks[0].logits(experiment.scaling.apply(dataset.pictures[rows]))
    probabilities = experiment.config.loss.probabilities(logits)
    hardest = int(probabilities[np.arange(len(rows)), dataset.labels[rows]].argmin())
    assert seen.name == f"digits:{rows[hardest]}"
    assert seen.label == str(dataset.labels[rows[hardest]])
    guess, probability = seen.guess()
    assert guess == str(probabilities[hardest].argmax())
    assert probability == pytest.approx(float(probabilities[hardest].max()), rel=1e-5)


def test_each_guess_is_noted_once_and_the_network_changes_its_mind() -> None:
    history = watched(n_events=40)
    assert len(history.guesses) >= 2
    assert all(a != b for a, b in pairwise(history.guesses))


def test_without_validation_it_is_a_training_digit_and_one_curve() -> None:
    history = watched("data.validation_size=0", n_events=2)
    assert history.watched is not None
    assert int(history.watched.name.partition(":")[2]) in history.training._experiment.split_data.splits.train
    assert "val" not in lines_of(history, 80)[0]


def test_of_an_ensemble_the_next_network_s_curve_begins_anew() -> None:
    history = watched("ensemble=2", "training.epochs=3", n_events=5)
    assert history.member == 1
    assert [event.epoch for event in history.events] == [1, 2]


@pytest.mark.parametrize(("shape", "small"), [((8, 8), (8, 8)), ((16, 16), (8, 8)), ((28, 28), (7, 7))])
def test_large_pictures_are_shown_smaller(shape: tuple[int, int], small: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random(shape)
    shown = live_panels.smaller(picture)
    assert shown.shape == small
    assert shown.mean() == pytest.approx(picture.mean())


# ---- what it costs -------------------------------------------------------------------------------------------------


class Clock:
    """A clock that only moves when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("cost", [1e-4, 0.005, 0.05])
def test_drawing_takes_no_more_than_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch, cost: float) -> None:
    """Ten seconds of epochs of 10 ms, by a clock on which every drawing takes `cost`."""
    clock, drawn = Clock(), []

    def show(view: progress.RichView, result: EpochResult | None, done: float) -> None:
        clock.now += cost
        drawn.append(clock.now)

    monkeypatch.setattr(progress.RichView, "_show", show)
    view = progress.RichView(training("quick", run_dir=False))
    view.clock = clock
    with view:
        started = clock.now
        while clock.now < started + 10.0:
            clock.now += 0.01
            view.update(event(1, 1.0, 1.0))
        n_drawn, elapsed = len(drawn), clock.now - started
    assert n_drawn >= 2
    assert (n_drawn - 1) * cost <= progress.DRAWING_SHARE * elapsed  # the first comes before there is a share to take
    gaps = np.diff(drawn[:n_drawn])
    assert gaps.min() >= max(progress.REFRESH_SECONDS, cost / progress.DRAWING_SHARE)
    assert gaps.max() <= max(progress.REFRESH_SECONDS, cost / progress.DRAWING_SHARE) + cost + 0.02


def test_a_watched_training_is_the_same_to_the_last_bit(work: Path) -> None:
    options = ("-c", "digits", "--epochs", "6", "--set", "ensemble=2", "--set", "network.layers.0.dropout=0.2")
    document("train", *options, "--run-dir", "unseen", "--progress", "none")
    code, _, seen = on_a_terminal("train", *options, "--run-dir", "seen", cwd=work)
    assert code == 0
    assert TITLE in seen
    for name in ("model.safetensors", "checkpoint.safetensors"):
        assert (work / "seen" / name).read_bytes() == (work / "unseen" / name).read_bytes()


# ---- where it keeps away, and what it leaves -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "env"),
    [
        ((), {"CI": "true"}),
        ((), {"TERM": "dumb"}),
        ((), {"COLUMNS": "40"}),
        ((), {"LINES": "10"}),
        ((), {"PYTHONIOENCODING": "ascii"}),
        (("--progress", "plain"), {}),
        (("--progress", "none"), {}),
        (("--progress", "rich"), {"CI": "true"}),
        (("-q",), {}),
    ],
    ids=str,
)
def test_it_keeps_away_where_nobody_watches_or_there_is_no_room(
    work: Path, options: tuple[str, ...], env: dict[str, str]
) -> None:
    code, stdout, seen = on_a_terminal("train", "-c", "quick", "--epochs", "3", *options, cwd=work, **env)
    assert code == 0
    assert stdout.startswith("run ")
    assert "says" not in seen
    assert TITLE not in seen


def screen(seen: str) -> list[str]:
    """Return the lines that a terminal shows after what it got, as far as Rich moves about on it."""
    lines, row, column = [""], 0, 0
    for code, text in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", seen):
        if text:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
        elif code == "\r":
            column = 0
        elif code == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif code == "\x1b[2K":
            lines[row] = ""
        elif code.endswith("A"):
            row = max(0, row - int(code[2:-1] or 1))
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_ctrl_c_leaves_one_whole_picture_a_visible_cursor_and_a_run_that_goes_on(work: Path, columns: str) -> None:
    command = ("train", "-c", "quick", "--epochs", "100000", "--run-dir", "run")
    code, _, seen = on_a_terminal(*command, cwd=work, keys=b"\x03", after="says", COLUMNS=columns)
    assert code == 130
    left = screen(seen)
    assert [k for k, line in enumerate(left) if re.match(r"epoch \d+/100000 ", line)] == [0]
    assert [k for k, line in enumerate(left) if TITLE in line] == [1]
    assert "^C" not in "".join(left)
    assert re.search(r"says \d", left[10])
    assert left[12].startswith("interrupted; resume with: ")
    assert seen.rindex("\x1b[?25h") > seen.rfind("\x1b[?25l")
    wait_until((work / "run/checkpoint.safetensors").exists)
    code, stdout, seen = on_a_terminal("train", "--resume", "run", cwd=work, keys=b"\x03", after="says")
    assert code == 130
    assert "(interrupted)" in stdout


@pytest.mark.parametrize("columns", ["40", "50", "60", "80"])
def test_no_figure_of_the_bar_is_cut_however_narrow_the_screen(work: Path, columns: str) -> None:
    _, _, seen = on_a_terminal("train", "-c", "quick", "--epochs", "100", cwd=work, COLUMNS=columns)
    lines = [line for line in screen(seen) if line.startswith("epoch ")]
    assert lines
    for line in lines:
        assert "…" not in line
        assert re.match(r"epoch 100/100 .*\bloss \d\.\d{4}\b", line)
        assert len(line) <= int(columns)
