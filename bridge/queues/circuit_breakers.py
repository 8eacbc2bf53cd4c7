"""Holds: a vendor that serves none of our messages burns the tries of none.

A refused key, an unpaid bill, an address at which nobody answers: such a cause does not belong to the message that met
it. The vendor is put on hold, its lines stay due and are not taken, and one piece of work at a time may try again
(the probe), with growing pauses. The first probe that gets another answer lifts the hold, and all flows in order. For
one agent or one sender only a success does: another error may have come before it was looked at.

What is on hold is called by its scope: a vendor, one agent there whose id leads nowhere, or one sender there that is
not in order. The other agents and senders go on.

A carrier may also take a text and tell afterwards that our set-up is at fault. To be taken proves nothing then: such a
late hold ends when a text is reported as delivered, or when the one that was tried has not failed before the next try.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, select, update
from sqlalchemy.orm import Session

from bridge.db.engine import insert_if_new
from bridge.db.models import CircuitBreaker, Conversation, Message
from bridge.db.transaction import Transaction
from bridge.lib.phone import mask_numbers
from bridge.providers.errors import RemoteError, provider_of
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import ConversationQueue
from bridge.queues.timing import backoff

log = logging.getLogger(__name__)

LONGEST_PROBE = timedelta(seconds=10)
"""The longest pause between two probes. One call is cheap, and everybody waits for it."""

FIRST_LATE_PROBE = timedelta(seconds=10)
LONGEST_LATE_PROBE = timedelta(minutes=5)
"""The same where a probe costs a text: what becomes of it is mostly known after some seconds."""


_TO_PROBE = select(CircuitBreaker.scope).where(CircuitBreaker.probe_at <= bindparam("now"))
"""Built once, because every sweep runs it."""


@dataclass(frozen=True)
class OpenCircuit:
    """One vendor, or one agent or sender there, on hold, as it is shown: phone numbers are masked."""

    scope: str
    cause: str
    since: datetime


def admit(tx: Transaction, scopes: Sequence[str]) -> tuple[str, ...] | None:
    """May work be tried that needs all of these? If so, the holds that its success ends, the wide before the narrow.

    At the end of a hold's pause the first one who asks becomes the probe. Where two are on hold, it probes both. None:
    one of them is on hold, and nothing was written.
    """
    count = tx.session.scalar(select(func.count()).where(CircuitBreaker.scope.in_(scopes)))
    if not count:
        return ()
    due = (
        select(CircuitBreaker)
        .where(CircuitBreaker.scope.in_(scopes), CircuitBreaker.probe_at <= tx.now)
        .order_by(CircuitBreaker.scope)
    )
    # Who is locked has just become the probe of somebody else.
    breakers = tx.session.scalars(due.with_for_update(skip_locked=True).execution_options(populate_existing=True)).all()
    if len(breakers) < count:
        return None
    ended = tuple(breaker.scope for breaker in breakers if not breaker.from_receipt or _is_proven(breaker))
    for breaker in breakers:
        breaker.probe_at, breaker.probes, breaker.probe_failed = tx.now + _pause(breaker), breaker.probes + 1, False
    tx.session.flush()
    return ended


def _is_proven(breaker: CircuitBreaker) -> bool:
    """Of a late one: what was tried has not failed since."""
    return breaker.probes > 0 and not breaker.probe_failed


def to_probe(session: Session, now: datetime) -> Sequence[str]:
    """What is on hold and may be tried again."""
    return session.scalars(_TO_PROBE, {"now": now}).all()


def pausing(session: Session, now: datetime) -> Sequence[str]:
    """What is on hold and may not be tried yet."""
    return session.scalars(select(CircuitBreaker.scope).where(CircuitBreaker.probe_at > now)).all()


def probe_by(
    tx: Transaction,
    scope: str,
    queue: ConversationQueue,
    whose: ColumnElement[bool],
    free: ColumnElement[bool],
) -> list[int]:
    """The conversation to ring for, of those ``whose`` work the hold stops: the one that has waited longest, and that
    is ``free`` of other holds.
    """
    due = select(Conversation.id).where(queue.due_at <= tx.now, whose)
    if tx.session.scalar(due.limit(1)) is None:
        from_receipt = exists().where(CircuitBreaker.scope == scope, CircuitBreaker.from_receipt)
        goes_again = exists().where(Message.resend_at.is_not(None), Message.conversation_id == Conversation.id, whose)
        if not tx.session.scalar(select(from_receipt & goes_again)):  # nobody is left; the next piece of work finds out
            tx.session.execute(delete(CircuitBreaker).where(CircuitBreaker.scope == scope))
        return []
    return list(tx.session.scalars(due.where(free).order_by(queue.due_at).limit(1)))


def trip(tx: Transaction, error: RemoteError, *, from_receipt: bool = False) -> None:
    """Put on hold what the error concerns; what is on hold already keeps its pauses.

    ``late``: the message that met the cause had been taken.
    """
    told = {"cause": str(error), "probe_failed": from_receipt}
    # A provider that refuses at once proves by accepting that the cause is gone.
    known = told if from_receipt else {**told, "from_receipt": False}
    renew = (
        update(CircuitBreaker).where(CircuitBreaker.scope == error.scope).values(known).returning(CircuitBreaker.scope)
    )
    if tx.session.scalar(renew) is None:
        first = FIRST_LATE_PROBE if from_receipt else backoff(1)
        breaker = {
            "scope": error.scope,
            **told,
            "from_receipt": from_receipt,
            "since": tx.now,
            "probe_at": tx.now + first,
        }
        tx.session.execute(insert_if_new(tx.session, CircuitBreaker).values(breaker).on_conflict_do_nothing())
        log.error("%s is on hold, all its work waits: %s", mask_numbers(error.scope), error)


def close_proven(tx: Transaction, scopes: Sequence[str], queue: ConversationQueue, tried_at: datetime) -> None:
    """A message that was tried then has arrived: late holds that are older have lost their cause."""
    older = select(CircuitBreaker.scope).where(
        CircuitBreaker.scope.in_(scopes), CircuitBreaker.from_receipt, CircuitBreaker.since <= tried_at
    )
    close(tx, tx.session.scalars(older).all(), queue)


def close(tx: Transaction, probed: Sequence[str], queue: ConversationQueue, error: RemoteError | None = None) -> None:
    """What a probe has found to serve again: what is due is rung for at the next sweep.

    Where the answer was an error, the account was still served, unless it is what was refused. Of the agent or the
    sender that tells nothing.
    """
    if error:
        refused = error.scope if error.provider_wide else None
        probed = [scope for scope in probed if scope == provider_of(scope) and scope != refused]
    found = (
        select(CircuitBreaker.scope)
        .where(CircuitBreaker.scope.in_(probed))
        .order_by(CircuitBreaker.scope)
        .with_for_update()
    )
    closed = tx.session.scalars(found).all() if probed else []
    if not closed:
        return
    tx.session.execute(delete(CircuitBreaker).where(CircuitBreaker.scope.in_(closed)))
    conversation_queue.forget_notifications(tx, queue)
    log.warning("%s serves again; its work goes on", mask_numbers(" and ".join(closed)))


def is_open(tx: Transaction, scopes: Sequence[str]) -> bool:
    """Is one of these?"""
    return bool(tx.session.scalar(select(exists().where(CircuitBreaker.scope.in_(scopes)))))


def open_circuits(session: Session) -> list[OpenCircuit]:
    """What is on hold."""
    return [
        OpenCircuit(mask_numbers(row.scope), row.cause, row.since)
        for row in session.scalars(select(CircuitBreaker).order_by(CircuitBreaker.scope))
    ]


def _pause(breaker: CircuitBreaker) -> timedelta:
    """To the probe after the next one."""
    if breaker.from_receipt:
        return min(FIRST_LATE_PROBE * 2.0 ** min(breaker.probes + 1, 10), LONGEST_LATE_PROBE)
    return min(backoff(breaker.probes + 2), LONGEST_PROBE)
