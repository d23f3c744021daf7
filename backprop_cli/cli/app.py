"""The command line's front door: which commands there are, and what their errors become.

A command's module is imported when that command runs, so `backprop --help` starts at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from backprop_cli import __version__
from backprop_cli.api.process import claim_process
from backprop_cli.cli import console
from backprop_cli.errors import BackpropError

# One BLAS thread unless the user has said otherwise: two are slower on small networks. Before NumPy is imported.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # none has a part here, and looking for them takes time

# name -> (module, the first line of its help; a test holds it equal to the module's own)
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("train", "Train a network from a YAML config."),
    "eval": ("evaluate", "Measure a model on a part of its data that it was not trained on."),
    "use": ("use", "Choose the model that the other commands use."),
    "predict": ("predict", "Read pictures of digits."),
    "explain": ("explain", "Show guess, loss, blame and correction for one picture."),
    "report": (
        "report",
        "Write a run as an HTML page, or several side by side.",
    ),
    "export": ("export", "Write a model in another format: ONNX, NumPy arrays or JSON."),
    "draw": ("draw", "Draw a digit in the browser, see what fires, and teach the network."),
    "check": ("check", "Check every gradient of a network against central differences."),
    "cv": ("cv", "Measure a config by cross-validation."),
    "verify": ("verify", "Train a run again and compare the model's bytes."),
    "runs": ("runs", "List the runs, with their best epochs."),
    "data": ("data", "Look at the data."),
    "config": ("config", "List, show and check configs; print their JSON Schema."),
    "init": ("init", "Write a config to start from."),
    "version": ("version", "Print the versions, BLAS and processor that results depend on."),
}

_GLOBAL_FLAGS = {"-v": "verbose", "--verbose": "verbose", "-q": "quiet", "--quiet": "quiet", "--debug": "debug"}

HELP_NAMES = {"help_option_names": ["-h", "--help"]}


def command_app(**attributes: Any) -> typer.Typer:
    """Return the Typer of one command's module."""
    return typer.Typer(rich_markup_mode=None, add_completion=False, context_settings=HELP_NAMES, **attributes)


def _name_arguments(command: Any) -> None:
    """Let help call arguments by their names alone: Typer adds what they are in Python, and braces."""
    for inner in getattr(command, "commands", {}).values():
        _name_arguments(inner)
    pieces = command.collect_usage_pieces
    command.collect_usage_pieces = lambda ctx: [re.sub(r"^\{(.+)\}(\.*)$", r"\1\2", piece) for piece in pieces(ctx)]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.get_help_record = partial(_bare_record, parameter.get_help_record)


def _bare_record(record_of: Callable[[Any], tuple[str, str] | None], ctx: Any) -> tuple[str, str] | None:
    record = record_of(ctx)
    return record and (record[0].partition(" <")[0], record[1])


