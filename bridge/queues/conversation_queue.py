"""The durable queue of a conversation: claim, verify, settle, postpone, release.

Each conversation has two queues: its turns (texts for the agent) and its deliveries (texts for the phone). One worker
at a time works on a queue, and only on its head. Four columns of ``conversations`` are the whole queue:

- ``due_at``       a worker must look at the queue at this moment or later; NULL when nothing waits
- ``lease_token``  the number of the newest lease; a worker must hold it to settle (a fencing token)
- ``leased_by``    the worker that holds the lease, so that the work of a stalled worker is found before its lease ends
- ``notified_at``  when a worker was told of this queue by its id; NULL: the next fetch finds it

A claim moves ``due_at`` to the end of the lease *before* any work is done. A worker that dies leaves nothing locked:
the queue comes due again, and sooner when the worker is seen to be stalled. A worker that is late finds a newer token
(:class:`LeaseLost`) and changes nothing.

People type in pieces. Where ``REPLY_DEBOUNCE`` is set, the queue of turns has a fifth column, ``debounce_deadline``.
While it is set no turn is open, and each new text moves ``due_at`` ahead, but never past it. A claim ends that.

The order of locks is the same everywhere: an idempotency key, then opt-outs, then conversations by id, then all other
rows. Of these, senders come before circuit breakers, and breakers are locked by scope. The update of a contact is last,
and so is a notice to the team.
``tests/queues/test_lock_order.py`` holds it. Messages, chats and turns have no fixed place among the others: only a
transaction with their conversation's lock writes them, except for a report about a text that was sent already. A
statement that skips locked rows may come at any point, because it never waits.

The statements that every text runs are built once for each queue: building one takes longer than running it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Engine,
    Select,
    Update,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.dml import ReturningUpdate

from bridge.config import DEBOUNCE_AT_MOST
from bridge.db.models import UNSENT, Conversation, Message, MessageStatus, UtcDateTime, Worker
from bridge.db.statements import Statement
from bridge.db.transaction import Database, Transaction
from bridge.lib.errors import BridgeError
from bridge.queues.timing import MAX_CLOCK_SKEW, RENOTIFY_AFTER, STALLED_AFTER


class LeaseLost(BridgeError):
    """Another worker has the lease now. This worker's result no longer counts."""


