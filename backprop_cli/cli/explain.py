"""`backprop explain`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import AsJson, ModelName
from backprop_cli.cli.pictures import guess, read
from backprop_cli.errors import DataError, PictureError, UsageError
from backprop_cli.files import clean, write_atomic

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from backprop_cli.engine.network import Network
    from backprop_cli.insight.explain import Explanation, LayerBlame, WeightBlame
    from backprop_cli.predictor import Predictor

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop explain digits:1425             what the last run makes of sample 1425
  backprop explain photo.png --label 9     a picture of yours, and what it shows
  backprop explain digits:1425 --learning-rate 0.001,0.01,0.1,1
  backprop explain digits:1425 --worksheet sheet.md
"""

WIDEST = 28  # pixels: what is wider is not drawn
MAX_RATES = 20
FORGETS = 0.01  # of the test set: a step that costs so much accuracy has made others wrong for the sake of one
MARGIN, WIDEST_TEXT = 12, 100  # characters: where text begins, and where it is wrapped at the latest

LabelSource = Literal["given", "known", "guess"]


@dataclass(frozen=True)
class Subject:
    """What is explained, and of whom.

    Attributes:
        name: The picture, as given.
        grid: What the network sees, (height, width), ink from 0 to 1.
        predictor: The model.
        label_source: Where the truth comes from.
        explanation: Of the first network.
    """

    name: str
    grid: Any
    predictor: Predictor
    label_source: LabelSource
    explanation: Explanation

    @property
    def probabilities(self) -> dict[str, float]:
        """The guess of the network that is explained, by class name."""
        return self.by_class(self.explanation.trace.probabilities)

    @property
    def label(self) -> str:
        """The class that counts as the truth."""
        return self.predictor.classes[self.explanation.trace.label]

    def by_class(self, probabilities: Any) -> dict[str, float]:
        """Return probabilities, (n_classes,), by class name."""
        return {name: float(p) for name, p in zip(self.predictor.classes, probabilities, strict=True)}


