"""Drafts on demand: the agent writes what it would answer now. Nothing is sent, and its chat does not know of it.

    request    a row is stored, and a worker is woken         [commit]
    begin      a worker has it: only one, and only once       [commit]
    settle     the draft, or why there is none                [commit]

The web never calls a provider, so it reads the row again and again until the draft is there. A draft is never asked for
a second time by itself, because the agent's tools run each time: a request whose worker dies fails, and the operator
asks again. Rows are deleted after ten minutes. The call: ``bridge.operators.draft_task``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import bindparam, delete, select, update

from bridge.chats.history import history
from bridge.chats.recap import note_of
from bridge.db.engine import patient
from bridge.db.models import Conversation, DraftRequest
from bridge.db.sealing import why_unreadable
from bridge.db.transaction import Transaction
from bridge.operators import audit, idempotency
from bridge.operators.audit import Action, Entry
from bridge.operators.conversations import UnknownConversation
from bridge.operators.idempotency import Asked
from bridge.operators.instructions import NotNow
from bridge.operators.texts import OptedOut
from bridge.outbound import opt_outs
from bridge.outbound.formatting.shape import Sms
from bridge.providers.agents.contract import Item, NewChat, Speaker
from bridge.queues import pause
from bridge.runtime import Runtime

TASK = "write_draft"
"""The task that asks the agent for a draft."""

BEGINS_WITHIN = timedelta(seconds=30)
"""How long a request waits for a worker."""

MARGIN = timedelta(seconds=30)
"""How long after AGENT_TIMEOUT a worker may still settle."""

KEPT_FOR = timedelta(minutes=10)

WAIT = 25.0
"""Seconds for which the web waits for a draft. Routers give up after 30."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.5
"""Seconds between two looks at the row. They grow."""

OFF = "Drafts are off, because the agent's tools run for real. Set DRAFTS=true to have them."
NO_DRAFTS = "This agent's provider writes no drafts."
PAUSED = "The agents are paused."
NOTHING = "The person has written nothing that could be answered."
LOST = "no worker has brought an answer; ask again"


@dataclass(frozen=True)
class Begun:
    """A draft that this worker is to have written."""

    id: int
    about: NewChat
    history: tuple[Item, ...]


@dataclass(frozen=True)
class DraftNow:
    """How far a request is."""

    id: int
    messages: Sequence[dict[str, object]] | None
    """The draft as it would reach the phone. ``None``: it is not there."""
    error: str | None
    """Why there is none."""

    @property
    def is_over(self) -> bool:
        return self.messages is not None or self.error is not None


def request(rt: Runtime, asked: Asked, conversation_id: int) -> int:
    """Store the request, and return its id. Raise :class:`NotNow`, or the errors of ``texts.write_in``."""
    if not rt.settings.drafts:
        raise NotNow(OFF)
    with rt.database.transaction() as tx:
        if known := idempotency.begin(tx, asked):
            return int(known["id"])
        pair = tx.session.get(Conversation, conversation_id)
        if pair is None:
            raise UnknownConversation
        _may_ask(rt, tx, pair)
        row = DraftRequest(conversation_id=conversation_id, operator=asked.operator, created_at=tx.now)
        tx.session.add(row)
        tx.session.flush()
        audit.write(tx, Entry(asked.operator, Action.DRAFT, f"draft request {row.id}", conversation_id))
        idempotency.end(tx, asked, {"id": row.id})
        tx.wake(TASK, row.id)
        return row.id


def _may_ask(rt: Runtime, tx: Transaction, pair: Conversation) -> None:
    if opt_outs.has_opted_out(tx, pair.id):
        raise OptedOut
    if not rt.agents.of(rt.agents.route(pair.bridge_number).provider).writes_drafts:
        raise NotNow(NO_DRAFTS)
    if pause.read(tx.session):
        raise NotNow(PAUSED)
    if not any(item.speaker is Speaker.USER for item in history(tx.session, rt.settings, pair.id, tx.now)):
        raise NotNow(NOTHING)


def begin(rt: Runtime, row_id: int) -> Begun | None:
    """Take the request, if no worker has and it is not too old. Return what the agent must know."""
    if not rt.heartbeat.may_start_work(rt.heartbeat.worker):
        return None
    with rt.database.transaction() as tx:
        waits = (DraftRequest.begun_at.is_(None), DraftRequest.created_at > tx.now - BEGINS_WITHIN)
        begun = update(DraftRequest).where(DraftRequest.id == row_id, *waits).values(begun_at=tx.now)
        conversation_id = tx.session.scalar(begun.returning(DraftRequest.conversation_id))
        if conversation_id is None:
            return None
        pair = tx.session.get_one(Conversation, conversation_id)
        about = NewChat(
            conversation_id=pair.id,
            user_number=pair.phone,
            agent_number=pair.bridge_number,
            team_note=note_of(rt.settings, pair, tx.now),
            route=rt.agents.route(pair.bridge_number),
        )
        return Begun(row_id, about, history(tx.session, rt.settings, pair.id, tx.now))


@patient
def settle(rt: Runtime, begun: Begun, texts: Sequence[Sms], error: str | None = None) -> None:
    """Record the draft, or why there is none."""
    messages = None if error else [{"body": sms.body, "segments": sms.segments} for sms in texts]
    with rt.database.transaction() as tx:
        settled = update(DraftRequest).where(DraftRequest.id == begun.id)
        tx.session.execute(settled.values(settled_at=tx.now, messages=messages, error=error))


def read(rt: Runtime, row_id: int) -> DraftNow | None:
    """Return how far the request is. ``None``: there is none, or its draft is not kept any more."""
    with rt.database.read() as session:
        row = session.get(DraftRequest, row_id)
    if row is None:
        return None
    began_by, settled_by = row.created_at + BEGINS_WITHIN, rt.settings.agent_timeout + MARGIN
    late = rt.now() > (row.begun_at + settled_by if row.begun_at else began_by)
    lost = late and row.settled_at is None
    if why := why_unreadable(row.messages):
        return DraftNow(row.id, None, why)
    return DraftNow(row.id, row.messages, LOST if lost else row.error)


def wait(rt: Runtime, row_id: int) -> DraftNow | None:
    """Return the same once it is over, or after AGENT_TIMEOUT, at most 25 s. No connection is held meanwhile."""
    deadline = time.monotonic() + min(WAIT, rt.settings.agent_timeout.total_seconds())
    pause_for = FIRST_PAUSE
    while (now := read(rt, row_id)) and not now.is_over and time.monotonic() + pause_for < deadline:
        time.sleep(pause_for)
        pause_for = min(1.5 * pause_for, LONGEST_PAUSE)
    return now


DUE = (
    select(DraftRequest.id)
    .where(DraftRequest.begun_at.is_(None), DraftRequest.created_at > bindparam("requested_after"))
    .order_by(DraftRequest.id)
)
"""The requests that nobody has begun and that were made after this moment, the oldest first."""


def forget_old(rt: Runtime) -> None:
    """Delete the drafts that are not kept any more."""
    with rt.database.transaction() as tx:
        tx.session.execute(delete(DraftRequest).where(DraftRequest.created_at <= tx.now - KEPT_FOR))
