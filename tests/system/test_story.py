"""The whole bridge as a platform runs it: the Procfile's processes, a real database, a real broker, real signals.

Both providers are simulated in the test's own process, so tests can see what really happened there. One bridge
serves all tests on a broker. Each test has its own people, and restarts the processes that another one has stopped.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
import redis
from kombu import Connection as Broker
from sqlalchemy import select, text
from sqlalchemy.engine import make_url

from bridge.chats import ending
from bridge.config import ServerSettings
from bridge.db.models import Conversation, Direction, Message, Turn, TurnStatus
from bridge.doctor.context import Context
from bridge.doctor.findings import Mark
from bridge.doctor.run import examine
from bridge.processes.broker import FETCH, queue_name
from bridge.processes.ping import ask_worker
from bridge.providers.carriers.contract import Delivery
from bridge.queues.conversation_queue import DELIVERIES, TURNS, ConversationQueue
from bridge.simulator.ledger import FaultStruck
from testkit.procfile import ROOT, Process
from testkit.waiting import PATIENCE, until
from tests.standing import WORD, Replied, Standing, standing_on

PHONE = re.compile(r"1555\d{7}")
"""The numbers of all people, and the bridge's own."""

THINKS_TOO_LONG = 22
"""Seconds; a little longer than a worker gets to finish what it has begun."""

LOCKED_OUT = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
"""How many connections wait for another transaction."""

TAKES_LONG = 15
"""Seconds; enough to halt the worker that waits for it, and less than it takes until it counts as stalled."""

pytestmark = pytest.mark.timeout(150)


def at_once(work: list[Callable[[], Any]]) -> list[Any]:
    """Do it all at the same moment, in as many threads."""
    start = threading.Barrier(len(work))

    def do(one: Callable[[], Any]) -> Any:
        start.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(do, work))


# -- what stands for all tests -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> str:
    """Each kind of broker in turn, for as long as a bridge stands on it."""
    url: str = request.getfixturevalue("leased_redis_url" if request.param == "redis" else "rabbitmq_url")
    take_all(url)
    return url


@pytest.fixture(scope="module")
def standing(postgres: Any, tmp_path_factory: pytest.TempPathFactory, broker: str) -> Iterator[Standing]:
    with (
        postgres.database() as database,
        standing_on(database, broker, tmp_path_factory.mktemp("story")) as standing,
    ):
        yield standing


@pytest.fixture
def bridge(standing: Standing) -> Standing:
    standing.put_up()
    return standing


# -- a good day ----------------------------------------------------------------------------------------------------


def test_every_text_is_heard_once_and_every_answer_reaches_its_phone_once(bridge: Standing) -> None:
    bridge.must_have_answered(bridge.text(bridge.people(40), times=5))


def test_the_doctor_finds_no_fault_in_a_bridge_that_works(bridge: Standing) -> None:
    settings = ServerSettings.load(bridge.settings)
    context = Context.build(settings, partial(ask_worker, settings.broker_url, within=PATIENCE))
    found = examine(context)
    context.close()
    assert [each for each in found if each.mark is Mark.FAULT] == []
    assert {each.subject for each in found if each.mark is Mark.OK} >= {"broker", "database", "PUBLIC_URL", "worker"}


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


def test_a_worker_that_stops_finishes_its_turns_first(bridge: Standing) -> None:
    bridge.simulator.faults.set("agent_slow", seconds=2)
    said = bridge.text(bridge.people(4))
    until(lambda: all(map(bridge.received, said)), "all are received")
    bridge.simulator.faults.clear("agent_slow")
    assert bridge.only("worker").stop() == 0
    turns = select(Turn.status).join(Conversation).where(Conversation.phone.in_(said))
    assert bridge.rows(turns) == [TurnStatus.ANSWERED] * 4
    bridge.another_worker()
    bridge.must_have_answered(said)


def test_a_web_that_stops_answers_its_requests_first(bridge: Standing) -> None:
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


def test_a_web_that_stops_stores_the_reports_that_it_has_acknowledged(bridge: Standing) -> None:
    people = bridge.people(20)
    bridge.must_have_answered(bridge.text(people))
    assert [bridge.report(person, "read") for person in people] == [204] * 20
    assert bridge.only("web").stop() == 0
    theirs = select(Message.delivery).join(Conversation).where(Conversation.phone.in_(people))
    assert bridge.rows(theirs.where(Message.direction == Direction.OUT)) == [Delivery.READ] * 20


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

    in_flight: Replied
    """Their turns were being answered when one worker was killed and the other one told to stop."""
    waiting: Replied
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


def begin_turns_at_both_workers(standing: Standing) -> Replied:
    said: Replied = {}
    standing.simulator.faults.set("agent_slow", seconds=THINKS_TOO_LONG)
    holders = select(Conversation.turn_leased_by).where(Conversation.turn_leased_by.is_not(None)).distinct()
    while len(standing.rows(holders)) < 2:
        more = standing.text(standing.people(4))
        until(lambda more=more: all(map(standing.received, more)), "all are received")
        said |= more
    standing.simulator.faults.clear("agent_slow")
    return said


def text_without_being_heard(standing: Standing, broker: str, people: int) -> tuple[Replied, list[Lost]]:
    """So many people text, one after the other, and the broker loses what it has."""
    said: Replied = {}
    lost: list[Lost] = []
    while len(said) < people or FETCH not in {wake.task for wake in lost}:
        more = standing.text(standing.people(1), times=2)
        until(lambda more=more: standing.stored(more), "the texts are stored")
        said |= more
        lost += take_all(broker)
    return said, lost


