"""The query behind the feed: conversations that have changed, new rows of the audit, and the pause."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.db.models import Audit, Conversation
from bridge.lib.errors import BridgeError
from bridge.queues import pause
from bridge.runtime import Runtime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

OVERLAP = timedelta(seconds=10)
"""How far each read goes back: a transaction may be committed so long after its moment, on a clock that is late."""

BACK = 200
"""Rows of the audit for the same. Their ids are given before their commits."""

MOST = 5000
"""Rows of a kind in one read, the newest. A client that is further behind is told to read everything anew."""

_POSITION = re.compile(r"([0-9]{1,16})-([0-9]{1,18})-([0-9]{1,16})")


class BadPosition(BridgeError):
    """A Last-Event-ID that no event has had."""


@dataclass(frozen=True)
class Change:
    """One event. ``data`` is JSON without a word of a person."""

    kind: str
    id: int
    at: int
    """Microseconds since 1970."""
    data: str


@dataclass(frozen=True)
class Position:
    """What a client has got: everything up to a moment, a row of the audit, and the beginning of the pause."""

    at: int
    audit: int = 0
    """0: the client has seen no row, and wants no old one."""
    paused: int = 0

    @classmethod
    def at_moment(cls, now: datetime) -> Position:
        return cls(_microseconds(now))

    @classmethod
    def read(cls, words: str) -> Position:
        """Return the position that was written so. Raise :class:`BadPosition`."""
        found = _POSITION.fullmatch(words)
        if not found:
            raise BadPosition("is not the id of an event")
        return cls(*map(int, found.groups()))

    def __str__(self) -> str:
        return f"{self.at}-{self.audit}-{self.paused}"

    def after(self, change: Change) -> Position:
        """Return the position of a client that has got this change too."""
        match change.kind:
            case "conversation":
                return replace(self, at=max(self.at, change.at))
            case "audit":
                return replace(self, audit=max(self.audit, change.id))
            case "pause":
                return replace(self, paused=change.at)
            case _:
                return self


@dataclass(frozen=True)
class Found:
    """What one read has found, in order, and the position behind it."""

    changes: Sequence[Change]
    position: Position
    cut_off_at: int | None = None
    """Changes before this moment were too many."""

    def of(self, position: Position) -> list[Change]:
        """Return what a client at this position must get. It may have got some of it already."""
        since = position.at - OVERLAP // timedelta(microseconds=1)
        news = [each for each in self.changes if _is_news(each, position, since)]
        if self.cut_off_at is not None and since < self.cut_off_at:
            return [Change("reset", 0, 0, "{}"), *news]
        return news


def _is_news(change: Change, position: Position, since: int) -> bool:
    match change.kind:
        case "audit":
            return change.at > since if not position.audit else change.id > position.audit or change.at > since
        case "pause":
            return change.at != position.paused
        case _:
            return change.at > since


def earliest(positions: Sequence[Position]) -> Position:
    """Return the position from which a read finds the news of all of these."""
    audit = min((each.audit for each in positions if each.audit), default=0)
    return Position(min(each.at for each in positions), audit)


def read(rt: Runtime, position: Position) -> Found:
    """Return what has changed since this position."""
    now = _microseconds(rt.now())
    with rt.database.read() as session:
        conversations, cut_off_at = _conversations(session, position)
        newest = session.scalar(select(func.max(Audit.id))) or 0
        audit = _audit(session, position.audit or newest)
        paused = _pause(session)
    newest_change = min(now, max((each.at for each in conversations), default=0))  # a clock may be ahead
    behind = Position(max(position.at, newest_change), newest, paused.at)
    return Found([*conversations, *audit, paused], behind, cut_off_at)


def _conversations(session: Session, position: Position) -> tuple[list[Change], int | None]:
    since = EPOCH + timedelta(microseconds=position.at) - OVERLAP
    columns = (Conversation.id, Conversation.changed_at)
    query = select(*columns).where(Conversation.changed_at > since)
    rows = session.execute(query.order_by(Conversation.changed_at.desc(), Conversation.id.desc()).limit(MOST)).all()
    found = [
        Change("conversation", row.id, _microseconds(row.changed_at), json.dumps({"id": row.id}))
        for row in reversed(rows)
    ]
    return found, found[0].at if len(found) == MOST else None


def _audit(session: Session, after: int) -> list[Change]:
    query = select(Audit).where(Audit.id > after - BACK).order_by(Audit.id.desc()).limit(MOST)
    return [
        Change("audit", row.id, _microseconds(row.at), json.dumps(_entry(row)))
        for row in reversed(session.scalars(query).all())
    ]


def _entry(row: Audit) -> dict[str, str | int | None]:
    return {"id": row.id, "operator": row.operator, "action": row.action, "conversation_id": row.conversation_id}


def _pause(session: Session) -> Change:
    """Return the pause as a change. Without one, its moment is 0."""
    paused = pause.read(session)
    if paused is None:
        return Change("pause", 0, 0, json.dumps({"paused": False}))
    data = {"paused": True, "operator": paused.operator, "since": paused.since.isoformat()}
    return Change("pause", 0, _microseconds(paused.since), json.dumps(data))


def _microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)
