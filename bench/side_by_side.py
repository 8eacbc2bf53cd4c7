"""The peer, the tutorial's bridge and ours, one after the other on this machine, under the same load.

    python -m bench.side_by_side                        the table: three runs, medians, ratios to the peer
    python -m bench.side_by_side --runs 1 --rates 50    a quick look
    python -m bench.side_by_side --products ours,ours+callbacks --beside ours
    python -m bench.side_by_side --products ours,ours-rabbitmq --beside ours
    python -m bench.side_by_side --products up-sqlite --rates 12,50,150 --ceiling
    python -m bench.side_by_side --flight 1000          so many turns in flight in one worker
    python -m bench.side_by_side --workers 1,2,4        ceilings with so many worker processes, agent 2 s
    python -m bench.side_by_side --grow                 a full database beside an empty one

Each bridge gets its own PostgreSQL, Redis, providers and load generator. All of them start before it and end after it.
README.md beside this file explains the measurements.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import figures
from bench.figures import Figures, Spent
from bench.grow import grown_beside_empty
from bench.load import Burst
from bench.products import PRODUCTS, Conditions
from bench.stand import WARM_UP, Column, Stand, tell
from testkit.servers import Missing

TEXTS_AT_LEAST = 60
SECONDS = 12
"""Seconds of load at each rate. It lasts longer if that gives too few texts."""

HOLDS_P99 = 1.0
"""Seconds. A rate holds if all texts are answered and 99 of 100 wait no longer, without the agent's time."""

TRIAL_SECONDS = 10
TRIAL_DRAIN = 5.0
CLOSE_ENOUGH = 1.1

AGENT_DELAY, FLIGHT_DELAY, WORKERS_DELAY = 0.3, 10.0, 2.0
"""Seconds that the agent thinks: in the table, with many turns in flight, with several workers."""

FLIGHT_RATE = 200.0

CALLBACKS = "+callbacks"
"""The suffix of a name for a column with status callbacks."""


@dataclass(frozen=True)
class Options:
    """The options of a run."""

    columns: Sequence[Column]
    beside: str
    runs: int
    rates: Sequence[float]
    idle: float
    ceiling: bool
    ceiling_from: float
    arrivals: str
    drain: float
    conditions: Conditions
    flight: int | None
    workers: Sequence[int]
    grow: int | None
    output: Path | None


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, _as_interrupt)  # so that everything started here ends too
    try:
        found = {name: figures.medians(runs) for name, runs in _measure(options).items()}
    except Missing as missing:
        sys.exit(f"{missing}")
    print("\n".join(figures.table(found, "empty" if options.grow else options.beside)))


def _measure(options: Options) -> dict[str, list[Figures]]:
    if options.grow:
        return grown_beside_empty(options.grow, options.conditions, options.runs)
    jobs = list(_jobs(options))
    found: dict[str, list[Figures]] = {name: [] for name, _ in jobs}
    for run in range(options.runs):
        for name, job in jobs:
            tell(f"run {run + 1} of {options.runs}: {name}")
            found[name].append(job(run))
            if options.output:
                options.output.write_text(json.dumps(found, indent=1))
    return found


def _jobs(options: Options) -> Iterator[tuple[str, Callable[[int], Figures]]]:
    """Yield the columns of the table, and the measurement for each."""
    for column in options.columns:
        if options.flight:
            yield column.name, lambda _, column=column: _flight(column, options)
        for workers in options.workers:
            more = replace(column, conditions=replace(column.conditions, workers=workers))
            name = f"{column.name}, {workers} worker{'s' if workers > 1 else ''}"
            yield name, lambda run, more=more: _only_ceiling(more, options, run)
        if not options.flight and not options.workers:
            yield column.name, lambda run, column=column: _side(column, options, run)


def _side(column: Column, options: Options, run: int) -> Figures:
    with Stand(column) as stand:
        stand.now.run(WARM_UP)
        idle = stand.at_rest(options.idle)
        found, memory = figures.at_rest(idle), figures.memory(stand.now)
        for rate in options.rates:
            found |= _at_rate(stand, rate, idle, options, run)
            memory = {name: max(used, memory[name]) for name, used in figures.memory(stand.now).items()}
            if found[f"{rate:g}/s answered, %"] < 100:
                stand.renew()
        found |= memory
        if options.ceiling:
            found |= _ceiling(stand, options, run)
    return found


def _at_rate(stand: Stand, rate: float, idle: Spent, options: Options, run: int) -> Figures:
    texts = max(TEXTS_AT_LEAST, round(rate * SECONDS))
    outcome, cost = stand.measured(Burst(rate, texts, options.arrivals, run, options.drain, stand.callbacks))
    found = figures.of_rate(f"{rate:g}/s", outcome, cost, idle)
    tell(f"  {rate:g}/s: {outcome}")
    if ended := stand.now.ended():
        tell(f"  ended by themselves: {', '.join(ended)}")
    return found


def _ceiling(stand: Stand, options: Options, run: int) -> Figures:
    """Return the highest rate that holds, and the load of each part at that rate."""
    costs: dict[float, Spent] = {}

    def holds(rate: float) -> bool:
        texts = round(rate * TRIAL_SECONDS)
        outcome, costs[rate] = stand.measured(Burst(rate, texts, options.arrivals, run, TRIAL_DRAIN, stand.callbacks))
        held = outcome.answered == outcome.texts and not outcome.webhooks_failed and outcome.added[1] <= HOLDS_P99
        tell(f"  {rate:.0f}/s is {'' if held else 'not '}held: {outcome}")
        if not held:
            stand.renew()
        return held

    rate = search(options.ceiling_from, holds)
    return {"ceiling, texts/s": rate, **(_cores("at the ceiling", costs[rate]) if rate else {})}