class _LazyCommands(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"backprop_cli.cli.{COMMANDS[name][0]}")
        command = typer.main.get_command(module.app)
        command.name = name
        _name_arguments(command)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class BackpropGroup(TyperGroup):
    """All commands, with the one place where errors become a line and an exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _LazyCommands()  # type: ignore[assignment]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Offer the commands from the table, without importing them."""
        self.commands = {name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}
        return super().shell_complete(ctx, incomplete)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the global flags from wherever they stand: before or after the command."""
        end = args.index("--") if "--" in args else len(args)
        if "--version" in args[:end] and not ctx.resilient_parsing:
            console.print_result(f"backprop {__version__}")
            raise typer.Exit
        for name in ("verbose", "quiet", "debug"):
            setattr(console.Verbosity, name, any(_GLOBAL_FLAGS.get(arg) == name for arg in args[:end]))
        args = [arg for arg in args[:end] if arg not in _GLOBAL_FLAGS] + args[end:]
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **attributes: Any) -> Any:
        """Read the options before the command; here a mistake in them, or a reader of --help that has left, ends it."""
        with _errors_as_exit_codes():
            return super().make_context(*args, **attributes)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with _errors_as_exit_codes():
            return super().invoke(ctx)


@contextmanager
def _errors_as_exit_codes() -> Iterator[None]:
    """Turn a user's mistake into a line and its exit code; a mistake of this program is 70."""
    try:
        yield
    except BackpropError as problem:
        console.error(problem)
        raise typer.Exit(problem.exit_code) from problem
    except BrokenPipeError as problem:
        console.silence(sys.stdout)
        raise typer.Exit(0) from problem
    except OSError as problem:
        console.error(f"{problem.filename or 'system'}: {problem.strerror or problem}")
        raise typer.Exit(1) from problem
    except KeyboardInterrupt as problem:
        console.error("interrupted")
        raise typer.Exit(130) from problem
    except MemoryError as problem:
        console.error("not enough memory; a smaller network, batch or picture would need less")
        raise typer.Exit(1) from problem
    except Exception as problem:
        if _was_interrupted(problem):
            console.error("interrupted")
            raise typer.Exit(130) from problem
        if _is_typers(problem) and hasattr(problem, "format_message") and problem.format_message():
            context = getattr(problem, "ctx", None)
            command = context.command_path if context else "backprop"
            message = problem.format_message().rstrip(".").replace("Value error, ", "")  # pydantic's words, not Typer's
            if (setting := _setting_of(problem)) is not None:
                console.error(f"{message.partition(' (')[0]}; it is a setting: --set {setting}=VALUE")
                raise typer.Exit(2) from problem
            console.error(f"{message}; see {command} --help")
            raise typer.Exit(2) from problem
        if console.Verbosity.debug or _is_typers(problem):
            raise
        console.error(f"a bug in backprop: {type(problem).__name__}: {problem}; --debug shows where")
        raise typer.Exit(70) from problem


def _setting_of(problem: Any) -> str | None:
    """Return the setting that somebody meant with an option that does not exist; None where there is none."""
    option = getattr(problem, "option_name", None)
    context = getattr(problem, "ctx", None)
    takes_settings = context is not None and any("--set" in parameter.opts for parameter in context.command.params)
    if option is None or not takes_settings:
        return None
    from backprop_cli.config.mistakes import setting_called

    return setting_called(option.lstrip("-").replace("-", "_"))


def _was_interrupted(problem: BaseException | None) -> bool:
    """Return whether Ctrl-C is behind this: inside an import it comes out as an ImportError of NumPy's."""
    while problem is not None and not isinstance(problem, KeyboardInterrupt):
        problem = problem.__cause__ or problem.__context__
    return problem is not None


def _is_typers(problem: BaseException) -> bool:
    """Return whether Typer itself raised this, to end the program or to explain its usage."""
    return type(problem).__module__.partition(".")[0] == "typer"


EXAMPLES = """\
\b
Examples:
  backprop train                      train the default network on the digits
  backprop predict digits:1500        ask it for sample 1500
"""

app = typer.Typer(
    cls=BackpropGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP_NAMES,
    no_args_is_help=False,
    invoke_without_command=True,
    epilog=EXAMPLES,
)


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Print what is read, chosen and done, with times.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only results and errors.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a bug.")] = False,
) -> None:
    """Train a digit classifier whose backpropagation is written by hand, and ask it what it sees.

    These options may stand before or after the command. Each command has its own --help.
    """
    if ctx.invoked_subcommand is None:
        console.print_result(ctx.get_help())


def main() -> None:
    """Run the command line, and leave at once when it is done.

    Everything that must be on the disk is there by then; taking a hundred modules apart one by one, as Python does at
    its end, would take a sixth of a short run.
    """
    claim_process()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if (shell := os.environ.get("_BACKPROP_COMPLETE", "")) in ("complete_bash", "complete_zsh"):
            from backprop_cli.cli.completion import answer_shell

            console.print_result(answer_shell(app, shell))
            raise SystemExit
        app(prog_name="backprop")
    except SystemExit as leaving:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # a stream that is closed, or that nobody reads
                stream.flush()
        os._exit(leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1)
