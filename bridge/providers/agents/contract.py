"""The contract that every chat agent keeps, and the values that pass through it.

Each provider is one package. The tasks know only this contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from bridge.config import Route


class Speaker(StrEnum):
    """The author of a chat item. ``OTHER`` is everything that is neither the person nor the agent."""

    USER = "user"
    AGENT = "agent"
    OTHER = "other"


class ChatState(StrEnum):
    ONGOING = "ongoing"
    ENDED = "ended"
    """The chat takes no more messages, for whatever reason. A provider's ``error`` counts too."""
    WITH_HUMAN = "with_human"
    """A human at the provider has the chat, or may have. The agent must not be asked, here or in another chat."""


@dataclass(frozen=True)
class ToolCall:
    """The agent calls one of its tools. Its words are private, so no log may have them."""

    name: str
    arguments: str = field(default="", repr=False)
    """As the provider writes them, mostly JSON."""
    id: str | None = None
    """The name by which the result tells which call it belongs to."""


@dataclass(frozen=True)
class ToolResult:
    """What a tool has returned."""

    call_id: str | None
    content: str = field(default="", repr=False)
    successful: bool | None = None
    """``None``: the provider does not tell."""


@dataclass(frozen=True)
class Transition:
    """The agent goes on at another place of its flow: a node, or a state."""

    origin: str
    target: str


Step = ToolCall | ToolResult | Transition


@dataclass(frozen=True)
class Item:
    """One entry of a chat: a message, a tool call, a transition, or an unknown kind."""

    speaker: Speaker
    content: str = ""
    id: str | None = None
    """The provider's message id, if it has one."""
    ends_chat: bool = False
    """The agent ended the chat with this item."""
    pending: bool = False
    """A tool was called and its result is not there yet."""
    escalates: bool = False
    """The agent hands the chat to a human with this item."""
    handoff: str = ""
    """The message to the person about that, if the item has it beside its content."""
    steps: tuple[Step, ...] = ()
    """What the agent has done with this item beside writing. Only operators see it; it is never sent."""


@dataclass(frozen=True)
class RemoteChat:
    """A chat as the provider shows it."""

    id: str
    state: ChatState
    items: tuple[Item, ...] | None = ()
    """In order. ``None`` if the provider does not show them."""
    started_at: datetime | None = None


@dataclass(frozen=True)
class ChatPage:
    """One page of the provider's list of chats, without items."""

    chats: tuple[RemoteChat, ...]
    next: str | None
    """Pass it as ``after`` to get the next page. ``None`` on the last page."""


@dataclass(frozen=True)
class NewChat:
    """The facts about the person that a new chat receives."""

    conversation_id: int
    user_number: str
    agent_number: str
    previous_conversation: str = ""
    """The end of the conversation so far, one ``User: …`` or ``Agent: …`` line for each message."""
    team_note: str = ""
    """What a person of the team has told the agent on giving the conversation back."""
    route: Route | None = None
    """The provider's agent that answers. ``None``: the one that the settings name for all numbers."""
    turn_id: int = 0
    """The turn for which the chat is opened. It names the chat in the provider's list; see ``find_chats``."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What an operator tells the agent beside these facts. A provider that refuses them opens no chat."""


class Agent(Protocol):
    """A provider of chat agents, behind its API.

    ``bridge.providers.agents.routes`` maps our numbers to agents. Every method may raise a
    :class:`bridge.providers.errors.RemoteError` and nothing else. No method repeats a call. An implementation is safe
    to share between threads, or one thread uses it at a time.
    """

    provider: str
    """Name as in ``AGENT_PROVIDER``."""
    writes_drafts: bool
    """It can write the next messages of a conversation without a chat; see ``draft``."""
    deletes_chats: bool
    """It has a call for ``delete_chat``."""

    def create_chat(self, about: NewChat) -> RemoteChat:
        """Open a chat. The chat may already hold a greeting."""
        ...

    def find_chats(self, about: NewChat, since: datetime) -> tuple[RemoteChat, ...]:
        """Return the ongoing chats that ``create_chat`` has opened for this turn since then, without items.

        The provider's list may show a chat a moment after it was opened. Only a part of a very long list is read.
        """
        ...

    def complete(self, chat_id: str, content: str) -> tuple[Item, ...]:
        """Send ``content`` to the agent and return the items that follow, in order.

        Raise :class:`~bridge.providers.errors.ChatEnded` if the chat is closed or unknown, and
        :class:`~bridge.providers.errors.WithHuman` if a human has it. Then the agent received nothing. A provider whose
        refusals are not documented leaves the outcome open instead, and the chat tells.
        """
        ...

    def get_chat(self, chat_id: str) -> RemoteChat:
        """Return the chat with all its items. Raise :class:`~bridge.providers.errors.ChatEnded` for an unknown id."""
        ...

    def end_chat(self, chat_id: str) -> None:
        """Close the chat. A closed or unknown chat is no error."""
        ...

    def delete_chat(self, chat_id: str) -> None:
        """Delete the chat there, with all that it holds. An unknown chat is no error.

        Raise ``Refused`` if the provider can't do that.
        """
        ...

    def list_chats(self, *, ongoing_only: bool = False, limit: int = 50, after: str | None = None) -> ChatPage:
        """Return the chats of the agent that the settings name for all numbers, newest first."""
        ...

    def set_do_not_call(self, phone: str, wanted: bool) -> None:
        """Let the contact of this number say so. That may be repeated. Raise ``Refused`` if there are no contacts."""
        ...

    def draft(self, about: NewChat, history: Sequence[Item]) -> tuple[Item, ...]:
        """Return what the agent would write next, in order. ``history`` has messages of the person and of the agent.

        Nothing is kept there, and no chat shows it. The agent's tools may run all the same. Raise ``Refused`` if the
        provider can't do that.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
