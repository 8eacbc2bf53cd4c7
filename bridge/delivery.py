"""The delivery: what stands in the outbox goes to the carrier, one text after the other.

    claim    take the head of the conversation's line and note that it is being sent                 [commit]
    send     hand it over. When it may have been handed over before, ask the carrier first           no session open
    settle   the carrier's id into the row, the line moved on                                        [one commit]

What lives here: the step ``deliver`` and its decisions. What the carrier tells later: ``bridge.receipts.report``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge import holds, line, opt_outs, receipts, senders
from bridge.carriers import CarriedText, OutgoingText
from bridge.db import patient
from bridge.errors import QueueFull, RemoteError
from bridge.holds import Admission
from bridge.line import DELIVERIES, Claim, Outlived
from bridge.models import UNSENT, Conversation, Message, MessageStatus
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

BOOKING = timedelta(seconds=120)
"""Asking the carrier and sending, each with its whole timeout, and a commit that waits."""

NOT_TAKEN_AFTER = timedelta(seconds=10)
"""So long after the attempt, what is not in the carrier's list was not taken, if the carrier answered with an error."""

STILL_ON_ITS_WAY = timedelta(seconds=45)
"""The same where no answer came: we wait 20 s for one, and the carrier may work on it for 30 s."""

LOOK_AGAIN = timedelta(seconds=10)
"""Between two looks while a text may still be on its way."""

CLOCK_SKEW = timedelta(minutes=5)
"""How far the carrier's clock may be behind ours."""

TWIN_SKEW = timedelta(seconds=5)
"""The same where a text with the same words was given up before this one, and may have been taken after all: machines
whose clocks are set by the network differ by less."""

NOT_IN_TIME = "it could not be sent within ANSWER_WITHIN"


@dataclass(frozen=True)
class Booked:
    """A text that this worker has claimed, as plain values."""

    claim: Claim
    message_id: int
    text: OutgoingText
    attempts: int
    first_attempt_at: datetime
    send_by: datetime
    look_first: bool
    """It was handed over before, or may have been."""
    taken_by: datetime
    """What is not in the carrier's list by then was not taken at the last attempt."""
    probing: bool
    """The carrier is on hold, and this text finds out whether it serves again."""
    hopeless: str | None
    """Why no try is worth it."""


def deliver(rt: Runtime, conversation_id: int) -> None:
    """Send what waits for this phone, in order, until nothing is due any more."""
    try:
        with rt.pulse.holding(DELIVERIES, conversation_id):
            while booked := _claim(rt, conversation_id):
                _take(rt, booked)
    except Outlived as late:
        log.warning("%s; what this worker found out is thrown away", late)


def _take(rt: Runtime, booked: Booked) -> None:
    """One attempt at one text. Every way out leaves it settled or due again."""
    if booked.hopeless:
        _give_up(rt, booked, booked.hopeless, None)
        return
    try:
        if booked.look_first:
            _look(rt, booked)
        else:
            _send(rt, booked)
    except RemoteError as error:
        _not_known(rt, booked, error)


# -- claim ---------------------------------------------------------------------------------------------------------


def _claim(rt: Runtime, conversation_id: int) -> Booked | None:
    worker = rt.pulse.worker
    if not rt.pulse.in_charge(worker):
        return None
    with rt.sessions.begin() as session:
        claim = line.claim(session, DELIVERIES, conversation_id, worker=worker, now=rt.now(), booking=BOOKING)
        if claim is None:
            return None
        message = _permitted(rt, session, conversation_id)
        if message is None:
            line.settle(session, claim, rt.now())
            return None
        pair = session.get_one(Conversation, conversation_id)
        place = _place(rt, session, pair, message)
        if place and place > rt.now():
            message.send_from = place
            line.postpone(session, claim, place)
            return None
        admission = holds.admit(session, (rt.carrier.provider,), rt.now())
        if admission is Admission.HELD and not _too_old(rt, message):
            session.rollback()
            return None
        message.send_from = place
        message.attempts += 1
        booked = _booked(rt, claim, pair, message, admission)
        if not booked.look_first and not booked.hopeless:
            _begin(rt, message)
        return booked


def _place(rt: Runtime, session: Session, pair: Conversation, message: Message) -> datetime | None:
    """From when the text may go by the rate of its sender; ``None`` where it would be too old by then.

    A look needs no place, nor does the last try, which comes when the text gets too old in a pause of its sender.
    """
    if message.status is MessageStatus.SENDING or _too_old(rt, message):
        return message.send_from or rt.now()
    assert message.send_by
    sender = rt.carrier.queue_of(pair.bridge_number)
    if message.send_from:
        place: datetime | None = senders.kept(session, sender, message.send_from)
    else:
        segments = message.segments or 1
        length = senders.airtime(rt.settings, sender, segments)
        place = senders.reserve(session, sender, segments, length, rt.now(), message.send_by)
    return place and min(place, message.send_by)


