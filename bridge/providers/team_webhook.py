"""HANDOFF_WEBHOOK: the business's own address, which is told that a person waits for somebody of the team.

    POST  {"event": "waiting_for_person", "id", "conversation_id", "phone", "bridge_number", "reason", "since", "url"}

    X-Bridge-Signature  t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>" with HANDOFF_WEBHOOK_SECRET>
    Idempotency-Key     the same for each attempt at one notice

Any status from 200 to 299 means that the team knows. Redirects are not followed: the signed body has a full number.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bridge.config import Settings
from bridge.providers.errors import OutcomeUnknown, RateLimited, Refused
from bridge.providers.http.client import Answer, Api
from bridge.providers.http.deadline import NewTransport

PROVIDER = "HANDOFF_WEBHOOK"

TIMEOUT = 15.0
"""Seconds for one call."""

EVENT = "waiting_for_person"

BUSY = frozenset({408, 425, 429})
"""Statuses below 500 after which another attempt is worth it."""


@dataclass(frozen=True)
class WaitingPerson:
    """A person who waits for somebody of the team."""

    id: str
    """Of this notice. A repeated one has the same."""
    conversation_id: int
    phone: str
    bridge_number: str
    reason: str
    since: datetime
    url: str
    """The conversation in the console."""


class Team(Protocol):
    """The team of the business, as the bridge tells it that somebody waits."""

    def tell(self, waiting: WaitingPerson) -> None:
        """Return when the team knows. Raise a :class:`bridge.providers.errors.RemoteError` and nothing else."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class TeamWebhook:
    """See :class:`Team`. Any number of threads may use it."""

    def __init__(
        self,
        address: str,
        secret: str,
        *,
        transport: NewTransport | None = None,
        timeout: float = TIMEOUT,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._address = address
        self._secret = secret
        self._timeout = timeout
        self._now = now
        self._api = Api(PROVIDER, address, transport=transport)

    def tell(self, waiting: WaitingPerson) -> None:
        body = _body(waiting)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": waiting.id,
            "X-Bridge-Signature": signature(self._secret, int(self._now()), body),
        }
        deadline = time.monotonic() + self._timeout
        _check(self._api.call("POST", self._address, deadline=deadline, content=body, headers=headers))

    def close(self) -> None:
        self._api.close()


def build_team(settings: Settings) -> Team | None:
    """Return HANDOFF_WEBHOOK, or ``None`` if it is not set."""
    if settings.handoff_webhook is None or settings.handoff_webhook_secret is None:
        return None
    return TeamWebhook(settings.handoff_webhook, settings.handoff_webhook_secret.get_secret_value())


def signature(secret: str, at: int, body: bytes) -> str:
    """Return the value of ``X-Bridge-Signature``. The moment is signed too, so that a receiver can refuse old ones."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _body(waiting: WaitingPerson) -> bytes:
    told = {"event": EVENT, **vars(waiting), "since": waiting.since.isoformat()}
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")


def _check(answer: Answer) -> None:
    """Raise the error of this answer, if it is one. The words of a foreign server stay out of it."""
    status, wait = answer.status, answer.retry_after
    if answer.ok:
        return
    if status in BUSY:
        raise RateLimited("it is busy", provider=PROVIDER, status=status, retry_after=wait)
    if 400 <= status < 500:
        raise Refused("it refuses the notice", provider=PROVIDER, status=status)
    why = "it answers with a redirect" if 300 <= status < 400 else "it has a fault"
    raise OutcomeUnknown(why, provider=PROVIDER, status=status, retry_after=wait)
