"""The HTTP client for providers: one call, one answer. It never repeats, never redirects, never exceeds its deadline.

``bridge.providers.http.deadline`` keeps the deadline.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import httpx

from bridge import __version__
from bridge.lib import waits
from bridge.providers.errors import NotReached, OutcomeUnknown, RemoteError
from bridge.providers.http.deadline import DeadlineTransport, NewTransport, transports
from bridge.providers.http.per_thread import PerThread
from bridge.providers.http.prepared import Heads
from bridge.providers.http.unpack import PLAIN, Unreadable, whole
from bridge.providers.redaction import safe_words

ANSWER_LIMIT = 5_000_000
"""Bytes. A long chat with all its tool calls is far smaller. A larger answer would only fill the worker's memory."""

LONGEST_WAIT = 366 * 24 * 3600.0
"""Seconds. No provider means a Retry-After of more than a year, and the date would overflow."""

NOT_REACHED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""The request never left. After any other network error the provider may have carried it out."""


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @cached_property
    def payload(self) -> dict[str, Any] | None:
        """Return the body if it is a JSON object, else ``None``."""
        try:
            payload = read_json(self.body)
        except ValueError:
            return None
        return payload if isinstance(payload, dict) else None

    @property
    def retry_after(self) -> float | None:
        """Return the seconds that the provider asks us to wait; ``None`` for a missing or invalid value."""
        return _retry_after(self.headers, datetime.now(UTC))


class Api:
    """The API of one provider. Any number of threads may use it; each has its own connection."""

    def __init__(
        self,
        provider: str,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        transport: NewTransport | None = None,
    ) -> None:
        self.provider = provider
        self._base_url = base_url
        agent = f"sms-bridge/{__version__}"
        self._headers = {"User-Agent": agent, "Accept-Encoding": PLAIN, **(headers or {})}
        self._new_transport = transport or transports(base_url)
        self._clients = PerThread(self._new_client, lambda pair: pair[0].close())
        self._heads = Heads()
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses, and a list's address has a number

    def call(self, method: str, url: str, *, deadline: float, **request: Any) -> Answer:
        """Send one request and read the answer, whatever its status.

        Raise :class:`NotReached` or :class:`OutcomeUnknown`.

        ``deadline`` is a moment of ``time.monotonic``. ``request`` goes to httpx: ``json``, ``data``, ``params``.
        """
        began = time.perf_counter()
        try:
            return self._exchange(method, url, deadline, request)
        except httpx.RequestError as error:
            raise self._fault(error) from None  # its context would show the request
        except Unreadable as error:
            raise OutcomeUnknown(f"its answer can't be read: {error}", provider=self.provider) from None
        finally:
            waits.add(time.perf_counter() - began)

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    def _exchange(self, method: str, url: str, deadline: float, request: Mapping[str, Any]) -> Answer:
        """Send the request without httpx's client where the client adds nothing to it. The bytes are the same."""
        client, transport = self._clients.get()
        extensions: dict[str, Any] = {"deadline": deadline}
        if isinstance(transport, DeadlineTransport) and (ready := self._heads.request(client, method, url, request)):
            response = transport.exchange(ready, deadline)
            if not _concerns_client(response):
                with closing(response):
                    return _answer(response)
            extensions["received"] = response
        with client.stream(method, url, extensions=extensions, **request) as response:
            return _answer(response)

    def _new_client(self) -> tuple[httpx.Client, httpx.BaseTransport]:
        transport = self._new_transport()
        client = httpx.Client(
            base_url=self._base_url,
            headers=self._headers,
            transport=transport,
            timeout=None,  # noqa: S113 - the transport keeps the deadline
            follow_redirects=False,
        )
        return client, transport

    def _fault(self, error: httpx.RequestError) -> RemoteError:
        if isinstance(error, NOT_REACHED):
            return NotReached(f"not reached: {safe_words(str(error)) or type(error).__name__}", provider=self.provider)
        if isinstance(error, httpx.TimeoutException):
            return OutcomeUnknown("no complete answer in time", provider=self.provider)
        return OutcomeUnknown(f"the connection broke: {type(error).__name__}", provider=self.provider)


def read_json(text: str | bytes) -> Any:
    """Parse JSON like ``json.loads``, but raise ValueError for too deep nesting."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _concerns_client(response: httpx.Response) -> bool:
    """Return True if httpx's client must see the response too: it keeps cookies, and checks addresses."""
    headers = response.headers
    return response.has_redirect_location or "set-cookie" in headers or "set-cookie2" in headers


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.headers, _whole(response))


def _whole(response: httpx.Response) -> bytes:
    """Read the raw body. ``iter_bytes`` would unpack each chunk completely, whatever its size."""
    assert isinstance(response.stream, httpx.SyncByteStream)
    return whole(response.stream, response.headers.get("content-encoding", ""), ANSWER_LIMIT)


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read ``Retry-After``, which is seconds or a date."""
    waits = (
        _seconds(headers.get("retry-after-ms"), unit=0.001),
        _seconds(headers.get("retry-after"), unit=1.0),
        _seconds_until(headers.get("retry-after"), now),
    )
    return next((wait for wait in waits if wait is not None and 0 <= wait <= LONGEST_WAIT), None)


def _seconds(text: str | None, unit: float) -> float | None:
    try:
        return float(text or "") * unit
    except ValueError:
        return None


def _seconds_until(text: str | None, now: datetime) -> float | None:
    try:
        then = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return (then - now).total_seconds()
