"""The sections of a report: one run's training, its test and its first layer; every number comes from `api`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from backprop_cli import svg
from backprop_cli.api.words import percent, trials_sentence, with_article
from backprop_cli.page.html import name_of, paragraphs, section, table, text

if TYPE_CHECKING:
    from backprop_cli.api.blind import BlindResult
    from backprop_cli.api.evaluation import Evaluation, WorstAnswer
    from backprop_cli.api.report import RunReport, Series
    from backprop_cli.api.units import Unit

MOST_CLASSES = 20  # that a matrix shows
MOST_IN_A_CELL = 60  # pictures
N_WORST = 12
ON_PAPER = 60  # units; the style sheet hides the others
EPOCH = "epoch"


class Pictures:
    """The pictures of digits in a page, each of them once, wherever it is shown."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._parts: list[str] = []

    def name(self, sample: str, pixels: Any) -> str:
        """Return the name by which a picture may be used."""
        if sample not in self._names:
            self._names[sample] = f"p{len(self._names)}"
            self._parts.append(f'<g id="{self._names[sample]}">{svg.gray(pixels.tolist())}</g>')
        return self._names[sample]

    def tile(self, sample: str, pixels: Any, *caption: str) -> str:
        """Return a small picture with lines below it, which outside text is not."""
        height, width = pixels.shape
        use = f'<svg viewBox="0 0 {width} {height}"><use href="#{self.name(sample, pixels)}"/></svg>'
        return f"<figure>{use}<figcaption>{'<br>'.join(caption)}</figcaption></figure>"

    def definitions(self) -> str:
        """Return what every tile refers to."""
        return f'<svg class="defs" aria-hidden="true"><defs>{"".join(self._parts)}</defs></svg>'


# ---- training ------------------------------------------------------------------------------------------------------


def slider(epochs: Sequence[float | None], at: float) -> str:
    """Return the slider that sets the epoch in every chart."""
    last = int(max((epoch or 0 for epoch in epochs), default=0))
    return (
        f'<div class="slider"><label for="epoch">epoch <output id="shown">{at:g}</output> of {last}</label>'
        f'<input id="epoch" type="range" min="1" max="{last}" value="{at:g}"></div>'
    )


def chart(title: str, y_label: str, lines: Sequence[svg.Line], at: float, *, log: bool = False) -> str:
    """Return a chart over epochs under its name; nothing where no line has a value."""
    drawn = [line for line in lines if any(y is not None and (y > 0 or not log) for y in line.y)]
    if not drawn:
        return ""
    scale = ", log scale" if log else ""
    shown = svg.chart(drawn, title=title, x_label=EPOCH, y_label=y_label + scale, log=log, at=at)
    return f'<figure class="chart"><h3>{title}</h3>{shown}</figure>'


def line(series: Series, column: str, name: str, key: str, *, color: int = 0, factor: float = 1.0) -> svg.Line:
    """Return one figure by epoch as a line of a chart; `key` says where its script finds the numbers."""
    values = [None if value is None else factor * value for value in series[column]]
    epochs = [epoch or 0.0 for epoch in series["epoch"]]
    return svg.Line(name, epochs, values, color, key=f"{key}.{column}" if key else "")


def training_section(found: RunReport) -> str:
    """Return the curves of a run, and what went wrong."""
    if not found.series:
        return section("training", "Training", paragraphs(["no epoch was finished"]))
    at = float(found.info.best_epoch or 1)
    first, note = found.series[0], ""
    if len(found.series) > 1:
        note = f"Each of its {len(found.series)} networks is a line; numbers, and what goes by layer, are of network 1."
    charts = [
        chart(
            "Loss", _loss_unit(found), _of_all(found, ("loss", "training"), ("val_loss", "validation")), at, log=True
        ),
        chart("Accuracy", "% of the validation part", _of_all(found, ("val_accuracy", "validation"), factor=100), at),
        chart("Gradient norm", "length of dLoss/dweights", _by_layer(found, "grad_norm"), at, log=True),
        chart("Update ratio", "step / weights, by norm", _by_layer(found, "update_ratio"), at, log=True),
        chart("Dead units", "% of a layer's units", _by_layer(found, "dead_share", factor=100), at),
        chart("Learning rate", "of the last step", [line(first, "learning_rate", "rate", "0.0")], at),
    ]
    about = ["The line stands at the best epoch; move it."] if found.info.best_epoch else []
    return section(
        "training",
        "Training",
        paragraphs(about, "muted screen") + paragraphs(filter(None, [note]), "muted"),
        slider(first["epoch"], at),
        f'<div class="charts">{"".join(charts)}</div>',
        findings(found.evaluation),
    )


