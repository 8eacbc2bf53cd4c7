"""The rate limiter: each sender (one of our numbers, or its messaging service) sends at its own rate.

The carrier queues texts beyond the rate, for hours. But a text in that queue can't be canceled any more, and a full
queue refuses texts. So each text gets a slot of its sender, in the order in which the conversations ask (GCRA). One
UPDATE of one row moves ``free_at``: the moment at which all texts with a slot would be sent. A burst of a few seconds
is allowed. Later texts wait here until their slot. The rates: ``RATES``.

If the carrier's queue is full all the same, the sender pauses. Texts whose slot comes meanwhile wait for its end.

The same UPDATE counts the texts and segments with a slot. So the metrics need no second UPDATE, and no sum over texts.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.config import Settings
from bridge.db.engine import insert_if_new
from bridge.db.models import Sender
from bridge.db.statements import Statement, moment
from bridge.db.transaction import Transaction
from bridge.lib.phone import RCS, SHORT_CODE, TOLL_FREE, WHATSAPP, masked

log = logging.getLogger(__name__)

BURST = timedelta(seconds=10)
"""A sender may send this far ahead of its rate. The carrier's queue takes 36,000 s."""

SHORTEST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=5)
"""The pause of a sender whose queue is full. It doubles each time that the queue is still, or again, full."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


class Kind(StrEnum):
    """The kind of our address, which decides its rate."""

    NORTH_AMERICAN = "North American number"
    TOLL_FREE = "toll-free number"
    OTHER_NUMBER = "number of another country"
    SHORT_CODE = "short code"
    WHATSAPP = "WhatsApp sender"
    RCS = "RCS sender"
    SERVICE = "messaging service"


_KINDS = {
    Kind.WHATSAPP: re.compile(rf"{WHATSAPP}.*", re.DOTALL),
    Kind.RCS: re.compile(rf"{RCS}.*", re.DOTALL),
    Kind.SERVICE: re.compile(r"MG[0-9a-fA-F]{32}"),
    Kind.TOLL_FREE: TOLL_FREE,
    Kind.NORTH_AMERICAN: re.compile(r"\+1[0-9]{10}"),
    Kind.SHORT_CODE: SHORT_CODE,
}
"""The first pattern that matches decides."""

RATES = {
    Kind.NORTH_AMERICAN: 225.0,
    Kind.TOLL_FREE: 3.0,
    Kind.OTHER_NUMBER: 10.0,
    Kind.SHORT_CODE: 100.0,
    Kind.WHATSAPP: 80.0,
    Kind.RCS: 100.0,
    Kind.SERVICE: 225.0,
}
"""Segments a second, as Twilio documents them.

The rate of a North American number is in its campaign, and its address does not show it. It is from 1 to 75 a second,
to each of the three large networks separately. The default must not slow down a number with 75, so it is three times
that. A slower number needs SENDER_RATE. Without it, it pauses once its queue is full, which takes 36,000 segments. A
service has such numbers, and a queue of its own.
"""


_TAKE = Statement(
    """
    UPDATE senders SET free_at = CASE WHEN free_at > :now THEN free_at ELSE :now END + :length,
        texts = texts + :count, segments = segments + :size
    WHERE name = :sender AND free_at < :end RETURNING free_at - :length AS begins, paused_until
    """
)
"""Returns the moment at which all texts with an earlier slot would be sent."""


@dataclass(frozen=True)
class Total:
    """The texts and segments of one sender that got a slot, since its first text."""

    sender: str
    texts: int
    segments: int


def kind_of(sender: str) -> Kind:
    """Return the kind of this address of ours."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(sender)), Kind.OTHER_NUMBER)


def airtime(settings: Settings, sender: str, segments: int) -> timedelta:
    """Return how long the sender is busy with a text of so many segments. Off SMS each message counts as one."""
    return timedelta(seconds=segments / (settings.sender_rate or RATES[kind_of(sender)]))


def reserve(tx: Transaction, sender: str, segments: int, length: timedelta, expires_at: datetime) -> datetime | None:
    """Reserve a slot for a text of so many segments. Return its moment, now or later. ``length``: its airtime.

    Return ``None``, without a slot, if it would come too late because of the texts before. The row stays locked until
    the commit.
    """
    times = {"now": _micros(tx.now), "length": length // _MICRO, "end": _micros(expires_at + BURST)}
    asked: dict[str, str | int] = {"sender": sender, "size": segments, "count": 1, **times}
    row = _take(tx, asked)
    if row is None:
        return None
    slot = _moment(row.begins) - BURST
    return max(tx.now, slot, moment(row.paused_until) or slot)


def reserve_many(
    tx: Transaction, sender: str, segments: Sequence[int], length: Callable[[int], timedelta], expires_at: datetime
) -> list[datetime] | None:
    """Reserve the slots of several texts with so many segments, in order. ``length``: the airtime of so many.

    Return ``None``, without a slot, if the last one would come too late.
    """
    lengths = [length(each) for each in segments]
    whole = sum(lengths, timedelta(0))
    times = {"now": _micros(tx.now), "length": whole // _MICRO, "end": _micros(expires_at - whole + BURST)}
    asked: dict[str, str | int] = {"sender": sender, "size": sum(segments), "count": len(segments), **times}
    row = _take(tx, asked)
    if row is None:
        return None
    begin, paused_until = _moment(row.begins) - BURST, moment(row.paused_until)
    befores = itertools.accumulate(lengths[:-1], initial=timedelta(0))
    return [max(tx.now, begin + before, paused_until or tx.now) for before in befores]


def kept_slot(tx: Transaction, sender: str, slot: datetime) -> datetime:
    """Return a slot that was reserved before: unchanged, or at the end of the sender's pause."""
    paused_until = tx.session.scalar(select(Sender.paused_until).where(Sender.name == sender))
    return max(slot, paused_until or slot)


def pause_sender(tx: Transaction, sender: str, tried_at: datetime) -> datetime:
    """Pause a sender whose queue is full. Return the end of the pause.

    A refusal of a text that was sent before the pause began does not make it longer.
    """
    _ensure_row(tx, sender)
    row = tx.session.get_one(Sender, sender, with_for_update=True)
    if row.paused_until and tried_at < row.paused_until:
        return row.paused_until
    again = row.paused_until is not None and tried_at < row.paused_until + LONGEST_PAUSE
    row.refusals = row.refusals + 1 if again else 1
    row.paused_until = tx.now + min(SHORTEST_PAUSE * 2 ** min(row.refusals - 1, 10), LONGEST_PAUSE)
    log.warning("the queue of %s is full; it pauses until %s", masked(sender), row.paused_until)
    return row.paused_until


def totals(session: Session) -> list[Total]:
    """Return the totals of all senders, by name."""
    rows = session.execute(select(Sender.name, Sender.texts, Sender.segments).order_by(Sender.name))
    return [Total(*row) for row in rows]


def _take(tx: Transaction, asked: Mapping[str, str | int]) -> Any:
    """Move the sender's ``free_at``. A new sender gets its row first. Return ``None`` if that would be too late."""
    rows = _TAKE.run(tx, **asked)
    if not rows:
        _ensure_row(tx, str(asked["sender"]))
        rows = _TAKE.run(tx, **asked)
    return rows[0] if rows else None


def _ensure_row(tx: Transaction, sender: str) -> None:
    first = insert_if_new(tx.session, Sender).values(name=sender, free_at=_micros(tx.now))
    tx.session.execute(first.on_conflict_do_nothing())


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICRO


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
