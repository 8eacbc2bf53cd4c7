"""Plots as SVG: where each bar stands. The template draws them, and the style sheet colours them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bridge.web.queries.figures import Count

WIDTH, HEIGHT = 640, 150
BASE = 126
"""Where the bars stand; the labels are below."""
TOP = 20
GAP = 0.28
"""The part of each place that is left free."""


@dataclass(frozen=True)
class Bar:
    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Label:
    x: float
    at: datetime
    anchor: str = "middle"


@dataclass(frozen=True)
class Plot:
    name: str
    title: str
    summary: str
    """What the plot shows, in words."""
    bars: Sequence[Bar]
    labels: Sequence[Label]
    most: int
    """What a bar of full height stands for."""
    counts: Sequence[Count]
    pattern: str
    """How the time of a count is written, until the script writes a clock's in the reader's own time."""

    @property
    def clock(self) -> bool:
        return "%H" in self.pattern


@dataclass(frozen=True)
class About:
    """What a plot is about."""

    name: str
    title: str
    pattern: str
    every: int
    """Each so many bars one has a label."""


def plot(about: About, counts: Sequence[Count]) -> Plot:
    """Draw one pair of bars for each count: received and sent."""
    most = max([1, *(max(count.received, count.sent) for count in counts)])
    place = WIDTH / len(counts)
    bars = [bar for n, count in enumerate(counts) for bar in _pair(n * place, place, count, most)]
    last = len(counts) - 1
    labels = [
        Label(WIDTH, count.at, "end") if n == last else Label(round((n + 0.5) * place, 1), count.at)
        for n, count in enumerate(counts)
        if (last - n) % about.every == 0 and n
    ]
    return Plot(about.name, about.title, _summary(counts, about.pattern), bars, labels, most, counts, about.pattern)


def _pair(x: float, place: float, count: Count, most: int) -> list[Bar]:
    width = place * (1 - GAP) / 2
    left = x + place * GAP / 2
    return [_bar("received", left, width, count.received / most), _bar("sent", left + width, width, count.sent / most)]


def _bar(kind: str, x: float, width: float, part: float) -> Bar:
    height = part * (BASE - TOP)
    return Bar(kind, round(x, 1), round(BASE - height, 1), round(width, 1), round(height, 1))


def _summary(counts: Sequence[Count], pattern: str) -> str:
    received, sent = sum(count.received for count in counts), sum(count.sent for count in counts)
    if not received and not sent:
        return "No texts in this time."
    busiest = max(counts, key=lambda count: count.received + count.sent)
    return (
        f"{received:,} texts received and {sent:,} sent. "
        f"The most at {busiest.at:{pattern}} UTC: {busiest.received:,} received and {busiest.sent:,} sent."
    )
