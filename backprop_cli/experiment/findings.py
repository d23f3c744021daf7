"""What went wrong in a training, judged by its figures, its settings and the sizes of its data."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from backprop_cli.config.config import Config
from backprop_cli.data.copies import Copies
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.insight.diagnosis import Finding, Trials, diagnose
from backprop_cli.insight.training_figures import Sizes

_TRIALS = Path(__file__).with_name("trials.csv")  # `make trials` writes it


def findings_of(
    config: Config, split_data: SplitData, rows: Sequence[Mapping[str, Any]], *, diverged: bool = False
) -> list[Finding]:
    """Return what went wrong in a training, the causes of others first; nothing for a healthy one.

    Each says what its advice did when it was tried.

    Args:
        config: The run's.
        split_data: Its data.
        rows: Its metrics.
        diverged: It diverged after these rows.
    """
    augment = config.data.augment
    n_copies = augment.copies if isinstance(augment, Copies) else 0
    sizes = Sizes(
        n_rows=len(split_data.dataset),
        n_train=len(split_data.splits.train) * (1 + n_copies),
        n_val=len(split_data.splits.val),
        n_classes=len(split_data.dataset.classes),
    )
    found = diagnose(rows, config.to_dict(), sizes, diverged=diverged)
    return [replace(finding, trials=trials_of(finding)) for finding in found]


def trials_of(finding: Finding) -> Trials | None:
    """Return what came of changing that setting after that finding; None where it was not tried."""
    wanted = (finding.name, finding.change.partition("=")[0])
    with _TRIALS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["finding"], row["setting"]) == wanted]
    ratios = [float(word) for row in rows for word in row["ratios"].split() if word != "-"]
    return Trials(len(ratios), sum(ratio < 1.0 for ratio in ratios), median(ratios)) if ratios else None
