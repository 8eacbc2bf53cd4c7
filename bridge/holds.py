"""Holds: a vendor that serves none of our messages burns the tries of none.

A refused key, an unpaid bill, an address at which nobody answers: such a cause does not belong to the message that met
it. The vendor is put on hold, its lines stay due and are not taken, and one piece of work at a time may try again
(the probe), with growing pauses. The first probe that gets another answer lifts the hold, and all flows in order.

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
from enum import Enum, auto

from sqlalchemy import ColumnElement, bindparam, delete, exists, select, update
from sqlalchemy.orm import Session

from bridge.db import insert_if_new
from bridge.errors import RemoteError
from bridge.line import Line, pause
from bridge.models import Conversation, Hold, Message
from bridge.phone import mask_numbers

log = logging.getLogger(__name__)

LONGEST_PROBE = timedelta(seconds=10)
"""The longest pause between two probes. One call is cheap, and everybody waits for it."""

FIRST_LATE_PROBE = timedelta(seconds=10)
LONGEST_LATE_PROBE = timedelta(minutes=5)
"""The same where a probe costs a text: what becomes of it is mostly known after some seconds."""


_TO_PROBE = select(Hold.scope).where(Hold.probe_at <= bindparam("now"))
"""Built once, because every sweep runs it."""


@dataclass(frozen=True)
class Held:
    """One vendor, or one agent or sender there, on hold, as it is shown: no number is whole."""

    scope: str
    cause: str
    since: datetime


class Admission(Enum):
    """May work be tried with a vendor?"""

    FREE = auto()
    PROBE = auto()
    """Yes, and it tells whether the vendor serves again."""
    TRIAL = auto()
    """Yes, and what becomes of it afterwards will tell."""
    HELD = auto()


def admit(session: Session, scopes: Sequence[str], now: datetime) -> Admission:
    """Is none of these on hold? At the end of a pause the first one who asks becomes the probe.

    Where two of them are on hold, a probe is for both. One who is not admitted rolls back.
    """
    found = session.scalars(select(Hold).where(Hold.scope.in_(scopes)).order_by(Hold.scope)).all()
    if not found:
        return Admission.FREE
    admissions = [_probe(session, hold, now) for hold in found]
    return next((each for each in (Admission.HELD, Admission.TRIAL) if each in admissions), Admission.PROBE)


def _probe(session: Session, hold: Hold, now: datetime) -> Admission:
    proven = hold.probes > 0 and not hold.refuted
    probe = (
        update(Hold)
        .where(Hold.scope == hold.scope, Hold.probe_at <= now)
        .values(probes=Hold.probes + 1, probe_at=now + _pause(hold), refuted=False)
        .returning(Hold.scope)
    )
    if session.scalar(probe) is None:
        return Admission.HELD
    return Admission.TRIAL if hold.late and not proven else Admission.PROBE


def to_probe(session: Session, now: datetime) -> Sequence[str]:
    """What is on hold and may be tried again."""
    return session.scalars(_TO_PROBE, {"now": now}).all()


def probe_by(session: Session, scope: str, line: Line, whose: ColumnElement[bool], now: datetime) -> list[int]:
    """The conversation to ring for, of those whose work the hold stops: the one that has waited longest."""
    due = select(Conversation.id).where(line.due_at <= now, whose).order_by(line.due_at).limit(1)
    oldest = list(session.scalars(due))
    late = exists().where(Hold.scope == scope, Hold.late)
    goes_again = exists().where(Message.resend_at.is_not(None))
    if not oldest and not session.scalar(select(late & goes_again)):  # nobody is left; the next piece of work finds out
        session.execute(delete(Hold).where(Hold.scope == scope))
    return oldest


def place(session: Session, error: RemoteError, now: datetime, *, late: bool = False) -> None:
    """Put on hold what the error concerns; what is on hold already keeps its pauses.

    ``late``: the message that met the cause had been taken.
    """
    told = {"cause": str(error), "refuted": late}
    known = told if late else {**told, "late": False}  # one that refuses at once will prove by taking that it is over
    renew = update(Hold).where(Hold.scope == error.scope).values(known).returning(Hold.scope)
    if session.scalar(renew) is None:
        first = FIRST_LATE_PROBE if late else pause(1)
        hold = {"scope": error.scope, **told, "late": late, "since": now, "probe_at": now + first}
        session.execute(insert_if_new(session, Hold).values(hold).on_conflict_do_nothing())
        log.error("%s is on hold, all its work waits: %s", error.scope, error)


def prove(session: Session, scopes: Sequence[str], line: Line, tried_at: datetime, now: datetime) -> None:
    """A message that was tried then has arrived: late holds that are older have lost their cause."""
    older = select(Hold.scope).where(Hold.scope.in_(scopes), Hold.late, Hold.since <= tried_at)
    lift(session, session.scalars(older).all(), line, now)


def lift(session: Session, probed: Sequence[str], line: Line, now: datetime, error: RemoteError | None = None) -> None:
    """What a probe has found to serve again: what is due is rung for at the next sweep.

    ``probed`` goes from the wide to the narrow: where an agent or a sender is refused, the account was not.
    """
    if error and error.provider_wide and error.scope in probed:
        probed = probed[: probed.index(error.scope)]
    lifted = session.scalars(delete(Hold).where(Hold.scope.in_(probed)).returning(Hold.scope)).all() if probed else []
    if not lifted:
        return
    # Who is locked is being rung for, worked on, or halted; none of them may hold up the others.
    due = select(Conversation.id).where(line.due_at <= now).with_for_update(skip_locked=True).cte("due")
    unmark = update(Conversation).where(Conversation.id.in_(select(due.c.id))).values({line.rung_at: None})
    session.execute(unmark)
    log.warning("%s serves again; its work goes on", " and ".join(sorted(lifted)))


def held(session: Session) -> list[Held]:
    """What is on hold."""
    return [
        Held(mask_numbers(row.scope), row.cause, row.since)
        for row in session.scalars(select(Hold).order_by(Hold.scope))
    ]


def _pause(hold: Hold) -> timedelta:
    """To the probe after the next one."""
    if hold.late:
        return min(FIRST_LATE_PROBE * 2.0 ** min(hold.probes + 1, 10), LONGEST_LATE_PROBE)
    return min(pause(hold.probes + 2), LONGEST_PROBE)
