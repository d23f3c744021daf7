"""Charts, pictures of digits and of weights, a matrix: numbers in, SVG text out; for pages and notebooks.

Each of `COLORS` is a CSS variable of that name with a fallback, so a page may have it light and dark, and a notebook
need not know of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

N_INK, N_SIGNED = 8, 6  # levels of ink, and of either sign, that are told apart
PALETTE = ("#0b62a8", "#b8470b", "#1a7f5a", "#8a3fa0", "#8a6d00", "#c02f5d", "#4c5a67", "#0f7f92")
COLORS = {"fg": "#222", "grid": "#ddd", "ink": "#222", "plus": "#b8470b", "minus": "#0b62a8"} | {
    f"c{k}": color for k, color in enumerate(PALETTE)
}
WIDTH, LEGEND_ROW, CHARACTER = 360, 16, 6.2  # of a chart; of a letter of its text, about
LEFT, RIGHT, BOTTOM = 48, 12, 34
SIDE = 30  # of a cell of a matrix
_NO_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what no XML may hold

Numbers = Sequence[float | None]
Grid = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: For the legend; lines of one name and color share an entry.
        x: Where its values stand.
        y: Its values; None leaves a gap, and so does what a logarithmic axis cannot show.
        color: Which of the eight.
        dashed: Drawn so.
        dots: A dot at each value.
        key: Put on its entry in the legend as `data-key`, for a script to write a value there.
    """

    name: str
    x: Sequence[float]
    y: Numbers
    color: int = 0
    dashed: bool = False
    dots: bool = False
    key: str = ""


