"""`backprop draw`."""

from __future__ import annotations

import errno
import ipaddress
import os
import shlex
import socket
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.kernel import hold_portable
from backprop_cli.cli.options import ConfigName, ModelName, Overrides, load_config, load_model
from backprop_cli.cli.signals import progress_printer
from backprop_cli.errors import UsageError
from backprop_cli.files import clean

if TYPE_CHECKING:
    from backprop_cli.api.drawing import Board
    from backprop_cli.api.watching import Watch
    from backprop_cli.config.config import Config
    from backprop_cli.page.server import PageServer

app = command_app()

EXAMPLES = """\
\b
Examples:
  backprop draw                            a page in the browser; Ctrl-C ends it
  backprop draw -m pretrained --port 8000
  backprop draw --train -c quick           watch it train, then draw
  backprop draw --host 192.168.1.20 --allow-others      for a class on one network
"""

LOOPBACK = "127.0.0.1"


@app.command(epilog=EXAMPLES)
def draw(
    model: ModelName = None,
    train: Annotated[bool, typer.Option("--train", help="Train while the page shows it, in a new run.")] = False,
    config: ConfigName = None,
    overrides: Overrides = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of the page.", show_default="a free one")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open nothing.")] = False,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; needs --allow-others.")
    ] = LOOPBACK,
    allow_others: Annotated[
        bool, typer.Option("--allow-others", help="Anyone with the address may query the model and save drawings.")
    ] = False,
) -> None:
    """Draw a digit in the browser, see what fires, and teach the network."""
    check_host(host, allow_others=allow_others)
    if train and model is not None:
        raise UsageError("--train cannot be used with --model: it trains a new one")
    if not train and (config is not None or overrides):
        raise UsageError("--config and --set need --train")
    wanted = _config(config, overrides) if train else None
    server, seen_as = _server(None if train else _board(model), host, port, can_teach=not allow_others)
    with server:
        try:
            if wanted is not None:  # only now: where the port is taken, no run is left behind
                server.desk.watch = _watch(wanted)
            _serve(server, server.address(seen_as), opens=not no_browser, allow_others=allow_others)
        except KeyboardInterrupt:  # how it is meant to end
            _end(server)


def _board(model: str | None) -> Board:
    from backprop_cli.api.drawing import Board

    return Board(load_model(model, or_pretrained=True))


def _config(config: str | None, overrides: list[str] | None) -> Config:
    wanted = load_config(config, overrides)
    hold_portable(wanted, from_stdin=config == "-")
    return wanted


def _watch(config: Config) -> Watch:
    """Begin the training that is to be watched."""
    from backprop_cli.api.training import training
    from backprop_cli.api.watching import Watch

    begun = training(config, progress=progress_printer())
    for warning in begun.warnings:
        console.warn(warning)
    return Watch(begun)


def _end(server: PageServer) -> None:
    """End what is watched, and say how to go on with it."""
    server.desk.close()
    watch = server.desk.watch
    if watch is None or watch.run is None:
        console.print_status("ended")
        return
    path = shlex.quote(clean(watch.run.path))
    is_over = watch.run.stop_reason != "interrupted"
    console.print_status(f"run {path}" if is_over else f"ended; resume with: {console.program()} train --resume {path}")


def _serve(server: PageServer, address: str, *, opens: bool, allow_others: bool) -> None:
    console.print_result(f"page        {address}")
    sys.stdout.flush()
    if allow_others:
        console.warn("anyone with this address may query the network and save drawings here; nothing is encrypted")
        if server.desk.watch is not None:
            console.warn("and may steer the training")
    console.print_status("Ctrl-C ends it")
    if opens and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    server.serve_forever()


def check_host(host: str, *, allow_others: bool) -> None:
    """Refuse to let others in unless that is what was asked for.

    Raises:
        UsageError: The address is none, or is reached by others.
    """
    try:
        is_own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise UsageError(f"--host {host}: expected an address such as 192.168.1.20") from None
    if not is_own and not allow_others:
        raise UsageError(
            f"--host {host}: anyone on that network who has the address could query the model and save drawings "
            "in this folder, and nothing is encrypted; add --allow-others if you want that"
        )


def _server(board: Board | None, host: str, port: int, *, can_teach: bool) -> tuple[PageServer, str]:
    """Return the server, and the address under which it is seen."""
    from backprop_cli.page.server import PageServer, read_soon

    is_any = ipaddress.ip_address(host).is_unspecified
    seen_as = _own_address() if is_any else host
    try:
        names = {seen_as, LOOPBACK} if is_any else set()
        server = PageServer(board, host=host, port=port, names=names, can_teach=can_teach)
    except OSError as problem:
        remedy = "; without --port, a free one is used" if problem.errno == errno.EADDRINUSE else ""
        raise UsageError(f"--host {host} --port {port}: {problem.strerror}{remedy}") from problem
    if board is not None:
        read_soon(server)
    return server, seen_as


def _own_address() -> str:
    """Return the address by which others on the network reach this machine; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:  # no network
            return LOOPBACK


def _has_screen() -> bool:
    """Return whether a browser can show itself: where there is no screen, one of text would take the terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
