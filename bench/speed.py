"""How fast a chaos run got over its faults, read from the ledger."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.disasters import Happened
from bridge.simulator import Ledger
from bridge.simulator.ledger import Heard, Sent, Text


@dataclass(frozen=True)
class Speed:
    """Seconds."""

    median: float = 0.0
    """From a text to its answer on the phone."""
    nearly_all: float = 0.0
    """99 of 100 answers took no longer."""
    slowest: float = 0.0
    standstill: float = 0.0
    """The longest that nothing moved after a disaster was over."""
    standstill_after: str = ""


def measured(ledger: Ledger, happened: Iterable[Happened]) -> Speed:
    took = sorted(_answer_times(ledger))
    standstill, kind = max(_standstills(ledger, happened), default=(0.0, ""))
    if not took:
        return Speed(standstill=standstill, standstill_after=kind)
    return Speed(took[len(took) // 2], took[len(took) * 99 // 100], took[-1], standstill, kind)


def _answer_times(ledger: Ledger) -> Iterable[float]:
    """Of equal words, the first answer belongs to the first text."""
    texted: dict[tuple[str, str], deque[float]] = defaultdict(deque)
    for text in ledger.of(Text):
        texted[text.phone, f"re: {text.body}"].append(text.at)
    for sent in ledger.of(Sent):
        if moments := texted[sent.to, sent.body]:
            yield sent.at - moments.popleft()


def _standstills(ledger: Ledger, happened: Iterable[Happened]) -> Iterable[tuple[float, str]]:
    moves: Sequence[float] = sorted(event.at for kind in (Heard, Sent) for event in ledger.of(kind))
    for each in happened:
        following = bisect_left(moves, each.ended)
        if following < len(moves):
            yield moves[following] - each.ended, each.kind
