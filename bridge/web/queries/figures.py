"""How many texts came and went, by the hour, and how many answers were fast: for the plots of the console.

The rows of an hour are found by their ids, which grow with the time, so no index over times is needed. An hour that is
over is counted once in each process, and kept: at most 30 days of them. Statements are small, so the first count of a
process takes seconds in a long history, and none of its statements does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

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

WINDOW = 50_000
"""Messages that one statement counts."""

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


T = TypeVar("T")
Counter = Callable[[Session, "Window"], Iterable[tuple[int, T]]]
"""It counts the messages of a window, and returns what it has found for each hour."""


@dataclass(frozen=True)
class Window:
    """Some messages: from one id to another, and not older than a moment."""

    first: int
    last: int
    since: datetime
    now: datetime


class Figures:
    """The counts of this process."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._texts = _Hours(_texts, DAY * (DAYS + 1))
        self._shares = _Hours(_shares, DAY)
        self._lock = threading.Lock()

    def read(self) -> Shown | None:
        """Return the figures up to now; ``None``: another request counts just now, and may take seconds at first."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            now = self._rt.now()
            with self._rt.database.read() as session:
                texts, shares = self._texts.read(session, now), self._shares.read(session, now)
        finally:
            self._lock.release()
        newest = _hour(now)
        hours = [_count(hour, texts) for hour in range(newest - DAY + 1, newest + 1)]
        asked, fast = (sum(pair[n] for pair in shares.values()) for n in (0, 1))
        return Shown(hours, _days(texts, now), Share(asked, fast))


class _Hours:
    """What was counted of each hour. Hours that are over are kept; the newest two are counted each time."""

    def __init__(self, count: Counter[tuple[int, int]], most: int) -> None:
        self._count = count
        self._most = most
        self._known: dict[int, tuple[int, int]] = {}
        self._next: int | None = None
        """The first hour that is not counted for good."""

    def read(self, session: Session, now: datetime) -> Mapping[int, tuple[int, int]]:
        """Count what is missing, in small statements, and return all."""
        newest = _hour(now)
        first = max(newest - self._most + 1, self._next or 0)
        found: dict[int, tuple[int, int]] = {}
        for window in _windows(session, _moment(first), now):
            for hour, (one, other) in self._count(session, window):
                before = found.get(hour, (0, 0))
                found[hour] = (before[0] + one, before[1] + other)
        kept = {hour: pair for hour, pair in self._known.items() if newest - self._most < hour < first}
        self._known, self._next = {**kept, **found}, newest - 1
        return self._known


def _windows(session: Session, since: datetime, now: datetime) -> Iterator[Window]:
    """Divide the messages since then. A statement over all of them would take too long."""
    start = first_id(session, since - SLACK)
    end = session.scalar(select(func.max(Message.id))) or 0
    for first in range(start, end + 1, WINDOW):
        yield Window(first, min(first + WINDOW - 1, end), since, now)


def _texts(session: Session, window: Window) -> Iterator[tuple[int, tuple[int, int]]]:
    """Count what came and what went."""
    hour = (_epoch(Message.created_at) // HOUR).label("hour")
    received = func.count().filter(Message.direction == Direction.IN)
    which = (*_within(window), Message.status != MessageStatus.DRAFT)
    for number, came, both in session.execute(select(hour, received, func.count()).where(*which).group_by(hour)):
        yield number, (came, both - came)


def _shares(session: Session, window: Window) -> Iterator[tuple[int, tuple[int, int]]]:
    """Count the texts that needed an answer, and those that had one within a minute. A newer text may still get one."""
    hour = (_epoch(Message.created_at) // HOUR).label("hour")
    answer = aliased(Message)
    waited = _epoch(answer.settled_at) - _epoch(Message.created_at)
    fast = exists().where(
        answer.turn_id == Message.turn_id,
        answer.direction == Direction.OUT,
        answer.status == MessageStatus.SENT,
        waited <= FAST,
    )
    old_enough = Message.created_at <= window.now - timedelta(seconds=FAST)
    which = (*_within(window), old_enough, Message.direction == Direction.IN, one_of(Message.status, NEEDS_ANSWER))
    counted = select(hour, func.count(), func.count().filter(fast)).where(*which).group_by(hour)
    for number, asked, quick in session.execute(counted):
        yield number, (asked, quick)


def _within(window: Window) -> tuple[ColumnElement[bool], ...]:
    """What an operator tells the agent is no text."""
    ids = Message.id.between(window.first, window.last)
    return ids, Message.created_at >= window.since, Message.instruction.is_(None)


def _count(hour: int, texts: Mapping[int, tuple[int, int]]) -> Count:
    return Count(_moment(hour), *texts.get(hour, (0, 0)))


def _days(hours: Mapping[int, tuple[int, int]], now: datetime) -> list[Count]:
    """Return the counts of each day in UTC."""
    today = _hour(now) // DAY
    shown = []
    for day in range(today - DAYS + 1, today + 1):
        its = [_count(hour, hours) for hour in range(day * DAY, (day + 1) * DAY)]
        shown.append(Count(_moment(day * DAY), sum(c.received for c in its), sum(c.sent for c in its)))
    return shown


def _epoch(column: Any) -> ColumnElement[int]:
    return cast(extract("epoch", column), BigInteger)


def _hour(at: datetime) -> int:
    return int(at.timestamp()) // HOUR


def _moment(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * HOUR, UTC)
