"""The end of an attempt: the turn is settled, or due again. Each is one transaction that may be run twice."""

from __future__ import annotations

import logging

from sqlalchemy import update

from bridge.chats import rows
from bridge.db.engine import patient
from bridge.db.models import Direction, Message, MessageStatus, Turn, TurnStatus
from bridge.db.transaction import Transaction
from bridge.outbound import outbox
from bridge.outbound.formatting import shape
from bridge.outbound.formatting.shape import Shaped
from bridge.outbound.outbox import Draft
from bridge.providers.errors import RemoteError
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import TURNS
from bridge.runtime import Runtime
from bridge.turns import poison
from bridge.turns.values import Answer, ClaimedTurn, RetryAt

log = logging.getLogger(__name__)


def settle_answered(rt: Runtime, claimed: ClaimedTurn, answer: Answer) -> bool:
    """Close the turn and put its answers into the outbox. Return whether another turn is due."""
    to = outbox.recipient(rt, claimed.phone)
    shaped = shape.answer(answer.texts, to, join=rt.settings.reply_join)  # before the transaction: it may take a second
    if answer.texts and not shaped.messages:
        log.info("turn %s is answered, and the answer has no text for the person", claimed.turn_id)
    return _settle(rt, claimed, answer, shaped)


@patient
def _settle(rt: Runtime, claimed: ClaimedTurn, answer: Answer, shaped: Shaped) -> bool:
    with rt.database.transaction() as tx:
        more = conversation_queue.settle(tx, claimed.lease, rt.settings.reply_debounce)
        _close_circuits(tx, claimed)
        _close_turn(tx, claimed, TurnStatus.ANSWERED, MessageStatus.ANSWERED)
        rows.advance(tx, answer.chat, answer.bookmark, answer.ended)
        draft = Draft(shaped, expires_at=claimed.expires_at, turn_id=claimed.turn_id)
        outbox.put(tx, claimed.lease.conversation_id, draft)
    return more


def failed(rt: Runtime, claimed: ClaimedTurn, error: RemoteError, status: TurnStatus | None = None) -> bool:
    """End the attempt with the provider's error: the turn comes due again, or is given up if no retry can help."""
    if not error.worth_retry:
        return give_up(rt, claimed, str(error), retire=True)
    due_at = claimed.next_try(rt.now(), error.retry_after)
    retry = RetryAt(str(error), due_at, error=error, response_received=error.response_received)
    return postpone(rt, claimed, retry, status)


@patient
def postpone(rt: Runtime, claimed: ClaimedTurn, retry: RetryAt, status: TurnStatus | None = None) -> bool:
    """End the lease until ``retry.due_at``. An error of the whole provider trips its circuit and costs no attempt."""
    error = retry.error
    trips = error is not None and error.provider_wide
    with rt.database.transaction() as tx:
        conversation_queue.postpone(tx, claimed.lease, tx.now if trips else retry.due_at)
        turn = tx.session.get_one(Turn, claimed.turn_id)
        turn.error, turn.items_at_last_check = retry.reason, retry.items_at_last_check
        turn.status = status or turn.status
        _close_circuits(tx, claimed, error)
        turn.response_received = turn.response_received or retry.response_received
        if error:
            _record_error(tx, claimed, turn, error)
    log.info("turn %s waits, attempt %s: %s", claimed.turn_id, claimed.attempts, retry.reason)
    return False


def _record_error(tx: Transaction, claimed: ClaimedTurn, turn: Turn, error: RemoteError) -> None:
    if not error.too_much:
        poison.count(tx, turn, claimed.agent)
    if error.provider_wide:
        turn.attempts -= 1
        circuit_breakers.trip(tx, error)


@patient
def give_up(rt: Runtime, claimed: ClaimedTurn, why: str, *, retire: bool) -> bool:
    """Give the turn up, in the table and in the log, and notify the person once. Return whether another turn is due.

    ``retire``: the next text gets a new chat.
    """
    with rt.database.transaction() as tx:
        more = conversation_queue.settle(tx, claimed.lease, rt.settings.reply_debounce)
        _close_circuits(tx, claimed)
        _close_turn(tx, claimed, TurnStatus.GIVEN_UP, MessageStatus.GIVEN_UP)
        tx.session.get_one(Turn, claimed.turn_id).error = why
        if retire:
            rows.retire(tx, claimed.lease.conversation_id, rows.GIVEN_UP)
        outbox.put_notice(rt, tx, claimed.lease.conversation_id, rt.settings.fallback_reply)
    log.error("turn %s given up after %s attempts: %s", claimed.turn_id, claimed.attempts, why)
    return more


def _close_circuits(tx: Transaction, claimed: ClaimedTurn, error: RemoteError | None = None) -> None:
    if claimed.probed:
        circuit_breakers.close(tx, claimed.probed, TURNS, error)


def _close_turn(tx: Transaction, claimed: ClaimedTurn, turn: TurnStatus, texts: MessageStatus) -> None:
    row = tx.session.get_one(Turn, claimed.turn_id)
    row.status, row.settled_at, row.items_at_last_check = turn, tx.now, None
    merged = (Message.turn_id == claimed.turn_id, Message.direction == Direction.IN)
    tx.session.execute(update(Message).where(*merged).values(status=texts, settled_at=tx.now))
