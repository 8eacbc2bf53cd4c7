"""Unexpected errors: a bug or a bad row is reported, its work pauses, and other work does not wait."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError

from bridge.chats import ending
from bridge.db.engine import Sessions
from bridge.db.models import Conversation, TaskError
from bridge.processes import tasks
from bridge.processes.dispatcher import Work
from bridge.providers.agents.contract import Item
from bridge.queues import task_errors
from bridge.queues.task_errors import A_FEW, STANDS_FOR
from bridge.web.health import task_faults
from bridge.web.queries import failures
from bridge.web.queries.metrics import build_registry
from tests.fakes import FakeAgent
from tests.scene import ANN, BOB, Scene

SECRET = "my secret words"

LONG = 150
"""Seconds. After each request, the chat is checked for half a minute before the agent is asked again."""


class Buggy(FakeAgent):
    """There is a bug in its adapter that one person's words bring to light."""

    bug: Exception | None = ValueError(f"what is {SECRET} of +15551230001?")

    def complete(self, chat_id: str, content: str) -> tuple[Item, ...]:
        if self.bug and SECRET in content:
            raise self.bug
        return super().complete(chat_id, content)


def run_tasks(scene: Scene) -> None:
    """Run the work of all wake-ups as a process does: an error ends its work and nothing else."""

    def run(work: Work) -> None:
        with suppress(Exception):
            tasks.work_on(scene.rt, work.task, work.row, work.run)

    scene.notifier.drain(scene.rt, run)


class Guarded(Scene):
    """Tasks run as in a real process."""

    def wake(self) -> None:
        run_tasks(self)


@pytest.fixture
def agent() -> Buggy:
    return Buggy()


@pytest.fixture
def scene(sessions: Sessions, agent: Buggy) -> Guarded:
    return Guarded(sessions, agent=agent, answer_within="24h")


def metric(scene: Scene) -> dict[str, float]:
    [family] = [family for family in build_registry(scene.rt).collect() if family.name == "bridge_failing_tasks"]
    return {sample.labels["task"]: sample.value for sample in family.samples}


def parts(scene: Scene) -> list[str]:
    with scene.sessions() as session:
        return [each.task for each in task_errors.failing(session, scene.clock())]


