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
from bridge.outbound.delivery.redacted import DUPLICATE_SKEW, TRIAL_PREFIX
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


def reconcile(rt: Runtime, claimed: ClaimedDelivery) -> None:
    """The carrier's list tells whether it was taken. Only what it surely has not is sent again."""
    since = claimed.first_attempt_at - CLOCK_SKEW
    listed = rt.carrier.sent_to(claimed.text.recipient, claimed.text.sender, since)
    owned = _owned(rt, listed)
    free = [text for text in listed if text.id not in owned]
    others = _given_up(rt, claimed, since)
    if found := _by_words(claimed, free, others, since):
        settle_accepted(rt, claimed, found, proven=False)
    elif rt.now() < claimed.absent_after:
        recheck_at = min(claimed.absent_after, rt.now() + RECHECK_AFTER)
        postpone(rt, claimed, recheck_at, "it is not in the carrier's list yet")
    elif found := redacted.only_one(rt, claimed, free, others):
        settle_accepted(rt, claimed, found, proven=False)
    elif any(redacted.may_be(rt, claimed, text) for text in free):
        _await_callback(rt, claimed)
    else:
        _send_again(rt, claimed)


def _await_callback(rt: Runtime, claimed: ClaimedDelivery) -> None:
    """It can't be told by the list, and a text that may have been taken is never sent again: only its callback, which
    has our name for it, can tell. The list is asked again more and more rarely.
    """
    if rt.now() >= claimed.expires_at:
        give_up(rt, claimed, f"{redacted.WHY}, and no callback came within ANSWER_WITHIN")
        return
    log.warning("message %s waits for its callback: %s", claimed.message_id, redacted.WHY)
    pause = max(RECHECK_AFTER, (rt.now() - claimed.first_attempt_at) / 2)
    postpone(rt, claimed, min(rt.now() + pause, claimed.expires_at), f"{redacted.WHY}; its callback will tell")


def _send_again(rt: Runtime, claimed: ClaimedDelivery) -> None:
    if rt.now() >= claimed.expires_at:
        give_up(rt, claimed, NOT_IN_TIME)
        return
    with rt.sessions.begin() as session:
        conversation_queue.verify_lease(session, claimed.lease)
        message = session.get_one(Message, claimed.message_id, with_for_update=True)
        if message.status in UNSENT and opt_outs.forbid(session, message):
            cancel(rt, session, message)
        circuit_breakers.close(session, claimed.probed, DELIVERIES, rt.now())  # the carrier has shown its list
        goes = message.status in UNSENT  # or it was settled by a callback, meanwhile
        if not goes:
            conversation_queue.settle(session, claimed.lease, rt.now())
        elif circuit_breakers.is_open(session, scopes(rt.carrier, claimed.text.sender)):
            goes, message.status = False, MessageStatus.QUEUED  # it is claimed anew, as one that must be admitted
            conversation_queue.postpone(session, claimed.lease, rt.now())
        else:
            begin_sending(rt, message)
    if goes:
        send(rt, claimed)


def _owned(rt: Runtime, listed: Sequence[CarriedText]) -> set[str]:
    """Those of the carrier's texts that are known to be another row's, also as its second copy."""
    ids = [text.id for text in listed]
    rows = select(Message.carrier_id, Message.duplicate_carrier_id).where(
        or_(Message.carrier_id.in_(ids), Message.duplicate_carrier_id.in_(ids))
    )
    with rt.sessions() as session:
        return {carrier_id for row in session.execute(rows) for carrier_id in row if carrier_id}


def _given_up(rt: Runtime, claimed: ClaimedDelivery, since: datetime) -> Sequence[GivenUp]:
    """Texts of this pair that were given up or cancelled shortly before, and may yet turn up in the list."""
    given_up = select(Message.body, Message.attempted_at).where(
        Message.conversation_id == claimed.lease.conversation_id,
        Message.id < claimed.message_id,
        Message.status.in_((MessageStatus.GIVEN_UP, MessageStatus.CANCELED)),
        Message.settled_at >= since,
        Message.attempted_at.is_not(None),
    )
    with rt.sessions() as session:
        return [GivenUp(body, attempted_at) for body, attempted_at in session.execute(given_up) if attempted_at]


def _by_words(
    claimed: ClaimedDelivery, free: Sequence[CarriedText], others: Sequence[GivenUp], since: datetime
) -> CarriedText | None:
    """The oldest one with these words that no row owns: texts of one pair are sent one after the other.

    What the carrier has made before is not this text. Where an equal one was given up shortly before, the two clocks
    are trusted to be set. Words that differ by typography alone count where none are equal to the letter.
    """
    for same in (_same_words, _same_letters):
        twin = any(same(other.body, claimed.text.body) for other in others)
        not_before = claimed.first_attempt_at.replace(microsecond=0) - DUPLICATE_SKEW if twin else since
        fits = [text for text in free if same(text.body, claimed.text.body)]
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
