"""The claim of a delivery: lease the conversation's queue of deliveries, and reserve a slot of the sender."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import bindparam, exists, func, select
from sqlalchemy.orm import aliased

from bridge.db.models import UNSENT, Conversation, Direction, Message, MessageStatus
from bridge.db.sealing import why_unreadable
from bridge.db.transaction import Transaction
from bridge.outbound import opt_outs, rate_limiter
from bridge.outbound.delivery.values import NOT_IN_TIME, Answers, ClaimedDelivery
from bridge.providers.carriers.contract import OutgoingText, scopes
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import DELIVERIES, Lease
from bridge.queues.timing import DELIVERY_LEASE
from bridge.runtime import Runtime

NOT_ACCEPTED_AFTER = timedelta(seconds=10)
"""A text that is not in the carrier's list by then was not accepted, if the carrier answered with an error."""

STILL_ON_ITS_WAY = timedelta(seconds=45)
"""The same if no response came: we wait 20 s for one, and the carrier may work on the request for 30 s."""


def claim_delivery(rt: Runtime, conversation_id: int) -> ClaimedDelivery | None:
    """Lease the conversation's queue of deliveries and, in the same commit, record that its first text is being sent.

    If the worker dies after this commit, the next one reconciles the text with the carrier's list before it sends
    again. Return ``None`` if nothing is due, another worker has the lease, or a slot or an open circuit stops it.
    """
    worker = rt.heartbeat.worker
    if not rt.heartbeat.may_start_work(worker):
        return None
    with rt.database.transaction() as tx:
        lease = conversation_queue.claim(tx, DELIVERIES, conversation_id, worker=worker, lease_for=DELIVERY_LEASE)
        if lease is None:
            return None
        head = _permitted(rt, tx, conversation_id)
        if head is None:
            conversation_queue.settle(tx, lease)
            return None
        message = head.message
        pair = tx.session.get_one(Conversation, conversation_id)
        slot = _slot(rt, tx, pair, message)
        if slot and slot > rt.now():
            message.not_before = slot
            conversation_queue.postpone(tx, lease, slot)
            return None
        probed: tuple[str, ...] | None = ()
        give_up_reason = None if slot else f"{NOT_IN_TIME}: too much waits for its sender"
        if not give_up_reason and not why_unreadable(message.body):  # of that one nothing is sent, so it is no probe
            probed = circuit_breakers.admit(tx, _needed(rt, pair, message))
        if probed is None:
            if not _too_old(rt, message):
                tx.roll_back()
                return None
            give_up_reason = f"{NOT_IN_TIME}: the circuit of the carrier, or of the sender, is open"
        message.not_before = slot
        message.attempts += 1
        claimed = replace(
            _claimed(rt, lease, pair, message),
            probed=probed or (),
            give_up_reason=give_up_reason,
            answers=head.answers,
        )
        if not (claimed.outcome_unknown or claimed.give_up_reason or claimed.unreadable):
            begin_sending(rt, message)
        return claimed


def _slot(rt: Runtime, tx: Transaction, pair: Conversation, message: Message) -> datetime | None:
    """Return from when the text may be sent at its sender's rate; ``None`` if it would expire before.

    Reconciling needs no slot. Neither does the last attempt at a text that has expired in a pause of its sender.
    """
    if message.status is MessageStatus.SENDING or _too_old(rt, message):
        return message.not_before or rt.now()
    assert message.expires_at
    sender = rt.carrier.sending_identity(pair.bridge_number)
    if message.not_before:
        slot: datetime | None = rate_limiter.kept_slot(tx, sender, message.not_before)
    else:
        segments = message.segments or 1
        length = rate_limiter.airtime(rt.settings, sender, segments)
        slot = rate_limiter.reserve(tx, sender, segments, length, message.expires_at)
    return slot and min(slot, message.expires_at)


def _too_old(rt: Runtime, message: Message) -> bool:
    return message.expires_at is not None and rt.now() >= message.expires_at


@dataclass(frozen=True)
class _Head:
    """The text that comes next, and what it answers."""

    message: Message
    answers: Answers | None


_asked, _before = aliased(Message), aliased(Message)
_ASKED = (_asked.turn_id == Message.turn_id, _asked.direction == Direction.IN, _asked.operator.is_(None))
_TEXT = select(func.min(_asked.id)).where(*_ASKED).scalar_subquery()
_RECEIVED_AT = select(func.min(_asked.created_at)).where(*_ASKED).scalar_subquery()
_FOLLOWS = exists().where(
    _before.turn_id == Message.turn_id, _before.direction == Direction.OUT, _before.id < Message.id
)
_UNSENT = (Message.conversation_id == bindparam("conversation"), Message.status.in_(UNSENT))
_HEAD = select(Message, _TEXT, _RECEIVED_AT, _FOLLOWS).where(*_UNSENT).order_by(Message.id).limit(1)
"""Built once: building it takes longer than running it."""


def _head(tx: Transaction, conversation_id: int) -> _Head | None:
    row = tx.session.execute(_HEAD, {"conversation": conversation_id}).one_or_none()
    if row is None:
        return None
    message, text_id, received_at, follows = row
    if text_id is None or message.turn_id is None or message.operator:
        return _Head(message, None)
    return _Head(message, Answers(message.turn_id, text_id, received_at, first=not follows))


def _permitted(rt: Runtime, tx: Transaction, conversation_id: int) -> _Head | None:
    """Return the head of the queue. Cancel the texts before it that an opt-out forbids.

    A text that may have been sent is not canceled here: it is reconciled first.
    """
    head = _head(tx, conversation_id)
    while head and head.message.status is MessageStatus.QUEUED and opt_outs.forbid(tx, head.message):
        cancel(rt, tx, head.message)
        head = _head(tx, conversation_id)
    return head


def cancel(rt: Runtime, tx: Transaction, message: Message) -> None:
    """Cancel a text after an opt-out. It was surely not accepted by the carrier."""
    message.status, message.settled_at, message.error = MessageStatus.CANCELED, rt.now(), opt_outs.WHY
    tx.session.flush()


def _needed(rt: Runtime, pair: Conversation, message: Message) -> tuple[str, ...]:
    """Return the scopes whose circuits must be closed. Reconciling needs the account's alone."""
    account, sender = scopes(rt.carrier, pair.bridge_number)
    return (account,) if message.status is MessageStatus.SENDING else (account, sender)


def _claimed(rt: Runtime, lease: Lease, pair: Conversation, message: Message) -> ClaimedDelivery:
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
    )


def begin_sending(rt: Runtime, message: Message) -> None:
    """Record that the text is being sent. It is committed before the call: the carrier may accept the text."""
    message.status, message.attempted_at, message.response_received = MessageStatus.SENDING, rt.now(), False
    message.first_attempt_at = message.first_attempt_at or rt.now()