def _too_old(rt: Runtime, message: Message) -> bool:
    return message.send_by is not None and rt.now() >= message.send_by


def _head(session: Session, conversation_id: int) -> Message | None:
    unsent = (Message.conversation_id == conversation_id, Message.status.in_(UNSENT))
    return session.scalar(select(Message).where(*unsent).order_by(Message.id).limit(1))


def _permitted(rt: Runtime, session: Session, conversation_id: int) -> Message | None:
    """The head, without what came back into the queue after an opt-out. What may have been sent is looked for first."""
    message = _head(session, conversation_id)
    while message and message.status is MessageStatus.QUEUED and opt_outs.forbid(session, message):
        _cancel(rt, session, message)
        message = _head(session, conversation_id)
    return message


def _cancel(rt: Runtime, session: Session, message: Message) -> None:
    message.status, message.settled_at, message.error = MessageStatus.CANCELED, rt.now(), opt_outs.WHY
    session.flush()


def _booked(rt: Runtime, claim: Claim, pair: Conversation, message: Message, admission: Admission) -> Booked:
    assert message.reference and message.send_by
    return Booked(
        claim=claim,
        message_id=message.id,
        text=OutgoingText(message.reference, pair.bridge_number, pair.phone, message.body),
        attempts=message.attempts,
        first_attempt_at=message.first_attempt_at or rt.now(),
        send_by=message.send_by,
        look_first=message.status is MessageStatus.SENDING,
        taken_by=(message.attempted_at or rt.now()) + (NOT_TAKEN_AFTER if message.call_over else STILL_ON_ITS_WAY),
        probing=admission is Admission.PROBE,
        hopeless=_hopeless(admission, message),
    )


def _hopeless(admission: Admission, message: Message) -> str | None:
    if admission is Admission.HELD:
        return f"{NOT_IN_TIME}: the carrier serves nobody"
    return None if message.send_from else f"{NOT_IN_TIME}: too much waits for its sender"


def _begin(rt: Runtime, message: Message) -> None:
    message.status, message.attempted_at, message.call_over = MessageStatus.SENDING, rt.now(), False
    message.first_attempt_at = message.first_attempt_at or rt.now()


# -- send ----------------------------------------------------------------------------------------------------------


def _send(rt: Runtime, booked: Booked) -> None:
    """The one call that must never be made twice. ``SENDING`` has been committed just before."""
    if not rt.pulse.in_charge(booked.claim.worker):
        raise Outlived("this worker has had no pulse")
    try:
        carried = rt.carrier.send(replace(booked.text, valid_for=booked.send_by - rt.now()))
    except RemoteError as error:
        if error.maybe_done:
            _not_known(rt, booked, error, call_over=error.call_over)
        else:
            _not_taken(rt, booked, error)
    else:
        _settle(rt, booked, carried)


def _look(rt: Runtime, booked: Booked) -> None:
    """The carrier's list tells whether it was taken. Only what it surely has not is sent again."""
    since = booked.first_attempt_at - CLOCK_SKEW
    listed = rt.carrier.sent_to(booked.text.recipient, booked.text.sender, since)
    found = _ours(booked, listed, _owned(rt, listed), _not_before(rt, booked, since))
    if found:
        _settle(rt, booked, found, proven=False)
    elif rt.now() < booked.taken_by:
        look_again = min(booked.taken_by, rt.now() + LOOK_AGAIN)
        _postpone(rt, booked, look_again, "it is not in the carrier's list yet")
    else:
        _send_again(rt, booked)


def _send_again(rt: Runtime, booked: Booked) -> None:
    if rt.now() >= booked.send_by:
        _give_up(rt, booked, NOT_IN_TIME, None)
        return
    with rt.sessions.begin() as session:
        line.hold(session, booked.claim)
        message = session.get_one(Message, booked.message_id, with_for_update=True)
        if message.status in UNSENT and opt_outs.forbid(session, message):
            _cancel(rt, session, message)
        settled = message.status not in UNSENT  # also by a callback, meanwhile
        if settled:
            line.settle(session, booked.claim, rt.now())
        else:
            _begin(rt, message)
    if not settled:
        _send(rt, booked)


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
    """A trial account's texts get a prefix, and carriers trim white space."""
    return carried.split()[-len(ours.split()) :] == ours.split()


# -- settle --------------------------------------------------------------------------------------------------------


@contextmanager
def _closing(rt: Runtime, booked: Booked) -> Iterator[tuple[Session, Message]]:
    """The row for its last change here; then the line moves on, in the same commit."""
    with rt.sessions.begin() as session:
        line.hold(session, booked.claim)
        message = session.get_one(Message, booked.message_id, with_for_update=True)
        _lift(rt, session, booked)  # what is learnt now may be a reason for the next hold
        yield session, message
        session.flush()
        line.settle(session, booked.claim, rt.now())


