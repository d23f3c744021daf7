"""One picture explained as a section of a page: guess, loss, blame, correction; and its worksheet to print."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from backprop_cli import svg
from backprop_cli.api.sentences import (
    blame_sentence,
    check_sentence,
    correction_sentence,
    guess_notes,
    loss_sentence,
    why_less_sure,
)
from backprop_cli.api.words import guess, percent
from backprop_cli.page.html import name_of, paragraphs, section, table, text

if TYPE_CHECKING:
    from backprop_cli.api.explanation import Explanation, LayerBlame, WeightBlame


def explanation_section(found: Explanation, heading: str = "One digit, from guess to corrected guess") -> str:
    """Return what one picture does to the first network."""
    return section(
        "explained",
        heading,
        paragraphs([f"{name_of(found.path)}, what the network sees of it."], "muted"),
        paragraphs([*found.warnings, *found.notes], "warning"),
        f'<div class="steps">{"".join(_steps(found))}</div>',
    )


def _steps(found: Explanation) -> Iterable[str]:
    height, width = found.pixels.shape
    seen = svg.picture(svg.gray(found.pixels.tolist()), height, width, "what the network sees")
    blame = svg.picture(svg.signed(found.input_gradient.tolist()), height, width, "where more ink would help or harm")
    yield _step("Guess", [guess(found.probabilities, 3), *guess_notes(found)], _fired(found), picture=seen)
    yield _step("Loss", [loss_sentence(found)])
    colors = (
        '<p class="muted">More ink here makes it<br><b class="plus">■</b> worse, <b class="minus">■</b> better.</p>'
    )
    tables = _blamed_layers(found) + _blamed_weights(found)
    yield _step("Blame", [blame_sentence(found)], tables, picture=blame + colors)
    reasons = [found.rate_reason, why_less_sure(found)]
    yield _step("Correction", [correction_sentence(found), *filter(None, reasons)], _corrections(found))
    yield _step("Checked", [check_sentence(found)])


def _step(name: str, sentences: Sequence[str], *parts: str, picture: str = "") -> str:
    beside = f'<div class="beside">{picture}</div>' if picture else ""
    return f'<div class="step"><div><h3>{name}</h3>{paragraphs(sentences)}{"".join(parts)}</div>{beside}</div>'


def _fired(found: Explanation) -> str:
    rows = []
    for layer in found.layers:
        is_output = layer is found.layers[-1]
        largest = [(unit, found.trace.outputs[unit] if is_output else value) for unit, value in layer.largest[:3]]
        values = ", ".join(f"{_unit(found, layer, unit)}: {value:.2f}" for unit, value in largest)
        kind = found.trace.loss.output if is_output else layer.activation
        fired = "" if is_output else f"{layer.n_fired} of {layer.fan_out}"
        rows.append((layer.name, kind, f"{layer.fan_in} → {layer.fan_out}", fired, values))
    return table(("layer", "activation", "in → out", "fired", "largest activations"), rows)


def _unit(found: Explanation, layer: LayerBlame, unit: int) -> str:
    return found.classes[unit] if layer is found.layers[-1] else str(unit)


def _blamed_layers(found: Explanation) -> str:
    rows = (
        (
            layer.name,
            f"{100 * layer.blame_share:.1f} %",
            f"{layer.half_blame_count:,} of {layer.n_weights:,}",
            f"{layer.zero_gradient_count:,}",
        )
        for layer in found.layers[::-1]
    )
    return table(("layer", "share of the blame", "half of it in", "no blame"), rows)


def _blamed_weights(found: Explanation) -> str:
    rows = [_weight_row(found, weight) for weight in found.top_weights]
    note = ["pixels enter centered: a blank one as minus its mean ink"] if found.is_centered else []
    heads = ("layer", "from → to", "input", "x delta", "= gradient", "weight", "→ new")
    return f"<h4>The most blamed weights of each layer</h4>{paragraphs(note, 'muted')}{table(heads, rows)}"


def _weight_row(found: Explanation, weight: WeightBlame) -> tuple[str, ...]:
    layer = found.layers[weight.layer]
    source = "bias" if weight.source is None else f"pixel {weight.source}" if weight.layer == 0 else str(weight.source)
    return (
        layer.name,
        f"{source} → {_unit(found, layer, weight.target)}",
        f"{weight.input:#.4g}",
        f"{weight.delta:#.3g}",
        f"{weight.gradient:#.3g}",
        f"{weight.weight:.5f}",
        f"{weight.new_weight:.5f}",
    )


def _corrections(found: Explanation) -> str:
    truth = found.label
    rows = [_correction_row(found, "before", "", found.loss, found.probabilities, found.test_accuracy)]
    for step in found.steps:
        answer, rate, forecast = (
            found.by_class(step.probabilities),
            f"{step.learning_rate:g}",
            f"{step.forecast_loss:.4g}",
        )
        rows.append(_correction_row(found, rate, forecast, step.loss, answer, step.test_accuracy))
    heads = ("learning rate", "forecast loss", "loss", "guess", f"sure of {truth}", "test part right", "")
    note = "Forecast: where a straight line would lead, loss - rate x |gradient|². No true loss is below 0."
    return table(heads, rows) + paragraphs([note], "muted")


def _correction_row(
    found: Explanation, rate: str, forecast: str, loss: float, answer: dict[str, float], accuracy: float | None
) -> tuple[str, ...]:
    if not math.isfinite(loss):
        return (rate, forecast, "", "", "", "", "no longer finite")
    best = max(answer, key=lambda name: answer[name])
    sure = percent(answer[found.label])
    right = "-" if accuracy is None else percent(accuracy)
    verdict = found.verdict(loss, accuracy) or ""
    return (rate, forecast, f"{loss:.4g}", f"{best} {percent(answer[best])}", sure, right, verdict)


# ---- the worksheet -------------------------------------------------------------------------------------------------


def worksheet_section(markdown: str) -> str:
    """Return a worksheet as pages to print: the sheet, and its key on a page of its own."""
    sheet, _, key = markdown.partition("\n## Key\n")
    pages = [_sheet(sheet)] + ([f"<h2>Key</h2>{_sheet(key)}"] if key else [])
    return "".join(f'<section class="sheet">{page}</section>' for page in pages)


def _sheet(markdown: str) -> str:
    """Return the few forms of Markdown that a worksheet uses as HTML: headings, lists, bold steps, code, text."""
    parts = []
    for block in re.split(r"\n{2,}", markdown.strip("\n")):
        lines = block.split("\n")
        if block.startswith("```"):
            code = "\n".join(map(text, lines[1:-1]))
            parts.append(f"<pre>{code}</pre>")
        elif block.startswith("- "):
            parts.append(f"<ul>{''.join(f'<li>{text(one[2:])}</li>' for one in lines)}</ul>")
        elif block.startswith("#"):
            parts.append(f"<h2>{text(block.lstrip('# '))}</h2>")
        elif block.startswith("**"):
            parts.append(f"<h3>{text(block.strip('*'))}</h3>")
        else:
            parts.append(f"<p>{text(' '.join(lines))}</p>")
    return "".join(parts)
