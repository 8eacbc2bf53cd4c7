"""A person is forgotten: all of it or nothing, at the providers too, and nothing of it comes back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import OperationalError

from bridge.db.engine import build_engine, build_sessions
from bridge.db.models import (
    Audit,
    Base,
    Chat,
    ContactUpdate,
    Conversation,
    Erasure,
    Message,
    MessageStatus,
    OptOut,
    SentCursor,
)
from bridge.db.transaction import Sessions
from bridge.maintenance import status_poll
from bridge.maintenance.carrier_lists import OVERLAP
from bridge.maintenance.catch_up import catch_up
from bridge.maintenance.outside_texts import AROUND_KEYWORD, SETTLED_AFTER, hold_for_outside_texts
from bridge.operators import erasures, forgetting, people_exports, texts
from bridge.operators.forgetting import InWork
from bridge.operators.idempotency import Asked
from bridge.operators.people import Person
from bridge.operators.texts import Pair
from bridge.outbound import receipts
from bridge.providers.agents.contract import ChatState
from bridge.providers.carriers.contract import Delivery, StatusReport
from bridge.providers.errors import OutcomeUnknown, Refused
from bridge.web.queries import failures
from tests.databases import Unsteady, database
from tests.operators.test_people import full
from tests.scene import ANN, BOB, NUMBER, Scene
from tests.unfinished import being_asked, being_sent

OTHER = "+15550001112"
LATER = 600
"""Seconds after which a text is not recent any more."""


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, retell_contacts="write", twilio_numbers=f"{NUMBER},{OTHER}")


def talked(scene: Scene, phone: str = ANN) -> None:
    scene.text("hello", sid=scene.carrier.receive(phone, NUMBER, "hello").carrier_id, phone=phone)
    scene.work_until_idle()
    scene.clock.tick(LATER)
    scene.rt.heartbeat.beat()


def forget(scene: Scene, phone: str = ANN, *, at_carrier: bool = False) -> list[int]:
    done = forgetting.forget(scene.rt, "a command", Person(phone), at_carrier=at_carrier)
    return list(done.erasures)


def everything(scene: Scene) -> dict[str, int]:
    with scene.sessions() as session:
        tables = Base.metadata.sorted_tables
        return {table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


# -- what goes, and what stays -------------------------------------------------------------------------------------


def test_nothing_of_the_person_is_left_but_the_opt_out(scene: Scene) -> None:
    full(scene)
    scene.clock.tick(LATER)
    forget(scene)
    assert not (exported := people_exports.export(scene.rt, "ana", Person(ANN)))["conversations"]
    assert exported["contact_updates"] == []
    assert [row["phone"] for row in exported["opt_outs"]] == [ANN]
    assert [row["words"] for row in exported["consents"]] == ["STOP"]
    left = {name for name, rows in everything(scene).items() if rows}
    assert left <= {"audit", "opt_outs", "workers", "erasures", "forgotten_texts", "consents", "senders"}


def test_others_keep_all_of_theirs(scene: Scene) -> None:
    talked(scene, BOB)
    before = everything(scene)
    talked(scene, ANN)
    forget(scene)
    after = everything(scene)
    for name in ("conversations", "messages", "turns", "chats"):
        assert after[name] == before[name]
    assert [row.phone for row in scene.rows(Conversation)] == [BOB]


def test_the_audit_has_the_deed_and_no_number(scene: Scene) -> None:
    talked(scene)
    forget(scene)
    [row] = [row for row in scene.rows(Audit) if row.action == "forget"]
    assert (row.operator, row.subject) == ("a command", "person +1555…01")
    assert row.details["rows"]["messages"] == 2
    assert ANN.lstrip("+") not in str(row.details)


def test_it_is_counted_before_and_nothing_changes(scene: Scene) -> None:
    talked(scene)
    before = everything(scene)
    found = forgetting.find(scene.rt, Person(ANN))
    assert (found.rows["messages"], found.chats, found.texts) == (2, {"retell": 1}, 2)
    assert (found.opted_out, found.consents) == (False, 0)
    assert everything(scene) == before
    assert forgetting.find(scene.rt, Person(BOB)).is_empty


def test_what_stays_is_told_before_and_afterwards(scene: Scene) -> None:
    for body in ("STOP", "START", "STOP"):
        scene.text(body)
        scene.clock.tick(LATER)
    scene.work_until_idle()
    scene.clock.tick(LATER)
    before = forgetting.find(scene.rt, Person(ANN))
    forget(scene)
    after = forgetting.find(scene.rt, Person(ANN))
    assert [(found.is_empty, found.opted_out, found.consents) for found in (before, after)] == [
        (False, True, 3),
        (True, True, 3),
    ]


def stopped_and_forgotten(scene: Scene) -> None:
    """A person of two numbers of one messaging service, who has written STOP to one of them."""
    for to in (NUMBER, OTHER):
        scene.text("hello", to=to, service="MG1")
    scene.text("STOP", service="MG1")
    scene.work_until_idle()
    scene.clock.tick(LATER)
    forget(scene)


@pytest.mark.parametrize("number", [NUMBER, OTHER])
def test_a_person_who_has_opted_out_stays_out(scene: Scene, number: str) -> None:
    """Also at another number of the same messaging service, which only the conversation knew."""
    stopped_and_forgotten(scene)
    with pytest.raises(texts.OptedOut):
        texts.write(scene.rt, Asked("ana"), Pair(ANN, number), "an offer")


def test_a_start_ends_all_that_an_opt_out_covered(scene: Scene) -> None:
    stopped_and_forgotten(scene)
    scene.text("START", service="MG1")
    for number in (NUMBER, OTHER):
        texts.write(scene.rt, Asked("ana"), Pair(ANN, number), "welcome back")


# -- what is in work -----------------------------------------------------------------------------------------------


def leased(scene: Scene) -> None:
    talked(scene)
    scene.change(update(Conversation).values(delivery_leased_by="w", delivery_due_at=scene.clock()))


def written(scene: Scene) -> None:
    scene.text("STOP")
    scene.work_until_idle()
    scene.change(update(ContactUpdate).values(leased=True, due_at=scene.clock()))


@pytest.mark.parametrize(
    ("begun", "what"),
    [
        (being_asked, "the agent is being asked|a worker has"),
        (being_sent, "a text is being sent|a worker has"),
        (leased, "a worker has"),
        (written, "a contact is being written"),
    ],
)
def test_who_is_in_work_is_not_forgotten_now(scene: Scene, begun: Callable[[Scene], None], what: str) -> None:
    begun(scene)
    scene.clock.tick(LATER)
    before = everything(scene)
    with pytest.raises(InWork, match=what):
        forget(scene)
    assert everything(scene) == before


def test_a_text_of_the_last_minutes_counts_as_work(scene: Scene) -> None:
    """Twilio may still repeat its webhook, and a check of the list may take it for a later text."""
    scene.text("hello")
    scene.work_until_idle()
    with pytest.raises(InWork, match="last minutes"):
        forget(scene)
    scene.clock.tick(LATER)
    forget(scene)


def test_what_only_waits_goes_with_the_rest(scene: Scene) -> None:
    scene.text("hello")
    scene.clock.tick(LATER)
    forget(scene)
    scene.rt.heartbeat.beat()
    scene.work_until_idle()
    assert scene.agent.received == []
    assert scene.rows(Message) == []


def test_what_the_carriers_list_is_not_read_up_to_counts_as_work(scene: Scene) -> None:
    """Whoever can't wait for it switches the search off."""
    read_lists(scene)
    talked(scene)
    with pytest.raises(InWork, match="list is not read yet"):
        forget(scene)
    scene.set(retell_contacts="write", twilio_numbers=NUMBER, auto_hold="")
    forget(scene)