@dataclass(frozen=True)
class _Axis:
    """From numbers to pixels; where to write which numbers."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        value = _log(value) if self.log else value
        share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)  # halves: no difference can overflow
        return self.start + share * (self.end - self.start)

    def ticks(self, n: int) -> list[float]:
        """Return about n round numbers on it."""
        if self.log and self.high - self.low >= 1:
            every, factors = math.ceil((self.high - self.low) / n), (1, 2, 5) if self.high - self.low < 2 else (1,)
            exponents = range(math.floor(self.low / every) * every, math.floor(self.high) + 1, every)
            found = [factor * 10.0**exponent for exponent in exponents for factor in factors]
            return [value for value in found if value and self.low <= math.log10(value) <= self.high]
        low, high = (10.0**self.low, 10.0**self.high) if self.log else (self.low, self.high)
        step = _round_step((high / 2 - low / 2) / n * 2)
        first, count = math.ceil(low / step), math.floor(high / step) - math.ceil(low / step) + 1
        return [(first + k) * step for k in range(count)]


def css(name: str) -> str:
    """Return one of `COLORS` as a value of an attribute."""
    return f"var(--{name},{COLORS[name]})"


def escape(text: object) -> str:
    """Return outside text as the text of XML or HTML, or as the value of an attribute in double quotes."""
    plain = _NO_TEXT.sub("\ufffd", str(text))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def chart(
    lines: Sequence[Line], *, title: str, x_label: str, y_label: str, log: bool = False, at: float | None = None
) -> str:
    """Return a chart of lines over each other.

    Args:
        lines: Any number of them.
        title: What it is called where it cannot be seen.
        x_label: What its x are.
        y_label: What its values are, with the unit.
        log: Of the values: a logarithmic axis.
        at: Where a vertical line stands, within the axis, that a script may move, of class `cursor`.

    Raises:
        ValueError: A number is not finite.
    """
    xs = _finite(x for line in lines for x in line.x)
    ys = [y for y in _finite(y for line in lines for y in line.y if y is not None) if y > 0 or not log]
    legend, top = _legend(lines)
    height = top + 150 + BOTTOM
    x_axis = _Axis(*_range(xs, pad=0.0), LEFT, WIDTH - RIGHT)
    y_axis = _Axis(*_range([_log(y) for y in ys] if log else ys, log=log), height - BOTTOM, top, log)
    parts = [_grid(x_axis, y_axis), legend, _labels(x_label, y_label, top, height)]
    if at is not None:
        fg, x = css("fg"), min(max(*_finite([at]), x_axis.low), x_axis.high)
        ends = f'data-x="{_n(x_axis.low)} {_n(x_axis.high)} {_n(x_axis.start)} {_n(x_axis.end)}"'
        parts.append(
            f'<line class="cursor" {ends} x1="{_n(x_axis.at(x))}" x2="{_n(x_axis.at(x))}" y1="{top}" '
            f'y2="{height - BOTTOM}" stroke="{fg}" stroke-dasharray="2 3"/>'
        )
    parts += [_path(line, x_axis, y_axis) for line in lines]
    return _svg(WIDTH, height, title, "".join(parts), font=True)


def gray(pixels: Grid) -> str:
    """Return the ink of a picture, from 0 to 1, as the inside of an SVG of its size, a unit a pixel."""
    return _runs(pixels, lambda value: round(min(1.0, max(0.0, value)) * N_INK), N_INK, (css("ink"), ""))


def signed(values: Grid) -> str:
    """Return numbers of both signs, the largest at full color, as the inside of an SVG, a unit a number."""
    peak = max((abs(v) for v in _finite(v for row in values for v in row)), default=0.0) or 1.0
    colors = (css("plus"), css("minus"))
    return _runs(values, lambda value: round(value / peak * N_SIGNED), N_SIGNED, colors)


def picture(inside: str, height: int, width: int, label: str) -> str:
    """Return what `gray` or `signed` gave as a picture by itself."""
    return _svg(width, height, label, inside)


def matrix(
    counts: Sequence[Sequence[int]], names: Sequence[str], *, title: str, row: str, column: str, linked: bool = True
) -> str:
    """Return a square table of counts, each cell tinted by its share of its row; what is off the diagonal otherwise.

    Args:
        counts: By row and column.
        names: Of both.
        title: What it is called where it cannot be seen.
        row: What rows are.
        column: What columns are.
        linked: Each cell that counts something leads to `#cell-ROW-COLUMN`.
    """
    side, n = SIDE, len(names)
    left = 24 + CHARACTER * max((min(len(name), 12) for name in names), default=0)
    cells = []
    for i, counts_of_row in enumerate(counts):
        total = sum(counts_of_row) or 1
        y = 40 + i * side
        cells.append(f'<text x="{_n(left - 6)}" y="{y + 19}" text-anchor="end">{escape(names[i][:12])}</text>')
        cells += [
            _cell(left + j * side, y, count, count / total, (i, j), f"{names[i]} as {names[j]}" if linked else "")
            for j, count in enumerate(counts_of_row)
        ]
    heads = (
        f'<text x="{_n(left + (j + 0.5) * side)}" y="34" text-anchor="middle">{escape(name[:4])}</text>'
        for j, name in enumerate(names)
    )
    axes = (
        f'<text class="muted" x="{_n(left)}" y="14">{escape(column)} →</text>'
        f'<text class="muted" x="12" y="40" transform="rotate(-90 12 40)" text-anchor="end">{escape(row)} →</text>'
    )
    inside = axes + "".join([*heads, *cells])
    return _svg(int(left + n * side + 2), 42 + n * side, title, inside, font=True, role="group")


def _cell(x: float, y: int, count: int, share: float, place: tuple[int, int], about: str) -> str:
    i, j = place
    color = css("minus" if i == j else "plus")
    opacity = 0.1 + 0.3 * share if i == j else min(0.4, 0.15 + 2.0 * share)
    kind = "" if count else ' class="muted"'
    inside = f'<text x="{_n(x + SIDE / 2)}" y="{y + 19}" text-anchor="middle"{kind}>{count or "·"}</text>'
    if count:
        inside = (
            f'<rect x="{_n(x)}" y="{y}" width="{SIDE - 1}" height="{SIDE - 1}" fill="{color}" '
            f'fill-opacity="{_n(opacity, 2)}"/>{inside}'
        )
    return f'<a href="#cell-{i}-{j}"><title>{escape(about)}: {count}</title>{inside}</a>' if count and about else inside


# ---- parts ---------------------------------------------------------------------------------------------------------


def _svg(width: int, height: int, title: str, inside: str, *, font: bool = False, role: str = "img") -> str:
    about = f'role="{role}" aria-label="{escape(title)}"'
    fg = css("fg")
    text = f' font-size="12" font-family="system-ui,sans-serif" fill="{fg}"' if font else ""
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {about}{text}>{inside}</svg>'


def _runs(rows: Grid, level_of: Callable[[float], int], n_levels: int, colors: tuple[str, str]) -> str:
    """Return one path a level, in the color of its sign: the runs of equal pixels in each row."""
    paths: dict[int, list[str]] = {}
    for y, row in enumerate(rows):
        x = 0
        for level, run in groupby(level_of(value) for value in _finite(row)):
            n = len(list(run))
            paths.setdefault(level, []).append(f"M{x} {y}h{n}")
            x += n
    groups = []
    for sign, color in zip((1, -1), colors, strict=True):
        levels = [level for level in sorted(paths) if level * sign > 0]
        inside = (f'<path opacity="{_n(abs(k) / n_levels, 2)}" d="{"".join(paths[k])}"/>' for k in levels)
        groups += [f'<g stroke="{color}" transform="translate(0 .5)">{"".join(inside)}</g>'] if levels else []
    return "".join(groups)


def _legend(lines: Sequence[Line]) -> tuple[str, int]:
    """Return the names beside a piece of their lines, in as many columns as there is room for, and where it ends."""
    entries = list({(line.name, line.color, line.dashed): line for line in reversed(lines)}.values())[::-1]
    longest = max((len(line.name) for line in entries), default=0) + 8 * any(line.key for line in entries)
    n_columns = max(1, min(3, int((WIDTH - LEFT) / (30 + CHARACTER * longest))))
    parts = []
    for k, line in enumerate(entries):
        x, y = LEFT + (k % n_columns) * (WIDTH - LEFT) // n_columns, 30 + k // n_columns * LEGEND_ROW
        value = f' <tspan class="value" data-key="{escape(line.key)}"/>' if line.key else ""
        parts.append(f'<path d="M{x} {y - 4}h16" {_stroke(line)}/>')
        parts.append(f'<text x="{x + 21}" y="{y}">{escape(line.name)}{value}</text>')
    return "".join(parts), 36 + math.ceil(len(entries) / n_columns) * LEGEND_ROW - LEGEND_ROW + 8


def _grid(x_axis: _Axis, y_axis: _Axis) -> str:
    grid = css("grid")
    rule = f'stroke="{grid}"'
    parts = []
    for value in y_axis.ticks(4):
        y = _n(y_axis.at(value))
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" {rule}/>')
        parts.append(f'<text class="muted" x="{LEFT - 5}" y="{y}" dy="4" text-anchor="end">{_shown(value)}</text>')
    for value in x_axis.ticks(5):
        x = _n(x_axis.at(value))
        parts.append(f'<path d="M{x} {_n(y_axis.start)}v4" {rule}/>')
        y = _n(y_axis.start + 16)
        parts.append(f'<text class="muted" x="{x}" y="{y}" text-anchor="middle">{_shown(value)}</text>')
    return "".join(parts)


def _shown(value: float) -> str:
    """Return the number at a tick."""
    is_plain = value == 0 or 1e-3 <= abs(value) < 1e5
    return f"{value:.4g}" if is_plain else re.sub("e([-+])0*", r"e\1", f"{value:.2g}").replace("e+", "e")


def _labels(x_label: str, y_label: str, top: int, height: int) -> str:
    return (
        f'<text class="muted" x="0" y="12">{escape(y_label)}</text>'
        f'<text class="muted" x="{WIDTH - RIGHT}" y="{height - 3}" text-anchor="end">{escape(x_label)} →</text>'
    )


def _path(line: Line, x_axis: _Axis, y_axis: _Axis) -> str:
    """Return a line, broken where there is no value; a lone value is a dot."""
    pieces, dots, pen = [], [], "M"
    for x, y in zip(line.x, line.y, strict=True):
        if y is None or (y_axis.log and y <= 0):
            pen = "M"
            continue
        place = f"{_n(x_axis.at(x))} {_n(y_axis.at(y))}"
        pieces.append(f"{pen}{place}{'h0' if pen == 'M' else ''}")
        dots.append(f"M{place}h0")
        pen = "L"
    if not pieces:
        return ""
    marks = f'<path d="{"".join(dots)}" {_stroke(line, 7)} stroke-linecap="round"/>' if line.dots else ""
    return f'<path d="{"".join(pieces)}" {_stroke(line)} stroke-linecap="round"/>{marks}'


def _stroke(line: Line, width: float = 1.6) -> str:
    color, dashes = css(f"c{line.color % len(PALETTE)}"), ' stroke-dasharray="4 3"' if line.dashed else ""
    return f'fill="none" stroke="{color}" stroke-width="{width}"{dashes}'


def _finite(values: Iterable[float]) -> list[float]:
    found = list(values)
    if not all(map(math.isfinite, found)):
        raise ValueError("a number is not finite; it cannot be drawn")
    return found


def _range(values: Sequence[float], pad: float = 0.05, *, log: bool = False) -> tuple[float, float]:
    """Return the range of an axis: a little more than that of the values, and never empty."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    is_positive, half = low >= 0.0 and not log, high / 2 - low / 2
    if half <= 1e-9 * max(abs(low), abs(high)) or half < 1e-290:
        half = 0.3 if log else 0.1 * max(abs(low), abs(high)) or 0.5
        low, high = low - half, high + half
    lowest, highest = (-307.0, 308.0) if log else (-1.7e308, 1.7e308)
    low, high = max(low - 2 * pad * half, lowest), min(high + 2 * pad * half, highest)
    return (max(low, 0.0) if is_positive else low), high


def _log(value: float) -> float:
    return math.log10(min(max(value, 1e-300), 1e307))


def _round_step(step: float) -> float:
    """Return the next larger 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((power * factor for factor in (1.0, 2.0, 5.0) if power * factor >= step), 10.0 * power)


def _n(value: float, digits: int = 1) -> str:
    """Return a number in few characters."""
    text = f"{round(value, digits) + 0.0:.6g}"  # -0 becomes 0
    return text[1:] if text.startswith("0.") else text
