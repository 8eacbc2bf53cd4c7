"""What passes through a turn: plain values, no rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bridge.chats.rows import OpenChat
from bridge.providers.agents.contract import Item, Speaker
from bridge.providers.agents.transcript import Bookmark
from bridge.providers.errors import RemoteError
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import Lease

UNTOLD_AFTER = 6
"""Failures after which a new chat is told nothing of the conversation so far: perhaps the provider fails at that."""

GIVE_UP_AFTER = 8
"""Failures after which a turn is given up. A call in four may fail by chance: eight in a row are one in 65,000."""


@dataclass(frozen=True)
class ClaimedTurn:
    """A turn that this worker has claimed, as plain values."""

    lease: Lease
    phone: str
    turn_id: int
    content: str
    attempts: int
    expires_at: datetime
    outcome_unknown: bool
    """It was said before, or may have been."""
    asked_at: datetime | None
    response_received: bool
    """The provider has answered that, with an error."""
    items_at_last_check: int | None
    probed: tuple[str, ...]
    """What of it is on hold, or the agent: this turn finds out whether that serves again."""
    failures: int
    """How often the provider has failed at it while it served others."""
    error: str | None
    """Why the last attempt failed."""
    agent: tuple[str, str]
    """Who is asked: the provider, and the agent there."""
    chat: OpenChat | None

    @property
    def spent(self) -> bool:
        """It is a poison message: whoever waits behind it must not wait any longer."""
        return self.failures >= GIVE_UP_AFTER

    @property
    def untold(self) -> bool:
        """A new chat is told nothing of the conversation so far."""
        return self.failures >= UNTOLD_AFTER

    def next_try(self, now: datetime, retry_after: float | None = None) -> datetime:
        """After a pause, but no later than the moment at which the turn is given up: that is due then."""
        return min(now + conversation_queue.backoff(self.attempts, retry_after), self.expires_at)


@dataclass(frozen=True)
class Answer:
    """What the agent did with a turn."""

    chat: OpenChat
    items: tuple[Item, ...]
    bookmark: Bookmark
    ended: bool

    @property
    def texts(self) -> list[str]:
        """What goes to the phone: nothing but what the agent itself said."""
        return [item.content for item in self.items if item.speaker is Speaker.AGENT]


class RetryAt(Exception):
    """There is nothing to do but to look again at ``due_at``."""

    def __init__(
        self, why: str, due_at: datetime, *, items_at_last_check: int | None = None, error: RemoteError | None = None
    ) -> None:
        super().__init__(why)
        self.due_at = due_at
        self.items_at_last_check = items_at_last_check
        self.error = error


class GiveUp(Exception):
    """No further try is worth it."""


class NotReceived(Exception):
    """The agent was asked and has surely not heard it."""

    def __init__(self, error: RemoteError) -> None:
        super().__init__(str(error))
        self.error = error
