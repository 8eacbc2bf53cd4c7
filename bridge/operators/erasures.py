"""What providers still have of people who are forgotten here: chats at the agent's, texts at the carrier.

    put         the rows are stored in the commit that forgets the person
    erase       the lease comes before the calls [commit]
                then the row is deleted, or is due again after a pause [commit]
    erase_rest  the clock does so with each row that is due

The command that forgets a person erases at once, and the clock goes on with the rest. Erasing twice does no harm. A row
that fails for a week is given up: it stays in the table, in the metrics and in the doctor's findings, and the log has
an error.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select

from bridge.db.engine import patient
from bridge.db.models import Erasure
from bridge.db.transaction import Transaction
from bridge.providers.errors import RemoteError
from bridge.queues.timing import backoff
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

CHAT = "chat"
TEXT = "text"

LEASE = timedelta(minutes=5)
"""Longer than the calls of one attempt. A killed worker's row is erased after it."""

LONGEST_PAUSE = 3600.0
"""Seconds between two attempts. The pauses double from one second on."""

GIVE_UP_AFTER = timedelta(days=7)

PAGE = 100
"""Rows of one round of the clock."""

LONGEST_ROUND = timedelta(seconds=60)


@dataclass(frozen=True)
class New:
    """Something to erase."""

    provider: str
    kind: str
    remote_id: str
    with_media: bool = False


@dataclass(frozen=True)
class _Leased(New):
    """A row that this process erases now."""

    id: int = 0
    attempts: int = 0


def put(tx: Transaction, found: Sequence[New]) -> list[int]:
    """Store what is to be erased. Return the ids of the rows."""
    rows = [Erasure(**vars(each), created_at=tx.now, due_at=tx.now) for each in found]
    tx.session.add_all(rows)
    tx.session.flush()
    return [row.id for row in rows]


def erase_rest(rt: Runtime) -> None:
    """Erase what is due: what a command has left, and what has failed. A slow provider ends the round early."""
    stop_at = rt.now() + LONGEST_ROUND
    with rt.database.read() as session:
        due = select(Erasure.id).where(Erasure.due_at <= rt.now()).order_by(Erasure.due_at).limit(PAGE)
        ids = session.scalars(due).all()
    for row_id in ids:
        if rt.now() >= stop_at:
            return
        erase(rt, row_id)


def erase(rt: Runtime, row_id: int) -> bool:
    """Erase this at its provider, if it is due. Return False if it is left for later."""
    leased = _lease(rt, row_id)
    if leased is None:
        return False
    try:
        _call(rt, leased)
    except RemoteError as error:
        _failed(rt, leased, error)
        return False
    _done(rt, leased)
    return True


def _call(rt: Runtime, leased: _Leased) -> None:
    """End a chat before it is deleted, so that it ends also where no call deletes it."""
    if leased.kind == TEXT:
        rt.carrier.erase(leased.remote_id, with_media=leased.with_media)
        return
    agent = rt.agents.of(leased.provider)
    agent.end_chat(leased.remote_id)
    if agent.deletes_chats:
        agent.delete_chat(leased.remote_id)


def _lease(rt: Runtime, row_id: int) -> _Leased | None:
    with rt.database.transaction() as tx:
        due = (Erasure.id == row_id, Erasure.due_at <= tx.now)
        row = tx.session.scalar(select(Erasure).where(*due).with_for_update(skip_locked=True))
        if row is None:
            return None
        row.due_at, row.attempts = tx.now + LEASE, row.attempts + 1
        return _Leased(row.provider, row.kind, row.remote_id, row.with_media, row.id, row.attempts)


@patient
def _done(rt: Runtime, leased: _Leased) -> None:
    with rt.database.transaction() as tx:
        tx.session.execute(delete(Erasure).where(Erasure.id == leased.id))


@patient
def _failed(rt: Runtime, leased: _Leased, error: RemoteError) -> None:
    """Make the row due again after a pause, or give it up, in the table and in the log."""
    with rt.database.transaction() as tx:
        row = tx.session.get(Erasure, leased.id, with_for_update=True)
        if row is None:
            return
        given_up = tx.now - row.created_at >= GIVE_UP_AFTER
        row.error = str(error)
        row.due_at = None if given_up else tx.now + backoff(leased.attempts, error.retry_after, LONGEST_PAUSE)
        row.given_up_at = tx.now if given_up else None
    what = f"erasure {leased.id}, a {leased.kind} at {leased.provider}"
    if given_up:
        log.error("%s, is given up after %s attempts; delete it there: %s", what, leased.attempts, error)
    else:
        log.warning("%s, waits after attempt %s: %s", what, leased.attempts, error)
