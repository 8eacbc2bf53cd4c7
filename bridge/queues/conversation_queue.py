"""The waiting line of a conversation: claim, hold, settle, postpone, ring.

Each conversation has two lines, its turns (what goes to the agent) and its deliveries (what goes to the phone). A line
is worked off by one worker at a time, one piece after the other. Four columns of ``conversations`` are all of it:

- ``due_at``    somebody must look at the line at this moment or later; NULL when nothing waits
- ``claim``     counts the claims; whoever settles must still hold the newest
- ``worker``    who holds the claim, so that a dead worker's work is found before its booking ends
- ``notified_at``   when the bell was last rung for it

People type in pieces. Where ``REPLY_DEBOUNCE`` is set, the line of turns has a fifth: ``debounce_deadline``. While it
is set, no turn is open, and each new text moves ``due_at`` ahead, but never past it; a claim ends that.

The statements that every text runs are built once for each line: to build one takes longer than to run it.

A claim moves ``due_at`` ahead *before* any work is done. A worker that dies therefore leaves nothing locked: the line
comes due again by itself, and sooner still when the worker is seen to be dead. A worker that is late finds that the
claim has moved on (:class:`Outlived`) and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, case, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.dml import ReturningUpdate

from bridge.config import DEBOUNCE_AT_MOST
from bridge.db.models import UNSENT, Conversation, Message, MessageStatus, UtcDateTime, Worker
from bridge.lib.errors import BridgeError

RENOTIFY_AFTER = timedelta(seconds=20)
"""A ring that was followed by nothing for so long is taken for lost. Shorter would pile up rings in a busy broker."""

STALLED_AFTER = timedelta(seconds=20)
"""A worker without a heartbeat for so long has stalled; it beats every few seconds (``bridge.queues.heartbeat``)."""

MAX_CLOCK_SKEW = timedelta(seconds=1)
"""By so much at most, or the ring for what is due at once comes too early by the clock of the worker who hears it, and
is spent. So what is due at once has been due for so long already.
"""

LONGEST_BACKOFF = 25.0
"""Seconds. When a fault is over, nobody should wait for half a minute more."""


class LeaseLost(BridgeError):
    """The claim has passed to somebody else: what this worker found out no longer counts."""


LONGEST_RETRY_AFTER = 300.0
"""Seconds. A vendor that asks for a day would cost every text; to ask once in five minutes harms nobody."""


@dataclass(frozen=True, eq=False)  # told apart by identity: comparing columns makes SQL
class ConversationQueue:
    """One of the two lines of a conversation."""

    task: str
    """What is rung for it."""
    due_at: InstrumentedAttribute[datetime | None]
    lease_token: InstrumentedAttribute[int]
    leased_by: InstrumentedAttribute[str | None]
    notified_at: InstrumentedAttribute[datetime | None]
    waiting: tuple[MessageStatus, ...]
    """A line with a message in one of these states is not empty."""
    debounce_deadline: ColumnElement[datetime | None] | None = None
    """Where the line waits for people who are still typing: the end of that, whatever they do."""


TURNS = ConversationQueue(
    task="process_turns",
    due_at=Conversation.turn_due_at,
    lease_token=Conversation.turn_lease_token,
    leased_by=Conversation.turn_leased_by,
    notified_at=Conversation.turn_notified_at,
    waiting=(MessageStatus.WAITING,),
    debounce_deadline=Conversation.__table__.c.turn_debounce_deadline,
)
DELIVERIES = ConversationQueue(
    task="process_deliveries",
    due_at=Conversation.delivery_due_at,
    lease_token=Conversation.delivery_lease_token,
    leased_by=Conversation.delivery_leased_by,
    notified_at=Conversation.delivery_notified_at,
    waiting=UNSENT,
)
QUEUES = (TURNS, DELIVERIES)


@dataclass(frozen=True)
class Lease:
    """The right to work on a line until the booking ends."""

    queue: ConversationQueue
    conversation_id: int
    token: int
    worker: str

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of the bind parameters that name this claim."""
        return {"conversation": self.conversation_id, "token": self.token, "leased_by": self.worker}


_NOW = bindparam("now", type_=UtcDateTime)
_UNTIL = bindparam("until", type_=UtcDateTime)
_CONVERSATION: BindParameter[int] = bindparam("conversation")


def enqueue(queue: ConversationQueue, now: datetime, quiet: timedelta | None = None) -> dict[Any, Any]:
    """What an UPDATE of the conversation sets when work is added. A booking or a pause that is running stays.

    So does the mark of the last ring, where work waits already: somebody who texts again and again must not hide from
    the sweeper that no ring is heard.
    """
    empty = queue.due_at.is_(None)
    woken = {queue.notified_at: case((empty, now), else_=queue.notified_at)}
    if quiet is None or queue.debounce_deadline is None:
        return {queue.due_at: func.coalesce(queue.due_at, now - MAX_CLOCK_SKEW), **woken}
    later, latest = now + quiet, now + quiet * DEBOUNCE_AT_MOST
    still_typing = case((queue.debounce_deadline < later, queue.debounce_deadline), else_=later)
    return {
        queue.due_at: case((empty, later), (queue.debounce_deadline.is_not(None), still_typing), else_=queue.due_at),
        queue.debounce_deadline: case((empty, latest), else_=queue.debounce_deadline),
        **woken,
    }


