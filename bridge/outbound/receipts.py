"""Delivery receipts: the carrier's reports on the status of a text, and their effects.

Reports may come late, twice, out of order, or before the send has returned. This module merges them into the text's
row, and decides the treatment of an undelivered text. Missing reports: ``bridge.maintenance.status_poll``. Resends:
``bridge.maintenance.resend``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError

from bridge.db.models import UNSENT, Conversation, Direction, Message, MessageStatus
from bridge.db.transaction import Transaction
from bridge.lib.phone import channel_of, masked
from bridge.outbound import opt_outs, store
from bridge.outbound.consents import Evidence
from bridge.outbound.store import Progress, ReportedText
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

_ID = re.compile(r"[A-Za-z0-9]{20,64}")
"""An id of a carrier. A phone number is shorter, and words have blanks between them."""

POLL_STATUS_AFTER = timedelta(hours=12)
"""How long after the send the carrier is asked for the status of a text without a final one."""


def report_later(rt: Runtime, reported: StatusReport) -> bool:
    """Record a report of progress a moment later, with all others of that moment. Return False for any other report.

    If the process is killed before, the carrier is asked for the text's status after :data:`POLL_STATUS_AFTER`.
    """
    return _is_progress(reported) and rt.later(report_each, reported)


def report_each(rt: Runtime, reports: Sequence[StatusReport]) -> None:
    """Record reports of progress: together, and those that may change more than their text alone."""
    for reported, news in zip(reports, report_many(rt, reports), strict=True):
        if news is None:
            _report_alone(rt, reported)


def report(rt: Runtime, reported: StatusReport) -> bool:
    """Record the carrier's report on a text. Return False if it has nothing new. Late and repeated reports do no harm.

    A report with our reference also settles a text whose outcome was unknown.
    """
    news = rt.together(report_many, reported) if _is_progress(reported) else None
    return _report_alone(rt, reported) if news is None else news


def _is_progress(reported: StatusReport) -> bool:
    """Return whether the report may be of the common kind, as far as one sees without its text."""
    return bool(reported.reference) and reported.error_code is None and reported.status not in NOT_DELIVERED


def _report_alone(rt: Runtime, reported: StatusReport) -> bool:
    if reported.error_code in opt_outs.UNSUBSCRIBED:
        unsubscribed(rt, *_named(reported), recipient=reported.recipient)
    try:
        return _report(rt, reported)
    except IntegrityError:  # another worker has just stored the id for another text; the carrier reports again later
        shown = _shown(reported.carrier_id)
        log.error("a report of %s is left out: its id has just been stored for another text of ours", shown)
        return False


def report_many(rt: Runtime, reports: Sequence[StatusReport]) -> Sequence[bool | None]:
    """Record reports of progress. Return whether each has something new; ``None``: it may change more than its text."""
    with rt.database.transaction() as tx:
        found = store.find(tx, reports)
        known = {n for n, text in found.items() if _is_plain(reports[n], text) and _is_old(reports[n], text)}
        plain = {n: text for n, text in found.items() if n not in known and _is_plain(reports[n], text)}
        ahead = _furthest(reports, plain)
        advanced = store.advance(tx, [_progress(reports[n], found[n]) for n in ahead.values()])
    recorded = {ahead[text_id] for text_id in advanced}
    known |= {n for n, text in plain.items() if text.id in advanced}
    return [True if n in recorded else False if n in known else None for n in range(len(reports))]


def _furthest(reports: Sequence[StatusReport], plain: Mapping[int, ReportedText]) -> dict[int, int]:
    """Return the report that brings each text furthest, the first of equal ones, by the text's id."""
    ahead: dict[int, int] = {}
    for n, text in plain.items():
        if RANK[reports[n].status] > RANK[reports[ahead.setdefault(text.id, n)].status]:
            ahead[text.id] = n
    return ahead


def _is_plain(reported: StatusReport, text: ReportedText) -> bool:
    """Return whether the report can change nothing but how far this text has come."""
    same = text.is_sent and text.carrier_id == reported.carrier_id and same_phone(reported.recipient, text.phone)
    clash = text.delivery not in (None, reported.status) and RANK[text.delivery or reported.status] >= FINAL
    return same and not text.troubled and not clash