@app.command(epilog=EXAMPLES)
def explain(
    picture: Annotated[
        str, typer.Argument(metavar="PICTURE", help="A file, - for stdin, digits:N.", show_default=False)
    ],
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="D", help="What it shows. Default: known for digits:N, else guessed."),
    ] = None,
    model: ModelName = None,
    learning_rate: Annotated[
        str, typer.Option("--learning-rate", metavar="X[,X...]", help="Of the correction; several make a ladder.")
    ] = "0.01",
    top: Annotated[int, typer.Option("--top", min=1, max=100, help="How many weights of each layer to name.")] = 3,
    worksheet: Annotated[
        Path | None, typer.Option("--worksheet", metavar="FILE", help="Write one path as a sheet to follow by hand.")
    ] = None,
    path: Annotated[
        str | None,
        typer.Option("--path", metavar="I,J,K", help="The sheet's pixel, units, class. Default: the most blamed ones."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show guess, loss, blame and correction for one picture."""
    from backprop_cli.blas import blas_threads
    from backprop_cli.cli.models import load_predictor
    from backprop_cli.insight.explain import explain as explained

    rates = _rates(learning_rate)
    if path is not None and worksheet is None:
        raise UsageError("--path: chooses what --worksheet FILE writes; give both")
    model_path, predictor = load_predictor(model, or_pretrained=True)
    network = predictor.networks[0]
    way = _way(path, network, predictor.classes) if path is not None else None
    reading = read(picture, predictor)
    if reading.error is not None:
        raise PictureError(reading.error)
    for doubt in reading.doubts:
        console.warn(f"{picture}: {doubt}")
    inputs = predictor.scaling.apply(reading.grid[None])[0]
    with blas_threads(predictor.n_threads):
        number, source = _truth(label, reading.label, predictor, inputs)
        explanation = explained(
            network,
            predictor.loss,
            inputs,
            number,
            learning_rates=rates,
            top=top,
            test_accuracy_of=_tester(model_path, predictor),
        )
    subject = Subject(picture, reading.grid / predictor.scaling.max_value, predictor, source, explanation)
    if worksheet is not None:
        _write_worksheet(worksheet, way, subject)
    if as_json:
        console.answer_json("explain/1", _document(subject, str(model_path)))
    else:
        _show(subject)
    if not explanation.check.passed:
        console.error(f"the gradients are wrong; backprop check -m {clean(model_path)} says where")
        raise typer.Exit(1)


def _rates(text: str) -> tuple[float, ...]:
    """Return the learning rates of the ladder."""
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not 1 <= len(rates) <= MAX_RATES or not all(0.0 < rate <= 1e6 for rate in rates):
        raise UsageError(f'--learning-rate "{text}": numbers above 0 with commas between them, such as 0.01,0.1')
    return rates


def _class(name: str, classes: tuple[str, ...], option: str) -> int:
    if name not in classes:
        raise UsageError(f'{option}: "{name}" is not one of {", ".join(classes)}')
    return classes.index(name)


def _way(text: str, network: Network, classes: tuple[str, ...]) -> tuple[int, ...]:
    """Return a path as indices: of a pixel, a unit of each hidden layer, and a class."""
    *parts, last = (part.strip() for part in text.split(","))
    sizes = [layer.fan_in for layer in network.layers]
    if len(parts) != len(sizes):
        raise UsageError(f"--path {text}: this network needs {len(sizes) + 1}: pixel, a unit of each layer, class")
    for part, size in zip(parts, sizes, strict=True):
        if not part.isdecimal() or not part.isascii() or len(part) > 9 or int(part) >= size:
            raise UsageError(f'--path {text}: "{part}" is not in 0 to {size - 1}')
    return (*map(int, parts), _class(last, classes, f"--path {text}"))


def _truth(given: str | None, known: int | None, predictor: Predictor, inputs: Any) -> tuple[int, LabelSource]:
    """Return what counts as the truth, and how it is known."""
    if given is not None:
        return _class(given, predictor.classes, "--label"), "given"
    if known is not None:
        return known, "known"
    return int(predictor.networks[0].logits(inputs[None])[0].argmax()), "guess"


def _tester(path: Path, predictor: Predictor) -> Callable[[Network], float] | None:
    """Return what measures a network on the model's whole test set; None where that is not to be had."""
    from backprop_cli.cli.models import data_of

    try:
        dataset, rows = data_of(path, predictor, "test")
    except DataError as problem:
        console.warn(f"without the test set: {problem}")
        return None
    if len(rows) == 0:
        return None
    chunks = [rows[start : start + 4096] for start in range(0, len(rows), 4096)]

    def test_accuracy_of(network: Network) -> float:
        n_right = 0
        for chunk in chunks:
            logits = network.logits(predictor.scaling.apply(dataset.pictures[chunk]))
            n_right += int((logits.argmax(axis=1) == dataset.labels[chunk]).sum())
        return n_right / len(rows)

    return test_accuracy_of


def _write_worksheet(file: Path, way: tuple[int, ...] | None, subject: Subject) -> None:
    from backprop_cli.insight.worksheet import most_blamed_path, worksheet

    explanation, classes = subject.explanation, subject.predictor.classes
    way = way or most_blamed_path(explanation.trace)
    title, names = clean(subject.name), [*map(clean, classes)]
    text = worksheet(explanation.trace, way, explanation.steps[0], classes=names, title=title)
    write_atomic(file, text.encode())
    shown = ",".join([*map(str, way[:-1]), names[way[-1]]])
    console.story(f"worksheet: {clean(file)} (--path {shown})")


# ---- as JSON -------------------------------------------------------------------------------------------------------


def _document(subject: Subject, model: str) -> dict[str, Any]:
    explanation, predictor = subject.explanation, subject.predictor
    trace = explanation.trace
    best = max(subject.probabilities, key=lambda name: subject.probabilities[name])
    return {
        "path": subject.name,
        "model": model,
        "predicted": best,
        "label": subject.label,
        "label_source": subject.label_source,
        "member": 1 if len(predictor.networks) > 1 else None,
        "probabilities": subject.probabilities,
        "pixels": subject.grid.round(4).tolist(),
        "loss": trace.loss_value,
        "layers": [
            {
                "name": layer.name,
                "n_weights": layer.n_weights,
                "blame_share": layer.blame_share,
                "mean_abs_gradient": layer.mean_abs_gradient,
                "activation": layer.activation,
                "units": layer.fan_out,
                "fired": layer.n_fired,
                "half_blame_count": layer.half_blame_count,
                "zero_gradient_count": layer.zero_gradient_count,
                "zero_inputs": layer.zero_inputs,
                "zero_deltas": layer.zero_deltas,
                "max_relative_error": check.max_relative_error,
            }
            for layer, check in zip(explanation.layers, explanation.check.layers, strict=True)
        ],
        "top_weights": [
            {
                "layer": explanation.layers[weight.layer].name,
                "from": "bias" if weight.source is None else weight.source,
                "to": weight.target,
                "weight": weight.weight,
                "input": weight.input,
                "delta": weight.delta,
                "gradient": weight.gradient,
                "new_weight": weight.new_weight,
            }
            for weight in explanation.top_weights
        ],
        "input_gradient": trace.grad_inputs.reshape(predictor.picture_size).tolist(),
        "zero_gradient_count": explanation.zero_gradient_count,
        "half_blame_count": explanation.half_blame_count,
        "max_relative_error": explanation.check.max_relative_error,
        "test_accuracy": explanation.test_accuracy,
        "steps": [
            {
                "learning_rate": step.learning_rate,
                "forecast_loss": step.forecast_loss,
                "loss": _finite(step.loss),
                "probabilities": {name: _finite(p) for name, p in subject.by_class(step.probabilities).items()},
                "test_accuracy": step.test_accuracy,
            }
            for step in explanation.steps
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# ---- in words ------------------------------------------------------------------------------------------------------


def _show(subject: Subject) -> None:
    screen = console.rich_console(sys.stdout)
    _show_guess(subject, screen)
    console.answer()
    _show_loss(subject, screen)
    console.answer()
    _show_blame(subject, screen)
    console.answer()
    _show_correction(subject, screen)
    console.answer()
    _show_check(subject, screen)


def _say(screen: Console, heading: str, text: str) -> None:
    """Print a paragraph beside its heading, wrapped between words."""
    console.answer(
        fill(
            text,
            width=min(screen.width, WIDEST_TEXT),
            initial_indent=heading.ljust(MARGIN),
            subsequent_indent=" " * MARGIN,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _table(*columns: str, left: int = 1) -> Table:
    """Return a table; all but the first columns stand to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k < left else "right", no_wrap=True)
    return table


def _show_guess(subject: Subject, screen: Console) -> None:
    from rich.text import Text

    predictor, layers = subject.predictor, subject.explanation.layers
    n_networks = len(predictor.networks)
    _say(screen, "GUESS", guess(subject.probabilities, 3))
    if n_networks > 1:
        mean = subject.by_class(predictor.probabilities(subject.grid[None] * predictor.scaling.max_value)[0])
        about = f"That, and all that follows, is network 1 of {n_networks}; all {n_networks} together:"
        _say(screen, "", f"{about} {guess(mean, 2)}")
    elif predictor.model.temperature != 1.0:
        about = f"before calibration, which divides the logits by {predictor.model.temperature:.3g}"
        _say(screen, "", about)
    console.answer()
    if subject.grid.shape[1] <= WIDEST:
        for line in console.drawn(subject.grid):
            console.answer(f"  {line}".rstrip())
    else:
        console.answer(f"  ({'x'.join(map(str, subject.grid.shape))}: too wide to draw)")
    console.answer()
    table = _table("layer", "activation", "in -> out", "fired", "", left=2)
    table.columns[-1].header, table.columns[-1].justify = "largest activations", "left"
    for layer in layers:
        is_output = layer is layers[-1]
        names = [_unit(subject, layer, unit) for unit, _ in layer.largest[:3]]
        values = ", ".join(f"{name}: {value:.2f}" for name, (_, value) in zip(names, layer.largest, strict=False))
        table.add_row(
            layer.name,
            predictor.loss.output if is_output else layer.activation,
            f"{layer.fan_in} -> {layer.fan_out}",
            "" if is_output else f"{layer.n_fired} of {layer.fan_out}",
            Text(values),
        )
    screen.print(table)


def _unit(subject: Subject, layer: LayerBlame, unit: int) -> str:
    """Return what a unit is called: by its number, in the output layer by its class."""
    return clean(subject.predictor.classes[unit]) if layer is subject.explanation.layers[-1] else str(unit)


def _show_loss(subject: Subject, screen: Console) -> None:
    from backprop_cli.insight.worksheet import in_letters

    trace, loss = subject.explanation.trace, subject.predictor.loss
    truth, label = clean(subject.label), trace.label
    target = f"t = {trace.targets[label]:.3g} for {truth}, {trace.targets.min():.3g} for the others"
    if "{t}" in loss.term:
        formula = f"sum of {in_letters(loss, loss.term)} = {trace.loss_value:.4g}, with {target}"
    else:
        p = trace.probabilities
        missing = float(p.sum() - p[label])
        said = f"(1 - {missing:.4g})" if missing < 0.01 else f"{p[label]:.4g}"
        formula = f"{loss.term.format(o=said)} = {trace.loss_value:.4g}"
    if subject.label_source == "guess":
        told = f"Nobody told me what it shows, so my own guess, {truth}, stands in for the truth:"
        _say(screen, "LOSS", f"{told} loss = {formula}")
        console.story("--label D tells what the picture shows: then the blame is about the truth")
    else:
        _say(screen, "LOSS", f"The truth is {truth}: loss = {formula}")


def _show_blame(subject: Subject, screen: Console) -> None:
    explanation = subject.explanation
    n = sum(layer.n_weights for layer in explanation.layers)
    zero_inputs = [layer.zero_inputs for layer in explanation.layers]
    blank = "pixels that are always blank" if subject.predictor.scaling.mean.any() else "blank pixels"
    reasons = [
        (zero_inputs[0], f"from {blank}"),
        (sum(zero_inputs[1:]), "from silent units"),
        (sum(layer.zero_deltas for layer in explanation.layers), "into silent units"),
    ]
    why = ", ".join(f"{count:,} {words}" for count, words in reasons if count)
    half = f"Half of it lies on {explanation.half_blame_count:,} of {n:,} weights and biases."
    _say(screen, "BLAME", f"{half} {explanation.zero_gradient_count:,} get none{f': {why}' if why else ''}.")
    console.answer()
    table = _table("layer", "share", "mean per weight", "half of it in", "none")
    for layer in explanation.layers[::-1]:
        table.add_row(
            layer.name,
            f"{100 * layer.blame_share:.1f} %",
            f"{layer.mean_abs_gradient:#.3g}",
            f"{layer.half_blame_count:,} of {layer.n_weights:,}",
            f"{layer.zero_gradient_count:,}",
        )
    screen.print(table)
    console.answer()
    _show_weights(subject, screen)
    console.answer()
    _show_input_blame(subject, screen)


def _show_weights(subject: Subject, screen: Console) -> None:
    from rich.text import Text

    console.answer("The most blamed weights of each layer:")
    table = _table("layer", "from -> to", "input", "x delta", "= gradient", "weight", "-> new", left=2)
    before = None
    for weight in subject.explanation.top_weights:
        layer = subject.explanation.layers[weight.layer]
        table.add_row(
            layer.name if layer is not before else "",
            Text(f"{_source(weight)} -> {_unit(subject, layer, weight.target)}"),
            f"{weight.input:#.4g}",
            f"{weight.delta:#.3g}",
            f"{weight.gradient:#.3g}",
            f"{weight.weight:.5f}",
            f"{weight.new_weight:.5f}",
        )
        before = layer
    screen.print(table)


def _source(weight: WeightBlame) -> str:
    if weight.source is None:
        return "bias"
    return f"pixel {weight.source}" if weight.layer == 0 else str(weight.source)


def _show_input_blame(subject: Subject, screen: Console) -> None:
    from rich.text import Text

    gradient = subject.explanation.trace.grad_inputs.reshape(subject.predictor.picture_size)
    width = gradient.shape[1]
    if width > WIDEST:
        return
    coloured = screen.color_system is not None and not screen.no_color
    scale = float(abs(gradient).max()) or 1.0
    signed = console.drawn_signed(gradient / scale, coloured=coloured)
    worse, better = ("red", "blue") if coloured else ("+", "-")
    beside = 4 * width + 5 <= screen.width
    picture = "; beside it the picture" if beside else ""
    console.answer(f"More ink here would make it worse ({worse}) or better ({better}){picture}:")
    for blame, ink in zip(signed, console.drawn(subject.grid), strict=True):
        line = Text("  ").append_text(blame)
        screen.print(line.append(f"   {ink}") if beside else line)


def _show_correction(subject: Subject, screen: Console) -> None:
    from rich.text import Text

    from backprop_cli.predictor import percent

    explanation, truth = subject.explanation, subject.label
    before, first = explanation.trace, explanation.steps[0]
    now = guess(subject.by_class(first.probabilities), 2) if math.isfinite(first.loss) else "the loss is not finite"
    _say(screen, "CORRECTION", f"One step, new weight = weight - {first.learning_rate:g} x gradient, and {now}")
    console.answer()
    measured = explanation.test_accuracy is not None
    table = _table("rate", "forecast", "loss", "guess", f"sure of {clean(truth)}", *["test set"] * measured, "")
    table.columns[-1].justify = "left"
    rows = [("", "", before.loss_value, before.probabilities, explanation.test_accuracy)]
    rows += [
        (f"{step.learning_rate:g}", f"{step.forecast_loss:.4g}", step.loss, step.probabilities, step.test_accuracy)
        for step in explanation.steps
    ]
    for rate, forecast, loss, probabilities, accuracy in rows:
        if not math.isfinite(loss):
            table.add_row(rate, forecast, *[""] * (3 + measured), Text("no longer finite", console.BAD))
            continue
        answer = subject.by_class(probabilities)
        best = max(answer, key=lambda name: answer[name])
        table.add_row(
            rate or "before",
            forecast,
            f"{loss:.4g}",
            Text(f"{clean(best)} {percent(answer[best])}", console.GOOD if best == truth else ""),
            percent(answer[truth]),
            *([] if accuracy is None else [percent(accuracy)]),
            _verdict(explanation, loss, accuracy),
        )
    screen.print(table)
    console.answer("forecast: where a straight line would lead, loss - rate x |gradient|^2")
    if any(step.forecast_loss < 0.0 for step in explanation.steps):
        console.answer("(no loss is below 0: there the step is too long for a straight line)")


def _verdict(explanation: Explanation, loss: float, accuracy: float | None) -> Text:
    """Return what is wrong with where a step has led."""
    from rich.text import Text

    if loss > explanation.trace.loss_value:
        return Text("overshoots", console.BAD)
    if accuracy is not None and accuracy < (explanation.test_accuracy or 0.0) - FORGETS:
        return Text("harms the others", console.WARNING)
    return Text()


def _show_check(subject: Subject, screen: Console) -> None:
    explanation = subject.explanation
    check = explanation.check
    n, kinks = sum(layer.n for layer in check.layers), sum(layer.kinks for layer in check.layers) + check.inputs.kinks
    total = sum(layer.n_weights for layer in explanation.layers)
    text = (
        f"{'All' if n == total else f'The largest {n:,} of'} {total:,} gradients and the {check.inputs.n:,} of the "
        f"picture against central differences: worst error {check.max_relative_error:.1e} of its layer's largest "
        "gradient."
    )
    if kinks:
        text += f" {kinks:,} stand at a kink of their activation, where none can be measured."
    faint = [layer.name for layer in check.layers if layer.is_faint]
    if faint:
        text += f" In {', '.join(faint)} they are too faint for float64 to check."
    _say(screen, "CHECKED", text)
