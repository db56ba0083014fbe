"""The server behind `doit ui`: one page on loopback, read-only, for whoever knows its address.

What keeps others out, in this order: it listens on 127.0.0.1 alone; the `Host` header must be that address,
so that no foreign name can be pointed at it (DNS rebinding); the first part of the path is a random token,
compared in constant time; and no answer allows another origin to read it. Nothing is written, whatever is
asked. What the page shows is made by the functions that the server is given.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

ADDRESS = "127.0.0.1"
_LOOK_EVERY_S = 0.5  # at what the version is made of
_KEEP_ALIVE_S = 15.0  # finds out that a reader is gone
_MOST_FOLLOWERS = 32
_TOKEN_BYTES = 24

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest is in the page itself
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class UiServer(ThreadingHTTPServer):
    """Serves the page under `/TOKEN/`, its data under `data.json`, and word of changes under `events`.

    `page` and `data` return what to send; `version` returns a value that is another one when they would.
    Raises OSError where the port cannot be had.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        port: int,
        *,
        page: Callable[[], str],
        data: Callable[[], str],
        version: Callable[[], object],
    ) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.page = page
        self.data = data
        self.version = version
        self.token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.stopping = threading.Event()
        self.followers = threading.BoundedSemaphore(_MOST_FOLLOWERS)

    @property
    def hosts(self) -> tuple[str, ...]:
        """What the `Host` header of a request may be."""
        return f"{ADDRESS}:{self.server_port}", f"localhost:{self.server_port}"

    @property
    def url(self) -> str:
        """Return the address of the page, with its token."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def stop(self) -> None:
        """End `serve_forever`, which runs in another thread, and all that follow changes."""
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about readers that went away; anything else is a bug and told as such."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type] # as socketserver types it


class _Handler(BaseHTTPRequestHandler):
    server: UiServer
    protocol_version = "HTTP/1.1"
    server_version = "buildkit"
    sys_version = ""
    timeout = 60  # for a request to arrive

    _routes: ClassVar[dict[str, str]] = {"": "_page", "data.json": "_data", "events": "_events"}

    def do_GET(self) -> None:
        """Answer what is asked under the right address."""
        if self.headers.get("Host", "") not in self.server.hosts:
            return self._refuse(HTTPStatus.FORBIDDEN, "This server answers only to its own address.")
        token, slash, rest = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            return self._refuse(HTTPStatus.FORBIDDEN, "Open the address that `doit ui` printed.")
        route = self._routes.get(rest) if slash else None
        if route is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here.")
        answer: Callable[[], None] = getattr(self, route)
        return answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal belongs to who works in it, and addresses hold the token."""

    def _page(self) -> None:
        self._made("text/html; charset=utf-8", self.server.page)

    def _data(self) -> None:
        self._made("application/json", self.server.data)

    def _made(self, kind: str, make: Callable[[], str]) -> None:
        try:
            text = make()
        except Exception as error:  # whatever it is, the server goes on and says what it was
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"The report cannot be made: {error}")
        return self._send(HTTPStatus.OK, kind, text)

    def _events(self) -> None:
        """Send a server-sent event with each change, until the reader or the server goes away."""
        if not self.server.followers.acquire(blocking=False):
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many pages are open.")
        with contextlib.ExitStack() as stack:
            stack.callback(self.server.followers.release)
            stack.enter_context(contextlib.suppress(OSError))
            self.close_connection = True
            seen = self.server.version()  # before the first word: what changes after it is told
            self._head(HTTPStatus.OK, "text/event-stream", None)
            self.wfile.write(b"retry: 1000\n\n")
            self._follow(seen)
        return None

    def _follow(self, seen: object) -> None:
        silent_s = 0.0
        while not self.server.stopping.wait(_LOOK_EVERY_S):
            now = self.server.version()
            silent_s += _LOOK_EVERY_S
            if now != seen:
                self.wfile.write(b"event: changed\ndata: \n\n")
                seen, silent_s = now, 0.0
            elif silent_s >= _KEEP_ALIVE_S:
                self.wfile.write(b": still here\n\n")
                silent_s = 0.0

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._send(status, "text/plain; charset=utf-8", text + "\n")

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode("utf-8", "replace")
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is None:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
