"""What went wrong in training, in words, with the change that fixes it.

Losses are compared on one scale, whatever the loss: 1 is what guessing costs, 0 the least that is possible. The limits
were set between what healthy trainings of the bundled configs on the digits show and what trainings spoilt on purpose
show; `tests/insight/test_diagnosis.py` and `tests/advice.py` have both. Where a limit has a source beside these, it is
named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from backprop_cli.engine.optimizers import OPTIMIZERS
from backprop_cli.insight.training_figures import Sizes, TrainingFigures, fall, figure, is_finished, latest

MAX_FINDINGS = 3

_JUMP = 0.1  # rise of the training loss in one epoch; healthy: 0.03 at most
_ABOVE_FRESH = 2.0  # training loss over that of a network that says nothing yet; healthy: 1.2 at most
_BEGUN = 0.7  # loss from which a network has begun to learn, so that there is something to be thrown off from
_FADED = 0.1  # gradient norm of the first layer over that of the last; healthy: 0.3 at least
_DEAD = 0.4  # share of relu units; healthy: 0.25 at most. CS231n, "Neural networks 1", names the same share
_SATURATED = 0.85  # share of a layer's answers; with fewer than 0.8, no remedy made the validation loss lower
_SMALL_STEP = 1e-3  # largest update-to-weight ratio; CS231n, "Neural networks 3": about 1e-3, lower is too slow
_LONG_STEP = 2e-2  # from which a jump comes from the rate; deep and narrow networks jump with steps of 1e-2 too
_LARGE_STEP = 3e-2  # from which a rate is lowered to the usual one at once
_UNLEARNED = 0.1  # loss at the end; healthy: below
_LOST = 0.5  # loss from which hardly anything was learned
_HARMED = 0.05  # validation loss at its best from which units and gradients are worth a look
_GAP = 0.1  # validation over training loss at the end; healthy: 0.06 at most
_STILL_FALLING = 0.01  # fall of the validation loss in the last fifth of the epochs, at a constant rate
_FALLING_HALF = 0.05  # in the second half, where the schedule lets every training end flat
_FEW_STEPS = 10  # per epoch
_FEW_VALIDATION = 50  # rows: the 95 % interval of 97 % right is then 9 points wide on the lower side
_DEEP = 6  # hidden layers; with fewer, a lower rate helps more than clipping
_MILD_WARPS = "{rotation: 12, log_scale: 0.08, shear: 0.15, probability: 0.85}"  # those of `digits`, for any size


@dataclass(frozen=True)
class Trials:
    """Trainings in which a finding came first, each done again with the change that it names.

    Attributes:
        n: Trainings that were done again.
        n_helped: Those whose validation loss was lower with the change.
        median_ratio: Of the validation loss with the change over that without; 0 where there had been none, since
            training had diverged.
    """

    n: int
    n_helped: int
    median_ratio: float


@dataclass(frozen=True)
class Finding:
    """One thing that went wrong.

    Attributes:
        name: What it is, such as `overfitting`.
        text: A sentence or two, with the number.
        figure: That number.
        change: `KEY=VALUE`, the setting that fixes it.
        trials: What such a change did when it was tried; None where that is not looked up, or was not tried.
    """

    name: str
    text: str
    figure: float
    change: str
    trials: Trials | None = None


def diagnose(
    rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], sizes: Sizes, *, diverged: bool = False
) -> list[Finding]:
    """Return what went wrong, at most three findings, the causes of others first; none for a healthy training.

    Args:
        rows: The run's metrics, a row an epoch; what is missing or no number in them is not judged.
        settings: The run's config, resolved, as plain mappings.
        sizes: Of its data.
        diverged: Training diverged after these rows.
    """
    members: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        if figure(row, "loss") is not None:
            members.setdefault(row.get("member"), []).append(row)
    if diverged:  # the network trained last; where it has no rows, in its first epoch
        last = list(members.values())[-1] if members else []
        return [_diverged([] if is_finished(last) else last, settings, sizes)]
    found: dict[str, Finding] = {}
    for member in members.values():
        for finding in _findings(TrainingFigures(member, settings, sizes)):
            found.setdefault(finding.change, finding)
    return list(found.values())[:MAX_FINDINGS]


def _findings(run: TrainingFigures) -> Iterator[Finding]:
    """Apply the rules in their order."""
    for rules in _RULES:
        if found := [finding for rule in rules if (finding := rule(run))]:
            yield from found
            return


# ---- what several rules look at ------------------------------------------------------------------------------------


def _jump(run: TrainingFigures) -> tuple[int, float, float] | None:
    """Return the epoch in which the training loss rose the most, from what and to what; None if that did no harm."""
    rises = [after - before for before, after in pairwise(run.losses)]
    if not rises or max(rises) < _JUMP or run.best < _UNLEARNED:
        return None
    k = rises.index(max(rises))
    return k + 2, run.plain_losses[k], run.plain_losses[k + 1]


def _is_learned_by_heart(run: TrainingFigures) -> bool:
    """Return whether the validation loss ended far above the training loss."""
    return bool(run.val_losses) and run.val_losses[-1] - run.losses[-1] >= _GAP


def _dead_layer(run: TrainingFigures) -> tuple[int, float] | None:
    """Return the hidden layer with the most dead relu units in the end, from 0, and their share; None if few are."""
    shares = run.figures("dead_share")
    if not shares or run.best < _HARMED or run.settings["network"]["initializer"] == "zeros":
        return None
    of_relu = {k: shares[-1][k] for k, spec in enumerate(run.specs) if spec["activation"] == "relu"}
    k = max(of_relu, key=of_relu.__getitem__, default=0)
    return (k, of_relu[k]) if of_relu and of_relu[k] >= _DEAD else None


# ---- the rules, causes first ---------------------------------------------------------------------------------------


def _diverged(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], sizes: Sizes) -> Finding:
    if rows and (exploded := _exploded(TrainingFigures(rows, settings, sizes), diverged=True)):
        return exploded
    rate = settings["optimizer"]["learning_rate"]
    text = f"Training diverged in epoch {len(rows) + 1} (loss is not finite): a learning rate of {rate:g} is too high."
    return Finding("diverged", text, rate, _lower_rate(settings))


def _inputs_too_large(run: TrainingFigures) -> Finding | None:
    """Inputs of any size, where about one works best. Source: LeCun et al. 1998, section 4.3."""
    if run.losses[0] <= _ABOVE_FRESH * run.fresh or run.settings["data"]["scaling"] == "centered":
        return None
    first = run.plain_losses[0]
    text = f"Its inputs are too large: the training loss began at {first:.3g}, {_times(run, run.losses[0])}."
    return Finding("inputs_too_large", text, first, "data.scaling=centered")


def _exploded(run: TrainingFigures, *, diverged: bool = False) -> Finding | None:
    """A cliff in the loss of a deep network, off which one step goes far.

    Source: Pascanu et al. 2013, section 3.2, which finds clipping at half to ten times the usual norm to do well.
    """
    is_tame = run.settings["training"]["gradient_clip"] is not None or run.settings["optimizer"]["name"] != "sgd"
    if is_tame or len(run.specs) < _DEEP or run.best >= _BEGUN:
        return None
    if diverged:
        epoch, what = len(run.rows) + 1, "training diverged"
    elif (jump := _jump(run)) is not None:
        epoch, before, after = jump
        what = f"the training loss rose from {before:.3g} to {after:.3g}"
    else:
        return None
    norms = [norm for row in run.rows[: epoch - 1] if (norm := figure(row, "grad_norm"))]
    if not norms:
        return None
    usual = median(norms)
    text = f"The gradient explodes: in epoch {epoch} {what}; until then, the gradient norm was usually {usual:.2g}."
    return Finding("exploding_gradient", text, usual, f"training.gradient_clip={float(f'{usual:.1g}'):g}")


def _rate_too_high(run: TrainingFigures) -> Finding | None:
    """Steps so long that they leave the valley they were to go down. Source: Goodfellow et al. 2016, section 11.4.1."""
    highest, worst = max(run.losses), max(run.plain_losses)
    step = run.largest_step
    if (jump := _jump(run)) is not None and (step is None or step > _LONG_STEP):
        epoch, before, worst = jump
        text = f"the training loss rose from {before:.3g} to {worst:.3g} in epoch {epoch}"
    elif highest > _ABOVE_FRESH * run.fresh:
        text = f"the training loss was as high as {worst:.3g}, {_times(run, highest)}"
    else:
        return None
    text = f"The learning rate is too high: {text}."
    if (step or 0.0) > _LARGE_STEP or run.losses[-1] > _LOST:
        change = _lower_rate(run.settings)
    else:
        change = _set_rate(run.settings["optimizer"]["learning_rate"] / 3.0)
    return Finding("learning_rate_too_high", text, worst, change)


def _too_narrow(run: TrainingFigures) -> Finding | None:
    """A relu network no wider than it is deep, whose units are dead from the start, the more the deeper.

    Source: Lu, Su and Karniadakis 2018, "Collapse of deep and narrow neural nets".
    """
    dead = _dead_layer(run)
    if dead is None:
        return None
    k, share = dead
    units, depth = run.specs[k]["units"], len(run.specs)
    if units > depth:
        return None
    enough = max(2 * units, 4 * run.sizes.n_classes)
    text = f"{_dead_part(k, share)}: of {depth} layers, one of {units} units is too narrow."
    return Finding("dead_units", text, share, run.with_layers("units", lambda units: max(units, enough)))


def _dead(run: TrainingFigures) -> Finding | None:
    """Units that no row makes answer: small first weights, or steps too long, are behind it.

    Source: He et al. 2015, section 2.2 (first weights); CS231n, "Neural networks 1" (steps).
    """
    dead = _dead_layer(run)
    if dead is None:
        return None
    if not run.settings["network"]["initializer"].startswith("he_"):
        change = "network.initializer=he_normal"
    elif run.best >= _LOST:  # a network that learns all the same does not do so any better at a lower rate
        change = _lower_rate(run.settings)
    else:
        return None
    return Finding("dead_units", f"{_dead_part(*dead)}.", dead[1], change)


def _dead_part(k: int, share: float) -> str:
    return f"In layer {k + 1}, {100 * share:.0f} % of the relu units are dead: no row activates them"


def _faded(run: TrainingFigures) -> Finding | None:
    """Blame that is lost on its way down, from the start.

    Source: Glorot and Bengio 2010, sections 3 and 4.2: worst with sigmoid units, best with symmetric ones.
    """
    norms, dead_shares = run.figures("grad_norm"), run.figures("dead_share")
    if not run.specs or not norms or run.best < _HARMED:
        return None
    n_early = max(1, len(norms) // 5)
    ratio = median(layers[0] / layers[-1] if layers[-1] else 1.0 for layers in norms[:n_early])
    if ratio >= _FADED:
        return None
    if run.settings["network"]["initializer"] == "zeros":
        change = "network.initializer=he_normal"
    elif any(max(layers) >= _DEAD for layers in dead_shares[:n_early]):
        return None
    elif run.best < _LOST and run.settings["optimizer"]["learning_rate"] > 10.0 * _usual_rate(run.settings):
        return None  # tanh would let through what is far too long a step
    elif any(spec["activation"] != "tanh" for spec in run.specs):
        change = run.with_layers("activation", lambda _: "tanh")
    else:
        return None
    text = f"The gradient vanishes: in the first epochs layer 1 gets {ratio:.2g} times what the last gets."
    return Finding("vanishing_gradient", text, ratio, change)


def _saturated(run: TrainingFigures) -> Finding | None:
    """Units so far out on a flat part that no blame comes through. Source: Glorot and Bengio 2010, section 3.1."""
    shares = run.figures("saturated_share")
    if not run.specs or not shares or run.best < _HARMED:
        return None
    by_layer = [median(layer) for layer in zip(*shares, strict=True)]
    k = by_layer.index(max(by_layer))
    if by_layer[k] < _SATURATED:
        return None
    text = (
        f"In layer {k + 1}, {100 * by_layer[k]:.0f} % of the outputs lie in the flat parts of "
        f"{run.specs[k]['activation']}, through which hardly any gradient passes."
    )
    is_centered = run.settings["data"]["scaling"] == "centered"
    change = _lower_rate(run.settings) if is_centered else "data.scaling=centered"
    return Finding("saturated_units", text, by_layer[k], change)


def _rate_too_low(run: TrainingFigures) -> Finding | None:
    step = run.largest_step
    is_slow = run.is_finished and len(run.losses) > 1 and run.losses[-1] < run.losses[0]
    if not step or step >= _SMALL_STEP or run.losses[-1] < _UNLEARNED or not is_slow:
        return None
    text = f"The learning rate is too low: no step changed a layer's weights by more than {100 * step:.2g} %."
    factor = 10.0 ** math.ceil(math.log10(_SMALL_STEP / step))
    return Finding("learning_rate_too_low", text, step, _set_rate(run.settings["optimizer"]["learning_rate"] * factor))


def _too_small(run: TrainingFigures) -> Finding | None:
    """A network that cannot even learn its own training part. Source: Goodfellow et al. 2016, section 11.3."""
    if not run.is_finished or not run.specs or run.losses[-1] < _UNLEARNED or fall(run.losses, 5) > _HARMED:
        return None
    start = f"Even on what it was trained on, the loss ended at {run.plain_losses[-1]:.2g}"
    most_dropped = max(spec["dropout"] for spec in run.specs)
    if most_dropped >= 0.5:
        text = f"{start}: a dropout of {most_dropped:g} leaves too little to learn with."
        change = run.with_layers("dropout", lambda share: min(share, 0.1))
        return Finding("underfitting", text, run.plain_losses[-1], change)
    narrowest = min(spec["units"] for spec in run.specs)
    if narrowest >= run.sizes.n_classes:
        return None
    text = f"{start}: a layer of {narrowest} units is too narrow for {run.sizes.n_classes} classes."
    change = run.with_layers("units", lambda units: max(units, 4 * run.sizes.n_classes))
    return Finding("underfitting", text, run.plain_losses[-1], change)


def _overfitting(run: TrainingFigures) -> Finding | None:
    """Overfitting. Source: Goodfellow et al. 2016, section 5.2; the remedies, sections 7.4 and 7.11."""
    if not _is_learned_by_heart(run):
        return None
    ended, at_best = run.plain_val[-1], min(run.plain_val)
    text = f"It overfits: the loss ended at {run.plain_losses[-1]:.2g} in training, at {ended:.2g} in validation"
    text += f", where it had been {at_best:.2g}." if ended > 1.1 * at_best else "."
    if run.settings["data"]["augment"] is None:
        change = f"data.augment={_MILD_WARPS}"
    elif run.settings["ensemble"] == 1:
        change = "ensemble=5"
    else:
        return None
    return Finding("overfitting", text, ended - run.plain_losses[-1], change)


def _too_short(run: TrainingFigures) -> Finding | None:
    if _is_learned_by_heart(run):  # then the validation loss falls by chance, and more steps make it no better
        return None
    training, losses = run.settings["training"], run.val_losses or run.losses
    is_constant = run.settings["schedule"]["name"] == "constant"
    part = 5 if is_constant else 2
    is_short = fall(losses, part) >= (_STILL_FALLING if is_constant else _FALLING_HALF)
    if run.rows[-1].get("stop_reason") != "completed" or not is_short or not (is_constant or losses[-1] >= _UNLEARNED):
        return None
    kind, plain = ("validation", run.plain_val) if run.val_losses else ("training", run.plain_losses)
    before, after = latest(plain, part, min)
    when = "last fifth" if is_constant else "second half"
    text = f"It was still learning: in the {when} of the epochs the {kind} loss fell from {before:.3g} to {after:.3g}"
    n_steps = math.ceil(run.sizes.n_train / training["batch_size"])
    if n_steps < _FEW_STEPS:
        text += f", with no more than {n_steps} steps an epoch."
        size = min(256, max(8, run.sizes.n_train // 40))
        return Finding("batch_too_large", text, n_steps, f"training.batch_size={size}")
    return Finding("too_few_epochs", f"{text}.", before - after, f"training.epochs={2 * training['epochs']}")


def _few_validation(run: TrainingFigures) -> Finding | None:
    sizes = run.sizes
    wanted = math.ceil(200.0 * _FEW_VALIDATION / sizes.n_rows) / 100.0
    if not 0 < sizes.n_val < _FEW_VALIDATION or wanted * sizes.n_rows > 0.5 * sizes.n_train:
        return None
    text = (
        f"The best epoch was chosen on {sizes.n_val} rows: one of them is {100 / sizes.n_val:.1f} points of accuracy."
    )
    return Finding("validation_too_small", text, sizes.n_val, f"data.validation_size={wanted:g}")


# Where a rule of one line has found something, those below it are not asked: what they would see comes from that.
_RULES: tuple[tuple[Callable[[TrainingFigures], Finding | None], ...], ...] = (
    (_inputs_too_large,),
    (_too_narrow,),
    (_saturated,),
    (_faded,),
    (_exploded,),
    (_rate_too_high,),
    (_dead,),
    (_rate_too_low,),
    (_too_small, _too_short, _overfitting, _few_validation),
)


# ---- changes -------------------------------------------------------------------------------------------------------


def _lower_rate(settings: Mapping[str, Any]) -> str:
    """Return the change to a learning rate that is surely low enough to learn with."""
    return _set_rate(min(settings["optimizer"]["learning_rate"] / 10.0, _usual_rate(settings)))


def _usual_rate(settings: Mapping[str, Any]) -> float:
    """Return the optimizer's own default, the lower the more momentum carries on."""
    optimizer = settings["optimizer"]
    return float(OPTIMIZERS[optimizer["name"]]().learning_rate * (1.0 - optimizer.get("momentum", 0.0)))


def _times(run: TrainingFigures, loss: float) -> str:
    return f"{loss / run.fresh:.1f} times the loss of a network whose logits are all 0"


def _set_rate(rate: float) -> str:
    return f"optimizer.learning_rate={rate:.2g}"
