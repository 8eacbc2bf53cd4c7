"""What one phone may ask: turns an hour and a minute, characters, countries, and never our own numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge.config import DEFAULT_MEDIA_REPLY, DEFAULT_OPT_OUT_REPLY, DEFAULT_RATE_LIMIT_REPLY, DEFAULT_TOO_LONG_REPLY
from bridge.db.engine import Sessions
from bridge.db.models import Direction, Message, MessageStatus, Turn
from bridge.inbound.limits import NOT_SERVED, OUR_OWN, TOO_LONG, TOO_MANY
from bridge.providers.errors import AccountRefused
from bridge.web.queries import failures
from tests.scene import ANN, BOB, NUMBER, Scene

OTHER_NUMBER = "+15550002222"
CANADIAN = "+14165551234"
HOUR = 3600
PATIENT = {"answer_within": "24h"}

Limited = Callable[..., Scene]


@pytest.fixture
def limited(sessions: Sessions) -> Limited:
    """A bridge with the limits of the test and no others."""

    def build(**settings: Any) -> Scene:
        return Scene(sessions, **{"turns_per_hour": None, "turns_per_minute": None, **settings})

    return build


def talk(scene: Scene, times: int, phone: str = ANN, *, every: float = 1, to: str = NUMBER) -> None:
    """One text after the other, each with the time to be answered."""
    for n in range(times):
        scene.text(f"text {n}", phone, to=to)
        scene.work(seconds=every)


def hours_pass(scene: Scene, hours: float) -> None:
    """The sweeper looks by every ten minutes; that is enough here, and much quicker than every second."""
    for _ in range(round(hours * 6)):
        scene.tick(600)


def hours_pass_until_idle(scene: Scene) -> None:
    while scene.waiting():
        hours_pass(scene, 1 / 6)


def states(scene: Scene) -> list[MessageStatus]:
    return [row.status for row in scene.rows(Message) if row.direction is Direction.IN]


# -- turns an hour -------------------------------------------------------------------------------------------------


def test_who_has_had_all_turns_of_an_hour_waits_for_the_end_of_it_and_is_told_once(limited: Limited) -> None:
    scene = limited(turns_per_hour=3)
    talk(scene, 5, every=20)
    assert scene.agent.received == ["text 0", "text 1", "text 2"]
    assert scene.got()[3:] == [DEFAULT_RATE_LIMIT_REPLY]
    hours_pass(scene, 1)
    assert scene.agent.received[3:] == ["text 3\ntext 4"]
    assert scene.got().count(DEFAULT_RATE_LIMIT_REPLY) == 1


def test_nothing_of_a_flood_is_lost_and_it_is_answered_ten_at_a_time_at_the_pace_of_the_limit(
    limited: Limited,
) -> None:
    scene = limited(turns_per_hour=4, **PATIENT)
    for n in range(200):
        assert scene.text(f"text {n}")
    scene.work(seconds=60)
    assert len(scene.agent.received) == 4
    hours_pass_until_idle(scene)
    assert "\n".join(scene.agent.received).split("\n") == [f"text {n}" for n in range(200)]
    assert all(len(received.split("\n")) <= 10 for received in scene.agent.received)
    asked = [turn.asked_at for turn in scene.rows(Turn)]
    pairs = zip(asked, asked[4:], strict=False)
    assert all((later - earlier).total_seconds() >= HOUR for earlier, later in pairs)


def test_during_a_flood_that_lasts_for_hours_the_notice_comes_once_an_hour(limited: Limited) -> None:
    scene = limited(turns_per_hour=1, **PATIENT)
    for n in range(45):
        scene.text(f"text {n}")
    hours_pass_until_idle(scene)
    assert len(scene.agent.received) == 5
    assert 3 <= scene.got().count(DEFAULT_RATE_LIMIT_REPLY) <= 4


def test_what_can_not_be_answered_in_time_is_ignored_loudly(limited: Limited, caplog: pytest.LogCaptureFixture) -> None:
    scene = limited(turns_per_hour=1, answer_within="2h")
    for n in range(40):
        scene.text(f"text {n}")
    hours_pass_until_idle(scene)
    assert len(scene.agent.received) == 2
    assert states(scene) == [MessageStatus.ANSWERED] * 20 + [MessageStatus.IGNORED] * 20
    listed = failures.list_failures(scene.rt).failures
    assert [failure.error for failure in listed] == [TOO_MANY] * 20
    assert "20 texts in conversation 1 are ignored" in caplog.text
    assert not scene.waiting()


def test_nobody_is_told_of_each_text_that_is_ignored(limited: Limited) -> None:
    scene = limited(turns_per_hour=1, answer_within="2h", fallback_reply="no answer")
    for n in range(100):
        scene.text(f"text {n}")
    hours_pass_until_idle(scene)
    assert "no answer" not in scene.got()
    assert scene.got().count(DEFAULT_RATE_LIMIT_REPLY) <= 3


def test_one_phone_at_two_of_our_numbers_has_one_budget(limited: Limited) -> None:
    scene = limited(turns_per_hour=4)
    talk(scene, 3)
    talk(scene, 3, to=OTHER_NUMBER)
    assert len(scene.agent.received) == 4


def test_one_phone_takes_nothing_from_another(limited: Limited) -> None:
    scene = limited(turns_per_hour=2)
    talk(scene, 4)
    talk(scene, 2, BOB)
    assert len(scene.got(BOB)) == 2
    assert DEFAULT_RATE_LIMIT_REPLY not in scene.got(BOB)


def test_who_stays_below_the_limit_never_meets_it(limited: Limited) -> None:
    scene = limited(turns_per_hour=4)
    for _ in range(12):
        talk(scene, 1)
        hours_pass(scene, 1 / 3)
    assert len(scene.agent.received) == 12
    assert DEFAULT_RATE_LIMIT_REPLY not in scene.got()


def test_a_turn_that_the_agent_never_heard_costs_nothing(limited: Limited) -> None:
    scene = limited(turns_per_hour=1, answer_within="60s", fallback_reply="")
    scene.rt.heartbeat.stopped = True
    scene.text("nobody is there")
    scene.clock.tick(61)
    scene.restart()
    scene.work(seconds=60)
    assert [turn.asked_at for turn in scene.rows(Turn)] == [None]
    talk(scene, 1)
    assert scene.agent.received == ["text 0"]


def test_a_limit_that_is_lifted_lets_the_waiting_go_on_at_their_time(limited: Limited) -> None:
    scene = limited(turns_per_hour=1)
    talk(scene, 2)
    scene.set(turns_per_hour=None, turns_per_minute=None)
    hours_pass_until_idle(scene)
    assert scene.agent.received == ["text 0", "text 1"]


def test_a_stop_ends_what_waits(limited: Limited) -> None:
    scene = limited(turns_per_hour=1)
    talk(scene, 3)
    scene.text("STOP")
    scene.work_until_idle(at_most=60)
    assert scene.agent.received == ["text 0"]
    assert states(scene)[1:3] == [MessageStatus.CANCELED] * 2


def test_a_worker_that_dies_while_it_makes_somebody_wait_leaves_nothing_behind(limited: Limited) -> None:
    scene = limited(turns_per_hour=1)
    talk(scene, 2)
    scene.restart()
    hours_pass_until_idle(scene)
    assert scene.agent.received == ["text 0", "text 1"]
    assert scene.got().count(DEFAULT_RATE_LIMIT_REPLY) == 1


def test_without_a_notice_there_is_silence(limited: Limited) -> None:
    scene = limited(turns_per_hour=1, rate_limit_reply="")
    talk(scene, 2)
    assert len(scene.got()) == 1


def test_a_notice_that_could_not_be_said_does_not_count(limited: Limited) -> None:
    scene = limited(turns_per_hour=1)
    talk(scene, 1)
    scene.text("STOP")
    scene.text("", media=1)  # over the limit, while nothing may be said
    scene.work(seconds=1)
    scene.text("START")
    scene.text("hello?")
    scene.work(seconds=1)
    assert scene.got()[1:] == [DEFAULT_RATE_LIMIT_REPLY]


def test_the_last_stop_is_confirmed_where_the_confirmation_of_an_earlier_one_was_cancelled(limited: Limited) -> None:
    scene = limited(turns_per_hour=1, opt_out_answered_by="bridge")
    talk(scene, 1)
    scene.carrier.fail("send", AccountRefused("no", provider="twilio", status=401), times=3)
    for word in ("STOP", "START", "STOP"):
        scene.text(word)
        scene.notifier.wakeups.clear()
    scene.work(seconds=120)
    assert scene.got()[1:] == [DEFAULT_OPT_OUT_REPLY]


def test_who_was_told_that_a_text_is_too_long_is_given_an_excuse_for_the_others_all_the_same(limited: Limited) -> None:
    scene = limited(characters_per_text=100, answer_within="10m", fallback_reply="no answer")
    scene.text("help me")
    scene.text("x" * 101)
    scene.clock.tick(700)
    scene.restart()
    scene.work_until_idle()
    assert states(scene) == [MessageStatus.GIVEN_UP, MessageStatus.IGNORED]
    assert "no answer" in scene.got()


# -- a machine that answers ours ------------------------------------------------------------------------------------


def answer_back(scene: Scene, times: int, *, media: int = 0) -> int:
    """Text whenever something came, as a machine does; how often it did."""
    answered, seen = 0, 0
    for n in range(times):
        came = len(scene.got())
        if n and came == seen:
            break
        seen = came
        scene.text("" if media else "I am away from my desk.", media=media)
        answered += 1
        scene.work(seconds=2)
    return answered


def test_two_machines_do_not_go_on_answering_one_another(limited: Limited) -> None:
    scene = limited(turns_per_minute=10)
    assert answer_back(scene, 100) <= 10 + 2
    assert scene.got()[-1] == DEFAULT_RATE_LIMIT_REPLY
    hours_pass(scene, 5 / 6)
    assert len(scene.agent.received) == 10


def test_who_was_taken_for_a_machine_is_heard_again_after_an_hour(limited: Limited) -> None:
    scene = limited(turns_per_minute=10)
    talk(scene, 12, every=2)
    hours_pass(scene, 1)
    assert scene.agent.received[10:] == ["text 10\ntext 11"]


def test_a_machine_that_answers_with_pictures_is_left_alone_too(limited: Limited) -> None:
    scene = limited(turns_per_minute=10)
    assert answer_back(scene, 100, media=1) <= 10 + 2
    assert scene.got().count(DEFAULT_MEDIA_REPLY) == 10
    assert states(scene)[-1] is MessageStatus.IGNORED


@pytest.mark.parametrize("word", ["HELP", "START"])
def test_keywords_that_the_bridge_answers_count_too(limited: Limited, word: str) -> None:
    scene = limited(turns_per_minute=5, opt_out_answered_by="bridge", help_reply="help", opt_in_reply="in")
    for _ in range(20):
        scene.text("STOP")
        scene.text(word)
        scene.work(seconds=1)
    assert len(scene.got()) <= 5 + 1


def test_who_is_over_a_limit_can_still_opt_out(limited: Limited) -> None:
    scene = limited(turns_per_hour=1, opt_out_answered_by="bridge")
    talk(scene, 2)
    scene.text("STOP")
    scene.text("one more")
    scene.work(seconds=1)
    assert states(scene)[-1] is MessageStatus.OPTED_OUT
    assert scene.got()[-1] == DEFAULT_OPT_OUT_REPLY


def test_over_a_limit_opting_in_and_out_is_confirmed_once_an_hour(
    limited: Limited, caplog: pytest.LogCaptureFixture
) -> None:
    scene = limited(turns_per_hour=1, opt_out_answered_by="bridge")
    talk(scene, 1)
    for _ in range(3):
        for word in ("STOP", "START"):
            scene.text(word)
            scene.work(seconds=1)
    assert scene.got().count(DEFAULT_OPT_OUT_REPLY) == 1
    assert "the STOP of +1555…01 gets no answer" in caplog.text
    hours_pass(scene, 2)
    scene.text("STOP")
    scene.work(seconds=1)
    assert scene.got().count(DEFAULT_OPT_OUT_REPLY) == 2


# -- at the door ---------------------------------------------------------------------------------------------------


def test_too_long_a_text_is_ignored_and_the_person_is_told_once_an_hour(limited: Limited) -> None:
    scene = limited(characters_per_text=100)
    for _ in range(3):
        scene.text("x" * 101)
    scene.text("x" * 100)
    scene.work(seconds=1)
    assert scene.agent.received == ["x" * 100]
    assert scene.got().count(DEFAULT_TOO_LONG_REPLY) == 1
    assert states(scene)[:3] == [MessageStatus.IGNORED] * 3
    hours_pass(scene, 1)
    scene.text("x" * 101)
    scene.work(seconds=1)
    assert scene.got().count(DEFAULT_TOO_LONG_REPLY) == 2


@pytest.mark.parametrize("phone", [NUMBER, OTHER_NUMBER, f"whatsapp:{OTHER_NUMBER}", "+15550003333"])
def test_our_own_numbers_are_never_answered(limited: Limited, phone: str) -> None:
    route = '{"+15550003333": {"provider": "retell", "agent_id": "agent_x"}}'
    scene = limited(twilio_numbers=f"{NUMBER},{OTHER_NUMBER}", agent_routes=route)
    scene.text("hello", phone)
    scene.text("", phone, media=1)
    hours_pass(scene, 1)
    assert (scene.agent.received, scene.got(phone)) == ([], [])
    assert [row.error for row in scene.rows(Message)] == [OUR_OWN, OUR_OWN]


def test_a_number_that_no_setting_names_does_not_answer_itself(limited: Limited) -> None:
    scene = limited()
    scene.text("hello", NUMBER, to=NUMBER)
    scene.work(seconds=1)
    assert scene.got(NUMBER) == []


@pytest.mark.parametrize("phone", [CANADIAN, f"whatsapp:{CANADIAN}", "12345", "ACME"])
def test_who_is_not_from_a_served_country_is_never_answered(limited: Limited, phone: str) -> None:
    scene = limited(allowed_countries="US,GB", opt_out_answered_by="bridge")
    for body in ("hello", "HELP", "STOP"):
        scene.text(body, phone)
    scene.text("", phone, media=1)
    hours_pass(scene, 1)
    assert (scene.agent.received, scene.got(phone)) == ([], [])
    assert scene.rows(Message)[0].error == NOT_SERVED


def test_who_is_from_a_served_country_is_answered(limited: Limited) -> None:
    scene = limited(allowed_countries="us, ca")
    talk(scene, 1, CANADIAN)
    talk(scene, 1, ANN)
    assert (len(scene.got(CANADIAN)), len(scene.got(ANN))) == (1, 1)


@pytest.mark.parametrize(
    ("settings", "body", "phone", "why"),
    [
        ({"characters_per_text": 3}, "four", ANN, TOO_LONG),
        ({"allowed_countries": "US"}, "hello", CANADIAN, NOT_SERVED),
        ({"twilio_numbers": OTHER_NUMBER}, "hello", OTHER_NUMBER, OUR_OWN),
    ],
)
def test_what_is_ignored_stands_in_the_log_and_among_the_failures(
    limited: Limited, settings: dict[str, Any], body: str, phone: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = limited(**settings)
    scene.text(body, phone)
    (failure,) = failures.list_failures(scene.rt).failures
    assert (failure.error, failure.kind, failure.phone) == (why, "message", phone)
    with scene.sessions() as session:
        assert failures.count(session) == failures.Counts(turns=0, not_sent=0, not_delivered=0, ignored=1)
    assert why in caplog.text
    assert phone not in caplog.text


def test_an_ignored_text_that_comes_twice_is_stored_once(limited: Limited) -> None:
    scene = limited(characters_per_text=3)
    assert scene.text("four", sid="SM1")
    assert not scene.text("four", sid="SM1")
    scene.work(seconds=1)
    assert len(scene.got()) == 1
