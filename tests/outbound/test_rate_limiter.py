"""The rates of our senders: nobody sends faster than he may, no sender waits for another, and waiting loses nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from bridge.config import Settings
from bridge.db.engine import Sessions, build_sessions
from bridge.db.models import Conversation, Message, MessageStatus, Sender
from bridge.db.transaction import Transaction
from bridge.lib.phone import masked
from bridge.outbound import rate_limiter, receipts
from bridge.outbound.delivery.process import process_deliveries
from bridge.outbound.rate_limiter import BURST, LONGEST_PAUSE, SHORTEST_PAUSE, Kind, airtime, kind_of
from bridge.providers.carriers.contract import Delivery, StatusReport
from bridge.providers.errors import AccountRefused, QueueFull, RateLimited, Refused
from bridge.turns.process import process_turns
from tests.databases import transaction
from tests.fakes import FakeAgent, fake_settings
from tests.scene import ANN, BOB, NUMBER, Scene

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=4)
SECOND = timedelta(seconds=1)
TOLL_FREE = "+18005550000"
AT_ONCE = 11
"""Texts of one segment that go at once at one a second: ten seconds' worth, and the one that fills it."""

FULL = QueueFull("queue full", provider="twilio", status=400, code=21611)


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    """Every sender of it may send one segment a second."""
    return Scene(sessions, sender_rate="1")


def phones(count: int) -> list[str]:
    return [f"+1555123{n:04}" for n in range(count)]


def text_all(scene: Scene, count: int, number: str = TOLL_FREE) -> None:
    for phone in phones(count):
        scene.text("hi", phone, to=number)


def outgoing(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if row.reference]


# -- the rate of a sender ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "kind"),
    [
        ("+15550001111", Kind.NORTH_AMERICAN),
        ("+14165550100", Kind.NORTH_AMERICAN),
        ("+18005550000", Kind.TOLL_FREE),
        ("+18885550000", Kind.TOLL_FREE),
        ("+18995550000", Kind.NORTH_AMERICAN),
        ("+447700900123", Kind.OTHER_NUMBER),
        ("+1555", Kind.OTHER_NUMBER),
        ("12345", Kind.SHORT_CODE),
        ("whatsapp:+15550001111", Kind.WHATSAPP),
        ("whatsapp:US.abc\n", Kind.WHATSAPP),
        ("rcs:brand_agent", Kind.RCS),
        ("MG" + "0" * 32, Kind.SERVICE),
        ("anything", Kind.OTHER_NUMBER),
        ("", Kind.OTHER_NUMBER),
    ],
)
def test_an_address_tells_what_kind_of_sender_it_is(sender: str, kind: Kind) -> None:
    assert kind_of(sender) is kind


def test_every_kind_has_a_rate() -> None:
    assert set(rate_limiter.RATES) == set(Kind)


def test_a_text_keeps_its_sender_busy_for_its_segments() -> None:
    settings = fake_settings()
    assert airtime(settings, "12345", 1) == SECOND / 100
    assert airtime(settings, TOLL_FREE, 7) == 7 * SECOND / 3
    assert airtime(settings, "whatsapp:+15550001111", 1) == SECOND / 80


def test_the_setting_goes_before_every_kind() -> None:
    settings: Settings = fake_settings(sender_rate="0.5")
    assert airtime(settings, "12345", 1) == airtime(settings, "rcs:brand", 1) == 2 * SECOND


# -- places --------------------------------------------------------------------------------------------------------


def reserve(sessions: Sessions, length: timedelta, now: datetime = NOW, sender: str = NUMBER) -> datetime | None:
    with transaction(sessions, now) as tx:
        return rate_limiter.reserve(tx, sender, 1, length, LATER)


def test_some_seconds_worth_go_at_once_and_the_rest_one_after_the_other(sessions: Sessions) -> None:
    places = [reserve(sessions, SECOND) for _ in range(15)]
    assert places == [NOW] * 11 + [NOW + n * SECOND for n in (1, 2, 3, 4)]


def test_a_sender_that_was_silent_has_its_burst_again_and_no_more_than_that(sessions: Sessions) -> None:
    later = NOW + timedelta(hours=1)
    for now in (NOW, later):
        assert [reserve(sessions, SECOND, now) for _ in range(12)] == [now] * 11 + [now + SECOND]


def test_senders_do_not_know_each_other(sessions: Sessions) -> None:
    for _ in range(100):
        reserve(sessions, SECOND)
    assert reserve(sessions, SECOND, sender=TOLL_FREE) == NOW