def test_the_list_of_another_number_delays_nothing(scene: Scene) -> None:
    read_lists(scene)
    talked(scene)
    scene.change(update(SentCursor).where(SentCursor.bridge_number == NUMBER).values(read_until=scene.clock()))
    forget(scene)


def test_what_was_read_is_read_again_for_no_longer_than_forgetting_waits() -> None:
    """The margin is as long as a round overlaps the last one, and the carrier takes to answer a keyword."""
    assert forgetting.READ_AGAIN >= OVERLAP + AROUND_KEYWORD
    assert forgetting.RECENTLY >= forgetting.READ_AGAIN + SETTLED_AFTER


def test_forgetting_is_one_commit(scene: Scene) -> None:
    talked(scene)
    before = everything(scene)
    unsteady = Unsteady()
    unsteady.fails(times=1, done=False)
    object.__setattr__(scene.rt, "database", database(scene.sessions, scene.clock, commit=unsteady.commit))
    with pytest.raises(OperationalError):
        forget(scene)
    assert everything(scene) == before


# -- at the providers ----------------------------------------------------------------------------------------------


def test_the_chat_is_deleted_at_its_provider(scene: Scene) -> None:
    talked(scene)
    assert scene.agent.chats
    [row_id] = forget(scene)
    assert erasures.erase(scene.rt, row_id)
    assert scene.agent.chats == {}
    assert scene.rows(Erasure) == []
    assert scene.carrier.bodies  # nobody has asked for that


