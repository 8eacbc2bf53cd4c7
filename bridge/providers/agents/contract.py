"""Chat agents: who answers the texts.

What lives here: the contract that every agent keeps, and the small values that pass through it.
One module per provider; the steps know only this contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bridge.config import Route


class Speaker(StrEnum):
    """Who an item of a chat comes from. Everything that is not a person or the agent is ``OTHER``."""

    USER = "user"
    AGENT = "agent"
    OTHER = "other"


class ChatState(StrEnum):
    ONGOING = "ongoing"
    ENDED = "ended"
    """Takes no more messages, for whatever reason (a provider's ``error`` counts too)."""


@dataclass(frozen=True)
class Item:
    """One entry of a chat: something said, a tool call, a transition, or a kind that is not known yet."""

    speaker: Speaker
    content: str = ""
    id: str | None = None
    """The provider's message id, where it has one."""
    ends_chat: bool = False
    """The agent hung up with this item."""
    pending: bool = False
    """A tool was called and its result is not there yet."""


@dataclass(frozen=True)
class RemoteChat:
    """A chat as the provider tells it."""

    id: str
    state: ChatState
    items: tuple[Item, ...] | None = ()
    """In order; ``None`` where the provider does not show them."""
    started_at: datetime | None = None


@dataclass(frozen=True)
class ChatPage:
    """One page of the provider's list of chats (without items)."""

    chats: tuple[RemoteChat, ...]
    next: str | None
    """Give it as ``after`` for the page that follows; ``None`` on the last one."""


@dataclass(frozen=True)
class NewChat:
    """What a new chat is told about the person at the other end."""

    conversation_id: int
    user_number: str
    agent_number: str
    previous_conversation: str = ""
    """The end of the conversation so far, one ``User: …`` or ``Agent: …`` line a message."""
    route: Route | None = None
    """Which of the provider's agents is to answer; ``None``: the one that the settings name for all numbers."""


class Agent(Protocol):
    """A provider of chat agents, behind its API. Which of our numbers has which agent:
    ``bridge.providers.agents.routes``.

    Every method may raise a :class:`bridge.providers.errors.RemoteError` and nothing else.
    An implementation is used by one thread at a time or is safe to share; it never repeats a call by itself.
    """

    provider: str
    """Name as in ``AGENT_PROVIDER``."""

    def create_chat(self, about: NewChat) -> RemoteChat:
        """Open a chat. May hold a greeting."""
        ...

    def complete(self, chat_id: str, content: str) -> tuple[Item, ...]:
        """Say ``content``; return what the agent did with it, in order.

        Raises :class:`~bridge.providers.errors.ChatEnded` when the chat is closed or unknown: then nothing was heard.
        """
        ...

    def get_chat(self, chat_id: str) -> RemoteChat:
        """The chat with all its items. An unknown id raises :class:`~bridge.providers.errors.ChatEnded`."""
        ...

    def end_chat(self, chat_id: str) -> None:
        """Close the chat. One that is closed already, or unknown, is fine."""
        ...

    def list_chats(self, *, ongoing_only: bool = False, limit: int = 50, after: str | None = None) -> ChatPage:
        """The chats of the agent that the settings name for all numbers, newest first."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...
