"""The disasters of a chaos run besides the providers' own faults, one line of the table for each kind.

The seed determines the schedule of a run. Each disaster has its own thread. Two of them never use the same process or
proxy at once. After the last one, everything is as it was.
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
"""Faults that last for a while, such as a refused account, are disasters. A handset's fault is not the provider's."""

PROVIDER_FAULTS = [name for name in FAULTS if name not in NOT_AT_RANDOM]
"""The simulator's faults that strike single calls."""

CALLS_PER_TEXT = 10
"""Chances of the provider faults together to strike one text, roughly."""

MORE_CALLS = {
    "agent_500": ("completion", "create", "get", "list"),
    "agent_500_after": ("completion", "create"),
    "agent_429": ("completion", "create", "get"),
    "agent_cut": ("completion", "create", "get", "list"),
    "agent_garbage": ("completion", "create", "get"),
    "carrier_500": ("send", "list"),
    "carrier_429": ("send", "list"),
    "carrier_cut": ("send", "list"),
}
"""Faults that strike more calls than by default."""

HANDOFFS_AT_RANDOM = ("agent_hands_over", "agent_hands_over_in_call", "agent_status_unknown")
"""Not one without a sign: if the bridge's question about that is cut off, the next text is asked beside the human."""

HANDED_OVER = 25.0
"""Percent of the turns that hand their chat to a human, in each of these ways."""

LONGEST_HANDOFF = 20.0
"""Seconds until a human gives a chat back. The bridge checks it after 15 s for the first time."""

SLOW = 4.0
"""Seconds that a slow agent takes; well within AGENT_TIMEOUT."""

LAST_WORDS = 0.3
"""Seconds in which the last words of an ending server still pass the proxy."""

GRACE = 10.0
"""Seconds that a disaster waits for a process to strike."""

STARTS_WITHIN = 20.0
"""Seconds until a process runs or has given up. Two busy cores take some, and ``up`` waits ten for a locked SQLite."""

ENOUGH = 3
"""Disasters for each kind. A kind that never found anything to strike in so many is no coincidence any more."""


@dataclass
class Stage:
    """The parts that a disaster can break."""

    place: Place
    proxies: Proxies
    supervisor: Supervisor
    simulator: Simulator
    agent_timeout: float
    percent: float
    """Percent of the calls that each provider fault strikes."""
    address: str
    """Of the bridge."""
    locks: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    def one(self, name: str, rng: random.Random) -> Watched | None:
        """Return a running process of this name, once there is one."""
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            if running := self.supervisor.running(name):
                return rng.choice(running)
            time.sleep(0.1)
        return None


Act = Callable[[Stage, random.Random, float], bool]
"""Carry out a disaster for so many seconds. Return False if there was nothing to strike."""


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
    """Signal a process by its file descriptor, which never means another process. Ignore an ended one."""
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
        # It continues even if its parent was killed meanwhile. A halted orphan would keep the port for ever; no
        # platform lets that happen.
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
            stage.proxies.set(name, State.SHUT)  # else PostgreSQL waits up to a minute for half-open clients
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
    """For a while, let every third answer take longer than the bridge waits for it.

    The agent receives the turn anyway.
    """
    with stage.locks["agent_outlasts"]:
        stage.simulator.faults.set("agent_slow", 33, seconds=stage.agent_timeout + rng.uniform(1, 8))
        time.sleep(seconds)
        stage.simulator.faults.set("agent_slow", stage.percent, seconds=SLOW)
    return True


def _hand_over(stage: Stage, rng: random.Random, seconds: float) -> bool:
    """For a while, let some answers hand their chat to a human, who gives it back by themselves."""
    for fault in HANDOFFS_AT_RANDOM:
        stage.simulator.faults.set(fault, HANDED_OVER, seconds=rng.uniform(1, LONGEST_HANDOFF))
    time.sleep(seconds)
    for fault in HANDOFFS_AT_RANDOM:
        stage.simulator.faults.clear(fault)
    return True


@dataclass(frozen=True)
class Kind:
    """A kind of disaster: its duration, and the part that it needs."""

    act: Act
    seconds: tuple[float, float] = (0, 0)
    needs: str = ""
    most: float = math.inf
    """Times in one run."""
    keeps_out: str = ""
    """The process that can't start meanwhile. It may end, and is started again."""


KINDS: dict[str, Kind] = {
    "web killed": Kind(_kill("web"), needs="web"),
    "web child killed": Kind(_kill_child("web"), needs="web"),
    "web child halted": Kind(_halt_child("web"), (2, 20), needs="web", keeps_out="web"),  # an orphan keeps the port
    "worker killed": Kind(_kill("worker"), needs="worker"),
    "worker halted": Kind(_halt("worker"), (25, 40), needs="worker"),
    "clock killed": Kind(_kill("clock"), needs="clock"),
    "bridge killed": Kind(_kill("up"), needs="up"),
    "bridge halted": Kind(_halt("up"), (3, 25), needs="up"),
    # PostgreSQL calls these two fast (it ends all sessions) and immediate (like a crash).
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
    "agent hands over": Kind(_hand_over, (2, 6)),
    "carrier away": Kind(_proxy("carrier", State.SHUT), (0.5, 5)),
    "carrier silent, then cut": Kind(_proxy("carrier", State.SILENT, State.CUT), (2, 8)),
    "carrier refuses the account": Kind(_refuse("carrier_401"), (2, 6)),
    "carrier refuses the senders": Kind(_refuse("carrier_code", code=21606), (2, 6)),
    # A full queue lasts for hours, so the bridge's backoff grows each time that the queue is still full.
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
    """A disaster that struck. Times are in seconds since 1970."""

    kind: str
    began: float
    ended: float

    def __str__(self) -> str:
        began = datetime.fromtimestamp(self.began, UTC).isoformat(timespec="milliseconds")
        return f"{began} {self.ended - self.began:6.1f} s  {self.kind}"


def schedule(rng: random.Random, there: Iterable[str], number: int, length: float) -> list[Disaster]:
    """Return so many disasters, spread evenly over all possible kinds and over the time. All of them end by its end."""
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
    """Carry out all disasters. Return when the last one is over."""
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
    """Return the kinds that never struck, if the schedule is long enough for all."""
    kinds = {disaster.kind for disaster in planned}
    if len(planned) < ENOUGH * len(kinds):
        return []
    return sorted(kinds - {each.kind for each in happened})


def by_themselves(ended: Iterable[Ended], happened: Sequence[Happened]) -> list[Ended]:
    """Return the processes that ended by themselves, except those that a disaster kept from starting."""

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