def test_what_would_come_too_late_takes_no_place(sessions: Sessions) -> None:
    soon = NOW + timedelta(seconds=5)
    with transaction(sessions, NOW) as tx:
        places = [rate_limiter.reserve(tx, NUMBER, 1, SECOND, soon) for _ in range(30)]
    assert [place for place in places if place] == [NOW] * 11 + [NOW + n * SECOND for n in (1, 2, 3, 4)]
    assert reserve(sessions, SECOND) == soon


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 24)), max_size=200), st.sampled_from([1, 3, 100]))
def test_nobody_ever_sends_more_than_his_rate_and_a_burst(
    hasty_engine: Engine, texts: list[tuple[float, int]], rate: int
) -> None:
    now, sent = NOW, []
    sessions = build_sessions(hasty_engine)
    with hasty_engine.connect() as connection:
        for wait, segments in texts:
            now += timedelta(seconds=wait)
            tx = Transaction(connection, sessions, now)
            place = rate_limiter.reserve(tx, NUMBER, segments, segments * SECOND / rate, now + timedelta(days=1))
            assert place is not None and place >= now
            sent.append((place, segments))
        connection.rollback()
    assert [place for place, _ in sent] == sorted(place for place, _ in sent)
    for begin, (since, _) in enumerate(sent):
        total = 0
        for until, segments in sent[begin:]:
            allowed = rate * ((until - since) + BURST).total_seconds()
            assert total <= allowed + 0.01
            total += segments


def test_threads_that_ask_at_once_get_each_their_own_place(sessions: Sessions) -> None:
    """Also for the very first one, when there is no row yet."""
    with ThreadPoolExecutor(8) as threads:
        places = list(threads.map(lambda _: reserve(sessions, SECOND), range(100)))
    assert sorted(place for place in places if place) == [NOW] * 11 + [NOW + n * SECOND for n in range(1, 90)]


# -- a queue that is full ------------------------------------------------------------------------------------------


def refuse(sessions: Sessions, tried_at: datetime) -> float:
    """Seconds that the sender pauses from then on."""
    with transaction(sessions, tried_at) as tx:
        return (rate_limiter.pause_sender(tx, NUMBER, tried_at) - tried_at).total_seconds()


