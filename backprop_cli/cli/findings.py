"""How `train` and `eval --diagnose` show what went wrong in a training."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from backprop_cli.api.words import trials_sentence

if TYPE_CHECKING:
    from backprop_cli.api.run import Finding

_INDENT = " " * 12


def format_findings(findings: Sequence[Finding]) -> list[str]:
    """Return each finding and, below it, the option that fixes it and what that did in trials, as lines."""
    lines: list[str] = []
    for finding in findings:
        lines += textwrap.wrap(finding.text, 80, initial_indent="finding".ljust(12), subsequent_indent=_INDENT)
        lines.append(f"{_INDENT}{change_of(finding)}")
        if finding.trials is not None:
            lines.append(f"{_INDENT}{trials_sentence(finding.trials)}")
    return lines


def change_of(finding: Finding) -> str:
    """Return the option of `backprop train` that fixes it, quoted for a shell."""
    return f"--set {shlex.quote(finding.change)}"
