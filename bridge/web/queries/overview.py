"""The numbers that tell at a glance how the bridge does now: who waits, what failed, and what stands still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from bridge.db.models import Conversation, Holder, one_of
from bridge.inbound import holder as holders
from bridge.queues import circuit_breakers, conversation_queue, pause
from bridge.queues.circuit_breakers import OpenCircuit
from bridge.queues.conversation_queue import DELIVERIES, QUEUES
from bridge.queues.pause import Pause
from bridge.runtime import Runtime
from bridge.web.queries import failures

COUNTED = 1000
"""Conversations of one kind are counted up to here."""


@dataclass(frozen=True)
class Glance:
    """The numbers of this moment."""

    holders: dict[Holder, int]
    """How many conversations somebody else than the agent has, by who has them."""
    waiting_since: datetime | None
    """Since when a person has waited longest for the team."""
    failures: int
    """As many as the page of failures lists."""
    circuits: Sequence[OpenCircuit]
    paused: Pause | None
    oldest_due: datetime | None
    """Since when the oldest work is due."""

    @property
    def waiting(self) -> int:
        return self.holders[Holder.WAITING]


def at_a_glance(rt: Runtime) -> Glance:
    """Read the numbers. Each comes from a small partial index."""
    with rt.database.read() as session:
        paused = pause.read(session)
        return Glance(
            holders={each: _count(session, each) for each in Holder if each is not Holder.AGENT},
            waiting_since=session.scalar(select(func.min(Conversation.holder_since)).where(*_held_by(Holder.WAITING))),
            failures=failures.count_shown(rt, session),
            circuits=circuit_breakers.open_circuits(session),
            paused=paused,
            oldest_due=conversation_queue.oldest_due(session, rt.now(), (DELIVERIES,) if paused else QUEUES),
        )


def by_holder(rt: Runtime, operator: str) -> dict[str, int]:
    """Count the conversations that somebody else than the agent has, as the inbox of this operator divides them."""
    mine = Conversation.holder_name == operator
    kinds = {
        "waiting": _held_by(Holder.WAITING),
        "you": (*_held_by(Holder.PERSON), mine),
        "others": (*_held_by(Holder.PERSON), ~mine),
        "outside": _held_by(Holder.OUTSIDE),
    }
    with rt.database.read() as session:
        return {name: _counted(session, which) for name, which in kinds.items()}


def _count(session: Session, holder: Holder) -> int:
    return _counted(session, _held_by(holder))


def _counted(session: Session, which: Sequence[ColumnElement[bool]]) -> int:
    some = select(Conversation.id).where(*which).limit(COUNTED).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _held_by(holder: Holder) -> tuple[ColumnElement[bool], ...]:
    return holders.not_with_agent(), one_of(Conversation.holder, (holder,))
