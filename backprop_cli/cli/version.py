"""`backprop version`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import AsJson

if TYPE_CHECKING:
    from backprop_cli.api.version import Version

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop version                         to paste into a bug report
  backprop version --json
"""


@app.command(epilog=EXAMPLES)
def version(as_json: AsJson = False) -> None:
    """Print the versions, BLAS and processor that results depend on."""
    from backprop_cli.api import version as api

    found = api.version()
    if as_json:
        console.print_json(found.to_dict())
    else:
        console.print_lines(format_version(found))


def format_version(found: Version) -> list[str]:
    """Return what runs here as aligned lines."""
    blas = [found.blas]
    blas += [f"kernel {found.blas_kernel}"] if found.blas_kernel else []
    blas += [f"{found.threads} thread{'s' * (found.threads != 1)}"] if found.threads else []
    rows = {
        "backprop": found.backprop,
        "Python": found.python,
        "platform": found.platform,
        "processor": f"{found.cpu}, {found.n_cores} core{'s' * (found.n_cores != 1)}",
        "features": found.cpu_features,
        "BLAS": ", ".join(blas),
        **{name: number or "not installed" for name, number in found.packages.items()},
    }
    width = max(map(len, rows))
    return [f"{name:<{width}}  {text}".rstrip() for name, text in rows.items()]
