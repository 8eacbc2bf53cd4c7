"""Record the unexpected errors of tasks (``bridge.queues.task_errors``)."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from bridge.chats import do_not_call, ending
from bridge.db.engine import AWAY
from bridge.db.models import Chat, ContactUpdate
from bridge.db.transaction import Transaction
from bridge.queues.conversation_queue import QUEUES, LeaseLost, leases_of, postpone
from bridge.queues.task_errors import A_FEW, STANDS_FOR, Occurrence, record
from bridge.queues.timing import backoff
from bridge.runtime import Runtime

CALLS_MISSED = 3
"""An error of a clock's job is over after so many calls without it."""

PACKAGE = Path(__file__).parents[1]

log = logging.getLogger(__name__)


@contextmanager
def noted(rt: Runtime, task: str, row: int = 0, every: timedelta = timedelta(0)) -> Iterator[None]:
    """Record an unexpected error of the block, and raise it again. ``every``: the interval of a job of the clock."""
    try:
        yield
    except AWAY:
        raise
    except Exception as error:
        try:
            lasting = max(STANDS_FOR, every * CALLS_MISSED)
            _record(rt, Occurrence(task, row, _described(error), rt.now(), lasting, _conversation(task, row)))
        except SQLAlchemyError as fault:
            log.warning("the error of %s %s could not be recorded: %s", task, row, type(fault).__name__)
        raise


def _described(error: Exception) -> str:
    """Return the error's type and its place in our code. Not its words: they may contain a text or a number."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    ours = [f" at {path.relative_to(PACKAGE.parent)}:{line}" for path, line in frames if path.is_relative_to(PACKAGE)]
    return type(error).__name__ + (ours[-1] if ours else "")


def _record(rt: Runtime, occurrence: Occurrence) -> None:
    with rt.database.transaction() as tx:
        times = record(tx, occurrence)
        _pause(rt, tx, occurrence.task, occurrence.row, times)
    if times >= A_FEW:
        whose = occurrence.row or "of the clock"
        log.error("%s %s has failed %s times in a row: %s", occurrence.task, whose, times, occurrence.error)


def _conversation(task: str, row: int) -> object:
    """Return the conversation's id, or the query that finds it; ``None`` for a job of the clock."""
    owners: dict[str, type[Chat] | type[ContactUpdate]] = {ending.TASK: Chat, do_not_call.TASK: ContactUpdate}
    if owner := owners.get(task):
        return select(owner.conversation_id).where(owner.id == row).scalar_subquery()
    return row or None


def _pause(rt: Runtime, tx: Transaction, task: str, row: int, times: int) -> None:
    """End this worker's lease for the task after a backoff, so that the row does not block other work."""
    for queue in QUEUES:
        if queue.task == task:
            for lease in leases_of(tx, queue, rt.heartbeat.worker, row):
                with suppress(LeaseLost):
                    postpone(tx, lease, rt.now() + backoff(times))
