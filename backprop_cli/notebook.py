"""What a record is made of where a notebook shows it: HTML, light or dark as the notebook is, small, without script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from backprop_cli import svg
from backprop_cli.files import clean

# Ink and text in the notebook's own color; the others are seen on black as on white.
_COLORS = "--fg:currentColor;--ink:currentColor;--grid:#8886;--plus:#d9662b;--minus:#3987d0;--c0:#3987d0;--c1:#d9662b"
_MOST = 200  # characters of a text


def shown(*parts: str) -> str:
    """Return parts beside each other."""
    layout = "display:flex;flex-wrap:wrap;align-items:flex-start;gap:1em 1.5em"
    return f'<div style="{_COLORS};{layout}">{"".join(parts)}</div>'


def column(*parts: str) -> str:
    """Return parts below each other."""
    return f'<div style="max-width:30em">{"".join(parts)}</div>'


def words(sentences: Iterable[object], width: int = 26) -> str:
    """Return outside texts, each in a line of its own, so many em wide."""
    lines = "".join(f'<div style="margin-bottom:.4em">{_text(sentence)}</div>' for sentence in sentences)
    return f'<div style="max-width:{width}em;overflow-wrap:anywhere">{lines}</div>'


def picture(pixels: svg.Grid, *caption: object, is_signed: bool = False, most: int = 28) -> str:
    """Return ink from 0 to 1, or numbers of both signs, as a picture of at most so many pixels a side."""
    every = math.ceil(max(len(pixels), len(pixels[0])) / most)
    small = [
        [
            sum(map(sum, (row[x : x + every] for row in pixels[y : y + every]))) / every**2
            for x in range(0, len(pixels[0]), every)
        ]
        for y in range(0, len(pixels), every)
    ]
    drawn = svg.picture((svg.signed if is_signed else svg.gray)(small), len(small), len(small[0]), "a digit")
    return f'<div style="width:{7 if most > 16 else 4}em">{drawn}{words(caption)}</div>'


def table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of outside texts."""
    lines = (("th", heads), *(("td", row) for row in rows))
    cells = ("".join(f"<{kind}>{_text(cell, 40)}</{kind}>" for cell in row) for kind, row in lines)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def bars(shares: Mapping[str, float], top: int = 5) -> str:
    """Return the largest shares, in [0, 1], by name; none that would be 0.0 %."""
    best = [item for item in sorted(shares.items(), key=lambda item: -item[1])[:top] if item[1] >= 0.0005]
    rows = "".join(
        f'<div>{_text(name, 20)} <span style="display:inline-block;height:.7em;width:{8 * share:.2f}em;'
        f'background:#3987d0"></span> {100 * share:.1f} %</div>'
        for name, share in best
    )
    return f"<div>{rows}</div>"


def chart(lines: Sequence[svg.Line], title: str) -> str:
    """Return lines over epochs, on a logarithmic axis; nothing where there is no value above 0."""
    if not any(value for line in lines for value in line.y):
        return ""
    return f'<div style="width:26em">{svg.chart(lines, title=title, x_label="epoch", y_label=title, log=True)}</div>'


def matrix(counts: Sequence[Sequence[int]], names: Sequence[str], most: int = 10) -> str:
    """Return counts of true classes by answers; of more classes only the most frequent mistakes."""
    if len(names) <= most:
        drawn = svg.matrix(counts, names, title="true classes by answers", row="true", column="read as", linked=False)
        return f'<div style="width:26em">{drawn}</div>'
    mistakes = [(n, names[i], names[j]) for i, row in enumerate(counts) for j, n in enumerate(row) if n and i != j]
    return table(("n", "true", "read as"), sorted(mistakes, key=lambda one: -one[0])[:most])


def progress(share: float, text: str) -> str:
    """Return a bar, and a text beside it."""
    return shown(f'<progress value="{share:.4f}" style="width:14em"></progress>', words([text], 40))


def _text(outside: object, most: int = _MOST) -> str:
    text = clean(outside)
    return svg.escape(text if len(text) <= most else f"{text[: most - 1]}…")
