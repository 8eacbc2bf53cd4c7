"""What goes wrong in a chaos run, besides the vendors' own faults: one line of the table for each kind.

A run's schedule is drawn from its seed. Each disaster runs in a thread of its own; two of them never use the same
process or door at once. When the last one is over, everything is as it was.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.supervisor import Ended, Supervisor, Watched
from bridge.simulator import Simulator
from bridge.simulator.faults import FAULTS
from testkit.places import Place, sqlite_lock
from testkit.proxies import Proxies, State

NOT_AT_RANDOM = {"agent_401", "carrier_401", "carrier_queue_full", "callbacks_undelivered"}
"""An account and a queue refuse everything, for a while: disasters. What a handset does is no fault of the vendor."""

PROVIDER_FAULTS = [name for name in FAULTS if name not in NOT_AT_RANDOM]
"""Those of the simulator's faults that strike single calls."""

CALLS_PER_TEXT = 10
"""How many chances the vendor faults together have with one text, roughly."""

MORE_CALLS = {
    "agent_500": ("completion", "create", "get"),
    "agent_429": ("completion", "create", "get"),
    "agent_cut": ("completion", "create", "get"),
    "agent_garbage": ("completion", "create", "get"),
    "carrier_500": ("send", "list"),
    "carrier_429": ("send", "list"),
    "carrier_cut": ("send", "list"),
}
"""Faults that strike more than what they strike by default."""

SLOW = 4.0
"""Seconds that a slow agent takes; well within AGENT_TIMEOUT."""

LAST_WORDS = 0.3
"""Seconds in which what a server says to its clients at its end still passes the door."""

GRACE = 10.0
"""Seconds that a disaster waits for a process to strike."""

STARTS_WITHIN = 20.0
"""Seconds until a process runs or has given up: two busy cores take some, and ``up`` waits ten for a locked SQLite."""

ENOUGH = 3
"""Times as many disasters as kinds: that one of these had nothing to strike each time is no accident any more."""


@dataclass
class Stage:
    """What can be spoiled."""

    place: Place
    proxies: Proxies
    supervisor: Supervisor
    simulator: Simulator
    agent_timeout: float
    percent: float
    """Of the calls that each vendor fault strikes."""
    locks: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    def one(self, name: str, rng: random.Random) -> Watched | None:
        """A running process of this name, once there is one."""
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            if running := self.supervisor.running(name):
                return rng.choice(running)
            time.sleep(0.1)
        return None


Act = Callable[[Stage, random.Random, float], bool]
"""Does it, for so many seconds; False when there was nothing to strike."""


def _kill(name: str) -> Act:
    def act(stage: Stage, rng: random.Random, seconds: float) -> bool:
        process = stage.one(name, rng)
        if process is None:
            return False
        process.tell(signal.SIGKILL)
        return True

    return act


def _kill_child(name: str) -> Act:
    def act(stage: Stage, rng: random.Random, seconds: float) -> bool:
        process = stage.one(name, rng)
        children = process.children if process else []
        if not children:
            return False
        os.kill(rng.choice(children), signal.SIGKILL)
        return True

    return act


