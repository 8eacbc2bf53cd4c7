"""The clocks: of this machine, and of the database, a worker and the providers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from bridge.doctor.context import Context
from bridge.doctor.findings import Finding, fault, ok, warning
from bridge.providers.errors import RemoteError
from bridge.providers.http.remote_time import remote_time
from bridge.queues.timing import LIVE_FOR, MAX_CLOCK_SKEW

SUBJECT = "time"

HARMFUL = timedelta(seconds=LIVE_FOR)
"""From this difference on, two workers may do the same work."""

TIMEOUT = 5.0
"""Seconds for one answer of a provider."""

_NONE = timedelta(0)
_NAMES = {"retell": "Retell", "uponai": "UponAI"}

SYNCHRONIZE = "Synchronize the clocks of these machines by NTP."


def judged(whose: str, ahead: timedelta, unsure: timedelta) -> Finding:
    """Judge the difference of a clock from ours. ``unsure``: how much of it may come from the measurement."""
    surely = max(abs(ahead) - unsure, _NONE)
    direction = "ahead of" if ahead > _NONE else "behind"
    words = f"the clock of {whose} is {abs(ahead).total_seconds():.1f} s {direction} ours"
    if surely > HARMFUL:
        return fault(SUBJECT, words, SYNCHRONIZE, code="time-off")
    if surely > MAX_CLOCK_SKEW:
        return warning(SUBJECT, words, SYNCHRONIZE, code="time-differs")
    return ok(SUBJECT, f"the clock of {whose} agrees with ours")


def providers(context: Context) -> Sequence[Finding]:
    """Compare our clock with the Date headers of the providers. Whether they answer at all is another check's."""
    return [finding for whose, url in _addresses(context) for finding in _provider(context, whose, url)]


def _addresses(context: Context) -> list[tuple[str, str]]:
    its = context.settings
    agents = {"retell": its.retell_base_url, "uponai": its.uponai_base_url}
    return [("Twilio", its.twilio_api_base_url), *((_NAMES[name], agents[name]) for name in its.providers)]


def _provider(context: Context, whose: str, url: str) -> list[Finding]:
    before = context.now()
    try:
        at = remote_time(whose.lower(), url, deadline=time.monotonic() + TIMEOUT)
    except RemoteError:
        return []
    took = context.now() - before
    if at is None:
        return []
    # The header has whole seconds, cut off.
    middle = at + timedelta(seconds=0.5)
    return [judged(whose, middle - (before + took / 2), unsure=took / 2 + timedelta(seconds=0.5))]
