"""Whether a text in the carrier's list is one of ours, without a database.

A text of ours whose sending is not settled must never count as somebody else's. The agent would keep still for its own
words. So in doubt a text is ours, or is judged again in a later round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from bridge.db.models import UNSENT, MessageStatus
from bridge.db.sealing import why_unreadable
from bridge.lib.keywords import carrier_recognizes
from bridge.outbound.delivery.claim import STILL_ON_ITS_WAY
from bridge.outbound.delivery.reconcile import CLOCK_SKEW, same_letters, same_words
from bridge.providers.carriers.contract import SentText

MAY_BE_OURS = STILL_ON_ITS_WAY + CLOCK_SKEW
"""A text that the carrier made so long after an attempt of ours can't come from it."""


class Verdict(Enum):
    OURS = auto()
    """Or the carrier's own."""
    OUTSIDE = auto()
    UNDECIDED = auto()
    """A text of ours is on its way, and this may be it."""


@dataclass(frozen=True)
class Attempted:
    """A text of ours to the same person that was handed to the carrier at least once."""

    status: MessageStatus
    body: str
    carrier_id: str | None
    first_attempt_at: datetime
    attempted_at: datetime


def judge(text: SentText, ours: Sequence[Attempted], long_ago: datetime) -> Verdict:
    """Judge a text that no row of ours has. An attempt since ``long_ago`` may still be going on."""
    if any(each.status in UNSENT or each.attempted_at > long_ago for each in ours):
        return Verdict.UNDECIDED
    return Verdict.OURS if any(_may_be(each, text) for each in ours) else Verdict.OUTSIDE


def made(text: SentText) -> datetime:
    """Return when the carrier has accepted the text."""
    moment = text.carried.created_at or text.sent_at
    assert moment
    return moment


def answers_keyword(came: Iterable[tuple[str, MessageStatus]]) -> bool:
    """Return whether one of these texts of a person is a keyword, which the carrier answers itself."""
    return any(status is MessageStatus.KEYWORD or carrier_recognizes(body) for body, status in came)


def _may_be(ours: Attempted, text: SentText) -> bool:
    """Return whether the listed text may come from an attempt at ours.

    The carrier may have accepted a text of ours twice. A text of ours without an id was given up, and may have been
    accepted all the same, whatever words the list shows. Words that can't be decrypted may be any.
    """
    if not ours.first_attempt_at - CLOCK_SKEW <= made(text) <= ours.attempted_at + MAY_BE_OURS:
        return False
    if ours.carrier_id is None or text.hidden or why_unreadable(ours.body):
        return True
    return same_words(text.carried.body, ours.body) or same_letters(text.carried.body, ours.body)
