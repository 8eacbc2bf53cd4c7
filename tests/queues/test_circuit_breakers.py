"""Providers that serve none of our messages: no attempt is used up, no work is lost, and all of it goes on later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import delete, select, text

from bridge.db import revisions
from bridge.db.engine import Sessions
from bridge.db.models import UNSENT, CircuitBreaker, Message, MessageStatus, Turn, TurnStatus
from bridge.lib.phone import mask_numbers
from bridge.maintenance import sweep
from bridge.outbound import receipts
from bridge.outbound.delivery.process import process_deliveries
from bridge.providers.agents.contract import NewChat, RemoteChat
from bridge.providers.agents.retell import errors
from bridge.providers.carriers.contract import CarriedText, Delivery, OutgoingText, StatusReport
from bridge.providers.carriers.twilio import errors as twilio_refusals
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.providers.http.client import Answer
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.circuit_breakers import LONGEST_PROBE, OpenCircuit, open_circuits
from bridge.queues.conversation_queue import DELIVERIES, TURNS, ConversationQueue
from bridge.web.app import build_web
from tests.fakes import FakeAgent, fake_agents, fake_settings
from tests.scene import ANN, BOB, NUMBER, Scene

SERVICE = "MG" + "a" * 32
PHONES = [f"+1555123{n:04}" for n in range(5)]

AGENT_AWAY = [
    AccountRefused("no such key", provider="retell", status=401),
    AccountRefused("trial over", provider="retell", status=402),
    NotReached("connection refused", provider="retell"),
]


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


def text_all(scene: Scene, what: str) -> None:
    for phone in PHONES:
        scene.text(f"{what} {phone}", phone)


def attempts(scene: Scene) -> int:
    """How often the agent was called for something."""
    return sum(call in {"complete", "create_chat"} for call, _ in scene.agent.calls)


@pytest.mark.parametrize("error", AGENT_AWAY, ids=str)
def test_an_agent_that_serves_nobody_is_asked_by_one_probe_at_a_time(scene: Scene, error: RemoteError) -> None:
    scene.agent.fail("create_chat", error, times=1000)
    scene.text("none", CARL)
    scene.wake()  # turns that were claimed before the first error are asked too
    text_all(scene, "one")
    scene.work(seconds=100)
    assert 5 < attempts(scene) < 15
    assert [row.attempts for row in scene.rows(Turn)] == [0] * len(scene.rows(Turn))
    assert scene.agent.received == []


@pytest.mark.parametrize("error", AGENT_AWAY, ids=str)
def test_when_it_serves_again_everything_flows_in_order_and_soon(
    scene: Scene, error: RemoteError, caplog: pytest.LogCaptureFixture
) -> None:
    scene.agent.fail("create_chat", error, times=1000)
    text_all(scene, "one")
    scene.work(seconds=60)
    text_all(scene, "two")
    scene.work(seconds=60)
    scene.agent.recover()
    scene.work(seconds=30)
    for phone in PHONES:
        said = "\n".join(scene.got(phone)).replace("You said: ", "").split("\n")
        assert said == [f"one {phone}", f"two {phone}"]
    with scene.sessions() as session:
        assert session.scalars(select(CircuitBreaker)).all() == []
    told = [record.message for record in caplog.records if record.name == "bridge.queues.circuit_breakers"]
    assert told == [
        f"the circuit of retell is open, all its work waits: {error}",
        "the circuit of retell is closed, its work goes on",
    ]


def test_a_carrier_that_serves_nobody_costs_no_answer(scene: Scene) -> None:
    error = AccountRefused("account suspended", provider="twilio", status=403, code=30002)
    scene.carrier.fail("send", error, times=1000)
    text_all(scene, "one")
    scene.work(seconds=100)
    assert sum(call == "send" for call, _ in scene.carrier.calls) < 15
    assert len(scene.agent.received) == 5
    scene.carrier.recover()
    scene.work(seconds=30)
    assert [scene.got(phone) for phone in PHONES] == [[f"You said: one {phone}"] for phone in PHONES]


def test_a_key_that_is_revoked_in_the_middle_loses_nothing(scene: Scene) -> None:
    text_all(scene, "one")
    scene.work()
    scene.agent.fail("complete", AGENT_AWAY[0], times=1000)
    scene.agent.fail("get_chat", AGENT_AWAY[0], times=1000)
    text_all(scene, "two")
    scene.work(seconds=60)
    scene.agent.recover()
    scene.work(seconds=30)
    assert [scene.got(phone)[-1] for phone in PHONES] == [f"You said: two {phone}" for phone in PHONES]
    assert len(scene.agent.received) == 10


def test_what_is_too_old_is_given_up_all_the_same(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="120s")
    scene.agent.fail("create_chat", AGENT_AWAY[0], times=1000)
    text_all(scene, "one")
    scene.work(seconds=150)
    assert [scene.got(phone) for phone in PHONES] == [[scene.rt.settings.fallback_reply]] * 5
    assert not scene.waiting()


def test_an_answer_that_is_too_old_is_given_up_all_the_same(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="120s")
    scene.carrier.fail("send", AccountRefused("suspended", provider="twilio", status=401, code=20003), times=1000)
    text_all(scene, "one")
    scene.work(seconds=150)
    given_up = [row.status for row in scene.rows(Message) if row.reference]
    assert given_up == [MessageStatus.GIVEN_UP] * 5
    assert not scene.waiting()


def test_an_open_circuit_has_its_scope_its_beginning_and_its_cause(scene: Scene) -> None:
    scene.agent.fail("create_chat", AGENT_AWAY[1], times=1000)
    began = scene.clock()
    scene.text("one")
    scene.work(seconds=60)
    with scene.sessions() as session:
        assert open_circuits(session) == [OpenCircuit("retell", "retell (402): trial over", began)]


def test_a_circuit_that_no_work_is_left_to_probe_is_closed(scene: Scene) -> None:
    """The next piece of work trips it again if needed; /readyz must not show a fault for ever."""
    with scene.rt.database.transaction() as tx:
        circuit_breakers.trip(tx, NotReached("refused", provider="retell"))
    scene.work(seconds=30)
    with scene.sessions() as session:
        assert session.scalars(select(CircuitBreaker)).all() == []


# -- every provider, every cause -------------------------------------------------------------------------------------


def said_by_retell(status: int, message: str) -> RemoteError:
    body = json.dumps({"status": "error", "message": message}).encode()
    return errors.refusal(Answer(status, {}, body), [])


def said_by_twilio(status: int, code: int | None, message: str) -> RemoteError:
    body = json.dumps({"code": code, "message": message, "status": status}).encode()
    return twilio_refusals.refusal(Answer(status, {}, body), [])


@dataclass(frozen=True)
class Outage:
    """A provider that serves none of our messages."""

    provider: str
    name: str
    error: RemoteError
    in_the_middle: bool = False
    """It has served all messages before."""

    def begin(self, scene: Scene) -> None:
        broken, methods = (
            (scene.agent, ("create_chat", "complete", "get_chat"))
            if self.provider == "retell"
            else (scene.carrier, ("send", "sent_to"))
        )
        for method in methods:
            broken.fail(method, self.error, times=1000)

    def end(self, scene: Scene) -> None:
        (scene.agent if self.provider == "retell" else scene.carrier).recover()

    def tries(self, scene: Scene) -> int:
        """How often the provider was called."""
        return len(scene.agent.calls if self.provider == "retell" else scene.carrier.calls)

    def __str__(self) -> str:
        return f"{self.provider} {self.name}"


OUTAGES = [
    Outage("retell", "401", said_by_retell(401, "Invalid API key")),
    Outage("retell", "402", said_by_retell(402, "Trial has ended, please add a payment method")),
    Outage("retell", "403", said_by_retell(403, "The key may not do this")),
    Outage("retell", "suspended", said_by_retell(403, "Account suspended")),
    Outage("retell", "revoked in the middle", said_by_retell(401, "The key was revoked"), in_the_middle=True),
    Outage("retell", "refuses connections", NotReached("connection refused", provider="retell")),
    Outage("twilio", "401", said_by_twilio(401, 20003, "Authenticate")),
    Outage("twilio", "402", said_by_twilio(402, None, "Payment required")),
    Outage("twilio", "403", said_by_twilio(403, None, "Forbidden")),
    Outage("twilio", "suspended", said_by_twilio(403, 30002, "Account suspended")),
    Outage("twilio", "revoked in the middle", said_by_twilio(401, 20003, "Authenticate"), in_the_middle=True),
    Outage("twilio", "refuses connections", NotReached("connection refused", provider="twilio")),
]


@pytest.fixture
def released(sessions: Sessions) -> Iterator[Sessions]:
    """The database as a release leaves it: it says which migration was the last."""
    with sessions.begin() as session:
        session.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        session.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": revisions.head()})
    yield sessions
    with sessions.begin() as session:
        session.execute(text("DROP TABLE alembic_version"))


def readyz(scene: Scene) -> tuple[int, list[dict[str, str]]]:
    """The answer to an operator."""
    rt = replace(scene.rt, settings=fake_settings(admin_token="token"))
    answer = build_web(rt).test_client().get("/readyz", headers={"Authorization": "Bearer token"})
    told: dict[str, Any] = answer.json
    return answer.status_code, told["faults"]


def waiting_pieces(scene: Scene) -> list[Any]:
    """Turns and answers that no provider has served yet."""
    turns = [row for row in scene.rows(Turn) if row.status in {TurnStatus.WAITING, TurnStatus.ASKING}]
    return turns + [row for row in scene.rows(Message) if row.reference and row.status in UNSENT]


def moments_of_tries(scene: Scene, outage: Outage, seconds: int) -> list[int]:
    """In which seconds the provider was called, each of them once."""
    tried = []
    for second in range(seconds):
        before = outage.tries(scene)
        scene.tick()
        assert outage.tries(scene) - before <= 1
        if outage.tries(scene) > before:
            tried.append(second)
    return tried


@pytest.mark.parametrize("outage", OUTAGES, ids=str)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_outage_costs_no_message_a_try_and_all_flows_in_order_after_it(released: Sessions, outage: Outage) -> None:
    scene = Scene(released)
    if outage.in_the_middle:
        for phone in (ANN, BOB):
            scene.text("zero", phone)
        scene.wake()
    outage.begin(scene)
    for phone in (ANN, BOB):
        scene.text("one", phone)
    scene.wake()
    tried = moments_of_tries(scene, outage, 12)
    for phone in (ANN, BOB):
        scene.text("two", phone)
    tried += [12 + second for second in moments_of_tries(scene, outage, 12)]

    assert [piece.attempts for piece in waiting_pieces(scene)] == [0] * len(waiting_pieces(scene))
    assert len(waiting_pieces(scene)) >= 2
    pauses = [later - sooner for sooner, later in pairwise(tried)]
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1] <= LONGEST_PROBE.total_seconds() + 1
    status, faults = readyz(scene)
    assert status == 503
    assert faults[0]["part"] == outage.provider
    assert outage.error.reason in faults[0]["what"]

    outage.end(scene)
    scene.work(seconds=LONGEST_PROBE.total_seconds() + 2)
    begun = ["zero"] if outage.in_the_middle else []
    for phone in (ANN, BOB):
        said = "\n".join(scene.got(phone)).replace("You said: ", "").split("\n")
        assert said == [*begun, "one", "two"]
    assert not scene.waiting()
    assert readyz(scene) == (200, [])


@pytest.mark.parametrize("outage", OUTAGES, ids=str)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_outage_that_outlasts_answer_within_ends_what_is_too_old(sessions: Sessions, outage: Outage) -> None:
    scene = Scene(sessions, answer_within="60s")
    outage.begin(scene)
    for phone in (ANN, BOB):
        scene.text("one", phone)
    scene.work(seconds=30)
    assert len(waiting_pieces(scene)) == 2
    scene.work(seconds=60)
    assert not scene.waiting()
    ended = [row.status for row in (scene.rows(Turn) if outage.provider == "retell" else scene.rows(Message)[2:])]
    assert ended == ([TurnStatus.GIVEN_UP] if outage.provider == "retell" else [MessageStatus.GIVEN_UP]) * 2
    assert scene.got() == ([scene.rt.settings.fallback_reply] if outage.provider == "retell" else [])


# -- one agent of several ------------------------------------------------------------------------------------------

RIGHT, WRONG, ALSO_WRONG = "+15550002222", "+15550003333", "+15550004444"
ROUTES = {
    RIGHT: {"provider": "retell", "agent_id": "agent_right"},
    WRONG: {"provider": "retell", "agent_id": "agent_wrong"},
    ALSO_WRONG: {"provider": "retell", "agent_id": "agent_wrong"},
}


class Choosy(FakeAgent):
    """Knows some agents only."""

    def __init__(self) -> None:
        super().__init__()
        self.unknown = {"agent_wrong"}

    def create_chat(self, about: NewChat) -> RemoteChat:
        assert about.route
        if about.route.agent_id in self.unknown:
            self.calls.append(("create_chat", about.user_number))
            why = "Cannot find requested asset under given api key."
            with self._script.call("create_chat"):
                raise AccountRefused(why, provider="retell", status=422, part=about.route.agent_id)
        return super().create_chat(about)


@pytest.fixture
def routed(sessions: Sessions) -> Scene:
    return Scene(sessions, agent=Choosy(), agent_routes=ROUTES)


def trip_circuit(scene: Scene, scope: str, probe_in: float, **more: Any) -> None:
    probe_at = scene.clock() + timedelta(seconds=probe_in)
    with scene.sessions.begin() as session:
        session.add(CircuitBreaker(scope=scope, cause="", since=scene.clock(), probe_at=probe_at, **more))


def open_scopes(scene: Scene) -> list[str]:
    with scene.sessions() as session:
        return [hold.scope for hold in open_circuits(session)]


def test_a_wrong_agent_stops_its_own_numbers_and_no_other(routed: Scene) -> None:
    for number in (WRONG, NUMBER, ALSO_WRONG, RIGHT):
        routed.text(f"one to {number}", to=number)
    routed.work(seconds=60)
    assert sorted(routed.agent.received) == [f"one to {number}" for number in (NUMBER, RIGHT)]
    assert open_scopes(routed) == ["retell agent_wrong"]
    assert sum(call == "create_chat" for call, _ in routed.agent.calls) < 15
    assert sum(row.attempts for row in routed.rows(Turn)) == 2


def test_when_it_is_known_its_texts_flow(routed: Scene) -> None:
    for number in (WRONG, ALSO_WRONG):
        routed.text(f"one to {number}", to=number)
    routed.work(seconds=60)
    routed.agent.unknown = set()
    routed.work(seconds=12)
    assert sorted(routed.agent.received) == [f"one to {number}" for number in (WRONG, ALSO_WRONG)]
    assert open_scopes(routed) == []


def test_when_the_setting_is_corrected_its_texts_flow_and_its_circuit_is_closed(routed: Scene) -> None:
    routed.text("one", to=WRONG)
    routed.work(seconds=60)
    routed.set(agent_routes={WRONG: ROUTES[RIGHT]})
    routed.work(seconds=21)
    assert routed.agent.received == ["one"]
    routed.tick(2)
    assert open_scopes(routed) == []


def test_chats_that_are_open_with_an_agent_that_was_deleted_go_on(routed: Scene) -> None:
    routed.agent.unknown = set()
    routed.text("one", to=WRONG)
    routed.work()
    routed.agent.unknown = {"agent_wrong"}
    routed.text("one", to=ALSO_WRONG)
    routed.work(seconds=5)
    routed.text("two", to=WRONG)
    routed.work()
    assert routed.agent.received == ["one", "two"]


def test_a_wrong_agent_in_the_settings_for_all_leaves_the_routes_alone(routed: Scene) -> None:
    routed.agent.unknown = {"agent_1"}
    for number in (NUMBER, WRONG):
        routed.text(f"one to {number}", to=number)
    routed.work(seconds=30)
    assert routed.agent.received == [f"one to {WRONG}"]
    assert open_scopes(routed) == ["retell agent_1"]
    routed.agent.unknown = set()
    routed.work(seconds=12)
    assert sorted(routed.agent.received) == [f"one to {number}" for number in (NUMBER, WRONG)]


def test_an_account_that_is_refused_stops_all_agents_and_its_end_is_found_beside_a_wrong_one(routed: Scene) -> None:
    routed.text("one", to=WRONG)
    routed.work(seconds=5)
    routed.agent.fail("create_chat", AGENT_AWAY[0], times=1000)
    routed.text("one", to=RIGHT)
    routed.text("one", to=NUMBER)
    routed.work(seconds=60)
    assert open_scopes(routed) == ["retell", "retell agent_wrong"]
    assert routed.agent.received == []
    routed.agent.recover()
    routed.work(seconds=30)
    assert routed.agent.received == ["one", "one"]
    assert open_scopes(routed) == ["retell agent_wrong"]


def found_after_a_sweep(scene: Scene, queue: ConversationQueue) -> list[int]:
    """The conversations of which no worker was told, once a worker was told of all, and a sweep came by."""
    conversation_queue.take_over(scene.rt.database, queue, 100)
    scene.notifier.wakeups.clear()
    sweep.sweep(scene.rt)
    with scene.sessions() as session:
        found = list(conversation_queue.find_unnotified(session, queue, 100, scene.clock()))
    assert scene.notifier.wakeups == [(queue.task, each) for each in found[:1]]
    return found


@pytest.mark.parametrize("texted", [(NUMBER, WRONG), (WRONG, NUMBER)], ids=["default first", "route first"])
@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        ("retell", (NUMBER, WRONG)),
        ("retell agent_1", (NUMBER,)),
        ("retell agent_wrong", (WRONG,)),
        ("retell agent_right", ()),
        ("retell agent_of_old", ()),
        ("eliza", ()),
    ],
)
def test_the_probe_is_the_oldest_work_that_the_circuit_stops(
    routed: Scene, texted: tuple[str, ...], scope: str, stopped: tuple[str, ...]
) -> None:
    """And a circuit that stops no work is closed."""
    for number in texted:
        routed.text("one", to=number)
        routed.clock.tick(1)
    trip_circuit(routed, scope, 0)
    oldest = [place for place, number in enumerate(texted, start=1) if number in stopped][:1]
    assert found_after_a_sweep(routed, TURNS) == oldest
    assert open_scopes(routed) == ([scope] if stopped else [])


# -- one sender of several -----------------------------------------------------------------------------------------

CARL = "+15551239999"
GOOD, BAD = "+15550005555", "+15550006666"
BAD_SHOWN = "twilio +1555…66"


@pytest.fixture
def sending(sessions: Sessions) -> Scene:
    scene = Scene(sessions, answer_within="48h")
    scene.carrier.refuses = {BAD}
    return scene


def told(scene: Scene, number: str, status: Delivery, code: int | None = None) -> None:
    """The carrier reports what became of the newest text from this number."""
    accepted = next(each for each in reversed(scene.carrier.accepted) if each.text.sender == number)
    said = StatusReport(accepted.text.reference, accepted.carried.id, status, accepted.text.recipient, code)
    assert receipts.report(scene.rt, said)


def answers_from(scene: Scene, number: str) -> list[str]:
    return [each.text.body for each in scene.carrier.accepted if each.text.sender == number]


def test_a_sender_that_is_refused_stops_its_own_texts_and_no_others(sending: Scene) -> None:
    for phone in PHONES:
        sending.text("to the bad one", phone, to=BAD)
        sending.text("to the good one", phone, to=GOOD)
    sending.work(seconds=60)
    assert answers_from(sending, GOOD) == ["You said: to the good one"] * len(PHONES)
    assert answers_from(sending, BAD) == []
    assert 5 < sending.carrier.refused < 15
    assert open_scopes(sending) == [BAD_SHOWN]
    assert {row.attempts for row in sending.rows(Message) if row.reference and row.status in UNSENT} == {0}


def test_one_person_to_whom_the_sender_can_not_text_does_not_stop_the_others(sending: Scene) -> None:
    """The carrier gives the same code for a sender that can't text at all, and for one that can't text this person."""
    send = sending.carrier.send

    def choosy(text: OutgoingText) -> CarriedText:
        if text.recipient == CARL:
            why = "The 'From' phone number can't text this one."
            raise AccountRefused(why, provider="twilio", status=400, code=21606, part=text.sender)
        return send(text)

    sending.carrier.send = choosy  # type: ignore[method-assign]
    for n in range(3):
        sending.text("hello?", CARL, to=GOOD)
        for phone in PHONES:
            sending.text(str(n), phone, to=GOOD)
        sending.work(seconds=LONGEST_PROBE.total_seconds() + 4)
    assert [sending.got(phone) for phone in PHONES] == [[f"You said: {n}" for n in range(3)]] * len(PHONES)
    assert sending.got(CARL) == []


def test_when_the_sender_is_repaired_its_texts_flow_in_order(sending: Scene) -> None:
    sending.text("one", to=BAD)
    sending.work(seconds=30)
    sending.text("two", to=BAD)
    sending.work(seconds=30)
    sending.carrier.refuses.clear()
    sending.work(seconds=LONGEST_PROBE.total_seconds() + 2)
    assert answers_from(sending, BAD) == ["You said: one", "You said: two"]
    assert open_scopes(sending) == []


def test_a_text_that_expires_while_its_senders_circuit_is_open_is_given_up_all_the_same(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="60s")
    scene.carrier.refuses = {BAD}
    scene.text("one", to=BAD)
    scene.work(seconds=120)
    [answer] = [row for row in scene.rows(Message) if row.reference]
    assert answer.status is MessageStatus.GIVEN_UP
    assert not scene.waiting()


def test_a_sender_whose_texts_fail_later_stops_its_own_texts_and_no_others(sending: Scene) -> None:
    sending.carrier.refuses.clear()
    for number in (BAD, GOOD):
        sending.text("one", to=number)
    sending.work()
    told(sending, BAD, Delivery.UNDELIVERED, 30034)
    assert open_scopes(sending) == [BAD_SHOWN]
    for number in (BAD, GOOD):
        sending.text("two", to=number)
    sending.wake()
    assert answers_from(sending, BAD) == ["You said: one"]
    assert answers_from(sending, GOOD) == ["You said: one", "You said: two"]
    told(sending, GOOD, Delivery.DELIVERED)
    assert open_scopes(sending) == [BAD_SHOWN], "that another sender's text has arrived proves nothing"
    sending.work(seconds=15)
    told(sending, BAD, Delivery.DELIVERED)
    assert open_scopes(sending) == []


def test_an_account_that_is_refused_is_found_to_serve_again_beside_a_sender_that_is_not_in_order(
    sending: Scene,
) -> None:
    sending.text("one", to=BAD)
    sending.work(seconds=5)
    sending.carrier.fail("send", AccountRefused("no such key", provider="twilio", status=401), times=1000)
    for phone in PHONES:
        sending.text("one", phone, to=GOOD)
    sending.work(seconds=60)
    assert open_scopes(sending) == ["twilio", BAD_SHOWN]
    assert sending.carrier.accepted == []
    sending.carrier.recover()
    sending.work(seconds=30)
    assert answers_from(sending, GOOD) == ["You said: one"] * len(PHONES)
    assert open_scopes(sending) == [BAD_SHOWN]


def test_a_service_that_is_refused_stops_all_its_numbers_and_no_channel_beside_it(sending: Scene) -> None:
    sending.carrier.service = SERVICE
    sending.carrier.refuses = {SERVICE}
    for number in (GOOD, NUMBER, f"whatsapp:{GOOD}"):
        sending.text("one", to=number)
    sending.work(seconds=30)
    assert [each.text.sender for each in sending.carrier.accepted] == [f"whatsapp:{GOOD}"]
    assert open_scopes(sending) == [f"twilio {SERVICE}"]
    sending.carrier.refuses.clear()
    sending.work(seconds=LONGEST_PROBE.total_seconds() + 2)
    assert sorted(each.text.sender for each in sending.carrier.accepted) == [NUMBER, GOOD, f"whatsapp:{GOOD}"]
    assert open_scopes(sending) == []


def test_a_text_of_unknown_outcome_is_reconciled_while_its_senders_circuit_is_open_and_that_closes_no_circuit(
    sending: Scene,
) -> None:
    sending.carrier.refuses.clear()
    sending.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=True)
    sending.text("one", ANN, to=BAD)
    sending.wake()
    sending.carrier.refuses = {BAD}
    sending.text("one", BOB, to=BAD)
    sending.wake()
    assert open_scopes(sending) == [BAD_SHOWN]
    sending.work(seconds=5)
    first, second = [row.status for row in sending.rows(Message) if row.reference]
    assert (first, second) == (MessageStatus.SENT, MessageStatus.QUEUED)
    assert open_scopes(sending) == [BAD_SHOWN]
    assert answers_from(sending, BAD) == ["You said: one"]


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        ("twilio", (BAD, GOOD)),
        (f"twilio {BAD}", (BAD,)),
        (f"twilio {GOOD}", (GOOD,)),
        ("twilio +15550007777", ()),
    ],
)
def test_the_probe_of_a_sender_is_the_oldest_text_that_it_stops(
    sending: Scene, scope: str, stopped: tuple[str, ...]
) -> None:
    """And a circuit that stops no work is closed."""
    trip_circuit(sending, "twilio", 3600)
    for number in (BAD, GOOD):
        sending.text("one", to=number)
        sending.wake()
        sending.clock.tick(1)
    with sending.sessions.begin() as session:
        session.execute(delete(CircuitBreaker))
    trip_circuit(sending, scope, 0)
    assert found_after_a_sweep(sending, DELIVERIES) == [(BAD, GOOD).index(number) + 1 for number in stopped[:1]]
    assert open_scopes(sending) == ([mask_numbers(scope)] if stopped else [])


# -- several holds at once -----------------------------------------------------------------------------------------


def circuit_of(scene: Scene, scope: str) -> CircuitBreaker | None:
    with scene.sessions() as session:
        return session.get(CircuitBreaker, scope)


def knock(scene: Scene, conversation: int) -> None:
    """A worker that looks for its answers."""
    process_deliveries(scene.rt, conversation)


def test_a_text_that_is_given_up_untried_proves_nothing_about_the_account(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="60s")
    trip_circuit(scene, "twilio", 61, from_receipt=True, probes=1, probe_failed=True)
    scene.text("one", to=BAD)
    scene.wake()
    scene.clock.tick(61)
    trip_circuit(scene, f"twilio {BAD}", 3600)
    knock(scene, 1)
    assert [row.status for row in scene.rows(Message) if row.reference] == [MessageStatus.GIVEN_UP]
    account = circuit_of(scene, "twilio")
    assert account
    assert (account.probes, account.probe_failed) == (1, True)


def test_an_account_and_a_sender_whose_texts_fail_later_are_probed_at_once_and_judged_apart(sending: Scene) -> None:
    sending.carrier.refuses.clear()
    trip_circuit(sending, "twilio", 0)
    trip_circuit(sending, f"twilio {BAD}", 0, from_receipt=True)
    sending.text("one", to=BAD)
    sending.wake()
    assert answers_from(sending, BAD) == ["You said: one"]
    assert open_scopes(sending) == [BAD_SHOWN]


def test_the_account_is_probed_by_a_text_that_no_other_circuit_stops(sending: Scene) -> None:
    trip_circuit(sending, "twilio", 5)
    trip_circuit(sending, f"twilio {BAD}", 3600)
    for number in (BAD, GOOD):
        sending.text("one", to=number)
        sending.wake()
        sending.clock.tick(1)
    sending.clock.tick(3)
    assert found_after_a_sweep(sending, DELIVERIES) == [2]
    sending.wake()
    assert open_scopes(sending) == [BAD_SHOWN]
    assert answers_from(sending, GOOD) == ["You said: one"]


def test_the_circuit_of_an_account_whose_work_all_waits_for_its_senders_stays_open(sending: Scene) -> None:
    trip_circuit(sending, "twilio", 5)
    trip_circuit(sending, f"twilio {BAD}", 3600)
    sending.text("one", to=BAD)
    sending.wake()
    sending.work(seconds=10)
    assert open_scopes(sending) == ["twilio", BAD_SHOWN]


PROVE_NOTHING = [
    RateLimited("slow down", provider="twilio", status=429),
    OutcomeUnknown("cut", provider="twilio"),
    Refused("no such phone", provider="twilio", status=400, code=21211),
    AccountRefused("no such key", provider="twilio", status=401),
]


@pytest.mark.parametrize("error", PROVE_NOTHING, ids=str)
def test_an_error_that_is_not_the_senders_does_not_close_its_circuit(sending: Scene, error: RemoteError) -> None:
    for phone in PHONES:
        sending.text("one", phone, to=BAD)
    sending.wake()
    began = sending.clock()
    sending.carrier.fail("send", error)
    sending.work(seconds=20)
    hold = circuit_of(sending, f"twilio {BAD}")
    assert hold
    assert hold.since == began
    assert sending.carrier.accepted == []


def test_the_circuit_of_a_sender_that_is_refused_at_the_last_attempt_stays_open(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="60s")
    scene.carrier.refuses = {BAD}
    scene.text("one", to=BAD)
    scene.work(seconds=30)
    refused = scene.carrier.refused
    scene.clock.tick(31)
    knock(scene, 1)
    assert [row.status for row in scene.rows(Message) if row.reference] == [MessageStatus.GIVEN_UP]
    assert scene.carrier.refused == refused + 1
    assert open_scopes(scene) == [BAD_SHOWN]


def test_a_text_that_was_not_accepted_is_not_sent_again_while_its_senders_circuit_is_open(sending: Scene) -> None:
    sending.carrier.refuses.clear()
    sending.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"))
    sending.text("one", to=BAD)
    sending.wake()
    trip_circuit(sending, f"twilio {BAD}", 100, from_receipt=True)
    sending.work(seconds=90)
    assert sending.carrier.accepted == []
    assert [row.status for row in sending.rows(Message) if row.reference] == [MessageStatus.QUEUED]
    sending.work(seconds=20)
    assert answers_from(sending, BAD) == ["You said: one"]


def test_a_circuit_of_later_failures_closes_when_its_sender_is_used_no_more(sending: Scene) -> None:
    """Also while a text of another sender is to be sent again."""
    sending.carrier.refuses.clear()
    for number in (BAD, GOOD):
        sending.text("one", to=number)
    sending.work()
    told(sending, BAD, Delivery.UNDELIVERED, 30034)
    told(sending, GOOD, Delivery.UNDELIVERED, 30008)
    sending.carrier.service = SERVICE
    sending.work(seconds=30)
    assert open_scopes(sending) == []


def test_a_circuit_of_later_failures_waits_for_the_resends_of_its_own_sender(sending: Scene) -> None:
    sending.carrier.refuses.clear()
    sending.text("one", to=BAD)
    sending.work()
    told(sending, BAD, Delivery.UNDELIVERED, 30034)
    sending.work(seconds=50)
    assert open_scopes(sending) == [BAD_SHOWN]
    sending.work(seconds=30)
    assert len(answers_from(sending, BAD)) == 2


def test_a_provider_that_is_not_set_any_more_serves_nobody() -> None:
    with pytest.raises(AccountRefused) as caught:
        fake_agents().of("eliza")
    assert (caught.value.scope, caught.value.provider_wide) == ("eliza", True)
