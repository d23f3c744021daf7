"""Options that several commands share, one spelling and one help text for each; and what they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backprop_cli.cli import console
from backprop_cli.errors import UsageError
from backprop_cli.files import clean, spelled_out, write_atomic

if TYPE_CHECKING:
    from backprop_cli.api.models import Model
    from backprop_cli.config.config import Config


def as_a_shell(value: Any) -> Any:
    """Return a file's name, or several, with `~` and `$VAR` spelled out, which a shell leaves alone in `--data=~/x`."""
    if isinstance(value, list):
        return [spelled_out(name) for name in value]
    return value if value is None else type(value)(spelled_out(str(value)))


def offering(kind: str) -> Callable[[str], list[str]]:
    """Return what gives a shell the values of one of the kinds of `cli/completion.py`, which is imported then."""

    def offer(incomplete: str) -> list[str]:
        from backprop_cli.cli.completion import offered

        return offered(kind, incomplete)

    return offer


ConfigName = Annotated[
    str | None,
    typer.Option(
        "-c",
        "--config",
        help="A file, a bundled name, or - for stdin. Default: digits.",
        callback=as_a_shell,
        autocompletion=offering("config"),
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="RUN|FILE",
        help="Default: see backprop use; else the last run.",
        callback=as_a_shell,
        autocompletion=offering("model"),
    ),
]


def _with_values(overrides: list[str] | None) -> list[str] | None:
    """Refuse `--set KEY VALUE`, whose value would be taken for an argument.

    Raises:
        UsageError: A change has no `=`.
    """
    for change in overrides or []:
        if "=" not in change:
            raise UsageError(f"--set {change}: expected KEY=VALUE, such as --set seed=1")
    return overrides


Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting; may be repeated.",
        callback=_with_values,
        autocompletion=offering("setting"),
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]

SET = "--set "  # stands before an override in messages


def load_config(reference: str | None, overrides: list[str] | None) -> Config:
    """Return the config that `--config` and `--set` describe."""
    from backprop_cli.config.config import load_config

    config = load_config(reference or "digits", overrides or [], option=SET)
    console.print_detail(
        f"config: {' '.join([reference or 'digits', *(f'{SET}{change}' for change in overrides or [])])}"
    )
    return config


def load_model(reference: str | None, *, or_pretrained: bool = False, with_doubts: bool = True) -> Model:
    """Return the model that `--model` names; without it the one that is meant then, which is said on stderr."""
    from backprop_cli.api.models import Model
    from backprop_cli.api.runs import chosen_model

    model = Model.load(reference, or_pretrained=or_pretrained)
    if reference is None:
        console.print_detail(f"chosen by: {(chosen_model() or ('', 'no choice, so the latest'))[1]}")
        console.print_status(f"model: {described(model)}")
        for doubt in model.doubts if with_doubts else ():
            console.warn(f"{model.path}: {doubt}")
    console.print_detail(repr(model).strip("<>"))
    return model


def described(model: Model) -> str:
    """Return which model that is, and how good it was."""
    accuracy = model.predictor.model.summary.get("val_accuracy")
    if not isinstance(accuracy, float) or not 0.0 <= accuracy <= 1.0:
        return clean(model.path)
    return f"{clean(model.path)} (validation accuracy {100 * accuracy:.1f} %)"


def check_new(path: Path, endings: tuple[str, ...], *, option: str = "", force: bool) -> None:
    """Refuse to write over what is there, or under a name that says something else.

    Args:
        path: Of the file.
        endings: What its name may end in; none: any.
        option: That names it, in messages.
        force: Whether it may be there already.

    Raises:
        UsageError: It is there, or its name ends otherwise.
    """
    if endings and path.suffix.lower() not in endings:
        raise UsageError(f"{option}{path}: its name must end in {' or '.join(endings)}")
    if path.exists() and not force:
        raise UsageError(f"{option}{path}: already exists; --force overwrites it")


def check_table(target: str | None, sources: Iterable[str | None]) -> None:
    """Refuse to write a table over what is read.

    Raises:
        UsageError: The file is one of the sources.
    """

    def is_target(source: str | None) -> bool:
        with suppress(OSError, ValueError):  # one of both is no file
            return source is not None and Path(source).samefile(str(target))
        return False

    if target not in (None, "-") and any(map(is_target, sources)):
        raise UsageError(f"--csv {target}: is the file being read; choose another")


def write_table(target: str, lines: Iterable[str]) -> None:
    """Write the lines of a table to a file, whole or not at all, or print them where `-` stands for it."""
    if target == "-":
        console.print_lines(lines)
    else:
        write_atomic(Path(target), ("\n".join(lines) + "\n").encode())


def cell(text: str) -> str:
    """Return a cell of a CSV file; what a spreadsheet would run begins with an apostrophe."""
    text = f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(text) & set(',"\r\n') else text
