"""Senders: how fast each of our numbers, or the service that sends for them, may send.

The carrier queues what is too much, for hours; but what waits there can't be held back any more, and a full queue
refuses. So each text gets a place in the stream of its sender, in the order in which the conversations ask (GCRA): one
UPDATE of one row moves the moment ahead at which all that was given out would be sent. A few seconds' worth may go at
once; what comes later waits here until its place. How fast each kind of sender is: ``RATES``.

A sender whose queue is full all the same pauses, and whoever's place comes meanwhile waits for the end of that.

The same UPDATE counts what was given a place: no second one, and no sum over all texts, is needed to know it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import BigInteger, bindparam, case, select, update
from sqlalchemy.orm import Session

from bridge.config import Settings
from bridge.db.engine import insert_if_new
from bridge.db.models import Sender
from bridge.db.transaction import Transaction
from bridge.lib.phone import RCS, SHORT_CODE, TOLL_FREE, WHATSAPP, masked

log = logging.getLogger(__name__)

BURST = timedelta(seconds=10)
"""So much of what a sender may send goes at once; the carrier's queue holds 36,000 s' worth."""

SHORTEST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=5)
"""How long a sender whose queue is full is left alone: doubled each time that it is still, or again, full."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


class Kind(StrEnum):
    """What our address is; by that the carriers decide how fast it may send."""

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
"""The first that fits."""

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

What a North American number may do is written in its campaign and nowhere in its address: from 1 to 75 a second, to
each of the three large networks by itself. A default must not slow down the one with 75, so it is three times that; the
others set SENDER_RATE, or are slowed down when their queue is full, which takes 36,000 segments. A service has such
numbers, and a queue of its own.
"""


_NOW, _LENGTH, _SIZE, _END = (bindparam(name, type_=BigInteger) for name in ("now", "length", "size", "end"))
_TAKE = (
    update(Sender)
    .where(Sender.name == bindparam("sender"), Sender.free_at < _END)
    .values(
        free_at=case((Sender.free_at > _NOW, Sender.free_at), else_=_NOW) + _LENGTH,
        texts=Sender.texts + 1,
        segments=Sender.segments + _SIZE,
    )
    .returning(Sender.free_at - _LENGTH, Sender.paused_until)
)
"""Gives the moment at which all would be sent that has a place before. Written once, because every text runs it."""


@dataclass(frozen=True)
class Total:
    """How much one sender was given a place for, since its first text."""

    sender: str
    texts: int
    segments: int


def kind_of(sender: str) -> Kind:
    return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(sender)), Kind.OTHER_NUMBER)


def airtime(settings: Settings, sender: str, segments: int) -> timedelta:
    """How long the sender is busy with a text of so many segments; off SMS each message counts as one."""
    return timedelta(seconds=segments / (settings.sender_rate or RATES[kind_of(sender)]))


def reserve(tx: Transaction, sender: str, segments: int, length: timedelta, expires_at: datetime) -> datetime | None:
    """The moment from which a text of so many segments may go, now or later. ``length``: its airtime.

    ``None`` where so much has a place before it that it would be too late; then it takes none itself. The row stays
    locked until the commit.
    """
    times = {"now": _micros(tx.now), "length": length // _MICRO, "end": _micros(expires_at + BURST)}
    asked: dict[str, str | int] = {"sender": sender, "size": segments, **times}
    place = _take_slot(tx, asked)
    if place is None:
        _ensure_row(tx, sender)
        place = _take_slot(tx, asked)
    return place and max(tx.now, place)


def kept_slot(tx: Transaction, sender: str, place: datetime) -> datetime:
    """A place that was given out before: as it was, or at the end of the pause that the sender makes."""
    paused_until = tx.session.scalar(select(Sender.paused_until).where(Sender.name == sender))
    return max(place, paused_until or place)


def pause_sender(tx: Transaction, sender: str, tried_at: datetime) -> datetime:
    """The queue of this sender is full: it pauses. Returns until when.

    What was on its way when the pause began does not make it longer.
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
    """All senders, by name."""
    rows = session.execute(select(Sender.name, Sender.texts, Sender.segments).order_by(Sender.name))
    return [Total(*row) for row in rows]


def _take_slot(tx: Transaction, asked: Mapping[str, str | int]) -> datetime | None:
    taken = tx.session.connection().execute(_TAKE, asked).first()
    if taken is None:
        return None
    begin, paused_until = taken
    place = _moment(begin) - BURST
    return max(place, paused_until or place)


def _ensure_row(tx: Transaction, sender: str) -> None:
    first = insert_if_new(tx.session, Sender).values(name=sender, free_at=_micros(tx.now))
    tx.session.execute(first.on_conflict_do_nothing())


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICRO


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
