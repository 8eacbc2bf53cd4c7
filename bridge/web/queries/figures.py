"""How many texts came and went, by the hour, and how many answers were fast: for the plots of the console.

The rows of an hour are found by their ids, which grow with the time, so no index over times is needed. An hour that is
over is counted once in each process, and kept: at most 30 days of them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, cast, exists, func, select
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.expression import extract

from bridge.db.models import Direction, Message, MessageStatus, one_of
from bridge.runtime import Runtime
from bridge.web.queries.period import first_id

HOUR = 3600
DAY = 24
DAYS = 30

FAST = 60
"""Seconds in which an answer is fast."""

SLACK = timedelta(minutes=5)
"""Two rows with ids in order may have times that differ by this the other way."""

NEEDS_ANSWER = (
    MessageStatus.WAITING,
    MessageStatus.IN_TURN,
    MessageStatus.ANSWERED,
    MessageStatus.GIVEN_UP,
    MessageStatus.HANDLED,
)


@dataclass(frozen=True)
class Count:
    """The texts of one hour or one day."""

    at: datetime
    """When it began."""
    received: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Share:
    """The texts of the last day that needed an answer, and how many of them had one within a minute."""

    asked: int
    fast: int

    @property
    def percent(self) -> int | None:
        return round(100 * self.fast / self.asked) if self.asked else None


@dataclass(frozen=True)
class Shown:
    """All figures, the oldest first."""

    hours: Sequence[Count]
    days: Sequence[Count]
    share: Share


class Figures:
    """The counts of this process."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._hours: dict[int, Count] = {}
        self._lock = threading.Lock()

    def read(self) -> Shown:
        """Return the figures up to now."""
        newest = _hour(self._rt.now())
        with self._lock:
            counted = self._count(newest)
        hours = [counted.get(hour, Count(_moment(hour))) for hour in range(newest - DAY + 1, newest + 1)]
        with self._rt.database.read() as session:
            share = _share(session, self._rt.now())
        return Shown(hours, _days(counted, self._rt.now()), share)

    def _count(self, newest: int) -> Mapping[int, Count]:
        """Count the hours that are not counted for good. The newest two are counted each time."""
        first = newest - DAY * (DAYS + 1)
        known = {hour: count for hour, count in self._hours.items() if first <= hour < newest - 1}
        missing = max(known, default=first - 1) + 1
        with self._rt.database.read() as session:
            new = _counts(session, _moment(missing))
        empty = {hour: Count(_moment(hour)) for hour in range(missing, newest + 1)}
        self._hours = {**known, **empty, **new}
        return self._hours


def _counts(session: Session, since: datetime) -> dict[int, Count]:
    hour = (_epoch(Message.created_at) // HOUR).label("hour")
    counted = Message.instruction.is_(None) & (Message.status != MessageStatus.DRAFT)
    which = (Message.id >= first_id(session, since - SLACK), Message.created_at >= since, counted)
    received = func.count().filter(Message.direction == Direction.IN)
    rows = session.execute(select(hour, received, func.count()).where(*which).group_by(hour))
    return {number: Count(_moment(number), came, both - came) for number, came, both in rows}


def _share(session: Session, now: datetime) -> Share:
    """A text that is younger than a minute may still get its answer in time, and does not count."""
    since, until = now - timedelta(days=1), now - timedelta(seconds=FAST)
    answer = aliased(Message)
    waited = _epoch(answer.settled_at) - _epoch(Message.created_at)
    fast = exists().where(
        answer.turn_id == Message.turn_id,
        answer.direction == Direction.OUT,
        answer.status == MessageStatus.SENT,
        waited <= FAST,
    )
    which = (
        Message.id >= first_id(session, since - SLACK),
        Message.created_at.between(since, until),
        Message.direction == Direction.IN,
        Message.instruction.is_(None),
        one_of(Message.status, NEEDS_ANSWER),
    )
    asked, quick = session.execute(select(func.count(), func.count().filter(fast)).where(*which)).one()
    return Share(asked, quick)


def _days(hours: Mapping[int, Count], now: datetime) -> list[Count]:
    """Return the counts of each day in UTC."""
    today = _hour(now) // DAY
    shown = []
    for day in range(today - DAYS + 1, today + 1):
        its = [hours[hour] for hour in range(day * DAY, (day + 1) * DAY) if hour in hours]
        shown.append(Count(_moment(day * DAY), sum(c.received for c in its), sum(c.sent for c in its)))
    return shown


def _epoch(column: Any) -> ColumnElement[int]:
    return cast(extract("epoch", column), BigInteger)


def _hour(at: datetime) -> int:
    return int(at.timestamp()) // HOUR


def _moment(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * HOUR, UTC)
