"""Delivery receipts: what the carrier says became of a text, and what follows from it.

What lives here: the reducer of its reports, which may come late, twice, out of order, or before the send has returned;
and the treatment of what was not delivered. Where no report comes: ``bridge.maintenance.status_poll``. What goes again:
``bridge.maintenance.resend``.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import IntegrityError

from bridge.db.models import UNSENT, Conversation, Direction, Message, MessageStatus
from bridge.db.transaction import Transaction
from bridge.lib.phone import masked
from bridge.outbound import opt_outs
from bridge.providers.carriers.contract import (
    ARRIVED,
    FINAL,
    NOT_DELIVERED,
    RANK,
    CarriedText,
    Delivery,
    StatusReport,
    scopes,
)
from bridge.providers.carriers.spellings import same_phone
from bridge.providers.errors import AccountRefused
from bridge.queues import circuit_breakers
from bridge.queues.conversation_queue import DELIVERIES, make_due
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

UNSETTLED = (*UNSENT, MessageStatus.GIVEN_UP, MessageStatus.CANCELED)
"""A text in one of these states may yet turn out to have been sent."""

POLL_STATUS_AFTER = timedelta(hours=12)
"""So long after it was sent, the carrier is asked what became of a text of which it has told no end."""


def report(rt: Runtime, said: StatusReport) -> bool:
    """Note what the carrier says of a text; False when it says nothing new. Late and repeated reports do no harm.

    A report that carries our reference also settles a text whose sending had no known outcome.
    """
    if said.error_code in opt_outs.UNSUBSCRIBED:
        unsubscribed(rt, *_named(said), recipient=said.recipient)
    try:
        return _report(rt, said)
    except IntegrityError:  # somebody takes the id for another text at this very moment; the carrier tells more later
        log.error("a report of %s is left out: its id has just been given to another text of ours", said.carrier_id)
        return False


def unsubscribed(rt: Runtime, *which: ColumnElement[bool], recipient: str = "") -> bool:
    """The carrier takes this text for nobody who has opted out: note it, and cancel what waits.

    False where the person has opted in again since the text was handed over, or is not the ``recipient``. In a
    transaction of its own, before the text itself is settled: opt-outs are locked before conversations.
    """
    pair = (Conversation.bridge_number, Conversation.phone, Conversation.service)
    with rt.database.transaction() as tx:
        about = select(Message.conversation_id, Message.attempted_at, *pair)
        text = tx.session.execute(about.join(Conversation).where(*which)).first()
        if text is None or not same_phone(recipient, text.phone):
            return False
        reach = opt_outs.reach(rt.settings, text.bridge_number, text.phone, text.service)
        new = opt_outs.record(tx, reach, opt_outs.BY_CARRIER, text.attempted_at or rt.now())
        if new:
            opt_outs.cancel(tx, reach)
        is_out = opt_outs.has_opted_out(tx, text.conversation_id)
    if new:
        log.warning("%s has opted out of %s: %s", masked(text.phone), masked(text.bridge_number), opt_outs.BY_CARRIER)
    return is_out


def record_accepted(
    rt: Runtime, tx: Transaction, message: Message, carried: CarriedText, *, proven: bool = True
) -> bool:
    """The carrier has it, under this id and as far as this; False when that is not news. The line is locked.

    ``proven``: by our reference in a callback, or by the answer to the send; not by a look at the carrier's list.
    Call :func:`tell` once the transaction has ended.
    """
    if message.status in UNSETTLED:
        owned = _owned(tx, message, carried.id) if proven else carried.id
        message.status, message.carrier_id, message.settled_at = MessageStatus.SENT, owned, rt.now()
        message.error, message.resend_at = None, None
        message.poll_status_at = rt.now() + POLL_STATUS_AFTER if owned else None
    elif message.carrier_id not in (None, carried.id):
        _record_duplicate(tx, message, carried)
        return False
    return note(rt, tx, message, carried.status, carried.error_code)


def note(rt: Runtime, tx: Transaction, message: Message, status: Delivery, code: int | None) -> bool:
    """How far the carrier has brought a text, and what follows from it; False when that is not news."""
    if status in ARRIVED:
        message.resend_at = None
    if not _is_news(message, status, code):
        return False
    message.delivery, message.error_code = status, code or message.error_code
    if RANK[status] >= FINAL:
        message.poll_status_at = None
    if status in NOT_DELIVERED:
        message.settled_at = rt.now()
        failed(rt, tx, message)
    elif status in ARRIVED and message.attempted_at:
        needed = scopes(rt.carrier, _number(tx, message))
        circuit_breakers.close_proven(tx, needed, DELIVERIES, message.attempted_at)
    return True


def failed(rt: Runtime, tx: Transaction, message: Message) -> None:
    """Here every text comes by that was refused for good or not delivered, with the carrier's code if it gave one.

    A text that was sent and met a fault of our own set-up puts the carrier on hold, or its sender there. Some go again
    after a while, never after ``expires_at``; until then they stand in nobody's way.
    """
    meaning = rt.carrier.meaning(message.error_code)
    if message.status is MessageStatus.SENT and meaning.treatment.concerns_others:
        sender = rt.carrier.sending_identity(_number(tx, message)) if meaning.treatment.sender_only else None
        cause = AccountRefused(meaning.sentence, provider=rt.carrier.provider, code=meaning.code, part=sender)
        circuit_breakers.trip(tx, cause, from_receipt=True)
    pauses = meaning.treatment.send_again[message.resends :]
    if meaning.treatment.in_pieces and (message.segments or 1) < 2:
        return
    if not pauses or message.delivery is Delivery.CANCELED or message.resent_as:
        return
    resend_at = rt.now() + pauses[0]
    if message.expires_at and resend_at < message.expires_at:
        message.resend_at = resend_at


def _number(tx: Transaction, message: Message) -> str:
    """The number of ours that the text is from."""
    return tx.session.get_one(Conversation, message.conversation_id).bridge_number


def tell(rt: Runtime, message: Message) -> None:
    """In the log, if it was not delivered."""
    if message.delivery in NOT_DELIVERED:
        meaning = rt.carrier.meaning(message.error_code)
        again = f"; it goes again at {message.resend_at:%Y-%m-%d %H:%M:%S} UTC" if message.resend_at else ""
        what = f"{message.delivery}, error {message.error_code} ({meaning.failure}): {meaning.sentence}"
        log.error("message %s was not delivered: %s%s", message.id, what, again)


def _report(rt: Runtime, said: StatusReport) -> bool:
    with rt.database.transaction() as tx:
        message = _find(tx, said)
        if message is None:
            return False
        settles = message.status in UNSETTLED
        news = record_accepted(rt, tx, message, CarriedText(said.carrier_id, said.status, error_code=said.error_code))
        if settles:
            make_due(tx, DELIVERIES, message.conversation_id)
    if news:
        tell(rt, message)
    return news


def _find(tx: Transaction, said: StatusReport) -> Message | None:
    """Our row, locked. The carrier may spell the phone otherwise than we do, but a wholly other one is not meant."""
    named = tx.session.execute(select(Message, Conversation.phone).join(Conversation).where(*_named(said))).first()
    if named is None:
        return None
    message, phone = named
    if not same_phone(said.recipient, phone):
        log.warning(
            "a report of message %s is left out: it names another phone, %s", message.id, masked(said.recipient)
        )
        return None
    # Its line may have to move: the conversation is always locked before its texts.
    if message.status in UNSETTLED or message.carrier_id != said.carrier_id:
        tx.session.get_one(Conversation, message.conversation_id, with_for_update=True)
    tx.session.refresh(message, with_for_update=True)
    return message


def _named(said: StatusReport) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The text that is meant: by our own name for it, which nobody can guess, or by the carrier's."""
    name = Message.reference == said.reference if said.reference else Message.carrier_id == said.carrier_id
    return name, Message.direction == Direction.OUT


