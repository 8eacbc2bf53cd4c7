"""Processes whose clocks differ: the wake-up of due work finds it due, so it does not wait for the next sweep."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from twilio.request_validator import RequestValidator

from bridge.db.engine import Sessions
from bridge.maintenance import sweep
from bridge.outbound import outbox
from bridge.outbound.delivery.process import process_deliveries
from bridge.queues.timing import STALLED_AFTER
from bridge.runtime import Runtime
from bridge.turns.process import process_turns
from bridge.web.app import build_web
from tests.fakes import SETTINGS, FakeClock
from tests.scene import ANN, NUMBER, FakeHeartbeat, Scene

AHEAD = [0.05, 0.9]
"""Seconds: of two machines whose clocks are set by the network, and of two that are not set well."""


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


@pytest.fixture(params=AHEAD, ids=lambda seconds: f"{seconds} s ahead")
def later(request: pytest.FixtureRequest, scene: Scene) -> FakeClock:
    clock = FakeClock(scene.clock())
    clock.tick(request.param)
    return clock


@pytest.fixture
def ahead(scene: Scene, later: FakeClock) -> Runtime:
    """Another process of the same bridge, by whose clock it is later."""
    return replace(scene.rt, heartbeat=FakeHeartbeat(scene.sessions, later), now=later)


def texts(web: FlaskClient, body: str, sid: int) -> None:
    """By Twilio's webhook."""
    form = {
        "MessageSid": f"SM{0xA000 + sid:032x}",
        "AccountSid": SETTINGS["twilio_account_sid"],
        "From": ANN,
        "To": NUMBER,
        "Body": body,
    }
    signer = RequestValidator(SETTINGS["twilio_auth_token"])
    signature = signer.compute_signature(f"{SETTINGS['public_url']}/twilio/inbound", form)
    assert web.post("/twilio/inbound", data=form, headers={"X-Twilio-Signature": signature}).status_code == 200


def test_the_wake_up_of_the_webhook_finds_its_text_due_though_the_webs_clock_is_ahead(
    scene: Scene, ahead: Runtime
) -> None:
    web = build_web(ahead).test_client()
    for n, body in enumerate(("one", "two")):
        texts(web, body, n)
        scene.wake()
        assert scene.agent.received[n:] == [body]


def test_the_wake_up_of_a_worker_whose_clock_is_ahead_finds_its_notice_due(scene: Scene, ahead: Runtime) -> None:
    scene.text("one")
    scene.notifier.wakeups.clear()
    with ahead.database.transaction() as tx:
        outbox.put_notice(ahead, tx, 1, "a notice")
    assert scene.notifier.wakeups == [("process_deliveries", 1)]
    process_deliveries(scene.rt, 1)
    assert scene.got() == ["a notice"]


def test_the_next_text_is_claimed_at_once_though_a_worker_whose_clock_is_ahead_made_it_due(
    scene: Scene, ahead: Runtime
) -> None:
    """The worker is halted before it comes to the next text; the worker of the next wake-up goes on."""
    scene.text("one")
    scene.agent.in_next_call(lambda: scene.text("two"))

    class Once(FakeHeartbeat):
        def may_start_work(self, worker: str) -> bool:
            return super().may_start_work(worker) and not scene.agent.received

    process_turns(replace(ahead, heartbeat=Once(scene.sessions, scene.clock)), 1)
    assert scene.agent.received == ["one"]
    scene.wake()
    assert scene.agent.received == ["one", "two"]


@pytest.mark.parametrize("task", ["process_turns", "process_deliveries"])
def test_the_wake_up_of_a_sweeper_whose_clock_is_ahead_finds_reclaimed_work_due(
    scene: Scene, ahead: Runtime, later: FakeClock, task: str
) -> None:
    class Died(BaseException):
        """Nothing that the bridge knows how to meet."""

    def dies() -> None:
        raise Died

    scene.text("one")
    (scene.agent if task == "process_turns" else scene.carrier).in_next_call(dies)
    with pytest.raises(Died):
        scene.wake()
    scene.clock.tick(STALLED_AFTER.total_seconds() + 1)
    later.tick(STALLED_AFTER.total_seconds() + 1)
    scene.restart()
    ahead.heartbeat.beat()
    calls = len(scene.agent.calls) + len(scene.carrier.calls)
    sweep.sweep(ahead)
    assert [woken for woken, _ in scene.notifier.wakeups] == [task]
    scene.wake()
    assert len(scene.agent.calls) + len(scene.carrier.calls) > calls
