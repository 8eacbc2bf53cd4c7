"""Confirming: what became of the texts of which the carrier has told no end.

Callbacks get lost, and some operators give no receipts at all. A text without a final status is asked for after twelve
hours, and once more a day later; what the carrier says then counts as a callback does (``bridge.outbound.receipts``).
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
"""Texts that one round asks for. What is left over waits for the next round, the oldest first."""

LONGEST_ROUND = timedelta(seconds=60)
"""A carrier that is slow is not to keep a thread for long."""

ASK_AGAIN = timedelta(hours=24)
"""Between the two times that a text is asked for."""

LEASE_FOR = timedelta(minutes=30)
"""Until a text is asked for again that the carrier could not tell of, or that a round did not come to."""

GIVE_UP_AFTER = timedelta(hours=72)
"""After sending. Then it stays as it is, however often the carrier could not tell."""


@dataclass(frozen=True)
class Asked:
    """A text that is asked for, as plain values."""

    message_id: int
    carrier_id: str
    sent_at: datetime


def poll_statuses(rt: Runtime) -> None:
    """One round. It ends early where the carrier serves nobody, and is not begun while it is known to."""
    stop_at = rt.now() + LONGEST_ROUND
    for asked in _lease_page(rt):
        if rt.now() >= stop_at:
            return
        try:
            _settle(rt, asked, rt.carrier.fetch(asked.carrier_id))
        except RemoteError as error:
            log.warning("what became of message %s can't be told yet: %s", asked.message_id, error)
            if error.provider_wide:
                return


def _lease_page(rt: Runtime) -> Sequence[Asked]:
    """The next page. Its next time is booked before anybody asks, so that two rounds at once ask once."""
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
    """A text that the carrier has forgotten is not asked for any more."""
    news = False
    with rt.database.transaction() as tx:
        message = tx.session.get_one(Message, asked.message_id, with_for_update=True)
        if message.poll_status_at is not None:  # else a callback came meanwhile, or this was the last time
            last = carried is None or rt.now() >= asked.sent_at + ASK_AGAIN
            message.poll_status_at = None if last else rt.now() + ASK_AGAIN
        if carried and carried.id == message.carrier_id:
            news = receipts.note(rt, tx, message, carried.status, carried.error_code)
    if news:
        receipts.tell(rt, message)
    elif carried is None:
        log.warning("message %s is not known to the carrier any more", asked.message_id)