def _is_news(message: Message, status: Delivery, code: int | None) -> bool:
    """It ranks higher than what is known, or brings the code that was missing."""
    known = message.delivery
    if known is None or RANK[status] > RANK[known]:
        return True
    if status is not known and RANK[status] == RANK[known] == FINAL:
        log.error("message %s was %s, and is now told to be %s; the first counts", message.id, known, status)
    return status is known and status in NOT_DELIVERED and message.error_code is None and code is not None


def _record_duplicate(tx: Transaction, message: Message, copy: CarriedText) -> None:
    """The second id is kept, so that no look takes it for another text with the same words."""
    if copy.status in ARRIVED:
        message.resend_at = None
    if message.duplicate_carrier_id is None:
        message.duplicate_carrier_id = _owned(tx, message, copy.id)
        log.error("message %s stands twice at the carrier: %s, %s", message.id, message.carrier_id, copy.id)


def _owned(tx: Transaction, message: Message, carrier_id: str) -> str | None:
    """The id, free to be this text's; ``None`` where a text has it that is not ours to change: a person's, or one in
    another line.

    A look may have taken it for another text with the same words. That one was never found, and is looked for again.
    """
    other = tx.session.scalar(select(Message).where(Message.carrier_id == carrier_id, Message.id != message.id))
    if other is None:
        return carrier_id
    log.error("%s was taken for message %s, and is message %s", carrier_id, other.id, message.id)
    if other.direction is Direction.IN or other.conversation_id != message.conversation_id:
        return None
    tx.session.refresh(other, with_for_update=True)
    other.carrier_id, other.duplicate_carrier_id = other.duplicate_carrier_id, None
    if other.carrier_id is None and other.resent_as is None:
        other.status, other.delivery, other.error_code = MessageStatus.SENDING, None, None
        other.settled_at, other.poll_status_at, other.resend_at = None, None, None
    tx.session.flush()  # the id must be free before it is given away
    make_due(tx, DELIVERIES, message.conversation_id)
    return carrier_id
