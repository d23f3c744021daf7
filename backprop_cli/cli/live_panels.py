"""What `train` shows below its bar on a terminal: the loss curves, each layer's gradient, and one digit's guess."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rich.text import Text

from backprop_cli.api.words import percent, with_article
from backprop_cli.cli import console

if TYPE_CHECKING:
    from backprop_cli.api.training import EpochResult, Events, WatchedDigit

HEIGHT = 11  # lines of every panel: a title, nine of content, one more
GAP = 3
CURVE_WIDTH, CURVE_MOST = 26, 60  # characters
LAYERS_WIDTH, DIGIT_WIDTH = 24, 20
SMALLEST, LARGEST = -4.0, 2.0  # decimal logarithms of the gradient norms between which a bar grows
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # the bit of each dot of a cell, row by row
_MAX_PICTURE = 8  # rows that a picture may take; larger ones are shown as means of their pixels

Panel = list[Text]


class History:
    """What a training has shown so far, of the network in training.

    Attributes:
        events: Its epochs.
        guesses: Names of the classes that the watched digit was taken for, each change once.
        probability: Of the last of these.
    """

    def __init__(self, training: Events) -> None:
        self.training = training
        self.watched: WatchedDigit | None = None
        self._start()

    def _start(self) -> None:
        self.member = self.training.member
        self.events: list[EpochResult] = []
        self.guesses: list[str] = []
        self.probability = 0.0

    def note(self, event: EpochResult) -> None:
        """Take down an epoch; those of another network of an ensemble start a new curve."""
        if self.training.member != self.member:
            self._start()
        self.events.append(event)

    def look(self) -> None:
        """Ask the network what it makes of the watched digit, which is chosen when there is an epoch to choose by."""
        self.watched = self.watched or self.training.hardest_digit()
        guess, self.probability = self.watched.guess()
        if self.guesses[-1:] != [guess]:
            self.guesses.append(guess)


def fits(width: int, height: int) -> bool:
    """Return whether a terminal has room for the curves at least, and for what was there before."""
    return width > CURVE_WIDTH + GAP + DIGIT_WIDTH and height >= HEIGHT + 4


def draw(history: History, width: int) -> Text:
    """Return the panels beside each other, `HEIGHT` lines, for a terminal of this width (see `fits`)."""
    panels, widths = [digit_panel(history)], [DIGIT_WIDTH]
    left = width - 1 - DIGIT_WIDTH - GAP
    if left >= CURVE_WIDTH + GAP + LAYERS_WIDTH:
        panels.insert(0, layers_panel(history.events[-1]))
        widths.insert(0, LAYERS_WIDTH)
        left -= LAYERS_WIDTH + GAP
    widths.insert(0, min(CURVE_MOST, left))
    panels.insert(0, curve_panel(history.events, widths[0]))
    lines = []
    for parts in zip(*panels, strict=True):
        line = Text(no_wrap=True)
        for part, columns in zip(parts, widths, strict=True):
            part.truncate(columns, pad=True)
            line.append_text(part).append(" " * GAP)
        line.rstrip()
        lines.append(line)
    return Text("\n").join(lines)


# ---- the loss ------------------------------------------------------------------------------------------------------


def curve_panel(events: Sequence[EpochResult], width: int) -> Panel:
    """Return both losses over the epochs, on a logarithmic scale: validation as a line, training dotted."""
    train = [event.train_loss for event in events]
    val = [event.val_loss for event in events if event.val_loss is not None]
    shown = [math.log10(loss) for loss in (*train, *val) if math.isfinite(loss) and loss > 0.0] or [0.0]
    low, high = min(shown), max(max(shown), min(shown) + 0.1)
    n_rows, n_columns = HEIGHT - 2, width - 7
    first, n_epochs = events[0].epoch, events[0].n_epochs
    cells = [[0] * n_columns for _ in range(n_rows)]
    styles = [[console.TRAINING] * n_columns for _ in range(n_rows)]
    for losses, style, stride in ((train, console.TRAINING, 2), (val, console.VALIDATION, 1)):
        heights = [_height(loss, low, high, 4 * n_rows - 1) for loss in losses]
        for x, y in _dots(heights, first, n_epochs, 2 * n_columns):
            if (x + y) % stride == 0:
                cells[y // 4][x // 2] |= _BRAILLE[y % 4][x % 2]
                styles[y // 4][x // 2] = style
    title = Text("loss  ").append("∙∙ train", console.TRAINING)
    if val:
        title.append("  ").append("── val", console.VALIDATION)
    panel = [title]
    for k, (row, row_styles) in enumerate(zip(cells, styles, strict=True)):
        label = f"{10**high:.3g}" if k == 0 else f"{10**low:.2g}" if k == n_rows - 1 else ""
        line = Text().append(f"{label:>6}│", console.FAINT)
        for style, run in groupby(zip(row, row_styles, strict=True), key=itemgetter(1)):  # few pieces draw faster
            line.append("".join(chr(0x2800 + bits) if bits else " " for bits, _ in run), style)
        panel.append(line)
    panel.append(Text(f"{'':7}1{n_epochs:>{n_columns - 1},}", console.FAINT))
    return panel


def _height(loss: float, low: float, high: float, top: int) -> int | None:
    """Return how many dots from the top a loss stands; None if it is not a number to draw."""
    if not math.isfinite(loss) or loss <= 0.0:
        return None
    return round((high - math.log10(loss)) / (high - low) * top)


def _dots(heights: Sequence[int | None], first: int, n_epochs: int, n_dots: int) -> list[tuple[int, int]]:
    """Return the dots, column and row, of a line through the epochs' heights."""
    dots, last = [], None
    for k, y in enumerate(heights):
        x = round((first + k - 1) / max(1, n_epochs - 1) * (n_dots - 1))
        if y is not None:
            x_from, y_from = last or (x, y)
            n = max(abs(x - x_from), abs(y - y_from), 1)
            dots += [(round(x_from + (x - x_from) * i / n), round(y_from + (y - y_from) * i / n)) for i in range(n + 1)]
            last = x, y
    return dots