def test_a_chat_that_no_call_deletes_is_ended(scene: Scene) -> None:
    scene.agent.deletes_chats = False
    talked(scene)
    [row_id] = forget(scene)
    assert erasures.erase(scene.rt, row_id)
    assert [chat.state for chat in scene.agent.chats.values()] == [ChatState.ENDED]


def test_the_texts_are_deleted_at_the_carrier_if_that_is_wanted(scene: Scene) -> None:
    talked(scene, BOB)
    talked(scene, ANN)
    for row_id in forget(scene, at_carrier=True):
        assert erasures.erase(scene.rt, row_id)
    assert {each.text.recipient for each in scene.carrier.accepted} == {BOB}
    assert {each.phone for each in scene.carrier.received} == {BOB}


def test_a_process_that_dies_before_the_providers_are_asked_leaves_it_to_the_clock(scene: Scene) -> None:
    talked(scene)
    forget(scene, at_carrier=True)
    scene.restart()
    erasures.erase_rest(scene.rt)
    assert (scene.agent.chats, scene.carrier.bodies, scene.rows(Erasure)) == ({}, [], [])


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_is_asked_for_again(scene: Scene, done: bool) -> None:
    talked(scene)
    scene.agent.fail("delete_chat", OutcomeUnknown("cut", provider="retell"), received=done)
    [row_id] = forget(scene)
    assert not erasures.erase(scene.rt, row_id)
    assert not erasures.erase(scene.rt, row_id)  # it pauses
    scene.clock.tick(60)
    assert erasures.erase(scene.rt, row_id)
    assert scene.agent.chats == {}


def test_only_one_of_two_erases(scene: Scene) -> None:
    talked(scene)
    [row_id] = forget(scene)
    scene.agent.in_next_call(lambda: erasures.erase_rest(scene.rt))
    assert erasures.erase(scene.rt, row_id)
    assert [name for name, _ in scene.agent.calls].count("delete_chat") == 1