def blind_section(found: BlindResult) -> str:
    """Return what the same network learned by random nudges alone."""
    said = (
        f"The same network, nudged at random {found.guesses:,} times in {found.seconds:.1f} s: {found.kept:,} nudges "
    )
    said += "lowered the loss and were kept."
    if found.val_accuracy is not None and found.trained_val_accuracy is not None:
        blind, trained = percent(found.val_accuracy), percent(found.trained_val_accuracy)
        said += f" It reads {blind} of the validation part; trained with the gradient, {trained}."
    seconds, losses = [point[1] for point in found.curve], [point[2] for point in found.curve]
    curve = svg.Line("nudges", seconds, losses, 0)
    shown = svg.chart([curve], title="Training loss of the blind sculptor", x_label="seconds", y_label="training loss")
    return section(
        "blind",
        "The blind sculptor",
        paragraphs([said]),
        f'<div class="charts"><figure class="chart">{shown}</figure></div>',
    )


def _loss_unit(found: RunReport) -> str:
    return "nats" if found.config.loss.name == "cross_entropy" else "squared distance / 2"


def _of_all(found: RunReport, *columns: tuple[str, str], factor: float = 1.0) -> list[svg.Line]:
    """Return columns of every network as lines; networks share a name and a color."""
    return [
        line(series, column, name, f"0.{member}", color=k, factor=factor)
        for k, (column, name) in enumerate(columns)
        for member, series in enumerate(found.series)
    ]


def _by_layer(found: RunReport, name: str, *, factor: float = 1.0) -> list[svg.Line]:
    return [
        line(found.series[0], f"layers.{name}.{k}", layer, "0.0", color=k, factor=factor)
        for k, layer in enumerate(found.layer_names)
    ]


def findings(evaluation: Evaluation | None) -> str:
    """Return what went wrong in training, in words, with what its remedy did in trials."""
    if evaluation is None or evaluation.findings is None:
        return ""
    if not evaluation.findings:
        return paragraphs(["The training was healthy: nothing was found to fix."], "good")
    items = []
    for one in evaluation.findings:
        proof = f" ({trials_sentence(one.trials)})" if one.trials else ""
        items.append(f"<li>{text(one.text)}<br>To fix it, set <code>{text(one.change)}</code>{text(proof)}</li>")
    return f"<h3>What went wrong</h3><ul>{''.join(items)}</ul>"


# ---- test ----------------------------------------------------------------------------------------------------------


def accuracy_words(found: Evaluation) -> str:
    """Return the accuracy with what it was measured on, and its interval."""
    low, high = found.accuracy_interval
    n_right = round(found.accuracy * found.n)
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    return f"{percent(found.accuracy)} right: {n_right:,} of {found.n:,} ({interval})"


def test_section(found: Evaluation, pictures: Pictures) -> str:
    """Return the figures of the test part, what was taken for what, and the worst digits."""
    part = {"test": "Test", "validation": "Validation", "train": "Training"}.get(found.split, "Test")
    about = f"{part} part: {found.about}."
    figures = [
        f"{accuracy_words(found)}.",
        f"Log loss {found.log_loss:.4f} nats; mean gap between confidence and accuracy {percent(found.ece)} (ECE).",
    ]
    return section(
        "test",
        f"{part} part",
        paragraphs([about], "muted"),
        paragraphs(figures),
        f'<div class="pair">{_confusions(found, pictures)}{_reliability(found)}</div>',
        "<h3>The worst digits: their true class got the lowest probability</h3>",
        f'<div class="tiles">{"".join(_worst_tile(one, pictures) for one in found.worst_answers[:N_WORST])}</div>',
        "<details><summary>Figures of each class, and how sure answers were</summary>",
        f'<div class="pair">{_class_table(found)}{_reliability_table(found)}</div></details>',
    )


def _worst_tile(one: WorstAnswer, pictures: Pictures) -> str:
    taken = "read rightly" if one.label == one.predicted else f"read as {one.predicted}"
    verdict = f"is {with_article(one.label)}, {taken} ({percent(one.probability)})"
    return pictures.tile(one.sample, one.pixels, text(name_of(one.sample)), text(verdict))


def _confusions(found: Evaluation, pictures: Pictures) -> str:
    cells: dict[tuple[int, int], list[WorstAnswer]] = defaultdict(list)
    for one in found.worst_answers:
        cells[found.classes.index(one.label), found.classes.index(one.predicted)].append(one)
    panes = "".join(_pane(found, place, cells[place], pictures) for place in sorted(cells))
    if len(found.classes) > MOST_CLASSES:
        return f"<div><h3>What was taken for what</h3>{_links(found, cells)}{panes}</div>"
    counts = found.confusion_matrix.tolist()
    title = "what was taken for what: a row a class, a column an answer"
    drawn = svg.matrix(counts, found.classes, title=title, row="it is", column="read as")
    hint = paragraphs(["Choose a cell to see its pictures."], "muted screen")
    return f'<div><h3>What was taken for what</h3>{hint}<div class="matrix">{drawn}</div>{panes}</div>'


