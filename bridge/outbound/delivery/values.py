"""The values that pass through a delivery. None of them is a row."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bridge.db.models import MessageStatus
from bridge.db.sealing import why_unreadable
from bridge.providers.carriers.contract import OutgoingText
from bridge.providers.errors import RemoteError
from bridge.queues.conversation_queue import Lease

RECHECK_AFTER = timedelta(seconds=10)
"""The pause between two checks while a text may still be on its way."""

NOT_IN_TIME = "it could not be sent within ANSWER_WITHIN"


@dataclass(frozen=True)
class Answers:
    """What a text of the agent answers."""

    turn_id: int
    text_id: int
    """The first text of the turn."""
    received_at: datetime
    """When that one came."""
    first: bool = True
    """It is the first text of the answer."""
    waited: float | None = None
    """The seconds before the queue was due, and those of the calls to the agent's provider. ``None``: something was
    tried again, or the turn was claimed alone, or the text is not sent right behind it."""


@dataclass(frozen=True)
class ClaimedDelivery:
    """A text that this worker has leased."""

    lease: Lease
    message_id: int
    text: OutgoingText
    attempts: int
    first_attempt_at: datetime
    expires_at: datetime
    outcome_unknown: bool
    """The carrier was asked to send it before, or may have been."""
    absent_after: datetime
    """From this moment on, a text that is not in the carrier's list was not accepted at the last attempt."""
    probed: tuple[str, ...] = ()
    """Open circuits that this text probes."""
    give_up_reason: str | None = None
    """Why no attempt makes sense."""
    answers: Answers | None = None
    """``None``: it is no answer of the agent to a person."""
    began: float = field(default_factory=time.perf_counter, compare=False)
    """When the attempt began, by the clock of this process that measures lengths."""

    @property
    def unreadable(self) -> str | None:
        """Why it can't be sent: its words can't be decrypted."""
        return why_unreadable(self.text.body)


@dataclass(frozen=True)
class Retry:
    """The text is due again at ``due_at``."""

    due_at: datetime
    reason: str
    error: RemoteError | None = None
    status: MessageStatus | None = None
    response_received: bool = False
    """The carrier answered the request itself, with this error."""


@dataclass(frozen=True)
class GivenUp:
    """A text of the same pair that was given up shortly before, and may have been accepted after all."""

    body: str
    attempted_at: datetime
