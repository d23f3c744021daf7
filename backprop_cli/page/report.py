"""A report: one file of HTML that shows a run, several beside each other, or one picture explained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from backprop_cli import __version__
from backprop_cli.api.comparison import accuracy_differences, config_differences
from backprop_cli.api.report import MAX_WEIGHT_BYTES, RunReport, network_data
from backprop_cli.api.words import percent
from backprop_cli.errors import ArgumentError
from backprop_cli.page.explained import explanation_section, worksheet_section
from backprop_cli.page.html import document, name_of, paragraphs, section, table, text
from backprop_cli.page.parts import (
    Pictures,
    accuracy_words,
    blind_section,
    chart,
    findings,
    line,
    slider,
    test_section,
    training_section,
    units_section,
)

if TYPE_CHECKING:
    from backprop_cli.api.explanation import Explanation
    from backprop_cli.api.models import Model

MAX_RUNS = 8  # as many as there are colors
MAX_PIXELS = 1_024  # of a picture that can be clicked


def run_page(found: RunReport) -> bytes:
    """Return the report of one run."""
    pictures, evaluation = Pictures(), found.evaluation
    value: dict[str, Any] = {"series": [list(found.series)]}
    parts = [
        training_section(found),
        "" if found.blind is None else blind_section(found.blind),
        "" if evaluation is None else test_section(evaluation, pictures),
        units_section(found, pictures),
        "" if found.explanation is None else explanation_section(found.explanation),
        _play(found.model, found.explanation, value),
        _settings(found),
    ]
    head = _header(found.info.name, _lead(found), [*found.notes])
    return document(f"{found.info.name} - backprop", _page(head, parts, pictures), value)


def explanation_page(found: Explanation, model: Model, path: Sequence[str] | None = None) -> bytes:
    """Return one picture explained, and its worksheet to print; `path`: see `Explanation.worksheet`."""
    value: dict[str, Any] = {}
    name = name_of(found.path)
    parts = [
        explanation_section(found, "From guess to corrected guess"),
        _play(model, found, value),
        worksheet_section(found.worksheet(path).text),
    ]
    run, _, file = found.model.rpartition("/")
    asked = run if file == "model.safetensors" else file.removesuffix(".safetensors")
    lead = f"What the model {name_of(asked)} makes of it."
    return document(f"{name} - backprop", _page(_header(name, [lead], []), parts, Pictures()), value)


def comparison_page(found: Sequence[RunReport]) -> bytes:
    """Return several runs beside each other.

    Raises:
        ArgumentError: They are more than can be told apart.
    """
    if len(found) > MAX_RUNS:
        raise ArgumentError(f"{len(found)} runs: at most {MAX_RUNS} can be told apart in one chart")
    names = [report.info.name for report in found]
    parts = [_figures_table(found), _accuracies(found, names), _curves(found), _config_table(found, names)]
    parts += [_findings(found, names)]
    head = _header(" and ".join(names) if len(names) < 4 else f"{len(names)} runs", ["Beside each other."], [])
    value = {"series": [list(report.series) for report in found]}
    return document(f"{len(names)} runs - backprop", _page(head, parts, Pictures()), value)


def _page(head: str, parts: Sequence[str], pictures: Pictures) -> str:
    foot = f"<footer>Made by backprop {__version__}. This file loads nothing from the network.</footer>"
    return f"{pictures.definitions()}{head}<main>{''.join(parts)}</main>{foot}"


def _header(name: str, lead: Iterable[str], notes: Iterable[str]) -> str:
    return f"<header><h1>{text(name)}</h1>{paragraphs(lead, 'lead')}{paragraphs(notes, 'warning')}</header>"


def _lead(found: RunReport) -> list[str]:
    """Return what came of a run, in a sentence or two."""
    info, said = found.info, []
    if found.evaluation is not None:
        said.append(f"{accuracy_words(found.evaluation)}.")
    if info.best_epoch is not None:
        stopped = "" if info.is_finished else "; its training is not finished"
        said.append(f"Best epoch {info.best_epoch} of {info.epochs}{stopped}. {_size(found)}")
    return said


def _size(found: RunReport) -> str:
    if found.model is None:
        return ""
    height, width = found.model.picture_size
    hidden = " → ".join(str(layer.units) for layer in found.config.network.layers)
    networks = len(found.model.predictor.networks)
    many = f"{networks} networks of " if networks > 1 else ""
    shape = " → ".join(filter(None, [f"{height}x{width} pixels", hidden, f"{len(found.model.classes)} classes"]))
    return f"{many}{shape}: {found.model.n_parameters:,} weights and biases."


def _play(model: Model | None, explained: Explanation | None, value: dict[str, Any]) -> str:
    """Return the place to click pixels, and put what its script needs into `value`."""
    if model is None or explained is None:
        return ""
    network = network_data(model)
    height, width = explained.pixels.shape
    if network is None or height * width > MAX_PIXELS:
        why = f"more than {MAX_WEIGHT_BYTES / 1e6:g} MB" if network is None else "their pictures too large to click"
        return section(
            "play", "Play", paragraphs([f"The weights do not travel in this file: they are {why}."], "muted")
        )
    value["network"] = network
    value["ink"] = [round(ink, 4) for ink in explained.pixels.ravel().tolist()]
    hint = "Click or drag over pixels (or arrow keys and space): the network in this file guesses again."
    return section(
        "play",
        "Play",
        paragraphs([hint], "muted"),
        f'<div class="play"><svg id="board" viewBox="0 0 {width} {height}" tabindex="0" role="application" '
        'aria-label="pixels to click"></svg><div><p id="guess" aria-live="polite"></p><div id="bars"></div>'
        '<p><button id="reset">as it was</button> <button id="clear">blank</button></p></div></div>',
    )


def _settings(found: RunReport) -> str:
    rows = [(key, _shown(value)) for key, value in found.flat_config.items()]
    machine = [(key, str(value)) for key, value in found.environment.items()]
    return section(
        "settings",
        "Config and environment",
        f"<details><summary>Every setting</summary>{table(('setting', 'value'), rows, kind='plain')}</details>",
        f"<details><summary>What it was trained with</summary>{table(('', 'was'), machine, kind='plain')}</details>",
    )


def _shown(value: str) -> str:
    """Return a setting; of a path its name."""
    return name_of(value) if "/" in value and " " not in value else value


# ---- several runs --------------------------------------------------------------------------------------------------


def _figures_table(found: Sequence[RunReport]) -> str:
    heads = (
        "run",
        "best epoch",
        "weights and biases",
        "validation loss",
        "accuracy",
        "95 % interval, %",
        "of",
        "measured on",
    )
    return section("figures", "Figures", table(heads, map(_figures, found)))


def _figures(found: RunReport) -> tuple[str, ...]:
    info, evaluation, model = found.info, found.evaluation, found.model
    loss = "-" if info.val_loss is None else f"{info.val_loss:.4f}"
    epoch = "-" if info.best_epoch is None else f"{info.best_epoch} of {info.epochs}"
    size = "-" if model is None else f"{model.n_parameters:,}"
    if evaluation is None:
        return (info.name, epoch, size, loss, "-", "-", "-", "; ".join(found.notes))
    low, high = (f"{100 * share:.1f}" for share in evaluation.accuracy_interval)
    return (
        *(info.name, epoch, size, loss, percent(evaluation.accuracy), f"{low} to {high}", f"{evaluation.n:,}"),
        f"{evaluation.split} part: {evaluation.about}",
    )


def _curves(found: Sequence[RunReport]) -> str:
    """Return the curves of the runs over each other; of an ensemble those of network 1."""
    runs = [(k, report) for k, report in enumerate(found) if report.series]
    epochs = [max((epoch or 0.0 for epoch in report.series[0]["epoch"]), default=0.0) for _, report in runs]
    if not epochs:
        return ""
    at = min(epochs)  # where all of them have figures

    def of(column: str, factor: float = 1.0) -> list[Any]:
        return [
            line(report.series[0], column, report.info.name, f"{k}.0", color=k, factor=factor) for k, report in runs
        ]

    losses = {report.config.loss.name for _, report in runs}
    unit = "nats" if losses == {"cross_entropy"} else "not of one kind" if len(losses) > 1 else "squared distance / 2"
    charts = [
        chart("Validation loss", unit, of("val_loss"), at, log=True),
        chart("Training loss", unit, of("loss"), at, log=True),
        chart("Accuracy", "% of the validation part", of("val_accuracy", 100), at),
        chart("Gradient norm", "length of dLoss/dweights", of("grad_norm"), at, log=True),
        chart("Learning rate", "of the last step", of("learning_rate"), at),
    ]
    several = any(len(report.series) > 1 for _, report in runs)
    note = paragraphs(["Of an ensemble: network 1."], "muted") if several else ""
    return section("training", "Training", note, slider(epochs, at), f'<div class="charts">{"".join(charts)}</div>')


def _config_table(found: Sequence[RunReport], names: Sequence[str]) -> str:
    differences = config_differences(found)
    if not differences:
        return section("settings", "Configs", paragraphs(["Their configs are the same."]))
    rows = ((key, *map(_shown, values)) for key, values in differences.items())
    return section("settings", "In what their configs differ", table(("setting", *names), rows, kind="plain"))


def _accuracies(found: Sequence[RunReport], names: Sequence[str]) -> str:
    differences = accuracy_differences(found)
    if not differences:
        return ""
    rows = (
        (
            f"{names[one.first]} - {names[one.second]}",
            f"{100 * one.difference:+.1f} points",
            "borne out" if one.is_borne else "not borne out: it may be chance",
            one.reason,
        )
        for one in differences
    )
    return section("differences", "Which is more accurate?", table(("runs", "accuracy", "", "why"), rows))


def _findings(found: Sequence[RunReport], names: Sequence[str]) -> str:
    parts = [
        f"<h3>{text(name)}</h3>{told}"
        for name, report in zip(names, found, strict=True)
        if (told := findings(report.evaluation))
    ]
    return section("findings", "What was found in training", *parts) if parts else ""
