"""The whole bridge as a platform runs it: the Procfile's processes, a real database, a real broker, real signals.

Both vendors are simulated in the test's own process, so what really happened there can be looked at. One bridge
stands for all tests on a broker; each test has people of its own, and puts up again what another one has torn down.
"""

from __future__ import annotations

import itertools
import json
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import redis
from kombu import Connection as Broker
from sqlalchemy import Engine, func, or_, select, text
from sqlalchemy.engine import make_url
from twilio.request_validator import RequestValidator

from bridge.broker import queue_of
from bridge.db import build_engine
from bridge.embedded import free_port
from bridge.line import TURNS
from bridge.models import Conversation, Direction, Message, Turn, TurnStatus
from bridge.simulator import Ledger, Simulator, SimulatorSettings, judge, serve
from bridge.simulator.ledger import Sent, Text, Wrong
from bridge.steps import STEPS
from tests.procfile import ROOT, Process, Processes
from tests.waiting import PATIENCE, until

HERE = "127.0.0.1"
WORD = "tangerine"
"""Stands in every text, and must stand nowhere else."""

PHONE = re.compile(r"1555\d{7}")
"""Everybody's number, and the bridge's own."""

TOKEN = "token-of-the-operator"
PASSWORD = "password-of-the-database"

THINKS_TOO_LONG = 22
"""Seconds; a little longer than a worker gets to finish what it has begun."""

LOCKED_OUT = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
"""How many wait for somebody else's transaction."""

pytestmark = pytest.mark.timeout(150)

Said = dict[str, list[str]]
"""What each person has texted."""


class Standing:
    """One bridge between simulated vendors, and its people."""

    def __init__(self, simulator: Simulator, processes: Processes, engine: Engine, settings: dict[str, str]) -> None:
        self.simulator = simulator
        self.processes = processes
        self.settings = settings
        self.web = httpx.Client(base_url=settings["PUBLIC_URL"], timeout=PATIENCE)
        self._engine = engine
        self._numbers = itertools.count(2_000_000)

    # -- processes -------------------------------------------------------------------------------------------------

    def put_up(self) -> None:
        """Have at least one process of each kind, and all of them ready."""
        for name in ("web", "worker", "clock"):
            if not self.processes.running(name):
                self.processes.start(name)
        until(self.ready, "the web is ready")
        for worker in self.processes.running("worker"):
            worker.until_it_says("ready")

    def only(self, name: str) -> Process:
        [process] = self.processes.running(name)
        return process

    def another_worker(self) -> Process:
        worker = self.processes.start("worker")
        worker.until_it_says("ready")
        return worker

    def ready(self) -> bool:
        """Does the web say that all is well?"""
        try:
            return self.web.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self.processes.close()
        self.web.close()
        self._engine.dispose()

    # -- people ----------------------------------------------------------------------------------------------------

    def people(self, how_many: int) -> list[str]:
        """Phones that nobody else has."""
        return [f"+1555{next(self._numbers)}" for _ in range(how_many)]

    def text(self, phones: Iterable[str], times: int = 1) -> Said:
        """They all text, in turn."""
        said: Said = {phone: [] for phone in phones}
        for n, phone in itertools.product(range(times), said):
            said[phone].append(f"{WORD} {n} of {phone[-4:]}")
            self.simulator.phones.text(phone, said[phone][-1])
        return said

    def announce(self, sid: str) -> int:
        """Tell the bridge of a text, as Twilio does; the status of the answer."""
        [told] = [event for event in self.simulator.ledger.of(Text) if event.sid == sid]
        account = self.settings["TWILIO_ACCOUNT_SID"]
        form = {"MessageSid": sid, "AccountSid": account, "From": told.phone, "To": told.number, "Body": told.body}
        url = f"{self.settings['PUBLIC_URL']}/twilio/inbound"
        signature = RequestValidator(self.settings["TWILIO_AUTH_TOKEN"]).compute_signature(url, form)
        return self.web.post(url, data=form, headers={"X-Twilio-Signature": signature}).status_code

    def unannounced(self, phones: Iterable[str], times: int = 1) -> Said:
        """They text, and the bridge is not told."""
        self.simulator.faults.set("webhooks_lost")
        try:
            return self.text(phones, times)
        finally:
            self.simulator.faults.clear("webhooks_lost")

    # -- what happened ---------------------------------------------------------------------------------------------

    def heard(self, phone: str) -> list[str]:
        """What the agent has heard of this person, text by text."""
        return [line for turn in self.simulator.agent.heard(phone) for line in turn.split("\n")]

    def got(self, phone: str) -> list[str]:
        return [event.body for event in self.simulator.ledger.about(phone) if isinstance(event, Sent)]

    def sids(self, phones: Iterable[str]) -> list[str]:
        """The carrier's names of what they texted, in the order of the texts."""
        phones = set(phones)
        return [event.sid for event in self.simulator.ledger.of(Text) if event.phone in phones]

    def rows(self, query: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.scalars(query))

    def stored(self, said: Said) -> bool:
        """Has the bridge taken in all of it?"""
        texts = select(func.count(Message.id)).join(Conversation)
        theirs = texts.where(Conversation.phone.in_(said), Message.direction == Direction.IN)
        return self.rows(theirs) == [sum(map(len, said.values()))]

    @contextmanager
    def locked(self, phone: str) -> Iterator[None]:
        """Nobody else can write to this person's conversation meanwhile."""
        with self._engine.begin() as connection:
            connection.execute(select(Conversation.id).where(Conversation.phone == phone).with_for_update())
            yield

    def nothing_left(self) -> bool:
        """No line is due, now or later: nothing will happen any more that has not happened yet."""
        due = or_(Conversation.turn_due_at.is_not(None), Conversation.delivery_due_at.is_not(None))
        return not self.rows(select(Conversation.id).where(due))

    def must_have_answered(self, said: Said) -> None:
        """Each text was heard once, each answer came to its own phone once, all of it in order."""
        until(lambda: all(len(self.got(phone)) >= len(said[phone]) for phone in said), "everybody has answers", 90)
        until(self.nothing_left, "nothing is left to do")
        for phone, bodies in said.items():
            assert self.heard(phone) == bodies
            assert self.got(phone) == [f"re: {body}" for body in bodies]
        verdict = judge(self._ledger_of(said))
        assert verdict.ok, f"{verdict} {dict(verdict.examples)}"
        assert self.simulator.ledger.of(Wrong) == []

    def _ledger_of(self, phones: Iterable[str]) -> Ledger:
        ledger = Ledger()
        for event in itertools.chain.from_iterable(map(self.simulator.ledger.about, phones)):
            ledger.write(event)
        return ledger


