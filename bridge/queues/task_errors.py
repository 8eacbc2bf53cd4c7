"""Unexpected errors in a step: an exception that is no provider's error, because of a bug or a bad row.

The work stays in its table and comes due again, so nothing is lost, and nothing is seen either: the same error a few
seconds later, for ever. So each of them is counted, by step and row. A few in a row stand in ``/admin/failures``,
``/readyz``, the metrics and the log, as long as they go on and a little longer. The work in hand pauses between them,
as after a provider's error.

A step that works writes nothing here. A database that is away is no such error: ``/readyz`` tells of that by itself.
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
"""So many in a row are no accident."""

STANDS_FOR = timedelta(minutes=2)
"""After the last one. Work that is due is tried at least every half minute: what is not seen for longer is over."""

MOST = 1000
"""Rows that are told of."""

FORGET_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class Failing:
    """A step that fails again and again in the same way, for one conversation or for several."""

    task: str
    error: str
    since: datetime
    conversations: tuple[int, ...]
    """Empty for a job of the clock."""


def standing(now: datetime) -> ColumnElement[bool]:
    """Which rows are no accident, and not over."""
    return (TaskError.times >= A_FEW) & (TaskError.stands_until > now)


def failing(session: Session, now: datetime) -> list[Failing]:
    """What stands, the oldest first; rows of one step with the same error are one."""
    found: dict[tuple[str, str], list[TaskError]] = {}
    oldest = select(TaskError).where(standing(now)).order_by(TaskError.since, TaskError.id).limit(MOST)
    for row in session.scalars(oldest):
        found.setdefault((row.task, row.error), []).append(row)
    return [
        Failing(task, error, rows[0].since, tuple(row.conversation_id for row in rows if row.conversation_id))
        for (task, error), rows in found.items()
    ]


def count(session: Session, now: datetime) -> dict[str, int]:
    """Of each step that fails again and again, for how many rows."""
    counted = select(TaskError.task, func.count().label("number")).where(standing(now)).group_by(TaskError.task)
    return {row.task: row.number for row in session.execute(counted)}


def record(
    tx: Transaction, task: str, row: int, conversation: object, error: str, now: datetime, lasting: timedelta
) -> int:
    """Note one more, and forget what is long over. ``conversation``: its id, or how the database finds it. Returns how
    many in a row that makes.
    """
    tx.session.execute(delete(TaskError).where(TaskError.stands_until < now - FORGET_AFTER))
    new = {"task": task, "row_id": row, "conversation_id": conversation, "since": now, "times": 1}
    latest = {"error": error, "last_at": now, "stands_until": now + lasting}
    goes_on = TaskError.stands_until > now
    again = {
        "times": case((goes_on, TaskError.times + 1), else_=1),
        "since": case((goes_on, TaskError.since), else_=now),
        **latest,
    }
    noted = insert_if_new(tx.session, TaskError).values(**new, **latest)
    noted = noted.on_conflict_do_update(index_elements=[TaskError.task, TaskError.row_id], set_=again)
    return tx.session.scalars(noted.returning(TaskError.times)).one()