def test_pauses_grow_while_the_queue_stays_full_and_are_forgotten(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    now, pauses = NOW, []
    for _ in range(8):
        pauses.append(refuse(sessions, now))
        now += timedelta(seconds=pauses[-1])
    assert pauses == [15, 30, 60, 120, 240, 300, 300, 300]
    assert refuse(sessions, now + LONGEST_PAUSE) == SHORTEST_PAUSE.total_seconds()
    told = f"the queue of {masked(NUMBER)} is full; it pauses until {NOW + SHORTEST_PAUSE}"
    assert caplog.messages[0] == told


def test_what_was_on_its_way_does_not_make_a_pause_longer(sessions: Sessions) -> None:
    assert [refuse(sessions, NOW) for _ in range(5)] == [15] * 5


def test_who_has_a_place_in_a_pause_goes_at_its_end_and_who_has_a_later_one_keeps_it(sessions: Sessions) -> None:
    places = [reserve(sessions, SECOND) for _ in range(30)]
    refuse(sessions, NOW)
    end = NOW + SHORTEST_PAUSE
    with transaction(sessions) as tx:
        kept = [rate_limiter.kept_slot(tx, NUMBER, place) for place in places if place]
    assert kept == [end] * 26 + [end + n * SECOND for n in (1, 2, 3, 4)]
    assert reserve(sessions, SECOND) == end + 5 * SECOND


def test_who_comes_in_a_pause_goes_at_its_end(sessions: Sessions) -> None:
    refuse(sessions, NOW)
    assert [reserve(sessions, SECOND) for _ in range(3)] == [NOW + SHORTEST_PAUSE] * 3


# -- in the stream of texts ----------------------------------------------------------------------------------------


def sent_at(scene: Scene, sender: str) -> list[float]:
    """When each text of a sender was taken, in seconds since the first."""
    moments = [a.carried.created_at for a in scene.carrier.accepted if a.text.sender == sender]
    return [(moment - moments[0]).total_seconds() for moment in moments if moment and moments[0]]


def test_a_slow_sender_sends_all_in_time_and_never_too_fast(scene: Scene) -> None:
    text_all(scene, 20)
    scene.work()
    assert len(scene.carrier.accepted) == AT_ONCE
    scene.work_until_idle(at_most=20)
    assert [scene.got(phone) for phone in phones(20)] == [["You said: hi"]] * 20
    assert sent_at(scene, TOLL_FREE) == [0.0] * AT_ONCE + [float(n) for n in range(1, 10)]


def test_waiting_for_a_place_is_no_attempt_and_no_fault(scene: Scene) -> None:
    text_all(scene, 15)
    scene.work_until_idle()
    assert {(row.status, row.attempts, row.error) for row in outgoing(scene)} == {(MessageStatus.SENT, 1, None)}


def test_a_slow_sender_holds_up_no_other(scene: Scene) -> None:
    text_all(scene, 15)
    text_all(scene, 10, NUMBER)
    scene.work()
    assert len(sent_at(scene, TOLL_FREE)) == AT_ONCE
    assert len(sent_at(scene, NUMBER)) == 10


def test_the_parts_of_an_answer_keep_their_order_while_they_wait(sessions: Sessions) -> None:
    scene = Scene(sessions, agent=FakeAgent(lambda said: [f"{said} {n}" for n in range(5)]), sender_rate="1")
    for phone in (ANN, BOB):
        scene.text("a", phone)
    scene.work(seconds=3)
    for phone in (ANN, BOB):
        scene.text("b", phone)
    scene.work_until_idle(at_most=60)
    for phone in (ANN, BOB):
        assert scene.got(phone) == [f"{said} {n}" for said in "ab" for n in range(5)]


def test_all_the_numbers_of_a_service_are_one_sender(scene: Scene) -> None:
    scene.carrier.service = "MG" + "0" * 32
    for number in (NUMBER, TOLL_FREE):
        text_all(scene, 8, number)
    scene.work()
    assert len(scene.carrier.accepted) == AT_ONCE
    with scene.sessions() as session:
        assert session.scalars(select(Sender.name)).all() == [scene.carrier.service]


def test_a_line_that_is_woken_before_its_place_waits_on(scene: Scene) -> None:
    scene.agent.answer = lambda said: ["one", "two"]
    text_all(scene, 7)
    scene.work()
    waiting = next(row for row in outgoing(scene) if row.status is MessageStatus.QUEUED and row.not_before)
    assert waiting.not_before and waiting.not_before > scene.clock()
    with scene.sessions.begin() as session:
        session.get_one(Conversation, waiting.conversation_id).delivery_due_at = scene.clock()
    before = len(scene.carrier.accepted)
    process_deliveries(scene.rt, waiting.conversation_id)
    assert len(scene.carrier.accepted) == before
    scene.work_until_idle()
    assert scene.got() == ["one", "two"]


def test_a_place_is_kept_for_the_next_try(scene: Scene) -> None:
    scene.text("hi", to=TOLL_FREE)
    scene.carrier.fail("send", RateLimited("slow down", provider="twilio", status=429, code=20429), times=3)
    scene.work_until_idle()
    with scene.sessions() as session:
        free_at = session.scalar(select(Sender.free_at))
    first = outgoing(scene)[0].created_at.timestamp()
    assert free_at == pytest.approx((first + 1) * 1e6, abs=2)


def test_what_can_not_be_sent_in_time_is_given_up_at_once_and_takes_nobodys_place(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="5s", sender_rate="1")
    text_all(scene, 25)
    scene.work()
    given_up = [row for row in outgoing(scene) if row.status is MessageStatus.GIVEN_UP]
    assert len(given_up) == 10
    assert {row.error for row in given_up} == {
        "it could not be sent within ANSWER_WITHIN: too much waits for its sender"
    }
    scene.work_until_idle()
    assert len(scene.carrier.accepted) == 15


def test_a_text_says_how_long_it_is_of_use(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="10m")
    scene.text("hi")
    scene.carrier.fail("send", RateLimited("slow down", provider="twilio", status=429, retry_after=90))
    scene.work(seconds=100)
    [accepted] = scene.carrier.accepted
    assert accepted.text.valid_for == timedelta(seconds=510)


def test_a_carrier_on_hold_gives_out_no_places(scene: Scene) -> None:
    scene.carrier.fail("send", AccountRefused("suspended", provider="twilio", status=401), times=1000)
    text_all(scene, 15)
    scene.work(seconds=30)
    tried = sum(call == "send" for call, _ in scene.carrier.calls)
    assert sum(row.not_before is not None for row in outgoing(scene)) <= tried < 10
    scene.carrier.recover()
    scene.work_until_idle(at_most=30)
    assert len(scene.carrier.accepted) == 15


def test_workers_at_once_send_no_more_than_one_may(scene: Scene) -> None:
    text_all(scene, 30)
    for conversation_id in range(1, 31):
        process_turns(scene.rt, conversation_id)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda conversation_id: process_deliveries(scene.rt, conversation_id), range(1, 31)))
    assert len(scene.carrier.accepted) == AT_ONCE
    places = sorted(row.not_before for row in outgoing(scene) if row.not_before)
    later = [(place - scene.clock()).total_seconds() for place in places[AT_ONCE:]]
    assert later == list(range(1, 20))


