"""The status poll: ask the carrier for the status of texts without a final one.

Callbacks get lost, and some operators send no receipts at all. The bridge polls such a text after twelve hours, and
once more a day later. The answer counts like a callback (``bridge.outbound.receipts``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, select, update

from bridge.db.models import Message
from bridge.outbound import receipts
from bridge.providers.carriers.contract import CarriedText
from bridge.providers.errors import RemoteError
from bridge.queues import circuit_breakers
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

PAGE = 50
"""The most texts in one round. The oldest come first; the rest waits for the next round."""

LONGEST_ROUND = timedelta(seconds=60)
"""The longest time for one round: a slow carrier must not block a thread for long."""

ASK_AGAIN = timedelta(hours=24)
"""The pause between the two polls of a text."""

LEASE_FOR = timedelta(minutes=30)
"""When a text is polled again if the carrier gave no answer, or if the round ended before it."""

GIVE_UP_AFTER = timedelta(hours=72)
"""How long after sending a text is polled at most. Then its status stays as it is."""


@dataclass(frozen=True)
class Asked:
    """A text to poll, as plain values."""

    message_id: int
    carrier_id: str
    sent_at: datetime


def poll_statuses(rt: Runtime) -> None:
    """Poll one page of texts. The round ends at a provider-wide error, and does not begin while the circuit is open."""
    stop_at = rt.now() + LONGEST_ROUND
    for asked in _lease_page(rt):
        if rt.now() >= stop_at:
            return
        try:
            _settle(rt, asked, rt.carrier.fetch(asked.carrier_id))
        except RemoteError as error:
            log.warning("the status of message %s can't be polled yet: %s", asked.message_id, error)
            if error.provider_wide:
                return


def _lease_page(rt: Runtime) -> Sequence[Asked]:
    """Return the next page. Its next poll is set before the call, so two rounds at once do not poll a text twice."""
    now = rt.now()
    due = (
        select(Message.id)
        .where(Message.poll_status_at <= now)
        .order_by(Message.poll_status_at)
        .limit(PAGE)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    too_old = Message.settled_at < now - GIVE_UP_AFTER
    claimed = (
        update(Message)
        .where(Message.id.in_(select(due.c.id)))
        .values(poll_status_at=case((too_old, None), else_=now + LEASE_FOR))
        .returning(Message.id, Message.carrier_id, Message.settled_at)
    )
    with rt.database.transaction() as tx:
        if rt.carrier.provider in {breaker.scope for breaker in circuit_breakers.open_circuits(tx.session)}:
            return []
        rows = sorted(tx.session.execute(claimed).all())
    return [Asked(id_, carrier_id, sent_at) for id_, carrier_id, sent_at in rows if carrier_id and sent_at]


def _settle(rt: Runtime, asked: Asked, carried: CarriedText | None) -> None:
    """Record the status. A text that the carrier does not know is not polled again. Nor is one that is deleted."""
    news = False
    with rt.database.transaction() as tx:
        known = tx.session.get(Message, asked.message_id)
        message = known and receipts.locked(tx, known)
        if message is None:
            return
        if message.poll_status_at is not None:  # else a callback came meanwhile, or this was the last poll
            last = carried is None or rt.now() >= asked.sent_at + ASK_AGAIN
            message.poll_status_at = None if last else rt.now() + ASK_AGAIN
        if carried and carried.id == message.carrier_id:
            news = receipts.note(rt, tx, message, carried.status, carried.error_code)
    if news:
        receipts.tell(rt, message)
    elif carried is None:
        log.warning("message %s is not known to the carrier any more", asked.message_id)
