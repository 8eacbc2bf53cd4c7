"""The HTTP server below the app, for the Procfile's web process and ``bridge up``: waitress with limits for strangers.

Waitress reads heads and bodies in one event loop and hands only whole requests to its threads. This module adds:

- a request has a few seconds to arrive as a whole, even if it comes byte by byte;
- a body has a limit while it streams;
- a request that is not HTTP gets 400 as early as possible;
- a server that is full closes the connection that has waited longest;
- a server that stops finishes the requests under way;
- a view can keep the connection after its answer: ``bridge.web.feed`` writes to it, and no thread waits for it.
"""

from __future__ import annotations

import logging
import math
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.receiver import ChunkedReceiver
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask
from waitress.utilities import BadRequest, RequestEntityTooLarge

from bridge.web.app import MAX_BYTES, most_bytes
from bridge.web.events import KEEP, Begin

MAX_HEAD = 32 * 1024
"""Bytes of a request line and all headers. Twilio's take one kilobyte."""

MAX_CONNECTIONS = 2000
"""Connections of one process. Each costs a few kilobytes and no thread."""

FILES_KEPT = 256
"""File descriptors for other uses: database, broker, logs."""

ACCEPTED_AT_ONCE = 64
"""New connections that are accepted before the others are served."""

MOST_UNREAD = 256 * 1024
"""Bytes that wait for a client to which a view still writes. One that reads more slowly is cut off."""

_NOT_HTTP = re.compile(rb"\A[\r\n]*[^\r\nA-Za-z!#$%&'*+.^_`|~0-9-]|[\x00]|(?<!\r)\n|\r(?![\n])(?!\Z)")
"""A head that no further bytes can make valid: a wrong end of line, NUL, or TLS on a port without TLS."""

_CONTINUED = "Continued header"
"""Servers read such a header differently, and no client of today sends one."""


@dataclass(frozen=True)
class Patience:
    """The seconds for which the server waits."""

    request: float = 10.0
    """From a connection's first moment, or a request's first byte, to its last one."""
    idle: float = 75.0
    """Between two requests; longer than a platform's router waits, so that the router closes first."""
    answer: float = 30.0
    """Until the client has read its answer."""
    farewell: float = 2.0
    """For a refused client to read the reason, and at the stop for a request that is on its way already."""


class Request(HTTPRequestParser):
    """One request as it comes in."""

    def received(self, data: bytes) -> int:
        consumed = super().received(data)
        if not self.completed:
            self._check_early(len(data))
        if self.completed:  # nothing more to ask for; waitress would go on with a request that is refused or complete
            self.expect_continue = False
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except (ValueError, TransferEncodingNotImplemented) as error:  # an address or a length that Python can't parse
            raise ParsingError(str(error) or "Invalid head") from None
        if fault := _CONTINUED if b"\r\n " in header_plus or b"\r\n\t" in header_plus else self._ambiguous():
            raise ParsingError(fault)
        if (most := most_bytes(self.path)) != MAX_BYTES:  # type: ignore[attr-defined]
            self.adj = copy(self.adj)
            self.adj.max_request_body_size = most + 1

    def _ambiguous(self) -> str | None:
        """Return a fault that two servers in a row may read differently."""
        if self.version not in ("1.0", "1.1"):
            return "HTTP version is not supported"
        if self.version == "1.0" and "TRANSFER_ENCODING" in self.headers:
            return "Transfer-Encoding is not for HTTP/1.0"
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            return "Content-Length and Transfer-Encoding in one request"
        return None

    def _check_early(self, new: int) -> None:
        """Refuse a request as soon as its bytes can't become valid."""
        body = self.body_rcv
        if body is None:
            if _NOT_HTTP.search(self._not_checked(new)):
                self._refuse(BadRequest("Invalid head"))
        elif isinstance(body, ChunkedReceiver) and len(body) + body.chunk_remainder >= self.adj.max_request_body_size:
            self._refuse(RequestEntityTooLarge("exceeds max_body"))

    def _not_checked(self, new: int) -> bytes:
        """Return the new bytes and the one before, so that a head in small pieces is not searched again each time."""
        head = self.header_plus
        return head if len(head) <= new + 1 else b"A" + head[-new - 1 :].removeprefix(b"\n")

    def _refuse(self, error: BadRequest | RequestEntityTooLarge) -> None:
        self.error = error
        self.completed = True


