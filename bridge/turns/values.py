"""The values that pass through a turn. None of them is a row."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bridge.chats.instruction import Instruction
from bridge.chats.rows import OpenChat
from bridge.db.models import TurnStatus
from bridge.db.sealing import why_unreadable
from bridge.providers.agents.contract import Item, NewChat, Speaker
from bridge.providers.agents.transcript import Bookmark
from bridge.providers.errors import RemoteError
from bridge.queues.conversation_queue import Lease
from bridge.queues.timing import backoff

NO_RECAP_AFTER = 6
"""Failures after which a new chat gets no recap: the provider may fail at the recap."""

NOT_RECEIVED_AFTER = timedelta(seconds=5)
"""A request that the provider does not show by then was not received, if the provider answered with an error."""

STILL_ON_ITS_WAY = timedelta(seconds=30)
"""The same if no response came. No document says that a chat shows a request as soon as it has received it."""

GIVE_UP_AFTER = 8
"""Failures after which a turn is given up. One call in four may fail by chance: eight in a row are one in 65,000."""


@dataclass(frozen=True)
class ClaimedTurn:
    """A turn that this worker has leased."""

    lease: Lease
    phone: str
    bridge_number: str
    turn_id: int
    content: str
    attempts: int
    expires_at: datetime
    outcome_unknown: bool
    """The agent was asked before, or may have been."""
    asked_at: datetime | None
    response_received: bool
    """The provider answered the last request with an error: nothing of it is on its way any more."""
    items_at_last_check: int | None
    probed: tuple[str, ...]
    """Open circuits that this turn probes."""
    failures: int
    """The number of failures at this turn while the provider served others."""
    error: str | None
    """Why the last attempt failed."""
    agent: tuple[str, str]
    """The provider, and the agent there."""
    chat: OpenChat | None
    about: NewChat | None = None
    """The facts for a new chat, if they were read with the claim."""
    with_human: bool = False
    """A human at the provider had the chat when the turn was claimed."""
    held: bool = False
    """A person had the conversation when the turn was claimed. What the agent has not received waits until it is back.
    """
    chat_requested_at: datetime | None = None
    """When an earlier attempt requested a chat that the provider may have opened, and that is not stored."""
    reopened: bool = False
    """An operator wants it asked again, also if the chat has received it."""
    instruction: Instruction | None = None
    """The wishes of the operator who says it; ``None``: the person does."""
    texts: tuple[int, ...] = ()
    """The ids of its texts."""
    received_at: datetime | None = None
    """When the first of them came."""
    before_due: float | None = None
    """The seconds for which that one waited before its queue was due. ``None``: the turn was claimed alone."""
    began: float = field(default_factory=time.perf_counter, compare=False)
    """When the attempt began, by the clock of this process that measures lengths."""

    @property
    def greets(self) -> bool:
        """Nothing is asked: the greeting of a new chat is the answer."""
        return self.instruction is not None and self.instruction.start and not self.content

    @property
    def unreadable(self) -> str | None:
        """Why the agent can't be asked: the words can't be decrypted."""
        return why_unreadable(self.content, self.instruction and self.instruction.variables)

    @property
    def sends(self) -> bool:
        """The answer goes to the person."""
        return self.instruction is None or self.instruction.send

    @property
    def spent(self) -> bool:
        """The turn is a poison message. Texts behind it must not wait any longer."""
        return self.failures >= GIVE_UP_AFTER

    @property
    def without_recap(self) -> bool:
        """A new chat gets no recap."""
        return self.failures >= NO_RECAP_AFTER

    def next_try(self, now: datetime, retry_after: float | None = None) -> datetime:
        """Return the end of the backoff, but no later than the moment at which the turn expires."""
        return min(now + backoff(self.attempts, retry_after), self.expires_at)


@dataclass(frozen=True)
class ClaimedCheck:
    """A queue of turns that this worker has leased only to ask the provider whether a human still has the chat."""

    lease: Lease
    chat: OpenChat
    since: datetime | None
    """When the human got the chat."""


@dataclass(frozen=True)
class Answer:
    """The agent's answer to a turn."""

    chat: OpenChat
    items: tuple[Item, ...]
    bookmark: Bookmark
    ended: bool
    """The agent has ended the chat."""
    escalated: bool = False
    """The agent, or its provider, has handed the chat to a human."""

    @property
    def silent(self) -> bool:
        """The agent has given no word, and goes on all the same."""
        return not (self.texts or self.ended or self.escalated)

    @property
    def texts(self) -> list[str]:
        """The texts for the phone: only those of the agent itself."""
        return [item.content for item in self.items if item.speaker is Speaker.AGENT]


@dataclass(frozen=True)
class RetryAt:
    """Nothing can be done now. The turn is due again at ``due_at``."""

    reason: str
    due_at: datetime
    items_at_last_check: int | None = None
    error: RemoteError | None = None
    response_received: bool = False
    """The provider answered the request itself, with this error."""


@dataclass(frozen=True)
class GiveUp:
    """No further attempt makes sense."""

    reason: str
    items: tuple[Item, ...] = ()
    """What the agent has done about it all the same."""


@dataclass(frozen=True)
class NotReceived:
    """The agent was asked and has surely not received it."""

    error: RemoteError


@dataclass(frozen=True)
class Escalated:
    """A human at the provider has the chat. The turn waits until the agent has it again."""

    chat: OpenChat
    bookmark: Bookmark
    words: str | None
    """What the person must still read about that; see ``bridge.providers.agents.transcript.handoff``."""
    status: TurnStatus | None = TurnStatus.WAITING
    """The agent has surely not received the turn. ``None``: that is not known, as before."""


@dataclass(frozen=True)
class NotAsked:
    """The agent has surely not received it, and a person has the conversation. The turn waits until the agent has it
    again."""


Outcome = Answer | RetryAt | GiveUp | NotReceived | Escalated | NotAsked
"""How an attempt ends. A provider's error that leaves the outcome open is raised, as is ``LeaseLost``."""
