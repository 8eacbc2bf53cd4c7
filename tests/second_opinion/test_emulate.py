"""The bridge, as ``bridge up`` runs it, between ``emulate`` and our own pretended agent.

Where ``emulate`` is not like Twilio: it calls back the first ``queued``, and waits for that before it answers the send;
its list drops the filters from the next page's address, and reads no date filter; it signs an address together with its
fragment, waits 10 s and never tries again; it sends no error code, no geography and no token of idempotency, but the
body in every callback.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import or_, select

from bridge.config import Settings
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Conversation, Direction, Message
from bridge.maintenance.catch_up import catch_up
from bridge.processes.embedded import free_port
from bridge.providers.carriers.contract import Carrier, Delivery, OutgoingText
from bridge.providers.carriers.registry import build_carrier
from bridge.providers.carriers.twilio.client import PAGE_SIZE
from bridge.providers.errors import AccountRefused, RemoteError
from bridge.simulator import Simulator, SimulatorSettings, serve
from testkit.procfile import Processes
from testkit.waiting import until
from tests.fakes import fake_settings
from tests.scene import ANN, BOB, NUMBER, Scene
from tests.second_opinion.conftest import HERE, Emulated
from tests.second_opinion.relay import Relay

pytestmark = pytest.mark.timeout(120)


class Standing:
    """One bridge, and what is around it."""

    def __init__(self, folder: Path, emulated: Emulated, doorstep: Relay, simulator: Simulator, agent: str) -> None:
        self.emulated = emulated
        self.doorstep = doorstep
        self.received = simulator.agent.received
        self._settings = {
            "DATABASE_URL": f"sqlite:///{folder / 'bridge.sqlite3'}",
            "PUBLIC_URL": doorstep.address,
            "TWILIO_ACCOUNT_SID": emulated.account_sid,
            "TWILIO_AUTH_TOKEN": emulated.auth_token,
            "TWILIO_API_KEY": emulated.api_key,
            "TWILIO_API_SECRET": emulated.api_secret,
            "TWILIO_API_BASE_URL": emulated.address,
            "RETELL_API_KEY": simulator.settings.retell_api_key,
            "RETELL_AGENT_ID": simulator.settings.agent_id,
            "RETELL_BASE_URL": agent,
        }
        self._processes = Processes(folder, self._settings)
        self._folder = folder
        self._engine = build_engine(self._settings["DATABASE_URL"])

    def start(self, **settings: str) -> None:
        port = free_port(HERE)
        self.doorstep.target = f"http://{HERE}:{port}"
        self._processes = Processes(self._folder, self._settings | settings)
        up = self._processes.start("up", [sys.executable, "-m", "bridge", "up", "--port", str(port)])
        up.until_it_says("The bridge listens")

    def got(self, phone: str) -> list[str]:
        """What stands in the other Twilio's list as sent to this person by our number, in order."""
        sent = self.emulated.sent_to(phone)
        assert all(text["from"] == NUMBER and text["direction"] == "outbound-api" for text in sent)
        return [text["body"] for text in sent]

    def answered(self, phone: str, said: list[str]) -> None:
        """Each line was heard once and answered once, in order, and nothing is left to do."""
        until(lambda: len(self.got(phone)) >= len(said), "the answers have come")
        until(self._nothing_left, "nothing is left to do")
        assert [line for turn in self.received(phone) for line in turn.split("\n")] == said
        assert self.got(phone) == [f"re: {body}" for body in said]

    def deliveries(self, phone: str) -> list[Delivery | None]:
        """How far what we sent to this person has come, by our own rows."""
        ours = select(Message.delivery).join(Conversation).where(Conversation.phone == phone)
        with self._engine.connect() as connection:
            return list(connection.scalars(ours.where(Message.direction == Direction.OUT).order_by(Message.id)))

    def told(self, path: str) -> list[int]:
        """The bridge's answers to what it was told there."""
        return [passed.status for passed in self.doorstep.passed if passed.path == path]

    def close(self) -> None:
        self._processes.close()
        self._engine.dispose()

    def _nothing_left(self) -> bool:
        due = or_(Conversation.turn_due_at.is_not(None), Conversation.delivery_due_at.is_not(None))
        with self._engine.connect() as connection:
            return not list(connection.scalars(select(Conversation.id).where(due)))


@pytest.fixture
def standing(tmp_path: Path, emulated: Emulated, doorstep: Relay) -> Iterator[Standing]:
    simulator = Simulator(SimulatorSettings(echo=True))
    with serve(simulator) as agent:
        standing = Standing(tmp_path, emulated, doorstep, simulator, agent)
        try:
            yield standing
        finally:
            standing.close()


# -- the whole way -------------------------------------------------------------------------------------------------


def test_a_text_is_answered_to_the_phone_that_sent_it(standing: Standing) -> None:
    standing.start()
    for body in ("Hé, 10:00 ok? 👍", "a+b & c=d, 100%", "two\nlines"):
        standing.emulated.text(ANN, body)
    standing.answered(ANN, ["Hé, 10:00 ok? 👍", "a+b & c=d, 100%", "two", "lines"])
    assert standing.told("/twilio/inbound") == [200, 200, 200]


def test_two_people_who_text_at_the_same_time_do_not_cross(standing: Standing) -> None:
    standing.start()
    said = {phone: [f"{n} of {phone}" for n in range(10)] for phone in (ANN, BOB)}

    def talk(phone: str) -> None:
        for body in said[phone]:
            standing.emulated.text(phone, body)

    with ThreadPoolExecutor(len(said)) as people:
        list(people.map(talk, said))
    for phone, bodies in said.items():
        standing.answered(phone, bodies)


