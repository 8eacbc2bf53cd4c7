"""The end of an attempt: the text is settled, or due again. Each is one transaction that may be run twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge.db.engine import patient
from bridge.db.models import UNSENT, Message, MessageStatus
from bridge.outbound import opt_outs, rate_limiter, receipts
from bridge.outbound.delivery.values import NOT_IN_TIME, RECHECK_AFTER, ClaimedDelivery
from bridge.providers.carriers.contract import CarriedText
from bridge.providers.errors import QueueFull, RemoteError
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import DELIVERIES
from bridge.runtime import Runtime

log = logging.getLogger(__name__)


@contextmanager
def _closing(
    rt: Runtime, claimed: ClaimedDelivery, error: RemoteError | None = None
) -> Iterator[tuple[Session, Message]]:
    """The row for its last change here; then the line moves on, in the same commit."""
    with rt.sessions.begin() as session:
        conversation_queue.verify_lease(session, claimed.lease)
        message = session.get_one(Message, claimed.message_id, with_for_update=True)
        _close_circuits(rt, session, claimed, error)  # what is learnt now may be a reason for the next hold
        yield session, message
        session.flush()
        conversation_queue.settle(session, claimed.lease, rt.now())


def _close_circuits(rt: Runtime, session: Session, claimed: ClaimedDelivery, error: RemoteError | None = None) -> None:
    if claimed.probed:
        circuit_breakers.close(session, claimed.probed, DELIVERIES, rt.now(), error)


def settle_accepted(rt: Runtime, claimed: ClaimedDelivery, carried: CarriedText, *, proven: bool = True) -> None:
    """The carrier has it. ``proven``: by its answer to the send, and not by a look at its list."""
    try:
        _record_accepted(rt, claimed, carried, proven)
    except IntegrityError:  # at this moment the same id was taken for another text with these words
        if proven:
            _record_accepted(rt, claimed, carried, proven)  # now that one is there to be seen
        else:
            postpone(rt, claimed, rt.now() + RECHECK_AFTER, "what was found belongs to another text")


@patient
def _record_accepted(rt: Runtime, claimed: ClaimedDelivery, carried: CarriedText, proven: bool) -> None:
    with _closing(rt, claimed) as (session, message):
        news = receipts.record_accepted(rt, session, message, carried, proven=proven)
    if news:
        receipts.tell(rt, message)


def not_accepted(rt: Runtime, claimed: ClaimedDelivery, error: RemoteError) -> None:
    """It was surely not handed over: try again, unless there is no sense in it."""
    if error.code in opt_outs.UNSUBSCRIBED:
        _unsubscribed(rt, claimed, error)
    elif not error.worth_retry:
        give_up(rt, claimed, str(error), error, code=error.code)
    elif rt.now() >= claimed.expires_at:
        give_up(rt, claimed, f"{NOT_IN_TIME}; last: {error}", error, code=error.code)
    else:
        postpone(rt, claimed, _next_try(rt, claimed, error), str(error), status=MessageStatus.QUEUED, error=error)


@patient
def _unsubscribed(rt: Runtime, claimed: ClaimedDelivery, error: RemoteError) -> None:
    """The person has opted out, and nobody told us. That is no failure: there is nothing to mend."""
    if not receipts.unsubscribed(rt, Message.id == claimed.message_id):
        give_up(rt, claimed, str(error), error, code=error.code)
        return
    with _closing(rt, claimed, error) as (_, message):
        if message.status in UNSENT:
            message.status, message.settled_at = MessageStatus.CANCELED, rt.now()
            message.error, message.error_code = str(error), error.code


def outcome_unknown(
    rt: Runtime, claimed: ClaimedDelivery, error: RemoteError, *, response_received: bool = False
) -> None:
    """It may have been handed over: look before the next try."""
    if rt.now() >= claimed.expires_at:
        give_up(rt, claimed, f"whether it was sent could not be found out within ANSWER_WITHIN; last: {error}", error)
    else:
        postpone(
            rt, claimed, _next_try(rt, claimed, error), str(error), error=error, response_received=response_received
        )


def _next_try(rt: Runtime, claimed: ClaimedDelivery, error: RemoteError) -> datetime:
    """No later than the moment at which it is given up: then comes the last try."""
    return min(rt.now() + conversation_queue.backoff(claimed.attempts, error.retry_after), claimed.expires_at)


@patient
def postpone(
    rt: Runtime,
    claimed: ClaimedDelivery,
    due_at: datetime,
    why: str,
    *,
    status: MessageStatus | None = None,
    error: RemoteError | None = None,
    response_received: bool = False,
) -> None:
    """Let go of the text until ``due_at``. An error of the whole provider holds its work up instead, and counts as no
    attempt.
    """
    held = error is not None and error.provider_wide
    with rt.sessions.begin() as session:
        conversation_queue.verify_lease(session, claimed.lease)
        message = session.get_one(Message, claimed.message_id, with_for_update=True)
        if message.status not in UNSENT:  # settled by a callback, meanwhile: the next one need not wait
            conversation_queue.settle(session, claimed.lease, rt.now())
            return
        if isinstance(error, QueueFull):
            due_at = message.not_before = _room_again(rt, session, claimed, message)
            message.attempts -= 1
        conversation_queue.postpone(session, claimed.lease, rt.now() if held else due_at)
        message.error = why
        message.response_received = message.response_received or response_received
        if status:
            message.status = status
        _close_circuits(rt, session, claimed, error)
        if error and held:
            message.attempts -= 1
            circuit_breakers.trip(session, error, rt.now())
    log.info("message %s waits, attempt %s: %s", claimed.message_id, claimed.attempts, why)


def _room_again(rt: Runtime, session: Session, claimed: ClaimedDelivery, message: Message) -> datetime:
    """The sender pauses. This text is among the first after it, and finds out whether there is room."""
    queue, tried_at = rt.carrier.sending_identity(claimed.text.sender), message.attempted_at or rt.now()
    return min(rate_limiter.pause_sender(session, queue, tried_at, rt.now()), claimed.expires_at)


@patient
def give_up(
    rt: Runtime, claimed: ClaimedDelivery, why: str, error: RemoteError | None = None, *, code: int | None = None
) -> None:
    """Loudly, in the table and in the log; the texts behind it go on."""
    with _closing(rt, claimed, error) as (session, message):
        settled_by_callback = message.status not in UNSENT
        if not settled_by_callback:
            message.status, message.settled_at = MessageStatus.GIVEN_UP, rt.now()
            message.error, message.error_code = why, code
            receipts.failed(rt, session, message)
    if not settled_by_callback:
        log.error("message %s given up after %s attempts: %s", claimed.message_id, claimed.attempts, why)
