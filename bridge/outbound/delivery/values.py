"""The values that pass through a delivery. None of them is a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.db.models import MessageStatus
from bridge.providers.carriers.contract import OutgoingText
from bridge.providers.errors import RemoteError
from bridge.queues.conversation_queue import Lease

RECHECK_AFTER = timedelta(seconds=10)
"""The pause between two checks while a text may still be on its way."""

NOT_IN_TIME = "it could not be sent within ANSWER_WITHIN"


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
