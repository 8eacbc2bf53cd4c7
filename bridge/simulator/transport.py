"""The shared HTTP parts of both simulated APIs: cutting a connection, and the faults around one call."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from flask import Response, jsonify, request

from bridge.simulator.changes import Changes
from bridge.simulator.faults import Faults, Strike

Striker = Callable[[str], Strike | None]
"""Returns the fault of this name if it strikes the current call."""


def cut() -> Response:
    """Cut the connection without an answer. The returned response goes nowhere."""
    connection: socket.socket | None = request.environ.get("werkzeug.socket")
    if connection:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return Response()  # the caller was faster
    return Response()


def web_page() -> Response:
    """Return the page that a broken proxy shows instead of an answer."""
    return Response("<html><body><h1>We'll be back soon</h1></body></html>", 201, content_type="text/html")


def answer(body: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    response = jsonify(body)
    response.status_code = status
    response.headers.update(headers or {})
    return response


def striker(faults: Faults, call: str, clock: Callable[[], float]) -> Striker:
    return lambda name: faults.strike(name, call, clock())


def dawdle(strike: Strike | None, changes: Changes) -> None:
    """Wait as long as the fault says, but no longer than the simulator lives."""
    if strike:
        changes.pause(strike.options["seconds"])
