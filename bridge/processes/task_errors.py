"""What goes wrong unexpectedly in a task is noted, and still raised."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from bridge.chats import ending
from bridge.db.engine import AWAY
from bridge.db.models import Chat
from bridge.db.transaction import Transaction
from bridge.queues.conversation_queue import QUEUES, LeaseLost, leases_of, postpone
from bridge.queues.task_errors import A_FEW, STANDS_FOR, record
from bridge.queues.timing import backoff
from bridge.runtime import Runtime

CALLS_MISSED = 3
"""A job of the clock is over it when it was called so often without an error."""

PACKAGE = Path(__file__).parents[1]

log = logging.getLogger(__name__)


@contextmanager
def noted(rt: Runtime, task: str, row: int = 0, every: timedelta = timedelta(0)) -> Iterator[None]:
    """What goes wrong in here is noted, and still raised. ``every``: how often the clock calls for the step."""
    try:
        yield
    except AWAY:
        raise
    except Exception as error:
        try:
            _note(rt, task, row, _told(error), max(STANDS_FOR, every * CALLS_MISSED))
        except SQLAlchemyError as fault:
            log.warning("the error of %s %s could not be noted: %s", task, row, type(fault).__name__)
        raise


def _told(error: Exception) -> str:
    """Its kind and where in our own code it was met. Not its words: they may hold a text or a number."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    ours = [f" at {path.relative_to(PACKAGE.parent)}:{line}" for path, line in frames if path.is_relative_to(PACKAGE)]
    return type(error).__name__ + (ours[-1] if ours else "")


def _note(rt: Runtime, task: str, row: int, error: str, lasting: timedelta) -> None:
    with rt.database.transaction() as tx:
        times = record(tx, task, row, _conversation(task, row), error, rt.now(), lasting)
        _pause(rt, tx, task, row, times)
    if times >= A_FEW:
        log.error("%s %s has failed %s times in a row: %s", task, row or "of the clock", times, error)


def _conversation(task: str, row: int) -> object:
    """The conversation's id, or how the database finds it; ``None`` for a job of the clock."""
    chats_own = select(Chat.conversation_id).where(Chat.id == row).scalar_subquery()
    return chats_own if task == ending.TASK else row or None


def _pause(rt: Runtime, tx: Transaction, task: str, row: int, times: int) -> None:
    """What this worker has claimed for the step comes due again after a pause, and holds up nobody else meanwhile."""
    for line in QUEUES:
        if line.task == task:
            for lease in leases_of(tx, line, rt.heartbeat.worker, row):
                with suppress(LeaseLost):
                    postpone(tx, lease, rt.now() + backoff(times))
