"""Reconciling for an account that hides the words of its texts (message redaction).

Other marks identify a text: the pair of numbers, the moment at which the carrier created it, its segments, and the
number of texts that no row owns. A text is never sent again while the list has one that may be it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from bridge.outbound.delivery.claim import STILL_ON_ITS_WAY
from bridge.outbound.delivery.values import ClaimedDelivery, GivenUp
from bridge.outbound.formatting.segments import segments
from bridge.outbound.formatting.smart import plain
from bridge.providers.carriers.contract import CarriedText
from bridge.providers.carriers.hidden_text import hidden
from bridge.runtime import Runtime

DUPLICATE_SKEW = timedelta(seconds=5)
"""The allowed difference of clocks where another text might be matched to this one. Clocks that are set by the network
differ by less."""

CLOCK_SKEW = timedelta(minutes=1)
"""The same where a match only stops a resend. Not longer: other texts to this phone would match, too."""

TRIAL_PREFIX = "Sent from your Twilio trial account - "
"""The words that Twilio puts before each text of a trial account, also in its list."""

WHY = "the carrier's list does not show whether it was sent, because the account hides the words of its texts"


def may_be(rt: Runtime, claimed: ClaimedDelivery, text: CarriedText) -> bool:
    """Return whether a text with hidden words may be this one: created about then, with about as many segments."""
    counts = _counts(rt, claimed)
    near = range(min(counts) - 1, max(counts) + 2)  # if a part ends between two emoji, carriers count differently
    made = text.created_at or claimed.first_attempt_at
    in_time = claimed.first_attempt_at - CLOCK_SKEW <= made <= claimed.absent_after + STILL_ON_ITS_WAY
    return hidden(text.body) and in_time and (text.segments is None or text.segments in near)


def only_one(
    rt: Runtime, claimed: ClaimedDelivery, free: Sequence[CarriedText], others: Sequence[GivenUp]
) -> CarriedText | None:
    """Return the listed text that must be this one, if there is one.

    No other listed text may be this one, and no other text of ours may be the listed one. It was created since the
    first attempt, and has as many segments.
    """
    possible = [text for text in free if may_be(rt, claimed, text)]
    since = claimed.first_attempt_at.replace(microsecond=0) - DUPLICATE_SKEW
    if len(possible) != 1 or any(other.attempted_at + STILL_ON_ITS_WAY >= since for other in others):
        return None
    [text] = possible
    in_time = text.created_at is None or text.created_at >= since
    return text if in_time and (text.segments is None or text.segments in _counts(rt, claimed)) else None


def _counts(rt: Runtime, claimed: ClaimedDelivery) -> set[int]:
    """Return the possible numbers of segments: with the trial prefix, with plain typography, off SMS as one."""
    body, phone, sender = claimed.text.body, claimed.text.recipient, claimed.text.sender
    counts = {segments(before + form, phone) for form in (body, plain(body)) for before in ("", TRIAL_PREFIX)}
    return counts | {1} if rt.carrier.sending_identity(sender) != sender else counts