def at_once(work: list[Callable[[], Any]]) -> list[Any]:
    """Do it all at the same moment, in as many threads."""
    start = threading.Barrier(len(work))

    def do(one: Callable[[], Any]) -> Any:
        start.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(do, work))


# -- what stands for all tests -------------------------------------------------------------------------------------


def redis_address(request: pytest.FixtureRequest) -> str:
    """The Redis database of this run; unlike ``redis_url``, not emptied before each test."""
    where = request.getfixturevalue("_leased_redis").get_connection_kwargs()
    user = f"{where.get('username') or ''}:{where['password']}@" if where.get("password") else ""
    return f"redis://{user}{where['host']}:{where['port']}/{where['db']}"


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> str:
    """Each kind of broker in turn, for as long as a bridge stands on it."""
    url: str = redis_address(request) if request.param == "redis" else request.getfixturevalue("rabbitmq_url")
    take_all(url)
    return url


@pytest.fixture(scope="module")
def standing(postgres: Any, tmp_path_factory: pytest.TempPathFactory, broker: str) -> Iterator[Standing]:
    simulator = Simulator(SimulatorSettings(echo=True, account_sid="AC" + "5" * 32, auth_token="token-of-the-account"))
    folder = tmp_path_factory.mktemp("story")
    with postgres.database() as database, serve(simulator) as vendors:
        settings = settings_for(simulator, vendors, database, broker)
        simulator.webhook_url = f"{settings['PUBLIC_URL']}/twilio/inbound#rc=5&rp=5xx,ct,rt"
        standing = Standing(simulator, Processes(folder, settings), build_engine(database), settings)
        try:
            assert standing.processes.start("release").wait() == 0
            yield standing
        finally:
            standing.close()


def settings_for(simulator: Simulator, vendors: str, database: str, broker: str) -> dict[str, str]:
    url, port = make_url(database), free_port(HERE)
    return {
        "DATABASE_URL": url.set(password=url.password or PASSWORD).render_as_string(hide_password=False),
        "CELERY_BROKER_URL": broker,
        "PORT": str(port),
        "PUBLIC_URL": f"http://{HERE}:{port}",
        "TWILIO_ACCOUNT_SID": simulator.settings.account_sid,
        "TWILIO_AUTH_TOKEN": simulator.settings.auth_token,
        "TWILIO_API_BASE_URL": vendors,
        "RETELL_API_KEY": simulator.settings.retell_api_key,
        "RETELL_AGENT_ID": simulator.settings.agent_id,
        "RETELL_BASE_URL": vendors,
        "ADMIN_TOKEN": TOKEN,
        "WORKER_CONCURRENCY": "16",
    }


@pytest.fixture
def bridge(standing: Standing) -> Standing:
    standing.put_up()
    return standing


# -- a good day ----------------------------------------------------------------------------------------------------


