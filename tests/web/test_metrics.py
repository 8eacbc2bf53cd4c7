"""The metrics over HTTP: that the numbers are those of the tables, who may ask, and that asking costs little."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, event, insert, text
from werkzeug.test import TestResponse

from bridge.config import Settings
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import (
    AnswerTime,
    Chat,
    ChatStatus,
    CircuitBreaker,
    ContactUpdate,
    Conversation,
    Direction,
    Erasure,
    HandoffNotice,
    Message,
    MessageStatus,
    Sender,
    Turn,
    TurnStatus,
)
from bridge.lib import waits as calls
from bridge.maintenance import catch_up
from bridge.outbound import receipts
from bridge.outbound.delivery.process import process_deliveries
from bridge.processes.task_errors import noted
from bridge.providers.carriers.contract import Delivery, StatusReport
from bridge.providers.errors import (
    AccountRefused,
    NotReached,
    OutcomeUnknown,
    QueueFull,
    RateLimited,
    Refused,
    RemoteError,
)
from bridge.queues.answer_times import BOUNDS, MORE, AnswerTimes, Which
from bridge.queues.task_errors import A_FEW
from bridge.queues.timing import MAX_CLOCK_SKEW
from bridge.turns.process import process_turns
from bridge.web.app import build_web
from bridge.web.auth import ADMIN, PUBLIC, declared
from bridge.web.queries import failures
from bridge.web.queries.metrics import build_registry
from testkit.waiting import PATIENCE
from tests.databases import away
from tests.databases import database as database_on
from tests.fakes import SETTINGS
from tests.operators.holders import hand_back, take_over
from tests.scene import ANN, BOB, NUMBER, Scene
from tests.vendor import closed_port

ROOT = Path(__file__).parents[2]

TOKEN = "correct-horse"
KEY = {"Authorization": f"Bearer {TOKEN}"}

OURS = "+1555…11"
"""``NUMBER`` as it may be shown."""

SOON = 2.0
"""Seconds. Prometheus waits for ten; people and other requests do not."""

SLOW_MACHINE = 1.0

LONG = "word " * 80
"""Three segments."""

Values = dict[str, dict[str, float]]
"""Of each metric the values, by the label where it has one."""


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, metrics_open=True)


def ask(scene: Scene, **headers: str) -> TestResponse:
    return scene.web.test_client().get("/metrics", headers=headers)


def read(scene: Scene) -> Values:
    """What Prometheus understands."""
    answer = ask(scene)
    assert answer.status_code == 200
    values: Values = {}
    for family in text_string_to_metric_families(answer.text):
        values.setdefault(family.samples[0].name if family.samples else family.name, {})
        for sample in family.samples:
            assert len(sample.labels) <= 1
            values.setdefault(sample.name, {})[next(iter(sample.labels.values()), "")] = sample.value
    return values


def sent(scene: Scene) -> tuple[float, float]:
    """Texts and segments, of all senders."""
    values = read(scene)
    return sum(values.get("bridge_texts_total", {}).values()), sum(values.get("bridge_segments_total", {}).values())


def outgoing(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if row.reference]


def is_reported(scene: Scene, status: Delivery, code: int | None = None) -> None:
    """The carrier tells of the newest text."""
    row = outgoing(scene)[-1]
    assert row.carrier_id
    assert receipts.report(scene.rt, StatusReport(row.reference, row.carrier_id, status, ANN, code))


def refused(code: int) -> RemoteError:
    return Refused("no mobile", provider="twilio", status=400, code=code)


# -- what is shown -------------------------------------------------------------------------------------------------


def test_a_bridge_that_has_done_nothing_says_so(scene: Scene) -> None:
    assert read(scene) == {
        "bridge_texts": {},
        "bridge_segments": {},
        "bridge_waiting": {"turns": 0, "deliveries": 0},
        "bridge_oldest_waiting_seconds": {"": 0},
        "bridge_given_up": {"turn": 0, "message": 0, "contact": 0, "notice": 0},
        "bridge_not_erased": {"": 0},
        "bridge_not_delivered": {"": 0},
        "bridge_ignored": {"": 0},
        "bridge_unanswerable": {"": 0},
        "bridge_with_human": {"": 0},
        "bridge_waiting_for_team": {"": 0},
        "bridge_silent": {"": 0},
        "bridge_failing_tasks": {},
        "bridge_circuit_open": {},
        "bridge_paused": {"": 0},
        **nothing_of(Which.ANSWER, "bridge_answer_seconds"),
        **nothing_of(Which.ADDED, "bridge_added_seconds"),
    }


def nothing_of(which: Which, name: str) -> Values:
    buckets = {**{str(bound / 1000): 0.0 for bound in BOUNDS[which]}, "+Inf": 0.0}
    return {f"{name}_bucket": buckets, f"{name}_count": {"": 0}, f"{name}_sum": {"": 0}}


def test_it_is_the_text_that_prometheus_reads(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    answer = ask(scene)
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE bridge_segments_total counter\n" in answer.text
    assert f'bridge_segments_total{{sender="{OURS}"}} 1.0\n' in answer.text
    assert "# TYPE bridge_circuit_open gauge\n" in answer.text


def test_nothing_is_told_of_the_process_that_happens_to_answer(scene: Scene) -> None:
    names = [family.name for family in text_string_to_metric_families(ask(scene).text)]
    assert all(name.startswith("bridge_") for name in names)


def test_the_readme_tells_every_metric_and_no_other(sessions: Sessions) -> None:
    scene = Scene(sessions, metrics_open=True, twilio_numbers=NUMBER)
    scene.text("hello")
    scene.work()
    told = re.findall(r"^\| `(bridge_\w+)(?:\{(\w+)\})?` \|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    hold(scene, "twilio")
    fails(scene, "process_turns")
    assert sorted(told) == sorted(
        {
            (family.name, "") if family.type == "histogram" else (sample.name, next(iter(sample.labels), ""))
            for family in text_string_to_metric_families(ask(scene).text)
            for sample in family.samples
        }
    )


# -- what was sent -------------------------------------------------------------------------------------------------


def test_texts_and_their_segments_are_counted(scene: Scene) -> None:
    scene.agent.answer = lambda said: [LONG, "short"]
    scene.text("hello")
    scene.work_until_idle()
    values = read(scene)
    assert values["bridge_texts_total"] == {OURS: 2}
    assert values["bridge_segments_total"] == {OURS: 4}


@pytest.mark.parametrize("channel", ["whatsapp:", "rcs:"])
def test_off_sms_a_message_counts_as_one(scene: Scene, channel: str) -> None:
    scene.agent.answer = lambda said: [LONG]
    scene.text("hello", channel + ANN, to=channel + NUMBER)
    scene.work_until_idle()
    values = read(scene)
    assert values["bridge_texts_total"] == values["bridge_segments_total"] == {channel + OURS: 1}


def test_senders_that_look_the_same_are_added_up(scene: Scene) -> None:
    for number in (NUMBER, "+15559992211", "+447700900111", "12345", "MG" + "0" * 32):
        scene.text("hello", to=number)
    scene.work_until_idle()
    assert read(scene)["bridge_texts_total"] == {OURS: 2, "+4477…11": 1, "…45": 1, "…00": 1}


def test_all_the_numbers_of_a_service_are_one_sender(scene: Scene) -> None:
    scene.carrier.service = "MG" + "0" * 31 + "7"
    for number in (NUMBER, "+18005550000"):
        scene.text("hello", to=number)
    scene.work_until_idle()
    assert read(scene)["bridge_texts_total"] == {"…07": 2}


UNKNOWN = OutcomeUnknown("timeout", provider="twilio")

FAULTS: list[tuple[RemoteError, bool]] = [
    (RateLimited("slow down", provider="twilio", status=429, code=20429), False),
    (QueueFull("queue full", provider="twilio", status=400, code=21611), False),
    (AccountRefused("suspended", provider="twilio", status=401), False),
    (NotReached("no such host", provider="twilio"), False),
    (UNKNOWN, False),
    (UNKNOWN, True),
]


@pytest.mark.parametrize(("fault", "taken"), FAULTS)
def test_a_text_counts_once_however_often_it_is_tried(scene: Scene, fault: RemoteError, taken: bool) -> None:
    scene.agent.answer = lambda said: [LONG]
    scene.text("hello")
    scene.carrier.fail("send", fault, taken=taken, times=1 if taken else 3)
    scene.work_until_idle()
    assert len(scene.got()) == 1
    assert sent(scene) == (1, 3)


def test_a_text_whose_worker_dies_in_the_middle_counts_once(scene: Scene) -> None:
    scene.text("hello")
    process_turns(scene.alone, 1)

    def die() -> None:
        raise KeyboardInterrupt

    scene.carrier.in_next_call(die)
    with pytest.raises(KeyboardInterrupt):
        process_deliveries(scene.rt, 1)
    scene.restart()
    scene.work_until_idle()
    assert len(scene.got()) == 1
    assert sent(scene) == (1, 1)


def test_what_comes_while_the_carrier_is_on_hold_counts_when_it_is_over(scene: Scene) -> None:
    scene.carrier.fail("send", AccountRefused("suspended", provider="twilio", status=401), times=1000)
    scene.text("hello")
    scene.wake()
    for n in range(5):
        scene.text("hello", f"+1555123{n:04}")
    for n in range(6):
        process_turns(scene.alone, n + 1)
        process_deliveries(scene.rt, n + 1)
    assert sent(scene) == (1, 1)
    scene.carrier.recover()
    scene.work_until_idle()
    assert sent(scene) == (len(scene.carrier.accepted), 6) == (6, 6)


def test_what_waits_for_its_place_counts_already_and_what_gets_none_does_not(sessions: Sessions) -> None:
    scene = Scene(sessions, metrics_open=True, answer_within="5s", sender_rate="1")
    for n in range(25):
        scene.text("hello", f"+1555123{n:04}")
    scene.work()
    assert len(scene.carrier.accepted) == 11
    assert sent(scene) == (15, 15)
    scene.work_until_idle()
    assert sent(scene) == (len(scene.carrier.accepted), 15) == (15, 15)


def test_a_text_that_goes_again_is_another_one(scene: Scene) -> None:
    scene.agent.answer = lambda said: [LONG]
    scene.text("hello")
    scene.work()
    is_reported(scene, Delivery.UNDELIVERED, 30003)
    scene.work(seconds=600)
    scene.tick(600)
    assert len(scene.got()) == 2
    assert sent(scene) == (2, 6)


def test_the_counters_only_grow(scene: Scene) -> None:
    """Through every fault, looked at after each step."""
    seen = []
    for n, (fault, taken) in enumerate(FAULTS):
        scene.text(f"text {n}", (ANN, BOB)[n % 2])
        scene.carrier.fail("send", fault, taken=taken)
        for _ in range(10):
            scene.tick(n)
            seen.append(sent(scene))
    scene.work_until_idle()
    seen.append(sent(scene))
    assert seen == sorted(seen)
    assert seen == sorted(seen, key=lambda each: each[1])
    assert seen[-1] == (len(outgoing(scene)), len(outgoing(scene)))


def test_what_a_sender_sent_is_counted_by_all_at_once(scene: Scene) -> None:
    for n in range(30):
        scene.text("hello", f"+1555123{n:04}")
        process_turns(scene.alone, n + 1)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: process_deliveries(scene.rt, n + 1), range(30)))
    assert sent(scene) == (30, 30)


# -- what waits ----------------------------------------------------------------------------------------------------


def waits(scene: Scene) -> tuple[float, float, float]:
    values = read(scene)
    of = values["bridge_waiting"]
    return of["turns"], of["deliveries"], values["bridge_oldest_waiting_seconds"][""]


def test_lines_that_nobody_takes_are_counted_and_the_oldest_tells_its_age(scene: Scene) -> None:
    scene.text("hello")
    scene.clock.tick(30)
    scene.text("hello", BOB)
    scene.text("and this", BOB)
    scene.clock.tick(12.5)
    assert waits(scene) == (2, 0, 42.5 + MAX_CLOCK_SKEW.total_seconds())
    process_turns(scene.alone, 1)
    scene.clock.tick(1)
    assert waits(scene) == (1, 1, 13.5 + MAX_CLOCK_SKEW.total_seconds())
    scene.work_until_idle()
    assert waits(scene) == (0, 0, 0)


def test_what_is_in_hands_does_not_wait(scene: Scene) -> None:
    seen = []
    scene.agent.in_next_call(lambda: seen.append(waits(scene)))
    scene.text("hello")
    scene.wake()
    assert seen == [(0, 0, 0)]


def test_a_line_whose_vendor_is_on_hold_waits(scene: Scene) -> None:
    scene.agent.fail("create_chat", AccountRefused("no such key", provider="retell", status=401), times=1000)
    scene.text("hello")
    scene.work(seconds=60)
    turns_due, _, oldest = waits(scene)
    assert turns_due == 1
    assert oldest > 0


# -- what failed, who is on hold -----------------------------------------------------------------------------------


def failed(scene: Scene) -> tuple[float, float, float]:
    values = read(scene)
    return values["bridge_given_up"]["turn"], values["bridge_given_up"]["message"], values["bridge_not_delivered"][""]


def listed(scene: Scene) -> tuple[int, int, int]:
    """The same as ``/admin/failures`` tells it."""
    found = failures.list_failures(scene.rt, limit=1000).failures
    return (
        sum(failure.kind is failures.Kind.TURN for failure in found),
        sum(failure.kind is failures.Kind.MESSAGE and failure.delivery is None for failure in found),
        sum(failure.delivery is not None for failure in found),
    )


def test_conversations_that_a_human_has_and_silent_ones_are_counted(scene: Scene) -> None:
    scene.agent.hands_over_on = {"a human": ""}
    scene.text("a human")
    scene.agent.answer = lambda said: []
    for n in range(3):
        scene.text(f"hello {n}", BOB)
        scene.wake()
    assert (read(scene)["bridge_with_human"], read(scene)["bridge_silent"]) == ({"": 1}, {"": 1})
    scene.agent.hand_back("chat_1")
    scene.agent.answer = lambda said: ["a word"]
    for phone in (ANN, BOB):
        scene.text("hello", phone)
    scene.work_until_idle()
    assert (read(scene)["bridge_with_human"], read(scene)["bridge_silent"]) == ({"": 0}, {"": 0})


def test_what_failed_is_counted_as_it_is_listed(scene: Scene) -> None:
    scene.agent.fail("complete", Refused("no", provider="retell", status=400))
    scene.text("one")  # its turn is given up, and the fallback reply is sent
    scene.work_until_idle()
    assert failed(scene) == listed(scene) == (1, 0, 0)
    scene.carrier.fail("send", refused(21614), times=2)
    for _ in range(2):
        scene.text("two")
        scene.work_until_idle()
    assert failed(scene) == listed(scene) == (1, 2, 0)
    scene.text("three")
    scene.work_until_idle()
    is_reported(scene, Delivery.UNDELIVERED, 30005)
    assert failed(scene) == listed(scene) == (1, 2, 1)


def test_a_contact_that_cannot_be_changed_is_counted_as_it_is_listed(sessions: Sessions) -> None:
    scene = Scene(sessions, retell_contacts="write", metrics_open=True)
    scene.agent.fail("set_do_not_call", AccountRefused("no key", provider="retell", status=401), times=1000)
    scene.text("STOP")
    scene.work(seconds=60)
    assert read(scene)["bridge_given_up"]["contact"] == 0
    scene.work(seconds=3600)
    found = failures.list_failures(scene.rt).failures
    assert read(scene)["bridge_given_up"]["contact"] == len(found) == 1


def test_a_text_that_went_again_failed_only_if_the_last_one_did(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    is_reported(scene, Delivery.UNDELIVERED, 30003)
    assert failed(scene) == listed(scene) == (0, 0, 1)
    scene.tick(600)
    assert len(scene.got()) == 2
    assert failed(scene) == listed(scene) == (0, 0, 0)
    is_reported(scene, Delivery.FAILED, 30005)
    assert failed(scene) == listed(scene) == (0, 0, 1)


def hold(scene: Scene, scope: str) -> None:
    now = scene.clock()
    with scene.sessions.begin() as session:
        session.add(
            CircuitBreaker(scope=scope, cause="(401): no such key", since=now, probe_at=now + timedelta(hours=1))
        )


def fails(scene: Scene, task: str) -> None:
    for _ in range(A_FEW):
        with suppress(ValueError), noted(scene.rt, task, 1):
            raise ValueError


@pytest.mark.parametrize("scope", ["twilio", "retell agent_x", 'retell "\\\nagent'])
def test_whoever_is_on_hold_is_named(scene: Scene, scope: str) -> None:
    hold(scene, "retell")
    hold(scene, scope)
    assert read(scene)["bridge_circuit_open"] == {"retell": 1, scope: 1}
    assert "no such key" not in ask(scene).text


def test_senders_on_hold_whose_masked_names_are_the_same_are_one(scene: Scene) -> None:
    for sender in ("+15550001111", "+15550002211", "whatsapp:+15550001111"):
        hold(scene, f"twilio {sender}")
    assert read(scene)["bridge_circuit_open"] == {"twilio +1555…11": 1, "twilio whatsapp:+1555…11": 1}


def test_a_hold_that_is_over_is_gone(scene: Scene) -> None:
    scene.carrier.fail("send", AccountRefused("suspended", provider="twilio", status=401))
    scene.text("hello")
    scene.wake()
    assert read(scene)["bridge_circuit_open"] == {"twilio": 1}
    scene.work_until_idle()
    assert read(scene)["bridge_circuit_open"] == {}


def test_no_number_and_no_word_of_anybody_is_told(scene: Scene) -> None:
    scene.agent.answer = lambda said: ["tangerine"]
    addresses = [NUMBER, "whatsapp:+15550002222", "rcs:brand_agent", "+447700900123", "62345", "MG" + "0123" * 8]
    for number in addresses:
        scene.text("mandarin", number.partition(":")[0] + ":" + ANN if ":" in number else ANN, to=number)
    scene.carrier.fail("send", refused(21614))
    scene.work_until_idle()
    told = ask(scene).text
    assert len(read(scene)["bridge_texts_total"]) == len(addresses)
    for secret in (ANN, *addresses, "tangerine", "mandarin"):
        assert secret.rpartition(":")[2].lstrip("+") not in told
    assert not re.search(r"\+\d{5}|\d{7}", told)


# -- how fast people are answered ----------------------------------------------------------------------------------


def times(scene: Scene, name: str = "bridge_answer_seconds") -> tuple[dict[str, float], float, float]:
    """The buckets that have something, with all below them; the number of answers; and the sum."""
    scene.rt.times.flush(scene.rt.database)
    values = read(scene)
    buckets = {bound: number for bound, number in values[f"{name}_bucket"].items() if number}
    return buckets, values[f"{name}_count"][""], values[f"{name}_sum"][""]


def takes(scene: Scene, seconds: float) -> None:
    """The next call of the agent takes so long."""

    def wait() -> None:
        scene.clock.tick(seconds)
        calls.add(seconds)

    scene.agent.in_next_call(wait)


def test_an_answer_counts_from_the_text_to_its_acceptance(scene: Scene) -> None:
    scene.text("hello")
    scene.clock.tick(2)
    takes(scene, 600)
    scene.work()
    assert times(scene) == ({"3600.0": 1, "+Inf": 1}, 1, 602)
    assert times(scene, "bridge_added_seconds") == ({"2.0": 1, "5.0": 1, "10.0": 1, "+Inf": 1}, 1, 2)


def test_an_answer_of_several_texts_counts_once(scene: Scene) -> None:
    scene.agent.answer = lambda said: ["one", "two", "three"]
    scene.text("hello")
    scene.work_until_idle()
    assert len(scene.got()) == 3
    assert times(scene)[1] == 1


def test_texts_that_are_answered_together_count_from_the_first_one(scene: Scene) -> None:
    scene.text("hello")
    scene.clock.tick(7)
    scene.text("are you there?")
    scene.work()
    assert times(scene)[1:] == (1, 7)


def test_what_was_tried_again_counts_and_adds_nothing_to_the_bridge_s_own_part(scene: Scene) -> None:
    scene.text("hello")
    scene.carrier.fail("send", RateLimited("slow down", provider="twilio", status=429, code=20429))
    scene.work_until_idle()
    assert times(scene)[1] == 1
    assert times(scene, "bridge_added_seconds")[1] == 0
    scene.agent.fail("complete", NotReached("no such host", provider="retell"))
    scene.text("hello", BOB)
    scene.work_until_idle()
    assert times(scene)[1] == 2
    assert times(scene, "bridge_added_seconds")[1] == 0


def debounced(scene: Scene) -> None:
    scene.text("hello")
    scene.work(seconds=40)


def behind_another_turn(scene: Scene) -> None:
    def meanwhile() -> None:
        scene.clock.tick(30)
        calls.add(30)
        scene.text("are you there?")

    scene.text("hello")
    scene.agent.in_next_call(meanwhile)
    scene.work_until_idle()


def held(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    take_over(scene)
    scene.text("are you there?")
    scene.work(seconds=30)
    hand_back(scene, answer=True)
    scene.work_until_idle()


def over_a_limit(scene: Scene) -> None:
    for _ in range(3):
        scene.text("hello")
        scene.work()
    scene.work_until_idle()


WAITS = [
    (debounced, {"reply_debounce": "30s"}),
    (behind_another_turn, {}),
    (held, {}),
    (over_a_limit, {"turns_per_minute": 1, "turns_per_hour": ""}),
]


@pytest.mark.parametrize(("waits", "settings"), WAITS, ids=lambda given: getattr(given, "__name__", ""))
def test_the_time_before_a_text_is_due_is_no_part_of_the_bridge(
    sessions: Sessions, waits: Callable[[Scene], None], settings: dict[str, Any]
) -> None:
    scene = Scene(sessions, metrics_open=True, **settings)
    waits(scene)
    assert times(scene)[2] >= 30
    _, count, total = times(scene, "bridge_added_seconds")
    assert count >= 1
    assert total <= 2  # a sweep in the scene finds what is due within a second


def test_texts_of_the_bridge_and_of_people_are_no_answers(scene: Scene) -> None:
    scene.text("", media=1)
    scene.text("STOP", BOB)
    scene.work_until_idle()
    assert len(scene.got()) + len(scene.got(BOB)) >= 1
    assert times(scene)[1] == 0


def test_several_processes_count_together_and_a_new_one_goes_on(scene: Scene) -> None:
    for n in range(3):
        scene.rt = replace(scene.rt, times=AnswerTimes())
        scene.text("hello", f"+1555123{n:04}")
        scene.work()
        assert times(scene)[1] == n + 1


def test_what_could_not_be_added_is_added_later(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    scene.rt.times.flush(away(scene.sessions, 1, now=scene.clock))
    assert read(scene)["bridge_answer_seconds_count"] == {"": 0}
    assert times(scene)[1] == 1


def test_counts_that_are_added_by_many_at_once_are_all_there(scene: Scene) -> None:
    counters = [AnswerTimes() for _ in range(8)]

    def count(counter: AnswerTimes) -> None:
        for n in range(20):
            counter.note(Which.ANSWER, n)
            counter.note(Which.ADDED, 0.001 * n)
            counter.flush(scene.rt.database)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, counters))
    assert times(scene)[1:] == (160, 8 * sum(range(20)))


def test_a_worker_s_last_counts_are_added_when_it_stops(scene: Scene) -> None:
    scene.rt.times.start(scene.rt.database)
    scene.rt.times.note(Which.ANSWER, 1)
    scene.rt.times.stop(scene.rt.database)
    assert read(scene)["bridge_answer_seconds_count"] == {"": 1}


def test_a_process_that_answers_nobody_writes_nothing(scene: Scene, engine: Engine) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cur, statement, *_: statements.append(statement))
    scene.rt.times.flush(scene.rt.database)
    assert statements == []


def test_buckets_of_an_older_release_count_where_they_fit(scene: Scene) -> None:
    rows = {400: 1, 700: 2, 10**8: 4, MORE: 8}
    with scene.sessions.begin() as session:
        for up_to, texts in rows.items():
            session.add(AnswerTime(which="answer", up_to=up_to, texts=texts, milliseconds=texts * 1000))
    buckets, count, total = times(scene)
    assert (buckets["0.5"], buckets["1.0"], buckets["3600.0"], buckets["+Inf"]) == (1, 3, 3, 15)
    assert (count, total) == (15, 15)


def test_a_histogram_of_a_newer_release_is_left_out(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        session.add(AnswerTime(which="asked", up_to=500, texts=1, milliseconds=300))
    assert times(scene)[1] == 0
    assert not [name for name in read(scene) if "asked" in name]


def test_a_clock_ahead_does_not_make_an_answer_faster_than_0(scene: Scene) -> None:
    scene.rt.times.note(Which.ANSWER, -3)
    assert times(scene)[1:] == (1, 0)


def test_the_trace_of_the_clock_is_shown_where_there_is_one(sessions: Sessions) -> None:
    scene = Scene(sessions, metrics_open=True, twilio_numbers=NUMBER)
    assert read(scene)["bridge_catch_up_seconds"][""] > 10**6
    catch_up.catch_up(scene.rt)
    assert read(scene)["bridge_catch_up_seconds"][""] < 60
    scene.clock.tick(600)
    assert read(scene)["bridge_catch_up_seconds"][""] > 600


# -- who may ask ---------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(sessions: Sessions) -> Scene:
    return Scene(sessions, admin_token=TOKEN)


def may_ask(scene: Scene) -> str | None:
    return declared(scene.web.view_functions["metrics.show"])


def test_the_operator_gets_in(guarded: Scene) -> None:
    assert may_ask(guarded) == ADMIN
    answer = ask(guarded, **KEY)
    assert answer.status_code == 200
    assert "bridge_waiting" in answer.text


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
def test_without_the_token_nobody_gets_in(guarded: Scene, header: dict[str, str]) -> None:
    answer = ask(guarded, **header)
    assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "bridge_" not in answer.text


def test_without_a_token_in_the_settings_the_door_stays_shut(sessions: Sessions) -> None:
    answer = ask(Scene(sessions), **KEY)
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert "ADMIN_TOKEN" in answer.get_json(force=True)["detail"]


@pytest.mark.parametrize("token", [None, TOKEN])
def test_where_it_is_open_nobody_is_asked(sessions: Sessions, token: str | None) -> None:
    scene = Scene(sessions, metrics_open=True, admin_token=token)
    assert may_ask(scene) == PUBLIC
    assert ask(scene).status_code == 200
    assert scene.web.test_client().get("/admin/chats").status_code == (401 if token else 503)


@pytest.mark.parametrize(("written", "opened"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_the_setting_is_read_as_it_is_written(written: str, opened: bool) -> None:
    environ = {name.upper(): value for name, value in SETTINGS.items()}
    assert Settings.load(environ={**environ, "METRICS_OPEN": written}).metrics_open is opened


def test_it_can_only_be_read(scene: Scene) -> None:
    assert scene.web.test_client().post("/metrics").status_code == 405


# -- while the database is away ------------------------------------------------------------------------------------


def closed_database() -> str:
    return f"postgresql+psycopg://somebody:password@127.0.0.1:{closed_port()}/name"


@pytest.mark.parametrize("database", ["closed", "silent_database", "locked_database"])
def test_without_the_database_it_says_so_soon(scene: Scene, request: pytest.FixtureRequest, database: str) -> None:
    url = closed_database() if database == "closed" else request.getfixturevalue(database)
    web = build_web(replace(scene.rt, database=database_on(build_sessions(build_engine(url)))))

    def answered(_: int) -> tuple[int, str | None, str, float]:
        began = time.monotonic()
        answer = web.test_client().get("/metrics")
        problem = answer.get_json(force=True)
        return answer.status_code, answer.mimetype, problem["detail"], time.monotonic() - began

    with ThreadPoolExecutor(10) as askers:
        answers = list(askers.map(answered, range(10)))
    [told] = {answer[:3] for answer in answers}
    assert told == (503, "application/problem+json", "The database does not answer. Try again soon.")
    assert max(seconds for *_, seconds in answers) < SOON + SLOW_MACHINE


def test_when_it_is_back_all_is_told_again(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    database = away(scene.sessions, 1, 2, now=scene.clock)
    web = build_web(replace(scene.rt, database=database)).test_client()
    assert [web.get("/metrics").status_code for _ in range(3)] == [503, 503, 200]


# -- what it costs -------------------------------------------------------------------------------------------------


def test_who_asks_often_takes_no_connection_from_the_webhooks(scene: Scene, engine: Engine) -> None:
    in_use = []
    event.listen(engine, "checkout", lambda *_: in_use.append(engine.pool.checkedout()))  # type: ignore[attr-defined]
    web = scene.web
    with ThreadPoolExecutor(10) as askers:
        answers = list(askers.map(lambda _: web.test_client().get("/metrics").status_code, range(50)))
    assert set(answers) == {200}
    assert max(in_use) == 1


def test_every_process_says_the_same(scene: Scene) -> None:
    first, second = (build_web(scene.rt, PATIENCE).test_client() for _ in range(2))
    scene.text("hello")
    scene.work_until_idle()
    assert first.get("/metrics").data == second.get("/metrics").data


def test_to_ask_changes_nothing_and_is_asked_of_the_tables_only_then(scene: Scene, engine: Engine) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cur, statement, *_: statements.append(statement))
    registry: CollectorRegistry = build_registry(scene.rt)
    assert statements == []
    list(registry.collect())
    assert {statement.split()[0] for statement in statements} <= {"SELECT", "BEGIN"}


EXPLAIN = {"postgresql": "EXPLAIN ", "sqlite": "EXPLAIN QUERY PLAN "}

WHOLE = re.compile(r"Seq Scan on (\w+)|SCAN (\w+)\b(?! USING)")
"""How the two databases say that they read a whole table."""


def test_no_query_reads_the_history(scene: Scene, engine: Engine) -> None:
    long_history(scene)
    plans = explained(engine, lambda: list(build_registry(scene.rt).collect()))
    whole = {name for plan in plans for found in WHOLE.findall(plan) for name in found if name}
    assert len(plans) == 20
    assert whole <= {"senders", "circuit_breakers", "task_errors", "answer_times"}  # of a few rows each


def test_a_new_text_takes_its_place_by_one_update_as_before(scene: Scene, engine: Engine) -> None:
    scene.text("hello")
    scene.work_until_idle()
    scene.text("hello", BOB)
    process_turns(scene.alone, 2)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cur, statement, *_: statements.append(statement))
    process_deliveries(scene.rt, 2)
    assert [statement.split()[0] for statement in statements if "senders" in statement] == ["UPDATE"]


def long_history(scene: Scene, length: int = 3000) -> None:
    """All of it is done, but for a few rows."""
    now = scene.clock()
    done = {"created_at": now, "settled_at": now}
    ids = range(1, length + 1)
    people = [{"phone": f"+1{n:010}", "bridge_number": NUMBER, "created_at": now, "turn_due_at": None} for n in ids]
    asked = [{"conversation_id": n, "status": TurnStatus.ANSWERED, "expires_at": now, **done} for n in ids]
    out = {"direction": Direction.OUT, "status": MessageStatus.SENT, "body": "x" * 100, "delivery": Delivery.DELIVERED}
    texts = [{"conversation_id": n, **out, **done} for n in ids for _ in range(3)]
    began = {"provider": "retell", "started_at": now, "last_activity_at": now}
    chats = [{"conversation_id": n, "provider_chat_id": str(n), "status": ChatStatus.ONGOING, **began} for n in ids]
    wishes = [
        {"conversation_id": n, "provider": "retell", "phone": f"+1{n:010}", "do_not_call": True, "wished_at": now}
        for n in ids
    ]
    notices = [{"conversation_id": n, "reason": "", "since": now, "told_at": now} for n in ids]
    notices[7]["given_up_at"] = now
    erased = [
        {"provider": "retell", "kind": "chat", "remote_id": str(n), "created_at": now, "due_at": now} for n in ids
    ]
    people[7]["turn_due_at"] = now
    asked[7]["status"] = TurnStatus.GIVEN_UP
    texts[7]["delivery"] = Delivery.FAILED
    texts[8]["status"] = MessageStatus.GIVEN_UP
    with scene.sessions.begin() as session:
        session.add(Sender(name=NUMBER, free_at=0))
        tables = (Conversation, Chat, Turn, Message, ContactUpdate, HandoffNotice, Erasure)
        for table, rows in zip(tables, (people, chats, asked, texts, wishes, notices, erased), strict=True):
            session.execute(insert(table), rows)
    with scene.sessions.begin() as session:
        session.execute(text("ANALYZE"))


def explained(engine: Engine, work: Callable[[], object]) -> list[str]:
    """How the database goes about every query of ``work``."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    work()
    event.remove(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        plans = [connection.exec_driver_sql(EXPLAIN[engine.dialect.name] + each, values) for each, values in asked]
        return ["\n".join(str(row[-1]) for row in plan) for plan in plans]
