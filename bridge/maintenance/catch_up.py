"""Catch-up: fetch the texts that the carrier accepted and could not bring to the webhook.

The bridge reads the carrier's list again and again, each time from the end of the last round. A text that is not stored
yet is received like one from the webhook. So it does no harm if both bring a text, or if two rounds run at once. The
carrier's adapter does the paging.
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
"""A round begins so long before the end of the last one: clocks differ, and the list may show a text late."""

FIRST_ROUND = timedelta(minutes=10)
"""How far the very first round goes back: a bridge that is set up today has no answers to last week's texts."""

LEAVE_TO_WEBHOOK = timedelta(seconds=20)
"""Younger texts may still come by the webhook: carriers wait up to 15 s for its answer."""


PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before a failed page is requested again. A long list takes a while to read: if each fault restarted
it, frequent faults would keep it from ever ending.
"""


def catch_up(rt: Runtime, pauses: Sequence[float] = PAUSES) -> None:
    """Store the texts to our numbers that no webhook brought. The next call reads what fails now.

    The round ends at a provider-wide error, and when the carrier does not answer: each further number would block the
    worker's thread again. The order is random, so a number whose list never comes does not block the others. Each
    spelling of a number has its own list, and its own cursor.
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
    """Read one list, the oldest text first. The cursor moves page by page: after a fault, the next round goes on."""
    until = rt.now() - LEAVE_TO_WEBHOOK
    since = _read_until(rt, number, until + OVERLAP - FIRST_ROUND) - OVERLAP
    pages = rt.carrier.received_by(number, since)
    while (page := _next_page(pages, pauses)) is not None:
        _store(rt, [text for text in page if (text.sent_at or until) <= until], pauses)
        if page:
            _advance(rt, number, min(page[-1].sent_at or since, until))
    _advance(rt, number, until)


def _next_page(pages: Iterator[Sequence[InboundText]], pauses: Sequence[float]) -> Sequence[InboundText] | None:
    """Return the next page, or ``None`` after the last one."""
    return _patiently(lambda: next(pages, None), pauses)


def _patiently(call: Callable[[], T], pauses: Sequence[float]) -> T:
    """Make the call, and repeat it after each pause while an error is worth a retry."""
    for pause in pauses:
        try:
            return call()
        except RemoteError as error:
            if not error.worth_retry:
                raise
            time.sleep(pause)
    return call()


def _readable(rt: Runtime, text: InboundText, pauses: Sequence[float]) -> InboundText:
    """Fetch a text by its id if the list hides its words. If they are hidden there too, the text stays hidden."""
    if not text.hidden:
        return text
    try:
        shown = _patiently(lambda: rt.carrier.fetch_received(text.carrier_id), pauses)
    except RemoteError as error:
        if error.provider_wide or error.status is None:
            raise
        log.warning("a text whose words are hidden in the list can't be fetched: %s", error)
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
    """Return the texts that are not stored yet: mostly none, at the cost of one query for the page."""
    if not texts:
        return []
    with rt.database.transaction() as tx:
        asked = Message.carrier_id.in_([text.carrier_id for text in texts])
        known = set(tx.session.scalars(select(Message.carrier_id).where(asked)))
    return [text for text in texts if text.carrier_id not in known]


def _read_until(rt: Runtime, number: str, beginning: datetime) -> datetime:
    """Return the end of the last round. The first round stores its own beginning, so nothing is lost if it fails."""
    with rt.database.transaction() as tx:
        read_until = tx.session.scalar(select(InboundCursor.read_until).where(InboundCursor.bridge_number == number))
        if read_until is None:
            first = insert_if_new(tx.session, InboundCursor).values(bridge_number=number, read_until=beginning)
            tx.session.execute(first.on_conflict_do_nothing())
        return read_until or beginning


@patient
def _advance(rt: Runtime, number: str, read_until: datetime) -> None:
    """Move the cursor, but never back: another round may be ahead of this one."""
    behind = (InboundCursor.bridge_number == number, InboundCursor.read_until < read_until)
    with rt.database.transaction() as tx:
        tx.session.execute(update(InboundCursor).where(*behind).values(read_until=read_until))
