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


def settle_answered(rt: Runtime, booked: ClaimedTurn, answer: Answer) -> None:
    """The answers, the end of the turn and the next place in the line."""
    to = outbox.recipient(rt, booked.phone)
    shaped = shape.answer(answer.texts, to, join=rt.settings.reply_join)  # before the transaction: it may take a second
    if answer.texts and not shaped.messages:
        log.info("turn %s is answered without a word to the person", booked.turn_id)
    _settle(rt, booked, answer, shaped)


@patient
def _settle(rt: Runtime, booked: ClaimedTurn, answer: Answer, shaped: Shaped) -> None:
    """All of it or nothing."""
    with rt.sessions.begin() as session:
        conversation_queue.settle(session, booked.claim, rt.now(), rt.settings.reply_quiet)
        _close_circuits(rt, session, booked)
        _close_turn(rt, session, booked, TurnStatus.ANSWERED, MessageStatus.ANSWERED)
        rows.advance(rt, session, answer.chat, answer.stands, answer.ended)
        queued = outbox.put(
            rt,
            session,
            booked.claim.conversation_id,
            shaped,
            send_by=booked.answer_by,
            turn_id=booked.turn_id,
        )
    if queued:
        rt.bell.ring(DELIVERIES.step, booked.claim.conversation_id)


def failed(rt: Runtime, booked: ClaimedTurn, error: RemoteError, status: TurnStatus | None = None) -> None:
    """The provider's error ends this attempt: the turn comes due again, unless there is no sense in another try."""
    if error.worth_retry:
        postpone(
            rt,
            booked,
            booked.next_try(rt.now(), error.retry_after),
            str(error),
            status=status,
            error=error,
            call_over=error.call_over,
        )
    else:
        give_up(rt, booked, str(error), retire=True)


@patient
def postpone(
    rt: Runtime,
    booked: ClaimedTurn,
    due_at: datetime,
    why: str,
    *,
    status: TurnStatus | None = None,
    looked_items: int | None = None,
    error: RemoteError | None = None,
    call_over: bool = False,
) -> None:
    """Let go of the turn until ``due_at``. An error of the whole provider holds its work up instead, and counts as no
    attempt.
    """
    held = error is not None and error.provider_wide
    with rt.sessions.begin() as session:
        conversation_queue.postpone(session, booked.claim, rt.now() if held else due_at)
        turn = session.get_one(Turn, booked.turn_id)
        turn.error, turn.looked_items = why, looked_items
        turn.call_over = turn.call_over or call_over
        if error and not error.too_much:
            poison.count(session, turn, booked.agent, rt.now())
        _close_circuits(rt, session, booked, error)
        if error and held:
            turn.attempts -= 1
            circuit_breakers.trip(session, error, rt.now())
        if status:
            turn.status = status
    log.info("turn %s waits, attempt %s: %s", booked.turn_id, booked.attempts, why)


@patient
def give_up(rt: Runtime, booked: ClaimedTurn, why: str, *, retire: bool) -> None:
    """Loudly: in the table, in the log, and once to the person who waits. ``retire``: the next text gets a new chat."""
    with rt.sessions.begin() as session:
        conversation_queue.settle(session, booked.claim, rt.now(), rt.settings.reply_quiet)
        _close_circuits(rt, session, booked)
        _close_turn(rt, session, booked, TurnStatus.GIVEN_UP, MessageStatus.GIVEN_UP)
        session.get_one(Turn, booked.turn_id).error = why
        conversation_id = booked.claim.conversation_id
        retired = rows.retire(rt, session, conversation_id, rows.GIVEN_UP) if retire else None
        outbox.say(rt, session, booked.claim.conversation_id, rt.settings.fallback_reply)
    log.error("turn %s given up after %s attempts: %s", booked.turn_id, booked.attempts, why)
    rt.bell.ring(DELIVERIES.step, booked.claim.conversation_id)
    if retired:
        rt.bell.ring(ending.STEP, retired)


def _close_circuits(rt: Runtime, session: Session, booked: ClaimedTurn, error: RemoteError | None = None) -> None:
    if booked.probed:
        circuit_breakers.close(session, booked.probed, TURNS, rt.now(), error)


def _close_turn(rt: Runtime, session: Session, booked: ClaimedTurn, turn: TurnStatus, heard: MessageStatus) -> None:
    row = session.get_one(Turn, booked.turn_id)
    row.status, row.settled_at, row.looked_items = turn, rt.now(), None
    said = (Message.turn_id == booked.turn_id, Message.direction == Direction.IN)
    session.execute(update(Message).where(*said).values(status=heard, settled_at=rt.now()))