def take_all(broker: str) -> list[Lost]:
    """Leave nothing in the broker."""
    with Broker(broker) as connection, connection.channel() as channel:
        messages = []
        for queue in map(queue_name, [FETCH, ending.TASK]):
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


def test_texts_whose_wake_ups_were_lost_are_found_by_the_sweeper(standing: Standing, disaster: Disaster) -> None:
    standing.must_have_answered(disaster.waiting)


def test_the_broker_carries_no_id_of_a_conversation_and_nothing_of_a_text(disaster: Disaster) -> None:
    for message in disaster.lost:
        assert list(map(type, message.arguments)) == [int] * (message.task == ending.TASK)
        assert WORD not in message.whole
        assert not PHONE.search(message.whole)


# -- a worker that is late -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Halt:
    """A worker that was halted in the middle of three calls, and went on when another one had done its work."""

    worker: Process
    thinking: Replied
    """The agent had received them and was thinking when the worker was halted."""
    past_lease: Replied
    """The same, and the lease has ended meanwhile."""
    sending: Replied
    """The carrier was being given their answers."""

    @property
    def everyone(self) -> Replied:
        return {**self.thinking, **self.past_lease, **self.sending}

    def threw_away(self, standing: Standing, queue: ConversationQueue, said: Replied) -> bool:
        """Return whether the worker logs that it lost the lease of each of their queues."""
        ids = standing.rows(select(Conversation.id).where(Conversation.phone.in_(said)))
        lost = f"another worker has taken over {queue.task} of conversation"
        return all(self.worker.until_it_says(f"{lost} {number}; .* is thrown away") for number in ids)


@pytest.fixture(scope="module")
def halt(standing: Standing) -> Halt:
    """While it is halted, another worker answers all people; then it goes on, and the other one is gone.

    A queue whose lease has ended is claimed at once, unless the broker gives the wake-up to the halted worker.
    """
    standing.put_up()
    halted = Halt(standing.only("worker"), *begin_calls(standing))
    with halted.worker.halted():
        standing.end_leases(TURNS, halted.past_lease)
        other = standing.another_worker()
        standing.must_have_answered(halted.everyone)
    assert other.stop() == 0
    return halted


def begin_calls(standing: Standing) -> tuple[Replied, Replied, Replied]:
    """Two people whose turn the agent thinks about, and one whose answer the carrier is being given."""
    faults, ledger = standing.simulator.faults, standing.simulator.ledger
    slow = len(ledger.of(FaultStruck))
    faults.next("carrier_slow", seconds=TAKES_LONG)
    sending = standing.text(standing.people(1))
    until(lambda: len(ledger.of(FaultStruck)) == slow + 1, "the carrier takes its time")
    faults.next("agent_slow", 2, seconds=TAKES_LONG)
    thinking, past_lease = standing.text(standing.people(1)), standing.text(standing.people(1))
    until(lambda: len(ledger.of(FaultStruck)) == slow + 3, "the agent thinks")
    until(lambda: all(map(standing.received, (*thinking, *past_lease))), "the agent has received them")
    return thinking, past_lease, sending


def test_a_worker_that_was_halted_until_it_counted_as_stalled_throws_the_late_answer_away(
    standing: Standing, halt: Halt
) -> None:
    assert halt.threw_away(standing, TURNS, halt.thinking)
    standing.must_have_answered(halt.thinking)


def test_a_worker_that_was_halted_past_its_lease_throws_the_late_answer_away(standing: Standing, halt: Halt) -> None:
    assert halt.threw_away(standing, TURNS, halt.past_lease)
    standing.must_have_answered(halt.past_lease)


def test_a_worker_that_was_halted_while_it_sent_does_not_send_again(standing: Standing, halt: Halt) -> None:
    assert halt.threw_away(standing, DELIVERIES, halt.sending)
    standing.must_have_answered(halt.sending)


def test_a_worker_that_was_halted_works_on_without_a_restart(standing: Standing, halt: Halt) -> None:
    assert standing.only("worker") is halt.worker
    standing.must_have_answered(standing.text(standing.people(3), times=2))
    standing.must_have_answered(halt.everyone)


# -- what is seen of it --------------------------------------------------------------------------------------------


def misspelt(phone: str, token: str) -> list[str]:
    """Requests that are no HTTP, and quote a person and a secret."""
    return [
        f"GET /admin/chats?phone= {phone} HTTP/1.1\r\n\r\n",
        f"GET /admin/chats?phone={phone}&name=é HTTP/1.1\r\n\r\n",
        f"GET /admin/chats HTTP/1.1\r\nAuthorization Bearer {token}\r\n\r\n",
    ]


def hand_over(address: httpx.URL, words: str) -> bytes:
    """The first line of the answer."""
    with socket.create_connection((address.host, address.port), timeout=PATIENCE) as connection:
        connection.sendall(words.encode())
        return connection.makefile("rb").readline()


def test_no_process_prints_a_text_or_a_whole_number_or_a_secret(bridge: Standing) -> None:
    faults = bridge.simulator.faults
    for fault in ("agent_500", "agent_garbage", "agent_cut", "carrier_500_after", "carrier_cut"):
        faults.next(fault)
    said = bridge.text(bridge.people(5))
    forged = {"MessageSid": "SM" + "f" * 32, "From": next(iter(said)), "Body": WORD}
    assert bridge.web.post("/twilio/inbound", data=forged).status_code == 403
    for line in misspelt(next(iter(said)), bridge.settings["ADMIN_TOKEN"]):
        assert hand_over(bridge.web.base_url, line).endswith(b" 400 Bad Request\r\n")
    bridge.must_have_answered(said)
    printed = bridge.processes.output
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
