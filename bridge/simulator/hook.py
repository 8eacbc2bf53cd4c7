"""One webhook call as Twilio makes it: signed, with the connection overrides of the address's fragment.

It knows nothing of texts. ``postman`` decides about the call and its outcome.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode, urlsplit

from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

_MOST_MS = {"ct": 10_000, "rt": 15_000, "tt": 15_000}
_LEAST_MS = 100
_MOST_RETRIES = 5
_LONGEST_ANSWER = 64 * 1024


@dataclass(frozen=True)
class Overrides:
    """Connection overrides, in seconds. The defaults are Twilio's."""

    retries: int = 1
    retry_on: frozenset[str] = frozenset({"ct"})
    connect: float = 5.0
    read: float = 15.0
    total: float = 15.0

    @classmethod
    def of(cls, url: str) -> Overrides:
        """Read the overrides of the fragment. Ignore invalid ones."""
        given = dict(parse_qsl(urlsplit(url).fragment))
        retries, retry_on = given.get("rc", ""), given.get("rp", "")
        return cls(
            retries=min(int(retries), _MOST_RETRIES) if retries.isdecimal() else cls.retries,
            retry_on=frozenset(retry_on.split(",")) if retry_on else cls.retry_on,
            connect=_seconds(given, "ct", cls.connect),
            read=_seconds(given, "rt", cls.read),
            total=_seconds(given, "tt", cls.total),
        )

    def allow(self, failure: str) -> bool:
        return failure in self.retry_on or "all" in self.retry_on


@dataclass(frozen=True)
class Outcome:
    """The outcome of a call."""

    failure: str = ""
    """Empty after a success, else ``ct``, ``rt``, ``3xx``, ``4xx``, ``5xx`` or ``cut``."""
    status: int | None = None
    content_type: str = ""
    body: str = ""
    attempts: int = 1

    @property
    def ok(self) -> bool:
        return not self.failure

    @property
    def detail(self) -> str:
        return _DETAILS.get(self.failure, f"answered {self.status}")


_DETAILS = {
    "ct": "no server listens there",
    "rt": "no answer in time",
    "cut": "the connection was cut",
}


class Caller:
    """The client that makes the calls. :meth:`abort` ends those in progress."""

    def __init__(self, token: str) -> None:
        self._validator = RequestValidator(token)
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()

    def call(self, url: str, parameters: Mapping[str, str]) -> Outcome:
        """POST the signed form. Repeat it as the overrides say."""
        address = url.partition("#")[0]
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "X-Twilio-Signature": self._validator.compute_signature(address, dict(parameters)),
            "I-Twilio-Idempotency-Token": str(uuid.uuid4()),
            "X-Home-Region": "us1",
        }
        return self.post(address, urlencode(parameters).encode(), headers, Overrides.of(url))

    def post(self, address: str, body: bytes, headers: Mapping[str, str], overrides: Overrides) -> Outcome:
        until = time.monotonic() + overrides.total
        attempts = 0
        while True:
            attempts += 1
            outcome = replace(self._once(address, body, headers, overrides, until), attempts=attempts)
            done = outcome.ok or not overrides.allow(outcome.failure)
            if done or attempts > overrides.retries or time.monotonic() >= until:
                return outcome

    def abort(self) -> None:
        with self._lock:
            for connection in self._open:
                if connection.sock:
                    _shut(connection.sock)

    def _once(
        self, address: str, body: bytes, headers: Mapping[str, str], overrides: Overrides, until: float
    ) -> Outcome:
        parts = urlsplit(address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_left(overrides.connect, until))
        with self._lock:
            self._open.add(connection)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            return _exchange(connection, target, body, headers, _left(overrides.read, until))
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _exchange(
    connection: http.client.HTTPConnection,
    target: str,
    body: bytes,
    headers: Mapping[str, str],
    patience: float,
) -> Outcome:
    try:
        connection.connect()
    except OSError:
        return Outcome("ct")
    connection.sock.settimeout(patience)
    try:
        connection.request("POST", target, body, dict(headers))
        with connection.getresponse() as response:
            answer = response.read(_LONGEST_ANSWER)
            if response.length and len(answer) < _LONGEST_ANSWER:  # a read with a limit does not report an early end
                return Outcome("cut")
            text = answer.decode("utf-8", "replace")
            kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
            failure = "" if 200 <= response.status < 300 else f"{response.status // 100}xx"
            return Outcome(failure, response.status, kind, text)
    except TimeoutError:
        return Outcome("rt")
    except (OSError, http.client.HTTPException):
        return Outcome("cut")


def _seconds(given: Mapping[str, str], key: str, default: float) -> float:
    text = given.get(key, "")
    if not text.isdecimal():
        return default
    return min(max(int(text), _LEAST_MS), _MOST_MS[key]) / 1000


def _left(seconds: float, until: float) -> float:
    return max(0.01, min(seconds, until - time.monotonic()))


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed by the other side already
