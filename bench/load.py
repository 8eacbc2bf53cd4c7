"""The load generator with the providers in its own process: ``python -m bench.load``. JSON lines control it.

It is an open loop: a text leaves at its time, however many are unanswered. Every text comes from its own phone, is
signed as Twilio signs, and uses a connection that is kept open. If the bridge closes one just before its next use, the
generator opens a new one. A text without an answer after 15 s has failed, as at Twilio, and is not sent again.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import hmac
import json
import random
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from bench.providers import ACCOUNT, NUMBER, TEXT, TOKEN, Noted, Providers, phone_of

WEBHOOK_WITHIN = 15.0
SENT_AFTER, DELIVERED_AFTER = 0.05, 0.5
"""Seconds from a send call to the status callbacks of the text."""

QUIET_FOR = 0.3
"""Seconds after the last answer in which a bridge may finish its records."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Burst:
    """So many texts, at that rate. ``people``: few phones that send all of them in turns."""

    rate: float
    texts: int
    arrivals: str = "poisson"
    seed: int = 0
    drain: float = 30.0
    """Seconds after the last text in which answers still count."""
    callbacks: bool = False
    people: int | None = None
    forget: bool = False
    """Empty the carrier's list first."""


@dataclass(frozen=True)
class Outcome:
    """The outcome. Times are in seconds: the median, the 99th of 100, and the slowest of answers and webhooks."""

    texts: int
    answered: int
    doubled: int
    crossed: int
    webhooks_failed: int
    reopened: int
    added: tuple[float, float, float]
    """From the start of the webhook to the send call, without the agent's delay."""
    webhook: tuple[float, float, float]
    lag: tuple[float, float, float]
    """Seconds by which the texts left late. The generator or the machine causes that, not the bridge."""
    took: float
    """From the first text to the last event."""
    cpu: float
    """Of the generator and the providers."""
    most_open_turns: int
    callbacks: int
    callbacks_failed: int
    calls: dict[str, int]


class Webhooks:
    """Twilio's side of a bridge's address: kept connections, the most recently used first."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.url = url
        self.host, self.port = address.hostname or "", address.port or 80
        self.idle: list[_Connection] = []
        self.reopened = 0

    async def post(self, url: str, fields: dict[str, str]) -> int:
        """Return the status of the answer; 0 if there was none."""
        request = _request(url, fields)
        try:
            async with asyncio.timeout(WEBHOOK_WITHIN):
                while self.idle:
                    with suppress(ConnectionError):
                        return await self.idle.pop().ask(request)
                    self.reopened += 1
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(lambda: _Connection(self), self.host, self.port)
                return await connection.ask(request)
        except (OSError, TimeoutError):
            return 0

    def close(self) -> None:
        for connection in self.idle:
            connection.transport.abort()


class _Connection(asyncio.Protocol):
    """A connection that is idle, or waits for one answer."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks
        self._answer: asyncio.Future[int] | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    async def ask(self, request: bytes) -> int:
        if self.transport.is_closing():
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.transport.abort()
            raise

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or not self._whole(self._buffer[:end], end + 4):
            return
        head, self._buffer = self._buffer[:end].lower(), b""
        if b"\r\nconnection: close" in head:
            self.transport.close()
        else:
            self._webhooks.idle.append(self)
        if self._answer and not self._answer.done():
            self._answer.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        with suppress(ValueError):
            self._webhooks.idle.remove(self)
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def _whole(self, head: bytes, begin: int) -> bool:
        if length := _LENGTH.search(head):
            return len(self._buffer) >= begin + int(length[1])
        return b"chunked" not in head.lower() or self._buffer.endswith(b"0\r\n\r\n")


def _request(url: str, fields: dict[str, str]) -> bytes:
    """Sign as Twilio does: the address, then all names and values in the order of the names."""
    signed = url + "".join(f"{name}{fields[name]}" for name in sorted(fields))
    signature = base64.b64encode(hmac.digest(TOKEN.encode(), signed.encode(), hashlib.sha1)).decode()
    address = urlsplit(url)
    body = urlencode(fields)
    target = f"{address.path}?{address.query}" if address.query else address.path
    return (
        f"POST {target} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\nUser-Agent: TwilioProxy/1.1\r\nAccept: */*\r\n"
        f"I-Twilio-Idempotency-Token: {signature[:22]}\r\nX-Twilio-Signature: {signature}\r\n\r\n{body}"
    ).encode()


