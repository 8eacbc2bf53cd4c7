"""The pause: an operator keeps all agents still. Texts are stored and wait, and nothing goes to an agent.

The pause is a row beside the circuit breakers, of a scope that every turn needs. No work ever probes it. So a bridge
that is not paused reads nothing more for it. Turns in flight end, and answers that are there are delivered.
ANSWER_WITHIN goes on: a text that waits longer is given up, and its person gets FALLBACK_REPLY.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from bridge.db.engine import insert_if_new
from bridge.db.models import CircuitBreaker
from bridge.db.transaction import Transaction
from bridge.queues import conversation_queue
from bridge.queues.circuit_breakers import EVERY_AGENT
from bridge.queues.conversation_queue import TURNS

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""When the pause is probed."""


@dataclass(frozen=True)
class Pause:
    """Since when the agents keep still, and who wanted that."""

    since: datetime
    operator: str


def begin(tx: Transaction, operator: str) -> bool:
    """Begin the pause. Return False if it has begun already."""
    row = {"scope": EVERY_AGENT, "cause": operator, "since": tx.now, "probe_at": NEVER}
    new = insert_if_new(tx.session, CircuitBreaker).values(row).on_conflict_do_nothing()
    return tx.session.scalar(new.returning(CircuitBreaker.scope)) is not None


def end(tx: Transaction) -> bool:
    """End the pause, and wake a worker for what waits. Return False if there is none."""
    ended = delete(CircuitBreaker).where(CircuitBreaker.scope == EVERY_AGENT).returning(CircuitBreaker.scope)
    if tx.session.scalar(ended) is None:
        return False
    conversation_queue.forget_notifications(tx, TURNS)
    tx.wake(TURNS.task, 0)
    return True


def read(session: Session) -> Pause | None:
    """Return the pause; ``None``: the agents are asked."""
    row = session.execute(
        select(CircuitBreaker.since, CircuitBreaker.cause).where(CircuitBreaker.scope == EVERY_AGENT)
    ).first()
    return Pause(*row) if row else None