def search(rate: float, holds: Callable[[float], bool]) -> float:
    """Double the rate until it fails, or halve it until it holds; then narrow the gap. Return 0 if none holds."""
    low = high = 0.0
    while rate >= 1 and not (low and high and high / low <= CLOSE_ENOUGH):
        low, high = (rate, high) if holds(rate) else (low, rate)
        rate = between(low, high)
    return low


def between(low: float, high: float) -> float:
    """Return the next rate to try. 0 means unknown."""
    if not high:
        return low * 2
    return (low * high) ** 0.5 if low else high / 2


def _cores(when: str, cost: Spent) -> Figures:
    """Return the busy cores of each part. They show the bottleneck."""
    busy = {**cost.own, **cost.services, "generator": cost.generator, "others on the machine": cost.others}
    return {f"{when}: ({name}, cores)": seconds / cost.took for name, seconds in busy.items()}


def _flight(column: Column, options: Options) -> Figures:
    """Measure so many turns at once, all of them waiting for the agent."""
    assert options.flight
    with Stand(column) as stand:
        before = figures.memory(stand.now)
        drain = options.drain + column.conditions.agent_delay
        burst = Burst(FLIGHT_RATE, options.flight, "even", drain=drain)
        stand.now.generator.begin(burst)
        most = dict(before)
        while not stand.now.generator.has_answered(0.25):
            most = {name: max(used, most[name]) for name, used in figures.memory(stand.now).items()}
        outcome = stand.now.generator.end()
    return {
        "texts": outcome.texts,
        "answered": outcome.answered,
        "turns in flight, at most": outcome.most_open_turns,
        **{f"before: {name}": used for name, used in before.items()},
        **{f"at most: {name}": used for name, used in most.items()},
        "added p50, ms": 1000 * outcome.added[0],
        "added p99, ms": 1000 * outcome.added[1],
    }


def _only_ceiling(column: Column, options: Options, run: int) -> Figures:
    with Stand(column) as stand:
        stand.now.run(WARM_UP)
        return _ceiling(stand, options, run)


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m bench.side_by_side", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--products", help=f"in this order: {', '.join(PRODUCTS)}; each also with {CALLBACKS}")
    add("--beside", default="peer", help="whose figures the ratios are to")
    add("--runs", type=int, default=3)
    add("--rates", type=_numbers, default=[2, 12, 50, 150], help="texts a second, such as 2,12,50,150; empty: none")
    add("--ceiling", action=argparse.BooleanOptionalAction, help="search the highest rate that holds")
    add("--ceiling-from", type=float, default=25)
    add("--idle", type=float, default=60, help="seconds without any text")
    add("--arrivals", choices=("poisson", "even"), default="poisson", help="the same moments for all of them")
    add("--drain", type=float, default=30, help="seconds that answers may come after the last text")
    add("--agent-delay", type=float, help=f"seconds; {AGENT_DELAY} unless another mode says otherwise")
    add("--create-delay", type=float, default=0.0, help="seconds that opening a chat takes")
    add("--callbacks", action="store_true", help="`sent` and `delivered` for every text whose sender asks for them")
    add("--catch-up", action=argparse.BooleanOptionalAction, default=True, help="ours reads the carrier's list")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the bridges")
    add("--flight", type=int, metavar="N", help="this many turns at once, agent 10 s")
    add("--workers", type=_whole_numbers, default=[], metavar="1,2,4", help="ceilings with these workers, agent 2 s")
    add("--grow", type=int, nargs="?", const=1_000_000, metavar="N", help="conversations, ten messages each")
    add("--json", type=Path, metavar="FILE", help="every run's figures")
    given = parser.parse_args()
    special = given.flight or given.workers or given.grow
    names = (given.products or ("ours" if special else "peer,tutorial,ours")).split(",")
    if unknown := {name.removesuffix(CALLBACKS) for name in names} - PRODUCTS.keys():
        parser.error(f"unknown: {', '.join(unknown)}")
    if given.idle < 1:
        parser.error("--idle must be at least 1: the cost at rest is measured over these seconds")
    usual = FLIGHT_DELAY if given.flight else WORKERS_DELAY if given.workers else AGENT_DELAY
    conditions = Conditions(
        agent_delay=usual if given.agent_delay is None else given.agent_delay,
        create_delay=given.create_delay,
        callbacks=given.callbacks,
        catch_up=given.catch_up,
        more=dict(each.split("=", 1) for each in given.set),
    )
    return Options(
        columns=[_column(name, conditions) for name in names],
        beside=given.beside,
        runs=given.runs,
        rates=given.rates,
        idle=given.idle,
        ceiling=given.ceiling,
        ceiling_from=given.ceiling_from,
        arrivals=given.arrivals,
        drain=given.drain,
        conditions=conditions,
        flight=given.flight,
        workers=given.workers,
        grow=given.grow,
        output=given.json,
    )


def _column(name: str, conditions: Conditions) -> Column:
    product = PRODUCTS[name.removesuffix(CALLBACKS)]
    return Column(name, product, replace(conditions, callbacks=conditions.callbacks or name.endswith(CALLBACKS)))


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part]


def _whole_numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
