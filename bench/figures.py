"""The figures of one bridge under one load, their medians over the runs, and the table beside the peer's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.load import Outcome
from bench.meters import MACHINE
from bench.products import GENERATOR, Running

Figures = dict[str, float]
"""By label, in the order of the table. A label in parentheses is not about the bridge, and has no ratio."""


@dataclass(frozen=True)
class Spent:
    """Seconds of processor time of everything that ran meanwhile."""

    own: Mapping[str, float]
    services: Mapping[str, float]
    generator: float
    others: float
    """All other work of the machine."""
    took: float


def spent(running: Running, before: Mapping[str, float], after: Mapping[str, float], took: float) -> Spent:
    used = {name: after[name] - before[name] for name in before}
    own = {name: used[name] for name in running.processes}
    services = {name: used[name] for name in running.services}
    known = sum(own.values()) + sum(services.values()) + used[GENERATOR]
    return Spent(own, services, used[GENERATOR], max(0.0, used[MACHINE] - known), took)


def of_rate(rate: str, outcome: Outcome, cost: Spent, idle: Spent) -> Figures:
    """Return milliseconds and percentages. The cost of idle processes does not count as the texts' cost."""

    def a_text(now: Mapping[str, float], at_rest: Mapping[str, float]) -> float:
        beyond = sum(now.values()) - sum(at_rest.values()) * cost.took / idle.took
        return beyond / outcome.answered * 1000 if outcome.answered else math.nan

    own, services = a_text(cost.own, idle.own), a_text(cost.services, idle.services)
    lengths = {"added": outcome.added, "webhook": outcome.webhook}
    return {
        f"{rate} answered, %": 100 * outcome.answered / outcome.texts,
        f"{rate} sent twice, or to a wrong phone": outcome.doubled + outcome.crossed,
        f"{rate} webhooks refused or unanswered": outcome.webhooks_failed,
        **({f"{rate} callbacks answered": outcome.callbacks - outcome.callbacks_failed} if outcome.callbacks else {}),
        f"{rate} CPU a text, own processes, ms": own,
        f"{rate} … and services, ms": own + services,
        **{
            f"{rate} {name} {which}, ms": 1000 * seconds
            for name, times in lengths.items()
            for which, seconds in zip(("p50", "p99", "max"), times, strict=True)
            if which != "max"
        },
        f"{rate} (generator: CPU a text, ms)": 1000 * outcome.cpu / outcome.texts,
        f"{rate} (generator: late by p99, ms)": 1000 * outcome.lag[1],
        f"{rate} (others on the machine, cores)": cost.others / cost.took,
    }


def at_rest(idle: Spent) -> Figures:
    """Return percentages of a core."""

    def percent(seconds: float) -> float:
        return 100 * seconds / idle.took

    return {
        "idle: own processes, % of a core": percent(sum(idle.own.values())),
        **{f"idle: {name}, % of a core": percent(seconds) for name, seconds in idle.own.items()},
        **{f"idle: {name}, % of a core": percent(seconds) for name, seconds in idle.services.items()},
        "idle: (others on the machine, cores)": idle.others / idle.took,
    }


def memory(running: Running) -> Figures:
    found = running.memory()
    return {
        **{f"memory: {name}, RSS MB": used.rss for name, used in found.items()},
        **{f"memory: {name}, PSS MB": used.pss for name, used in found.items()},
        "memory: all, RSS MB": sum(used.rss for used in found.values()),
        "memory: all, with shared pages once, PSS MB": sum(used.pss for used in found.values()),
    }


def medians(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure over the runs that have it."""
    labels = list(dict.fromkeys(label for run in runs for label in run))
    return {label: median(found) for label in labels if (found := list(_of(label, runs)))}


def _of(label: str, runs: Iterable[Figures]) -> Iterable[float]:
    return (run[label] for run in runs if label in run and not math.isnan(run[label]))


def table(found: Mapping[str, Figures], beside: str) -> list[str]:
    """Return a Markdown table: a column for each bridge, then each one's ratio to the one ``beside``."""
    others = [name for name in found if name != beside] if beside in found else []
    head = ["", *found, *(f"{name} / {beside}" for name in others)]
    labels = _in_order([list(figures) for figures in found.values()])
    rows = [
        [
            label,
            *(_shown(figures.get(label)) for figures in found.values()),
            *(_ratio(label, found[name].get(label), found[beside].get(label)) for name in others),
        ]
        for label in labels
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return [lines[0], "|---|" + "--:|" * (len(head) - 1), *lines[1:]]


def _in_order(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return all labels, each behind its predecessor in its own list."""
    order: list[str] = []
    for labels in lists:
        place = 0
        for label in labels:
            if label in order:
                place = order.index(label) + 1
            else:
                order.insert(place, label)
                place += 1
    return order


def _shown(number: float | None) -> str:
    if number is None or math.isnan(number):
        return "–"
    if number == int(number) or abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}" if abs(number) < 10 else f"{number:,.1f}"


def _ratio(label: str, number: float | None, beside: float | None) -> str:
    if label.endswith(")") or number is None or not beside or math.isnan(number) or math.isnan(beside):
        return ""
    return f"{number / beside:.2f}"
