"""The queries for chats and their texts, as operators see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, or_, select
from sqlalchemy.orm import Session, aliased

from bridge.config import ACCOUNTS
from bridge.db.models import WRITTEN_BY_PEOPLE, Chat, ChatStatus, Conversation, Direction, Message, MessageStatus, Turn
from bridge.providers.carriers.contract import Delivery
from bridge.runtime import Runtime
from bridge.web.queries.paging import read_cursor, write_cursor


@dataclass(frozen=True)
class ChatView:
    """One chat as operators see it."""

    id: int
    conversation_id: int
    phone: str
    bridge_number: str
    provider: str
    chat_id: str
    """The provider's own id of the chat."""
    status: ChatStatus
    started_at: datetime
    last_activity_at: datetime
    ended_at: datetime | None
    end_reason: str | None


@dataclass(frozen=True)
class AnalysisView:
    """The provider's analysis of a chat that has ended, as it reported it."""

    analyzed_at: datetime
    summary: str | None
    sentiment: str | None
    successful: bool | None
    cost: float | None


@dataclass(frozen=True)
class ReactionView:
    """A reaction, such as a like, beside the text that it belongs to."""

    id: int
    body: str
    created_at: datetime


@dataclass(frozen=True)
class MessageView:
    """One text of a chat as operators see it."""

    id: int
    direction: Direction
    status: MessageStatus
    body: str
    media: int
    segments: int | None
    created_at: datetime
    operator: str | None
    carrier_id: str | None
    delivery: Delivery | None
    error_code: int | None
    error: str | None
    extras: dict[str, str] | None
    """Other facts from the carrier about a person's text, under the carrier's names."""
    reactions: list[ReactionView]
    """The person's reactions to it, oldest first."""


@dataclass(frozen=True)
class WholeChat:
    """A chat with its texts, in order, and with its analysis if there is one."""

    chat: ChatView
    messages: list[MessageView]
    analysis: AnalysisView | None


@dataclass(frozen=True)
class ChatWithAnalysis:
    """A chat, and its analysis if there is one."""

    chat: ChatView
    analysis: AnalysisView | None


@dataclass(frozen=True)
class Filter:
    """Which chats, and which page of them."""

    status: ChatStatus | None = None
    phone: str | None = None
    chat_id: str | None = None
    """The provider's own id of the chat."""
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """One page of chats, newest first, and the cursor of the next page."""

    chats: list[ChatView]
    next: str | None
    """Pass it as ``cursor`` to get the next page. ``None`` on the last page."""


# -- show ----------------------------------------------------------------------------------------------------------


def list_chats(rt: Runtime, wanted: Filter) -> Page:
    """Return one page of chats, newest first. Raise :class:`~bridge.web.queries.paging.BadCursor`."""
    query = _views().where(*_conditions(wanted)).order_by(Chat.id.desc()).limit(wanted.limit + 1)
    with rt.database.read() as session:
        rows = session.execute(query).all()
    shown = [_view(row) for row in rows[: wanted.limit]]
    return Page(shown, write_cursor(shown[-1].id) if len(rows) > wanted.limit else None)


def _conditions(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    if wanted.status:
        yield Chat.status == wanted.status
    if wanted.status is ChatStatus.ENDING:
        yield Chat.due_at.is_not(None)  # as each of them has; so an index finds the few
    if wanted.phone:
        yield Conversation.phone == wanted.phone
    if wanted.chat_id:
        # With the providers that there are, the unique index finds it.
        yield Chat.provider.in_(ACCOUNTS) & (Chat.provider_chat_id == wanted.chat_id)
    if wanted.cursor:
        yield Chat.id < read_cursor(wanted.cursor, int)[0]


def some(rt: Runtime, ids: Sequence[int]) -> list[ChatView]:
    """Return the chats with these ids, the longest idle first."""
    with rt.database.read() as session:
        rows = session.execute(_views().where(Chat.id.in_(ids)).order_by(Chat.last_activity_at, Chat.id)).all()
    return [_view(row) for row in rows]


def get_chat(rt: Runtime, chat_id: int) -> WholeChat | None:
    """Return one chat with all that belongs to it."""
    columns = [getattr(Message, name) for name in MessageView.__dataclass_fields__ if hasattr(Message, name)]
    query = select(*columns).outerjoin(Turn, Turn.id == Message.turn_id).order_by(Message.id)
    with rt.database.read() as session:
        row = session.execute(_views().where(Chat.id == chat_id)).first()
        if row is None:
            return None
        tapped = _reactions(session, chat_id)
        texts = [
            MessageView(**text._mapping, reactions=tapped[text.id])
            for text in session.execute(query.where(*_part_of(row)))
        ]
        return WholeChat(_view(row), texts, _analysis(session, chat_id))


def of_conversation(session: Session, conversation_id: int, most: int) -> list[ChatWithAnalysis]:
    """Return the newest chats of a conversation, newest first."""
    analysis = [getattr(Chat, name) for name in AnalysisView.__dataclass_fields__]
    query = _views().add_columns(*analysis).where(Chat.conversation_id == conversation_id)
    rows = session.execute(query.order_by(Chat.id.desc()).limit(most)).all()
    return [_with_analysis(row) for row in rows]


def _with_analysis(row: Row[*tuple[Any, ...]]) -> ChatWithAnalysis:
    chat = ChatView(**{name: row._mapping[name] for name in ChatView.__dataclass_fields__})
    analysis = AnalysisView(**{name: row._mapping[name] for name in AnalysisView.__dataclass_fields__})
    return ChatWithAnalysis(chat, analysis if row.analyzed_at else None)


def _part_of(chat: Row[*tuple[Any, ...]]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Select the texts of the chat's turns, and what operators wrote while the chat was open."""
    until = chat.ended_at or datetime.max.replace(tzinfo=UTC)
    by_operators = WRITTEN_BY_PEOPLE & Message.created_at.between(chat.started_at, until)
    return Message.conversation_id == chat.conversation_id, or_(Turn.chat_id == chat.id, by_operators)


def _analysis(session: Session, chat_id: int) -> AnalysisView | None:
    columns = [getattr(Chat, name) for name in AnalysisView.__dataclass_fields__]
    row = session.execute(select(*columns).where(Chat.id == chat_id)).one()
    return AnalysisView(**row._mapping) if row.analyzed_at else None


def _reactions(session: Session, chat_id: int) -> dict[int, list[ReactionView]]:
    """Return the reactions to texts of this chat, by the text."""
    to = aliased(Message)
    query = (
        select(to.id, Message.id, Message.body, Message.created_at)
        .join(to, to.id == Message.reacts_to)
        .join(Turn, Turn.id == to.turn_id)
        .where(Turn.chat_id == chat_id)
        .order_by(Message.id)
    )
    tapped: dict[int, list[ReactionView]] = defaultdict(list)
    for text_id, reaction_id, body, created_at in session.execute(query):
        tapped[text_id].append(ReactionView(reaction_id, body, created_at))
    return tapped


def _views() -> Select[*tuple[Any, ...]]:
    columns = [getattr(Chat, name) for name in ChatView.__dataclass_fields__ if hasattr(Chat, name)]
    chat_id = Chat.provider_chat_id.label("chat_id")
    return select(*columns, chat_id, Conversation.phone, Conversation.bridge_number).join(Conversation)


def _view(row: Row[*tuple[Any, ...]]) -> ChatView:
    return ChatView(**row._mapping)
