"""Texts of other tools: found in the carrier's list, shown once, and never one of ours among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select

from bridge.db.engine import Sessions
from bridge.db.models import Conversation, Direction, Holder, Message, MessageStatus, SentCursor
from bridge.maintenance.catch_up import catch_up
from bridge.maintenance.outside_rules import Attempted, Verdict, answers_keyword, judge
from bridge.maintenance.outside_texts import SETTLED_AFTER, hold_for_outside_texts
from bridge.outbound import receipts
from bridge.providers.carriers.contract import CarriedText, Delivery, SentText, StatusReport
from bridge.providers.carriers.registry import build_carrier
from bridge.providers.errors import AccountRefused, OutcomeUnknown, RateLimited, Refused
from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.simulator.ledger import Outside
from tests.databases import away
from tests.fakes import FakeClock, fake_settings
from tests.mortal import emptied
from tests.scene import ANN, BOB, NUMBER, Scene

CUT = OutcomeUnknown("cut", provider="twilio")
OLD_ENOUGH = SETTLED_AFTER.total_seconds()
HOUR = 3600.0


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    """A bridge that has read the list before."""
    scene = Scene(sessions, twilio_numbers=(NUMBER,))
    read(scene)
    scene.clock.tick(HOUR)
    read(scene)
    scene.carrier.calls.clear()
    return scene


def read(scene: Scene) -> None:
    catch_up(scene.rt, pauses=())
    hold_for_outside_texts(scene.rt, pauses=())


def later(scene: Scene, seconds: float = OLD_ENOUGH) -> None:
    scene.tick(seconds)
    read(scene)


def outside(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if row.status is MessageStatus.OUTSIDE]


def words(scene: Scene) -> list[str]:
    return [row.body for row in outside(scene)]


def holder_of(scene: Scene, phone: str = ANN) -> Conversation:
    with scene.sessions() as session:
        return session.scalars(select(Conversation).where(Conversation.phone == phone)).one()


def cursor(scene: Scene) -> Any:
    with scene.sessions() as session:
        return session.scalar(select(SentCursor.read_until))


# -- what is found ---------------------------------------------------------------------------------------------------


def test_a_text_of_another_tool_is_shown_once_and_the_agent_keeps_still(scene: Scene) -> None:
    scene.text("hello")
    scene.work_until_idle()
    later(scene, HOUR)
    sent = scene.carrier.write_outside(ANN, NUMBER, "Maria here, I will call you")
    for _ in range(4):
        later(scene)
    [row] = outside(scene)
    assert (row.body, row.direction, row.carrier_id) == (sent.carried.body, Direction.OUT, sent.carried.id)
    assert (row.created_at, row.segments, row.operator) == (sent.sent_at, 1, None)
    pair = holder_of(scene)
    assert sent.sent_at
    assert (pair.holder, pair.holder_until) == (Holder.OUTSIDE, sent.sent_at + timedelta(minutes=30))
    scene.text("who are you?")
    scene.work(seconds=60)
    assert scene.agent.received == ["hello"]


def test_a_person_whom_the_bridge_does_not_know_gets_a_conversation(scene: Scene) -> None:
    scene.carrier.write_outside(BOB, NUMBER, "Your table is ready")
    later(scene)
    assert words(scene) == ["Your table is ready"]
    assert holder_of(scene, BOB).holder is Holder.OUTSIDE


def test_a_further_text_prolongs_it(scene: Scene) -> None:
    scene.carrier.write_outside(ANN, NUMBER, "one")
    later(scene)
    later(scene, 600)
    second = scene.carrier.write_outside(ANN, NUMBER, "two")
    later(scene)
    assert second.sent_at
    assert holder_of(scene).holder_until == second.sent_at + timedelta(minutes=30)


def test_a_text_from_before_auto_hold_is_only_shown(scene: Scene) -> None:
    scene.carrier.write_outside(ANN, NUMBER, "long ago")
    later(scene, 2 * HOUR)
    assert words(scene) == ["long ago"]
    assert holder_of(scene).holder is Holder.AGENT


def test_the_recap_has_it_as_a_line_of_the_team(scene: Scene) -> None:
    scene.carrier.write_outside(ANN, NUMBER, "Maria here, your table is booked")
    later(scene, 2 * HOUR)
    scene.text("thanks!")
    scene.work_until_idle()
    [chat] = scene.agent.chats.values()
    assert chat.about.previous_conversation == "Team: Maria here, your table is booked"


@pytest.mark.parametrize("more", [{"auto_hold": None}, {"twilio_numbers": ()}], ids=str)
def test_without_the_setting_or_numbers_nothing_is_read(sessions: Sessions, more: dict[str, Any]) -> None:
    scene = Scene(sessions, **({"twilio_numbers": (NUMBER,)} | more))
    scene.carrier.write_outside(ANN, NUMBER, "hi")
    scene.clock.tick(300)
    hold_for_outside_texts(scene.rt)
    assert scene.carrier.calls == []


def test_a_round_without_news_costs_one_request_and_four_statements(scene: Scene) -> None:
    scene.text("hello")
    scene.work_until_idle()
    later(scene)
    scene.carrier.calls.clear()
    statements: list[str] = []
    event.listen(scene.rt.engine, "before_cursor_execute", lambda *about: statements.append(about[2].split()[0]))
    hold_for_outside_texts(scene.rt)
    assert scene.carrier.calls == [("sent_by", NUMBER)]
    assert [word for word in statements if word != "BEGIN"] == ["SELECT", "SELECT", "UPDATE", "UPDATE"]


def test_a_new_bridge_reads_ten_minutes_back(sessions: Sessions) -> None:
    scene = Scene(sessions, twilio_numbers=(NUMBER,))
    scene.carrier.write_outside(ANN, NUMBER, "eleven minutes ago")
    scene.clock.tick(120)
    scene.carrier.write_outside(ANN, NUMBER, "nine minutes ago")
    scene.clock.tick(540)
    read(scene)
    assert words(scene) == ["nine minutes ago"]


def test_a_bridge_that_was_away_finds_them_all_in_order_over_many_pages(scene: Scene) -> None:
    scene.carrier.page_size = 3
    sent = []
    for n in range(8):
        sent.append(scene.carrier.write_outside(ANN if n % 2 else BOB, NUMBER, f"text {n}").carried.body)
        scene.clock.tick(60)
    later(scene)
    assert words(scene) == sent


def test_a_young_text_waits_for_a_later_round(scene: Scene) -> None:
    scene.carrier.write_outside(ANN, NUMBER, "hi")
    later(scene, OLD_ENOUGH - 1)
    assert words(scene) == []
    later(scene, 1)
    assert words(scene) == ["hi"]


def test_the_person_is_found_under_another_spelling(sessions: Sessions) -> None:
    scene = Scene(sessions, twilio_numbers=(NUMBER,))
    scene.text("hola", "+5215512345678")
    scene.work_until_idle()
    scene.clock.tick(HOUR)
    scene.carrier.write_outside("+525512345678", NUMBER, "hi")
    later(scene)
    assert words(scene) == ["hi"]
    assert len(scene.rows(Conversation)) == 1


def test_a_person_of_the_team_keeps_the_conversation(scene: Scene) -> None:
    scene.text("hello")
    scene.work_until_idle()
    with scene.sessions.begin() as session:
        pair = session.scalars(select(Conversation)).one()
        pair.holder, pair.holder_name = Holder.PERSON, "ana"
    scene.clock.tick(HOUR)
    scene.carrier.write_outside(ANN, NUMBER, "hi")
    later(scene)
    assert (words(scene), holder_of(scene).holder) == (["hi"], Holder.PERSON)


# -- what is ours, or the carrier's ----------------------------------------------------------------------------------


def test_our_own_texts_are_none_of_them(scene: Scene) -> None:
    for phone in (ANN, BOB):
        scene.text("hello", phone)
    scene.work_until_idle()
    for _ in range(5):
        later(scene)
    assert len(scene.carrier.accepted) == 2
    assert outside(scene) == []


def test_a_text_of_ours_whose_answer_was_lost_is_none_of_them(scene: Scene) -> None:
    scene.carrier.fail("send", CUT, taken=True)
    scene.carrier.fail("sent_to", CUT, times=1000)
    scene.text("hello")
    scene.work(seconds=30)
    before = cursor(scene)
    for _ in range(5):
        later(scene)
    assert outside(scene) == []
    assert cursor(scene) <= max(before, scene.carrier.accepted[0].carried.created_at)
    scene.carrier.recover()
    scene.work_until_idle()
    later(scene)
    assert (outside(scene), len(scene.carrier.accepted)) == ([], 1)


def test_another_persons_outside_text_does_not_wait_for_it(scene: Scene) -> None:
    scene.carrier.page_size = 1
    scene.carrier.fail("send", CUT, taken=True)
    scene.carrier.fail("sent_to", CUT, times=1000)
    scene.text("hello")
    scene.work(seconds=30)
    scene.carrier.write_outside(BOB, NUMBER, "hi Bob")
    later(scene)
    assert words(scene) == ["hi Bob"]


def test_an_outside_text_beside_an_unsettled_one_is_found_when_that_is_settled(scene: Scene) -> None:
    scene.carrier.fail("send", CUT, taken=True)
    scene.carrier.fail("sent_to", CUT, times=1000)
    scene.text("hello")
    scene.work(seconds=30)
    scene.carrier.write_outside(ANN, NUMBER, "Maria here")
    for _ in range(10):
        later(scene)
    assert words(scene) == []
    scene.carrier.recover()
    scene.work_until_idle()
    for _ in range(3):
        later(scene)
    assert words(scene) == ["Maria here"]


def test_a_text_of_ours_that_was_given_up_and_is_on_the_phone_all_the_same_is_none_of_them(scene: Scene) -> None:
    scene.set(twilio_numbers=(NUMBER,), answer_within="60s", fallback_reply="")
    scene.carrier.fail("send", CUT, taken=True)
    scene.carrier.fail("sent_to", CUT, times=1000)
    scene.text("hello")
    scene.work(seconds=600)
    assert MessageStatus.GIVEN_UP in [row.status for row in scene.rows(Message)]
    scene.carrier.recover()
    for _ in range(5):
        later(scene)
    assert outside(scene) == []


def test_a_copy_of_ours_is_none_of_them(scene: Scene) -> None:
    """The carrier has accepted it twice, and no callback has told of the second one."""
    scene.text("hello")
    scene.work_until_idle()
    [ours] = scene.carrier.accepted
    scene.carrier.write_outside(ANN, NUMBER, "Sent from your Twilio trial account - " + ours.text.body)
    for _ in range(5):
        later(scene)
    assert outside(scene) == []


def test_the_same_words_an_hour_later_are_another_tools(scene: Scene) -> None:
    scene.text("hello")
    scene.work_until_idle()
    [ours] = scene.carrier.accepted
    scene.clock.tick(HOUR)
    scene.carrier.write_outside(ANN, NUMBER, ours.text.body)
    later(scene)
    assert words(scene) == [ours.text.body]


@pytest.mark.parametrize("word", ["STOP", "HELP", "start"])
def test_the_carriers_own_answer_to_a_keyword_is_none_of_them(scene: Scene, word: str) -> None:
    scene.text("STOP" if word == "start" else "hello")
    scene.work_until_idle()
    scene.clock.tick(HOUR)
    scene.text(word)
    scene.clock.tick(1)
    scene.carrier.write_outside(ANN, NUMBER, "You have been unsubscribed or not", is_reply=True)
    for _ in range(3):
        later(scene)
    assert outside(scene) == []


def test_it_is_none_of_them_either_if_catch_up_brings_the_keyword(scene: Scene) -> None:
    scene.carrier.receive(ANN, NUMBER, "STOP")
    scene.clock.tick(1)
    scene.carrier.write_outside(ANN, NUMBER, "You are unsubscribed", is_reply=True)
    scene.tick(OLD_ENOUGH)
    hold_for_outside_texts(scene.rt, pauses=())
    assert outside(scene) == [], "the keyword may not be stored yet"
    read(scene)
    read(scene)
    assert outside(scene) == []


def test_a_reply_to_no_keyword_is_another_tools(scene: Scene) -> None:
    scene.text("hello")
    scene.work_until_idle()
    scene.clock.tick(HOUR)
    scene.carrier.write_outside(ANN, NUMBER, "an answer in TwiML", is_reply=True)
    later(scene)
    later(scene)
    assert words(scene) == ["an answer in TwiML"]


def test_a_callback_that_names_a_stored_text_as_ours_puts_it_right(scene: Scene) -> None:
    """The rules should not let it come to that; if it does, the callback's word counts."""
    scene.text("hello")
    scene.work_until_idle()
    stranger = scene.carrier.write_outside(ANN, NUMBER, "something else")
    later(scene, HOUR)
    [ours] = [row for row in scene.rows(Message) if row.reference]
    with scene.sessions.begin() as session:
        row = session.get_one(Message, ours.id)
        row.status, row.carrier_id = MessageStatus.GIVEN_UP, None
    receipts.report(scene.rt, StatusReport(ours.reference, stranger.carried.id, Delivery.SENT, ANN))
    assert outside(scene) == []
    [row] = [row for row in scene.rows(Message) if row.reference]
    assert (row.status, row.carrier_id) == (MessageStatus.SENT, stranger.carried.id)


