"""The sweep: it finds work that is due and that no worker was woken for.

It does no work itself. Undelivered texts that are to be sent again it puts back into their queues.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import ColumnElement, Select, bindparam, delete, exists, or_, select

from bridge.chats import do_not_call, ending
from bridge.db.models import Conversation, Message, Worker
from bridge.db.transaction import Transaction
from bridge.maintenance import resend
from bridge.operators import draft_requests
from bridge.outbound import notices
from bridge.providers.agents import routes
from bridge.providers.carriers import contract
from bridge.providers.errors import provider_of
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import DELIVERIES, QUEUES, TURNS, ConversationQueue
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

SWEEP_LIMIT = 500
"""The most rows of one kind that a sweep changes, and the most endings that wait in the broker. The oldest come first,
the rest waits for the next sweep."""

FORGET_WORKERS_AFTER = timedelta(hours=1)
"""How long the row of a worker that did not sign off is kept. Its leases are released long before."""


@dataclass(frozen=True)
class Part:
    """One kind of work that may have been forgotten: whether there is any, in SQL, and what the sweep does about it."""

    found: ColumnElement[bool]
    do: Callable[[Runtime], None]
    is_wanted: Callable[[Runtime], bool] = lambda rt: True


def sweep(rt: Runtime) -> None:
    """Wake a worker if work is due of which none was told. First give back what stalled workers hold.

    One statement asks for everything at once: that is all that a bridge at rest pays for.
    """
    with rt.database.read() as session:
        all_found = session.execute(_FIND, _moments(rt.now())).one()
    for part, found in zip(PARTS, all_found, strict=True):
        if found and part.is_wanted(rt):
            part.do(rt)


def _moments(now: datetime) -> dict[str, datetime]:
    return {
        **conversation_queue.moments(now),
        "requested_after": now - draft_requests.BEGINS_WITHIN,
        "silent_since": now - FORGET_WORKERS_AFTER,
    }


def _repair(queue: ConversationQueue, rt: Runtime) -> None:
    with rt.database.transaction() as tx:
        reclaimed = conversation_queue.reclaim_stalled(tx, queue)
        conversation_queue.forget(tx, queue, _probes(rt, tx, queue))
        conversation_queue.forget_lost(tx, queue, SWEEP_LIMIT)
        for conversation_id in conversation_queue.find_unnotified(tx.session, queue, 1, tx.now):
            tx.wake(queue.task, conversation_id)
    if reclaimed:
        log.warning("%s: %s leases of stalled workers are taken over", queue.task, reclaimed)


def _probes(rt: Runtime, tx: Transaction, each: ConversationQueue) -> list[int]:
    """Return the conversations that are to probe the open circuits."""
    return [
        conversation_id
        for scope in circuit_breakers.to_probe(tx.session, rt.now())
        if each is (DELIVERIES if provider_of(scope) == rt.carrier.provider else TURNS)
        for conversation_id in _probe_by(rt, tx, scope, each)
    ]


def _probe_by(rt: Runtime, tx: Transaction, scope: str, each: ConversationQueue) -> list[int]:
    """Return the conversation that is to probe this circuit, if there is one."""
    number = Conversation.bridge_number
    due = select(number).where(each.due_at <= rt.now())
    to_resend = select(number).join(Message).where(Message.resend_at.is_not(None))
    needs = {its: set(_needs(rt, each, its)) for its in tx.session.scalars(due.union(to_resend))}
    stopped = [its for its, scopes in needs.items() if scope in scopes]
    pausing = set(circuit_breakers.pausing(tx.session, rt.now()))
    free = [its for its in stopped if not needs[its] & pausing]
    return circuit_breakers.probe_by(tx, scope, each, number.in_(stopped), number.in_(free))


def _needs(rt: Runtime, each: ConversationQueue, number: str) -> tuple[str, str]:
    """Return the circuits that must be closed for the work of this number."""
    return contract.scopes(rt.carrier, number) if each is DELIVERIES else routes.scopes(rt.agents.route(number))


def _wakeups_left(rt: Runtime, task: str) -> int:
    """Return how many more wake-ups the broker may get: those that wait there are not lost, and more would not help."""
    return max(0, SWEEP_LIMIT - rt.notifier.backlog(task))


def _rows(due: Select[int], task: str, is_wanted: Callable[[Runtime], bool]) -> Part:
    """Return the part that wakes a worker for each of these rows."""
    first = due.limit(bindparam("most"))

    def wake(rt: Runtime) -> None:
        with rt.database.transaction() as tx:
            for row in tx.session.scalars(first, {**_moments(tx.now), "most": _wakeups_left(rt, task)}):
                tx.wake(task, row)

    return Part(due.order_by(None).exists(), wake, is_wanted)


_IS_FORGOTTEN = Worker.last_heartbeat_at < bindparam("silent_since")

_FORGOTTEN = delete(Worker).where(_IS_FORGOTTEN)


def _forget_workers(rt: Runtime) -> None:
    with rt.database.transaction() as tx:
        tx.connection.execute(_FORGOTTEN, {"silent_since": tx.now - FORGET_WORKERS_AFTER})


PARTS = (
    *(
        Part(or_(conversation_queue.needs_repair(each), circuit_breakers.ANY_TO_PROBE), partial(_repair, each))
        for each in QUEUES
    ),
    Part(resend.ANY_DUE, lambda rt: resend.send_again(rt, SWEEP_LIMIT)),
    Part(ending.ANY_DUE, lambda rt: ending.wake_for_endings(rt, _wakeups_left(rt, ending.TASK))),
    _rows(do_not_call.DUE, do_not_call.TASK, lambda rt: bool(rt.settings.writes_contacts_at)),
    _rows(notices.DUE, notices.TASK, notices.is_wanted),
    _rows(draft_requests.DUE, draft_requests.TASK, lambda rt: rt.settings.drafts),
    Part(exists().where(_IS_FORGOTTEN), _forget_workers),
)
"""In the order of a sweep."""

_FIND = select(*(part.found.label(f"part_{n}") for n, part in enumerate(PARTS)))
