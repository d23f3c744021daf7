"""Training as it happens: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, Self

from backprop_cli.api.training import EpochResult, Progress
from backprop_cli.api.words import percent
from backprop_cli.cli import console

if TYPE_CHECKING:
    from backprop_cli.api.training import Events

REFRESH_SECONDS = 0.1  # at least, between two drawings
DRAWING_SHARE = 0.01  # of the time, between the first drawing and the last: with these it stays under 2 %
LINE_SECONDS = 1.0  # between two plain lines
ALL_FIGURES, MOST_FIGURES, WITH_BAR, SOME_FIGURES = 110, 80, 68, 56  # columns of a screen from which there is room


class View(AbstractContextManager["View"]):
    """Shows nothing; the others show something.

    Attributes:
        clock: Tells the time in seconds.
    """

    clock: Callable[[], float] = staticmethod(time.perf_counter)

    def __init__(self, training: Events) -> None:
        self.training = training

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def update(self, event: Progress | EpochResult) -> None:
        """Take note of an event."""


class PlainView(View):
    """One line per epoch, at most one a second, always the first and the last."""

    def __init__(self, training: Events) -> None:
        super().__init__(training)
        self.next_line = 0.0

    def update(self, event: Progress | EpochResult) -> None:
        """Print an epoch when a line is due."""
        if not isinstance(event, EpochResult):
            return
        now = self.clock()
        if now >= self.next_line or event.stop_reason:
            self.next_line = now + LINE_SECONDS
            console.print_status(f"{self._network()}epoch {event.epoch}/{event.n_epochs}  {figures_of(event)}")

    def _network(self) -> str:
        n_networks = self.training.config.ensemble
        return f"network {self.training.member + 1}/{n_networks}  " if n_networks > 1 else ""


class RichView(View):
    """A bar with the epoch, the figures, the pace and the time left; where there is room, what `live_panels` draws."""

    def __init__(self, training: Events) -> None:
        from rich.console import RenderableType
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        from backprop_cli.cli import live_panels

        super().__init__(training)
        panels: list[RenderableType] = []
        foot: list[RenderableType] = [""]  # for the ^C that a terminal prints: at the end of a full line it would wrap

        class WatchingBar(Bar):
            def get_renderables(self) -> Iterable[RenderableType]:
                return [*super().get_renderables(), *panels, *foot]

        screen = console.rich_console(sys.stderr)
        epoch, figures = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[figures]"))
        self.columns = epoch, BarColumn(bar_width=10), figures, TimeRemainingColumn(compact=True)
        self.bar = WatchingBar(*self.columns, console=screen, auto_refresh=False)
        settings = training.config
        self.panels, self.foot, self.draw, self.fits = panels, foot, live_panels.draw, live_panels.fits
        is_seen = sys.stderr.isatty() and console.is_terminal(sys.stderr) and screen.encoding.startswith("utf")
        self.history = live_panels.History(training) if is_seen else None
        self.task = self.bar.add_task("epoch", total=settings.training.epochs * settings.ensemble, figures="")
        self.next_refresh = 0.0
        self.last: EpochResult | None = None

    def __enter__(self) -> Self:
        self.bar.start()
        self.bar.console.show_cursor()  # a second Ctrl-C leaves at once, and could not bring it back
        return self

    def __exit__(self, *exception: object) -> None:
        self.foot.clear()
        if self.last:
            self._show(self.last, self.last.epoch)
        self.bar.stop()

    def update(self, event: Progress | EpochResult) -> None:
        """Redraw when it is time: so seldom that drawing takes no more than its share."""
        if isinstance(event, EpochResult):
            self.last = event
            if self.history:
                self.history.note(event)
        started = self.clock()
        if started >= self.next_refresh:
            done = event.epoch if isinstance(event, EpochResult) else event.epoch - 1 + event.share
            self._show(self.last, done)
            stopped = self.clock()
            self.next_refresh = stopped + max(REFRESH_SECONDS, (stopped - started) / DRAWING_SHARE)

    def _show(self, result: EpochResult | None, epochs_done: float) -> None:
        n_epochs, member = self.training.config.training.epochs, self.training.member
        width, height = self.bar.console.size
        self.panels.clear()
        if self.history and self.history.events and self.fits(width, height):
            self.history.look()
            self.panels.append(self.draw(self.history, width))
        self.bar.columns = tuple(one for one in self.columns if width >= WITH_BAR or one is not self.columns[1])
        self.bar.update(
            self.task,
            completed=member * n_epochs + epochs_done,
            description=f"epoch {int(epochs_done)}/{n_epochs}",
            figures=figures_of(result, width) if result else "",
        )
        self.bar.refresh()


def figures_of(event: EpochResult, width: int = ALL_FIGURES) -> str:
    """Return an epoch's figures on one line: as many as a screen of this width has room for, none of them cut."""
    text = f"loss {event.train_loss:.4f}"
    if event.val_loss is not None and event.val_accuracy is not None and width >= SOME_FIGURES:
        loss, accuracy = ("val loss", "val accuracy ") if width >= MOST_FIGURES else ("val", "")
        text += f"  {loss} {event.val_loss:.4f}  {accuracy}{percent(event.val_accuracy)}"
    pace = event.n_rows / max(event.seconds, 1e-9)
    return f"{text}  rate {event.learning_rate:.2g}  {pace:,.0f}/s" if width >= ALL_FIGURES else text


def view_of(display: Literal["auto", "rich", "plain", "none"], training: Events) -> View:
    """Return the view that `--progress` asks for."""
    if display == "none" or console.Verbosity.quiet:
        return View(training)
    rich = display == "rich" or (display == "auto" and console.is_terminal(sys.stderr))
    kinds: dict[bool, Any] = {True: RichView, False: PlainView}
    view: View = kinds[rich](training)
    return view
