"""The dispatcher: it claims what is due, gives it to threads, and stops in order. Its agent may hang at a gate."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from sqlalchemy import Engine, event

from bridge.chats import ending
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Conversation
from bridge.processes import dispatcher as dispatching
from bridge.processes.dispatcher import LINGER, PAUSE, SHORT_LINGER, Dispatcher, pause_after
from bridge.providers.agents.contract import Item
from bridge.queues.conversation_queue import TURNS
from testkit.waiting import PATIENCE, until
from tests.databases import away, database
from tests.scene import ANN, BOB, Scene


class Gate:
    """The agent thinks until the gate is open."""

    def __init__(self, scene: Scene) -> None:
        self.came: list[str] = []
        self._open = threading.Event()
        self._complete = scene.agent.complete
        scene.agent.complete = self  # type: ignore[method-assign]

    def __call__(self, chat_id: str, content: str) -> tuple[Item, ...]:
        self.came.append(content)
        assert self._open.wait(PATIENCE)
        return self._complete(chat_id, content)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


Start = Callable[..., Dispatcher]


@pytest.fixture
def start(scene: Scene) -> Iterator[Start]:
    """Start a dispatcher in place of the fake notifier. It is closed at the end, whatever the test has found."""
    started: list[Dispatcher] = []

    def begin(turns: int = 4, linger: float = SHORT_LINGER) -> Dispatcher:
        dispatcher = Dispatcher(turns, linger=linger)
        started.append(dispatcher)
        scene.rt = scene.woken_by(dispatcher)
        dispatcher.start(scene.rt)
        return dispatcher

    yield begin
    for dispatcher in started:
        dispatcher.close()


@pytest.fixture
def gate(scene: Scene, start: Start) -> Iterator[Gate]:
    gate = Gate(scene)
    yield gate
    gate.open()


def test_a_text_is_on_its_way_until_its_answer_is_on_the_phone(scene: Scene, start: Start) -> None:
    dispatcher = start()
    for text in ("one", "two"):
        scene.text(text)
        scene.text(text, BOB)
    until(lambda: not scene.waiting(), "nothing is due")
    dispatcher.close()
    for phone in (ANN, BOB):
        assert "\n".join(scene.got(phone)).replace("You said: ", "") == "one\ntwo"


def test_what_waits_at_the_start_is_found(scene: Scene, start: Start) -> None:
    scene.text("one")
    scene.text("look", BOB, media=1)
    dispatcher = start()
    until(lambda: scene.got() and scene.got(BOB), "both are answered")
    dispatcher.close()


def test_no_more_turns_are_claimed_than_there_are_threads(scene: Scene, start: Start, gate: Gate) -> None:
    for n in range(5):
        scene.text("hello", f"+1555123{n:04}")
    dispatcher = start(turns=2)
    until(lambda: len(gate.came) == 2, "both threads are busy")
    leased = [row for row in scene.rows(Conversation) if row.turn_leased_by]
    assert len(leased) == 2
    gate.open()
    until(lambda: not scene.waiting(), "all are answered")
    assert len(gate.came) == 5
    dispatcher.close()


def test_texts_go_out_while_the_agent_keeps_every_thread_for_turns(scene: Scene, start: Start, gate: Gate) -> None:
    scene.text("hello")
    dispatcher = start(turns=1)
    until(lambda: gate.came, "the only thread for turns is busy")
    scene.text("look", BOB, media=1)
    until(lambda: scene.got(BOB), "the reply is sent")
    gate.open()
    dispatcher.close()


def test_a_text_that_comes_during_a_turn_is_answered_by_the_next(scene: Scene, start: Start, gate: Gate) -> None:
    scene.text("one")
    dispatcher = start()
    until(lambda: gate.came, "the first turn is under way")
    scene.text("two")
    gate.open()
    until(lambda: not scene.waiting(), "both are answered")
    dispatcher.close()
    assert scene.got() == ["You said: one", "You said: two"]


def test_a_delivery_that_is_locked_at_its_wake_up_is_sent_once_it_is_free(postgresql_url: str) -> None:
    engine = build_engine(postgresql_url)
    scene = Scene(build_sessions(engine))
    scene.text("", media=1)
    taken: list[float] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("WITH due AS") and "delivery_due_at" in statement:
            taken.append(time.monotonic())

    dispatcher = Dispatcher(4, linger=SHORT_LINGER)
    scene.rt = scene.woken_by(dispatcher)
    with scene.sessions() as other:
        other.get_one(Conversation, 1, with_for_update=True)
        event.listen(engine, "before_cursor_execute", note)
        dispatcher.start(scene.rt)
        until(lambda: len(taken) > 4, "it has tried")
        assert scene.got() == []
    until(lambda: scene.got(), "it is sent")
    dispatcher.close()
    engine.dispose()
    assert min(later - earlier for earlier, later in pairwise(taken[:5])) > 0.9 * PAUSE


def test_with_a_linger_a_text_is_found_without_a_wake_up(scene: Scene, start: Start) -> None:
    """A wake-up of another process is lost; this one is looking because it was woken a moment ago."""
    dispatcher = start(linger=10)
    replaced = replace(scene.rt, notifier=scene.notifier)
    scene.rt = replace(replaced, database=database(scene.sessions, scene.clock))
    scene.text("one")
    until(lambda: scene.got(), "it is answered")
    dispatcher.close()


def test_a_wake_up_of_another_process_ends_a_pause(scene: Scene, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "PAUSE", 10 * PATIENCE)
    dispatcher = start(linger=100 * PATIENCE)
    replaced = replace(scene.rt, notifier=scene.notifier)
    scene.rt = replace(replaced, database=database(scene.sessions, scene.clock))
    for n, phone in enumerate((ANN, BOB, ANN)):
        scene.text(f"text {n}", phone)
        dispatcher.fetch()
        until(lambda phone=phone, n=n: f"You said: text {n}" in scene.got(phone), "it is answered")
    dispatcher.close()


def test_a_text_that_comes_alone_pays_for_few_fetches() -> None:
    """With pauses of 10 and 20 ms it was 35 of them, which was more than half of what such a text cost."""
    passed, fetches = 0.0, 0
    while passed < LINGER:
        passed, fetches = passed + pause_after(passed), fetches + 1
    assert fetches <= 16


def test_while_texts_flow_the_pauses_stay_short() -> None:
    assert pause_after(0) == pause_after(4 * PAUSE) == PAUSE


def test_after_a_while_without_work_it_looks_no_more(scene: Scene, start: Start, engine: Engine) -> None:
    dispatcher = start(linger=LINGER)
    said: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    until(lambda: rests(said, engine, note), "it rests")
    dispatcher.close()


def rests(said: list[str], engine: Engine, note: object) -> bool:
    """For twice as long as it lingers, not one statement is made."""
    said.clear()
    event.listen(engine, "before_cursor_execute", note)
    time.sleep(2 * LINGER)
    event.remove(engine, "before_cursor_execute", note)
    return not said


def test_work_that_fails_is_logged_and_the_next_one_runs(
    scene: Scene, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    plain = scene.agent.answer

    def bug(said: str) -> list[str]:
        if said == "bug":
            raise RuntimeError("a bug")
        return plain(said)

    scene.agent.answer = bug
    dispatcher = start(turns=1)
    scene.text("bug")
    scene.text("hello", BOB)
    until(lambda: scene.got(BOB), "the other one is answered")
    dispatcher.close()
    failed = [record for record in caplog.records if record.name == "bridge.processes.dispatcher"]
    assert [(record.message, record.levelno) for record in failed] == [("process_turns failed", logging.ERROR)]


def test_a_database_that_is_away_is_asked_again(scene: Scene, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    scene.text("hello")
    dispatcher = Dispatcher(4, linger=SHORT_LINGER)
    base = away(scene.sessions, 1, 2, now=scene.clock, wake=dispatcher.wake)
    scene.rt = replace(scene.rt, notifier=dispatcher, database=base)
    dispatcher.start(scene.rt)
    until(lambda: scene.got(), "it is answered")
    dispatcher.close()
    assert "due work could not be claimed: OperationalError" in caplog.messages


def test_a_process_without_a_heartbeat_claims_nothing(scene: Scene, start: Start) -> None:
    scene.rt.heartbeat.stopped = True  # type: ignore[attr-defined]
    scene.text("hello")
    dispatcher = start()
    dispatcher.close()
    assert scene.agent.calls == []
    assert [row.turn_leased_by for row in scene.rows(Conversation)] == [None]


def test_at_the_end_what_is_under_way_is_finished_and_the_rest_is_left(scene: Scene, start: Start, gate: Gate) -> None:
    dispatcher = start(turns=1)
    scene.text("one")
    until(lambda: gate.came, "it is under way")
    closing = threading.Thread(target=dispatcher.close)
    closing.start()
    until(lambda: not dispatcher.reachable(), "it is being closed")
    scene.text("two", BOB)
    assert closing.is_alive()
    gate.open()
    closing.join()
    assert gate.came == ["one"]
    assert scene.got() == ["You said: one"]


def test_an_ending_that_waits_already_is_not_added_twice(scene: Scene, start: Start) -> None:
    scene.text("one")
    scene.work()
    ended = threading.Event()
    calls: list[str] = []
    scene.agent.end_chat = lambda chat_id: (calls.append(chat_id), ended.wait(10))  # type: ignore[method-assign, assignment]
    dispatcher = start()
    ending.end_one(scene.rt, 1)
    until(lambda: calls, "the ending is under way")
    ended.set()
    dispatcher.close()
    assert calls == ["chat_1"]


def test_one_that_was_not_started_wakes_nothing() -> None:
    dispatcher = Dispatcher(1)
    assert not dispatcher.reachable()
    dispatcher.wake(ending.TASK, 1)
    dispatcher.wake(TURNS.task, 1)
    assert dispatcher.backlog(ending.TASK) == 0
    dispatcher.close()


def test_a_hundred_people_at_once_are_answered_once_each(scene: Scene, start: Start) -> None:
    dispatcher = start(turns=20)
    threads = [threading.Thread(target=scene.text, args=("hello", f"+1555124{n:04}")) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: not scene.waiting(), "all are answered")
    dispatcher.close()
    assert sorted(answer.text.recipient for answer in scene.carrier.accepted) == [f"+1555124{n:04}" for n in range(100)]
