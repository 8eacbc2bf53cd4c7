"""The query for the texts of one conversation: one page, the newest first, and why a text has no answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from bridge.chats import steps
from bridge.chats.steps import RecordedStep, TurnSteps
from bridge.db.models import Conversation, Direction, Message, MessageStatus, Turn
from bridge.providers.carriers.contract import Delivery
from bridge.runtime import Runtime
from bridge.web.queries import unanswered_rows
from bridge.web.queries.chats import ReactionView
from bridge.web.queries.paging import read_cursor, write_cursor


class Author(StrEnum):
    """Who wrote a text."""

    PERSON = "person"
    AGENT = "agent"
    OPERATOR = "operator"
    BRIDGE = "bridge"
    """A notice or a reply that the settings have."""
    OUTSIDE = "outside"
    """Somebody who texts from our number with another tool."""


@dataclass(frozen=True)
class TextView:
    """One text as operators see it."""

    id: int
    direction: Direction
    author: Author
    operator: str | None
    status: MessageStatus
    body: str
    media: int
    segments: int | None
    created_at: datetime
    attempted_at: datetime | None
    settled_at: datetime | None
    turn_id: int | None
    chat_id: int | None
    carrier_id: str | None
    delivery: Delivery | None
    error_code: int | None
    error: str | None
    meaning: str | None
    """What the error code means, and how to fix it."""
    resend_at: datetime | None
    resent_as: int | None
    dismissed_at: datetime | None
    """When an operator took a failure off the list, or discarded or sent a draft."""
    extras: dict[str, str] | None
    reactions: list[ReactionView]
    unanswered_because: str | None
    steps: tuple[RecordedStep, ...] = ()
    """What the agent has done in its turn beside writing. Of several texts of a turn, the last one that it got has it.
    """
    steps_left_out: int = 0


@dataclass(frozen=True)
class Page:
    """One page of texts, the oldest first, and the cursor of the page before it."""

    messages: list[TextView]
    earlier: str | None


def page(rt: Runtime, session: Session, conversation: Conversation, *, limit: int, cursor: str | None = None) -> Page:
    """Return one page: without a cursor the newest. Raise :class:`~bridge.web.queries.paging.BadCursor`."""
    query = select(Message).where(Message.conversation_id == conversation.id)
    if cursor:
        query = query.where(Message.id < read_cursor(cursor, int)[0])
    rows = session.scalars(query.order_by(Message.id.desc()).limit(limit + 1)).all()
    shown = rows[:limit][::-1]
    return Page(_views(rt, session, conversation, shown), write_cursor(shown[0].id) if len(rows) > limit else None)


def all_of(rt: Runtime, conversation_id: int, size: int) -> Iterator[list[TextView]]:
    """Yield all texts of a conversation, the oldest first, page by page. Each page is a read of its own."""
    after = 0
    while True:
        with rt.database.read() as session:
            conversation = session.get(Conversation, conversation_id)
            theirs = (Message.conversation_id == conversation_id, Message.id > after)
            rows = session.scalars(select(Message).where(*theirs).order_by(Message.id).limit(size)).all()
            if conversation is None or not rows:
                return
            page, after = _views(rt, session, conversation, rows), rows[-1].id
        yield page


def _views(rt: Runtime, session: Session, conversation: Conversation, shown: Sequence[Message]) -> list[TextView]:
    why = unanswered_rows.reasons(rt, session, conversation, shown)
    reactions, turns = _reactions(session, shown), _turns(session, shown)
    did = _steps(session, [turn for turn in turns.values() if turn.steps])
    views = [_view(rt, text, turns.get(text.turn_id or 0), reactions.get(text.id, []), why[text.id]) for text in shown]
    return [_with_steps(view, did[view.id]) if view.id in did else view for view in views]


def author_of(text: Message) -> Author:
    if text.status is MessageStatus.OUTSIDE:
        return Author.OUTSIDE
    if text.operator is not None or text.instruction is not None:
        return Author.OPERATOR
    if text.direction is Direction.IN:
        return Author.PERSON
    return Author.BRIDGE if text.turn_id is None else Author.AGENT


def _view(
    rt: Runtime, text: Message, turn: Row[Any] | None, reactions: list[ReactionView], why: str | None
) -> TextView:
    return TextView(
        id=text.id,
        direction=text.direction,
        author=author_of(text),
        operator=text.operator,
        status=text.status,
        body=text.body,
        media=text.media,
        segments=text.segments,
        created_at=text.created_at,
        attempted_at=text.attempted_at,
        settled_at=text.settled_at,
        turn_id=text.turn_id,
        chat_id=turn.chat_id if turn else None,
        carrier_id=text.carrier_id,
        delivery=text.delivery,
        error_code=text.error_code,
        error=text.error,
        meaning=None if text.error_code is None else rt.carrier.meaning(text.error_code).sentence,
        resend_at=text.resend_at,
        resent_as=text.resent_as,
        dismissed_at=text.dismissed_at,
        extras=text.extras,
        reactions=reactions,
        unanswered_because=why,
    )


def _turns(session: Session, texts: Sequence[Message]) -> dict[int, Row[Any]]:
    """Return the chat and the steps of each turn of these texts."""
    turns = sorted({text.turn_id for text in texts if text.turn_id})
    rows = session.execute(select(Turn.id, Turn.chat_id, Turn.steps).where(Turn.id.in_(turns)))
    return {row.id: row for row in rows}


def _steps(session: Session, turns: Sequence[Row[Any]]) -> dict[int, TurnSteps]:
    """Return the steps of these turns, each by the last text that the agent got in it. It may be on another page."""
    if not turns:
        return {}
    stored = {turn.id: turn.steps for turn in turns}
    asked = (Message.turn_id.in_(stored), Message.direction == Direction.IN)
    last = select(Message.turn_id, func.max(Message.id)).where(*asked).group_by(Message.turn_id)
    return {text_id: steps.read(stored[turn_id]) for turn_id, text_id in session.execute(last)}


def _with_steps(view: TextView, did: TurnSteps) -> TextView:
    return replace(view, steps=did.steps, steps_left_out=did.left_out)


def _reactions(session: Session, texts: Sequence[Message]) -> dict[int, list[ReactionView]]:
    """Return the person's reactions to these texts, by the text."""
    to = [text.id for text in texts if text.direction is Direction.OUT]
    query = select(Message.reacts_to, Message.id, Message.body, Message.created_at).where(Message.reacts_to.in_(to))
    found: dict[int, list[ReactionView]] = defaultdict(list)
    for text_id, id_, body, created_at in session.execute(query.order_by(Message.id)):
        found[text_id or 0].append(ReactionView(id_, body, created_at))
    return found
