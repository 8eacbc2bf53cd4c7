"""The reading of the carrier's lists, number by number: patience with faults, and the cursors."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import select, update

from bridge.db.engine import insert_if_new, patient
from bridge.db.models import InboundCursor, SentCursor
from bridge.lib.phone import masked
from bridge.providers.carriers.spellings import spellings
from bridge.providers.errors import RemoteError
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

T = TypeVar("T")
Cursor = type[InboundCursor] | type[SentCursor]

OVERLAP = timedelta(minutes=5)
"""A round begins so long before the end of the last one: clocks differ, and the list may show a text late."""

FIRST_ROUND = timedelta(minutes=10)
"""How far the very first round goes back."""

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before a failed page is requested again. A long list takes a while to read: if each fault restarted
it, frequent faults would keep it from ever ending.
"""


def each_number(rt: Runtime, which: str, read: Callable[[str], None]) -> None:
    """Read the list of each of our numbers. The next call reads what fails now. ``which`` texts, for the log.

    The round ends at a provider-wide error, and when the carrier does not answer: each further number would block the
    worker's thread again. The order is random, so a number whose list never comes does not block the others. Each
    spelling of a number has its own list, and its own cursor.
    """
    numbers = [spelled for number in rt.settings.twilio_numbers for spelled in spellings(number)]
    for number in random.sample(numbers, len(numbers)):
        try:
            read(number)
        except RemoteError as error:
            log.warning("the list of the texts %s %s could not be read: %s", which, masked(number), error)
            if error.provider_wide or error.status is None:
                break


def next_page(pages: Iterator[Sequence[T]], pauses: Sequence[float]) -> Sequence[T] | None:
    """Return the next page, or ``None`` after the last one."""
    return patiently(lambda: next(pages, None), pauses)


def patiently(call: Callable[[], T], pauses: Sequence[float]) -> T:
    """Make the call, and repeat it after each pause while an error is worth a retry."""
    for pause in pauses:
        try:
            return call()
        except RemoteError as error:
            if not error.worth_retry:
                raise
            time.sleep(pause)
    return call()


def read_until(rt: Runtime, cursor: Cursor, number: str, beginning: datetime) -> datetime:
    """Return the end of the last round. The first round stores its own beginning, so nothing is lost if it fails."""
    with rt.database.transaction() as tx:
        found = tx.session.scalar(select(cursor.read_until).where(cursor.bridge_number == number))
        if found is None:
            first = insert_if_new(tx.session, cursor).values(bridge_number=number, read_until=beginning)
            tx.session.execute(first.on_conflict_do_nothing())
        return found or beginning


@patient
def advance(rt: Runtime, cursor: Cursor, number: str, until: datetime) -> None:
    """Move the cursor, but never back: another round may be ahead of this one."""
    behind = (cursor.bridge_number == number, cursor.read_until < until)
    with rt.database.transaction() as tx:
        tx.session.execute(update(cursor).where(*behind).values(read_until=until))
