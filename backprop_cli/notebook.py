"""What a record is made of where a notebook shows it: HTML, light or dark as the notebook is, small, without script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from backprop_cli import svg
from backprop_cli.files import clean

# Ink and text in the notebook's own color; the others are seen on black as on white.
_OWN, _BLUE, _ORANGE = "currentColor", "#3987d0", "#d9662b"
_COLORS = {"fg": _OWN, "ink": _OWN, "grid": "#8886", "plus": _ORANGE, "minus": _BLUE, "c0": _BLUE, "c1": _ORANGE}


def shown(*parts: str) -> str:
    """Return parts beside each other."""
    colors = "".join(f"--{name}:{color};" for name, color in _COLORS.items())
    layout = "display:flex;flex-wrap:wrap;align-items:flex-start;gap:1em 1.5em"
    return f'<div style="{colors}{layout}">{"".join(parts)}</div>'


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
    bands = [pixels[y : y + every] for y in range(0, len(pixels), every)]
    starts = range(0, len(pixels[0]), every)
    small = [[sum(sum(row[x : x + every]) for row in band) / every**2 for x in starts] for band in bands]
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
        f'background:{_BLUE}"></span> {100 * share:.1f} %</div>'
        for name, share in best
    )
    return f"<div>{rows}</div>"


def chart(epochs: Sequence[float], **curves: svg.Numbers) -> str:
    """Return losses over epochs, on a logarithmic axis; where the epochs start over, so do the lines, at the second."""
    goes_on = [before < now for before, now in pairwise([0.0, *epochs])]
    lines = []
    for k, (name, ys) in enumerate(curves.items()):
        values = [y if on and y and math.isfinite(y) else None for on, y in zip(goes_on, ys, strict=True)]
        lines.append(svg.Line(name, epochs, values, k))
    drawn = svg.chart(lines, title="loss", x_label="epoch", y_label="loss", log=True)
    return f'<div style="width:26em">{drawn}</div>' if any(any(line.y) for line in lines) else ""


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


def _text(outside: object, most: int = 200) -> str:
    text = clean(outside)
    return svg.escape(text if len(text) <= most else f"{text[: most - 1]}…")