def claim(
    session: Session,
    queue: ConversationQueue,
    conversation_id: int,
    *,
    worker: str,
    now: datetime,
    lease_for: timedelta,
) -> Lease | None:
    """Book the line if it is due; ``None`` when it is empty, pausing or in other hands."""
    claimed = {"conversation": conversation_id, "leased_by": worker, "now": now, "until": now + lease_for}
    token = session.scalar(_claim(queue), claimed)
    return None if token is None else Lease(queue, conversation_id, token, worker)


@cache
def _claim(queue: ConversationQueue) -> ReturningUpdate[int]:
    return (
        update(Conversation)
        .where(Conversation.id == _CONVERSATION, queue.due_at <= _NOW)
        .values(
            {
                queue.due_at: _UNTIL,
                queue.lease_token: queue.lease_token + 1,
                queue.leased_by: bindparam("leased_by"),
                **_end_debounce(queue),
            }
        )
        .returning(queue.lease_token)
    )


def verify_lease(session: Session, lease: Lease) -> None:
    """Make sure that the claim is still ours, and keep it so until the transaction ends. Raises :class:`Outlived`."""
    if session.scalar(_verify_lease(lease.queue), lease.parameters) is None:
        raise _lease_lost(lease)


@cache
def _verify_lease(queue: ConversationQueue) -> Select[int]:
    return select(Conversation.id).where(*_mine(queue)).with_for_update()


def settle(session: Session, lease: Lease, now: datetime, quiet: timedelta | None = None) -> None:
    """This piece is done: the line is due at once if another waits, else empty.

    The row is locked first and the look comes after, so that a text which arrives meanwhile is either seen here or
    finds the line empty and makes it due itself.
    """
    postpone(session, lease, None)
    first, last = session.execute(_waiting(lease.queue), {"conversation": lease.conversation_id}).one()
    if first:
        session.execute(
            update(Conversation)
            .where(Conversation.id == lease.conversation_id)
            .values(
                {
                    lease.queue.due_at: now - MAX_CLOCK_SKEW,
                    lease.queue.notified_at: now,
                    **_debounce(lease.queue, first, last, now, quiet),
                }
            )
        )


@cache
def _waiting(queue: ConversationQueue) -> Select[datetime, datetime]:
    waits = (Message.conversation_id == _CONVERSATION, Message.status.in_(queue.waiting))
    return select(func.min(Message.created_at), func.max(Message.created_at)).where(*waits)


def postpone(session: Session, lease: Lease, due_at: datetime | None) -> None:
    """Let go of the claim; the line is due again at that moment. Raises :class:`Outlived`."""
    if session.scalar(_release_until(lease.queue), {**lease.parameters, "until": due_at}) is None:
        raise _lease_lost(lease)


@cache
def _release_until(queue: ConversationQueue) -> ReturningUpdate[int]:
    let_go = update(Conversation).where(*_mine(queue)).values({queue.due_at: _UNTIL, queue.leased_by: None})
    return let_go.returning(Conversation.id)


def resume(queue: ConversationQueue, now: datetime) -> dict[Any, Any]:
    """What an UPDATE sets when the pause of a line has lost its reason; a claim in somebody's hands stays."""
    return {queue.due_at: _unless_leased(queue, now), queue.notified_at: now}


def revoke(queue: ConversationQueue, now: datetime) -> dict[Any, Any]:
    """What an UPDATE sets when the work in hand has lost its reason: whoever holds the claim will have outlived it."""
    return {
        queue.lease_token: queue.lease_token + 1,
        queue.leased_by: None,
        queue.due_at: now - MAX_CLOCK_SKEW,
        queue.notified_at: now,
    }


def reclaim_stalled(session: Session, queue: ConversationQueue, now: datetime) -> int:
    """Make due at once what dead workers hold. Returns how many lines that were."""
    dead = {"at_once": now - MAX_CLOCK_SKEW, "alive": now - STALLED_AFTER}
    return len(session.scalars(_reclaim_stalled(queue), dead).all())


@cache
def _reclaim_stalled(queue: ConversationQueue) -> ReturningUpdate[int]:
    alive = select(Worker.id).where(Worker.last_heartbeat_at > bindparam("alive"))
    return _free(queue, queue.leased_by.is_not(None), queue.leased_by.not_in(alive))


def leases_of(
    session: Session, queue: ConversationQueue, worker: str, conversation_id: int | None = None
) -> list[Lease]:
    """What this worker has claimed of one kind of line, as the table tells it; in one conversation, or in all."""
    held = select(Conversation.id, queue.lease_token).where(queue.leased_by == worker)
    if conversation_id is not None:
        held = held.where(Conversation.id == conversation_id)
    return [Lease(queue, conversation_id, token, worker) for conversation_id, token in session.execute(held)]


