"""`backprop config list | show | validate | schema`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import Overrides, load_config, offering
from backprop_cli.files import clean

app = command_app(no_args_is_help=True)

EXAMPLES = """\
\b
Examples:
  backprop config list
  backprop config show quick               the whole config, every default written out
  backprop config validate my.yaml
  backprop config schema > backprop.schema.json
"""

Reference = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="A bundled name, a file, or - for stdin.",
        show_default=False,
        autocompletion=offering("config"),
    ),
]


@app.callback(epilog=EXAMPLES)
def _group() -> None:
    """List, show and check configs; print their JSON Schema."""


@app.command("list")
def list_configs() -> None:
    """List the configs that come with the package, each with its first line."""
    from backprop_cli.config.config import bundled_names, bundled_text

    names = bundled_names()
    width = max(map(len, names))
    console.print_lines(f"{name:<{width}}  {bundled_text(name).partition(chr(10))[0].lstrip('# ')}" for name in names)


@app.command()
def show(config: Reference, overrides: Overrides = None) -> None:
    """Print a config with every default written out, as a run saves it."""
    console.print_result(load_config(config, overrides).to_yaml().rstrip("\n"))


@app.command()
def validate(config: Reference, overrides: Overrides = None) -> None:
    """Check a config: all mistakes at once, each with its line and key; exit code 2 if there is one."""
    load_config(config, overrides)
    console.print_result(f"{clean(config)}: valid")


@app.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of a config, for editors."""
    from backprop_cli.config.schema import json_schema

    console.print_result(json.dumps(json_schema(), indent=2))
