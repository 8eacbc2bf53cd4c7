"""The look: the text was handed over, or may have been, and the carrier's list tells what came of it.

By the words of its texts mostly; where the account hides them: ``redacted``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import or_, select

from bridge.db.models import UNSENT, Message, MessageStatus
from bridge.outbound import opt_outs
from bridge.outbound.delivery import redacted
from bridge.outbound.delivery.claim import begin_sending, cancel
from bridge.outbound.delivery.redacted import TRIAL_PREFIX, TWIN_SKEW
from bridge.outbound.delivery.send import send
from bridge.outbound.delivery.settle import give_up, postpone, settle_accepted
from bridge.outbound.delivery.values import NOT_IN_TIME, RECHECK_AFTER, ClaimedDelivery, GivenUp
from bridge.outbound.formatting.smart import skeleton
from bridge.providers.carriers.contract import CarriedText, scopes
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import DELIVERIES
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

CLOCK_SKEW = timedelta(minutes=5)
"""How far the carrier's clock may be behind ours."""


def reconcile(rt: Runtime, booked: ClaimedDelivery) -> None:
    """The carrier's list tells whether it was taken. Only what it surely has not is sent again."""
    since = booked.first_attempt_at - CLOCK_SKEW
    listed = rt.carrier.sent_to(booked.text.recipient, booked.text.sender, since)
    owned = _owned(rt, listed)
    free = [text for text in listed if text.id not in owned]
    others = _given_up(rt, booked, since)
    if found := _by_words(booked, free, others, since):
        settle_accepted(rt, booked, found, proven=False)
    elif rt.now() < booked.taken_by:
        look_again = min(booked.taken_by, rt.now() + RECHECK_AFTER)
        postpone(rt, booked, look_again, "it is not in the carrier's list yet")
    elif found := redacted.only_one(rt, booked, free, others):
        settle_accepted(rt, booked, found, proven=False)
    elif any(redacted.may_be(rt, booked, text) for text in free):
        _await_callback(rt, booked)
    else:
        _send_again(rt, booked)


def _await_callback(rt: Runtime, booked: ClaimedDelivery) -> None:
    """It can't be told by the list, and a text that may have been taken is never sent again: only its callback, which
    has our name for it, can tell. The list is asked again more and more rarely.
    """
    if rt.now() >= booked.send_by:
        give_up(rt, booked, f"{redacted.WHY}, and no callback came within ANSWER_WITHIN")
        return
    log.warning("message %s waits for its callback: %s", booked.message_id, redacted.WHY)
    pause = max(RECHECK_AFTER, (rt.now() - booked.first_attempt_at) / 2)
    postpone(rt, booked, min(rt.now() + pause, booked.send_by), f"{redacted.WHY}; its callback will tell")


def _send_again(rt: Runtime, booked: ClaimedDelivery) -> None:
    if rt.now() >= booked.send_by:
        give_up(rt, booked, NOT_IN_TIME)
        return
    with rt.sessions.begin() as session:
        conversation_queue.verify_lease(session, booked.claim)
        message = session.get_one(Message, booked.message_id, with_for_update=True)
        if message.status in UNSENT and opt_outs.forbid(session, message):
            cancel(rt, session, message)
        circuit_breakers.close(session, booked.probed, DELIVERIES, rt.now())  # the carrier has shown its list
        goes = message.status in UNSENT  # or it was settled by a callback, meanwhile
        if not goes:
            conversation_queue.settle(session, booked.claim, rt.now())
        elif circuit_breakers.is_open(session, scopes(rt.carrier, booked.text.sender)):
            goes, message.status = False, MessageStatus.QUEUED  # it is claimed anew, as one that must be admitted
            conversation_queue.postpone(session, booked.claim, rt.now())
        else:
            begin_sending(rt, message)
    if goes:
        send(rt, booked)


def _owned(rt: Runtime, listed: Sequence[CarriedText]) -> set[str]:
    """Those of the carrier's texts that are known to be another row's, also as its second copy."""
    ids = [text.id for text in listed]
    rows = select(Message.carrier_id, Message.twin_id).where(or_(Message.carrier_id.in_(ids), Message.twin_id.in_(ids)))
    with rt.sessions() as session:
        return {carrier_id for row in session.execute(rows) for carrier_id in row if carrier_id}


def _given_up(rt: Runtime, booked: ClaimedDelivery, since: datetime) -> Sequence[GivenUp]:
    """Texts of this pair that were given up or cancelled shortly before, and may yet turn up in the list."""
    given_up = select(Message.body, Message.attempted_at).where(
        Message.conversation_id == booked.claim.conversation_id,
        Message.id < booked.message_id,
        Message.status.in_((MessageStatus.GIVEN_UP, MessageStatus.CANCELED)),
        Message.settled_at >= since,
        Message.attempted_at.is_not(None),
    )
    with rt.sessions() as session:
        return [GivenUp(body, attempted_at) for body, attempted_at in session.execute(given_up) if attempted_at]


def _by_words(
    booked: ClaimedDelivery, free: Sequence[CarriedText], others: Sequence[GivenUp], since: datetime
) -> CarriedText | None:
    """The oldest one with these words that no row owns: texts of one pair are sent one after the other.

    What the carrier has made before is not this text. Where an equal one was given up shortly before, the two clocks
    are trusted to be set. Words that differ by typography alone count where none are equal to the letter.
    """
    for same in (_same_words, _same_letters):
        twin = any(same(other.body, booked.text.body) for other in others)
        not_before = booked.first_attempt_at.replace(microsecond=0) - TWIN_SKEW if twin else since
        fits = [text for text in free if same(text.body, booked.text.body)]
        fits = [text for text in fits if text.created_at is None or text.created_at >= not_before]
        if fits:
            return fits[-1]
    return None


def _same_words(carried: str, ours: str) -> bool:
    """Carriers trim white space. Words that only end with ours are another text."""
    shown, wanted = carried.split(), ours.split()
    return shown in (wanted, TRIAL_PREFIX.split() + wanted)


def _same_letters(carried: str, ours: str) -> bool:
    """The account may have the carrier swap typography for plain characters (Smart Encoding)."""
    shown, wanted = skeleton(carried), skeleton(ours)
    return bool(wanted) and shown in (wanted, skeleton(TRIAL_PREFIX + ours))
