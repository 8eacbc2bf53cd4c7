"""STOP and START by text in the person's contact: at least once, the latest wish, and never at the opt-out's cost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from bridge.chats import do_not_call
from bridge.chats.do_not_call import GIVE_UP_AFTER, LEASE, NewWish
from bridge.chats.do_not_call_task import write_do_not_call
from bridge.db.engine import Sessions
from bridge.db.models import ContactUpdate, OptOut
from bridge.maintenance import sweep
from bridge.providers.errors import AccountRefused, NotReached, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.web.queries import failures
from tests.fakes import UPONAI
from tests.mortal import emptied
from tests.scene import ANN, BOB, NUMBER, FakeHeartbeat, Scene

CUT = OutcomeUnknown("cut", provider="retell")
NO_KEY = AccountRefused("no key", provider="retell", status=401)
OTHER_NUMBER = "+15550002222"
WRITE = {"retell_contacts": "write"}


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, **WRITE)


def writes(scene: Scene) -> int:
    return [call for call, _ in scene.agent.calls].count("set_do_not_call")


def rest(scene: Scene, at_most: float = 7 * 24 * 3600) -> None:
    """Let time pass until no wish is due any more."""
    scene.work()
    until = scene.clock() + timedelta(seconds=at_most)
    while due := [row.due_at for row in scene.rows(ContactUpdate) if row.due_at]:
        assert scene.clock() < until
        scene.tick(max(1.0, (min(due) - scene.clock()).total_seconds()))


def listed(scene: Scene) -> list[failures.Failure]:
    return failures.list_failures(scene.rt).failures


# -- what is written -------------------------------------------------------------------------------------------------


def test_stop_sets_it_and_start_clears_it(scene: Scene) -> None:
    scene.text("STOP")
    scene.work()
    assert scene.agent.do_not_call == {ANN: True}
    scene.tick()
    scene.text("START")
    scene.work()
    assert scene.agent.do_not_call == {ANN: False}
    assert writes(scene) == 2
    [row] = scene.rows(ContactUpdate)
    assert (row.provider, row.phone, row.due_at, row.leased, row.error) == ("retell", ANN, None, False, None)


@pytest.mark.parametrize("contacts", ["read", None])
def test_without_the_setting_nothing_is_written(sessions: Sessions, contacts: str | None) -> None:
    scene = Scene(sessions, retell_contacts=contacts)
    for body in ("STOP", "START"):
        scene.text(body)
        scene.work()
        scene.tick()
    assert scene.rows(ContactUpdate) == []
    assert writes(scene) == 0


def test_a_number_of_another_provider_has_no_contact(sessions: Sessions) -> None:
    scene = Scene(sessions, **UPONAI, **WRITE)
    scene.text("STOP")
    scene.work()
    assert scene.rows(ContactUpdate) == []


@pytest.mark.parametrize("phone", ["55512", "whatsapp:US.13491208655302741918"])
def test_an_address_that_is_no_number_has_no_contact(scene: Scene, phone: str) -> None:
    scene.text("STOP", phone)
    scene.work()
    assert scene.rows(ContactUpdate) == []


def test_a_person_has_one_contact_whatever_the_channel(scene: Scene) -> None:
    scene.text("STOP", f"whatsapp:{ANN}", to=f"whatsapp:{NUMBER}")
    scene.work()
    scene.tick()
    scene.text("STOP", ANN)
    scene.work()
    assert scene.agent.do_not_call == {ANN: True}
    assert writes(scene) == 1
    assert len(scene.rows(ContactUpdate)) == 1


def test_an_equal_wish_costs_no_call(scene: Scene) -> None:
    for _ in range(3):
        scene.text("STOP")
        scene.work()
        scene.tick()
    assert writes(scene) == 1


def test_a_start_without_an_opt_out_is_an_ordinary_text(scene: Scene) -> None:
    scene.text("START")
    scene.work()
    assert scene.agent.received == ["START"]
    assert scene.rows(ContactUpdate) == []


def test_a_stop_that_comes_after_the_carriers_own_report_is_written_too(scene: Scene) -> None:
    """Twilio blocks the person at once; the webhook of the STOP itself is late."""
    scene.text("hello")
    scene.carrier.fail("send", Refused("unsubscribed", provider="twilio", status=400, code=21610))
    scene.work()
    assert scene.rows(ContactUpdate) == []
    scene.text("STOP")
    scene.work()
    assert scene.agent.do_not_call == {ANN: True}


def test_a_late_stop_does_not_undo_a_newer_start(scene: Scene) -> None:
    scene.text("STOP")
    sent_at = scene.clock.tick(1)
    scene.clock.tick(1)
    scene.text("START")
    scene.work()
    scene.text("STOP", to=OTHER_NUMBER, sent_at=sent_at)
    scene.work()
    assert scene.agent.do_not_call == {ANN: False}


def test_the_opt_out_and_the_wish_are_one_commit(scene: Scene) -> None:
    def dies(connection: Any) -> None:
        raise KeyboardInterrupt

    scene.rt = replace(scene.rt, database=replace_commit(scene, dies))
    with pytest.raises(KeyboardInterrupt):
        scene.text("STOP")
    with scene.sessions() as session:
        assert not session.query(OptOut).all()
    assert scene.rows(ContactUpdate) == []


def replace_commit(scene: Scene, commit: Callable[[Any], None]) -> Any:
    return type(scene.rt.database)(scene.rt.engine, scene.notifier.wake, scene.clock, commit=commit)


def test_contacts_that_fail_never_delay_an_opt_out(scene: Scene) -> None:
    scene.agent.fail("set_do_not_call", NotReached("refused", provider="retell"), times=1000)
    scene.text("hello")
    scene.text("STOP")
    scene.work(seconds=60)
    assert scene.got() == []
    with scene.sessions() as session:
        assert [row.ended_at for row in session.query(OptOut).all()] == [None]
    scene.text("hi", BOB)
    scene.work()
    assert scene.got(BOB) == ["You said: hi"], "no circuit of the agent opens for it"


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("received", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        CUT,
        NO_KEY,
        NotReached("no", provider="retell"),
        RateLimited("no", provider="retell"),
        Refused("no", provider="retell"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_fails_it_is_written_in_the_end(scene: Scene, error: RemoteError, received: bool) -> None:
    scene.agent.fail("set_do_not_call", error, received=received, times=5)
    scene.text("STOP")
    rest(scene)
    assert scene.agent.do_not_call == {ANN: True}
    assert writes(scene) == 6
    assert listed(scene) == []


def test_a_lost_wake_up_is_found_by_the_sweep(scene: Scene) -> None:
    scene.text("STOP")
    scene.notifier.wakeups.clear()
    scene.tick(2)
    assert scene.agent.do_not_call == {ANN: True}


def test_the_sweep_wakes_no_more_than_the_broker_can_hold(scene: Scene) -> None:
    scene.text("STOP")
    scene.notifier.wakeups.clear()
    scene.notifier.backlogs[do_not_call.TASK] = sweep.SWEEP_LIMIT
    scene.clock.tick(2)
    sweep.sweep(scene.rt)
    assert do_not_call.TASK not in [task for task, _ in scene.notifier.wakeups]


def test_a_wake_up_that_comes_twice_writes_once(scene: Scene) -> None:
    scene.text("STOP")
    scene.notifier.wakeups *= 2
    scene.work()
    assert writes(scene) == 1


def test_a_wake_up_too_early_does_not_shorten_the_pause(scene: Scene) -> None:
    scene.agent.fail("set_do_not_call", CUT, times=2)
    scene.text("STOP")
    scene.work()
    write_do_not_call(scene.rt, 1)
    assert writes(scene) == 1


def test_a_provider_that_asks_to_wait_is_not_asked_sooner(scene: Scene) -> None:
    scene.agent.fail("set_do_not_call", RateLimited("no", provider="retell", status=429, retry_after=120))
    scene.text("STOP")
    scene.work(seconds=110)
    assert writes(scene) == 1
    rest(scene)
    assert writes(scene) == 2


def test_a_refusal_that_lasts_is_tried_ever_more_slowly_shown_and_given_up_loudly(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.agent.fail("set_do_not_call", NO_KEY, times=10_000)
    scene.text("STOP")
    scene.work(seconds=60)
    assert listed(scene) == []
    scene.work(seconds=3600)
    [shown] = listed(scene)
    assert (shown.kind, shown.conversation_id, shown.phone) == (failures.Kind.CONTACT, 1, ANN)
    assert shown.error == "do_not_call is not written: retell (401): no key"
    assert writes(scene) < 15
    began = scene.clock()
    with caplog.at_level(logging.ERROR):
        rest(scene)
    assert writes(scene) == GIVE_UP_AFTER
    assert timedelta(days=2) < scene.clock() - began < timedelta(days=4)
    assert any("given up" in message for message in caplog.messages)
    assert ANN not in caplog.text
    assert len(listed(scene)) == 1
    scene.agent.recover()
    scene.text("STOP")
    rest(scene)
    assert scene.agent.do_not_call == {ANN: True}, "the next STOP tries again"
    assert listed(scene) == []


def test_a_new_wish_does_not_wait_for_the_pause_of_the_old_one(scene: Scene) -> None:
    scene.agent.fail("set_do_not_call", NO_KEY, times=8)
    scene.text("STOP")
    scene.work(seconds=120)
    scene.agent.recover()
    scene.text("START")
    scene.work()
    assert scene.agent.do_not_call == {ANN: False}


def test_a_setting_that_is_switched_off_leaves_what_waits(scene: Scene) -> None:
    scene.agent.fail("set_do_not_call", CUT)
    scene.text("STOP")
    scene.work()
    scene.set()
    scene.work(seconds=600)
    assert writes(scene) == 1
    scene.set(**WRITE)
    rest(scene)
    assert scene.agent.do_not_call == {ANN: True}


# -- the latest wish -------------------------------------------------------------------------------------------------


def test_a_wish_that_comes_while_an_older_one_is_written_is_written_by_the_same_worker_after_it(scene: Scene) -> None:
    during: list[int] = []

    def meanwhile() -> None:
        scene.clock.tick(1)
        scene.text("START")
        scene.wake()  # another worker finds the lease
        during.append(writes(scene))

    scene.text("STOP")
    scene.agent.in_next_call(meanwhile)
    scene.work()
    assert during == [1]
    assert scene.agent.do_not_call == {ANN: False}
    assert writes(scene) == 2


def test_a_killed_workers_wish_is_written_after_its_lease(scene: Scene) -> None:
    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    scene.agent.in_next_call(kill)
    scene.text("STOP")
    with pytest.raises(Killed):
        scene.wake()
    scene.agent.do_not_call.clear()
    scene.restart()
    scene.work(seconds=LEASE.total_seconds() - 5)
    assert writes(scene) == 1
    rest(scene)
    assert scene.agent.do_not_call == {ANN: True}


def test_a_worker_that_writes_an_old_wish_late_has_the_newest_written_again(scene: Scene) -> None:
    """It is halted in its call; the next one writes a newer wish; then the old call arrives."""
    late = scene.rt

    def halted() -> None:
        late.heartbeat.stopped = True  # type: ignore[attr-defined]
        scene.restart()
        scene.clock.tick(LEASE.total_seconds() + 1)
        scene.text("START")
        rest(scene)
        assert scene.agent.do_not_call == {ANN: False}
        scene.agent.do_not_call[ANN] = True  # the halted call

    scene.text("STOP")
    scene.notifier.wakeups.clear()
    scene.agent.in_next_call(halted)
    write_do_not_call(late, 1)
    rest(scene)
    assert scene.agent.do_not_call == {ANN: False}


def test_a_worker_without_a_heartbeat_begins_nothing(scene: Scene) -> None:
    heartbeat = FakeHeartbeat(scene.sessions, scene.clock)
    heartbeat.stopped = True
    scene.text("STOP")
    write_do_not_call(replace(scene.rt, heartbeat=heartbeat), 1)
    assert writes(scene) == 0


@dataclass
class Person:
    """What a person has wished, and when."""

    at: int = -1
    wanted: bool | None = None

    def wish(self, at: int, wanted: bool) -> None:
        if at >= self.at:
            self.at, self.wanted = at, wanted


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wish"), st.integers(0, 9), st.booleans()),
        st.tuples(st.sampled_from(["work", "fail", "lose", "lost answer", "kill", "halt"]), st.just(0), st.just(False)),
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_the_latest_wish_wins_whatever_happens_in_whatever_order(
    hasty_engine: Engine, steps: list[tuple[str, int, bool]]
) -> None:
    """Wishes come in any order; workers fail, are killed, are late; wake-ups are lost."""
    scene = Scene(emptied(hasty_engine), **WRITE)
    scene.text("hello")
    scene.work()
    began, person, late = scene.clock(), Person(), []

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    for kind, at, wanted in steps:
        if kind == "wish":
            with scene.rt.database.transaction() as tx:
                do_not_call.record(tx, NewWish("retell", ANN, 1, wanted, began + timedelta(seconds=at)))
            person.wish(at, wanted)
        elif kind == "lose":
            scene.notifier.wakeups.clear()
        elif kind == "halt":  # a worker takes the lease, and writes when all others are done
            if wish := do_not_call.claim(scene.rt, 1):
                late.append(wish)
            scene.clock.tick(LEASE.total_seconds() + 1)
        else:
            if kind in ("fail", "lost answer"):
                scene.agent.fail("set_do_not_call", CUT, received=kind == "lost answer")
            if kind == "kill":
                scene.agent.in_next_call(kill)
            try:
                scene.tick(2)
            except Killed:
                scene.restart()
        scene.rt.heartbeat.beat()  # type: ignore[attr-defined]
    scene.agent.recover()
    rest(scene)
    for wish in late:
        scene.agent.set_do_not_call(wish.phone, wish.do_not_call)
        do_not_call.settled(scene.rt, wish)
    rest(scene)
    assert scene.agent.do_not_call.get(ANN) is person.wanted
    assert not [row for row in scene.rows(ContactUpdate) if row.leased or row.error]
