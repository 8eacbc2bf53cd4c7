"""The rows of chats as a turn needs them: found, opened, moved on and closed, inside the turn's transactions."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, select, update

from bridge.chats import ending
from bridge.config import Route
from bridge.db.engine import insert_if_new
from bridge.db.models import Chat, ChatStatus
from bridge.db.transaction import Transaction
from bridge.providers.agents.transcript import Bookmark

OTHER_AGENT = "the number has another agent now"
FAILS = "the provider fails in it, and serves others"
REFUSES = "it refused a text"
GIVEN_UP = "a turn was given up"
"""Why a chat is not used any more. After a turn that was given up it is not known what the chat has heard, and a late
answer must not pass for a later one."""

LEAVE_CHAT_AFTER = 3
"""Failures in one chat after which its text is asked in a new one."""


@dataclass(frozen=True)
class OpenChat:
    """A chat that is known to be open."""

    id: int
    provider: str
    agent_id: str
    provider_chat_id: str
    bookmark: Bookmark
    failures: int = 0
    """How often the provider has failed in it while it served others."""

    @property
    def fails(self) -> bool:
        """A new one may work where this one does not."""
        return self.failures >= LEAVE_CHAT_AFTER


def ongoing(conversation_id: int) -> ColumnElement[bool]:
    return (Chat.conversation_id == conversation_id) & (Chat.status == ChatStatus.ONGOING)


def find(tx: Transaction, which: ColumnElement[bool]) -> OpenChat | None:
    """Locked, so that nobody marks it as stale while something is being said in it."""
    row = tx.session.scalar(select(Chat).where(which).with_for_update())
    return None if row is None else _open_chat(row)


def find_ongoing(tx: Transaction, conversation_id: int, route: Route) -> OpenChat | None:
    """The ongoing chat, if its agent answers at the number now and the provider serves it; else it is to end."""
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
    """Note a chat that the provider has just opened; ``None`` where it is one that we have had already."""
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
    """The chat stands after this answer now, and is over if the agent has ended it."""
    row = tx.session.get_one(Chat, chat.id)
    row.last_activity_at, row.failures = tx.now, 0
    row.user_items, row.last_item_id = bookmark.user_items, bookmark.last_item_id
    if ended:
        end(tx, chat, "ended by the agent")


def end(tx: Transaction, chat: OpenChat, reason: str) -> None:
    """The provider has closed it: nothing is left to be told to it."""
    tx.session.execute(
        update(Chat)
        .where(Chat.id == chat.id, Chat.status != ChatStatus.ENDED)
        .values(status=ChatStatus.ENDED, ended_at=tx.now, end_reason=reason, due_at=None)
    )


def retire(tx: Transaction, conversation_id: int, reason: str) -> None:
    """End the ongoing chat, if there is one: the next text goes to a new chat."""
    ending.mark(tx, ongoing(conversation_id), reason)
