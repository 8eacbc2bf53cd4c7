"""The look where the account hides the words of its texts (message redaction): what else tells one text from another.

The pair of numbers, the moment at which the carrier made it, in how many segments it went, and how many there are that
no row owns. Never enough to send a text again while one is there that may be it.
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
"""How far the carrier's clock may be off where another text may be taken for this one: machines whose clocks are set by
the network differ by less."""

CLOCK_SKEW = timedelta(minutes=1)
"""The same where nothing is sent again because of it. Not longer: texts of others to this phone stand in the way."""

TRIAL_PREFIX = "Sent from your Twilio trial account - "
"""What Twilio puts before each text of a trial account, also in its list."""

WHY = "whether it was sent can't be told by the carrier's list, in which the account hides what texts say"


def may_be(rt: Runtime, claimed: ClaimedDelivery, text: CarriedText) -> bool:
    """A text without words to compare that went to this phone about then, in about as many segments as this one."""
    counts = _counts(rt, claimed)
    near = range(min(counts) - 1, max(counts) + 2)  # where a part ends between two emoji, carriers count otherwise
    made = text.created_at or claimed.first_attempt_at
    in_time = claimed.first_attempt_at - CLOCK_SKEW <= made <= claimed.absent_after + STILL_ON_ITS_WAY
    return hidden(text.body) and in_time and (text.segments is None or text.segments in near)


def only_one(
    rt: Runtime, claimed: ClaimedDelivery, free: Sequence[CarriedText], others: Sequence[GivenUp]
) -> CarriedText | None:
    """The one that must be it: no other may be it, it was made since the first attempt and in as many segments, and no
    other text of ours may be what it is.
    """
    possible = [text for text in free if may_be(rt, claimed, text)]
    since = claimed.first_attempt_at.replace(microsecond=0) - DUPLICATE_SKEW
    if len(possible) != 1 or any(other.attempted_at + STILL_ON_ITS_WAY >= since for other in others):
        return None
    [text] = possible
    in_time = text.created_at is None or text.created_at >= since
    return text if in_time and (text.segments is None or text.segments in _counts(rt, claimed)) else None


def _counts(rt: Runtime, claimed: ClaimedDelivery) -> set[int]:
    """In how many segments the carrier may have sent it: with its prefix, with plain typography, off SMS as one."""
    body, phone, sender = claimed.text.body, claimed.text.recipient, claimed.text.sender
    counts = {segments(before + form, phone) for form in (body, plain(body)) for before in ("", TRIAL_PREFIX)}
    return counts | {1} if rt.carrier.sending_identity(sender) != sender else counts
