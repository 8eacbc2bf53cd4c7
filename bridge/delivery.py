"""The delivery: what stands in the outbox goes to the carrier, one text after the other.

    claim    take the head of the conversation's line and note that it is being sent                 [commit]
    send     hand it over. When it may have been handed over before, ask the carrier first           no session open
    settle   the carrier's id into the row, the line moved on                                        [one commit]

What lives here: the step ``deliver`` and its decisions. What the carrier tells later: ``bridge.outbox.report``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge import holds, line
from bridge.carriers import RANK, CarriedText, OutgoingText
from bridge.db import patient
from bridge.errors import RemoteError
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


@dataclass(frozen=True)
class Booked:
    """A text that this worker has claimed, as plain values."""

    claim: Claim
    message_id: int
    text: OutgoingText
    attempts: int
    created_at: datetime
    send_by: datetime
    look_first: bool
    """It was handed over before, or may have been."""
    taken_by: datetime
    """What is not in the carrier's list by then was not taken at the last attempt."""
    admission: Admission


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
    if booked.admission is Admission.HELD:
        _give_up(rt, booked, "it could not be sent within ANSWER_WITHIN: the carrier serves nobody", None)
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
        message = _head(session, conversation_id)
        if message is None:
            line.settle(session, claim, rt.now())
            return None
        admission = holds.admit(session, rt.carrier.provider, rt.now())
        if admission is Admission.HELD and not _too_old(rt, message):
            session.rollback()
            return None
        message.attempts += 1
        booked = _booked(rt, session, claim, message, admission)
        if not booked.look_first and admission is not Admission.HELD:
            _begin(rt, message)
        return booked


def _too_old(rt: Runtime, message: Message) -> bool:
    return message.send_by is not None and rt.now() >= message.send_by


def _head(session: Session, conversation_id: int) -> Message | None:
    unsent = (Message.conversation_id == conversation_id, Message.status.in_(UNSENT))
    return session.scalar(select(Message).where(*unsent).order_by(Message.id).limit(1))


def _booked(rt: Runtime, session: Session, claim: Claim, message: Message, admission: Admission) -> Booked:
    assert message.reference and message.send_by
    pair = session.get_one(Conversation, message.conversation_id)
    look_first = message.status is MessageStatus.SENDING
    return Booked(
        claim=claim,
        message_id=message.id,
        text=OutgoingText(message.reference, pair.bridge_number, pair.phone, message.body),
        attempts=message.attempts,
        created_at=message.created_at,
        send_by=message.send_by,
        look_first=look_first,
        taken_by=(message.attempted_at or rt.now()) + (NOT_TAKEN_AFTER if message.call_over else STILL_ON_ITS_WAY),
        admission=admission,
    )


def _begin(rt: Runtime, message: Message) -> None:
    message.status, message.attempted_at, message.call_over = MessageStatus.SENDING, rt.now(), False


# -- send ----------------------------------------------------------------------------------------------------------


def _send(rt: Runtime, booked: Booked) -> None:
    """The one call that must never be made twice. ``SENDING`` has been committed just before."""
    if not rt.pulse.in_charge(booked.claim.worker):
        raise Outlived("this worker has had no pulse")
    try:
        taken = rt.carrier.send(booked.text)
    except RemoteError as error:
        if error.maybe_done:
            _not_known(rt, booked, error, call_over=error.call_over)
        else:
            _not_taken(rt, booked, error)
    else:
        _settle(rt, booked, taken)


def _look(rt: Runtime, booked: Booked) -> None:
    """The carrier's list tells whether it was taken. Only what it surely has not is sent again."""
    listed = rt.carrier.sent_to(booked.text.recipient, booked.text.sender, booked.created_at - CLOCK_SKEW)
    found = _ours(booked, listed, _owned(rt, listed))
    if found:
        _settle(rt, booked, found)
    elif rt.now() < booked.taken_by:
        look_again = min(booked.taken_by, rt.now() + LOOK_AGAIN)
        _postpone(rt, booked, look_again, "it is not in the carrier's list yet")
    else:
        _send_again(rt, booked)


def _send_again(rt: Runtime, booked: Booked) -> None:
    if rt.now() >= booked.send_by:
        _give_up(rt, booked, "it could not be sent within ANSWER_WITHIN", None)
        return
    with rt.sessions.begin() as session:
        line.hold(session, booked.claim)
        message = session.get_one(Message, booked.message_id, with_for_update=True)
        settled = message.status not in UNSENT  # by a callback, meanwhile
        if settled:
            line.settle(session, booked.claim, rt.now())
        else:
            _begin(rt, message)
    if not settled:
        _send(rt, booked)


def _owned(rt: Runtime, listed: Sequence[CarriedText]) -> set[str]:
    """Those of the carrier's texts that a row of ours has already."""
    with rt.sessions() as session:
        ids = select(Message.carrier_id).where(Message.carrier_id.in_([text.id for text in listed]))
        return {carrier_id for carrier_id in session.scalars(ids) if carrier_id}


def _ours(booked: Booked, listed: Sequence[CarriedText], owned: set[str]) -> CarriedText | None:
    """The oldest one with these words that no row owns: texts of one pair are sent one after the other."""
    same = [text for text in listed if text.id not in owned and _same_words(text.body, booked.text.body)]
    return same[-1] if same else None


def _same_words(carried: str, ours: str) -> bool:
    """A trial account's texts get a prefix, and carriers trim white space."""
    return carried.split()[-len(ours.split()) :] == ours.split()


# -- settle --------------------------------------------------------------------------------------------------------


@contextmanager
def _closing(rt: Runtime, booked: Booked) -> Iterator[Message]:
    """The row for its last change here; then the line moves on, in the same commit."""
    with rt.sessions.begin() as session:
        line.hold(session, booked.claim)
        message = session.get_one(Message, booked.message_id, with_for_update=True)
        yield message
        session.flush()
        _lift(rt, session, booked)
        line.settle(session, booked.claim, rt.now())


def _lift(rt: Runtime, session: Session, booked: Booked) -> None:
    if booked.admission is Admission.PROBE:
        holds.lift(session, rt.carrier.provider, DELIVERIES, rt.now())


@patient
def _settle(rt: Runtime, booked: Booked, taken: CarriedText) -> None:
    with _closing(rt, booked) as message:
        message.status, message.settled_at, message.error = MessageStatus.SENT, rt.now(), None
        message.carrier_id = taken.id
        if message.delivery is None or RANK[taken.status] > RANK[message.delivery]:
            message.delivery, message.error_code = taken.status, taken.error_code


def _not_taken(rt: Runtime, booked: Booked, error: RemoteError) -> None:
    """It was surely not handed over: try again, unless there is no sense in it."""
    if not error.worth_retry:
        _give_up(rt, booked, str(error), error.code)
    elif rt.now() >= booked.send_by:
        _give_up(rt, booked, f"it could not be sent within ANSWER_WITHIN; last: {error}", error.code)
    else:
        _postpone(rt, booked, _next_try(rt, booked, error), str(error), status=MessageStatus.QUEUED, error=error)


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


@patient
def _give_up(rt: Runtime, booked: Booked, why: str, code: int | None) -> None:
    """Loudly, in the table and in the log; the texts behind it go on."""
    with _closing(rt, booked) as message:
        settled_by_callback = message.status not in UNSENT
        if not settled_by_callback:
            message.status, message.settled_at = MessageStatus.GIVEN_UP, rt.now()
            message.error, message.error_code = why, code
    if not settled_by_callback:
        log.error("message %s given up after %s attempts: %s", booked.message_id, booked.attempts, why)
