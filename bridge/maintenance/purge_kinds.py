"""What the purge deletes: for each table, which rows are old enough, and what must be gone before them.

A row stays while work is to be done with it: a text that waits or is being sent, a turn without an end, whatever has a
due time. It also stays while a row that is kept refers to it. So a conversation goes last, and keeps its row as long as
its person has opted out: the row knows the messaging service that the opt-out covers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from bridge.db.models import (
    IN_WORK,
    UNSETTLED_TURN,
    Chat,
    ChatStatus,
    ContactUpdate,
    Conversation,
    DraftRequest,
    HandoffNotice,
    Holder,
    Message,
    Note,
    ReadMark,
    Tag,
    Turn,
)
from bridge.db.transaction import Transaction
from bridge.outbound import opt_outs

Old = Callable[[datetime], ColumnElement[bool]]
"""The condition that a row is finished, and that all of it is from before a moment."""


def _nothing(tx: Transaction, ids: Sequence[int]) -> None:
    pass


@dataclass(frozen=True, eq=False)  # compared by identity: comparing columns makes SQL
class Kind:
    """The rows of one table."""

    name: str
    """In the plural, as people read it."""
    moment: InstrumentedAttribute[Any]
    """The time by which old rows are found: by an index, or else in the order of the ids. It names the table."""
    is_old: Old
    has_index: bool = False
    is_free: ColumnElement[bool] | None = None
    """Nothing that is kept refers to the row."""
    let_go: Callable[[Transaction, Sequence[int]], None] = _nothing
    """Remove what refers to these rows, before they are deleted."""

    @property
    def table(self) -> Any:
        return self.moment.class_

    @property
    def id(self) -> SQLColumnExpression[int]:
        return self.table.id  # type: ignore[no-any-return]

    @property
    def conversation_id(self) -> SQLColumnExpression[int]:
        return getattr(self.table, "conversation_id", self.id)


def _let_texts_go(tx: Transaction, ids: Sequence[int]) -> None:
    """Let a younger reaction, or a failed text that was sent again, go without the text that it names."""
    for column in (Message.reacts_to, Message.resent_as):
        tx.session.execute(update(Message).where(column.in_(ids)).values({column: None}))


def _let_conversations_go(tx: Transaction, ids: Sequence[int]) -> None:
    for table in (Tag, ReadMark):
        tx.session.execute(delete(table).where(table.conversation_id.in_(ids)))


def _no(*columns: InstrumentedAttribute[Any], of: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    """Return the condition that no row has the outer row in one of these columns."""
    return and_(*(~exists(select(1).where(column == of).correlate(of.class_)) for column in columns))


MESSAGES = Kind(
    "messages",
    Message.created_at,
    lambda before: and_(
        Message.created_at < before,
        func.coalesce(Message.settled_at, Message.created_at) < before,
        Message.status.not_in(IN_WORK),
        Message.poll_status_at.is_(None),
        Message.resend_at.is_(None),
    ),
    let_go=_let_texts_go,
)
TURNS = Kind(
    "turns",
    Turn.created_at,
    lambda before: and_(Turn.settled_at < before, Turn.created_at < before, Turn.status.not_in(UNSETTLED_TURN)),
    is_free=_no(Message.turn_id, of=Turn.id),
)
CHATS = Kind(
    "chats",
    Chat.ended_at,
    lambda before: and_(Chat.ended_at < before, Chat.status == ChatStatus.ENDED, Chat.due_at.is_(None)),
    has_index=True,
    is_free=_no(Turn.chat_id, of=Chat.id),
)
NOTES = Kind("notes", Note.created_at, lambda before: and_(Note.created_at < before))
NOTICES = Kind(
    "notices to the team",
    HandoffNotice.since,
    lambda before: and_(
        HandoffNotice.since < before,
        func.coalesce(HandoffNotice.given_up_at, HandoffNotice.told_at, HandoffNotice.since) < before,
        HandoffNotice.due_at.is_(None),
    ),
    # The person may still wait since that moment, and the team must not be told again.
    is_free=~exists(
        select(1)
        .where(Conversation.id == HandoffNotice.conversation_id, Conversation.holder_since == HandoffNotice.since)
        .correlate(HandoffNotice)
    ),
)
CONTACTS = Kind(
    "wishes in contacts",
    ContactUpdate.wished_at,
    lambda before: and_(
        ContactUpdate.wished_at < before,
        or_(ContactUpdate.given_up_at.is_(None), ContactUpdate.given_up_at < before),
        ContactUpdate.due_at.is_(None),
    ),
    has_index=True,
)
CONVERSATIONS = Kind(
    "conversations",
    Conversation.changed_at,
    lambda before: and_(Conversation.changed_at < before, Conversation.holder == Holder.AGENT),
    has_index=True,
    is_free=and_(
        _no(
            Message.conversation_id,
            Turn.conversation_id,
            Chat.conversation_id,
            Note.conversation_id,
            HandoffNotice.conversation_id,
            ContactUpdate.conversation_id,
            DraftRequest.conversation_id,
            of=Conversation.id,
        ),
        ~opt_outs.are_out(),
    ),
    let_go=_let_conversations_go,
)

OF_CONVERSATIONS = (MESSAGES, TURNS, CHATS, NOTES, NOTICES, CONTACTS)
KINDS = (*OF_CONVERSATIONS, CONVERSATIONS)
"""In the order in which they are deleted."""