def _tell(child: int, signum: signal.Signals) -> None:
    """By a file descriptor, which never means another process; one that has ended needs no telling."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(child, signum)


def _halt_child(name: str) -> Act:
    def act(stage: Stage, rng: random.Random, seconds: float) -> bool:
        process = stage.one(name, rng)
        children = process.children if process else []
        if process is None or not children:
            return False
        try:
            child = os.pidfd_open(rng.choice(children))
        except ProcessLookupError:
            return False
        # It goes on also when its parent was killed meanwhile: a halted orphan would keep the port for ever, which no
        # platform lets happen.
        try:
            _tell(child, signal.SIGSTOP)
            time.sleep(seconds)
            _tell(child, signal.SIGCONT)
        finally:
            os.close(child)
        return True

    return act


def _halt(name: str) -> Act:
    def act(stage: Stage, rng: random.Random, seconds: float) -> bool:
        process = stage.one(name, rng)
        if process is None:
            return False
        process.tell(signal.SIGSTOP)
        time.sleep(seconds)
        if process.running:
            process.tell(signal.SIGCONT)
        return True

    return act


def _proxy(proxy: str, *states: State) -> Act:
    def act(stage: Stage, rng: random.Random, seconds: float) -> bool:
        with stage.locks[proxy]:
            stage.proxies.set(proxy, states[0])
            time.sleep(seconds)
            for state in (*states[1:], State.OPEN):
                stage.proxies.set(proxy, state)
        return True

    return act


def _restart(name: str, how: signal.Signals) -> Act:
    def act(stage: Stage, rng: random.Random, seconds: float) -> bool:
        server = stage.place.servers[name]
        with stage.locks[name]:
            server.tell(how)
            time.sleep(LAST_WORDS)
            stage.proxies.set(
                name, State.SHUT
            )  # else PostgreSQL waits for clients half-way through the proxy, up to 60 s
            server.until_gone()
            time.sleep(seconds)
            server.start()
            stage.proxies.set(name, State.OPEN)
        return True

    return act


def _empty_broker(stage: Stage, rng: random.Random, seconds: float) -> bool:
    with stage.locks["broker"]:
        stage.place.empty()
    return True


def _lock_sqlite(stage: Stage, rng: random.Random, seconds: float) -> bool:
    assert stage.place.sqlite
    with stage.locks["sqlite"], sqlite_lock(stage.place.sqlite):
        time.sleep(seconds)
    return True


def _refuse(fault: str, **options: float) -> Act:
    def act(stage: Stage, rng: random.Random, seconds: float) -> bool:
        with stage.locks[fault]:
            stage.simulator.faults.set(fault, **options)
            time.sleep(seconds)
            stage.simulator.faults.clear(fault)
        return True

    return act


def _outlast(stage: Stage, rng: random.Random, seconds: float) -> bool:
    """For a while every third answer takes longer than the bridge waits for it. It is heard all the same."""
    with stage.locks["agent_outlasts"]:
        stage.simulator.faults.set("agent_slow", 33, seconds=stage.agent_timeout + rng.uniform(1, 8))
        time.sleep(seconds)
        stage.simulator.faults.set("agent_slow", stage.percent, seconds=SLOW)
    return True


@dataclass(frozen=True)
class Kind:
    """A kind of disaster: how long it lasts, and what it needs to be there."""

    act: Act
    seconds: tuple[float, float] = (0, 0)
    needs: str = ""
    most: float = math.inf
    """Times in one run."""
    keeps_out: str = ""
    """The process that can't start meanwhile: it may end, and is started again."""


KINDS: dict[str, Kind] = {
    "web killed": Kind(_kill("web"), needs="web"),
    "web child killed": Kind(_kill_child("web"), needs="web"),
    "web child halted": Kind(_halt_child("web"), (2, 20), needs="web", keeps_out="web"),  # as an orphan it has the port
    "worker killed": Kind(_kill("worker"), needs="worker"),
    "worker halted": Kind(_halt("worker"), (25, 40), needs="worker"),
    "clock killed": Kind(_kill("clock"), needs="clock"),
    "bridge killed": Kind(_kill("up"), needs="up"),
    "bridge halted": Kind(_halt("up"), (3, 25), needs="up"),
    # PostgreSQL's own words for these two: fast (all sessions are ended) and immediate (as if it had crashed).
    "database restarted": Kind(_restart("database", signal.SIGINT), (0.5, 5), needs="database"),
    "database crashed": Kind(_restart("database", signal.SIGQUIT), (0.5, 5), needs="database"),
    "database silent": Kind(_proxy("database", State.SILENT), (2, 12), needs="database"),
    "database silent, then cut": Kind(_proxy("database", State.SILENT, State.CUT), (2, 12), needs="database"),
    "database locked": Kind(_lock_sqlite, (2, 12), needs="sqlite", keeps_out="up"),
    "broker killed": Kind(_restart("broker", signal.SIGKILL), (0.5, 8), needs="broker"),
    "broker silent": Kind(_proxy("broker", State.SILENT), (2, 12), needs="broker"),
    "broker silent, then cut": Kind(_proxy("broker", State.SILENT, State.CUT), (2, 12), needs="broker"),
    "broker emptied": Kind(_empty_broker, needs="broker"),
    "agent away": Kind(_proxy("agent", State.SHUT), (0.5, 5)),
    "agent silent, then cut": Kind(_proxy("agent", State.SILENT, State.CUT), (2, 8)),
    "agent outlasts the timeout": Kind(_outlast, (2, 4)),
    "agent refuses the account": Kind(_refuse("agent_401"), (2, 6)),
    "carrier away": Kind(_proxy("carrier", State.SHUT), (0.5, 5)),
    "carrier silent, then cut": Kind(_proxy("carrier", State.SILENT, State.CUT), (2, 8)),
    "carrier refuses the account": Kind(_refuse("carrier_401"), (2, 6)),
    "carrier refuses the senders": Kind(_refuse("carrier_code", code=21606), (2, 6)),
    # A queue is hours long, so the bridge pauses for longer each time that it finds it full again.
    "carrier's queue full": Kind(_refuse("carrier_queue_full"), (2, 6), most=1),
}


