"""The team is told that a person waits: once by text, at least once by webhook, and never silently not at all."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from bridge.db.engine import Sessions
from bridge.db.models import Conversation, HandoffNotice, Holder, Message
from bridge.maintenance import sweep
from bridge.operators import failures as failures_of_operators
from bridge.operators import retry
from bridge.operators.failures import Kind
from bridge.outbound import notices
from bridge.outbound.notices import GIVE_UP_AFTER, LEASE
from bridge.outbound.notices_task import tell_team
from bridge.providers.errors import NotReached, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.web.queries import failures
from tests.fakes import TEAM
from tests.scene import ANN, BOB, NUMBER, FakeHeartbeat, Scene

TEAM_PHONE = "+15559990000"
TEXTED = {"handoff_number": TEAM_PHONE}
CUT = OutcomeUnknown("cut", provider="HANDOFF_WEBHOOK")
GONE = Refused("it refuses the notice", provider="HANDOFF_WEBHOOK", status=410)


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, **TEAM, **TEXTED)


def waits(scene: Scene, phone: str = ANN, number: str = NUMBER, reason: str = "the person asked for one") -> int:
    """A person waits for the team from now on."""
    with scene.rt.database.transaction() as tx:
        id_ = notices.outbox.opened(tx, phone=phone, bridge_number=number)
        pair = tx.session.get_one(Conversation, id_)
        pair.holder, pair.holder_since, pair.holder_reason = Holder.WAITING, tx.now, reason
        notices.put(scene.rt, tx, id_, reason)
    return id_


def rest(scene: Scene, at_most: float = 3 * 24 * 3600) -> None:
    """Let time pass until no notice is due any more."""
    scene.work()
    until = scene.clock() + timedelta(seconds=at_most)
    while due := [row.due_at for row in scene.rows(HandoffNotice) if row.due_at]:
        assert scene.clock() < until
        scene.tick(max(1.0, (min(due) - scene.clock()).total_seconds()))


def listed(scene: Scene) -> list[failures.Failure]:
    return failures.list_failures(scene.rt).failures


# -- who is told of what ---------------------------------------------------------------------------------------------


def test_the_webhook_gets_all_that_the_team_needs(scene: Scene) -> None:
    id_ = waits(scene)
    began = scene.clock()
    scene.work()
    [told] = scene.team.told
    assert (told.conversation_id, told.phone, told.bridge_number) == (id_, ANN, NUMBER)
    assert (told.reason, told.since) == ("the person asked for one", began)
    assert told.url == f"https://bridge.example.com/console/conversations/{id_}"
    [row] = scene.rows(HandoffNotice)
    assert (row.told_at, row.due_at, row.error, row.given_up_at) == (began, None, None, None)


def test_the_text_has_the_reason_and_the_link_and_no_number_and_no_words_of_the_person(scene: Scene) -> None:
    scene.text("my secret is 4711")
    scene.work()
    id_ = waits(scene)
    scene.work()
    [text] = scene.got(TEAM_PHONE)
    assert text == (
        "+1555...01 waits for a person of the team: the person asked for one\n"
        f"https://bridge.example.com/console/conversations/{id_}"
    )
    assert scene.carrier.accepted[-1].text.sender == NUMBER


def test_a_long_reason_is_cut_in_the_text_and_whole_for_the_webhook(scene: Scene) -> None:
    waits(scene, reason="because\n" * 100)
    scene.work()
    assert len(scene.got(TEAM_PHONE)) == 1
    assert len(scene.got(TEAM_PHONE)[0]) < 350
    assert scene.team.told[0].reason == "because\n" * 100


@pytest.mark.parametrize(("settings", "calls", "texts"), [(TEAM, 1, 0), (TEXTED, 0, 1), ({}, 0, 0)])
def test_each_way_is_used_only_where_it_is_set(
    sessions: Sessions, settings: dict[str, Any], calls: int, texts: int
) -> None:
    scene = Scene(sessions, **settings)
    waits(scene)
    rest(scene)
    assert (scene.team.calls, len(scene.got(TEAM_PHONE))) == (calls, texts)
    assert len(scene.rows(HandoffNotice)) == bool(settings)


def test_a_person_on_another_channel_is_told_of_from_a_number_that_sends_sms(sessions: Sessions) -> None:
    scene = Scene(sessions, **TEXTED, twilio_numbers=f"whatsapp:{NUMBER}, +15550002222")
    waits(scene, f"whatsapp:{ANN}", f"whatsapp:{NUMBER}")
    scene.work()
    [accepted] = scene.carrier.accepted
    assert (accepted.text.sender, accepted.text.recipient) == ("+15550002222", TEAM_PHONE)


def test_without_a_number_that_sends_sms_the_webhook_is_told_all_the_same(scene: Scene) -> None:
    waits(scene, f"whatsapp:{ANN}", f"whatsapp:{NUMBER}")
    rest(scene)
    assert (scene.got(TEAM_PHONE), len(scene.team.told)) == ([], 1)


def test_a_team_that_waits_for_itself_gets_no_text(scene: Scene) -> None:
    waits(scene, TEAM_PHONE)
    rest(scene)
    assert (scene.got(TEAM_PHONE), len(scene.team.told)) == ([], 1)


def test_a_phone_of_the_team_that_has_opted_out_gets_no_text(scene: Scene) -> None:
    scene.text("STOP", TEAM_PHONE)
    scene.work()
    waits(scene)
    rest(scene)
    assert (scene.got(TEAM_PHONE), len(scene.team.told)) == ([], 1)


# -- once ------------------------------------------------------------------------------------------------------------


def test_one_moment_is_told_once_and_the_next_one_again(scene: Scene) -> None:
    id_ = waits(scene)
    with scene.rt.database.transaction() as tx:
        notices.put(scene.rt, tx, id_, "the same again")
    rest(scene)
    assert (len(scene.team.told), len(scene.got(TEAM_PHONE))) == (1, 1)
    scene.tick(5)
    waits(scene)
    rest(scene)
    assert (len(scene.team.told), len(scene.got(TEAM_PHONE))) == (2, 2)
    assert len({told.id for told in scene.team.told}) == 2


def test_a_handoff_that_is_undone_tells_nobody(scene: Scene) -> None:
    with scene.rt.database.transaction() as tx:
        id_ = notices.outbox.opened(tx, phone=ANN, bridge_number=NUMBER)
        notices.put(scene.rt, tx, id_, "no")
        tx.roll_back()
    scene.work(seconds=60)
    assert (scene.team.told, scene.got(TEAM_PHONE)) == ([], [])


def test_a_wake_up_that_comes_twice_tells_once(scene: Scene) -> None:
    waits(scene)
    scene.notifier.wakeups *= 2
    rest(scene)
    assert (len(scene.team.told), len(scene.got(TEAM_PHONE))) == (1, 1)


def test_a_lost_wake_up_is_found_by_the_sweep(scene: Scene) -> None:
    waits(scene)
    scene.notifier.wakeups.clear()
    scene.tick(2)
    assert (len(scene.team.told), len(scene.got(TEAM_PHONE))) == (1, 1)


def test_the_sweep_wakes_no_more_than_the_broker_can_keep(scene: Scene) -> None:
    waits(scene)
    scene.notifier.wakeups.clear()
    scene.notifier.backlogs[notices.TASK] = sweep.SWEEP_LIMIT
    scene.clock.tick(2)
    sweep.sweep(scene.rt)
    assert notices.TASK not in [task for task, _ in scene.notifier.wakeups]


def test_a_worker_without_a_heartbeat_begins_nothing(scene: Scene) -> None:
    heartbeat = FakeHeartbeat(scene.sessions, scene.clock)
    heartbeat.stopped = True
    waits(scene)
    tell_team(replace(scene.rt, heartbeat=heartbeat), 1)
    assert (scene.team.calls, scene.rows(Message)) == (0, [])


def test_a_second_worker_leaves_a_leased_notice_alone(scene: Scene) -> None:
    during: list[int] = []

    def meanwhile() -> None:
        tell_team(scene.rt, 1)
        during.append(scene.team.calls)

    waits(scene)
    scene.team.in_next_call(meanwhile)
    rest(scene)
    assert (during, scene.team.calls) == ([1], 1)


def test_a_late_worker_that_failed_does_not_undo_what_the_next_one_has_told(scene: Scene) -> None:
    """It is halted in its call for longer than its lease."""
    waits(scene)
    late = notices.claim(scene.rt, 1)
    assert late
    scene.clock.tick(LEASE.total_seconds() + 1)
    tell_team(scene.rt, 1)
    notices.failed(scene.rt, late, CUT)
    [row] = scene.rows(HandoffNotice)
    assert row.told_at
    assert (row.due_at, row.error) == (None, None)


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("received", [True, False])
@pytest.mark.parametrize(
    "error",
    [CUT, NotReached("no", provider="HANDOFF_WEBHOOK"), RateLimited("busy", provider="HANDOFF_WEBHOOK", status=429)],
    ids=lambda error: type(error).__name__,
)
def test_whatever_fails_for_a_while_the_team_is_told_in_the_end(
    scene: Scene, error: RemoteError, received: bool, caplog: pytest.LogCaptureFixture
) -> None:
    scene.team.fail(error, received=received, times=5)
    waits(scene)
    rest(scene)
    assert scene.team.calls == 6
    assert len({told.id for told in scene.team.told}) == 1
    assert len(scene.got(TEAM_PHONE)) == 1
    assert [each for each in listed(scene) if each.kind is failures.Kind.NOTICE] == []
    assert "notice 1 waits for the team's webhook, attempt 5" in caplog.text
    assert ANN not in caplog.text


def test_a_webhook_that_asks_to_wait_is_not_called_sooner(scene: Scene) -> None:
    scene.team.fail(RateLimited("busy", provider="HANDOFF_WEBHOOK", status=429, retry_after=120))
    waits(scene)
    scene.work(seconds=110)
    assert scene.team.calls == 1
    rest(scene)
    assert scene.team.calls == 2


def test_a_refusal_is_given_up_at_once_and_loudly(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.team.fail(GONE)
    id_ = waits(scene)
    with caplog.at_level(logging.ERROR):
        rest(scene)
    assert scene.team.calls == 1
    [shown] = [each for each in listed(scene) if each.kind is failures.Kind.NOTICE]
    assert (shown.conversation_id, shown.phone, shown.id) == (id_, ANN, 1)
    assert shown.error == "the team is not told: HANDOFF_WEBHOOK (410): it refuses the notice"
    assert shown.meaning
    assert [record.levelname for record in caplog.records if "given up" in record.message] == ["ERROR"]
    assert ANN not in caplog.text
    with scene.sessions() as session:
        assert failures.count(session).notices == 1


def test_a_webhook_that_is_away_is_tried_for_a_day_and_then_given_up(scene: Scene) -> None:
    scene.team.fail(CUT, times=10_000)
    waits(scene)
    began = scene.clock()
    rest(scene)
    assert scene.team.calls == GIVE_UP_AFTER
    assert timedelta(hours=23) < scene.clock() - began < timedelta(hours=26)
    assert failures.Kind.NOTICE in [each.kind for each in listed(scene)]


def test_an_operator_has_the_team_told_again_or_dismisses_it(scene: Scene) -> None:
    scene.team.fail(GONE, times=2)
    waits(scene)
    rest(scene)
    assert retry.retry_some(scene.rt, "ana", Kind.NOTICE, 10).notices == [1]
    rest(scene)
    assert scene.team.calls == 2
    assert failures_of_operators.dismiss(scene.rt, "ana", Kind.NOTICE, 1, 10) == 1
    assert failures.Kind.NOTICE not in [each.kind for each in listed(scene)]
    retry.retry_notice(scene.rt, "ana", 1)
    rest(scene)
    assert len(scene.team.told) == 1
    with pytest.raises(retry.Refused):
        retry.retry_notice(scene.rt, "ana", 1)
    with pytest.raises(failures_of_operators.Unknown):
        retry.retry_notice(scene.rt, "ana", 99)
    assert len(scene.got(TEAM_PHONE)) == 1


def test_a_setting_that_is_switched_off_leaves_what_waits(scene: Scene) -> None:
    scene.team.fail(CUT)
    waits(scene)
    scene.work()
    scene.set()
    scene.work(seconds=60)
    tell_team(scene.rt, 1)
    assert scene.team.calls == 1
    scene.set(**TEAM)
    rest(scene)
    assert scene.team.calls == 2


def test_a_killed_workers_notice_is_told_after_its_lease_and_texted_once(scene: Scene) -> None:
    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    waits(scene)
    scene.team.in_next_call(kill)
    with pytest.raises(Killed):
        scene.wake()
    scene.restart()
    scene.work(seconds=LEASE.total_seconds() - 5)
    assert scene.team.calls == 1
    rest(scene)
    assert len(scene.team.told) == 2
    scene.work_until_idle()
    assert len(scene.got(TEAM_PHONE)) == 1


def test_a_handoff_costs_its_transaction_one_statement(scene: Scene) -> None:
    waits(scene, BOB)
    statements: list[str] = []
    with scene.rt.database.transaction() as tx:
        pair = tx.session.scalars(select(Conversation).where(Conversation.phone == BOB)).one()
        event.listen(scene.rt.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
        notices.put(scene.rt, tx, pair.id, "again")
    assert [statement.split()[0] for statement in statements] == ["INSERT"]
