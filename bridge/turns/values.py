"""What passes through a turn: plain values, no rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bridge import line
from bridge.agents import Item, Speaker
from bridge.agents.recall import Bookmark
from bridge.errors import RemoteError
from bridge.line import Claim


@dataclass(frozen=True)
class Known:
    """A chat that is known to be open."""

    id: int
    provider: str
    provider_chat_id: str
    stands: Bookmark


@dataclass(frozen=True)
class Booked:
    """A turn that this worker has claimed, as plain values."""

    claim: Claim
    phone: str
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
    chat: Known | None

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
