"""What the tests of the drawing page share: a server in this process, questions as a browser asks them, strokes."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command_line import SAMPLES

from backprop_cli.api.drawing import Board
from backprop_cli.api.models import Model
from backprop_cli.api.watching import Watch
from backprop_cli.page.server import PageServer

FOUR = {"png": base64.b64encode((SAMPLES / "4-1419.png").read_bytes()).decode()}
STROKES: dict[str, list[list[list[float]]]] = json.loads((Path(__file__).parent / "strokes.json").read_text())


class Server(PageServer):
    """A server that knows the browser's pages it was opened in."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pages: list[Any] = []


@contextmanager
def serving(model: str | Model | None, folder: Path, watch: Watch | None = None) -> Iterator[Server]:
    """Run a server, and end it; its pages first, for they would complain of answers that never come."""
    board = None if model is None else Board(model if isinstance(model, Model) else Model.load(model))
    with Server(board, folder=folder, watch=watch) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            for page in server.pages:
                page.close()
            server.shutdown()
            thread.join()
            server.desk.close()


def request(
    server: Server, method: str, path: str, body: bytes | None = None, **headers: str | None
) -> tuple[int, dict[str, str], bytes]:
    """Send a request as the page would, but for headers that are given; of None there is none. Return what comes."""
    host = f"127.0.0.1:{server.server_address[1]}"
    usual = {"Host": host, "Origin": f"http://{host}", "X-Token": server.token, "Sec-Fetch-Site": "same-origin"}
    sent = usual | {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    if body is not None and "Content-Length" not in sent:
        sent["Content-Length"] = str(len(body))
    for name, value in sent.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def ask(server: Server, kind: str, **question: Any) -> dict[str, Any]:
    """Ask a question that gets an answer."""
    status, _, body = request(server, "POST", f"/api/{kind}", json.dumps(question).encode())
    assert status == 200, (status, body)
    found: dict[str, Any] = json.loads(body, parse_constant=lambda name: 1 / 0)
    return found