@dataclass(frozen=True)
class Disaster:
    """One line of the schedule."""

    at: float
    kind: str
    seconds: float
    seed: int


@dataclass(frozen=True)
class Happened:
    """A disaster that was; times in seconds since 1970."""

    kind: str
    began: float
    ended: float

    def __str__(self) -> str:
        began = datetime.fromtimestamp(self.began, UTC).isoformat(timespec="milliseconds")
        return f"{began} {self.ended - self.began:6.1f} s  {self.kind}"


def schedule(rng: random.Random, there: Iterable[str], number: int, length: float) -> list[Disaster]:
    """So many disasters, evenly over all kinds that are possible here and over the time; all end by its end."""
    there = {*there, ""}
    possible = [name for name, kind in KINDS.items() if kind.needs in there]
    kinds: list[str] = []
    while len(kinds) < number:
        left = [name for name in possible if kinds.count(name) < KINDS[name].most]
        kinds += rng.sample(left, min(len(left), number - len(kinds)))
    drawn = []
    for n, name in enumerate(kinds):
        seconds = rng.uniform(*KINDS[name].seconds)
        at = length * (n + rng.random()) / number
        drawn.append(Disaster(max(1.0, min(at, length - seconds)), name, seconds, rng.randrange(2**32)))
    return sorted(drawn, key=lambda disaster: disaster.at)


def play(stage: Stage, planned: Iterable[Disaster], stopped: threading.Event) -> list[Happened]:
    """Let it all happen; returns when the last one is over."""
    happened: list[Happened] = []
    began = time.monotonic()
    threads = []
    for disaster in planned:
        if stopped.wait(max(0.0, began + disaster.at - time.monotonic())):
            break
        threads.append(threading.Thread(target=_happen, args=(stage, disaster, happened), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return happened


def _happen(stage: Stage, disaster: Disaster, happened: list[Happened]) -> None:
    began = time.time()
    if KINDS[disaster.kind].act(stage, random.Random(disaster.seed), disaster.seconds):
        happened.append(Happened(disaster.kind, began, time.time()))


def missed(planned: Sequence[Disaster], happened: Iterable[Happened]) -> list[str]:
    """The kinds that never struck, of a schedule that is long enough for all."""
    kinds = {disaster.kind for disaster in planned}
    if len(planned) < ENOUGH * len(kinds):
        return []
    return sorted(kinds - {each.kind for each in happened})


def by_themselves(ended: Iterable[Ended], happened: Sequence[Happened]) -> list[Ended]:
    """Without those that a disaster kept from starting."""

    def kept_out(process: Ended, each: Happened) -> bool:
        meanwhile = each.began < process.at and process.started < each.ended
        return KINDS[each.kind].keeps_out == process.name and meanwhile

    return [
        process
        for process in ended
        if process.at - process.started > STARTS_WITHIN or not any(kept_out(process, each) for each in happened)
    ]


def set_provider_faults(stage: Stage, *, webhooks_lost: bool) -> None:
    for name in PROVIDER_FAULTS:
        if name == "webhooks_lost" and not webhooks_lost:
            continue
        options = {"seconds": SLOW} if name == "agent_slow" else {}
        stage.simulator.faults.set(name, stage.percent, MORE_CALLS.get(name), **options)
