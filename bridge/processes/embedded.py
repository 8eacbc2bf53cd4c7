"""The bridge for one small machine: web, worker and clock in one process, without a broker.

The tasks are the same as in ``bridge.processes.worker``; only the wake-ups differ: they go straight to the dispatcher.
All state is in the database, so nothing is lost if the process is killed.
"""

from __future__ import annotations

import logging
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.engine import make_url

from bridge.config import WEB_THREADS, Settings
from bridge.db import migrate
from bridge.db.models import Worker
from bridge.lib.errors import BridgeError
from bridge.processes.dispatcher import SHORT_LINGER, Dispatcher
from bridge.processes.http_server import Address, WebServer
from bridge.processes.leave import leave
from bridge.processes.tasks import SCHEDULE, tick
from bridge.runtime import Runtime
from bridge.web.app import build_web

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 18
"""Database connections for all the threads, on PostgreSQL. SQLite has one: see bridge.db.engine."""

GRACE = 5.0
"""Seconds that turns in flight get at the end; a container is killed after ten. Unfinished work comes due again."""


WEB_GRACE = 1.0
"""Seconds that requests under way get at the end; a commit takes milliseconds."""


class CannotRun(BridgeError):
    """Another process has the port or the database, or this machine does not have the address."""


class Clock:
    """The clock: it runs the jobs of ``SCHEDULE``, each at its own interval."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, every), name=name, daemon=True)
            for name, (_, every) in SCHEDULE.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, every: timedelta) -> None:
        while not self._stopped.is_set():
            _guarded(name, lambda: tick(self._rt, name))
            self._stopped.wait(every.total_seconds())


@contextmanager
def running(settings: Settings, host: str, port: int) -> Iterator[tuple[Runtime, WebServer]]:
    """Run everything but the web's own loop. Yield the runtime, and a server that listens; call its ``run()``."""
    with _alone(settings.database_url):
        migrate.upgrade(settings.database_url)
        dispatcher = Dispatcher(settings.worker_concurrency, linger=SHORT_LINGER)
        rt = Runtime.build(settings, dispatcher, pool_size=MAX_CONNECTIONS, write_behind=True)
        server = _listen(rt, host, port)
        _take_over(rt)
        clock = Clock(rt)
        rt.heartbeat.start()
        rt.times.start(rt.database)
        dispatcher.start(rt)
        clock.start()
        try:
            yield rt, server
        finally:
            in_time = _let_go_in_time(rt)
            clock.stop()
            server.close()
            dispatcher.close()
            rt.times.stop(rt.database)
            rt.heartbeat.stop()
            rt.close()
            in_time.cancel()


def free_port(host: str) -> int:
    """Return a port that is free at this moment."""
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def serve_until_told(server: WebServer) -> None:
    """Serve until Ctrl-C or SIGTERM. A second Ctrl-C ends the process immediately."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    server.run(grace=WEB_GRACE)


def _listen(rt: Runtime, host: str, port: int) -> WebServer:
    try:
        return WebServer(build_web(rt), threads=WEB_THREADS, on=Address(host, port))
    except (OSError, ValueError) as error:  # an unknown host name is a ValueError here
        rt.close()
        raise CannotRun(f"can't listen on {host}:{port}: {getattr(error, 'strerror', None) or error}") from error


def _let_go_in_time(rt: Runtime) -> threading.Timer:
    """End the process after ``GRACE``: an agent may take minutes, and a person at Ctrl-C does not wait so long."""

    def end() -> None:
        log.warning("turns are still in flight after %s s; the next start reconciles them", GRACE)
        leave(rt)

    timer = threading.Timer(GRACE, end)
    timer.daemon = True
    timer.start()
    return timer


@contextmanager
def _alone(database_url: str) -> Iterator[None]:
    """Refuse a second bridge on one SQLite file: it would take over the first one's work.

    SQLite's own lock, on a file beside the database, works on every system, and ends with its process.
    """
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        yield
        return
    try:
        lock = sqlite3.connect(f"{url.database}-lock", timeout=0, isolation_level=None)
    except sqlite3.OperationalError as error:
        raise CannotRun(f"can't write beside {url.database}: {error}; check DATABASE_URL") from None
    with closing(lock):
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            raise CannotRun(f"another bridge runs on {url.database}; stop it, or set another DATABASE_URL") from None
        yield


def _take_over(rt: Runtime) -> None:
    """Forget all workers of this SQLite file. No other bridge runs on it, so all its leases are of stalled workers."""
    if rt.settings.database_url.startswith("sqlite"):
        with rt.database.transaction() as tx:
            tx.session.execute(delete(Worker))


def _guarded(name: str, work: Callable[[], None]) -> None:
    """Run the work and log an unexpected error: a bug, or a database that is away. The work comes due again."""
    try:
        work()
    except Exception:
        log.exception("%s failed", name)
