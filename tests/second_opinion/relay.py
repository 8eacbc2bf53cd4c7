"""Stands between two servers: hands on every request, as often as it is told, and writes down what went by."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

STAYS = {"connection", "keep-alive", "transfer-encoding", "content-length", "accept-encoding"}
"""Headers that speak of one connection only, and the one by which an answer would come packed."""


@dataclass(frozen=True)
class Passed:
    """One request and its answer."""

    method: str
    path: str
    query: dict[str, list[str]]
    form: dict[str, list[str]]
    status: int
    body: bytes
    violations: list[dict[str, Any]]
    """What Prism holds against either of them."""


class Relay:
    """``copies`` is how often a request is handed on; the last answer is given back.

    ``more`` has the headers that are added to a request for this path.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.copies = 1
        self.more: Callable[[str], dict[str, str]] = lambda path: {}
        self.passed: list[Passed] = []
        self._server = _Server(self)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"


class _Server(ThreadingHTTPServer):
    def __init__(self, relay: Relay) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.relay = relay


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in STAYS}
        headers |= self.server.relay.more(self.path)
        try:
            for _ in range(self.server.relay.copies):
                status, heads, answer = self._hand_on(body, headers)
        except OSError:
            status, heads, answer = 502, [], b""
        self.send_response(status)
        for name, value in heads:
            if name.lower() not in STAYS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PATCH = do_GET  # noqa: N815

    def _hand_on(self, body: bytes, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        where = urlsplit(self.server.relay.target)
        with closing(http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)) as connection:
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            answer = response.read()
        self._write_down(body, response, answer)
        return response.status, response.getheaders(), answer

    def _write_down(self, body: bytes, response: http.client.HTTPResponse, answer: bytes) -> None:
        url = urlsplit(self.path)
        passed = Passed(
            method=self.command,
            path=url.path,
            query=parse_qs(url.query, keep_blank_values=True),
            form=parse_qs(body.decode(), keep_blank_values=True),
            status=response.status,
            body=answer,
            violations=json.loads(response.headers.get("sl-violations") or "[]"),
        )
        self.server.relay.passed.append(passed)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    """In the background until the end of the block."""
    between = Relay(target)
    thread = threading.Thread(target=between._server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield between
    finally:
        between._server.shutdown()
        thread.join()
        between._server.server_close()
