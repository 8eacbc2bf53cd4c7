"""The claim of a text: the head of the line, with its place in the stream of its sender."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select

from bridge.db.models import UNSENT, Conversation, Message, MessageStatus
from bridge.db.transaction import Transaction
from bridge.outbound import opt_outs, rate_limiter
from bridge.outbound.delivery.values import NOT_IN_TIME, ClaimedDelivery
from bridge.providers.carriers.contract import OutgoingText, scopes
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import DELIVERIES, Lease
from bridge.queues.timing import DELIVERY_LEASE
from bridge.runtime import Runtime

NOT_ACCEPTED_AFTER = timedelta(seconds=10)
"""So long after the attempt, what is not in the carrier's list was not taken, if the carrier answered with an error."""

STILL_ON_ITS_WAY = timedelta(seconds=45)
"""The same where no answer came: we wait 20 s for one, and the carrier may work on it for 30 s."""


def claim_delivery(rt: Runtime, conversation_id: int) -> ClaimedDelivery | None:
    """Book the line, and say in the same commit that the text is being sent, so that it is known whatever happens."""
    worker = rt.heartbeat.worker
    if not rt.heartbeat.may_start_work(worker):
        return None
    with rt.database.transaction() as tx:
        lease = conversation_queue.claim(tx, DELIVERIES, conversation_id, worker=worker, lease_for=DELIVERY_LEASE)
        if lease is None:
            return None
        message = _permitted(rt, tx, conversation_id)
        if message is None:
            conversation_queue.settle(tx, lease)
            return None
        pair = tx.session.get_one(Conversation, conversation_id)
        place = _slot(rt, tx, pair, message)
        if place and place > rt.now():
            message.not_before = place
            conversation_queue.postpone(tx, lease, place)
            return None
        probed: tuple[str, ...] | None = ()
        give_up_reason = None if place else f"{NOT_IN_TIME}: too much waits for its sender"
        if not give_up_reason:
            probed = circuit_breakers.admit(tx, _needed(rt, pair, message))
        if probed is None:
            if not _too_old(rt, message):
                tx.roll_back()
                return None
            give_up_reason = f"{NOT_IN_TIME}: the carrier, or the sender there, is on hold"
        message.not_before = place
        message.attempts += 1
        claimed = _claimed(rt, lease, pair, message, probed or (), give_up_reason)
        if not claimed.outcome_unknown and not claimed.give_up_reason:
            begin_sending(rt, message)
        return claimed


def _slot(rt: Runtime, tx: Transaction, pair: Conversation, message: Message) -> datetime | None:
    """From when the text may go by the rate of its sender; ``None`` where it would be too old by then.

    A look needs no place, nor does the last try, which comes when the text gets too old in a pause of its sender.
    """
    if message.status is MessageStatus.SENDING or _too_old(rt, message):
        return message.not_before or rt.now()
    assert message.expires_at
    sender = rt.carrier.sending_identity(pair.bridge_number)
    if message.not_before:
        place: datetime | None = rate_limiter.kept_slot(tx, sender, message.not_before)
    else:
        segments = message.segments or 1
        length = rate_limiter.airtime(rt.settings, sender, segments)
        place = rate_limiter.reserve(tx, sender, segments, length, message.expires_at)
    return place and min(place, message.expires_at)


def _too_old(rt: Runtime, message: Message) -> bool:
    return message.expires_at is not None and rt.now() >= message.expires_at


def _head(tx: Transaction, conversation_id: int) -> Message | None:
    unsent = (Message.conversation_id == conversation_id, Message.status.in_(UNSENT))
    return tx.session.scalar(select(Message).where(*unsent).order_by(Message.id).limit(1))


def _permitted(rt: Runtime, tx: Transaction, conversation_id: int) -> Message | None:
    """The head, without what came back into the queue after an opt-out. What may have been sent is looked for first."""
    message = _head(tx, conversation_id)
    while message and message.status is MessageStatus.QUEUED and opt_outs.forbid(tx, message):
        cancel(rt, tx, message)
        message = _head(tx, conversation_id)
    return message


def cancel(rt: Runtime, tx: Transaction, message: Message) -> None:
    """The person has opted out, and the text was surely not handed over."""
    message.status, message.settled_at, message.error = MessageStatus.CANCELED, rt.now(), opt_outs.WHY
    tx.session.flush()


def _needed(rt: Runtime, pair: Conversation, message: Message) -> tuple[str, ...]:
    """What must not be on hold: to look, the account alone."""
    account, sender = scopes(rt.carrier, pair.bridge_number)
    return (account,) if message.status is MessageStatus.SENDING else (account, sender)


def _claimed(
    rt: Runtime, lease: Lease, pair: Conversation, message: Message, probed: tuple[str, ...], give_up_reason: str | None
) -> ClaimedDelivery:
    assert message.reference and message.expires_at
    return ClaimedDelivery(
        lease=lease,
        message_id=message.id,
        text=OutgoingText(message.reference, pair.bridge_number, pair.phone, message.body),
        attempts=message.attempts,
        first_attempt_at=message.first_attempt_at or rt.now(),
        expires_at=message.expires_at,
        outcome_unknown=message.status is MessageStatus.SENDING,
        absent_after=(message.attempted_at or rt.now())
        + (NOT_ACCEPTED_AFTER if message.response_received else STILL_ON_ITS_WAY),
        probed=probed,
        give_up_reason=give_up_reason,
    )


def begin_sending(rt: Runtime, message: Message) -> None:
    """Committed before the call: from then on the text may have been handed over."""
    message.status, message.attempted_at, message.response_received = MessageStatus.SENDING, rt.now(), False
    message.first_attempt_at = message.first_attempt_at or rt.now()
