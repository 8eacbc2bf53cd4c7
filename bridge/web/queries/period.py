"""The query for all texts of a period, in bounded memory and without a long transaction.

Texts have no index by time, because it would cost each text. Their ids are in the order in which they were stored. So
the first text is searched by halves, and the pages follow the ids. A text that catch-up has fetched late has a later id
than its time says; the pages cover a day more at both ends for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.db.models import Conversation, Message
from bridge.runtime import Runtime
from bridge.web.queries.texts import Author, author_of

PAGE = 1000
"""Texts in one read."""

LATE = timedelta(days=1)
"""How much later than its time a text may have been stored."""


@dataclass(frozen=True)
class Period:
    """A period; its end does not belong to it."""

    since: datetime
    until: datetime


@dataclass(frozen=True)
class Row:
    """One text of a period."""

    text: Message
    author: Author
    phone: str
    bridge_number: str


def texts_of(rt: Runtime, period: Period) -> Iterator[Sequence[Row]]:
    """Yield the texts of the period in the order in which they were stored, page by page."""
    with rt.database.read() as session:
        after = first_id(session, period.since - LATE) - 1
    while page := _page(rt, after):
        yield [row for row in page if period.since <= row.text.created_at < period.until]
        after = page[-1].text.id
        if min(row.text.created_at for row in page) > period.until + LATE:
            return


def _page(rt: Runtime, after: int) -> list[Row]:
    query = select(Message, Conversation.phone, Conversation.bridge_number).join(Conversation)
    query = query.where(Message.id > after).order_by(Message.id).limit(PAGE)
    with rt.database.read() as session:
        return [Row(text, author_of(text), phone, number) for text, phone, number in session.execute(query)]


def first_id(session: Session, since: datetime) -> int:
    """Return the id of the first text since then, by halves."""
    low, high = 1, (session.scalar(select(func.max(Message.id))) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        query = select(Message.created_at).where(Message.id >= middle).order_by(Message.id).limit(1)
        at = session.scalar(query)
        if at is None or at >= since:
            high = middle
        else:
            low = middle + 1
    return low