@dataclass(frozen=True, eq=False)  # compared by identity: comparing columns makes SQL
class ConversationQueue:
    """One of the two queues of a conversation."""

    task: str
    """The task that a wake-up asks for."""
    due_at: InstrumentedAttribute[datetime | None]
    lease_token: InstrumentedAttribute[int]
    leased_by: InstrumentedAttribute[str | None]
    notified_at: InstrumentedAttribute[datetime | None]
    waiting: tuple[MessageStatus, ...]
    """A queue with a message in one of these states is not empty."""
    debounce_deadline: ColumnElement[datetime | None] | None = None
    """When the queue stops waiting for a person who is still typing."""


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
    """The right to work on a queue until the lease ends."""

    queue: ConversationQueue
    conversation_id: int
    token: int
    worker: str

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of the bind parameters that name this lease."""
        return {"conversation": self.conversation_id, "token": self.token, "leased_by": self.worker}


_NOW = bindparam("now", type_=UtcDateTime)
_UNTIL = bindparam("until", type_=UtcDateTime)
_CONVERSATION: BindParameter[int] = bindparam("conversation")


# -- add work -------------------------------------------------------------------------------------------------------


def with_work(queue: ConversationQueue, now: datetime, debounce: timedelta | None = None) -> dict[Any, Any]:
    """Return the columns that an UPDATE sets when it adds work. A lease or a pause that is running stays.

    ``notified_at`` stays too where work waits already.
    """
    empty = queue.due_at.is_(None)
    notified = {queue.notified_at: case((empty, None), else_=queue.notified_at), Conversation.changed_at: now}
    if debounce is None or queue.debounce_deadline is None:
        return {queue.due_at: func.coalesce(queue.due_at, now - MAX_CLOCK_SKEW), **notified}
    later, latest = now + debounce, now + debounce * DEBOUNCE_AT_MOST
    still_typing = case((queue.debounce_deadline < later, queue.debounce_deadline), else_=later)
    return {
        queue.due_at: case((empty, later), (queue.debounce_deadline.is_not(None), still_typing), else_=queue.due_at),
        queue.debounce_deadline: case((empty, latest), else_=queue.debounce_deadline),
        **notified,
    }


def enqueue(tx: Transaction, queue: ConversationQueue, conversation_id: int) -> None:
    """Make the queue due, unless it is due or leased already, and wake a worker."""
    _update(tx, [conversation_id], with_work(queue, tx.now))
    tx.wake(queue.task, conversation_id)


def make_due(tx: Transaction, queue: ConversationQueue, conversation_id: int) -> None:
    """Make the queue due now, empty or pausing, and wake a worker. A running lease stays."""
    _update(tx, [conversation_id], {queue.due_at: _now_unless_leased(queue, tx.now), queue.notified_at: None})
    tx.wake(queue.task, conversation_id)


def resume(tx: Transaction, queue: ConversationQueue, conversation_ids: Sequence[int]) -> None:
    """End the pause of queues with work, because its reason is gone. A running lease stays."""
    _change_busy(tx, queue, conversation_ids, {queue.due_at: _now_unless_leased(queue, tx.now)})


def revoke(tx: Transaction, queue: ConversationQueue, conversation_ids: Sequence[int]) -> None:
    """Take the leases of queues with work, because the work has lost its reason. Their holders get ``LeaseLost``."""
    revoked = {queue.lease_token: queue.lease_token + 1, queue.leased_by: None, queue.due_at: tx.now - MAX_CLOCK_SKEW}
    _change_busy(tx, queue, conversation_ids, revoked)


def _now_unless_leased(queue: ConversationQueue, now: datetime) -> Any:
    return case((queue.leased_by.is_(None), now - MAX_CLOCK_SKEW), else_=queue.due_at)


def _change_busy(tx: Transaction, queue: ConversationQueue, ids: Sequence[int], changes: dict[Any, Any]) -> None:
    _update(tx, ids, {**changes, queue.notified_at: None}, queue.due_at.is_not(None))
    for conversation_id in ids:
        tx.wake(queue.task, conversation_id)


def _update(tx: Transaction, ids: Sequence[int], changes: dict[Any, Any], *only: ColumnElement[bool]) -> None:
    tx.session.execute(update(Conversation).where(Conversation.id.in_(ids), *only).values(changes))


# -- work on it -----------------------------------------------------------------------------------------------------


def claim(
    tx: Transaction, queue: ConversationQueue, conversation_id: int, *, worker: str, lease_for: timedelta
) -> Lease | None:
    """Lease the queue if it is due. Return ``None`` when it is empty, pausing or leased."""
    leased = {"conversation": conversation_id, "leased_by": worker, "now": tx.now, "until": tx.now + lease_for}
    token = tx.session.scalar(_claim(queue), leased)
    return None if token is None else Lease(queue, conversation_id, token, worker)


@cache
def _claim(queue: ConversationQueue) -> ReturningUpdate[int]:
    leased: dict[Any, Any] = {
        queue.due_at: _UNTIL,
        queue.lease_token: queue.lease_token + 1,
        queue.leased_by: bindparam("leased_by"),
    }
    if queue.debounce_deadline is not None:
        leased[queue.debounce_deadline] = None
    due = update(Conversation).where(Conversation.id == _CONVERSATION, queue.due_at <= _NOW)
    return due.values(leased).returning(queue.lease_token)


def verify_lease(tx: Transaction, lease: Lease) -> None:
    """Lock the conversation and make sure that the lease is still held. Raises :class:`LeaseLost`."""
    if tx.session.scalar(_verify(lease.queue), lease.parameters) is None:
        raise _lease_lost(lease)


@cache
def _verify(queue: ConversationQueue) -> Select[int]:
    return select(Conversation.id).where(*_held(queue)).with_for_update()


def settle(tx: Transaction, lease: Lease, debounce: timedelta | None = None) -> bool:
    """End the lease. The queue is due now if more waits, else it is empty. Return whether it is due now.

    The row is locked first and the messages are read after. So a text that arrives meanwhile is either seen
    here, or finds the queue empty and makes it due itself. Raises :class:`LeaseLost`.
    """
    postpone(tx, lease, None)
    first, last = tx.session.execute(_waiting(lease.queue), {"conversation": lease.conversation_id}).one()
    if first is None or last is None:
        return False
    queue = lease.queue
    due = {queue.due_at: tx.now - MAX_CLOCK_SKEW, queue.notified_at: tx.now}
    still_typing = _still_typing(queue, first, last, tx.now, debounce)
    _update(tx, [lease.conversation_id], {**due, **still_typing})
    return not still_typing


@cache
def _waiting(queue: ConversationQueue) -> Select[datetime | None, datetime | None]:
    waits = (Message.conversation_id == _CONVERSATION, Message.status.in_(queue.waiting))
    return select(func.min(Message.created_at), func.max(Message.created_at)).where(*waits)


def _still_typing(
    queue: ConversationQueue, first: datetime, last: datetime, now: datetime, debounce: timedelta | None
) -> dict[Any, Any]:
    """Return what changes where the person may still be typing: as if the queue had been empty when the texts came."""
    if debounce is None or queue.debounce_deadline is None:
        return {}
    latest = first + debounce * DEBOUNCE_AT_MOST
    due_at = min(last + debounce, latest)
    return {queue.due_at: due_at, queue.debounce_deadline: latest} if due_at > now else {}


def postpone(tx: Transaction, lease: Lease, due_at: datetime | None) -> None:
    """End the lease; the queue is due again at that moment. Raises :class:`LeaseLost`."""
    if tx.session.scalar(_end_lease(lease.queue), {**lease.parameters, "until": due_at}) is None:
        raise _lease_lost(lease)


@cache
def _end_lease(queue: ConversationQueue) -> ReturningUpdate[int]:
    ended = update(Conversation).where(*_held(queue)).values({queue.due_at: _UNTIL, queue.leased_by: None})
    return ended.returning(Conversation.id)


def _held(queue: ConversationQueue) -> tuple[ColumnElement[bool], ...]:
    """A lease that was ended is not held any more: a commit that is tried twice counts once."""
    return (
        Conversation.id == _CONVERSATION,
        queue.lease_token == bindparam("token"),
        queue.leased_by == bindparam("leased_by"),
    )


def _lease_lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"another worker has taken over {lease.queue.task} of conversation {lease.conversation_id}")


# -- repair ---------------------------------------------------------------------------------------------------------


def needs_repair(queue: ConversationQueue) -> ColumnElement[bool]:
    """Return whether a stalled worker holds a lease, or a due queue needs a wake-up: the first, or one for a lost one.

    The values of the condition are those of :func:`moments`.
    """
    untold = or_(_untold(queue), queue.notified_at < bindparam("lost"))
    return or_(exists().where(*_stalled(queue)), exists().where(queue.due_at <= _NOW, untold))


def moments(now: datetime) -> dict[str, datetime]:
    """Return now, the oldest heartbeat of a worker that is alive, and the newest wake-up that counts as lost."""
    return {"now": now, "alive": now - STALLED_AFTER, "lost": now - RENOTIFY_AFTER}


def leases_of(
    tx: Transaction, queue: ConversationQueue, worker: str, conversation_id: int | None = None
) -> list[Lease]:
    """Return the leases of this worker on one kind of queue, in one conversation or in all."""
    held = select(Conversation.id, queue.lease_token).where(queue.leased_by == worker)
    if conversation_id is not None:
        held = held.where(Conversation.id == conversation_id)
    return [Lease(queue, id_, token, worker) for id_, token in tx.session.execute(held)]


def release(tx: Transaction, lease: Lease) -> bool:
    """Make a queue due that is leased and not being worked on. Return False when the lease is gone."""
    released = {**lease.parameters, "due": tx.now - MAX_CLOCK_SKEW}
    return tx.session.scalar(_free(lease.queue, *_held(lease.queue)), released) is not None


def reclaim_stalled(tx: Transaction, queue: ConversationQueue) -> int:
    """Make due what stalled workers hold. Return the number of queues."""
    stalled = {"due": tx.now - MAX_CLOCK_SKEW, "alive": tx.now - STALLED_AFTER}
    return len(tx.session.scalars(_reclaim_stalled(queue), stalled).all())


@cache
def _reclaim_stalled(queue: ConversationQueue) -> ReturningUpdate[int]:
    return _free(queue, *_stalled(queue))


def _stalled(queue: ConversationQueue) -> tuple[ColumnElement[bool], ...]:
    alive = select(Worker.id).where(Worker.last_heartbeat_at > bindparam("alive"))
    return queue.leased_by.is_not(None), queue.leased_by.not_in(alive)


def _free(queue: ConversationQueue, *which: ColumnElement[bool]) -> ReturningUpdate[int]:
    """A row that is locked is left for the next time: a halted process must not hold up all the others."""
    free = select(Conversation.id).where(*which).with_for_update(skip_locked=True).cte("free")
    freed = update(Conversation).where(Conversation.id.in_(select(free.c.id)))
    due = bindparam("due", type_=UtcDateTime)
    return freed.values({queue.due_at: due, queue.leased_by: None, queue.notified_at: None}).returning(Conversation.id)


def find_unnotified(session: Session, queue: ConversationQueue, limit: int, now: datetime) -> Sequence[int]:
    """Return conversations whose queue is due and of which no worker was told, the longest due first."""
    return session.scalars(_find_unnotified(queue), {"now": now, "most": limit}).all()


@cache
def _find_unnotified(queue: ConversationQueue) -> Select[int]:
    due = select(Conversation.id).where(queue.due_at <= _NOW, _untold(queue))
    return due.order_by(queue.due_at, Conversation.id).limit(bindparam("most"))


def _untold(queue: ConversationQueue) -> ColumnElement[bool]:
    return or_(queue.notified_at.is_(None), queue.notified_at < queue.due_at)


def found_by_fetch(queue: ConversationQueue) -> str:
    """Return the condition, in SQL, that a queue of the conversation ``c`` is due and that no worker was told of it."""
    due_at, notified_at = queue.due_at.key, queue.notified_at.key
    return f"c.{due_at} <= :now AND (c.{notified_at} IS NULL OR c.{notified_at} < c.{due_at})"


ANY_DUE = {
    # Without the order, PostgreSQL's generic plan reads the whole table: it expects to find a row soon.
    queue: Statement(
        f"SELECT 1 AS due FROM conversations c WHERE {found_by_fetch(queue)} ORDER BY c.{queue.due_at.key} LIMIT 1"
    )
    for queue in QUEUES
}


def any_due(engine: Engine, queue: ConversationQueue, now: datetime) -> bool:
    """Return whether a fetch may find something. Most fetches end here: it costs one round trip, and no transaction."""
    return bool(ANY_DUE[queue].run_alone(engine, now=now))


def take_over(database: Database, queue: ConversationQueue, limit: int) -> list[int]:
    """Return what :func:`find_unnotified` finds, marked as told of: two dispatchers at once take different ones."""
    with database.transaction() as tx:
        return list(tx.session.scalars(_take_over(queue), {"now": tx.now, "most": limit}))


@cache
def _take_over(queue: ConversationQueue) -> ReturningUpdate[int]:
    # In a CTE the choice is made once; in a plain IN (…) the planner may make it again, and go over the limit.
    chosen = _find_unnotified(queue).with_for_update(skip_locked=True).cte("due")
    told = update(Conversation).where(Conversation.id.in_(select(chosen.c.id))).values({queue.notified_at: _NOW})
    return told.returning(Conversation.id)


def forget_lost(tx: Transaction, queue: ConversationQueue, limit: int) -> None:
    """Forget that a worker was told of a queue if it is still due long afterwards, those told first before the others.

    The worker has lost it. Or an open circuit stops the work, and then one more claim costs little.
    """
    tx.session.execute(_forget_lost(queue), {"now": tx.now, "lost": tx.now - RENOTIFY_AFTER, "most": limit})


@cache
def _forget_lost(queue: ConversationQueue) -> Update:
    lost = select(Conversation.id).where(queue.due_at <= _NOW, queue.notified_at < bindparam("lost"))
    chosen = lost.order_by(queue.notified_at).limit(bindparam("most")).with_for_update(skip_locked=True).cte("lost")
    return update(Conversation).where(Conversation.id.in_(select(chosen.c.id))).values({queue.notified_at: None})


def forget(tx: Transaction, queue: ConversationQueue, conversation_ids: Sequence[int]) -> None:
    """Forget that a worker was told of these queues: the next fetch finds them."""
    if conversation_ids:
        _update(tx, conversation_ids, {queue.notified_at: None})


def forget_notifications(tx: Transaction, queue: ConversationQueue) -> None:
    """Let the next fetch find all that is due. A locked row is being worked on, and is left alone."""
    due = select(Conversation.id).where(queue.due_at <= tx.now).with_for_update(skip_locked=True).cte("due")
    unmark = update(Conversation).where(Conversation.id.in_(select(due.c.id))).values({queue.notified_at: None})
    tx.session.execute(unmark)


# -- read -----------------------------------------------------------------------------------------------------------


def oldest_due(session: Session, now: datetime, queues: Sequence[ConversationQueue] = QUEUES) -> datetime | None:
    """Return since when the longest-waiting queue is due, without those that are leased."""
    due = [session.scalar(select(func.min(each.due_at)).where(each.due_at <= now)) for each in queues]
    return min(filter(None, due), default=None)


def count_due(session: Session, queue: ConversationQueue, now: datetime) -> int:
    """Return how many queues are due and not leased, also those behind an open circuit."""
    return session.scalar(select(func.count(queue.due_at)).where(queue.due_at <= now)) or 0
