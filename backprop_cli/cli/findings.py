"""How `train` and `eval --diagnose` show what went wrong in a training."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from backprop_cli.cli import console

if TYPE_CHECKING:
    from backprop_cli.insight.diagnosis import Finding

_INDENT = " " * 12


def show_findings(findings: Sequence[Finding]) -> None:
    """Print each finding and, below it, the option that mends it."""
    for finding in findings:
        for line in textwrap.wrap(finding.text, 80, initial_indent="finding".ljust(12), subsequent_indent=_INDENT):
            console.answer(line)
        console.answer(f"{_INDENT}{change_of(finding)}")


def change_of(finding: Finding) -> str:
    """Return the option of `backprop train` that mends it, quoted for a shell."""
    return f"--set {shlex.quote(finding.change)}"
