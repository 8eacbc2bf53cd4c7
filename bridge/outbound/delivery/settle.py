"""The end of an attempt: the text is settled, or due again. Each is one transaction that may be run twice.

Each returns whether another delivery of the conversation is due.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError

from bridge.db.engine import patient
from bridge.db.models import UNSENT, Message, MessageStatus
from bridge.db.transaction import Transaction
from bridge.lib import waits
from bridge.outbound import opt_outs, rate_limiter, receipts, unreadable
from bridge.outbound.delivery import store
from bridge.outbound.delivery.record import ended
from bridge.outbound.delivery.store import Accepted
from bridge.outbound.delivery.values import NOT_IN_TIME, RECHECK_AFTER, ClaimedDelivery, Retry
from bridge.providers.carriers.contract import FINAL, RANK, CarriedText
from bridge.providers.errors import QueueFull, RemoteError
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.answer_times import Which
from bridge.queues.conversation_queue import DELIVERIES
from bridge.queues.timing import backoff
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

ON_ITS_WAY = frozenset(status for status, rank in RANK.items() if rank < FINAL)
"""The carrier's states of a text that is neither delivered nor refused."""


@dataclass
class _Closing:
    """A text at its last change here."""

    tx: Transaction
    message: Message
    more: bool = False
    """Another delivery of this conversation is due."""


@contextmanager
def _closing(rt: Runtime, claimed: ClaimedDelivery, error: RemoteError | None = None) -> Iterator[_Closing]:
    """Lock the row for its last change; then end the lease, in the same commit."""
    with rt.database.transaction() as tx:
        conversation_queue.verify_lease(tx, claimed.lease)
        closing = _Closing(tx, tx.session.get_one(Message, claimed.message_id, with_for_update=True))
        _close_circuits(tx, claimed, error)  # the change itself may trip a circuit
        yield closing
        tx.session.flush()
        closing.more = conversation_queue.settle(tx, claimed.lease)


def _close_circuits(tx: Transaction, claimed: ClaimedDelivery, error: RemoteError | None = None) -> None:
    if claimed.probed:
        circuit_breakers.close(tx, claimed.probed, DELIVERIES, error)


def settle_accepted(rt: Runtime, claimed: ClaimedDelivery, carried: CarriedText, *, identified: bool = True) -> bool:
    """Record that the carrier has accepted the text. Return whether another delivery is due.

    ``identified``: by its response to the request, and not by its list of texts.
    """
    if identified and not claimed.probed and carried.status in ON_ITS_WAY and carried.error_code is None:
        accepted = Accepted(claimed.lease, claimed.message_id, carried.id, carried.status)
        if (more := _together(rt, accepted)) is not None:
            return _told(rt, claimed, more)
    try:
        return _told(rt, claimed, _record_accepted(rt, claimed, carried, identified))
    except IntegrityError:  # another text with these words has just been stored with the same id
        if identified:
            # Now the other row is visible, and gives the id up.
            return _told(rt, claimed, _record_accepted(rt, claimed, carried, identified))
        return postpone(
            rt, claimed, Retry(rt.now() + RECHECK_AFTER, "the text in the carrier's list belongs to another message")
        )


def _told(rt: Runtime, claimed: ClaimedDelivery, more: bool) -> bool:
    """Count how long the answer took, and log the end of the attempt."""
    answers = claimed.answers
    if answers and answers.first:
        took = (rt.now() - answers.received_at).total_seconds()
        rt.times.note(Which.ANSWER, took)
        if answers.waited is not None and claimed.attempts == 1:
            rt.times.note(Which.ADDED, took - answers.waited - waits.seconds())
    log.info("message %s is accepted", claimed.message_id, extra=ended(rt, claimed, "accepted"))
    return more


@patient
def _together(rt: Runtime, accepted: Accepted) -> bool | None:
    return rt.together(settle_many, accepted)


def settle_many(rt: Runtime, accepted: Sequence[Accepted]) -> Sequence[bool | None]:
    """Settle texts that the carrier has just accepted. ``None``: the text needs a transaction of its own."""
    with rt.database.transaction() as tx:
        return store.settle(tx, accepted, tx.now + receipts.POLL_STATUS_AFTER)


@patient
def _record_accepted(rt: Runtime, claimed: ClaimedDelivery, carried: CarriedText, identified: bool) -> bool:
    with _closing(rt, claimed) as closing:
        news = receipts.record_accepted(rt, closing.tx, closing.message, carried, identified=identified)
    if news:
        receipts.tell(rt, closing.message)
    return closing.more


def not_accepted(rt: Runtime, claimed: ClaimedDelivery, error: RemoteError) -> bool:
    """The carrier has surely not accepted the text: try again, unless no retry can help."""
    if error.code in opt_outs.UNSUBSCRIBED:
        return _unsubscribed(rt, claimed, error)
    if not error.worth_retry:
        return give_up(rt, claimed, str(error), error)
    if rt.now() >= claimed.expires_at:
        return give_up(rt, claimed, f"{NOT_IN_TIME}; last: {error}", error)
    retry = Retry(_next_try(rt, claimed, error), str(error), error, status=MessageStatus.QUEUED)
    return postpone(rt, claimed, retry)


