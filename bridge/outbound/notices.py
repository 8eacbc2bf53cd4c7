"""Notices to the team: a person waits for one of them.

    put         the notice is stored and due, in the commit of the handoff                 a worker is woken
    claim       the text to HANDOFF_NUMBER is put into the outbox; the lease               [commit]
    told        HANDOFF_WEBHOOK knows                                                      [commit]
    failed      due again after a pause, or given up: in /admin/failures and in the log    [commit]

A conversation has one notice for each moment at which its person began to wait. The text is put into the outbox once,
with a mark in the notice. HANDOFF_WEBHOOK gets the notice at least once: if its answer is lost it is told again, with
the same id.

The call: ``bridge.outbound.notices_task``. Missed wake-ups: ``bridge.maintenance.sweep``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import bindparam, select

from bridge.config import Settings
from bridge.db.engine import insert_if_new, patient
from bridge.db.models import Conversation, HandoffNotice
from bridge.db.transaction import Transaction
from bridge.lib.phone import masked, without_channel
from bridge.outbound import outbox
from bridge.providers.errors import RemoteError
from bridge.providers.team_webhook import WaitingPerson
from bridge.queues.timing import MAX_CLOCK_SKEW, backoff
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

TASK = "tell_team"
"""The task that tells the team of one notice."""

LEASE = timedelta(seconds=60)
"""Longer than one call and its commit. A killed worker's notice is told after it."""

LONGEST_PAUSE = 900.0
"""Seconds between two attempts at most. The pauses double from one second on."""

GIVE_UP_AFTER = 105
"""Attempts, after a day."""

LONGEST_REASON = 200
"""Characters of a reason in a text to the team."""


@dataclass(frozen=True)
class LeasedNotice:
    """A notice that this worker is to give to HANDOFF_WEBHOOK."""

    id: int
    token: int
    """Of the lease."""
    waiting: WaitingPerson


@dataclass(frozen=True)
class _Due:
    """A notice that is due, as it was before it was locked."""

    conversation_id: int
    phone: str
    bridge_number: str
    is_texted: bool


def is_wanted(rt: Runtime) -> bool:
    """Return whether there is anybody to tell."""
    return rt.team is not None or rt.settings.handoff_number is not None


def put(rt: Runtime, tx: Transaction, conversation_id: int, reason: str) -> None:
    """Let the team be told that this person waits, unless it was for this moment.

    The caller has the conversation locked, and has set ``holder_since``.
    """
    if not is_wanted(rt):
        return
    pair = tx.session.get_one(Conversation, conversation_id)
    new = insert_if_new(tx.session, HandoffNotice).values(
        conversation_id=conversation_id,
        reason=reason,
        since=pair.holder_since or tx.now,
        due_at=tx.now - MAX_CLOCK_SKEW,
    )
    stored = tx.session.scalar(new.on_conflict_do_nothing().returning(HandoffNotice.id))
    if stored is not None:
        tx.wake(TASK, stored)


def claim(rt: Runtime, row_id: int) -> LeasedNotice | None:
    """Put the text to HANDOFF_NUMBER into the outbox, if it is not there yet, and lease the notice in the same commit.

    Return ``None`` if the notice is not due, or if nobody is left to be told.
    """
    if not rt.heartbeat.may_start_work(rt.heartbeat.worker):
        return None
    with rt.database.transaction() as tx:
        due = _due(tx, row_id)
        if due is None:
            return None
        team = None if due.is_texted else _team(rt, tx, due)  # conversations are locked before everything else
        still_due = (HandoffNotice.id == row_id, HandoffNotice.due_at <= tx.now)
        row = tx.session.scalar(select(HandoffNotice).where(*still_due).with_for_update(skip_locked=True))
        if row is None:
            tx.roll_back()
            return None
        if team and row.texted_at is None:
            outbox.put_notice(rt, tx, team, _words(rt.settings, due, row.reason))
            row.texted_at = tx.now
        if rt.team is None:
            row.due_at = None
            return None
        return _lease(rt, tx, row, due)