# -- a full queue in the stream of texts ---------------------------------------------------------------------------


def test_a_full_queue_costs_no_text_and_no_attempt(scene: Scene) -> None:
    text_all(scene, 5)
    scene.carrier.fail("send", FULL, times=3)
    scene.work_until_idle(at_most=120)
    assert [scene.got(phone) for phone in phones(5)] == [["You said: hi"]] * 5
    assert {(row.status, row.attempts, row.error) for row in outgoing(scene)} == {(MessageStatus.SENT, 1, None)}


def test_a_full_queue_stops_its_sender_and_no_other(scene: Scene) -> None:
    text_all(scene, 5)
    scene.carrier.fail("send", FULL)
    scene.wake()
    asked = len(scene.carrier.calls)
    scene.text("hi", BOB, to=NUMBER)
    scene.work(seconds=14)
    assert scene.got(BOB) == ["You said: hi"]
    assert len(scene.carrier.calls) == asked + 1
    scene.work(seconds=8)
    assert len(scene.carrier.accepted) == 6


def test_a_place_from_before_a_pause_does_not_count_in_it(scene: Scene) -> None:
    text_all(scene, 16)
    scene.work()
    scene.carrier.fail("send", FULL)
    scene.work(seconds=15)
    assert len(scene.carrier.accepted) == AT_ONCE
    scene.work_until_idle(at_most=60)
    assert len(scene.carrier.accepted) == 16


def test_a_queue_that_stays_full_is_asked_ever_more_rarely(scene: Scene) -> None:
    text_all(scene, 3)
    scene.carrier.fail("send", FULL, times=10_000)
    scene.work(seconds=900)
    assert sum(call == "send" for call, _ in scene.carrier.calls) <= 7
    scene.carrier.recover()
    scene.work_until_idle(at_most=310)
    assert len(scene.carrier.accepted) == 3


def test_a_text_that_meets_a_full_queue_to_the_end_is_given_up(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="2m", fallback_reply="")
    scene.text("hi")
    scene.carrier.fail("send", FULL, times=10_000)
    scene.work_until_idle(at_most=130)
    [row] = outgoing(scene)
    assert row.status is MessageStatus.GIVEN_UP
    assert row.settled_at == row.expires_at
    assert "queue full" in (row.error or "")


def test_a_late_report_settles_what_meets_a_full_queue(scene: Scene) -> None:
    scene.text("hi")
    scene.carrier.fail("send", FULL)
    scene.wake()
    [row] = outgoing(scene)
    receipts.report(scene.rt, StatusReport(row.reference, "SM" + "e" * 32, Delivery.SENT, ANN))
    scene.work_until_idle(at_most=5)
    assert [row.status for row in outgoing(scene)] == [MessageStatus.SENT]
    assert scene.got() == []


def test_too_many_calls_are_no_full_queue(scene: Scene) -> None:
    """20429 is about the API: the text tries again by itself, and its sender goes on."""
    text_all(scene, 2)
    scene.carrier.fail("send", RateLimited("slow down", provider="twilio", status=429, code=20429, retry_after=30))
    scene.work(seconds=3)
    assert len(scene.carrier.accepted) == 1
    scene.work_until_idle()
    assert sorted(row.attempts for row in outgoing(scene)) == [1, 2]


def test_a_refused_text_lets_the_next_one_go(scene: Scene) -> None:
    scene.agent.answer = lambda said: ["one", "two"]
    scene.text("hi")
    scene.carrier.fail("send", Refused("no mobile", provider="twilio", status=400, code=21614))
    scene.work_until_idle()
    assert scene.got() == ["two"]