class Task(WSGITask):
    """One answer. While the server stops, it is the last one of its connection."""

    _begin: Begin | None = None
    """What goes on after the answer, if the view keeps the connection."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[KEEP] = self._keep
        return environ

    def _keep(self, begin: Begin) -> None:
        self._begin = begin

    def finish(self) -> None:
        if self._begin and self.wrote_header and self.status.startswith("200"):
            self.close_on_finish = False
            self.channel.keep(self._begin, chunked=self.chunked_response)  # type: ignore[attr-defined]
        else:
            super().finish()

    def build_response_header(self) -> bytes:
        if self._last:
            self.set_close_on_finish()
        return super().build_response_header()

    def set_close_on_finish(self) -> None:
        """Close the connection, but not for want of a length if there is no body, as in each callback's 204."""
        if self.has_body or self.version == "1.0" or self._last:
            super().set_close_on_finish()

    @property
    def _last(self) -> bool:
        asked = self.request.headers.get("CONNECTION", "").lower() == "close"  # type: ignore[attr-defined]
        return asked or bool(self.channel.server.leaving)  # type: ignore[attr-defined]


class Stream:
    """A connection to which a view still writes, from any thread. It never waits and never raises."""

    def __init__(self, connection: Connection, chunked: bool) -> None:
        self._connection = connection
        self._chunked = chunked

    def write(self, data: bytes) -> None:
        connection = self._connection
        if connection.total_outbufs_len > MOST_UNREAD:
            connection.will_close = True
            connection.server.pull_trigger()
            return
        if not connection.total_outbufs_len:
            connection.waits_since = time.monotonic()
        with suppress(ClientDisconnected):
            connection.write_soon(b"%X\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def close(self) -> None:
        connection = self._connection
        with suppress(ClientDisconnected):
            connection.write_soon(b"0\r\n\r\n" if self._chunked else b"")
        connection.close_when_flushed = True
        connection.server.pull_trigger()


class Connection(HTTPChannel):
    """One client. Every wait for it has an end."""

    parser_class = Request
    task_class = Task

    def __init__(self, server: Listener, *args: Any, **kwargs: Any) -> None:
        self.patience = server.patience
        self.waits_since = self.request_since = time.monotonic()
        self.served = False
        self._refused = False
        self._farewell_until: float | None = None
        self.stream: Stream | None = None
        self._begin: Begin | None = None
        self._end: Callable[[], None] | None = None
        super().__init__(server, *args, **kwargs)

    @property
    def under_way(self) -> bool:
        """Return whether a thread works on a request, or its answer is not sent yet."""
        return bool(self.requests or self.total_outbufs_len)

    @property
    def idle_since(self) -> float:
        """Return since when it is idle: the longest is closed first. A client with an answer gets some seconds more."""
        return self.waits_since + (self.patience.request if self.served else 0)

    def overdue(self, now: float) -> bool:
        """Return whether it may be closed. Not while a thread works for it, except for a client that reads nothing."""
        return now > self._waits_until() if not self.requests else self._is_stuck()

    def _is_stuck(self) -> bool:
        """Return whether a thread waits for this client to read its answer, and it does not."""
        waits = self.total_outbufs_len > self.adj.outbuf_high_watermark
        return bool(waits and time.time() - self.last_activity > self.patience.answer)

    def _waits_until(self) -> float:
        if self._farewell_until is not None:
            return self._farewell_until
        if self.stream and self.will_close:  # the loop does not learn it from a socket that takes nothing
            return 0.0
        if self.total_outbufs_len:
            return self.waits_since + self.patience.answer
        if self.stream:
            return math.inf
        if not self.served:
            return self.waits_since + self.patience.request
        idle = self.waits_since + self.patience.idle
        return idle if self.request is None else min(self.request_since, idle) + self.patience.request

    def keep(self, begin: Begin, *, chunked: bool) -> None:
        """Keep the connection after this answer. Whatever the client sends from now on is ignored."""
        with self.requests_lock:  # type: ignore[attr-defined]  # the stubs do not have it
            for request in self.requests[1:]:
                request.close()
            self.requests = self.requests[:1]
            self.stream, self._begin = Stream(self, chunked), begin

    def received(self, data: bytes) -> bool:
        if self.stream:
            return False
        if self.request is None:
            self.request_since = time.monotonic()
        return super().received(data)

    def service(self) -> None:
        self._refused = self._refused or self.requests[0].error is not None
        super().service()
        self.served, self.waits_since = True, time.monotonic()
        if self.stream and self._begin:
            self._end = self._begin(self.stream)
            if not self.connected:  # it was closed before it was known whom to tell
                self._end()

    def handle_close(self) -> None:
        super().handle_close()
        if self._end:
            self._end()

    def readable(self) -> bool:
        if self.stream and not (self.will_close or self.close_when_flushed):
            return True  # so that a client that has gone is noticed
        return self._farewell_until is not None or bool(super().readable())

    def handle_read(self) -> None:
        if self._farewell_until is None:
            super().handle_read()
        else:
            self.recv(65536)  # it closes at the end of the stream

    def handle_write(self) -> None:
        if self.stream:
            self._flush_stream()
            return
        refused_and_told = self._refused and self.close_when_flushed and not self.total_outbufs_len
        if refused_and_told and not self.will_close:
            self._say_farewell()
        else:
            super().handle_write()

    def _flush_stream(self) -> None:
        """Send what waits. Waitress does that without its lock where no request is served, but a view may write now."""
        self._flush_exception(self._flush_some_if_lockable)  # type: ignore[attr-defined]  # the stubs do not have it
        if self.will_close or (self.close_when_flushed and not self.total_outbufs_len):
            self.handle_close()

    def _say_farewell(self) -> None:
        """Stop writing and wait. If the server closed with bytes unread, the client's system would drop the answer."""
        self.close_when_flushed = False
        self._farewell_until = time.monotonic() + self.patience.farewell
        assert self.socket
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)


