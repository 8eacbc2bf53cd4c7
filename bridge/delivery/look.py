"""The look: the text was handed over, or may have been, and the carrier's list tells what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import or_, select

from bridge import holds, line, opt_outs
from bridge.carriers import CarriedText, scopes
from bridge.delivery.claim import begin_sending, cancel
from bridge.delivery.send import send
from bridge.delivery.settle import give_up, postpone, settle
from bridge.delivery.values import LOOK_AGAIN, NOT_IN_TIME, Booked
from bridge.line import DELIVERIES
from bridge.models import UNSENT, Message, MessageStatus
from bridge.runtime import Runtime

CLOCK_SKEW = timedelta(minutes=5)
"""How far the carrier's clock may be behind ours."""

TWIN_SKEW = timedelta(seconds=5)
"""The same where a text with the same words was given up before this one, and may have been taken after all: machines
whose clocks are set by the network differ by less."""

TRIAL_PREFIX = "Sent from your Twilio trial account - "
"""What Twilio puts before each text of a trial account, also in its list."""


def look(rt: Runtime, booked: Booked) -> None:
    """The carrier's list tells whether it was taken. Only what it surely has not is sent again."""
    since = booked.first_attempt_at - CLOCK_SKEW
    listed = rt.carrier.sent_to(booked.text.recipient, booked.text.sender, since)
    found = _ours(booked, listed, _owned(rt, listed), _not_before(rt, booked, since))
    if found:
        settle(rt, booked, found, proven=False)
    elif rt.now() < booked.taken_by:
        look_again = min(booked.taken_by, rt.now() + LOOK_AGAIN)
        postpone(rt, booked, look_again, "it is not in the carrier's list yet")
    else:
        _send_again(rt, booked)


def _send_again(rt: Runtime, booked: Booked) -> None:
    if rt.now() >= booked.send_by:
        give_up(rt, booked, NOT_IN_TIME)
        return
    with rt.sessions.begin() as session:
        line.hold(session, booked.claim)
        message = session.get_one(Message, booked.message_id, with_for_update=True)
        if message.status in UNSENT and opt_outs.forbid(session, message):
            cancel(rt, session, message)
        holds.lift(session, booked.probed, DELIVERIES, rt.now())  # the carrier has shown its list
        goes = message.status in UNSENT  # or it was settled by a callback, meanwhile
        if not goes:
            line.settle(session, booked.claim, rt.now())
        elif holds.on_hold(session, scopes(rt.carrier, booked.text.sender)):
            goes, message.status = False, MessageStatus.QUEUED  # it is claimed anew, as one that must be admitted
            line.postpone(session, booked.claim, rt.now())
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


def _not_before(rt: Runtime, booked: Booked, since: datetime) -> datetime:
    """What the carrier has made before is not this text. An equal one that was given up shortly before may yet turn up
    in the list: then the two clocks are trusted to be set.
    """
    given_up = select(Message.body).where(
        Message.conversation_id == booked.claim.conversation_id,
        Message.id < booked.message_id,
        Message.status.in_((MessageStatus.GIVEN_UP, MessageStatus.CANCELED)),
        Message.settled_at >= since,
        Message.attempted_at.is_not(None),
    )
    with rt.sessions() as session:
        twin = any(_same_words(body, booked.text.body) for body in session.scalars(given_up))
    return booked.first_attempt_at.replace(microsecond=0) - TWIN_SKEW if twin else since


def _ours(booked: Booked, listed: Sequence[CarriedText], owned: set[str], not_before: datetime) -> CarriedText | None:
    """The oldest one with these words that no row owns: texts of one pair are sent one after the other."""
    same = [text for text in listed if text.id not in owned and _same_words(text.body, booked.text.body)]
    same = [text for text in same if text.created_at is None or text.created_at >= not_before]
    return same[-1] if same else None


def _same_words(carried: str, ours: str) -> bool:
    """Carriers trim white space. Words that only end with ours are another text."""
    shown, wanted = carried.split(), ours.split()
    return shown in (wanted, TRIAL_PREFIX.split() + wanted)
