"""The speed of recovery in a chaos run, read from the ledger."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.disasters import Happened
from bridge.simulator import Ledger
from bridge.simulator.ledger import Received, Sent, Text

RECOVERS_WITHIN = 30.0
"""Seconds, the limit on recovery. A stalled worker's leases expire after 20, a sweep finds the work within two, and
the platform needs five to restart a process. A longer recovery does not come from these mechanisms."""


@dataclass(frozen=True)
class Speed:
    """Times in seconds."""

    median: float = 0.0
    """From a text to its answer on the phone."""
    nearly_all: float = 0.0
    """99 of 100 answers took no longer."""
    slowest: float = 0.0
    standstill: float = 0.0
    """The longest time without progress after a disaster."""
    standstill_after: str = ""
    standstill_alone: float = 0.0
    """The same after a disaster that no other one overlapped, and at most until the next one began."""
    standstill_alone_after: str = ""

    @property
    def recovered(self) -> bool:
        """Return True if the bridge recovered in time from every single disaster.

        Overlapping disasters have no limit.
        """
        return self.standstill_alone <= RECOVERS_WITHIN


def measured(ledger: Ledger, happened: Sequence[Happened]) -> Speed:
    took = sorted(_answer_times(ledger)) or [0.0]
    moves = [event.at for kind in (Received, Sent) for event in ledger.of(kind)]
    beginnings = [each.began for each in happened]
    alone = [each for each in happened if not any(other.began <= each.ended < other.ended for other in happened)]
    return Speed(
        took[len(took) // 2],
        took[len(took) * 99 // 100],
        took[-1],
        *_longest_standstill(moves, happened),
        *_longest_standstill([*moves, *beginnings], alone),
    )


def _answer_times(ledger: Ledger) -> Iterable[float]:
    """Yield the times from text to answer. Of equal words, the first answer belongs to the first text."""
    texted: dict[tuple[str, str], deque[float]] = defaultdict(deque)
    for text in ledger.of(Text):
        texted[text.phone, f"re: {text.body}"].append(text.at)
    for sent in ledger.of(Sent):
        if moments := texted[sent.to, sent.body]:
            yield sent.at - moments.popleft()


def _longest_standstill(moments: Iterable[float], happened: Iterable[Happened]) -> tuple[float, str]:
    """Return the longest time from a disaster's end to the next of these moments, and the disaster's kind.

    If no moment follows, everything was finished already, or the judge reports that the run never came to rest.
    """
    ordered = sorted(moments)
    standstills = [
        (ordered[following] - each.ended, each.kind)
        for each in happened
        if (following := bisect_right(ordered, each.ended)) < len(ordered)
    ]
    return max(standstills, default=(0.0, ""))