class Listener(TcpWSGIServer):
    """One socket that listens, and its connections."""

    channel_class = Connection
    active_channels: dict[int, Connection]  # type: ignore[assignment]  # the stubs are wrong here

    def __init__(self, app: Any, patience: Patience, most: int, **kwargs: Any) -> None:
        self.patience = patience
        self.leaving = False
        self._most = most
        self._waking = threading.RLock()  # a signal handler may stop the server while its thread is in here
        self._ended = False
        super().__init__(app, **kwargs)

    def pull_trigger(self) -> None:
        """Wake the loop from any thread, unless it has ended: by then its pipe may be another file."""
        with self._waking:
            if not self._ended:
                super().pull_trigger()

    def end(self) -> None:
        """The loop ends, and nobody wakes it any more."""
        with self._waking:
            self._ended = True

    def readable(self) -> bool:
        return self.accepting

    def handle_accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            before = len(self.active_channels)
            super().handle_accept()
            if len(self.active_channels) == before:
                return
            if before >= self._most:
                self._close_longest_idle()

    def close_overdue(self, now: float) -> None:
        for connection in list(self.active_channels.values()):
            if connection.overdue(now):
                connection.handle_close()

    def leave(self) -> None:
        """Accept the connections that wait already, and then no more."""
        self.handle_accept()
        self.leaving, self.accepting = True, False
        for connection in list(self.active_channels.values()):
            if connection.stream:
                connection.stream.close()
        self.del_channel()
        assert self.socket
        self.socket.close()

    def _close_longest_idle(self) -> None:
        every = self.active_channels.values()
        idle = [connection for connection in every if not (connection.requests or connection.stream)]
        if idle:
            min(idle, key=lambda connection: connection.idle_since).handle_close()