def _links(found: Evaluation, cells: Iterable[tuple[int, int]]) -> str:
    """Return the wrong answers as links, where a matrix would be too large."""
    wrong = sorted((i, j) for i, j in cells if i != j)
    names = (
        f'<a href="#cell-{i}-{j}">{text(found.classes[i])} as {text(found.classes[j])}: '
        f"{found.confusion_matrix[i, j]}</a>"
        for i, j in wrong
    )
    return f'<p class="links">{" ".join(names) or "all read right"}</p>'


def _pane(found: Evaluation, place: tuple[int, int], inside: Sequence[WorstAnswer], pictures: Pictures) -> str:
    """Return the pictures of one cell, the worst first."""
    i, j = place
    count = int(found.confusion_matrix[i, j])
    about = f"{count:,} that {'is' if count == 1 else 'are'} {found.classes[i]}, read as {found.classes[j]}"
    shown = inside[:MOST_IN_A_CELL]
    if len(shown) < count:
        about += f"; the {len(shown)} least likely"
    tiles = (
        pictures.tile(one.sample, one.pixels, text(name_of(one.sample)), percent(one.probability)) for one in shown
    )
    return f'<div class="cell" id="cell-{i}-{j}"><h4>{text(about)}</h4><div class="tiles">{"".join(tiles)}</div></div>'


def _reliability(found: Evaluation) -> str:
    bins = [entry for entry in found.reliability if entry.n]
    xs, ys = [100 * entry.confidence for entry in bins], [100 * entry.accuracy for entry in bins]
    lines = [
        svg.Line("as sure as right", [0.0, 100.0], [0.0, 100.0], 6, dashed=True),
        svg.Line("this model", xs, ys, 0, dots=True),
    ]
    drawn = svg.chart(lines, title="how sure and how often right", x_label="how sure, %", y_label="right, %")
    note = "Each dot: the answers about so sure. Below the dashed line: surer than right."
    return f'<figure class="chart"><h3>Is it as sure as it is right?</h3>{drawn}{paragraphs([note], "muted")}</figure>'


def _class_table(found: Evaluation) -> str:
    rows = (
        (
            one.label,
            *(f"{share:.3f}" if one.support else "-" for share in (one.precision, one.recall, one.f1)),
            one.support,
        )
        for one in found.per_class
    )
    return table(("class", "precision", "recall", "F1", "n"), rows)


def _reliability_table(found: Evaluation) -> str:
    rows = (
        (f"{100 * b.low:.0f} to {100 * b.high:.0f} %", b.n, f"{100 * b.confidence:.1f} %", f"{100 * b.accuracy:.1f} %")
        for b in found.reliability
        if b.n
    )
    return table(("how sure", "answers", "sure, mean", "right"), rows)


# ---- the first layer -----------------------------------------------------------------------------------------------


def units_section(found: RunReport, pictures: Pictures) -> str:
    """Return each unit of the first layer as a picture of its weights, beside it the digits that excite it most."""
    if not found.units or found.model is None:
        return ""
    first = found.model.predictor.networks[0].layers[0]
    about = "Each large picture is one unit: its weights from every pixel,"
    colors = '<b class="plus">■</b> where ink excites it, <b class="minus">■</b> where ink calms it.'
    digits = "Beside it the digits measured that excite it most." if found.units[0].excited_by else ""
    paper = f'<span class="paper"> On paper the first {ON_PAPER}.</span>' if len(found.units) > ON_PAPER else ""
    some = f" {len(found.units)} of {first.fan_out:,} units." if len(found.units) < first.fan_out else ""
    return section(
        "weights",
        "What the first layer looks for",
        f'<p class="muted">{about} {colors} {digits}{some}{paper}</p>',
        f'<div class="units">{"".join(_unit(unit, pictures) for unit in found.units)}</div>',
    )


def _unit(unit: Unit, pictures: Pictures) -> str:
    """Return the weights as a picture, at its right as many small ones as there are digits."""
    height, width = unit.weights.shape
    n, every = max(1, len(unit.excited_by)), 1.06 * height
    small = "".join(
        f'<use href="#{pictures.name(one.sample, one.pixels)}" y="{k * every:g}"/>'
        for k, one in enumerate(unit.excited_by)
    )
    place = f"translate({1.05 * width:g}) scale({1 / (1.06 * n):.3g})"
    inside = f'{svg.signed(unit.weights.tolist())}<g transform="{place}">{small}</g>'
    drawn = f'<svg viewBox="0 0 {(1.05 + 1 / n) * width:g} {height}">{inside}</svg>'
    names = " ".join(one.label for one in unit.excited_by)
    return f"<figure>{drawn}<figcaption>{unit.number}: {text(names)}</figcaption></figure>"
