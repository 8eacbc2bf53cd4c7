"""Ending chats: the decision that a chat is over, in its row.

    end_stale, end_one    ONGOING ──> ENDING    decided here; a worker is woken
    mark_ended                ENDING ──> ENDED  the provider has ended it, too

The call to the provider: ``bridge.chats.end_task``. Missed wake-ups: ``bridge.maintenance.sweep``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache

from sqlalchemy import ColumnElement, Select, bindparam, exists, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from bridge.db.models import Chat, ChatStatus, Conversation, Holder, Turn, TurnStatus
from bridge.db.transaction import Transaction
from bridge.runtime import Runtime

TASK = "end_chat"
"""The task that ends a chat at its provider."""

RETRY_END_AFTER = timedelta(seconds=30)
"""The pause between two attempts to end a chat at its provider."""

DEFAULT_IDLE = timedelta(hours=24)
"""How long a stale chat is idle, if neither STALE_AFTER nor the operator's request says it."""

STALE = "stale"
BY_OPERATOR = "ended by an operator"


Note = Callable[[Transaction, list[int]], None]
"""It records more about the chats that are ended, in the same transaction."""


def _nothing(tx: Transaction, chat_ids: list[int]) -> None:
    pass


class Outcome(StrEnum):
    """The result of a request to end one chat."""

    QUEUED = "queued"
    UNKNOWN = "unknown"
    ENDED_ALREADY = "ended_already"


@dataclass(frozen=True)
class Ending:
    """A chat that is to be ended at its provider."""

    provider: str
    chat_id: str
    """The provider's own id of it."""


@dataclass(frozen=True)
class StaleResult:
    """The number of stale chats, up to the limit, and of those that are being ended."""

    matched: int
    queued: int
    chat_ids: list[int]


# -- end -----------------------------------------------------------------------------------------------------------


def end_stale(
    rt: Runtime, idle: timedelta, *, limit: int = 1000, dry_run: bool = False, note: Note = _nothing
) -> StaleResult:
    """End the chats that have been idle for so long, the longest idle first."""
    cutoff = rt.now() - idle
    if dry_run:
        with rt.database.read() as session:
            found = list(session.scalars(_stale(cutoff, limit)))
        return StaleResult(matched=len(found), queued=0, chat_ids=found)
    ended = mark_ending(rt, cutoff, limit, note)
    return StaleResult(matched=len(ended), queued=len(ended), chat_ids=ended)


def mark_ending(rt: Runtime, cutoff: datetime, limit: int, note: Note = _nothing) -> list[int]:
    """Mark the chats that are idle since before ``cutoff``, and wake a worker for each. Return their ids.

    A chat that becomes active meanwhile is left alone: PostgreSQL checks a row again when it locks it. A locked row is
    skipped, because another transaction is using the chat.
    """
    # In a CTE the choice is made once; in a plain IN (…) the planner may make it again, and go over the limit.
    chosen = _stale(cutoff, limit).with_for_update(skip_locked=True).cte("chosen")
    with rt.database.transaction() as tx:
        marked = mark(tx, Chat.id.in_(select(chosen.c.id)), STALE)
        note(tx, marked)
        return marked


def end_one(rt: Runtime, chat_id: int, note: Note = _nothing) -> Outcome:
    """End this chat, stale or not, because an operator asks for it."""
    with rt.database.transaction() as tx:
        if marked := mark(tx, (Chat.id == chat_id) & (Chat.status == ChatStatus.ONGOING), BY_OPERATOR):
            note(tx, marked)
            return Outcome.QUEUED
        known = tx.session.scalar(select(Chat.id).where(Chat.id == chat_id))
    return Outcome.ENDED_ALREADY if known else Outcome.UNKNOWN


def ending(rt: Runtime, chat_id: int) -> Ending | None:
    """Return the chat as its provider knows it. Return ``None`` if the chat is not to be ended there, or not yet.

    A chat in which a turn is being asked is not ended yet: the answer would be lost.
    """
    being_asked = exists().where(Turn.chat_id == chat_id, Turn.status == TurnStatus.ASKING)
    which = (Chat.id == chat_id, Chat.status == ChatStatus.ENDING, ~being_asked)
    with rt.database.read() as session:
        chat = session.execute(select(Chat.provider, Chat.provider_chat_id).where(*which)).first()
    return Ending(*chat) if chat else None


def mark(tx: Transaction, which: ColumnElement[bool], reason: str) -> list[int]:
    """Mark chats to be ended, and wake a worker for each. Return their ids, in order."""
    ending = {"status": ChatStatus.ENDING, "end_reason": reason, "due_at": tx.now}
    marked = sorted(tx.session.scalars(update(Chat).where(which).values(ending).returning(Chat.id)))
    for chat_id in marked:
        tx.wake(TASK, chat_id)
    return marked


def mark_ended(rt: Runtime, chat_id: int) -> bool:
    """Record that the chat has ended at the provider. The reason stays. Return False if that is recorded already."""
    ended = (
        update(Chat)
        .where(Chat.id == chat_id, Chat.status != ChatStatus.ENDED)
        .values(status=ChatStatus.ENDED, ended_at=rt.now(), due_at=None)
        .returning(Chat.id)
    )
    with rt.database.transaction() as tx:
        return tx.session.scalar(ended) is not None


def wake_for_endings(rt: Runtime, limit: int) -> None:
    """Wake workers for the chats that are still to be ended at their provider.

    The next attempt of each is scheduled in the same commit, so that two sweepers wake once.
    """
    now = rt.now()
    values = {"now": now, "next_try": now + RETRY_END_AFTER, "most": limit}
    with rt.database.transaction() as tx:
        for chat_id in sorted(tx.session.scalars(_due_endings(), values)):
            tx.wake(TASK, chat_id)


_IS_DUE = (Chat.status == ChatStatus.ENDING, Chat.due_at <= bindparam("now"))

ANY_DUE = exists().where(*_IS_DUE)
"""Whether a chat is to be ended at its provider ``now``."""


@cache
def _due_endings() -> ReturningUpdate[int]:
    due = select(Chat.id).where(*_IS_DUE).order_by(Chat.due_at).limit(bindparam("most"))
    chosen = due.with_for_update(skip_locked=True).cte("due")
    claimed = update(Chat).where(Chat.id.in_(select(chosen.c.id))).values(due_at=bindparam("next_try"))
    return claimed.returning(Chat.id)


def _stale(cutoff: datetime, limit: int) -> Select[int]:
    """Select ongoing, idle chats without waiting work: an open turn or a waiting text keeps the queue due.

    A chat that a human has may be in use at the provider.
    """
    return (
        select(Chat.id)
        .join(Conversation)
        .where(
            Chat.status == ChatStatus.ONGOING,
            Chat.last_activity_at < cutoff,
            Conversation.turn_due_at.is_(None),
            Conversation.holder == Holder.AGENT,
        )
        .order_by(Chat.last_activity_at, Chat.id)
        .limit(limit)
    )