@patient
def _unsubscribed(rt: Runtime, claimed: ClaimedDelivery, error: RemoteError) -> bool:
    """The person has opted out, and only the carrier knew. That is no failure: an operator can change nothing."""
    if not receipts.unsubscribed(rt, Message.id == claimed.message_id):
        return give_up(rt, claimed, str(error), error)
    with _closing(rt, claimed, error) as closing:
        message = closing.message
        if message.status in UNSENT:
            message.status, message.settled_at = MessageStatus.CANCELED, closing.tx.now
            message.error, message.error_code = str(error), error.code
    words = "message %s is canceled: the person has opted out"
    log.info(words, claimed.message_id, extra=ended(rt, claimed, "canceled"))
    return closing.more


def not_known(rt: Runtime, claimed: ClaimedDelivery, error: RemoteError, *, response_received: bool = False) -> bool:
    """The carrier may have accepted the text: reconcile before the next attempt."""
    if rt.now() >= claimed.expires_at:
        why = f"whether it was sent could not be found out within ANSWER_WITHIN; last: {error}"
        return give_up(rt, claimed, why, error, coded=False)
    retry = Retry(_next_try(rt, claimed, error), str(error), error, response_received=response_received)
    return postpone(rt, claimed, retry)


def wait_for_key(rt: Runtime, claimed: ClaimedDelivery, why: str) -> bool:
    """The words can't be decrypted: try again, as long as the text may be sent."""
    if rt.now() >= claimed.expires_at:
        return give_up(rt, claimed, f"{NOT_IN_TIME}: {why}")
    unreadable.tell(rt, DELIVERIES, claimed.lease.conversation_id, why)
    return postpone(rt, claimed, Retry(_next_try(rt, claimed), why))


def _next_try(rt: Runtime, claimed: ClaimedDelivery, error: RemoteError | None = None) -> datetime:
    """Return the end of the backoff, but no later than the moment at which the text expires."""
    pause = backoff(claimed.attempts, error.retry_after if error else None)
    return min(rt.now() + pause, claimed.expires_at)


@patient
def postpone(rt: Runtime, claimed: ClaimedDelivery, retry: Retry) -> bool:
    """End the lease until ``retry.due_at``. An error of the whole carrier trips its circuit and costs no attempt.

    Return whether another delivery is due: a callback may have settled the text meanwhile.
    """
    with rt.database.transaction() as tx:
        conversation_queue.verify_lease(tx, claimed.lease)
        message = tx.session.get_one(Message, claimed.message_id, with_for_update=True)
        settled, more = message.status not in UNSENT, False
        if settled:
            more = conversation_queue.settle(tx, claimed.lease)
        else:
            _come_due_again(rt, tx, claimed, message, retry)
    if settled:
        return settled_meanwhile(rt, claimed, more)
    words = "message %s waits, attempt %s: %s"
    log.info(words, claimed.message_id, claimed.attempts, retry.reason, extra=ended(rt, claimed, "waits"))
    return False


def _come_due_again(rt: Runtime, tx: Transaction, claimed: ClaimedDelivery, message: Message, retry: Retry) -> None:
    error, due_at = retry.error, retry.due_at
    if isinstance(error, QueueFull):
        due_at = message.not_before = _end_of_pause(rt, tx, claimed, message)
        message.attempts -= 1
    trips = error is not None and error.provider_wide
    conversation_queue.postpone(tx, claimed.lease, tx.now if trips else due_at)
    message.error = retry.reason
    message.response_received = message.response_received or retry.response_received
    message.status = retry.status or message.status
    _close_circuits(tx, claimed, error)
    if error and trips:
        message.attempts -= 1
        circuit_breakers.trip(tx, error)


def settled_meanwhile(rt: Runtime, claimed: ClaimedDelivery, more: bool) -> bool:
    """Log that a callback, or an opt-out, has settled the text during the attempt. Call it behind the commit."""
    log.info("message %s was settled meanwhile", claimed.message_id, extra=ended(rt, claimed, "settled_meanwhile"))
    return more


def _end_of_pause(rt: Runtime, tx: Transaction, claimed: ClaimedDelivery, message: Message) -> datetime:
    """Pause the sender. This text is among the first after the pause, and finds out whether the queue has space."""
    sender, tried_at = rt.carrier.sending_identity(claimed.text.sender), message.attempted_at or tx.now
    return min(rate_limiter.pause_sender(tx, sender, tried_at), claimed.expires_at)


@patient
def give_up(
    rt: Runtime, claimed: ClaimedDelivery, why: str, error: RemoteError | None = None, *, coded: bool = True
) -> bool:
    """Give the text up, in the table and in the log. Return whether another delivery is due.

    ``coded``: the error's code is the reason, and decides whether the text is sent again.
    """
    with _closing(rt, claimed, error) as closing:
        message = closing.message
        settled_by_callback = message.status not in UNSENT
        if not settled_by_callback:
            message.status, message.settled_at, message.error = MessageStatus.GIVEN_UP, closing.tx.now, why
            message.error_code = error.code if error and coded else None
            receipts.failed(rt, closing.tx, message)
    if settled_by_callback:
        return settled_meanwhile(rt, claimed, closing.more)
    words = "message %s given up after %s attempts: %s"
    log.error(words, claimed.message_id, claimed.attempts, why, extra=ended(rt, claimed, "given_up"))
    return closing.more
