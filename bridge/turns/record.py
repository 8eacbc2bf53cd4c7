"""The record of the log that ends an attempt at a turn: its fields."""

from __future__ import annotations

import time
from typing import Any

from bridge.lib import waits
from bridge.lib.log import fields
from bridge.turns.values import ClaimedTurn


def ended(claimed: ClaimedTurn, outcome: str) -> dict[str, Any]:
    """Return ``extra`` for the record. Every attempt ends with one such record, and no other has these fields."""
    return fields(
        outcome=outcome,
        conversation=claimed.lease.conversation_id,
        turn=claimed.turn_id,
        texts=list(claimed.texts),
        attempt=claimed.attempts,
        provider=claimed.agent[0],
        seconds=round(time.perf_counter() - claimed.began, 4),
        provider_seconds=round(waits.seconds(), 4),
    )
