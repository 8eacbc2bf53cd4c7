"""What passes through a delivery: plain values, no rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.providers.carriers.contract import OutgoingText
from bridge.queues.conversation_queue import Lease

RECHECK_AFTER = timedelta(seconds=10)
"""Between two looks while a text may still be on its way."""

NOT_IN_TIME = "it could not be sent within ANSWER_WITHIN"


@dataclass(frozen=True)
class ClaimedDelivery:
    """A text that this worker has claimed, as plain values."""

    lease: Lease
    message_id: int
    text: OutgoingText
    attempts: int
    first_attempt_at: datetime
    expires_at: datetime
    outcome_unknown: bool
    """It was handed over before, or may have been."""
    absent_after: datetime
    """What is not in the carrier's list by then was not taken at the last attempt."""
    probed: tuple[str, ...]
    """What of the carrier and the sender is on hold: this text finds out whether that serves again."""
    give_up_reason: str | None
    """Why no try is worth it."""


@dataclass(frozen=True)
class GivenUp:
    """A text of the same pair that was given up shortly before, and may have been taken after all."""

    body: str
    attempted_at: datetime
