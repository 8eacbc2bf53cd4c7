"""Circuit breakers: a provider that serves none of our messages uses up no attempts.

A refused key, an unpaid bill or an unreachable address is not the fault of the message that meets it. The first such
error trips the circuit. While the circuit is open, its queues stay due and are not claimed. One piece of work at a time
may try again (the probe), with growing pauses. The first probe that gets another answer closes the circuit, and all
work goes on in order. The circuit of one agent or one sender closes only on success: the provider may report another
error before it checks the agent or the sender.

A circuit is named by its scope: a provider, one agent there whose id leads nowhere, or one sender there with a fault.
Other agents and senders are not affected.

A carrier may also accept a text and report later that our setup is at fault. Then an accepted text proves nothing. Such
a circuit (``from_receipt``) closes when a text is reported as delivered, or when the last probe has not failed by the
next one.
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

EVERY_AGENT = "all agents"
"""The scope of ``bridge.queues.pause``, which every turn needs. It is no circuit: only an operator closes it."""

LONGEST_PROBE = timedelta(seconds=10)
"""The longest pause between two probes. One call is cheap, and all work waits for it."""

FIRST_LATE_PROBE = timedelta(seconds=10)
LONGEST_LATE_PROBE = timedelta(minutes=5)
"""The pauses where a probe costs a text. Its status is mostly known after some seconds."""


_PROBE_IS_DUE = CircuitBreaker.probe_at <= bindparam("now")

_TO_PROBE = select(CircuitBreaker.scope).where(_PROBE_IS_DUE)

ANY_TO_PROBE = exists().where(_PROBE_IS_DUE)
"""Whether an open circuit may be probed ``now``."""


@dataclass(frozen=True)
class OpenCircuit:
    """The open circuit of a provider, or of one agent or sender there, for operators: phone numbers are masked."""

    scope: str
    cause: str
    since: datetime


def admit(tx: Transaction, scopes: Sequence[str]) -> tuple[str, ...] | None:
    """Return the circuits that a success of this work closes, the wide before the narrow.

    ``scopes``: the circuits that the work needs. At the end of a circuit's pause, the first work that asks becomes the
    probe. If two circuits are open, it probes both. Return None if one of them admits no work: nothing was written.
    """
    count = tx.session.scalar(select(func.count()).where(CircuitBreaker.scope.in_(scopes)))
    if not count:
        return ()
    due = (
        select(CircuitBreaker)
        .where(CircuitBreaker.scope.in_(scopes), CircuitBreaker.probe_at <= tx.now)
        .order_by(CircuitBreaker.scope)
    )
    # Another worker has just made a locked row its probe.
    breakers = tx.session.scalars(due.with_for_update(skip_locked=True).execution_options(populate_existing=True)).all()
    if len(breakers) < count:
        return None
    ended = tuple(breaker.scope for breaker in breakers if not breaker.from_receipt or _is_proven(breaker))
    for breaker in breakers:
        breaker.probe_at, breaker.probes, breaker.probe_failed = tx.now + _pause(breaker), breaker.probes + 1, False
    tx.session.flush()
    return ended


def _is_proven(breaker: CircuitBreaker) -> bool:
    """Return whether the last probe of a ``from_receipt`` breaker has not failed since."""
    return breaker.probes > 0 and not breaker.probe_failed


def to_probe(session: Session, now: datetime) -> Sequence[str]:
    """Return the open circuits that may be probed now."""
    return session.scalars(_TO_PROBE, {"now": now}).all()


def pausing(session: Session, now: datetime) -> Sequence[str]:
    """Return the open circuits that may not be probed yet."""
    return session.scalars(select(CircuitBreaker.scope).where(CircuitBreaker.probe_at > now)).all()


def probe_by(
    tx: Transaction,
    scope: str,
    queue: ConversationQueue,
    whose: ColumnElement[bool],
    free: ColumnElement[bool],
) -> list[int]:
    """Return the conversation that is to probe the circuit: the one that has waited longest.

    ``whose``: the conversations whose work the circuit stops. ``free``: those that no other open circuit stops. If no
    work is left that could probe it, the breaker is deleted.
    """
    due = select(Conversation.id).where(queue.due_at <= tx.now, whose).order_by(queue.due_at).limit(1)
    if tx.session.scalar(due) is None:
        from_receipt = exists().where(CircuitBreaker.scope == scope, CircuitBreaker.from_receipt)
        to_resend = exists().where(Message.resend_at.is_not(None), Message.conversation_id == Conversation.id, whose)
        if not tx.session.scalar(select(from_receipt & to_resend)):  # nothing is left; the next work trips it again
            tx.session.execute(delete(CircuitBreaker).where(CircuitBreaker.scope == scope))
        return []
    return list(tx.session.scalars(due.where(free)))


def trip(tx: Transaction, error: RemoteError, *, from_receipt: bool = False) -> None:
    """Open the circuit of the error's scope. A circuit that is open already keeps its pauses.

    ``from_receipt``: the carrier had accepted the message and reported the error later.
    """
    latest = {"cause": str(error), "probe_failed": from_receipt}
    # The provider refuses again at the call itself. So an accepted message proves that the cause is gone.
    known = latest if from_receipt else {**latest, "from_receipt": False}
    renew = (
        update(CircuitBreaker).where(CircuitBreaker.scope == error.scope).values(known).returning(CircuitBreaker.scope)
    )
    if tx.session.scalar(renew) is None:
        first = FIRST_LATE_PROBE if from_receipt else backoff(1)
        breaker = {
            "scope": error.scope,
            **latest,
            "from_receipt": from_receipt,
            "since": tx.now,
            "probe_at": tx.now + first,
        }
        tx.session.execute(insert_if_new(tx.session, CircuitBreaker).values(breaker).on_conflict_do_nothing())
        log.error("the circuit of %s is open, all its work waits: %s", mask_numbers(error.scope), error)


def close_proven(tx: Transaction, scopes: Sequence[str], queue: ConversationQueue, tried_at: datetime) -> None:
    """Close ``from_receipt`` circuits that are older than ``tried_at``: a message that was sent then has arrived."""
    older = select(CircuitBreaker.scope).where(
        CircuitBreaker.scope.in_(scopes), CircuitBreaker.from_receipt, CircuitBreaker.since <= tried_at
    )
    close(tx, tx.session.scalars(older).all(), queue)


def close(tx: Transaction, probed: Sequence[str], queue: ConversationQueue, error: RemoteError | None = None) -> None:
    """Close the circuits that a probe has found to serve again. The next sweep wakes workers for the due work.

    An ``error`` closes only the provider's circuit, and only if it is not of the whole provider: another error proves
    that the account is served. It proves nothing about an agent or a sender.
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
    log.warning("the circuit of %s is closed, its work goes on", mask_numbers(" and ".join(closed)))


def is_open(tx: Transaction, scopes: Sequence[str]) -> bool:
    """Return whether the circuit of one of these is open."""
    return bool(tx.session.scalar(select(exists().where(CircuitBreaker.scope.in_(scopes)))))


def open_circuits(session: Session, scopes: Sequence[str] | None = None) -> list[OpenCircuit]:
    """Return the open circuits, all or of these scopes, by scope. A pause by an operator is none."""
    circuits = select(CircuitBreaker).where(CircuitBreaker.scope != EVERY_AGENT)
    if scopes is not None:
        circuits = circuits.where(CircuitBreaker.scope.in_(scopes))
    return [
        OpenCircuit(mask_numbers(row.scope), row.cause, row.since)
        for row in session.scalars(circuits.order_by(CircuitBreaker.scope))
    ]


def _pause(breaker: CircuitBreaker) -> timedelta:
    """Return the pause before the probe after this one."""
    if breaker.from_receipt:
        return min(FIRST_LATE_PROBE * 2.0 ** min(breaker.probes + 1, 10), LONGEST_LATE_PROBE)
    return min(backoff(breaker.probes + 2), LONGEST_PROBE)
