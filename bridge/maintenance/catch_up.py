"""Catch-up: fetch the texts that the carrier accepted and could not bring to the webhook.

The bridge reads the carrier's list again and again, each time from the end of the last round. A text that is not stored
yet is received like one from the webhook. So it does no harm if both bring a text, or if two rounds run at once. The
carrier's adapter does the paging.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from bridge.db.engine import patient
from bridge.db.models import InboundCursor, Message
from bridge.inbound import receive
from bridge.maintenance.carrier_lists import (
    FIRST_ROUND,
    OVERLAP,
    PAUSES,
    advance,
    each_number,
    next_page,
    patiently,
    read_until,
)
from bridge.maintenance.purge_mark import RECEIVED_AROUND, not_purged
from bridge.operators import forgotten
from bridge.providers.carriers.contract import InboundText
from bridge.providers.errors import RemoteError
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

LEAVE_TO_WEBHOOK = timedelta(seconds=20)
"""Younger texts may still come by the webhook: carriers wait up to 15 s for its answer."""


def catch_up(rt: Runtime, pauses: Sequence[float] = PAUSES) -> None:
    """Store the texts to our numbers that no webhook brought. A bridge that is set up today begins ten minutes ago."""
    each_number(rt, "to", lambda number: _read(rt, number, pauses))


def _read(rt: Runtime, number: str, pauses: Sequence[float]) -> None:
    """Read one list, the oldest text first. The cursor moves page by page: after a fault, the next round goes on."""
    until = rt.now() - LEAVE_TO_WEBHOOK
    since = read_until(rt, InboundCursor, number, until + OVERLAP - FIRST_ROUND) - OVERLAP
    pages = rt.carrier.received_by(number, since)
    while (page := next_page(pages, pauses)) is not None:
        _store(rt, [text for text in page if (text.sent_at or until) <= until], pauses)
        if page:
            advance(rt, InboundCursor, number, min(page[-1].sent_at or since, until))
    advance(rt, InboundCursor, number, until)


def _readable(rt: Runtime, text: InboundText, pauses: Sequence[float]) -> InboundText:
    """Fetch a text by its id if the list hides its words. If they are hidden there too, the text stays hidden."""
    if not text.hidden:
        return text
    try:
        shown = patiently(lambda: rt.carrier.fetch_received(text.carrier_id), pauses)
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
    """Return the texts that are not stored yet: mostly none, at the cost of one query for the page.

    What may have been purged is left out, and what is forgotten.
    """
    if not texts:
        return []
    with rt.database.transaction() as tx:
        asked = Message.carrier_id.in_([text.carrier_id for text in texts])
        known = set(tx.session.scalars(select(Message.carrier_id).where(asked)))
        unknown = [text for text in texts if text.carrier_id not in known]
        gone = forgotten.among(tx.session, [text.carrier_id for text in unknown])
        unknown = [text for text in unknown if text.carrier_id not in gone]
        return not_purged(tx, unknown, RECEIVED_AROUND)
