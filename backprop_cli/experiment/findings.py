"""What went wrong in a training, judged by its figures, its settings and the sizes of its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backprop_cli.config.config import Config
from backprop_cli.data.copies import Copies
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.insight.diagnosis import Finding, diagnose
from backprop_cli.insight.training_figures import Sizes


def findings_of(
    config: Config, split_data: SplitData, rows: Sequence[Mapping[str, Any]], *, diverged: bool = False
) -> list[Finding]:
    """Return what went wrong in a training, the causes of others first; nothing for a healthy one.

    Args:
        config: The run's.
        split_data: Its data.
        rows: Its metrics.
        diverged: It left the finite numbers after these rows.
    """
    augment = config.data.augment
    n_copies = augment.copies if isinstance(augment, Copies) else 0
    sizes = Sizes(
        n_rows=len(split_data.dataset),
        n_train=len(split_data.splits.train) * (1 + n_copies),
        n_val=len(split_data.splits.val),
        n_classes=len(split_data.dataset.classes),
    )
    return diagnose(rows, config.to_dict(), sizes, diverged=diverged)
