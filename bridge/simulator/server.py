"""The HTTP server of the simulator: one threaded server, for this machine only."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from flask import Flask, abort, request
from werkzeug import Response
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from bridge.simulator.control import Control
from bridge.simulator.messaging_api import MessagingApi
from bridge.simulator.retell_api import RetellApi
from bridge.simulator.simulator import Simulator
from bridge.simulator.team import Team
from bridge.simulator.twilio_api import TwilioApi
from bridge.simulator.uponai_api import UponAIApi

_POLL = 0.02
"""Seconds until the server notices that it must stop."""


def build_app(simulator: Simulator) -> Flask:
    """Build one app with the APIs of all providers, the phone page and the runner's calls."""
    app = Flask(__name__)
    app.before_request(_for_this_machine)
    settings, faults, changes = simulator.settings, simulator.faults, simulator.changes
    app.register_blueprint(TwilioApi(settings, simulator.carrier, faults, changes, simulator.dispatch).blueprint())
    app.register_blueprint(MessagingApi(settings).blueprint())
    app.register_blueprint(RetellApi(settings, simulator.agent, simulator.contacts, faults, changes).blueprint())
    app.register_blueprint(UponAIApi(settings, simulator.agent, faults, changes).blueprint())
    app.register_blueprint(Team(settings, simulator.ledger).blueprint())
    app.register_blueprint(Control(simulator).blueprint())
    return app


_LOOPBACK = re.compile(
    r"(?:localhost|(?:[a-z0-9_-]+\.)+localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?",
    re.IGNORECASE | re.ASCII,
)


def _for_this_machine() -> None:
    """Refuse other host names. A foreign page could let its own name resolve to this machine."""
    if not _LOOPBACK.fullmatch(request.environ.get("HTTP_HOST", "")):
        abort(400, "This server is for this machine only. Call it by http://127.0.0.1 or http://localhost.")


@contextmanager
def serve(simulator: Simulator, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve in the background, and yield the address. Close everything at the end."""
    if not _is_loopback(host):
        raise ValueError(f"{host}: the simulator's secrets are public, so it serves this machine only; use 127.0.0.1")
    server = _Server(host, port, build_app(simulator), _Handler)
    address = f"http://{f'[{host}]' if ':' in host else host}:{server.port}"
    thread = threading.Thread(target=server.serve_forever, args=(_POLL,), name="simulator-server", daemon=True)
    simulator.open(address)
    thread.start()
    try:
        yield address
    finally:
        simulator.close()
        server.shutdown()
        server.hang_up()
        thread.join()


class _Handler(WSGIRequestHandler):
    """A handler that keeps connections open, as both providers do. Werkzeug's own never does."""

    disable_nagle_algorithm = True  # head and body are two writes

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        body = environ["wsgi.input"]
        chunked = environ.get("wsgi.input_terminated")
        length = environ.get("CONTENT_LENGTH") or "0"
        if not re.fullmatch("[0-9]{1,7}", length, re.ASCII):
            self.send_error(400, "the Content-Length is invalid or too large")
            return
        # Read all of it. The rest would look like the next request.
        environ["wsgi.input"] = BytesIO(body.read() if chunked else body.read(int(length)))
        response = Response.from_app(self.server.app, environ, buffered=True)
        self.send_response(response.status_code)
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.get_data())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing. The ledger has more."""


class _Server(ThreadedWSGIServer):
    """A server that knows its open connections, so that it can end the idle ones."""

    daemon_threads = False  # closing joins them
    request_queue_size = 1024

    def __init__(self, *args: Any) -> None:
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        with self._guard:
            for connection in self._connections:
                _shut(connection)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