# ---- the gradient --------------------------------------------------------------------------------------------------


def layers_panel(event: EpochResult) -> Panel:
    """Return a bar for each layer's gradient norm, ten times as long being a sixth of the panel more."""
    panel = [Text("gradient norm by layer")]
    n_layers, n_lines = len(event.layers), HEIGHT - 1
    step = max(1.0, n_layers / n_lines)
    bar = LAYERS_WIDTH - 11
    for line in range(min(n_layers, n_lines)):
        k = round(line * (n_layers - 1) / max(1, n_lines - 1)) if step > 1.0 else line
        norm = event.layers[k].grad_norm
        name = "out" if k == n_layers - 1 else str(k + 1)
        share = (math.log10(norm) - SMALLEST) / (LARGEST - SMALLEST) if norm > 0.0 and math.isfinite(norm) else 0.0
        length = max(0, min(bar, round(share * bar)))
        text = Text(f"{name:>3} ").append("█" * length, console.GRADIENT).append("░" * (bar - length), console.FAINT)
        panel.append(text.append(f" {norm:.2g}"))
    return panel + [Text() for _ in range(HEIGHT - len(panel))]


# ---- one digit -----------------------------------------------------------------------------------------------------


def digit_panel(history: History) -> Panel:
    """Return the watched digit, what the network takes it for, and what it took it for before."""
    watched = history.watched
    if watched is None:
        return [Text() for _ in range(HEIGHT)]
    panel = [Text(f"{watched.name}: {with_article(watched.label)}")]
    panel += [Text(line) for line in console.shade_lines(smaller(watched.picture))]
    panel += [Text() for _ in range(HEIGHT - 2 - len(panel))]
    right = history.guesses[-1] == watched.label
    panel.append(Text("says ").append(f"{history.guesses[-1]}, {percent(history.probability)}", _verdict(right=right)))
    before = history.guesses[-5:-1]
    panel.append(Text(f"before: {' '.join(before)}" if before else "", console.FAINT))
    return panel


def _verdict(*, right: bool) -> str:
    return console.GOOD if right else console.BAD


def smaller(picture: Any) -> Any:
    """Return a picture in at most eight rows, and as many columns: the means of square blocks of its pixels."""
    height, width = picture.shape
    block = math.ceil(max(height, width) / _MAX_PICTURE)
    rows, columns = height // block, width // block
    return picture[: rows * block, : columns * block].reshape(rows, block, columns, block).mean(axis=(1, 3))