def test_after_a_few_in_a_row_it_is_reported_everywhere(scene: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    scene.text(SECRET)
    scene.work(seconds=LONG)
    [row] = scene.rows(TaskError)
    assert row.times > A_FEW
    [failure] = failures.list_failures(scene.rt).failures
    assert (failure.kind, failure.conversation_id, failure.phone, failure.at) == ("task", 1, ANN, row.last_at)
    assert failure.error
    assert failure.error.startswith("process_turns: ValueError at bridge/turns/")
    assert metric(scene) == {"process_turns": 1}
    [told] = [record for record in caplog.records if "in a row" in record.message and "3 times" in record.message]
    assert told.levelname == "ERROR"
    assert told.message.startswith("process_turns 1 has failed 3 times in a row: ValueError at bridge/")


def test_readyz_says_so(scene: Guarded) -> None:
    scene.text(SECRET)
    scene.work(seconds=LONG)
    [row] = scene.rows(TaskError)
    [fault] = faults(scene)
    assert fault["part"] == "process_turns"
    assert fault["what"].startswith(f"fails again and again in conversation 1 since {row.since}: ValueError at bridge/")


def faults(scene: Scene) -> list[dict[str, str]]:
    """The faults of tasks in ``/readyz``. A test's tables are not of a migration, which would be the first fault."""
    with scene.sessions() as session:
        return [fault.whole() for fault in task_faults(session, scene.clock())]


def test_no_person_s_words_are_shown(scene: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    scene.text(SECRET)
    scene.work(seconds=LONG)
    told = [str(failures.list_failures(scene.rt).failures[0].error), *(f["what"] for f in faults(scene))]
    told += [record.getMessage() for record in caplog.records]
    assert not [line for line in told if SECRET in line or "5551230001" in line]


@pytest.mark.parametrize("times", range(1, A_FEW))
def test_an_accident_is_no_alarm(scene: Guarded, agent: Buggy, times: int) -> None:
    scene.text(SECRET)
    while not scene.rows(TaskError) or scene.rows(TaskError)[0].times < times:
        scene.tick()
    agent.bug = None
    scene.work_until_idle()
    assert scene.got() == [f"You said: {SECRET}"]
    assert (parts(scene), metric(scene), failures.list_failures(scene.rt).failures) == ([], {}, [])


def test_others_are_served_meanwhile(scene: Guarded) -> None:
    scene.text(SECRET)
    for n in range(5):
        scene.text(f"{n}", BOB)
        scene.work(seconds=5)
    assert scene.got(BOB) == [f"You said: {n}" for n in range(5)]


def test_it_pauses_longer_and_longer(scene: Guarded) -> None:
    scene.text(SECRET)
    scene.work(seconds=600)
    [row] = scene.rows(TaskError)
    assert 20 <= row.times <= 35


def test_when_it_is_repaired_nothing_is_lost_and_the_alarm_ends(scene: Guarded, agent: Buggy) -> None:
    scene.text(SECRET)
    scene.work(seconds=LONG)
    agent.bug = None
    scene.work_until_idle()
    assert agent.received == [SECRET]
    assert scene.got() == [f"You said: {SECRET}"]
    scene.clock.tick(STANDS_FOR.total_seconds())
    assert (parts(scene), metric(scene), failures.list_failures(scene.rt).failures) == ([], {}, [])


def test_what_comes_back_later_is_counted_anew(scene: Guarded, agent: Buggy) -> None:
    scene.text(SECRET)
    scene.work(seconds=LONG)
    agent.bug = None
    scene.work_until_idle()
    scene.clock.tick(STANDS_FOR.total_seconds() + 60)
    agent.bug = KeyError("new")
    scene.text(SECRET)
    scene.wake()
    [row] = scene.rows(TaskError)
    assert (row.times, row.since) == (1, scene.clock())
    assert row.error.startswith("KeyError")


def test_a_turn_that_meets_a_bug_for_too_long_is_given_up_like_others(sessions: Sessions, agent: Buggy) -> None:
    scene = Guarded(sessions, agent=agent, answer_within="10m")
    scene.text(SECRET)
    scene.work(seconds=LONG)
    scene.text("next")
    scene.work_until_idle()
    assert scene.got() == [scene.rt.settings.fallback_reply, "You said: next"]


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_a_bad_row_is_seen_and_others_go_on(scene: Guarded, engine: Engine) -> None:
    scene.text("hello")
    scene.work()
    scene.text("again")
    run(engine, "UPDATE messages SET created_at = 'infinity' WHERE status = 'waiting'")
    scene.work(seconds=LONG)
    assert metric(scene) == {"process_turns": 1}
    [failure] = failures.list_failures(scene.rt).failures
    assert failure.error
    assert re.match("process_turns: (ValueError|DataError) at bridge/turns/claim.py:", failure.error)
    scene.text("hi", BOB)
    scene.work()
    assert scene.got(BOB) == ["You said: hi"]


def test_a_delivery_that_fails_is_seen_too(scene: Guarded) -> None:
    def bug(_: object) -> None:
        raise RuntimeError("what?")

    scene.carrier.send = bug  # type: ignore[method-assign, assignment]
    scene.text("hello")
    scene.work(seconds=LONG)
    assert metric(scene) == {"process_deliveries": 1}


def test_a_chat_that_can_not_be_ended_is_reported_with_its_conversation(scene: Guarded) -> None:
    def bug(_: object) -> None:
        raise RuntimeError("what?")

    scene.text("x", BOB)
    scene.text("hello")
    scene.work()
    scene.agent.end_chat = bug  # type: ignore[method-assign, assignment]
    scene.clock.tick(3600)
    ending.mark_ending(scene.rt, scene.clock() - timedelta(minutes=10), 10)
    scene.work(seconds=200)
    assert metric(scene) == {"end_chat": 2}
    assert {failure.phone for failure in failures.list_failures(scene.rt).failures} == {ANN, BOB}
    [fault] = faults(scene)
    assert "in conversation 1 and 1 more since" in fault["what"]


def test_a_job_of_the_clock_that_always_fails_is_seen(scene: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(rt: Any) -> None:
        raise RuntimeError("what?")

    every = timedelta(minutes=5)
    monkeypatch.setitem(tasks.SCHEDULE, "end_stale", (bug, every))
    for _ in range(A_FEW):
        with pytest.raises(RuntimeError):
            tasks.tick(scene.rt, "end_stale")
        scene.clock.tick(every.total_seconds())
    assert metric(scene) == {"end_stale": 1}
    [fault] = faults(scene)
    assert fault["what"].startswith("fails again and again since 2026")
    assert failures.list_failures(scene.rt).failures == []


def test_a_database_that_is_away_is_no_bug(scene: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(rt: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setitem(tasks.SCHEDULE, "sweep", (away, timedelta(seconds=2)))
    for _ in range(A_FEW):
        with pytest.raises(OperationalError):
            tasks.tick(scene.rt, "sweep")
    assert scene.rows(TaskError) == []


def test_an_error_that_can_not_be_recorded_is_raised_all_the_same(scene: Guarded, engine: Engine) -> None:
    scene.text(SECRET)
    run(engine, "ALTER TABLE task_errors RENAME TO step_errors_gone")
    try:
        with pytest.raises(ValueError, match="secret"):
            tasks.run_task(scene.rt, "process_turns", 1)
    finally:
        run(engine, "ALTER TABLE step_errors_gone RENAME TO task_errors")


def test_what_is_long_over_is_forgotten(scene: Guarded, agent: Buggy) -> None:
    scene.text(SECRET)
    scene.work(seconds=10)
    scene.clock.tick(timedelta(days=2).total_seconds())
    scene.text(SECRET, BOB)
    scene.wake()
    assert BOB in {row.phone for row in scene.rows(Conversation)}
    assert [row.conversation_id for row in scene.rows(TaskError)] == [2]


def test_a_task_that_succeeds_runs_no_further_statement(scene: Guarded, engine: Engine) -> None:
    scene.text("hello")
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cur, statement, *_: said.append(statement))
    scene.wake()
    tasks.tick(scene.rt, "sweep")
    assert scene.got() == ["You said: hello"]
    assert not [statement for statement in said if "task_errors" in statement]
