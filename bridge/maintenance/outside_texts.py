"""Texts from our numbers that somebody has sent with another tool: the agent keeps still for a while.

The bridge reads the carrier's list again and again, as catch-up does for the other direction. A text that no row of
ours has is stored once, and shown. Whether it is ours after all: ``bridge.maintenance.outside_rules``. Where that can't
be decided yet the text is read again, and the cursor stays behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select

from bridge.db.engine import patient
from bridge.db.models import UNSENT, Conversation, Direction, InboundCursor, Message, MessageStatus, SentCursor
from bridge.db.transaction import Transaction
from bridge.inbound import holder
from bridge.maintenance.carrier_lists import FIRST_ROUND, OVERLAP, PAUSES, advance, each_number, next_page, read_until
from bridge.maintenance.outside_rules import MAY_BE_OURS, Attempted, Verdict, answers_keyword, judge, made
from bridge.maintenance.purge_mark import SENT_AROUND, not_purged
from bridge.operators import forgotten
from bridge.outbound import outbox
from bridge.providers.carriers.contract import SentText
from bridge.providers.carriers.spellings import spellings
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

SETTLED_AFTER = timedelta(minutes=2)
"""Younger texts are left alone: one of ours mostly has its id by then."""

BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)

AROUND_KEYWORD = timedelta(seconds=90)
"""Between a keyword and the carrier's own answer to it, by two clocks."""


def hold_for_outside_texts(rt: Runtime, pauses: Sequence[float] = PAUSES) -> None:
    """Find texts from our numbers that the bridge has not sent."""
    if rt.settings.auto_hold is not None:
        each_number(rt, "from", lambda number: _read(rt, number, pauses))


def _read(rt: Runtime, number: str, pauses: Sequence[float]) -> None:
    """Read one list, the oldest text first. The cursor moves page by page, and never past an undecided text."""
    until = decided = rt.now() - SETTLED_AFTER
    since = read_until(rt, SentCursor, number, rt.now() + OVERLAP - FIRST_ROUND) - OVERLAP
    pages = rt.carrier.sent_by(number, since)
    while (page := next_page(pages, pauses)) is not None:
        due = [text for text in page if text.sent_at and text.sent_at <= until]
        open_ones = [text.sent_at for text in _unknown(rt, due) if text.sent_at and not _settle(rt, text)]
        decided = min([decided, *open_ones])
        if page:
            advance(rt, SentCursor, number, min(page[-1].sent_at or since, decided))
    advance(rt, SentCursor, number, decided)


@patient
def _unknown(rt: Runtime, texts: Sequence[SentText]) -> list[SentText]:
    """Return the texts that no row has: mostly none, at the cost of one query for the page.

    What may have been purged is left out, and what is forgotten.
    """
    if not texts:
        return []
    with rt.database.transaction() as tx:
        known = _owned(tx, [text.carried.id for text in texts])
        unknown = [text for text in texts if text.carried.id not in known]
        gone = forgotten.among(tx.session, [text.carried.id for text in unknown])
        unknown = [text for text in unknown if text.carried.id not in gone]
        return not_purged(tx, unknown, SENT_AROUND)


def _owned(tx: Transaction, ids: Sequence[str]) -> set[str]:
    columns = (Message.carrier_id, Message.duplicate_carrier_id)
    rows = select(*columns).where(or_(columns[0].in_(ids), columns[1].in_(ids)))
    return {carrier_id for row in tx.session.execute(rows) for carrier_id in row if carrier_id}


@patient
def _settle(rt: Runtime, text: SentText) -> bool:
    """Store the text if it is somebody else's. Return False if that can't be decided yet.

    With the conversation locked, no text of ours changes meanwhile.
    """
    with rt.database.transaction() as tx:
        pairs = _locked(tx, text)
        if _owned(tx, [text.carried.id]) or forgotten.among(tx.session, [text.carried.id]):
            return True
        verdict = _judge(tx, text, pairs)
        if verdict is Verdict.OUTSIDE:
            conversation_id = pairs[0] if pairs else _opened(tx, text)
            _record(rt, tx, conversation_id, text)
    if verdict is Verdict.OUTSIDE:
        log.info("conversation %s: a text of another tool is stored", conversation_id)
    return verdict is not Verdict.UNDECIDED


def _locked(tx: Transaction, text: SentText) -> list[int]:
    """Return the conversations of this pair in any spelling, locked; mostly one."""
    pair = (Conversation.phone.in_(spellings(text.recipient)), Conversation.bridge_number.in_(spellings(text.sender)))
    return list(tx.session.scalars(select(Conversation.id).where(*pair).order_by(Conversation.id).with_for_update()))


def _opened(tx: Transaction, text: SentText) -> int:
    return outbox.opened(tx, phone=text.recipient, bridge_number=text.sender)


def _judge(tx: Transaction, text: SentText, pairs: Sequence[int]) -> Verdict:
    assert text.sent_at
    if text.is_reply:
        if _caught_up_until(tx, text.sender) < text.sent_at:
            return Verdict.UNDECIDED  # the keyword that it may answer may not be stored yet
        if answers_keyword(_came_around(tx, text.sent_at, pairs)):
            return Verdict.OURS
    return judge(text, _attempted(tx, pairs, made(text) - MAY_BE_OURS), tx.now - SETTLED_AFTER)


def _caught_up_until(tx: Transaction, number: str) -> datetime:
    cursors = select(InboundCursor.read_until).where(InboundCursor.bridge_number.in_(spellings(number)))
    return max(tx.session.scalars(cursors), default=BEFORE_ALL)


def _came_around(tx: Transaction, moment: datetime, pairs: Sequence[int]) -> list[tuple[str, MessageStatus]]:
    """Return the texts of the person that came shortly before or after this moment."""
    around = Message.created_at.between(moment - AROUND_KEYWORD, moment + AROUND_KEYWORD)
    came = (Message.conversation_id.in_(pairs), Message.direction == Direction.IN, around)
    return [(row.body, row.status) for row in tx.session.execute(select(Message.body, Message.status).where(*came))]


def _attempted(tx: Transaction, pairs: Sequence[int], since: datetime) -> list[Attempted]:
    """Return the texts of ours to this person that are not settled, or that were attempted since then."""
    columns = (Message.status, Message.body, Message.carrier_id, Message.first_attempt_at, Message.attempted_at)
    recent = or_(Message.attempted_at >= since, Message.status.in_(UNSENT))
    tried = (Message.conversation_id.in_(pairs), Message.attempted_at.is_not(None), recent)
    return [
        Attempted(status, body, carrier_id, first or last, last)
        for status, body, carrier_id, first, last in tx.session.execute(select(*columns).where(*tried))
        if last
    ]


def _record(rt: Runtime, tx: Transaction, conversation_id: int, text: SentText) -> None:
    """Store the text, and let the agent keep still unless it is too old for that."""
    assert text.sent_at and rt.settings.auto_hold
    tx.session.get_one(Conversation, conversation_id).changed_at = tx.now
    tx.session.add(
        Message(
            conversation_id=conversation_id,
            direction=Direction.OUT,
            status=MessageStatus.OUTSIDE,
            body=text.carried.body,
            media=text.media,
            segments=text.carried.segments,
            created_at=min(text.sent_at, tx.now),
            carrier_id=text.carried.id,
        )
    )
    until = text.sent_at + rt.settings.auto_hold
    if until > tx.now:
        holder.hold_outside(tx, conversation_id, until)
