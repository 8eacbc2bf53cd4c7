"""Times that must keep an order. ``tests/queues/test_timing.py`` holds it.

    request begun within 8 s  <  may start work for 10 s  <  stalled after 20 s
    two calls and a patient commit  <  a lease

A worker that was halted may wake up and go on. Its last request must have begun, and its last heartbeat must be too old
to start another one, before the sweeper gives its work to another worker.
"""

from __future__ import annotations

from datetime import timedelta

HEARTBEAT_EVERY = 3.0
"""Seconds between two heartbeats. Several may fail before a worker counts as stalled."""

STALLED_AFTER = timedelta(seconds=20)
"""A worker without a heartbeat for this long has stalled. The sweeper gives its leases back."""

LIVE_FOR = STALLED_AFTER.total_seconds() / 2
"""Seconds after its last heartbeat in which a worker may start work. Half of ``STALLED_AFTER``: clocks differ."""

RENOTIFY_AFTER = timedelta(seconds=20)
"""A wake-up without effect for this long counts as lost. A shorter time would fill a busy broker with wake-ups."""

MAX_CLOCK_SKEW = timedelta(seconds=1)
"""The largest difference between the clocks of two machines. Work that is due now is dated this far back; otherwise a
worker whose clock is behind would find it not due, and the wake-up would be wasted."""

LONGEST_BACKOFF = 25.0
"""Seconds. After an outage no work waits longer than this for its next attempt."""

LONGEST_RETRY_AFTER = 300.0
"""Seconds. A provider that asks for a day would cost every text; one request in five minutes harms no provider."""

TURN_LEASE_MARGIN = timedelta(seconds=120)
"""What a turn's lease adds to two whole answers of the agent: opening a chat, reading one, and a patient commit."""

DELIVERY_LEASE = timedelta(seconds=120)
"""A delivery's lease: reading the carrier's list and sending, each with its whole timeout, and a patient commit."""


def backoff(attempts: int, retry_after: float | None = None, longest: float = LONGEST_BACKOFF) -> timedelta:
    """Return the pause after so many attempts: 1 s, doubled each time, or the provider's Retry-After in seconds."""
    seconds = min(2.0 ** min(attempts - 1, 20), longest)
    return timedelta(seconds=max(seconds, min(retry_after or 0.0, LONGEST_RETRY_AFTER)))