def test_every_text_is_heard_once_and_every_answer_reaches_its_phone_once(bridge: Standing) -> None:
    bridge.must_have_answered(bridge.text(bridge.people(40), times=5))


def test_ten_people_who_text_one_number_at_once_get_their_own_answers(bridge: Standing) -> None:
    ten = bridge.people(10)
    said = at_once([lambda phone=phone: bridge.text([phone]) for phone in ten])
    bridge.must_have_answered({phone: texts for each in said for phone, texts in each.items()})


def test_a_text_that_is_announced_ten_times_at_once_counts_once(bridge: Standing) -> None:
    said = bridge.unannounced(bridge.people(5), times=4)
    for sid in bridge.sids(said):
        assert at_once([lambda sid=sid: bridge.announce(sid)] * 10) == [200] * 10
    bridge.must_have_answered(said)


def test_texts_that_are_announced_again_when_all_is_done_change_nothing(bridge: Standing) -> None:
    said = bridge.text(bridge.people(5), times=2)
    bridge.must_have_answered(said)
    for sid in bridge.sids(said):
        assert at_once([lambda sid=sid: bridge.announce(sid)] * 10) == [200] * 10
    bridge.must_have_answered(said)


# -- processes that end --------------------------------------------------------------------------------------------


def test_a_worker_that_is_told_to_stop_finishes_its_turns_first(bridge: Standing) -> None:
    bridge.simulator.faults.set("agent_slow", seconds=2)
    said = bridge.text(bridge.people(4))
    until(lambda: all(map(bridge.heard, said)), "all are heard")
    bridge.simulator.faults.clear("agent_slow")
    assert bridge.only("worker").stop() == 0
    turns = select(Turn.status).join(Conversation).where(Conversation.phone.in_(said))
    assert bridge.rows(turns) == [TurnStatus.ANSWERED] * 4
    bridge.another_worker()
    bridge.must_have_answered(said)


def test_a_web_that_is_told_to_stop_answers_what_it_was_asked(bridge: Standing) -> None:
    [person] = bridge.people(1)
    bridge.must_have_answered(bridge.text([person]))
    said = bridge.unannounced([person], times=2)
    web = bridge.only("web")
    with ThreadPoolExecutor(1) as threads:
        with bridge.locked(person):
            asked = threads.submit(bridge.announce, bridge.sids(said)[-1])
            until(lambda: bridge.rows(LOCKED_OUT) == [1], "the web waits for the row")
            web.tell(signal.SIGTERM)
            web.until_it_says("signal: term")
        assert asked.result() == 200
    assert web.wait(25) == 0
    until(lambda: len(bridge.got(person)) == 2, "the text is answered")


# -- the worst day -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lost:
    """A message that was in the broker."""

    task: str
    arguments: list[Any]
    whole: str
    """With its headers and properties, as text."""


@dataclass(frozen=True)
class Disaster:
    """What was seen of it."""

    in_flight: Said
    """Their turns were being answered when one worker was killed and the other one told to stop."""
    waiting: Said
    """Their texts waited for a worker when the broker lost everything."""
    exit_code: int
    """Of the worker that was told to stop."""
    seconds: float
    """That it took."""
    lost: list[Lost]
    """What was in the broker."""


@pytest.fixture(scope="module")
def disaster(standing: Standing, broker: str) -> Disaster:
    """Two workers are gone in the middle of their turns and the broker is emptied, while two clocks tick."""
    standing.put_up()
    clocks = [standing.processes.start("clock") for _ in range(2 - len(standing.processes.running("clock")))]
    stopped, killed = standing.only("worker"), standing.another_worker()
    in_flight = begin_turns_at_both_workers(standing)
    began = time.monotonic()
    stopped.tell(signal.SIGTERM)
    killed.kill()
    stopped.until_it_says("Warm shutdown")
    waiting, lost = text_without_being_heard(standing, broker, 10)
    assert stopped.running
    standing.another_worker()
    exit_code = stopped.wait()
    seconds = time.monotonic() - began
    assert all(clock.running for clock in clocks)
    return Disaster(in_flight, waiting, exit_code, seconds, lost)


def begin_turns_at_both_workers(standing: Standing) -> Said:
    said: Said = {}
    standing.simulator.faults.set("agent_slow", seconds=THINKS_TOO_LONG)
    holders = select(Conversation.turn_worker).where(Conversation.turn_worker.is_not(None)).distinct()
    while len(standing.rows(holders)) < 2:
        more = standing.text(standing.people(4))
        until(lambda more=more: all(map(standing.heard, more)), "all are heard")
        said |= more
    standing.simulator.faults.clear("agent_slow")
    return said


