"""The transport below httpx. No operation outlasts the deadline of its call.

httpx limits each single read, so a server that trickles bytes could keep a call open for hours. Here the remaining time
limits every operation, from the connect to the last byte of the answer.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import httpcore
import httpx

from bridge.config.proxies import way_out
from bridge.providers.http.prepared import target

BEGIN_WITHIN = 8.0
"""Seconds from the call to the last byte of its request, which may take more than one write.

A process that was halted in between must not send any more, because another worker may have taken over its work. This
is shorter than the heartbeat timeout after which that happens.
"""

CONNECT_TIMEOUT = 5.0
"""Seconds. A server that does not connect in this time counts as not reached, and surely received nothing."""

KEEP_ALIVE = 5.0
"""Seconds that a connection stays open between calls. Load balancers close their end later, so never under a
request."""

NewTransport = Callable[[], httpx.BaseTransport]


@cache
def _tls() -> ssl.SSLContext:
    """Return one TLS context for all threads. Loading the certificates costs 30 ms and a megabyte each time."""
    return httpx.create_ssl_context()


def transports(base_url: str) -> NewTransport:
    """Return a factory that makes a transport for each thread."""
    proxy = _proxy(base_url)
    return lambda: DeadlineTransport(_tls(), proxy)


def _proxy(base_url: str) -> httpx.Proxy | None:
    """Return the proxy that the environment prescribes. The settings have already checked that it is usable."""
    found = way_out(base_url, os.environ)
    return httpx.Proxy(found[1]) if found else None


class DeadlineTransport(httpx.BaseTransport):
    """httpcore's pool on a transport with a deadline. It belongs to one thread, so it serves one call at a time."""

    def __init__(self, context: ssl.SSLContext, proxy: httpx.Proxy | None) -> None:
        self._transport = _Transport()
        self._pool = self._new_pool(context, proxy)

    def _new_pool(self, context: ssl.SSLContext, proxy: httpx.Proxy | None) -> httpcore.ConnectionPool:
        options: dict[str, Any] = {
            "ssl_context": context,
            "network_backend": self._transport,
            "keepalive_expiry": KEEP_ALIVE,
            "retries": 0,
        }
        if proxy is None:
            return httpcore.ConnectionPool(**options)
        return httpcore.HTTPProxy(str(proxy.url), proxy.raw_auth, proxy.headers.raw, **options)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request of httpx. If its extension ``received`` has the response already, return that one."""
        received: httpx.Response | None = request.extensions.get("received")
        return received or self.exchange(
            httpcore.Request(request.method, target(request.url), headers=request.headers.raw, content=request.stream),
            request.extensions["deadline"],
        )

    def exchange(self, request: httpcore.Request, deadline: float) -> httpx.Response:
        """Send a request, and return the response with its body still unread."""
        self._transport.deadline = deadline
        self._transport.begin_by = time.monotonic() + BEGIN_WITHIN
        with _httpx_errors():
            response = self._pool.handle_request(request)
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response))

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _httpx_errors():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Transport(httpcore.NetworkBackend):
    """TCP connections. Every operation on them ends at the deadline of the current call."""

    def __init__(self) -> None:
        self.deadline = 0.0
        self.begin_by: float | None = None
        """The moment until which every byte of a request must be written."""
        self._tcp = httpcore.SyncBackend()

    def left(self, late: type[httpcore.TimeoutException], at_most: float = float("inf")) -> float:
        """Return the seconds until the deadline. Raise the given error after it."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise late("the deadline has passed")
        return min(left, at_most)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = self.left(httpcore.ConnectTimeout, CONNECT_TIMEOUT)
        return _Stream(self, self._tcp.connect_tcp(host, port, left, local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, transport: _Transport, inner: httpcore.NetworkStream) -> None:
        self._transport = transport
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._transport.left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._transport.begin_by is not None and time.monotonic() > self._transport.begin_by:
            raise httpcore.ConnectTimeout("it took too long to begin")
        self._inner.write(buffer, self._transport.left(httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._transport.left(httpcore.ConnectTimeout, CONNECT_TIMEOUT)
        return _Stream(self._transport, self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise httpcore's errors as the httpx errors of the same name."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
