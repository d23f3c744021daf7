"""The drawing page: files that a browser shows, and questions that `api/` answers; nothing is known of a visitor.

A client must know the token, and the browser must be on this very page: `Host` and `Origin` are checked, so that
neither another site nor a name that was made to point here gets an answer.
"""

from __future__ import annotations

import hmac
import json
import math
import secrets
import socket
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from backprop_cli.api.drawing import Board
from backprop_cli.api.keeping import FOLDER
from backprop_cli.api.watching import Watch
from backprop_cli.errors import BackpropError
from backprop_cli.page.questions import QUESTIONS, Desk, QuestionError

STATIC = Path(__file__).parent / "static"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/watch": ("watch.html", "text/html; charset=utf-8"),
    **{f"/{name}.css": (f"{name}.css", "text/css; charset=utf-8") for name in ("page",)},
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("page", "board", "lesson", "paint", "ask", "watch")
    },
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
TOKEN_HEADER = "X-Token"

MAX_BODY = 8_000_000  # bytes of a question: 50 steps with a picture each
MAX_PICTURE = 20_000_000  # bytes of a picture file
MAX_CONNECTIONS = 128
SECONDS_TO_ASK = 15.0  # from the connection to the last byte of the question
SECONDS_TO_ANSWER = 120.0


class PageServer(ThreadingHTTPServer):
    """The server of the drawing page; it listens as soon as it is made.

    Args:
        board: Answers; one question at a time is put to its networks. None: there is no model yet.
        host: Address to listen at.
        port: 0: a free one.
        names: What else a browser may call this host.
        folder: Where drawings are kept.
        watch: A training to watch.
        can_teach: Whether the page may begin a training.

    Attributes:
        token: A client must know it.
        deadlines: When each open connection is cut off, in seconds of `time.monotonic`.
    """

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS
    server_bind = TCPServer.server_bind  # HTTPServer's own looks for this host's name, which may take seconds

    def __init__(
        self,
        board: Board | None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        names: Collection[str] = (),
        folder: Path = Path(FOLDER),
        watch: Watch | None = None,
        can_teach: bool = True,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.token = secrets.token_urlsafe(16)
        self.deadlines: dict[Any, float] = {}
        self.desk = Desk(board, folder, watch, can_teach=can_teach)
        super().__init__((host, port), _Handler)
        port = self.server_address[1]
        known = {host, *names} | ({"localhost"} if host == "127.0.0.1" else set())
        self.hosts = {f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in known}
        self.origins = {f"http://{name}" for name in self.hosts}

    def address(self, host: str | None = None) -> str:
        """Return the page's address, with the token behind it: where a training is to be watched, of that page."""
        host = str(self.server_address[0]) if host is None else host
        page = "" if self.desk.watch is None else "watch"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_address[1]}/{page}#{self.token}"

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take a connection on, unless there are too many."""
        if len(self.deadlines) >= MAX_CONNECTIONS:
            return False
        self.deadlines[request] = time.monotonic() + SECONDS_TO_ASK
        return True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self.deadlines.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off who is too slow; called twice a second."""
        now = time.monotonic()
        for connection, deadline in list(self.deadlines.items()):
            if now > deadline:
                self.deadlines[connection] = math.inf
                _cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it has gone by itself
        connection.shutdown(socket.SHUT_RDWR)


class _RefusedError(Exception):
    """A request that gets no answer but a status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """One connection, one question (HTTP/1.0: it is closed afterward)."""

    server: PageServer
    timeout = SECONDS_TO_ASK

    def version_string(self) -> str:
        """Return the name of the program and no more."""
        return "backprop"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: neither who asked nor what."""

    def end_headers(self) -> None:
        """Add what keeps a browser from doing more than this page needs."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def do_GET(self) -> None:
        """Send one of the page's files."""
        try:
            self._check_sender()
            if (found := FILES.get(self.path.partition("?")[0])) is None:
                raise _RefusedError(HTTPStatus.NOT_FOUND)
        except _RefusedError as refused:
            self._refuse(refused.status)
        else:
            self._send(HTTPStatus.OK, found[1], (STATIC / found[0]).read_bytes())

    def do_POST(self) -> None:
        """Answer a question; a mistake that a person can fix is an answer as well."""
        try:
            self._check_sender()
            self._check_token()
            question = QUESTIONS.get(self.path)
            if question is None:
                raise _RefusedError(HTTPStatus.NOT_FOUND)
            body = self._body(MAX_PICTURE if question.takes_bytes else MAX_BODY)
            if question.is_slow:  # such as before the first step, when copies of the digits are made
                self.server.deadlines[self.connection] = math.inf
            answer = question.answer(self.server.desk, body)
        except _RefusedError as refused:
            self._refuse(refused.status)
        except QuestionError:
            self._refuse(HTTPStatus.BAD_REQUEST)
        except (BackpropError, OSError) as problem:
            self._answer({"error": _words(problem)})
        else:
            self._answer(answer)

    def _check_sender(self) -> None:
        """Refuse names that only point here, other sites, and what they fetch; a link to the page may be followed."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            raise _RefusedError(HTTPStatus.MISDIRECTED_REQUEST)
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        is_link = self.command == "GET" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        if origin is not None and origin.lower() not in self.server.origins:
            raise _RefusedError(HTTPStatus.FORBIDDEN)
        if site not in ("same-origin", "none") and not is_link:
            raise _RefusedError(HTTPStatus.FORBIDDEN)

    def _check_token(self) -> None:
        given = self.headers.get(TOKEN_HEADER, "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self.server.token.encode()):
            raise _RefusedError(HTTPStatus.FORBIDDEN)

    def _body(self, limit: int) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or "Transfer-Encoding" in self.headers:
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED)
        if len(length) > 12 or int(length) > limit:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _RefusedError(HTTPStatus.BAD_REQUEST)
        self.server.deadlines[self.connection] = time.monotonic() + SECONDS_TO_ANSWER
        return body

    def _answer(self, document: dict[str, Any]) -> None:
        self._send(HTTPStatus.OK, "application/json", json.dumps(document, allow_nan=False).encode())

    def _refuse(self, status: HTTPStatus) -> None:
        """Send a status, then take in a little of what may still come: a reset would swallow the answer."""
        self._send(status, "application/json", json.dumps({"error": status.phrase}).encode())
        if self.command == "POST":
            self._drain()

    def _drain(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(0.2)
        with suppress(OSError):  # nothing more comes
            for _ in range(64):
                if not self.connection.recv(65536):
                    break

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _words(problem: BackpropError | OSError) -> str:
    if isinstance(problem, OSError):
        return f"{problem.filename or 'system'}: {problem.strerror or problem}"
    return str(problem)


def read_soon(server: PageServer) -> None:
    """Read the model's own data a moment later: the page comes first, and who asks for them waits less."""
    timer = threading.Timer(1.0, server.desk.read_others)
    timer.daemon = True
    timer.start()
