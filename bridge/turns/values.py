"""What passes through a turn: plain values, no rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bridge import line
from bridge.agents import Item, Speaker
from bridge.agents.recall import Bookmark
from bridge.errors import RemoteError
from bridge.line import Claim

LEAVE_CHAT_AFTER = 3
"""Failures in one chat after which its text is asked in a new one."""

UNTOLD_AFTER = 6
"""Failures after which a new chat is told nothing of the conversation so far: perhaps the provider fails at that."""

GIVE_UP_AFTER = 8
"""Failures after which a turn is given up. A call in four may fail by chance: eight in a row are one in 65,000."""


@dataclass(frozen=True)
class Known:
    """A chat that is known to be open."""

    id: int
    provider: str
    agent_id: str
    provider_chat_id: str
    stands: Bookmark
    failures: int = 0
    """How often the provider has failed in it while it served others."""

    @property
    def fails(self) -> bool:
        """A new one may work where this one does not."""
        return self.failures >= LEAVE_CHAT_AFTER


@dataclass(frozen=True)
class Booked:
    """A turn that this worker has claimed, as plain values."""

    claim: Claim
    turn_id: int
    content: str
    attempts: int
    answer_by: datetime
    look_first: bool
    """It was said before, or may have been."""
    asked_at: datetime | None
    call_over: bool
    """The provider has answered that, with an error."""
    looked_items: int | None
    probed: tuple[str, ...]
    """What of it is on hold, or the agent: this turn finds out whether that serves again."""
    failures: int
    """How often the provider has failed at it while it served others."""
    error: str | None
    """Why the last attempt failed."""
    agent: tuple[str, str]
    """Who is asked: the provider, and the agent there."""
    chat: Known | None

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
        return min(now + line.pause(self.attempts, retry_after), self.answer_by)


@dataclass(frozen=True)
class Answer:
    """What the agent did with a turn."""

    chat: Known
    items: tuple[Item, ...]
    stands: Bookmark
    ended: bool

    @property
    def texts(self) -> list[str]:
        """What goes to the phone: nothing but what the agent itself said."""
        return [item.content for item in self.items if item.speaker is Speaker.AGENT]


class NotYet(Exception):
    """There is nothing to do but to look again at ``due_at``."""

    def __init__(
        self, why: str, due_at: datetime, *, looked_items: int | None = None, error: RemoteError | None = None
    ) -> None:
        super().__init__(why)
        self.due_at = due_at
        self.looked_items = looked_items
        self.error = error


class Hopeless(Exception):
    """No further try is worth it."""


class NotHeard(Exception):
    """The agent was asked and has surely not heard it."""

    def __init__(self, error: RemoteError) -> None:
        super().__init__(str(error))
        self.error = error
