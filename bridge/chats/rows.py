"""The rows of chats as a turn needs them: find, insert, advance, end and retire, inside the turn's transactions."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import InstrumentedAttribute

from bridge.chats import ending
from bridge.config import Route
from bridge.db.engine import insert_if_new
from bridge.db.models import Chat, ChatStatus, one_of
from bridge.db.transaction import Transaction
from bridge.providers.agents.transcript import Bookmark

AT_PROVIDER = "ended at the provider"
"""Why a chat is closed that has ended there."""

OTHER_AGENT = "the number has another agent now"
FAILS = "the provider fails in it, and serves others"
REFUSES = "it refused a text"
GIVEN_UP = "a turn was given up"
ANOTHER = "an operator has begun another chat"
PERSON_ANSWERED = "a person of the team has answered"
"""Why a chat is retired. A chat may have received a turn that was given up. Its late answer must not count as the
answer to a later turn."""

LEAVE_CHAT_AFTER = 3
"""Failures in one chat after which its text is asked in a new one."""


@dataclass(frozen=True)
class OpenChat:
    """The chat in which a turn is asked, or may have been."""

    id: int
    provider: str
    agent_id: str
    provider_chat_id: str
    bookmark: Bookmark
    failures: int = 0
    """The number of failures in it while the provider served others."""

    @property
    def fails(self) -> bool:
        """The provider fails in this chat, and a new one may work."""
        return self.failures >= LEAVE_CHAT_AFTER


def ongoing(conversation_id: int) -> ColumnElement[bool]:
    return (Chat.conversation_id == conversation_id) & (Chat.status == ChatStatus.ONGOING)


def ongoing_of(conversation: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    """Return the same for the conversation of an outer query, with the value written out, as in the partial index."""
    return (Chat.conversation_id == conversation) & one_of(Chat.status, [ChatStatus.ONGOING])


def find(tx: Transaction, which: ColumnElement[bool]) -> OpenChat | None:
    """Return the chat, locked, so that it is not marked as stale while a turn is being asked in it."""
    row = tx.session.scalar(select(Chat).where(which).with_for_update())
    return None if row is None else _open_chat(row)


def find_ongoing(tx: Transaction, conversation_id: int, route: Route) -> OpenChat | None:
    """Return the ongoing chat. Retire it if the number has another agent now, or if the provider fails in it."""
    chat = find(tx, ongoing(conversation_id))
    if chat is None:
        return None
    if (chat.provider, chat.agent_id) != (route.provider, route.agent_id):
        retire(tx, conversation_id, OTHER_AGENT)
        return None
    if chat.fails:
        retire(tx, conversation_id, FAILS)
        return None
    return chat


def _open_chat(row: Chat) -> OpenChat:
    bookmark = Bookmark(row.user_items, row.last_item_id)
    return OpenChat(row.id, row.provider, row.agent_id, row.provider_chat_id, bookmark, row.failures)


def insert(
    tx: Transaction, conversation_id: int, route: Route, provider_chat_id: str, bookmark: Bookmark
) -> OpenChat | None:
    """Insert a chat that the provider has just opened. Return ``None`` if its id is known already."""
    row = (
        insert_if_new(tx.session, Chat)
        .values(
            conversation_id=conversation_id,
            provider=route.provider,
            agent_id=route.agent_id,
            provider_chat_id=provider_chat_id,
            status=ChatStatus.ONGOING,
            started_at=tx.now,
            last_activity_at=tx.now,
            user_items=bookmark.user_items,
            last_item_id=bookmark.last_item_id,
        )
        .on_conflict_do_nothing(index_elements=[Chat.provider, Chat.provider_chat_id])
        .returning(Chat.id)
    )
    chat_id = tx.session.scalar(row)
    return None if chat_id is None else OpenChat(chat_id, route.provider, route.agent_id, provider_chat_id, bookmark)


def advance(tx: Transaction, chat: OpenChat, bookmark: Bookmark, ended: bool) -> None:
    """Move the chat's bookmark behind this answer. End the chat if the agent has ended it."""
    row = tx.session.get_one(Chat, chat.id)
    row.last_activity_at, row.failures = tx.now, 0
    row.user_items, row.last_item_id = bookmark.user_items, bookmark.last_item_id
    if ended:
        end(tx, chat, "ended by the agent")


def move_bookmark(tx: Transaction, chat: OpenChat, bookmark: Bookmark) -> None:
    """Move the bookmark behind items that came in no answer."""
    row = tx.session.get_one(Chat, chat.id)
    row.user_items, row.last_item_id = bookmark.user_items, bookmark.last_item_id


def end(tx: Transaction, chat: OpenChat, reason: str) -> None:
    """Record that the chat has ended at the provider, so that no call is needed to end it."""
    tx.session.execute(
        update(Chat)
        .where(Chat.id == chat.id, Chat.status != ChatStatus.ENDED)
        .values(status=ChatStatus.ENDED, ended_at=tx.now, end_reason=reason, due_at=None)
    )


def retire(tx: Transaction, conversation_id: int, reason: str) -> None:
    """End the ongoing chat, if there is one: the next text goes to a new chat."""
    ending.mark(tx, ongoing(conversation_id), reason)
