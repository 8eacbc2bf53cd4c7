"""The sweeper wakes workers for forgotten work alone; chats are ended; heartbeats show stalled workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, delete, event, select

from bridge.chats import ending
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Chat, ChatStatus, Conversation, Worker
from bridge.maintenance import stale_chats, sweep
from bridge.processes import tasks
from bridge.processes.dispatcher import find
from bridge.providers.errors import AccountRefused, NotReached, RateLimited
from bridge.providers.http.deadline import BEGIN_WITHIN
from bridge.queues import circuit_breakers, conversation_queue
from bridge.queues.conversation_queue import TURNS, ConversationQueue
from bridge.queues.heartbeat import Heartbeat
from bridge.queues.timing import LIVE_FOR, MAX_CLOCK_SKEW, RENOTIFY_AFTER, STALLED_AFTER
from bridge.turns.process import process_turns
from bridge.web.queries import activity
from testkit.waiting import until
from tests.databases import database
from tests.scene import ANN, BOB, Scene


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


def swept(scene: Scene) -> list[tuple[str, int]]:
    scene.notifier.wakeups.clear()
    sweep.sweep(scene.rt)
    return scene.notifier.wakeups


def told(scene: Scene) -> None:
    """A worker was told of all that is due, and does nothing."""
    conversation_queue.take_over(scene.rt.database, conversation_queue.TURNS, 100)


def untold(scene: Scene) -> list[int]:
    with scene.sessions() as session:
        return list(conversation_queue.find_unnotified(session, conversation_queue.TURNS, 100, scene.clock()))


def test_work_of_which_no_worker_was_told_is_found_by_the_next_sweep(scene: Scene) -> None:
    scene.text("hello")
    assert swept(scene) == [("process_turns", 1)]


@pytest.mark.parametrize("told_of", [False, True], ids=["nothing due", "a text of which a worker was told"])
def test_where_nothing_is_forgotten_a_sweep_is_one_statement_and_asks_no_broker(scene: Scene, told_of: bool) -> None:
    if told_of:
        scene.text("hello")
        told(scene)
    statements: list[str] = []
    event.listen(scene.rt.database.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    assert swept(scene) == []
    assert [each.split()[0] for each in statements if not each.startswith("BEGIN")] == ["SELECT"]
    assert scene.notifier.backlogs_asked == []


def test_a_queue_of_which_a_worker_was_told_just_now_is_left_alone(scene: Scene) -> None:
    scene.text("hello")
    told(scene)
    assert swept(scene) == []


def test_a_lost_wake_up_is_repeated_after_a_while_and_once(scene: Scene) -> None:
    scene.text("hello")
    told(scene)
    scene.clock.tick(RENOTIFY_AFTER.total_seconds() + 1)
    assert swept(scene) == [("process_turns", 1)]
    told(scene)
    assert swept(scene) == []


def test_a_person_who_texts_again_and_again_does_not_hide_that_no_wake_up_arrives(scene: Scene) -> None:
    woken = 0
    for n in range(6):
        scene.text(f"hello {n}")
        scene.clock.tick(15)
        scene.rt.heartbeat.beat()
        woken += len(swept(scene))
    assert woken > 1


def test_the_end_of_a_backoff_wakes_a_worker_at_once(scene: Scene) -> None:
    scene.text("hello")
    scene.agent.fail("complete", RateLimited("busy", provider="retell", retry_after=30))
    scene.wake()
    scene.clock.tick(29)
    assert swept(scene) == []
    scene.clock.tick(1)
    assert swept(scene) == [("process_turns", 1)]


@pytest.mark.parametrize("queue", conversation_queue.QUEUES, ids=lambda queue: queue.task)
def test_two_dispatchers_at_once_find_each_queue_once(scene: Scene, queue: ConversationQueue) -> None:
    for n in range(20):
        scene.text("hello", f"+1555123{n:04}", media=int(queue is not TURNS))
    scene.rt.heartbeat.beat()
    with ThreadPoolExecutor(4) as threads:
        found = [work for each in threads.map(lambda _: find(scene.rt, queue, 7), range(8)) for work in each or ()]
    assert sorted(work.row for work in found) == list(range(1, 21))


def test_the_work_of_a_stalled_worker_is_reclaimed_long_before_its_lease_ends(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.text("hello")
    stalled = scene.rt

    def dies(said: str) -> list[str]:
        raise KeyboardInterrupt

    scene.agent.answer = dies
    with pytest.raises(KeyboardInterrupt):
        process_turns(stalled, 1)
    scene.agent.answer = lambda said: ["hello"]
    scene.agent.chats["chat_1"].items.clear()  # it died before the agent received anything
    scene.restart()
    began = scene.clock()
    scene.work_until_idle()
    assert scene.got() == ["hello"]
    assert scene.clock() - began < timedelta(seconds=40)
    assert "process_turns: 1 leases of stalled workers are taken over" in caplog.messages


def test_a_conversation_that_is_locked_does_not_delay_other_work_of_a_stalled_worker(postgresql_url: str) -> None:
    """A process that was halted in the middle of a transaction keeps its locks until the database takes them away."""
    engine = build_engine(postgresql_url)
    sessions = build_sessions(engine)
    scene = Scene(sessions)
    for phone in (ANN, BOB):
        scene.text("hello", phone)
    with scene.rt.database.transaction() as tx:
        for conversation_id in (1, 2):
            leased = {"worker": "stalled", "lease_for": timedelta(minutes=5)}
            assert conversation_queue.claim(tx, conversation_queue.TURNS, conversation_id, **leased)
    scene.clock.tick(1)
    with sessions() as halted:
        halted.get_one(Conversation, 1, with_for_update=True)
        assert swept(scene) == [("process_turns", 2)]
        assert untold(scene) == [2]
        with scene.rt.database.transaction() as tx:
            circuit_breakers.trip(tx, NotReached("refused", provider="retell"))
            circuit_breakers.close(tx, ("retell",), conversation_queue.TURNS)
    swept(scene)
    assert sorted(untold(scene)) == [1, 2]
    engine.dispose()


def test_the_work_of_a_living_worker_is_left_alone(scene: Scene) -> None:
    scene.text("hello")
    with scene.rt.database.transaction() as tx:
        lease_for = timedelta(minutes=5)
        conversation_queue.claim(tx, conversation_queue.TURNS, 1, worker=scene.rt.heartbeat.worker, lease_for=lease_for)
    for _ in range(10):
        scene.tick(20)
    assert scene.agent.calls == []


def test_a_chat_is_ended_at_the_provider(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    scene.clock.tick(3600)
    ending.end_stale(scene.rt, timedelta(minutes=30))
    scene.work()
    assert ("end_chat", "chat_1") in scene.agent.calls
    [chat] = scene.rows(Chat)
    assert (chat.status, chat.end_reason) == (ChatStatus.ENDED, "stale")


def test_a_chat_that_cannot_be_ended_now_is_ended_later(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    scene.agent.fail("end_chat", NotReached("refused", provider="retell"))
    scene.agent.fail("end_chat", AccountRefused("no key", provider="retell", status=401))
    scene.clock.tick(3600)
    ending.end_stale(scene.rt, timedelta(minutes=30))
    scene.work()
    assert scene.rows(Chat)[0].status is ChatStatus.ENDING
    for _ in range(13):
        scene.tick(10)
    assert scene.rows(Chat)[0].status is ChatStatus.ENDED


def test_a_chat_is_not_ended_at_the_provider_while_a_turn_is_open(scene: Scene) -> None:
    scene.agent.thinks = True
    scene.text("book me a table")
    scene.work()
    ending.end_one(scene.rt, 1)
    scene.work(seconds=60)
    assert "end_chat" not in [call for call, _ in scene.agent.calls]
    scene.agent.finish("chat_1")
    scene.work(seconds=120)
    assert scene.got() == ["You said: book me a table"]
    assert scene.rows(Chat)[0].status is ChatStatus.ENDED


def test_the_clock_ends_stale_chats_after_stale_after(sessions: Sessions) -> None:
    scene = Scene(sessions, stale_after="2h")
    scene.text("hello")
    scene.work()
    scene.clock.tick(7100)
    stale_chats.end_stale(scene.rt)
    assert scene.notifier.wakeups == []
    scene.clock.tick(200)
    stale_chats.end_stale(scene.rt)
    assert scene.notifier.wakeups == [("end_chat", 1)]


def test_an_empty_stale_after_ends_nothing(sessions: Sessions) -> None:
    scene = Scene(sessions, stale_after=None)
    scene.text("hello")
    scene.work()
    scene.clock.tick(10**7)
    stale_chats.end_stale(scene.rt)
    assert scene.notifier.wakeups == []


# -- heartbeat -----------------------------------------------------------------------------------------------------


def test_a_worker_may_start_work_only_after_its_first_heartbeat(scene: Scene) -> None:
    heartbeat = Heartbeat(scene.rt.database)
    assert not heartbeat.may_start_work(heartbeat.worker)
    heartbeat.beat()
    assert heartbeat.may_start_work(heartbeat.worker)


def test_a_worker_that_counts_as_stalled_can_begin_no_call_any_more() -> None:
    """The last call begins within ``LIVE_FOR`` of the last heartbeat, and its request is on its way soon after."""
    assert timedelta(seconds=LIVE_FOR + BEGIN_WITHIN) < STALLED_AFTER


def test_a_worker_that_was_silent_for_long_comes_back_under_another_name(scene: Scene) -> None:
    elapsed = [0.0]
    heartbeat = Heartbeat(scene.rt.database, elapsed=lambda: elapsed[0])
    heartbeat.beat()
    before = heartbeat.worker
    elapsed[0] = 9.0
    heartbeat.beat()
    assert heartbeat.may_start_work(before)
    elapsed[0] = 60.0
    assert not heartbeat.may_start_work(before)
    heartbeat.beat()
    assert not heartbeat.may_start_work(before)
    assert heartbeat.may_start_work(heartbeat.worker)


def test_a_heartbeat_goes_on_after_an_unexpected_error(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    faults: list[OSError] = []

    def commit(connection: Connection) -> None:
        if faults:
            raise faults.pop()
        connection.commit()

    def beats() -> bool:
        with scene.sessions() as session:
            return session.get(Worker, heartbeat.worker) is not None

    heartbeat = Heartbeat(database(scene.sessions, scene.clock, commit=commit), every=0.01)
    heartbeat.start()
    faults.append(OSError("too many open files"))
    until(lambda: "the heartbeat failed" in caplog.text, "a beat has failed")
    with scene.sessions.begin() as session:
        session.execute(delete(Worker).where(Worker.id == heartbeat.worker))
    until(beats, "it beats again")
    heartbeat.stop()


def test_work_that_a_worker_has_abandoned_is_due_at_its_next_heartbeat(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    heartbeat = Heartbeat(scene.rt.database)
    rt = replace(scene.rt, heartbeat=heartbeat)
    heartbeat.beat()
    scene.text("hello")

    def bug(said: str) -> list[str]:
        heartbeat.beat()  # while it is in hand, a beat changes nothing
        with scene.sessions() as session:
            assert session.scalar(select(Conversation.turn_leased_by)) == heartbeat.worker
        raise ZeroDivisionError

    scene.agent.answer = bug
    with pytest.raises(ZeroDivisionError):
        process_turns(rt, 1)
    heartbeat.beat()
    with scene.sessions() as session:
        assert session.scalar(select(Conversation.turn_leased_by)) is None
        assert session.scalar(select(Conversation.turn_due_at)) == scene.clock() - MAX_CLOCK_SKEW
    assert "process_turns 1 was abandoned, and is due again" in caplog.messages


def test_without_a_database_no_worker_may_start_work(scene: Scene) -> None:
    nowhere = build_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    heartbeat = Heartbeat(database(build_sessions(nowhere)))
    heartbeat.beat()
    assert not heartbeat.may_start_work(heartbeat.worker)
    heartbeat.stop()


def test_a_worker_that_stops_signs_off(scene: Scene) -> None:
    heartbeat = Heartbeat(scene.rt.database)
    heartbeat.start()
    heartbeat.stop()
    with scene.sessions() as session:
        assert heartbeat.worker not in session.scalars(select(Worker.id)).all()
    assert not heartbeat.may_start_work(heartbeat.worker)


def test_the_rows_of_workers_that_stalled_long_ago_are_deleted(scene: Scene) -> None:
    scene.clock.tick(2 * 3600)
    sweep.sweep(scene.rt)
    with scene.sessions() as session:
        assert session.scalars(select(Worker.id)).all() == []


# -- activity ------------------------------------------------------------------------------------------------------


def test_the_live_view_shows_the_waiting_work_and_why_it_waits(scene: Scene) -> None:
    scene.text("hello")
    scene.agent.fail("complete", RateLimited("busy", provider="retell", status=429, retry_after=30))
    scene.wake()
    [turn] = [row for row in activity.recent(scene.rt) if row.kind == "turn"]
    assert (turn.state, turn.detail) == ("waiting", "waits, next try in 30 s, retell (429): busy")
    scene.work_until_idle()
    kinds = {(row.kind, row.state) for row in activity.recent(scene.rt)}
    assert kinds == {("text in", "answered"), ("turn", "answered"), ("text out", "sent"), ("chat", "ongoing")}


# -- wake-ups that wait --------------------------------------------------------------------------------------------


def test_endings_whose_wake_ups_still_wait_in_the_broker_get_no_more_of_them(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    ending.end_one(scene.rt, 1)
    scene.notifier.backlogs[ending.TASK] = sweep.SWEEP_LIMIT
    assert swept(scene) == []
    scene.notifier.backlogs[ending.TASK] = sweep.SWEEP_LIMIT - 1
    assert swept(scene) == [(ending.TASK, 1)]


def test_a_wake_up_that_finds_no_heartbeat_waits_for_the_next_one(scene: Scene) -> None:
    heartbeat = Heartbeat(scene.rt.database)
    rt = replace(scene.rt, heartbeat=heartbeat)
    scene.text("hello")
    with ThreadPoolExecutor() as worker:
        received = worker.submit(tasks.run_task, rt, "process_turns", 1)
        assert scene.agent.received == []
        heartbeat.beat()
        received.result(5)
    assert scene.agent.received == ["hello"]


def test_a_heartbeat_that_does_not_come_back_is_waited_for_no_longer(scene: Scene) -> None:
    assert not Heartbeat(scene.rt.database).wait_until_live(0.01)
