"""What was given up, for people to look at: turns that got no answer, and texts that could not be sent.

A text of a person that was given up is not listed by itself: its turn is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, Select, func, literal, null, or_, select, union_all
from sqlalchemy.sql.selectable import Subquery

from bridge.models import Conversation, Direction, Message, MessageStatus, Turn, TurnStatus
from bridge.paging import BadCursor, read_cursor, write_cursor
from bridge.runtime import Runtime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    MESSAGE = "message"
    TURN = "turn"


@dataclass(frozen=True)
class Failure:
    """One turn or one text that was given up."""

    kind: Kind
    id: int
    conversation_id: int
    phone: str
    at: datetime
    error: str | None
    error_code: int | None


@dataclass(frozen=True)
class Page:
    """Some failures, the newest first, and where the list goes on."""

    failures: list[Failure]
    next: str | None
    """Give it as ``cursor`` for the page that follows; ``None`` on the last one."""


def list_failures(rt: Runtime, *, limit: int = 50, cursor: str | None = None) -> Page:
    """One page of what was given up, the newest first. Raises :class:`~bridge.paging.BadCursor`."""
    every = union_all(_turns(), _messages()).subquery()
    query = select(every).order_by(every.c.at.desc(), every.c.kind.desc(), every.c.id.desc()).limit(limit + 1)
    if cursor:
        query = _after(query, every, cursor)
    with rt.sessions() as session:
        rows = session.execute(query).all()
    shown = [_failure(row) for row in rows[:limit]]
    return Page(shown, _cursor(shown[-1]) if len(rows) > limit else None)


def _turns() -> Select[*tuple[Any, ...]]:
    return (
        select(
            literal(Kind.TURN.value).label("kind"),
            Turn.id,
            Turn.conversation_id,
            Conversation.phone,
            func.coalesce(Turn.settled_at, Turn.created_at).label("at"),
            Turn.error,
            null().label("error_code"),
        )
        .join(Conversation)
        .where(Turn.status == TurnStatus.GIVEN_UP)
    )


def _messages() -> Select[*tuple[Any, ...]]:
    return (
        select(
            literal(Kind.MESSAGE.value).label("kind"),
            Message.id,
            Message.conversation_id,
            Conversation.phone,
            func.coalesce(Message.settled_at, Message.created_at).label("at"),
            Message.error,
            Message.error_code,
        )
        .join(Conversation)
        .where(Message.status == MessageStatus.GIVEN_UP, Message.direction == Direction.OUT)
    )


def _after(query: Select[*tuple[Any, ...]], every: Subquery, cursor: str) -> Select[*tuple[Any, ...]]:
    """Written out and not as a comparison of tuples, so that every column is bound with its own type."""
    microseconds, kind, row_id = read_cursor(cursor, int, str, int)
    try:
        at = EPOCH + timedelta(microseconds=int(microseconds))
    except OverflowError:
        raise BadCursor from None
    older = every.c.at < at
    other_kind = (every.c.at == at) & (every.c.kind < kind)
    same_kind = (every.c.at == at) & (every.c.kind == kind) & (every.c.id < row_id)
    return query.where(or_(older, other_kind, same_kind))


def _cursor(last: Failure) -> str:
    return write_cursor((last.at - EPOCH) // timedelta(microseconds=1), last.kind.value, last.id)


def _failure(row: Row[*tuple[Any, ...]]) -> Failure:
    return Failure(**{**row._mapping, "kind": Kind(row.kind)})
