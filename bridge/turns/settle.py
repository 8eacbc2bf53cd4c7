"""The end of an attempt: the turn is settled, or due again. Each is one transaction that may be run twice."""

from __future__ import annotations

import logging
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from bridge.chats import ending, rows
from bridge.db.engine import patient
from bridge.db.models import Direction, Message, MessageStatus, Turn, TurnStatus
from bridge.outbound import outbox
from bridge.outbound.formatting import shape
from bridge.outbound.formatting.shape import Shaped
from bridge.providers.errors import RemoteError
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import DELIVERIES, TURNS
from bridge.runtime import Runtime
from bridge.turns import poison
from bridge.turns.values import Answer, ClaimedTurn

log = logging.getLogger(__name__)


def settle_answered(rt: Runtime, claimed: ClaimedTurn, answer: Answer) -> None:
    """The answers, the end of the turn and the next place in the line."""
    to = outbox.recipient(rt, claimed.phone)
    shaped = shape.answer(answer.texts, to, join=rt.settings.reply_join)  # before the transaction: it may take a second
    if answer.texts and not shaped.messages:
        log.info("turn %s is answered without a word to the person", claimed.turn_id)
    _settle(rt, claimed, answer, shaped)


@patient
def _settle(rt: Runtime, claimed: ClaimedTurn, answer: Answer, shaped: Shaped) -> None:
    """All of it or nothing."""
    with rt.sessions.begin() as session:
        conversation_queue.settle(session, claimed.lease, rt.now(), rt.settings.reply_debounce)
        _close_circuits(rt, session, claimed)
        _close_turn(rt, session, claimed, TurnStatus.ANSWERED, MessageStatus.ANSWERED)
        rows.advance(rt, session, answer.chat, answer.bookmark, answer.ended)
        queued = outbox.put(
            rt,
            session,
            claimed.lease.conversation_id,
            shaped,
            expires_at=claimed.expires_at,
            turn_id=claimed.turn_id,
        )
    if queued:
        rt.notifier.wake(DELIVERIES.task, claimed.lease.conversation_id)


def failed(rt: Runtime, claimed: ClaimedTurn, error: RemoteError, status: TurnStatus | None = None) -> None:
    """The provider's error ends this attempt: the turn comes due again, unless there is no sense in another try."""
    if error.worth_retry:
        postpone(
            rt,
            claimed,
            claimed.next_try(rt.now(), error.retry_after),
            str(error),
            status=status,
            error=error,
            response_received=error.response_received,
        )
    else:
        give_up(rt, claimed, str(error), retire=True)


@patient
def postpone(
    rt: Runtime,
    claimed: ClaimedTurn,
    due_at: datetime,
    why: str,
    *,
    status: TurnStatus | None = None,
    items_at_last_check: int | None = None,
    error: RemoteError | None = None,
    response_received: bool = False,
) -> None:
    """Let go of the turn until ``due_at``. An error of the whole provider holds its work up instead, and counts as no
    attempt.
    """
    held = error is not None and error.provider_wide
    with rt.sessions.begin() as session:
        conversation_queue.postpone(session, claimed.lease, rt.now() if held else due_at)
        turn = session.get_one(Turn, claimed.turn_id)
        turn.error, turn.items_at_last_check = why, items_at_last_check
        turn.response_received = turn.response_received or response_received
        if error and not error.too_much:
            poison.count(session, turn, claimed.agent, rt.now())
        _close_circuits(rt, session, claimed, error)
        if error and held:
            turn.attempts -= 1
            circuit_breakers.trip(session, error, rt.now())
        if status:
            turn.status = status
    log.info("turn %s waits, attempt %s: %s", claimed.turn_id, claimed.attempts, why)


@patient
def give_up(rt: Runtime, claimed: ClaimedTurn, why: str, *, retire: bool) -> None:
    """Loudly: in the table, in the log, and once to the person who waits. ``retire``: the next text gets a new chat."""
    with rt.sessions.begin() as session:
        conversation_queue.settle(session, claimed.lease, rt.now(), rt.settings.reply_debounce)
        _close_circuits(rt, session, claimed)
        _close_turn(rt, session, claimed, TurnStatus.GIVEN_UP, MessageStatus.GIVEN_UP)
        session.get_one(Turn, claimed.turn_id).error = why
        conversation_id = claimed.lease.conversation_id
        retired = rows.retire(rt, session, conversation_id, rows.GIVEN_UP) if retire else None
        outbox.say(rt, session, claimed.lease.conversation_id, rt.settings.fallback_reply)
    log.error("turn %s given up after %s attempts: %s", claimed.turn_id, claimed.attempts, why)
    rt.notifier.wake(DELIVERIES.task, claimed.lease.conversation_id)
    if retired:
        rt.notifier.wake(ending.TASK, retired)


def _close_circuits(rt: Runtime, session: Session, claimed: ClaimedTurn, error: RemoteError | None = None) -> None:
    if claimed.probed:
        circuit_breakers.close(session, claimed.probed, TURNS, rt.now(), error)


def _close_turn(rt: Runtime, session: Session, claimed: ClaimedTurn, turn: TurnStatus, received: MessageStatus) -> None:
    row = session.get_one(Turn, claimed.turn_id)
    row.status, row.settled_at, row.items_at_last_check = turn, rt.now(), None
    said = (Message.turn_id == claimed.turn_id, Message.direction == Direction.IN)
    session.execute(update(Message).where(*said).values(status=received, settled_at=rt.now()))