def test_what_comes_twice_counts_once(standing: Standing) -> None:
    standing.start()
    standing.doorstep.copies = 2
    for body in ("one", "two"):
        standing.emulated.text(ANN, body)
    standing.answered(ANN, ["one", "two"])
    assert standing.told("/twilio/inbound") == [200] * 4
    assert standing.told("/twilio/status") == [204] * 4


def test_a_report_moves_a_text_forward_and_never_back(standing: Standing) -> None:
    standing.start()
    ends = {ANN: "delivered", BOB: "undelivered"}
    for phone, end in ends.items():
        standing.emulated.text(phone, "hello")
        standing.answered(phone, ["hello"])
        assert standing.deliveries(phone) == [Delivery.QUEUED]
        [answer] = standing.emulated.sent_to(phone)
        for told, becomes in (("sent", "sent"), (end, end), ("sent", end)):
            standing.emulated.report(answer["sid"], told)
            assert standing.deliveries(phone) == [Delivery(becomes)]
    assert standing.told("/twilio/status") == [204] * 4 * len(ends)


def test_a_messaging_service_sends_to_the_same_phone(standing: Standing) -> None:
    standing.start(TWILIO_MESSAGING_SERVICE_SID=standing.emulated.service)
    standing.emulated.text(ANN, "hello")
    standing.answered(ANN, ["hello"])
    assert [text["messaging_service_sid"] for text in standing.emulated.sent_to(ANN)] == [standing.emulated.service]


def test_a_text_that_another_token_has_signed_is_refused(standing: Standing) -> None:
    standing.start(TWILIO_AUTH_TOKEN="token-of-somebody-else")
    standing.emulated.text(ANN, "hello")
    assert standing.told("/twilio/inbound") == [403]
    assert standing.received(ANN) == []


# -- the adapter by itself -----------------------------------------------------------------------------------------


@pytest.fixture
def carrier(emulated: Emulated, doorstep: Relay) -> Iterator[Carrier]:
    carrier = build_carrier(settings(emulated, doorstep))
    yield carrier
    carrier.close()


def settings(emulated: Emulated, doorstep: Relay, token: str = Emulated.auth_token) -> Settings:
    return fake_settings(
        public_url=doorstep.address,
        twilio_account_sid=emulated.account_sid,
        twilio_auth_token=token,
        twilio_api_base_url=emulated.address,
        twilio_numbers=NUMBER,
    )


def outgoing(body: str = "hello", *, sender: str = NUMBER) -> OutgoingText:
    return OutgoingText(reference="r1", sender=sender, recipient=ANN, body=body)


@pytest.fixture
def sessions(sqlite_url: str) -> Iterator[Sessions]:
    engine = build_engine(sqlite_url)
    yield build_sessions(engine)
    engine.dispose()


def test_what_came_while_the_bridge_was_away_is_fetched_once(
    emulated: Emulated, carrier: Carrier, doorstep: Relay, sessions: Sessions
) -> None:
    said = [(phone, f"{n}") for n in range(3) for phone in (ANN, BOB)]
    for phone, body in said:
        emulated.text(phone, body)
    in_a_minute = datetime.now(UTC) + timedelta(minutes=1)
    scene = Scene(sessions)
    rt = replace(scene.rt, settings=settings(emulated, doorstep), carrier=carrier, now=lambda: in_a_minute)
    for _ in range(2):
        catch_up(rt)
        assert [text.body for text in scene.rows(Message)] == [body for _, body in said]
    assert [conversation.phone for conversation in scene.rows(Conversation)] == [ANN, BOB]


def test_a_long_list_is_read_whole_and_in_order(emulated: Emulated, carrier: Carrier) -> None:
    said = [f"text {n}" for n in range(2 * PAGE_SIZE + 1)]
    for body in said:
        emulated.text(ANN, body)
    pages = list(carrier.received_by(NUMBER, datetime.now(UTC) - timedelta(minutes=10)))
    assert [text.body for page in pages for text in page] == said
    assert len(pages) == 3


def test_a_text_is_found_again_by_its_phone(carrier: Carrier) -> None:
    taken = carrier.send(outgoing())
    [found] = carrier.sent_to(ANN, NUMBER, datetime.now(UTC) - timedelta(minutes=1))
    assert (found.id, found.body, found.created_at) == (taken.id, "hello", taken.created_at)
    assert carrier.sent_to(BOB, NUMBER, datetime.now(UTC) - timedelta(minutes=1)) == []


def test_a_number_that_is_not_ours_is_refused_by_its_code(carrier: Carrier) -> None:
    with pytest.raises(RemoteError) as caught:
        carrier.send(outgoing(sender="+15550009999"))
    assert caught.value.code == 21606
    assert not caught.value.maybe_done


def test_a_wrong_token_speaks_for_all_texts(emulated: Emulated, doorstep: Relay) -> None:
    carrier = build_carrier(settings(emulated, doorstep, token="wrong"))
    with pytest.raises(AccountRefused):
        carrier.send(outgoing())
    carrier.close()


def test_emulate_is_reached_from_this_machine_alone(emulated: Emulated) -> None:
    assert httpx.get(emulated.address).is_success
    with socket.socket() as probe:
        probe.settimeout(2)
        assert probe.connect_ex(("127.0.0.2", emulated.port)) != 0
