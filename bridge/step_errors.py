"""Unexpected errors in a step: an exception that is no provider's error, because of a bug or a bad row.

The work stays in its table and comes due again, so nothing is lost, and nothing is seen either: the same error a few
seconds later, for ever. So each of them is counted, by step and row. A few in a row stand in ``/admin/failures``,
``/readyz``, the metrics and the log, as long as they go on and a little longer. The work in hand pauses between them,
as after a provider's error.

A step that works writes nothing here. A database that is away is no such error: ``/readyz`` tells of that by itself.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, case, delete, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bridge import chats
from bridge.db import AWAY, insert_if_new
from bridge.line import LINES, Outlived, claims_of, pause, postpone
from bridge.models import Chat, StepError
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

A_FEW = 3
"""So many in a row are no accident."""

STANDS_FOR = timedelta(minutes=2)
"""After the last one. Work that is due is tried at least every half minute: what is not seen for longer is over."""

CALLS_MISSED = 3
"""A job of the clock is over it when it was called so often without an error."""

MOST = 1000
"""Rows that are told of."""

FORGET_AFTER = timedelta(days=1)

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Failing:
    """A step that fails again and again in the same way, for one conversation or for several."""

    step: str
    error: str
    since: datetime
    conversations: tuple[int, ...]
    """Empty for a job of the clock."""


@contextmanager
def noted(rt: Runtime, step: str, row: int = 0, every: timedelta = timedelta(0)) -> Iterator[None]:
    """What goes wrong in here is noted, and still raised. ``every``: how often the clock calls for the step."""
    try:
        yield
    except AWAY:
        raise
    except Exception as error:
        try:
            _note(rt, step, row, _told(error), max(STANDS_FOR, every * CALLS_MISSED))
        except SQLAlchemyError as fault:
            log.warning("the error of %s %s could not be noted: %s", step, row, type(fault).__name__)
        raise


def standing(now: datetime) -> ColumnElement[bool]:
    """Which rows are no accident, and not over."""
    return (StepError.times >= A_FEW) & (StepError.stands_until > now)


def failing(session: Session, now: datetime) -> list[Failing]:
    """What stands, the oldest first; rows of one step with the same error are one."""
    found: dict[tuple[str, str], list[StepError]] = {}
    oldest = select(StepError).where(standing(now)).order_by(StepError.since, StepError.id).limit(MOST)
    for row in session.scalars(oldest):
        found.setdefault((row.step, row.error), []).append(row)
    return [
        Failing(step, error, rows[0].since, tuple(row.conversation_id for row in rows if row.conversation_id))
        for (step, error), rows in found.items()
    ]


def count(session: Session, now: datetime) -> dict[str, int]:
    """Of each step that fails again and again, for how many rows."""
    counted = select(StepError.step, func.count().label("number")).where(standing(now)).group_by(StepError.step)
    return {row.step: row.number for row in session.execute(counted)}


def _told(error: Exception) -> str:
    """Its kind and where in our own code it was met. Not its words: they may hold a text or a number."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    ours = [f" at {path.relative_to(PACKAGE.parent)}:{line}" for path, line in frames if path.is_relative_to(PACKAGE)]
    return type(error).__name__ + (ours[-1] if ours else "")


def _note(rt: Runtime, step: str, row: int, error: str, lasting: timedelta) -> None:
    with rt.sessions.begin() as session:
        times = _count(session, step, row, error, rt.now(), lasting)
        _pause(rt, session, step, row, times)
    if times >= A_FEW:
        log.error("%s %s has failed %s times in a row: %s", step, row or "of the clock", times, error)


def _count(session: Session, step: str, row: int, error: str, now: datetime, lasting: timedelta) -> int:
    """Note one more, and forget what is long over. Returns how many in a row that makes."""
    session.execute(delete(StepError).where(StepError.stands_until < now - FORGET_AFTER))
    new = {"step": step, "row_id": row, "conversation_id": _conversation(step, row), "since": now, "times": 1}
    latest = {"error": error, "last_at": now, "stands_until": now + lasting}
    goes_on = StepError.stands_until > now
    again = {
        "times": case((goes_on, StepError.times + 1), else_=1),
        "since": case((goes_on, StepError.since), else_=now),
        **latest,
    }
    noted = insert_if_new(session, StepError).values(**new, **latest)
    noted = noted.on_conflict_do_update(index_elements=[StepError.step, StepError.row_id], set_=again)
    return session.scalars(noted.returning(StepError.times)).one()


def _conversation(step: str, row: int) -> object:
    """The conversation's id, or how the database finds it; ``None`` for a job of the clock."""
    chats_own = select(Chat.conversation_id).where(Chat.id == row).scalar_subquery()
    return chats_own if step == chats.STEP else row or None


def _pause(rt: Runtime, session: Session, step: str, row: int, times: int) -> None:
    """What this worker has claimed for the step comes due again after a pause, and holds up nobody else meanwhile."""
    for line in LINES:
        if line.step == step:
            for claim in claims_of(session, line, rt.pulse.worker, row):
                with suppress(Outlived):
                    postpone(session, claim, rt.now() + pause(times))