@dataclass(frozen=True)
class Address:
    """A host of this machine, and a port; 0 is any free one."""

    host: str
    port: int


class WebServer:
    """Serves the app until it is told to stop.

    It listens from the moment it is made: on an address, or on the sockets of a master process.
    """

    def __init__(
        self,
        app: Flask | Callable[..., Iterable[bytes]],
        *,
        threads: int,
        on: Address | Sequence[socket.socket],
        patience: Patience = Patience(),
        most: int = MAX_CONNECTIONS,
    ) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # otherwise it logs each request of a burst
        where: dict[str, Any] = asdict(on) if isinstance(on, Address) else {"sockets": list(on)}
        settings = Adjustments(**where, **_SETTINGS)
        self._patience = patience
        self._map: dict[int, Any] = {}
        self._stopping = False
        self._next_check = 0.0
        self._threads = ThreadedTaskDispatcher()
        most = min(most, _files_for(most + FILES_KEPT) - FILES_KEPT)
        common: dict[str, Any] = {"map": self._map, "dispatcher": self._threads, "adj": settings}
        ours = (
            [{"sockinfo": info} for info in settings.listen]
            if isinstance(on, Address)
            else map(_theirs, settings.sockets)
        )
        self._listeners: list[Listener] = []
        try:
            for one in ours:
                self._listeners.append(Listener(app, patience, most, **common, **one))
        except BaseException:
            self.close()
            raise
        self._threads.set_thread_count(threads)

    def run(self, beat: Callable[[], bool] = lambda: True, *, grace: float = 20.0) -> None:
        """Serve until :meth:`stop`, or until ``beat`` returns False. It is called at least every second.

        Then finish the requests under way within ``grace`` seconds.
        """
        while not self._stopping and beat():
            self._turn()
        self._finish(beat, grace)

    def stop(self) -> None:
        """Stop serving. A signal handler may call it."""
        if not self._stopping:
            self._stopping = True
            for listener in self._listeners:
                listener.leaving = True
            self._listeners[0].pull_trigger()

    def close(self) -> None:
        self._stopping = True
        self._threads.shutdown(timeout=1)
        for listener in self._listeners:
            listener.end()
        wasyncore.close_all(self._map)

    def _turn(self) -> None:
        wasyncore.loop(timeout=1.0, use_poll=True, map=self._map, count=1)
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + 1.0
            for listener in self._listeners:
                listener.close_overdue(now)

    def _finish(self, beat: Callable[[], bool], grace: float) -> None:
        for listener in self._listeners:
            listener.leave()
        began = time.monotonic()
        farewell = began + min(self._patience.farewell, grace)
        while (now := time.monotonic()) < began + grace and self._must_stay(now < farewell):
            beat()
            wasyncore.loop(timeout=0.1, use_poll=True, map=self._map, count=1)
        self.close()

    def _must_stay(self, idle_too: bool) -> bool:
        """Return whether a connection must stay. An idle one may be about to bring a request, which would fail."""
        connections = [one for listener in self._listeners for one in listener.active_channels.values()]
        return any(idle_too or connection.under_way for connection in connections)


_SETTINGS: dict[str, Any] = {
    "ident": "bridge",
    "backlog": 2048,
    "max_request_header_size": MAX_HEAD,
    "max_request_body_size": MAX_BYTES + 1,  # waitress refuses this length and longer ones; see Request
    "clear_untrusted_proxy_headers": False,  # the bridge does not read them
    "asyncore_use_poll": True,
}


def _theirs(sock: socket.socket) -> dict[str, Any]:
    info = (sock.family, sock.type, sock.proto, sock.getsockname())
    return {"_sock": sock, "bind_socket": False, "sockinfo": info}


def _files_for(wanted: int) -> int:
    """Raise the limit of open files. The usual 1,024 are used up by a thousand strangers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