def _lift(rt: Runtime, session: Session, booked: Booked) -> None:
    if booked.probing:
        holds.lift(session, (rt.carrier.provider,), DELIVERIES, rt.now())


def _settle(rt: Runtime, booked: Booked, carried: CarriedText, *, proven: bool = True) -> None:
    try:
        _taken(rt, booked, carried, proven)
    except IntegrityError:  # at this moment the same id was taken for another text with these words
        if proven:
            _taken(rt, booked, carried, proven)  # now that one is there to be seen
        else:
            _postpone(rt, booked, rt.now() + LOOK_AGAIN, "what was found belongs to another text")


@patient
def _taken(rt: Runtime, booked: Booked, carried: CarriedText, proven: bool) -> None:
    with _closing(rt, booked) as (session, message):
        news = receipts.taken(rt, session, message, carried, proven=proven)
    if news:
        receipts.tell(rt, message)


def _not_taken(rt: Runtime, booked: Booked, error: RemoteError) -> None:
    """It was surely not handed over: try again, unless there is no sense in it."""
    if error.code == opt_outs.UNSUBSCRIBED:
        _unsubscribed(rt, booked, error)
    elif not error.worth_retry:
        _give_up(rt, booked, str(error), error.code)
    elif rt.now() >= booked.send_by:
        _give_up(rt, booked, f"{NOT_IN_TIME}; last: {error}", error.code)
    else:
        _postpone(rt, booked, _next_try(rt, booked, error), str(error), status=MessageStatus.QUEUED, error=error)


@patient
def _unsubscribed(rt: Runtime, booked: Booked, error: RemoteError) -> None:
    """The person has opted out, and nobody told us. That is no failure: there is nothing to mend."""
    if not receipts.unsubscribed(rt, Message.id == booked.message_id):
        _give_up(rt, booked, str(error), error.code)
        return
    with _closing(rt, booked) as (_, message):
        if message.status in UNSENT:
            message.status, message.settled_at = MessageStatus.CANCELED, rt.now()
            message.error, message.error_code = str(error), error.code


def _not_known(rt: Runtime, booked: Booked, error: RemoteError, *, call_over: bool = False) -> None:
    """It may have been handed over: look before the next try."""
    if rt.now() >= booked.send_by:
        _give_up(rt, booked, f"whether it was sent could not be found out within ANSWER_WITHIN; last: {error}", None)
    else:
        _postpone(rt, booked, _next_try(rt, booked, error), str(error), error=error, call_over=call_over)


def _next_try(rt: Runtime, booked: Booked, error: RemoteError) -> datetime:
    """No later than the moment at which it is given up: then comes the last try."""
    return min(rt.now() + line.pause(booked.attempts, error.retry_after), booked.send_by)


@patient
def _postpone(
    rt: Runtime,
    booked: Booked,
    due_at: datetime,
    why: str,
    *,
    status: MessageStatus | None = None,
    error: RemoteError | None = None,
    call_over: bool = False,
) -> None:
    held = error is not None and error.provider_wide
    with rt.sessions.begin() as session:
        line.hold(session, booked.claim)
        message = session.get_one(Message, booked.message_id, with_for_update=True)
        if message.status not in UNSENT:  # settled by a callback, meanwhile: the next one need not wait
            line.settle(session, booked.claim, rt.now())
            return
        if isinstance(error, QueueFull):
            due_at = message.send_from = _room_again(rt, session, booked, message)
            message.attempts -= 1
        line.postpone(session, booked.claim, rt.now() if held else due_at)
        message.error = why
        message.call_over = message.call_over or call_over
        if status:
            message.status = status
        if error and held:
            message.attempts -= 1
            holds.place(session, error, rt.now())
        else:
            _lift(rt, session, booked)
    log.info("message %s waits, attempt %s: %s", booked.message_id, booked.attempts, why)


def _room_again(rt: Runtime, session: Session, booked: Booked, message: Message) -> datetime:
    """The sender pauses. This text is among the first after it, and finds out whether there is room."""
    queue, tried_at = rt.carrier.queue_of(booked.text.sender), message.attempted_at or rt.now()
    return min(senders.refused(session, queue, tried_at, rt.now()), booked.send_by)


@patient
def _give_up(rt: Runtime, booked: Booked, why: str, code: int | None) -> None:
    """Loudly, in the table and in the log; the texts behind it go on."""
    with _closing(rt, booked) as (session, message):
        settled_by_callback = message.status not in UNSENT
        if not settled_by_callback:
            message.status, message.settled_at = MessageStatus.GIVEN_UP, rt.now()
            message.error, message.error_code = why, code
            receipts.failed(rt, session, message)
    if not settled_by_callback:
        log.error("message %s given up after %s attempts: %s", booked.message_id, booked.attempts, why)