def release(session: Session, lease: Lease, now: datetime) -> bool:
    """Make due at once what was claimed and is not being worked on; False when that is no longer so."""
    dropped = {**lease.parameters, "at_once": now - MAX_CLOCK_SKEW}
    return session.scalar(_free(lease.queue, *_mine(lease.queue)), dropped) is not None


def find_unnotified(session: Session, queue: ConversationQueue, now: datetime, limit: int) -> Sequence[int]:
    """Conversations whose line is due and whom nobody has told, or told so long ago that the ring was lost.

    They are marked as rung in the same statement, so that two sweepers at once do not ring twice. The one that has
    waited longest comes first: behind all the others comes who has just brought a hold about, maybe alone to blame.
    """
    rows = session.execute(_find_unnotified(queue), {"now": now, "lost": now - RENOTIFY_AFTER, "most": limit})
    return [conversation_id for _, conversation_id in sorted((due_at, id_) for id_, due_at in rows)]


@cache
def _find_unnotified(queue: ConversationQueue) -> ReturningUpdate[int, datetime | None]:
    nobody_told = or_(
        queue.notified_at.is_(None), queue.notified_at < queue.due_at, queue.notified_at < bindparam("lost")
    )
    told = queue.notified_at >= queue.due_at
    # Whoever waits for a vendor on hold was told, and is told again: they must not keep out who was never told.
    first = case((told, 1), else_=0), case((told, queue.notified_at), else_=queue.due_at)
    due = select(Conversation.id).where(queue.due_at <= _NOW, nobody_told).order_by(*first)
    # In a CTE the choice is made once; in a plain IN (…) the planner may make it again, and go over the limit.
    chosen = due.limit(bindparam("most")).with_for_update(skip_locked=True).cte("due")
    marked = update(Conversation).where(Conversation.id.in_(select(chosen.c.id))).values({queue.notified_at: _NOW})
    return marked.returning(Conversation.id, queue.due_at)


def oldest_due(session: Session, now: datetime) -> datetime | None:
    """Since when the longest-waiting line is due, of those that are not in somebody's hands."""
    due = [session.scalar(select(func.min(each.due_at)).where(each.due_at <= now)) for each in QUEUES]
    return min(filter(None, due), default=None)


def count_due(session: Session, queue: ConversationQueue, now: datetime) -> int:
    """How many lines of this kind are due and in nobody's hands, those included whose vendor is on hold."""
    return session.scalar(select(func.count(queue.due_at)).where(queue.due_at <= now)) or 0


def backoff(attempts: int, retry_after: float | None = None) -> timedelta:
    """How long to wait after this many attempts: 1 s, doubled each time, or what the vendor asks for."""
    seconds = min(2.0 ** min(attempts - 1, 10), LONGEST_BACKOFF)
    return timedelta(seconds=max(seconds, min(retry_after or 0.0, LONGEST_RETRY_AFTER)))


def _free(queue: ConversationQueue, *which: ColumnElement[bool]) -> ReturningUpdate[int]:
    """Rows that somebody has locked are left for the next time: a halted process must not hold up all the others."""
    free = select(Conversation.id).where(*which).with_for_update(skip_locked=True).cte("free")
    freed = update(Conversation).where(Conversation.id.in_(select(free.c.id)))
    at_once = bindparam("at_once", type_=UtcDateTime)
    return freed.values({queue.due_at: at_once, queue.leased_by: None, queue.notified_at: None}).returning(
        Conversation.id
    )


def _mine(queue: ConversationQueue) -> tuple[ColumnElement[bool], ...]:
    """A claim that was let go is not ours any more either: a commit that is tried twice counts once."""
    return (
        Conversation.id == _CONVERSATION,
        queue.lease_token == bindparam("token"),
        queue.leased_by == bindparam("leased_by"),
    )


def _lease_lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"another worker has taken over {lease.queue.task} of conversation {lease.conversation_id}")


def _end_debounce(queue: ConversationQueue) -> dict[Any, Any]:
    return {} if queue.debounce_deadline is None else {queue.debounce_deadline: None}


def _debounce(
    queue: ConversationQueue, first: datetime, last: datetime, now: datetime, quiet: timedelta | None
) -> dict[Any, Any]:
    """What changes where texts wait whose writer may not be through: as if the line had been empty when they came."""
    if quiet is None or queue.debounce_deadline is None:
        return {}
    latest = first + quiet * DEBOUNCE_AT_MOST
    due_at = min(last + quiet, latest)
    return {queue.due_at: due_at, queue.debounce_deadline: latest} if due_at > now else {}


def _unless_leased(queue: ConversationQueue, now: datetime) -> Any:
    return case((queue.leased_by.is_(None), now - MAX_CLOCK_SKEW), else_=queue.due_at)
