"""Holds: a vendor that serves none of our messages burns the tries of none.

A refused key, an unpaid bill, an address at which nobody answers: such a cause does not belong to the message that met
it. The vendor is put on hold, its lines stay due and are not taken, and one piece of work at a time may try again
(the probe), with growing pauses. The first probe that gets another answer lifts the hold, and all flows in order.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from bridge.db import insert_if_new
from bridge.errors import RemoteError
from bridge.line import Line, pause
from bridge.models import Conversation, Hold

log = logging.getLogger(__name__)

LONGEST_PROBE = timedelta(seconds=10)
"""The longest pause between two probes. One call is cheap, and everybody waits for it."""


@dataclass(frozen=True)
class Held:
    """One vendor on hold, as it is shown."""

    provider: str
    cause: str
    since: datetime


class Admission(Enum):
    """May work be tried with a vendor?"""

    FREE = auto()
    PROBE = auto()
    """Yes, and it tells whether the vendor serves again."""
    HELD = auto()


def admit(session: Session, provider: str, now: datetime) -> Admission:
    """At the end of a pause the first one who asks becomes the probe."""
    hold = session.scalar(select(Hold).where(Hold.provider == provider))
    if hold is None:
        return Admission.FREE
    probe = (
        update(Hold)
        .where(Hold.provider == provider, Hold.probe_at <= now)
        .values(probes=Hold.probes + 1, probe_at=now + min(pause(hold.probes + 2), LONGEST_PROBE))
        .returning(Hold.provider)
        .execution_options(synchronize_session=False)
    )
    return Admission.HELD if session.scalar(probe) is None else Admission.PROBE


def probes(session: Session, provider: str, line: Line, now: datetime) -> list[int]:
    """The conversation to ring for, when it is time to try again: the one that has waited longest."""
    if session.scalar(select(Hold.provider).where(Hold.provider == provider, Hold.probe_at <= now)) is None:
        return []
    oldest = list(session.scalars(select(Conversation.id).where(line.due_at <= now).order_by(line.due_at).limit(1)))
    if not oldest:  # nobody is left to find out; the next piece of work will
        session.execute(delete(Hold).where(Hold.provider == provider))
    return oldest


def place(session: Session, error: RemoteError, now: datetime) -> None:
    """Put the vendor on hold; one that is on hold already keeps its pauses."""
    renew = update(Hold).where(Hold.provider == error.provider).values(cause=str(error)).returning(Hold.provider)
    if session.scalar(renew) is None:
        hold = {"provider": error.provider, "cause": str(error), "since": now, "probe_at": now + pause(1)}
        session.execute(insert_if_new(session, Hold).values(hold).on_conflict_do_nothing())
        log.error("%s is on hold, all its work waits: %s", error.provider, error)


def lift(session: Session, provider: str, line: Line, now: datetime) -> None:
    """The vendor serves again: what is due is rung for at the next sweep."""
    if session.scalar(delete(Hold).where(Hold.provider == provider).returning(Hold.provider)) is None:
        return
    # Who is locked is being rung for, worked on, or halted; none of them may hold up the others.
    due = select(Conversation.id).where(line.due_at <= now).with_for_update(skip_locked=True).cte("due")
    unmark = update(Conversation).where(Conversation.id.in_(select(due.c.id))).values({line.rung_at: None})
    session.execute(unmark.execution_options(synchronize_session=False))
    log.warning("%s serves again; its work goes on", provider)


def held(session: Session) -> list[Held]:
    """The vendors on hold."""
    return [Held(row.provider, row.cause, row.since) for row in session.scalars(select(Hold).order_by(Hold.provider))]
