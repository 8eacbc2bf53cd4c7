"""Unexpected errors in a task: exceptions that no provider caused, but a bug or a bad row.

The work stays in its table and comes due again. Nothing is lost, but nothing is visible either: the same error returns
every few seconds. So errors are counted by task and row. ``/admin/failures``, ``/readyz``, the metrics and the log show
several in a row, until two minutes after the last one. Between two attempts the work pauses, as after a provider's
error.

A task that succeeds writes nothing here. A database that is away does not count: ``/readyz`` checks it separately.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, delete, func, select
from sqlalchemy.orm import Session

from bridge.db.engine import insert_if_new
from bridge.db.models import TaskError
from bridge.db.transaction import Transaction

log = logging.getLogger(__name__)

A_FEW = 3
"""Errors in a row that count as lasting."""

STANDS_FOR = timedelta(minutes=2)
"""How long after the last error it counts as lasting. Due work is tried at least every half minute."""

MOST = 1000
"""The most rows that are reported."""

FORGET_AFTER = timedelta(days=1)
"""How long the row of an error that is over is kept."""


@dataclass(frozen=True)
class Failing:
    """A task that fails again and again with the same error, for one conversation or for several."""

    task: str
    error: str
    since: datetime
    conversations: tuple[int, ...]
    """Empty for a job of the clock."""


@dataclass(frozen=True)
class Occurrence:
    """One unexpected error of a task."""

    task: str
    row: int
    """0 for a job of the clock."""
    error: str
    """Its type and its place in the code, without its words."""
    at: datetime
    lasting: timedelta
    """How long after this error it is over, if no other one comes."""
    conversation: object = None
    """The conversation's id, or the query that finds it."""


def standing(now: datetime) -> ColumnElement[bool]:
    """Return the condition for errors that last and are not over."""
    return (TaskError.times >= A_FEW) & (TaskError.stands_until > now)


def failing(session: Session, now: datetime) -> list[Failing]:
    """Return the lasting errors, the oldest first. Rows of one task with the same error are one."""
    found: dict[tuple[str, str], list[TaskError]] = {}
    oldest = select(TaskError).where(standing(now)).order_by(TaskError.since, TaskError.id).limit(MOST)
    for row in session.scalars(oldest):
        found.setdefault((row.task, row.error), []).append(row)
    return [
        Failing(task, error, rows[0].since, tuple(row.conversation_id for row in rows if row.conversation_id))
        for (task, error), rows in found.items()
    ]


def count(session: Session, now: datetime) -> dict[str, int]:
    """Return for each task how many of its rows have lasting errors."""
    counted = select(TaskError.task, func.count().label("number")).where(standing(now)).group_by(TaskError.task)
    return {row.task: row.number for row in session.execute(counted)}


def record(tx: Transaction, occurrence: Occurrence) -> int:
    """Count one more error and delete those that are long over. Return how many in a row it makes."""
    now = occurrence.at
    tx.session.execute(delete(TaskError).where(TaskError.stands_until < now - FORGET_AFTER))
    new = {
        "task": occurrence.task,
        "row_id": occurrence.row,
        "conversation_id": occurrence.conversation,
        "since": now,
        "times": 1,
    }
    latest = {"error": occurrence.error, "last_at": now, "stands_until": now + occurrence.lasting}
    goes_on = TaskError.stands_until > now
    again = {
        "times": case((goes_on, TaskError.times + 1), else_=1),
        "since": case((goes_on, TaskError.since), else_=now),
        **latest,
    }
    noted = insert_if_new(tx.session, TaskError).values(**new, **latest)
    noted = noted.on_conflict_do_update(index_elements=[TaskError.task, TaskError.row_id], set_=again)
    return tx.session.scalars(noted.returning(TaskError.times)).one()
