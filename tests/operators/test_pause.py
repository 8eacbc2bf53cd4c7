"""The pause: texts are stored, nothing goes to an agent, answers that are there are delivered; then all goes on."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import TestResponse

from bridge.config import DEFAULT_FALLBACK_REPLY
from bridge.db.engine import Sessions
from bridge.db.models import Chat, CircuitBreaker, Message, MessageStatus, Turn, TurnStatus
from bridge.maintenance import stale_chats
from bridge.operators import pausing
from bridge.providers.errors import AccountRefused, OutcomeUnknown
from bridge.queues import circuit_breakers
from tests.scene import ANN, BOB, Scene

KEY = {"Authorization": "Bearer token-of-ana"}


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, admin_tokens="ana:token-of-ana,ben:token-of-ben", metrics_open=True)


def call(scene: Scene, method: str, path: str, **more: Any) -> TestResponse:
    return scene.web.test_client().open(path, method=method, headers=KEY, **more)


def asked(scene: Scene) -> list[str]:
    return [body for method, body in scene.agent.calls if method == "complete"]


def test_nothing_goes_to_an_agent_until_the_bridge_goes_on(scene: Scene) -> None:
    pausing.begin(scene.rt, "ana")
    scene.text("one", ANN)
    scene.text("two", BOB)
    scene.work(seconds=120)
    assert scene.agent.calls == []
    assert {row.status for row in scene.rows(Message)} == {MessageStatus.WAITING}
    scene.text("and this", ANN)
    pausing.end(scene.rt, "ben")
    scene.work_until_idle()
    assert scene.got(ANN) == ["You said: one\nand this"]
    assert scene.got(BOB) == ["You said: two"]


def test_work_goes_on_at_once(scene: Scene) -> None:
    pausing.begin(scene.rt, "ana")
    scene.text("one")
    scene.work(seconds=10)
    pausing.end(scene.rt, "ana")
    scene.wake()
    assert scene.got() == ["You said: one"]


def test_an_open_chat_gets_nothing_either(scene: Scene) -> None:
    scene.text("one")
    scene.work_until_idle()
    before = list(scene.agent.calls)
    pausing.begin(scene.rt, "ana")
    scene.text("two")
    scene.work(seconds=60)
    assert scene.agent.calls == before


def test_a_turn_in_flight_ends_and_its_answer_is_delivered(scene: Scene) -> None:
    scene.agent.in_next_call(lambda: pausing.begin(scene.rt, "ana"))
    scene.text("one")
    scene.work(seconds=60)
    assert scene.got() == ["You said: one"]
    assert pausing.read(scene.rt) is not None


def test_an_answer_that_waits_in_the_outbox_is_delivered(scene: Scene) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=False)
    scene.text("one")
    scene.wake()
    assert scene.got() == []
    pausing.begin(scene.rt, "ana")
    scene.work(seconds=120)
    assert scene.got() == ["You said: one"]


def test_a_turn_of_unknown_outcome_waits_and_is_not_asked_twice(scene: Scene) -> None:
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), received=True)
    scene.text("one")
    scene.wake()
    pausing.begin(scene.rt, "ana")
    scene.work(seconds=60)
    assert scene.got() == []
    pausing.end(scene.rt, "ana")
    scene.work_until_idle()
    assert scene.got() == ["You said: one"]
    assert scene.agent.received == ["one"]


def test_answer_within_goes_on_counting(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="60s")
    pausing.begin(scene.rt, "ana")
    scene.text("one")
    scene.work(seconds=120)
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.GIVEN_UP]
    assert scene.got() == [DEFAULT_FALLBACK_REPLY]
    assert scene.agent.calls == []


def test_an_open_circuit_beside_the_pause_is_probed_after_it(scene: Scene) -> None:
    scene.agent.fail("create_chat", AccountRefused("no key", provider="retell", status=401), times=2)
    scene.text("one")
    scene.wake()
    pausing.begin(scene.rt, "ana")
    calls = len(scene.agent.calls)
    scene.work(seconds=60)
    assert len(scene.agent.calls) == calls
    pausing.end(scene.rt, "ana")
    scene.work_until_idle()
    assert scene.got() == ["You said: one"]


def test_chats_are_still_ended(scene: Scene) -> None:
    scene.text("one")
    scene.work_until_idle()
    pausing.begin(scene.rt, "ana")
    scene.clock.tick(48 * 3600)
    scene.rt.heartbeat.beat()
    stale_chats.end_stale(scene.rt)
    scene.work(seconds=5)
    assert [row.status for row in scene.rows(Chat)] == ["ended"]


# -- what is shown -------------------------------------------------------------------------------------------------


def test_the_pause_is_begun_once_and_shown(scene: Scene) -> None:
    assert call(scene, "GET", "/admin/pause").json == {"paused": False, "since": None, "operator": None}
    begun = call(scene, "POST", "/admin/pause").json
    assert begun == {"paused": True, "since": "2026-11-02T12:00:00Z", "operator": "ana"}
    scene.clock.tick(60)
    pausing.begin(scene.rt, "ben")
    assert call(scene, "GET", "/admin/pause").json == begun
    assert call(scene, "POST", "/admin/resume").json == {"paused": False, "since": None, "operator": None}
    assert call(scene, "POST", "/admin/resume").status_code == 200


def test_the_pause_is_no_circuit(scene: Scene) -> None:
    pausing.begin(scene.rt, "ana")
    with scene.sessions() as session:
        assert circuit_breakers.open_circuits(session) == []
        assert session.query(CircuitBreaker).count() == 1


def test_the_metrics_and_the_log_tell_it(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    assert "bridge_paused 0.0" in call(scene, "GET", "/metrics").text
    pausing.begin(scene.rt, "ana")
    assert "bridge_paused 1.0" in call(scene, "GET", "/metrics").text
    assert "ana keeps all agents still; texts wait" in caplog.text
    pausing.end(scene.rt, "ben")
    assert "ben lets all agents go on" in caplog.text
