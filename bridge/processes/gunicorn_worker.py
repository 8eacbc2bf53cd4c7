"""Gunicorn's worker class for the web process: gunicorn is the master, ``bridge.processes.http_server`` serves.

Gunicorn's own threaded worker reads a body in the thread that answers it. So eight strangers with half a body each
block eight threads. The figures are in ``docs/decisions.md``.
"""

from __future__ import annotations

import os
from typing import Any

from gunicorn.workers.base import Worker  # type: ignore[import-untyped]

from bridge.processes.http_server import WebServer
from bridge.processes.web import AT_END

BEFORE_THE_END = 2.0
"""Seconds between the end of the requests under way and gunicorn's kill."""


class WebWorker(Worker):  # type: ignore[misc]  # it has no types
    """One of the WEB_CONCURRENCY processes."""

    _server: WebServer | None = None

    def run(self) -> None:
        sockets = [listening.sock for listening in self.sockets]
        self._server = WebServer(self.wsgi, threads=self.cfg.threads, on=sockets)
        if not self.alive:  # the signal came during the start
            self._server.stop()
        try:
            self._server.run(self._beat, grace=self.cfg.graceful_timeout - BEFORE_THE_END)
        finally:
            self.wsgi.extensions[AT_END]()

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.alive = False
        if self._server:
            self._server.stop()

    def _beat(self) -> bool:
        """Tell the master that this process is alive. Return False if the process must end, also without a master."""
        self.notify()
        return bool(self.alive) and self.ppid == os.getppid()
