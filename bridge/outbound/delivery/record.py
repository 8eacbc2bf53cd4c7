"""The record of the log that ends an attempt at a delivery: its fields."""

from __future__ import annotations

import time
from typing import Any

from bridge.lib import waits
from bridge.lib.log import fields
from bridge.outbound.delivery.values import ClaimedDelivery
from bridge.runtime import Runtime


def ended(rt: Runtime, claimed: ClaimedDelivery, outcome: str) -> dict[str, Any]:
    """Return ``extra`` for the record. Every attempt ends with one such record, and no other has these fields.

    The record is written behind the commit: a commit that fails has ended nothing, and is run again.
    """
    answers = claimed.answers
    return fields(
        outcome=outcome,
        conversation=claimed.lease.conversation_id,
        text=claimed.message_id,
        turn=answers.turn_id if answers else None,
        answers=answers.text_id if answers else None,
        attempt=claimed.attempts,
        provider=rt.carrier.provider,
        seconds=round(time.perf_counter() - claimed.began, 4),
        provider_seconds=round(waits.seconds(), 4),
    )