def test_what_can_not_be_erased_is_given_up_loudly(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    talked(scene)
    scene.agent.fail("delete_chat", Refused("it may not", provider="retell", status=400), times=1000)
    forget(scene)
    with caplog.at_level(logging.ERROR):
        for _ in range(200):
            erasures.erase_rest(scene.rt)
            scene.clock.tick(timedelta(hours=1).total_seconds())
    [row] = scene.rows(Erasure)
    assert row.given_up_at
    assert (row.due_at, row.error) == (None, "retell (400): it may not")
    assert [record for record in caplog.messages if "is given up after" in record]
    with scene.sessions() as session:
        assert failures.count_not_erased(session) == 1


# -- nothing comes back --------------------------------------------------------------------------------------------


def read_lists(scene: Scene) -> None:
    catch_up(scene.rt, pauses=())
    hold_for_outside_texts(scene.rt, pauses=())


def test_the_carriers_lists_bring_nothing_back(scene: Scene) -> None:
    read_lists(scene)
    talked(scene)
    read_lists(scene)
    forget(scene)
    scene.clock.tick(LATER)
    read_lists(scene)
    assert scene.rows(Message) == []


def forget_as_soon_as_possible(scene: Scene) -> None:
    """Try it again and again, while the clock reads the lists."""
    while True:
        scene.clock.tick(30)
        read_lists(scene)
        with suppress(InWork):
            forget(scene)
            return


@pytest.mark.parametrize("away", [0, 25])
def test_the_carriers_answer_to_a_stop_does_not_bring_the_person_back(scene: Scene, away: int) -> None:
    """However long the carrier's list could not be read. The answer itself has no row, so no digest stands for it."""
    read_lists(scene)
    scene.clock.tick(LATER)
    scene.text("STOP")
    scene.clock.tick(1)
    scene.carrier.write_outside(ANN, NUMBER, "You have been unsubscribed", is_reply=True)
    scene.carrier.fail("sent_by", OutcomeUnknown("cut", provider="twilio"), times=away)
    forget_as_soon_as_possible(scene)
    for _ in range(40):
        scene.clock.tick(30)
        read_lists(scene)
    assert scene.rows(Conversation) == []


def test_a_text_that_the_carrier_has_accepted_after_all_does_not_bring_the_person_back(scene: Scene) -> None:
    """It was given up, so its id is not known here."""
    read_lists(scene)
    scene.clock.tick(LATER)
    scene.set(retell_contacts="write", twilio_numbers=f"{NUMBER},{OTHER}", answer_within="60s", fallback_reply="")
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=True)
    scene.carrier.fail("sent_to", OutcomeUnknown("cut", provider="twilio"), times=1000)
    scene.text("hello")
    scene.work(seconds=120)
    assert [row.status for row in scene.rows(Message)] == [MessageStatus.ANSWERED, MessageStatus.GIVEN_UP]
    forget_as_soon_as_possible(scene)
    for _ in range(40):
        scene.clock.tick(30)
        read_lists(scene)
    assert scene.rows(Conversation) == []


def test_a_new_text_begins_anew(scene: Scene) -> None:
    talked(scene)
    forget(scene)
    talked(scene)
    assert [row.id for row in scene.rows(Conversation)] == [2]
    assert scene.got() == ["You said: hello"] * 2
    [chat] = scene.rows(Chat)
    assert scene.agent.chats[chat.provider_chat_id].about.previous_conversation == ""


def test_late_reports_about_a_forgotten_text_change_nothing(scene: Scene) -> None:
    talked(scene)
    [sent] = scene.carrier.accepted
    forget(scene)
    late = StatusReport(sent.text.reference, sent.carried.id, Delivery.FAILED, ANN, 21610)
    assert not receipts.report(scene.rt, late)
    assert scene.rows_of(OptOut) == []


def test_a_text_may_be_forgotten_while_its_status_is_polled(scene: Scene) -> None:
    talked(scene)
    scene.clock.tick(13 * 3600)
    scene.carrier.in_next_call(lambda: forget(scene))
    status_poll.poll_statuses(scene.rt)
    assert [call for call, _ in scene.carrier.calls if call == "fetch"] == ["fetch"]
    assert scene.rows(Message) == []


@pytest.mark.parametrize("status", [Delivery.DELIVERED, Delivery.FAILED])
def test_a_text_may_be_forgotten_while_its_report_is_recorded(postgresql_url: str, status: Delivery) -> None:
    """Between the search for its row and the lock. SQLite has one transaction at a time."""
    engine = build_engine(postgresql_url)
    scene = Scene(build_sessions(engine))
    talked(scene)
    [sent] = scene.carrier.accepted
    done = []

    def forget_before_a_lock(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FOR UPDATE" in statement and not done:
            done.append(statement)
            forget(scene)

    event.listen(engine, "before_cursor_execute", forget_before_a_lock)
    assert not receipts.report(scene.rt, StatusReport("", sent.carried.id, status, ANN))
    assert done
    assert scene.rows(Message) == []
    engine.dispose()


def test_a_wish_may_be_forgotten_while_a_worker_that_was_halted_writes_it(scene: Scene) -> None:
    """Its lease is over, so nobody waits for it."""

    def halted() -> None:
        scene.change(update(ContactUpdate).values(leased=False))
        scene.clock.tick(LATER)
        forget(scene)

    scene.text("STOP")
    scene.agent.in_next_call(halted)
    scene.work_until_idle()
    assert scene.rows(ContactUpdate) == []