def _is_old(reported: StatusReport, text: ReportedText) -> bool:
    return text.delivery is not None and RANK[reported.status] <= RANK[text.delivery]


def _progress(reported: StatusReport, text: ReportedText) -> Progress:
    return Progress(text, reported.status, final=RANK[reported.status] >= FINAL)


def unsubscribed(rt: Runtime, *which: ColumnElement[bool], recipient: str = "") -> bool:
    """Record that the carrier refuses this text because the person has opted out, and cancel the person's work.

    Return False if the person has opted in again since the text was sent, or is not the ``recipient``. This is a
    transaction of its own, before the text itself is settled: opt-outs are locked before conversations.
    """
    pair = (Conversation.bridge_number, Conversation.phone, Conversation.service)
    with rt.database.transaction() as tx:
        about = select(Message.conversation_id, Message.attempted_at, *pair)
        text = tx.session.execute(about.join(Conversation).where(*which)).first()
        if text is None or not same_phone(recipient, text.phone):
            return False
        reach = opt_outs.reach(rt.settings, text.bridge_number, text.phone, text.service)
        at, channel = text.attempted_at or rt.now(), channel_of(text.phone)
        new = opt_outs.record(tx, reach, Evidence(opt_outs.BY_CARRIER, at, channel))
        if new:
            opt_outs.cancel(tx, reach)
        is_out = opt_outs.has_opted_out(tx, text.conversation_id)
    if new:
        log.warning("%s has opted out of %s: %s", masked(text.phone), masked(text.bridge_number), opt_outs.BY_CARRIER)
    return is_out


def record_accepted(
    rt: Runtime, tx: Transaction, message: Message, carried: CarriedText, *, identified: bool = True
) -> bool:
    """Record that the carrier accepted the text, with its id and status. Return True if this is new.

    ``identified``: our reference in a callback, or the response to the send, identifies the text. The carrier's list
    does not: it only matches the words, so it never takes an id from another row. The caller holds the conversation's
    lock, and calls :func:`tell` after the commit.
    """
    if message.status in UNSETTLED:
        owned = _owned(tx, message, carried.id) if identified else carried.id
        message.status, message.carrier_id, message.settled_at = MessageStatus.SENT, owned, rt.now()
        message.error, message.resend_at = None, None
        message.poll_status_at = rt.now() + POLL_STATUS_AFTER if owned else None
    elif message.carrier_id not in (None, carried.id):
        _record_duplicate(tx, message, carried)
        return False
    return note(rt, tx, message, carried.status, carried.error_code)


def note(rt: Runtime, tx: Transaction, message: Message, status: Delivery, code: int | None) -> bool:
    """Record a status of the text, and apply its effects. Return False if it is not new."""
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
    """Apply the treatment of a text that was refused for good or not delivered. The carrier's code, if any, decides.

    A text may be sent and then fail at a fault of our own set-up. That trips the circuit of the carrier, or of the
    sender. Some texts get a time for a resend, never after ``expires_at``. Until then they delay no other text.
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
    """Return the number of ours that the text is from."""
    return tx.session.get_one(Conversation, message.conversation_id).bridge_number


def tell(rt: Runtime, message: Message) -> None:
    """Log the text if it was not delivered."""
    if message.delivery in NOT_DELIVERED:
        meaning = rt.carrier.meaning(message.error_code)
        again = f"; it is sent again at {message.resend_at:%Y-%m-%d %H:%M:%S} UTC" if message.resend_at else ""
        what = f"{message.delivery}, error {message.error_code} ({meaning.failure}): {meaning.sentence}"
        log.error("message %s was not delivered: %s%s", message.id, what, again)


def _report(rt: Runtime, reported: StatusReport) -> bool:
    with rt.database.transaction() as tx:
        message = _find(tx, reported)
        if message is None:
            return False
        settles = message.status in UNSETTLED
        news = record_accepted(
            rt, tx, message, CarriedText(reported.carrier_id, reported.status, error_code=reported.error_code)
        )
        if settles:
            make_due(tx, DELIVERIES, message.conversation_id)
    if news:
        tell(rt, message)
    return news


def _find(tx: Transaction, reported: StatusReport) -> Message | None:
    """Return our row, locked. The carrier may spell the phone differently. A report on another phone is left out.

    The row may be deleted before it is locked: the person is forgotten, or the text is purged.
    """
    named = tx.session.execute(select(Message, Conversation.phone).join(Conversation).where(*_named(reported))).first()
    if named is None:
        return None
    message, phone = named
    if not same_phone(reported.recipient, phone):
        log.warning(
            "a report of message %s is left out: it names another phone, %s", message.id, masked(reported.recipient)
        )
        return None
    changes_more = message.status in UNSETTLED or message.carrier_id != reported.carrier_id
    if changes_more or reported.status in NOT_DELIVERED:
        return locked(tx, message)
    return _locked_alone(tx, message)


def locked(tx: Transaction, message: Message) -> Message | None:
    """Return the text as it is now, locked with its conversation; ``None``: it is deleted.

    The queue may come due, or a circuit may trip. The conversation is always locked before its texts.
    """
    if tx.session.get(Conversation, message.conversation_id, with_for_update=True) is None:
        return None
    return _locked_alone(tx, message)


def _locked_alone(tx: Transaction, message: Message) -> Message | None:
    return tx.session.get(Message, message.id, with_for_update=True, populate_existing=True)


def _named(reported: StatusReport) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return the conditions for the text: by our reference, which can't be guessed, or else by the carrier's id."""
    name = Message.reference == reported.reference if reported.reference else Message.carrier_id == reported.carrier_id
    return name, Message.direction == Direction.OUT


