"""The wish of a person in the contact at the agent's provider: STOP by text sets ``do_not_call``, START clears it.

    record      the wish is stored and due, in the commit of the opt-out      a worker is woken
    claim       the lease comes before the call                               [commit]
    settled     written; if there is a newer wish, the same worker goes on    [commit]

A person has one row at each provider, and the latest wish is in it. While a worker writes, a newer wish waits for that
worker: two calls at the same time could arrive in the wrong order. A worker that comes late may have written an older
wish over a newer one, so the newer one is written again. Writing it twice does no harm.

The call: ``bridge.chats.do_not_call_task``. Missed wake-ups: ``bridge.maintenance.sweep``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, case, or_, select, update

from bridge.db.engine import insert_if_new, patient
from bridge.db.models import ContactUpdate
from bridge.db.transaction import Transaction
from bridge.providers.errors import RemoteError
from bridge.queues.timing import LONGEST_RETRY_AFTER, MAX_CLOCK_SKEW
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

TASK = "write_do_not_call"
"""The task that writes a wish into the contact at the provider."""

LEASE = timedelta(seconds=60)
"""Longer than the calls of one attempt and their commit. A killed worker's wish is written after it."""

LONGEST_PAUSE = 3600.0
"""Seconds between two attempts at most. The pauses double from one second on."""

SHOWN_AFTER = 10
"""Attempts, after some 17 minutes, from which on operators see that it fails."""

GIVE_UP_AFTER = 80
"""Attempts, after some three days."""


@dataclass(frozen=True)
class NewWish:
    """What a person has just asked for."""

    provider: str
    phone: str
    """The number, without a channel."""
    conversation_id: int
    do_not_call: bool
    at: datetime


@dataclass(frozen=True)
class LeasedWish:
    """A wish that this worker is to write."""

    id: int
    provider: str
    phone: str
    do_not_call: bool
    version: int
    token: int
    """Of the lease."""


def record(tx: Transaction, wish: NewWish) -> None:
    """Store the wish, unless the person has wished something else later. An equal wish changes nothing."""
    row, now = ContactUpdate, tx.now - MAX_CLOCK_SKEW
    new = insert_if_new(tx.session, row).values(
        provider=wish.provider,
        phone=wish.phone,
        conversation_id=wish.conversation_id,
        do_not_call=wish.do_not_call,
        wished_at=wish.at,
        due_at=now,
    )
    differs = or_(row.do_not_call != wish.do_not_call, row.given_up_at.is_not(None))
    afresh = {"due_at": case((row.leased, row.due_at), else_=now), "version": row.version + 1, "attempts": 0}
    changed = {name: case((differs, value), else_=getattr(row, name)) for name, value in afresh.items()}
    known = {"error": case((differs, None), else_=row.error), "given_up_at": None, "wished_at": wish.at}
    new = new.on_conflict_do_update(
        index_elements=[row.provider, row.phone],
        set_={**changed, **known, "do_not_call": wish.do_not_call, "conversation_id": wish.conversation_id},
        where=row.wished_at <= wish.at,
    )
    stored = tx.session.scalar(new.returning(row.id))
    if stored is not None:
        tx.wake(TASK, stored)


def claim(rt: Runtime, row_id: int) -> LeasedWish | None:
    """Lease the wish. Return ``None`` if it is not due, or if this worker may not begin work."""
    if not rt.heartbeat.may_start_work(rt.heartbeat.worker):
        return None
    with rt.database.transaction() as tx:
        due = (ContactUpdate.id == row_id, ContactUpdate.due_at <= tx.now)
        row = tx.session.scalar(select(ContactUpdate).where(*due).with_for_update(skip_locked=True))
        return None if row is None else _lease(tx, row)


@patient
def settled(rt: Runtime, wish: LeasedWish) -> LeasedWish | None:
    """Record that the wish is written. Return the newer wish, if there is one: this worker writes it next."""
    with rt.database.transaction() as tx:
        row = _held(tx, wish)
        if row is None:
            return None
        if row.version != wish.version:
            return _lease(tx, row)
        row.leased, row.due_at, row.attempts, row.error = False, None, 0, None
        return None


@patient
def failed(rt: Runtime, wish: LeasedWish, error: RemoteError) -> None:
    """Make the wish due again after a pause, or give it up, in the table and in the log."""
    with rt.database.transaction() as tx:
        row = _held(tx, wish)
        if row is None:
            return
        row.leased, row.error = False, str(error)
        if row.version != wish.version:
            row.due_at = tx.now - MAX_CLOCK_SKEW
            tx.wake(TASK, row.id)
            return
        given_up = row.attempts >= GIVE_UP_AFTER
        row.due_at = None if given_up else tx.now + pause(row.attempts, error.retry_after)
        row.given_up_at = tx.now if given_up else None
        attempts = row.attempts
    if given_up:
        log.error("do_not_call of contact update %s given up after %s attempts: %s", wish.id, attempts, error)
    else:
        log.warning("do_not_call of contact update %s waits, attempt %s: %s", wish.id, attempts, error)


def pause(attempts: int, retry_after: float | None = None) -> timedelta:
    """Return the pause after so many attempts. An account that is refused may be for days."""
    seconds = min(2.0 ** min(attempts - 1, 20), LONGEST_PAUSE)
    return timedelta(seconds=max(seconds, min(retry_after or 0.0, LONGEST_RETRY_AFTER)))


DUE = select(ContactUpdate.id).where(ContactUpdate.due_at <= bindparam("now")).order_by(ContactUpdate.due_at)
"""The wishes that are to be written ``now``, the oldest first."""


def _lease(tx: Transaction, row: ContactUpdate) -> LeasedWish:
    row.leased, row.due_at = True, tx.now + LEASE
    row.lease_token, row.attempts = row.lease_token + 1, row.attempts + 1
    return LeasedWish(row.id, row.provider, row.phone, row.do_not_call, row.version, row.lease_token)


def _held(tx: Transaction, wish: LeasedWish) -> ContactUpdate | None:
    """Return the row, locked, if this worker still has its lease. Else let the newest wish be written once more.

    A wish whose person is forgotten has no row any more.
    """
    row = tx.session.get(ContactUpdate, wish.id, with_for_update=True)
    if row is None or row.lease_token == wish.token:
        return row
    tx.session.execute(
        update(ContactUpdate)
        .where(ContactUpdate.id == wish.id)
        .values(
            version=ContactUpdate.version + 1,
            due_at=case((ContactUpdate.leased, ContactUpdate.due_at), else_=tx.now - MAX_CLOCK_SKEW),
            given_up_at=None,
        )
    )
    tx.wake(TASK, wish.id)
    log.warning("do_not_call of contact update %s was written late, and is written again", wish.id)
    return None
