"""Options that several commands share: one spelling and one help text for each."""

from __future__ import annotations

from typing import Annotated

import typer

ConfigName = Annotated[
    str | None, typer.Option("-c", "--config", help="A file, a bundled name, or - for stdin. Default: digits.")
]
ModelName = Annotated[str | None, typer.Option("-m", "--model", metavar="RUN|FILE", help="Default: the last run.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="The result as one JSON document.")]
