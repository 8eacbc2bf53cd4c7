"""Catching up: the texts that the carrier took while nobody here listened.

The carrier's own list is read again and again from where the last look ended. What it shows and the inbox has never
seen comes in by the door that the webhook uses, so it does no harm when both bring a text, or when two looks are under
way at once. How a list is paged: the carrier.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import select, update

from bridge.db.engine import insert_if_new, patient
from bridge.db.models import InboundCursor, Message
from bridge.inbound import receive
from bridge.lib.phone import masked
from bridge.providers.carriers.contract import InboundText
from bridge.providers.carriers.spellings import spellings
from bridge.providers.errors import RemoteError
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

T = TypeVar("T")

OVERLAP = timedelta(minutes=5)
"""A look begins so long before the end of the last one: two clocks differ, and a list may be late to show a text."""

FIRST_LOOK = timedelta(minutes=10)
"""The first one of all goes back so far: a bridge that is set up today has no answers to last week's texts."""

LEAVE_TO_WEBHOOK = timedelta(seconds=20)
"""Texts that are younger may still be on their way here: carriers wait up to 15 s for a webhook's answer."""


PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a page that could not be read is asked for again. To read a long list takes a while: if that began
anew at each fault, it would never come to its end while faults are frequent.
"""


def catch_up(rt: Runtime, pauses: Sequence[float] = PAUSES) -> None:
    """Store what people sent to our numbers and nobody told us. What fails now is read at the next call.

    A carrier that serves nobody, or does not answer at all, is not asked for number after number: that would keep a
    thread of the worker waiting for each. The order changes, so that a number whose list never comes holds up none.
    Each spelling of a number has a list of its own, and so a mark.
    """
    numbers = [spelled for number in rt.settings.twilio_numbers for spelled in spellings(number)]
    for number in random.sample(numbers, len(numbers)):
        try:
            _read(rt, number, pauses)
        except RemoteError as error:
            log.warning("the list of the texts to %s could not be read: %s", masked(number), error)
            if error.provider_wide or error.status is None:
                break


def _read(rt: Runtime, number: str, pauses: Sequence[float]) -> None:
    """One look, the oldest text first. Its progress is kept page by page: after a fault it goes on from there."""
    until = rt.now() - LEAVE_TO_WEBHOOK
    since = _read_to(rt, number, until + OVERLAP - FIRST_LOOK) - OVERLAP
    pages = rt.carrier.received_by(number, since)
    while (page := _next_page(pages, pauses)) is not None:
        _store(rt, [text for text in page if (text.sent_at or until) <= until], pauses)
        if page:
            _advance(rt, number, min(page[-1].sent_at or since, until))
    _advance(rt, number, until)


def _next_page(pages: Iterator[Sequence[InboundText]], pauses: Sequence[float]) -> Sequence[InboundText] | None:
    """``None`` behind the last one."""
    return _patiently(lambda: next(pages, None), pauses)


def _patiently(call: Callable[[], T], pauses: Sequence[float]) -> T:
    for pause in pauses:
        try:
            return call()
        except RemoteError as error:
            if not error.worth_retry:
                raise
            time.sleep(pause)
    return call()


def _readable(rt: Runtime, text: InboundText, pauses: Sequence[float]) -> InboundText:
    """A text whose words the list hides, asked for by its id. They may be hidden there too: then it is told as such."""
    if not text.hidden:
        return text
    try:
        shown = _patiently(lambda: rt.carrier.fetch_received(text.carrier_id), pauses)
    except RemoteError as error:
        if error.provider_wide or error.status is None:
            raise
        log.warning("a text whose words are hidden in the list can't be asked for: %s", error)
        return text
    return text if shown is None else replace(text, body=shown.body, media=shown.media, hidden=shown.hidden)


def _store(rt: Runtime, texts: Sequence[InboundText], pauses: Sequence[float]) -> None:
    _store_all(rt, [_readable(rt, text, pauses) for text in _unknown(rt, texts)])


@patient
def _store_all(rt: Runtime, unknown: Sequence[InboundText]) -> None:
    stored = sum(receive.receive(rt, text) for text in unknown)
    if stored:
        log.info("%s texts came in by the carrier's list, and by no webhook", stored)


@patient
def _unknown(rt: Runtime, texts: Sequence[InboundText]) -> list[InboundText]:
    """Those that are not stored yet: mostly none, which costs one look-up for the page."""
    if not texts:
        return []
    with rt.database.transaction() as tx:
        asked = Message.carrier_id.in_([text.carrier_id for text in texts])
        known = set(tx.session.scalars(select(Message.carrier_id).where(asked)))
    return [text for text in texts if text.carrier_id not in known]


def _read_to(rt: Runtime, number: str, beginning: datetime) -> datetime:
    """Where the last look ended. The first one notes its own beginning, so that nothing is lost if it fails."""
    with rt.database.transaction() as tx:
        read_until = tx.session.scalar(select(InboundCursor.read_until).where(InboundCursor.bridge_number == number))
        if read_until is None:
            first = insert_if_new(tx.session, InboundCursor).values(bridge_number=number, read_until=beginning)
            tx.session.execute(first.on_conflict_do_nothing())
        return read_until or beginning


@patient
def _advance(rt: Runtime, number: str, read_until: datetime) -> None:
    """Never back: another look may be ahead of this one."""
    behind = (InboundCursor.bridge_number == number, InboundCursor.read_until < read_until)
    with rt.database.transaction() as tx:
        tx.session.execute(update(InboundCursor).where(*behind).values(read_until=read_until))