def _is_news(message: Message, status: Delivery, code: int | None) -> bool:
    """Return whether the status ranks higher than the stored one, or brings the missing code."""
    known = message.delivery
    if known is None or RANK[status] > RANK[known]:
        return True
    if status is not known and RANK[status] == RANK[known] == FINAL:
        log.error("message %s was %s, and is now reported as %s; the first status counts", message.id, known, status)
    return status is known and status in NOT_DELIVERED and message.error_code is None and code is not None


def _record_duplicate(tx: Transaction, message: Message, copy: CarriedText) -> None:
    """Store the id of a second copy, so that reconciling does not match it to another text with the same words."""
    if copy.status in ARRIVED:
        message.resend_at = None
    if message.duplicate_carrier_id is None:
        message.duplicate_carrier_id = _owned(tx, message, copy.id)
        ids = (_shown(message.carrier_id or ""), _shown(copy.id))
        log.error("message %s was accepted twice by the carrier: %s, %s", message.id, *ids)


def _shown(carrier_id: str) -> str:
    """Return the id as a log may have it: whatever else a request names might be words or a number."""
    return carrier_id if _ID.fullmatch(carrier_id) else "an odd id"


def _owned(tx: Transaction, message: Message, carrier_id: str) -> str | None:
    """Free the id for this text, and return it. Return ``None`` if a person's text or another conversation's has it.

    Reconciling may have matched the id to another text with the same words. The outcome of that text is unknown again,
    and it is reconciled again.
    """
    other = tx.session.scalar(select(Message).where(Message.carrier_id == carrier_id, Message.id != message.id))
    if other is None:
        return carrier_id
    log.error("%s was matched to message %s, and is message %s", _shown(carrier_id), other.id, message.id)
    if other.direction is Direction.IN or other.conversation_id != message.conversation_id:
        return None
    tx.session.refresh(other, with_for_update=True)
    if other.status is MessageStatus.OUTSIDE:
        _withdraw(tx, other)
        return carrier_id
    other.carrier_id, other.duplicate_carrier_id = other.duplicate_carrier_id, None
    if other.carrier_id is None and other.resent_as is None:
        other.status, other.delivery, other.error_code = MessageStatus.SENDING, None, None
        other.settled_at, other.poll_status_at, other.resend_at = None, None, None
    tx.session.flush()  # the id must be free before it is given away
    make_due(tx, DELIVERIES, message.conversation_id)
    return carrier_id


def _withdraw(tx: Transaction, outside: Message) -> None:
    """Delete the row of a text that counted as another tool's. The carrier has named it as ours."""
    reactions = update(Message).where(Message.reacts_to == outside.id).values(reacts_to=None)
    tx.session.execute(reactions)
    tx.session.delete(outside)
    tx.session.flush()
