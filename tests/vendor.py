"""A vendor on this machine that answers exactly what a test tells it, byte by byte where it matters."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answering = Callable[["_Handler"], None]


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode(), keep_blank_values=True)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Vendor:
    """Answers in the order of what it was told; what it was asked stands in ``asked``."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.stopped = threading.Event()
        self._answers: deque[Answering] = deque()
        self._server = _Server(self)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def says(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        """The next answer: JSON, or the very bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._answers.append(lambda handler: handler.answer(status, raw, headers or {}))

    def hangs_up(self) -> None:
        """The next request is read and gets no answer."""
        self._answers.append(lambda handler: handler.hang_up())

    def trickles(self, head: bytes) -> None:
        """The next answer begins with ``head`` and goes on, byte by byte, until nobody listens any more."""
        self._answers.append(lambda handler: handler.trickle(head))

    def answer(self, handler: _Handler) -> None:
        self._answers.popleft()(handler)


class _Server(ThreadingHTTPServer):
    def __init__(self, vendor: Vendor) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.vendor = vendor


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = parse_qs(url.query, keep_blank_values=True)
        self.server.vendor.asked.append(Asked(self.command, url.path, query, dict(self.headers), body))
        self.server.vendor.answer(self)

    do_POST = do_PATCH = do_GET  # noqa: N815

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def trickle(self, head: bytes) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.write(head)
            while not self.server.vendor.stopped.wait(0.02):
                self.wfile.write(b"x")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def vendor() -> Iterator[Vendor]:
    """Serving in the background until the end of the block."""
    told = Vendor()
    thread = threading.Thread(target=told._server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield told
    finally:
        told.stopped.set()
        told._server.shutdown()
        thread.join()
        told._server.server_close()


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
