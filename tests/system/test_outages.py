"""The bridge comes back without a restart: its database and its broker go away and come again, its processes stay.

Both servers are the test's own, so that it may stop them as an upgrade does, and as a crash does.
"""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.engine import make_url

from bridge.processes.gunicorn_conf import NUMBERS
from bridge.simulator.ledger import Event, Received, Sent
from testkit.places import Place
from testkit.servers import Server
from testkit.waiting import until
from tests.conftest import Pooler, Postgres, pooler_before
from tests.standing import WORD, Replied, Standing, standing_on

AWAY_FOR = 3.0
"""Seconds."""

GOES_ON_WITHIN = 30.0
"""Seconds after the server answers again."""

AT_REST_WITHIN = 120.0
"""Seconds after the last server answers again. Texts that were announced while there was no database are fetched from
the carrier's list, which takes most of it."""

TEXT_EVERY = 0.15
"""Seconds."""

pytestmark = pytest.mark.timeout(300)

OUTAGES = [
    # PostgreSQL's own words for these two: fast (all sessions are ended) and immediate (as if it had crashed).
    ("database", signal.SIGINT),
    ("database", signal.SIGQUIT),
    ("broker", signal.SIGKILL),
]


POOLED = [("pooler", signal.SIGTERM), ("pooler", signal.SIGKILL), *OUTAGES[:2]]


@pytest.fixture
def bridge(own_servers: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    settings = own_servers.settings(own_servers.ports)
    with standing(settings["DATABASE_URL"], settings["CELERY_BROKER_URL"], tmp_path_factory) as bridge:
        yield bridge


@pytest.fixture
def own_pooler(own_servers: Place) -> Iterator[Pooler]:
    """Before the PostgreSQL of the test's own; it may be stopped too."""
    database = own_servers.settings(own_servers.ports)["DATABASE_URL"]
    with pooler_before(Postgres(make_url(database))) as pooler:
        yield pooler


@pytest.fixture
def pooled_bridge(
    own_servers: Place, own_pooler: Pooler, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Standing]:
    settings = own_servers.settings(own_servers.ports)
    broker = settings["CELERY_BROKER_URL"]
    with own_pooler.database() as database, standing(database, broker, tmp_path_factory) as bridge:
        yield bridge


@contextmanager
def standing(database: str, broker: str, folders: pytest.TempPathFactory) -> Iterator[Standing]:
    with standing_on(database, broker, folders.mktemp("outages"), fetches=True) as standing:
        standing.put_up()
        yield standing


@contextmanager
def texting(standing: Standing, phones: list[str]) -> Iterator[Replied]:
    """They text in turn, until the end of the block."""
    said: Replied = {phone: [] for phone in phones}
    enough = threading.Event()

    def text() -> None:
        for n, phone in enumerate(itertools.cycle(phones)):
            said[phone].append(f"{WORD} {n} of {phone[-4:]}")
            standing.simulator.phones.text(phone, said[phone][-1])
            if enough.wait(TEXT_EVERY):
                return

    thread = threading.Thread(target=text)
    thread.start()
    try:
        yield said
    finally:
        enough.set()
        thread.join()


def processes(standing: Standing) -> dict[str, tuple[int, list[int]]]:
    """Those that run, by name, with those that they have started."""
    return {
        process.name: (process.pid, sorted(process.children))
        for name in ("web", "worker", "clock")
        for process in standing.processes.running(name)
    }


def begun_since(standing: Standing, moment: float) -> Callable[[], bool]:
    """Return whether the agent or the carrier has received a text since."""

    def begun() -> bool:
        events: list[Event] = [*standing.simulator.ledger.of(Received), *standing.simulator.ledger.of(Sent)]
        return any(event.at > moment for event in events)

    return begun


def test_after_outages_of_the_database_and_the_broker_the_same_processes_have_answered_everybody_once(
    bridge: Standing, own_servers: Place
) -> None:
    survives(bridge, own_servers.servers, OUTAGES)


def test_the_same_behind_a_pooler_which_goes_away_itself(
    pooled_bridge: Standing, own_servers: Place, own_pooler: Pooler
) -> None:
    survives(pooled_bridge, {**own_servers.servers, "pooler": own_pooler.server}, POOLED)


def every_web_process(bridge: Standing) -> bool:
    """Return whether the web has begun all its processes. It is ready with the first one."""
    return bridge.only("web").output.count("Booting worker with pid") == NUMBERS["WEB_CONCURRENCY"][0]


def survives(bridge: Standing, servers: dict[str, Server], outages: list[tuple[str, signal.Signals]]) -> None:
    """One after the other."""
    until(lambda: every_web_process(bridge), "every web process is there")
    before = processes(bridge)
    with texting(bridge, bridge.people(12)) as said:
        for name, how in outages:
            until(begun_since(bridge, time.time()), f"all is well before the {name} goes away")
            servers[name].stop(how)
            time.sleep(AWAY_FOR)
            servers[name].start()
            back = time.monotonic()
            until(begun_since(bridge, time.time()), f"after {how.name} of the {name} it goes on", GOES_ON_WITHIN)
    bridge.must_come_to_rest(said, back + AT_REST_WITHIN - time.monotonic())
    assert processes(bridge) == before
    assert before.keys() == {"web", "worker", "clock"}
