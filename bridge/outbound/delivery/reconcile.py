"""Reconciling a delivery whose outcome is unknown: the carrier's list shows whether the text was accepted.

The words identify the text. For an account that hides them: ``bridge.outbound.delivery.redacted``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import or_, select

from bridge.db.models import UNSENT, Message, MessageStatus
from bridge.db.sealing import why_unreadable
from bridge.outbound import opt_outs
from bridge.outbound.delivery import redacted
from bridge.outbound.delivery.claim import begin_sending, cancel
from bridge.outbound.delivery.record import ended
from bridge.outbound.delivery.redacted import DUPLICATE_SKEW, TRIAL_PREFIX
from bridge.outbound.delivery.send import send
from bridge.outbound.delivery.settle import give_up, postpone, settle_accepted, settled_meanwhile
from bridge.outbound.delivery.values import NOT_IN_TIME, RECHECK_AFTER, ClaimedDelivery, GivenUp, Retry
from bridge.outbound.formatting.smart import skeleton
from bridge.providers.carriers.contract import CarriedText, scopes
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import DELIVERIES
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

CLOCK_SKEW = timedelta(minutes=5)
"""How far the carrier's clock may be behind ours."""


def reconcile(rt: Runtime, claimed: ClaimedDelivery) -> bool:
    """Find out from the carrier's list whether the text was accepted. Only a text that surely was not is sent again.

    Return whether another delivery is due.
    """
    since = claimed.first_attempt_at - CLOCK_SKEW
    listed = rt.carrier.sent_to(claimed.text.recipient, claimed.text.sender, since)
    owned = _owned(rt, listed)
    free = [text for text in listed if text.id not in owned]
    others = _given_up(rt, claimed, since)
    if found := _by_words(claimed, free, others, since):
        return settle_accepted(rt, claimed, found, identified=False)
    if rt.now() < claimed.absent_after:
        recheck_at = min(claimed.absent_after, rt.now() + RECHECK_AFTER)
        return postpone(rt, claimed, Retry(recheck_at, "it is not in the carrier's list yet"))
    if found := redacted.only_one(rt, claimed, free, others):
        return settle_accepted(rt, claimed, found, identified=False)
    if any(redacted.may_be(rt, claimed, text) for text in free):
        return _await_callback(rt, claimed)
    return _send_again(rt, claimed)


def _await_callback(rt: Runtime, claimed: ClaimedDelivery) -> bool:
    """Wait for the text's callback, which has our reference: the list does not show whether the text was accepted.

    A text that may have been accepted is never sent again. The list is read again at growing intervals.
    """
    if rt.now() >= claimed.expires_at:
        return give_up(rt, claimed, f"{redacted.WHY}, and no callback came within ANSWER_WITHIN")
    log.warning("message %s waits for its callback: %s", claimed.message_id, redacted.WHY)
    pause = max(RECHECK_AFTER, (rt.now() - claimed.first_attempt_at) / 2)
    due_at = min(rt.now() + pause, claimed.expires_at)
    return postpone(rt, claimed, Retry(due_at, f"{redacted.WHY}; the text waits for its callback"))


def _send_again(rt: Runtime, claimed: ClaimedDelivery) -> bool:
    if rt.now() >= claimed.expires_at:
        return give_up(rt, claimed, NOT_IN_TIME)
    with rt.database.transaction() as tx:
        conversation_queue.verify_lease(tx, claimed.lease)
        message = tx.session.get_one(Message, claimed.message_id, with_for_update=True)
        if message.status in UNSENT and opt_outs.forbid(tx, message):
            cancel(rt, tx, message)
        circuit_breakers.close(tx, claimed.probed, DELIVERIES)  # the carrier has served its list
        settled, more = message.status not in UNSENT, False  # or a callback has settled it meanwhile
        stopped = not settled and circuit_breakers.is_open(tx, scopes(rt.carrier, claimed.text.sender))
        if settled:
            more = conversation_queue.settle(tx, claimed.lease)
        elif stopped:
            message.status = MessageStatus.QUEUED  # it is claimed anew, as a text that must be admitted
            conversation_queue.postpone(tx, claimed.lease, tx.now)
        else:
            begin_sending(rt, message)
    if settled:
        return settled_meanwhile(rt, claimed, more)
    if stopped:
        words = "message %s waits, attempt %s: a circuit is open"
        log.info(words, claimed.message_id, claimed.attempts, extra=ended(rt, claimed, "waits"))
        return True
    return send(rt, claimed)


def _owned(rt: Runtime, listed: Sequence[CarriedText]) -> set[str]:
    """Return the ids that rows of ours have already, as their text or as its duplicate."""
    ids = [text.id for text in listed]
    rows = select(Message.carrier_id, Message.duplicate_carrier_id).where(
        or_(Message.carrier_id.in_(ids), Message.duplicate_carrier_id.in_(ids))
    )
    with rt.database.read() as session:
        return {carrier_id for row in session.execute(rows) for carrier_id in row if carrier_id}


def _given_up(rt: Runtime, claimed: ClaimedDelivery, since: datetime) -> Sequence[GivenUp]:
    """Return texts of this pair that were given up or canceled shortly before, and may yet appear in the list."""
    given_up = select(Message.body, Message.attempted_at).where(
        Message.conversation_id == claimed.lease.conversation_id,
        Message.id < claimed.message_id,
        Message.status.in_((MessageStatus.GIVEN_UP, MessageStatus.CANCELED)),
        Message.settled_at >= since,
        Message.attempted_at.is_not(None),
    )
    with rt.database.read() as session:
        return [GivenUp(body, attempted_at) for body, attempted_at in session.execute(given_up) if attempted_at]


def _by_words(
    claimed: ClaimedDelivery, free: Sequence[CarriedText], others: Sequence[GivenUp], since: datetime
) -> CarriedText | None:
    """Return the oldest text with these words that no row owns: texts of one pair are sent one after the other.

    A text that the carrier created before the first attempt is not this one. ``CLOCK_SKEW`` allows for different
    clocks. If an equal text was given up shortly before, only ``DUPLICATE_SKEW`` is allowed. Words that differ in
    typography alone count if no words are equal.
    """
    for same in (same_words, same_letters):
        duplicate = any(why_unreadable(other.body) or same(other.body, claimed.text.body) for other in others)
        not_before = claimed.first_attempt_at.replace(microsecond=0) - DUPLICATE_SKEW if duplicate else since
        fits = [text for text in free if same(text.body, claimed.text.body)]
        fits = [text for text in fits if text.created_at is None or text.created_at >= not_before]
        if fits:
            return fits[-1]
    return None


def same_words(carried: str, ours: str) -> bool:
    """Compare word by word, because carriers trim white space. A text that only ends with our words is another one."""
    shown, wanted = carried.split(), ours.split()
    return shown in (wanted, TRIAL_PREFIX.split() + wanted)


def same_letters(carried: str, ours: str) -> bool:
    """Compare without typography, which the carrier may replace by plain characters (Smart Encoding)."""
    shown, wanted = skeleton(carried), skeleton(ours)
    return bool(wanted) and shown in (wanted, skeleton(TRIAL_PREFIX + ours))