def text_without_being_heard(standing: Standing, broker: str, people: int) -> tuple[Said, list[Lost]]:
    """One after the other texts, and the broker loses what it has, until it has lost the rings of so many people."""
    said: Said = {}
    lost: list[Lost] = []
    while len({ring.arguments[0] for ring in lost if ring.task == TURNS.step}) < people:
        more = standing.text(standing.people(1), times=2)
        until(lambda more=more: standing.stored(more), "the texts are stored")
        said |= more
        lost += take_all(broker)
    return said, lost


def take_all(broker: str) -> list[Lost]:
    """Leave nothing in the broker."""
    with Broker(broker) as connection, connection.channel() as channel:
        messages = []
        for queue in map(queue_of, STEPS):
            channel.queue_declare(queue, durable=True, auto_delete=False)
            messages += iter(lambda queue=queue: channel.basic_get(queue, no_ack=True), None)
    if broker.startswith("redis"):
        forget_all(broker)
    return [shown(message) for message in messages]


def shown(message: Any) -> Lost:
    body = message.body.decode() if isinstance(message.body, bytes) else message.body
    whole = json.dumps([message.headers, message.properties, body], default=str)
    return Lost(message.headers["task"], json.loads(body)[0], whole)


def forget_all(broker: str) -> None:
    """As a restart does. Only the marks stay by which the tests know whose database it is."""
    with redis.Redis.from_url(broker) as client:
        for key in client.scan_iter():
            if not key.startswith(b"bridge-test"):
                client.delete(key)


def test_a_worker_that_can_not_finish_its_turns_leaves_in_time(disaster: Disaster) -> None:
    assert disaster.exit_code == 0
    assert 15 < disaster.seconds < 25


def test_turns_of_workers_that_are_gone_are_finished_once(standing: Standing, disaster: Disaster) -> None:
    standing.must_have_answered(disaster.in_flight)


def test_texts_whose_rings_were_lost_are_brought_by_the_sweeper(standing: Standing, disaster: Disaster) -> None:
    standing.must_have_answered(disaster.waiting)


def test_the_broker_carries_ids_and_nothing_else(disaster: Disaster) -> None:
    for message in disaster.lost:
        assert list(map(type, message.arguments)) == [int] * (message.task in STEPS)
        assert WORD not in message.whole
        assert not PHONE.search(message.whole)


# -- what is seen of it --------------------------------------------------------------------------------------------


def misspelt(phone: str, token: str) -> list[str]:
    """Requests that are no HTTP: gunicorn quotes what it can't read."""
    return [
        f"GET /admin/chats?phone= {phone} HTTP/1.1\r\n\r\n",
        f"GET /admin/chats?phone={phone}&name=é HTTP/1.1\r\n\r\n",
        f"GET /admin/chats HTTP/1.1\r\nAuthorization Bearer {token}\r\n\r\n",
    ]


def hand_over(address: httpx.URL, words: str) -> None:
    """Until the other side has had enough."""
    with socket.create_connection((address.host, address.port), timeout=PATIENCE) as connection:
        connection.sendall(words.encode())
        while connection.recv(4096):
            pass


def test_no_process_prints_a_text_or_a_whole_number_or_a_secret(bridge: Standing) -> None:
    faults = bridge.simulator.faults
    for fault in ("agent_500", "agent_garbage", "agent_cut", "carrier_500_after", "carrier_cut"):
        faults.next(fault)
    said = bridge.text(bridge.people(5))
    forged = {"MessageSid": "SM" + "f" * 32, "From": next(iter(said)), "Body": WORD}
    assert bridge.web.post("/twilio/inbound", data=forged).status_code == 403
    for line in misspelt(next(iter(said)), bridge.settings["ADMIN_TOKEN"]):
        hand_over(bridge.web.base_url, line)
    bridge.must_have_answered(said)
    printed = bridge.processes.output
    assert printed.count("Invalid") >= len(misspelt("", ""))
    assert "refused with 403" in printed
    assert "waits, attempt" in printed
    assert WORD not in printed
    assert not PHONE.search(printed)
    secrets = [bridge.settings[name] for name in ("TWILIO_AUTH_TOKEN", "RETELL_API_KEY", "ADMIN_TOKEN")]
    assert not [secret for secret in secrets if secret in printed]
    for name in ("DATABASE_URL", "CELERY_BROKER_URL"):
        assert f":{make_url(bridge.settings[name]).password}@" not in printed


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_honcho_runs_all_of_it(bridge: Standing) -> None:
    bridge.processes.close()
    honcho = [sys.executable, "-m", "honcho", "start", "--procfile", str(ROOT / "Procfile")]
    together = bridge.processes.start("honcho", [*honcho, "--port", bridge.settings["PORT"], "web", "worker", "clock"])
    until(bridge.ready, "the web is ready")
    bridge.must_have_answered(bridge.text(bridge.people(3), times=2))
    together.stop()
    for name in ("web", "worker", "clock"):
        assert re.search(rf"{name}.1 stopped", together.output)