class Load:
    """The texts of one bridge, and their outcomes."""

    def __init__(self, providers: Providers, webhooks: Webhooks) -> None:
        self._providers = providers
        self._webhooks = webhooks
        self._last = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._callbacks = False
        self._callbacks_failed = 0
        providers.sent = self._sent

    async def run(self, burst: Burst) -> Outcome:
        self._callbacks, self._callbacks_failed, self._webhooks.reopened = burst.callbacks, 0, 0
        self._providers.most_open_turns = self._providers.open_turns
        calls = self._providers.calls.copy()
        if burst.forget:
            self._providers.inbound.clear()
        gc.collect()
        began, cpu = time.monotonic(), time.process_time()
        texts = await self._text(burst, began + 0.02)
        ended = await self._until_answered(texts, time.monotonic() + burst.drain)
        took, cpu = ended - began, time.process_time() - cpu
        return self._outcome(texts, took, cpu, dict(self._providers.calls - calls))

    async def _text(self, burst: Burst, at: float) -> Sequence[Noted]:
        chance = random.Random(burst.seed)
        texts = []
        first = self._last + 1
        for place in range(burst.texts):
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            self._last += 1
            text = Noted(phone_of(first + place % (burst.people or burst.texts)), at)
            self._providers.texts[self._last] = text
            texts.append(text)
            self._spawn(self._post(self._last, text))
            at += chance.expovariate(burst.rate) if burst.arrivals == "poisson" else 1 / burst.rate
        return texts

    async def _post(self, number: int, text: Noted) -> None:
        sid, body = f"SM{'0' * 8}{number:024x}", TEXT.format(number)
        self._providers.inbound.append((sid, text.phone, body, time.time()))
        text.posted = time.monotonic()
        text.status = await self._webhooks.post(self._webhooks.url, _inbound(sid, text.phone, body))
        text.taken = time.monotonic()

    async def _until_answered(self, texts: Sequence[Noted], deadline: float) -> float:
        """Return the time of the last event, or the deadline."""
        waiting = list(texts)
        while time.monotonic() < deadline:
            wanted = 2 if self._callbacks else 0
            waiting = [text for text in waiting if not text.sent or (text.callbacks < wanted and _asked_for(text))]
            if not waiting and not self._tasks:
                await asyncio.sleep(QUIET_FOR)
                break
            await asyncio.sleep(0.05)
        return time.monotonic()

    def _sent(self, number: int, fields: dict[str, str], sid: str) -> None:
        text = self._providers.texts[number]
        url = fields.get("StatusCallback")
        if not self._callbacks or not url:
            text.callbacks = -1  # the bridge asked for none
            return
        for after, status in ((SENT_AFTER, "sent"), (DELIVERED_AFTER, "delivered")):
            self._spawn(self._report(after, text, url, _status(sid, status, fields)))

    async def _report(self, after: float, text: Noted, url: str, fields: dict[str, str]) -> None:
        await asyncio.sleep(after)
        status = await self._webhooks.post(url, fields)
        text.callbacks += 1
        self._callbacks_failed += status >= 300 or status == 0

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _outcome(self, texts: Sequence[Noted], took: float, cpu: float, calls: dict[str, int]) -> Outcome:
        answered = [text for text in texts if text.sent]
        return Outcome(
            texts=len(texts),
            answered=len(answered),
            doubled=sum(text.sends > 1 for text in texts),
            crossed=sum(text.crossed for text in texts),
            webhooks_failed=sum(bool(text.taken) and not 200 <= text.status < 300 for text in texts),
            reopened=self._webhooks.reopened,
            added=_spread([text.sent - text.posted - text.held for text in answered]),
            webhook=_spread([text.taken - text.posted for text in texts if text.status]),
            lag=_spread([text.posted - text.planned for text in texts if text.posted]),
            took=took,
            cpu=cpu,
            most_open_turns=self._providers.most_open_turns,
            callbacks=sum(max(0, text.callbacks) for text in texts),
            callbacks_failed=self._callbacks_failed,
            calls=calls,
        )


def _asked_for(text: Noted) -> bool:
    return text.callbacks >= 0


def _spread(seconds: list[float]) -> tuple[float, float, float]:
    ordered = sorted(seconds) or [float("nan")]
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], ordered[-1]


def _inbound(sid: str, phone: str, body: str) -> dict[str, str]:
    """Return the fields that Twilio sends."""
    return {
        "ToCountry": "US",
        "ToState": "CA",
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "ToCity": "SAN FRANCISCO",
        "FromZip": "10001",
        "SmsSid": sid,
        "FromState": "NY",
        "SmsStatus": "received",
        "FromCity": "NEW YORK",
        "Body": body,
        "FromCountry": "US",
        "To": NUMBER,
        "ToZip": "94105",
        "NumSegments": "1",
        "MessageSid": sid,
        "AccountSid": ACCOUNT,
        "From": phone,
        "ApiVersion": "2010-04-01",
    }


def _status(sid: str, status: str, fields: dict[str, str]) -> dict[str, str]:
    return {
        "SmsSid": sid,
        "SmsStatus": status,
        "MessageStatus": status,
        "To": fields["To"],
        "MessageSid": sid,
        "AccountSid": ACCOUNT,
        "From": fields.get("From", NUMBER),
        "ApiVersion": "2010-04-01",
    }


async def main() -> None:
    """Read the delays and the webhook's address from the first line, and a burst from each of the others."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    first = json.loads(await lines.readline())
    providers = Providers(first["agent_delay"], first["create_delay"])
    agent, carrier = await providers.listen()
    _say({"agent": agent, "carrier": carrier})
    load = Load(providers, Webhooks(first["webhook"]))
    gc.disable()  # a pause of the generator would look like one of the bridge
    while line := await lines.readline():
        outcome = await load.run(Burst(**json.loads(line)))
        _say(asdict(outcome))


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
