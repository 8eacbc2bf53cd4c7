"""The purge: what is old goes, in small batches; what is unfinished, or guards against a text's return, stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select, text, update

from bridge.db.engine import build_engine, build_sessions
from bridge.db.models import (
    Audit,
    Base,
    Chat,
    ChatStatus,
    ContactUpdate,
    Conversation,
    HandoffNotice,
    Holder,
    Message,
    MessageStatus,
    Note,
    OptOut,
    ReadMark,
    Tag,
    Turn,
)
from bridge.db.transaction import Sessions
from bridge.maintenance import purge, sweep
from bridge.maintenance.catch_up import catch_up
from bridge.maintenance.outside_texts import hold_for_outside_texts
from bridge.operators import labels, texts
from bridge.operators.idempotency import Asked
from bridge.operators.texts import Pair
from bridge.providers.errors import Refused
from tests.fakes import TEAM
from tests.scene import ANN, BOB, NUMBER, Scene
from tests.unfinished import being_asked, being_sent

DAY = 86_400
MONTH = timedelta(days=30)
PERSONAL = (Conversation, Chat, Turn, Message, Note, Tag, ReadMark, HandoffNotice, ContactUpdate)


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, retention="30d", twilio_numbers=NUMBER, stale_after="24h")


def age(scene: Scene, days: float = 31) -> None:
    """End what idles, and let this time pass. Only the clock moves: nothing works meanwhile."""
    for _ in range(3):
        scene.clock.tick(DAY / 12)
        sweep.sweep(scene.rt)
        scene.wake()
    end_chats(scene)
    scene.clock.tick(days * DAY)
    scene.rt.heartbeat.beat()


def end_chats(scene: Scene) -> None:
    ended = {"status": ChatStatus.ENDED, "ended_at": scene.clock(), "due_at": None}
    scene.change(
        update(Chat).where(Chat.status != ChatStatus.ENDED).values(ended), update(Message).values(poll_status_at=None)
    )


def counted(scene: Scene, *tables: type[Base]) -> dict[str, int]:
    with scene.sessions() as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in tables or PERSONAL
        }


def talked(scene: Scene, phone: str = ANN) -> None:
    scene.text("hello", phone)
    scene.work_until_idle()


def purge_all(scene: Scene) -> None:
    """Run the two jobs of the clock."""
    purge.purge_old(scene.rt)
    purge.purge_conversations(scene.rt)


def all_batches(scene: Scene, age: timedelta = MONTH) -> Counter[str]:
    deleted: Counter[str] = Counter()
    for batch in purge.batches(scene.rt, scene.clock() - age):
        deleted[batch.name] += batch.rows
    return deleted


# -- what goes -----------------------------------------------------------------------------------------------------


def test_all_of_an_old_conversation_goes(scene: Scene) -> None:
    scene.set(retention="30d", retell_contacts="write", **TEAM)
    talked(scene)
    labels.add_note(scene.rt, "ana", 1, "likes tangerines")
    labels.add_tag(scene.rt, "ana", 1, "vip")
    labels.mark_read(scene.rt, "ana", 1, 99)
    scene.text("STOP")
    scene.text("START")
    scene.work_until_idle()
    scene.add(HandoffNotice(conversation_id=1, reason="asked", since=scene.clock(), told_at=scene.clock()))
    age(scene)
    assert min(counted(scene).values()) > 0
    purge_all(scene)
    assert set(counted(scene).values()) == {0}


def test_without_retention_nothing_goes(scene: Scene) -> None:
    scene.set()
    talked(scene)
    age(scene, 3000)
    before = counted(scene)
    purge_all(scene)
    assert counted(scene) == before


def test_what_is_younger_stays(scene: Scene) -> None:
    talked(scene)
    age(scene, 20)
    talked(scene)
    age(scene, 20)
    assert all_batches(scene)["messages"] == 2
    assert counted(scene, Message, Turn, Chat, Conversation) == {
        "messages": 2,
        "turns": 1,
        "chats": 1,
        "conversations": 1,
    }


def test_a_younger_reaction_stays_without_the_text_that_it_is_about(scene: Scene) -> None:
    talked(scene)
    age(scene, 20)
    scene.text("Liked “You asked: hello”")
    scene.change(update(Message).where(Message.id == 3).values(reacts_to=2))
    scene.work_until_idle()
    age(scene, 20)
    all_batches(scene)
    assert {row.reacts_to for row in scene.rows(Message)} == {None}
    assert 3 in {row.id for row in scene.rows(Message)}


def test_an_old_note_for_the_agent_goes_from_a_conversation_that_stays(scene: Scene) -> None:
    talked(scene)
    scene.change(update(Conversation).values(agent_note="be kind", agent_note_at=scene.clock()))
    age(scene, 31)
    talked(scene)
    purge_all(scene)
    [row] = scene.rows(Conversation)
    assert (row.agent_note, row.agent_note_at) == (None, None)


def test_the_numbers_of_deleted_rows_are_not_given_again(scene: Scene) -> None:
    """Who still has the address of the old conversation must not write to another person."""
    talked(scene)
    age(scene)
    purge_all(scene)
    talked(scene, BOB)
    assert [row.id for row in scene.rows(Conversation)] == [2]
    assert [row.id for row in scene.rows(Message)] == [3, 4]


# -- what stays ----------------------------------------------------------------------------------------------------


def waiting(scene: Scene) -> None:
    scene.change(update(Conversation).values(holder=Holder.PERSON, holder_name="ana", holder_since=scene.clock()))
    scene.text("anybody there?")
    scene.work(60)


def sent_again_later(scene: Scene) -> None:
    talked(scene)
    later = scene.clock() + timedelta(days=365)
    scene.change(update(Message).where(Message.id == 2).values(resend_at=later))


@pytest.mark.parametrize("begun", [waiting, being_asked, being_sent, sent_again_later])
def test_what_is_unfinished_stays_however_old(scene: Scene, begun: Callable[[Scene], None]) -> None:
    begun(scene)
    unfinished = [(row.id, row.status) for row in scene.rows(Message) if row.status != MessageStatus.ANSWERED]
    assert unfinished
    scene.clock.tick(400 * DAY)
    purge_all(scene)
    assert [(row.id, row.status) for row in scene.rows(Message) if row.status != MessageStatus.ANSWERED] == unfinished
    assert len(scene.rows(Conversation)) == 1


def test_a_chat_that_goes_on_stays(scene: Scene) -> None:
    talked(scene)
    scene.change(update(Message).values(poll_status_at=None))
    scene.clock.tick(400 * DAY)
    purge_all(scene)
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ONGOING]
    assert counted(scene, Message, Turn) == {"messages": 0, "turns": 0}


def test_an_opt_out_survives_with_the_service_that_it_covers(scene: Scene) -> None:
    other = "+15550001112"
    scene.set(retention="30d", twilio_numbers=f"{NUMBER},{other}")
    scene.text("hello", service="MG1")
    scene.text("hello", service="MG1", to=other)
    scene.work_until_idle()
    scene.text("STOP", service="MG1")
    age(scene)
    purge_all(scene)
    assert counted(scene, Message, OptOut) == {"messages": 0, "opt_outs": 1}
    for number in (NUMBER, other):
        with pytest.raises(texts.OptedOut):
            texts.write(scene.rt, Asked("ana"), Pair(ANN, number), "an offer")


def test_a_busy_conversation_is_passed_over_and_the_next_ones_are_not(scene: Scene) -> None:
    talked(scene, ANN)
    talked(scene, BOB)
    age(scene)
    scene.change(update(Conversation).where(Conversation.phone == ANN).values(delivery_due_at=scene.clock()))
    assert all_batches(scene)["messages"] == 2
    assert [row.phone for row in scene.rows(Conversation)] == [ANN]
    scene.change(update(Conversation).values(delivery_due_at=None))
    assert all_batches(scene)["messages"] == 2
    assert scene.rows(Conversation) == []


def test_a_failure_that_nobody_has_dismissed_goes_too(scene: Scene) -> None:
    scene.carrier.fail("send", Refused("no mobile", provider="twilio", status=400, code=21614))
    talked(scene)
    age(scene)
    purge_all(scene)
    assert scene.rows(Message) == []


# -- what the carrier's lists may bring back -----------------------------------------------------------------------


def test_catch_up_does_not_bring_a_purged_text_back(scene: Scene) -> None:
    """The bridge was away for longer than RETENTION, so the list begins before what was purged."""
    catch_up(scene.rt)
    old = scene.carrier.receive(ANN, NUMBER, "hello")
    scene.text("hello", sid=old.carrier_id)
    scene.work_until_idle()
    age(scene)
    purge_all(scene)
    assert scene.rows(Message) == []
    scene.carrier.receive(ANN, NUMBER, "are you back?")
    scene.clock.tick(60)
    catch_up(scene.rt)
    assert [row.body for row in scene.rows(Message)] == ["are you back?"]


def test_a_purged_text_of_ours_does_not_come_back_as_another_tools(scene: Scene) -> None:
    hold_for_outside_texts(scene.rt)
    talked(scene)
    assert scene.carrier.accepted
    age(scene)
    purge_all(scene)
    hold_for_outside_texts(scene.rt)
    assert scene.rows(Message) == []


# -- batches -------------------------------------------------------------------------------------------------------


def test_no_transaction_deletes_more_than_a_batch(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "BATCH", 3)
    for n in range(4):
        talked(scene, f"+1555123{n:04}")
    age(scene)
    sizes = [batch.rows for batch in purge.batches(scene.rt, scene.clock() - MONTH)]
    assert max(sizes) == 3
    assert sum(sizes) == 4 * 5
    assert set(counted(scene).values()) == {0}


def test_a_round_of_the_clock_is_short_and_the_next_one_goes_on(scene: Scene) -> None:
    for n in range(3):
        talked(scene, f"+1555123{n:04}")
    age(scene)
    engine = scene.sessions.kw["bind"]

    def slow(*_: object) -> None:
        scene.clock.tick(1)

    event.listen(engine, "commit", slow)
    purge.purge_old(scene.rt)
    event.remove(engine, "commit", slow)
    assert scene.rows(Chat) != []
    purge.purge_old(scene.rt)
    assert scene.rows(Chat) == []
    assert scene.rows(Conversation) != []
    purge.purge_conversations(scene.rt)
    assert scene.rows(Conversation) == []


def test_however_many_must_stay_what_comes_after_them_goes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "BATCH", 3)
    phones = [f"+1555123{n:04}" for n in range(11)]
    for n, phone in enumerate(phones):
        talked(scene, phone)
        if n % 5:
            scene.text("STOP", phone)
            scene.work_until_idle()
    age(scene)
    assert all_batches(scene)["conversations"] == 3
    assert [row.phone for row in scene.rows(Conversation)] == [phone for n, phone in enumerate(phones) if n % 5]


def test_a_purge_that_is_stopped_leaves_nothing_half_deleted(scene: Scene) -> None:
    talked(scene)
    age(scene)
    for _ in range(20):
        next(iter(purge.batches(scene.rt, scene.clock() - MONTH)))
        for turn in scene.rows(Turn):
            assert turn.chat_id
    assert all_batches(scene)["conversations"] == 1


# -- what is told --------------------------------------------------------------------------------------------------


def test_it_is_counted_before(scene: Scene) -> None:
    talked(scene)
    age(scene)
    before = scene.clock() - MONTH
    counts = purge.count(scene.rt, before)
    assert counts == {
        "messages": 2,
        "turns": 1,
        "chats": 1,
        "notes": 0,
        "notices to the team": 0,
        "wishes in contacts": 0,
        "conversations": 1,
        "notes for the agent": 0,
    }
    assert all_batches(scene) == Counter(counts)
    assert set(purge.count(scene.rt, before).values()) == {0}


def test_the_clock_is_in_the_audit_once_a_day_and_only_if_it_has_deleted_something(scene: Scene) -> None:
    purge_all(scene)
    assert scene.rows(Audit) == []
    for days in (31, 0.01, 31):
        talked(scene)
        age(scene, days)
        purge_all(scene)
    deeds = [(row.operator, row.action, row.subject) for row in scene.rows(Audit)]
    assert deeds == [("the clock", "purge", "old texts")] * 2


# -- plans ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def history(postgresql_url: str) -> Any:
    """A bridge with thousands of conversations, half of them old."""
    engine = build_engine(postgresql_url)
    scene = Scene(build_sessions(engine), retention="30d")
    with engine.begin() as connection:
        connection.execute(
            text(
                """WITH pairs AS (
                       INSERT INTO conversations (bridge_number, phone, created_at, changed_at)
                       SELECT :number, '+1415' || lpad(n::text, 7, '0'), at, at
                       FROM (SELECT n, CAST(:now AS timestamptz) - (6000 - n) * interval '10 minutes' AS at
                             FROM generate_series(1, 6000) AS n) AS moments
                       RETURNING id, changed_at),
                   chats AS (
                       INSERT INTO chats (conversation_id, provider, provider_chat_id, status, started_at,
                                          last_activity_at, ended_at)
                       SELECT id, 'retell', 'chat_' || id, 'ended', changed_at, changed_at, changed_at FROM pairs
                       ORDER BY id RETURNING id, conversation_id, ended_at),
                   turns AS (
                       INSERT INTO turns (conversation_id, chat_id, status, created_at, expires_at, settled_at)
                       SELECT conversation_id, id, 'answered', ended_at, ended_at, ended_at FROM chats
                       ORDER BY id RETURNING id, conversation_id, settled_at)
                   INSERT INTO messages (conversation_id, turn_id, direction, status, body, created_at, settled_at)
                   SELECT conversation_id, id, 'in', 'answered', repeat('word ', 20), settled_at, settled_at
                   FROM turns, generate_series(1, 4) ORDER BY id"""
            ),
            {"number": NUMBER, "now": scene.clock()},
        )
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    yield scene
    engine.dispose()


def test_no_statement_of_a_batch_reads_a_whole_table(history: Scene) -> None:
    from tests.system.test_plans import explained

    before = history.clock() - MONTH
    with explained(history.sessions.kw["bind"]) as plans:
        batches = iter(purge.batches(history.rt, before))
        for _ in range(3):
            assert next(batches).rows == purge.BATCH
        for kind in purge.KINDS[1:]:
            list(zip(range(2), purge._of_kind(history.rt, kind, before), strict=False))
    read = {
        (node["Relation Name"], plan.statement)
        for plan in plans
        for node in plan.nodes()
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in ("conversations", "chats", "turns", "messages")
    }
    assert read == set()
    assert len(plans) > 30


def test_what_is_old_is_found_by_bisection(history: Scene) -> None:
    before = history.clock() - MONTH
    with history.sessions() as session:
        old = select(func.max(Message.id)).where(Message.created_at < before)
        assert purge._newest_before(session, purge.KINDS[0], before) == session.scalar(old)
        long_ago = before - timedelta(days=300)
        assert purge._newest_before(session, purge.KINDS[0], long_ago) == 0
        assert purge._newest_before(session, purge.KINDS[0], datetime.max.replace(tzinfo=before.tzinfo)) == 24_000