# -- faults, and several at once ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OutcomeUnknown, AccountRefused, RateLimited, Refused])
def test_a_list_that_can_not_be_read_leaves_the_cursor(
    scene: Scene, kind: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    scene.carrier.write_outside(ANN, NUMBER, "hi")
    scene.clock.tick(HOUR / 4)
    before = cursor(scene)
    scene.carrier.fail("sent_by", kind("no", provider="twilio"))
    hold_for_outside_texts(scene.rt, pauses=())
    assert (cursor(scene), words(scene)) == (before, [])
    assert "could not be read: twilio: no" in caplog.text
    assert NUMBER[1:] not in caplog.text
    read(scene)
    assert words(scene) == ["hi"]


def test_a_fault_in_the_middle_goes_on_there(scene: Scene) -> None:
    scene.carrier.page_size = 2
    for n in range(6):
        scene.carrier.write_outside(ANN, NUMBER, f"text {n}")
        scene.clock.tick(600)
    scene.carrier.fail("next_page", CUT)
    hold_for_outside_texts(scene.rt, pauses=())
    assert words(scene) == ["text 0", "text 1"]
    hold_for_outside_texts(scene.rt, pauses=())
    assert words(scene) == [f"text {n}" for n in range(6)]


def test_a_database_that_is_away_for_a_moment_does_no_harm(scene: Scene) -> None:
    scene.carrier.write_outside(ANN, NUMBER, "hi")
    scene.clock.tick(OLD_ENOUGH)
    hold_for_outside_texts(replace(scene.rt, database=away(scene.sessions, 2, now=scene.clock)), pauses=())
    assert words(scene) == ["hi"]


def test_a_second_round_at_the_same_time_stores_nothing_twice(scene: Scene) -> None:
    scene.carrier.write_outside(ANN, NUMBER, "hi")
    scene.clock.tick(OLD_ENOUGH)
    scene.carrier.in_next_call(lambda: hold_for_outside_texts(scene.rt, pauses=()))
    hold_for_outside_texts(scene.rt, pauses=())
    assert words(scene) == ["hi"]


# -- with the simulated Twilio -----------------------------------------------------------------------------------------


@pytest.fixture
def twilio(scene: Scene) -> Iterator[Simulator]:
    """The scene's carrier is Twilio's adapter, and Twilio brings no webhook."""
    simulator = Simulator(SimulatorSettings(clock=lambda: scene.clock().timestamp()))
    simulator.faults.set("webhooks_lost")
    with serve(simulator) as address:
        account = {
            "twilio_account_sid": simulator.settings.account_sid,
            "twilio_auth_token": simulator.settings.auth_token,
        }
        carrier = build_carrier(fake_settings(public_url=address, twilio_api_base_url=address, **account))
        scene.rt = replace(scene.rt, carrier=carrier)
        yield simulator
        carrier.close()


def test_at_twilio_only_what_another_tool_has_sent_is_found(scene: Scene, twilio: Simulator) -> None:
    twilio.phones.text(ANN, "hello", to=NUMBER)
    twilio.phones.text(BOB, "STOP", to=NUMBER)
    for _ in range(3):
        later(scene)
    scene.work_until_idle()
    twilio.phones.write_outside(ANN, "Maria here", NUMBER)
    for _ in range(4):
        later(scene)
    assert twilio.phones.inbox(ANN) == ["You said: hello", "Maria here"]
    assert len(twilio.phones.inbox(BOB)) == 1, "Twilio has confirmed the STOP"
    assert [(row.body, row.segments) for row in outside(scene)] == [("Maria here", 1)]
    assert twilio.ledger.count(Outside) == 1


# -- the rules alone ---------------------------------------------------------------------------------------------------

NOW = FakeClock()()
LONG_AGO = NOW - SETTLED_AFTER


def listed(body: str = "hi", ago: float = 600, *, hidden: bool = False) -> SentText:
    at = NOW - timedelta(seconds=ago)
    return SentText(CarriedText("SM1", Delivery.SENT, body, at), NUMBER, ANN, at, hidden=hidden)


def tried(
    status: MessageStatus = MessageStatus.SENT, body: str = "hi", id_: str | None = "SM2", ago: float = 600
) -> Attempted:
    at = NOW - timedelta(seconds=ago)
    return Attempted(status, body, id_, at, at)


@pytest.mark.parametrize(
    ("text", "ours", "verdict"),
    [
        (listed(), [], Verdict.OUTSIDE),
        (listed(), [tried(body="other")], Verdict.OUTSIDE),
        (listed(), [tried(body="other"), tried()], Verdict.OURS),
        (listed(ago=100_000), [tried()], Verdict.OUTSIDE),
        (listed(), [tried(ago=100_000)], Verdict.OUTSIDE),
        (listed(), [tried(MessageStatus.GIVEN_UP, "other", None)], Verdict.OURS),
        (listed(), [tried(MessageStatus.CANCELED, "other", None)], Verdict.OURS),
        (listed(ago=100_000), [tried(MessageStatus.GIVEN_UP, "hi", None)], Verdict.OUTSIDE),
        (listed(), [tried(MessageStatus.SENDING, "other", None, 100_000)], Verdict.UNDECIDED),
        (listed(), [tried(MessageStatus.QUEUED, "other", None, 100_000)], Verdict.UNDECIDED),
        (listed(), [tried(body="other", ago=1)], Verdict.UNDECIDED),
        (listed("", hidden=True), [tried(body="other")], Verdict.OURS),
        (listed("", ago=100_000, hidden=True), [tried(body="other")], Verdict.OUTSIDE),
        (listed("It's “fine”"), [tried(body='It\'s "fine"')], Verdict.OURS),
    ],
)
def test_the_rules(text: SentText, ours: list[Attempted], verdict: Verdict) -> None:
    assert judge(text, ours, LONG_AGO) is verdict


@pytest.mark.parametrize(
    ("came", "answered"),
    [
        ([], False),
        ([("hello", MessageStatus.ANSWERED)], False),
        ([("hello", MessageStatus.ANSWERED), ("parar", MessageStatus.KEYWORD)], True),
        ([("Start ", MessageStatus.ANSWERED)], True),
    ],
)
def test_the_carrier_answers_keywords(came: list[tuple[str, MessageStatus]], answered: bool) -> None:
    assert answers_keyword(came) is answered


# -- whatever happens in whatever order --------------------------------------------------------------------------------

STEPS = st.lists(
    st.sampled_from(
        ["text", "text Bob", "work", "lost", "lost for long", "cut", "kill", "callback", "list", "wait", "outside"]
    ),
    min_size=3,
    max_size=16,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, redacts=st.booleans(), patience=st.sampled_from(["60s", "4h"]))
def test_no_text_of_ours_ever_counts_as_another_tools(
    hasty_engine: Engine, steps: list[str], redacts: bool, patience: str
) -> None:
    """Sends that get lost, workers that die after the carrier has accepted, lists and callbacks, in any order."""
    known = {"twilio_numbers": (NUMBER,), "answer_within": patience, "fallback_reply": ""}
    scene = Scene(emptied(hasty_engine), **known)
    scene.carrier.redacts = redacts
    read(scene)

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    def survive(work: Callable[[], object]) -> None:
        try:
            work()
        except Killed:
            scene.restart()

    for n, step in enumerate(steps):
        match step:
            case "text" | "text Bob":
                scene.text(f"text {n}", BOB if "Bob" in step else ANN)
            case "work":
                survive(lambda: scene.tick(2))
            case "lost" | "cut":
                scene.carrier.fail("send", CUT, taken=step == "lost")
            case "lost for long":
                scene.carrier.fail("send", CUT, taken=True)
                scene.carrier.fail("sent_to", CUT, times=3)
            case "kill":
                scene.carrier.in_next_call(kill)
            case "callback" if scene.carrier.accepted:
                sent = scene.carrier.accepted[n % len(scene.carrier.accepted)]
                about = (sent.text.reference, sent.carried.id, Delivery.DELIVERED, sent.text.recipient)
                receipts.report(scene.rt, StatusReport(*about))
            case "list":
                survive(lambda: read(scene))
            case "wait":
                survive(lambda: scene.work(seconds=100))
            case "outside":
                scene.carrier.write_outside(ANN, NUMBER, f"outside {n}")
        none_is_ours(scene)
    scene.carrier.recover()
    for _ in range(14):
        scene.work(seconds=60)
        read(scene)
        none_is_ours(scene)
    with_doubt = redacts or MessageStatus.GIVEN_UP in {row.status for row in scene.rows(Message)}
    if not with_doubt:
        assert sorted(words(scene)) == sorted(text.carried.body for text in scene.carrier.outside)


def none_is_ours(scene: Scene) -> None:
    ours = {accepted.carried.id for accepted in scene.carrier.accepted}
    assert not [row.id for row in outside(scene) if row.carrier_id in ours]