@patient
def told(rt: Runtime, notice: LeasedNotice) -> None:
    """Record that HANDOFF_WEBHOOK knows. A worker that comes late may say so too."""
    with rt.database.transaction() as tx:
        row = tx.session.get(HandoffNotice, notice.id, with_for_update=True)
        if row:  # else the person is forgotten
            row.told_at = row.told_at or tx.now
            row.due_at = row.error = row.given_up_at = None


@patient
def failed(rt: Runtime, notice: LeasedNotice, error: RemoteError) -> None:
    """Make the notice due again after a pause, or give it up, in the table and in the log."""
    with rt.database.transaction() as tx:
        row = tx.session.get(HandoffNotice, notice.id, with_for_update=True)
        if row is None or row.lease_token != notice.token or row.told_at:
            return
        attempts = row.attempts
        given_up = not error.worth_retry or attempts >= GIVE_UP_AFTER
        row.error = str(error)
        row.due_at = None if given_up else tx.now + backoff(attempts, error.retry_after, LONGEST_PAUSE)
        row.given_up_at = tx.now if given_up else None
    if given_up:
        log.error("the team is not told of notice %s, given up after %s attempts: %s", notice.id, attempts, error)
    else:
        log.warning("notice %s waits for the team's webhook, attempt %s: %s", notice.id, attempts, error)


def retry(tx: Transaction, row: HandoffNotice) -> None:
    """Make a notice due again that was given up."""
    row.due_at, row.attempts = tx.now - MAX_CLOCK_SKEW, 0
    row.error = row.given_up_at = row.dismissed_at = None
    tx.wake(TASK, row.id)


DUE = select(HandoffNotice.id).where(HandoffNotice.due_at <= bindparam("now")).order_by(HandoffNotice.due_at)
"""The notices that the team is to get ``now``, the oldest first."""


def _due(tx: Transaction, row_id: int) -> _Due | None:
    columns = (Conversation.id, Conversation.phone, Conversation.bridge_number, HandoffNotice.texted_at)
    due = (HandoffNotice.id == row_id, HandoffNotice.due_at <= tx.now)
    row = tx.session.execute(select(*columns).join(HandoffNotice).where(*due)).first()
    return row and _Due(row.id, row.phone, row.bridge_number, row.texted_at is not None)


def _team(rt: Runtime, tx: Transaction, due: _Due) -> int | None:
    """Return the conversation with HANDOFF_NUMBER, locked; ``None`` if no text can be sent there."""
    number, sender = rt.settings.handoff_number, _sender(rt.settings, due.bridge_number)
    if number is None or sender is None or without_channel(due.phone) == number:
        return None
    return outbox.opened(tx, phone=number, bridge_number=sender)


def _sender(settings: Settings, bridge_number: str) -> str | None:
    """Return the number of ours that texts the team: this one, or else the first one that sends SMS."""
    return next((each for each in (bridge_number, *settings.twilio_numbers) if ":" not in each), None)


def _words(settings: Settings, due: _Due, reason: str) -> str:
    who, why = masked(due.phone).replace("…", "..."), " ".join(reason.split())[:LONGEST_REASON]
    return f"{who} waits for a person of the team: {why}\n{_url(settings, due)}"


def _url(settings: Settings, due: _Due) -> str:
    return f"{settings.public_url}/console/conversations/{due.conversation_id}"


def _lease(rt: Runtime, tx: Transaction, row: HandoffNotice, due: _Due) -> LeasedNotice:
    row.due_at = tx.now + LEASE
    row.lease_token, row.attempts = row.lease_token + 1, row.attempts + 1
    waiting = WaitingPerson(
        id=f"handoff-{row.id}",
        conversation_id=due.conversation_id,
        phone=due.phone,
        bridge_number=due.bridge_number,
        reason=row.reason,
        since=row.since,
        url=_url(rt.settings, due),
    )
    return LeasedNotice(row.id, row.lease_token, waiting)
