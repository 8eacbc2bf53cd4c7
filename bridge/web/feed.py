"""The feed: what has changed, for everybody who listens, without a database connection for each of them.

One thread in each web process reads the tables about once a second, and only while somebody listens. It writes what is
new to each listener. It keeps nothing that another process would need: the position of a listener is made of times and
ids, so any process can go on from it.

A row may be committed after a row with a later time. So each read goes back a little (:data:`OVERLAP`). A listener that
begins or goes on may get an event twice, and never misses one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from bridge.db.engine import AWAY
from bridge.runtime import Runtime
from bridge.web.queries import changes
from bridge.web.queries.changes import Change, Position

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two reads."""

MOST = 500
"""Listeners of one process. Each has an open connection."""

COMMENT_EVERY = 15.0
"""Seconds between two comments: a router closes a connection on which nothing comes."""

LONGEST = 900.0
"""Seconds for which a listener is served. Then it calls again, and its access is checked again."""

RETRY = b"retry: 2000\n\n"
"""Milliseconds after which a client that was cut off calls again."""


class Sink(Protocol):
    """The connection of one listener. The server writes to it without a thread of its own."""

    def write(self, data: bytes) -> None:
        """Send this, now or later. A client that does not read is cut off. It never waits and never raises."""
        ...

    def close(self) -> None:
        """Send what is left, and close."""
        ...


@dataclass
class Listener:
    """One client."""

    sink: Sink
    position: Position
    since: float = field(default_factory=time.monotonic)
    written_at: float = field(default_factory=time.monotonic)
    begun: bool = False


class Feed:
    """The listeners of this process, and the thread that serves them."""

    def __init__(self, rt: Runtime, *, every: float = EVERY, most: int = MOST) -> None:
        self._rt = rt
        self._every = every
        self._most = most
        self._lock = threading.Lock()
        self._listeners: dict[int, Listener] = {}
        self._thread: threading.Thread | None = None
        self._position: Position | None = None
        self._seen: dict[Change, None] = {}

    @property
    def is_full(self) -> bool:
        return len(self._listeners) >= self._most

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def add(self, sink: Sink, position: Position) -> Callable[[], None]:
        """Serve this client from its position on. Return what to call when it has gone."""
        listener = Listener(sink, position)
        with self._lock:
            self._listeners[id(listener)] = listener
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
                self._thread.start()
        return lambda: self._forget(listener)

    def read(self, position: Position) -> bytes:
        """Return what has changed since then, for a server that can't keep a connection."""
        found = changes.read(self._rt, position)
        return b"".join([RETRY, *_events(found.of(position), position), _mark(found.position)])

    def _forget(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.pop(id(listener), None)

    def _run(self) -> None:
        while self._anybody():
            began = time.monotonic()
            try:
                self._serve()
            except AWAY as error:  # the next read begins at the same position
                log.warning("the feed can't read the tables: %s", type(error).__name__)
            except Exception:  # a bug must not silence everybody for good
                log.exception("the feed has failed")
            time.sleep(max(0.0, self._every - (time.monotonic() - began)))

    def _anybody(self) -> bool:
        """Return whether somebody listens. Otherwise the thread ends, and the next listener starts another one."""
        with self._lock:
            if not self._listeners:
                self._thread, self._position = None, None
                self._seen.clear()
            return bool(self._listeners)

    def _serve(self) -> None:
        """Read once, and write to everybody."""
        with self._lock:
            listeners = list(self._listeners.values())
        starts = [each.position for each in listeners if not each.begun]
        known = [self._position] if self._position else []
        found = changes.read(self._rt, changes.earliest([*starts, *known]))
        fresh = [each for each in found.of(self._position) if each not in self._seen] if self._position else []
        now = time.monotonic()
        for listener in listeners:
            news = fresh if listener.begun else found.of(listener.position)
            self._write(listener, news, found, now)
        self._remember(found)

    def _write(self, listener: Listener, news: list[Change], found: changes.Found, now: float) -> None:
        parts = _events(news, self._position if listener.begun and self._position else listener.position)
        if not listener.begun or now - listener.written_at > COMMENT_EVERY:
            parts.append(_mark(found.position))
        if parts:
            listener.sink.write(b"".join(parts))
            listener.written_at = now
        listener.begun = True
        if now - listener.since > LONGEST:
            self._forget(listener)
            listener.sink.close()

    def _remember(self, found: changes.Found) -> None:
        self._position = found.position
        self._seen = dict.fromkeys(found.of(found.position))


def _events(news: list[Change], position: Position) -> list[bytes]:
    """Write the events. The id of each is the position from which a client goes on that has got it."""
    written = []
    for change in news:
        position = position.after(change)
        written.append(f"id: {position}\nevent: {change.kind}\ndata: {change.data}\n\n".encode())
    return written


def _mark(position: Position) -> bytes:
    """Write a position without an event. It also keeps the connection open."""
    return f": \nid: {position}\n\n".encode()


def start_of(rt: Runtime, last_event_id: str | None) -> Position:
    """Return where a client begins: behind its last event, or a moment ago. Raise :class:`changes.BadPosition`."""
    now = Position.at_moment(rt.now())
    if last_event_id is None:
        return now
    position = Position.read(last_event_id)
    return replace(position, at=min(position.at, now.at))  # the times come from the client
