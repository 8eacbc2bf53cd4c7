"""Vendors that serve nobody: nothing is burned, nothing is lost, and it flows again by itself."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from bridge import holds
from bridge.db import Sessions
from bridge.errors import AccountRefused, NotReached, RemoteError
from bridge.holds import Held, held
from bridge.models import Hold, Message, MessageStatus, Turn
from tests.scene import Scene

PHONES = [f"+1555123{n:04}" for n in range(5)]

AGENT_AWAY = [
    AccountRefused("no such key", provider="retell", status=401),
    AccountRefused("trial over", provider="retell", status=402),
    NotReached("connection refused", provider="retell"),
]


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


def text_all(scene: Scene, what: str) -> None:
    for phone in PHONES:
        scene.text(f"{what} {phone}", phone)


def attempts(scene: Scene) -> int:
    """How often the agent was called for something."""
    return sum(call in {"complete", "create_chat"} for call, _ in scene.agent.calls)


@pytest.mark.parametrize("error", AGENT_AWAY, ids=str)
def test_an_agent_that_serves_nobody_is_asked_by_one_probe_at_a_time(scene: Scene, error: RemoteError) -> None:
    scene.agent.fail("create_chat", error, times=1000)
    text_all(scene, "one")
    scene.work(seconds=100)
    assert 5 < attempts(scene) < 15
    assert [row.attempts for row in scene.rows(Turn)] == [0] * len(scene.rows(Turn))
    assert scene.agent.heard == []


@pytest.mark.parametrize("error", AGENT_AWAY, ids=str)
def test_when_it_serves_again_everything_flows_in_order_and_soon(scene: Scene, error: RemoteError) -> None:
    scene.agent.fail("create_chat", error, times=1000)
    text_all(scene, "one")
    scene.work(seconds=60)
    text_all(scene, "two")
    scene.work(seconds=60)
    scene.agent.recover()
    scene.work(seconds=30)
    for phone in PHONES:
        said = "\n".join(scene.got(phone)).replace("You said: ", "").split("\n")
        assert said == [f"one {phone}", f"two {phone}"]
    with scene.sessions() as session:
        assert session.scalars(select(Hold)).all() == []


def test_a_carrier_that_serves_nobody_costs_no_answer(scene: Scene) -> None:
    error = AccountRefused("account suspended", provider="twilio", status=403, code=30002)
    scene.carrier.fail("send", error, times=1000)
    text_all(scene, "one")
    scene.work(seconds=100)
    assert sum(call == "send" for call, _ in scene.carrier.calls) < 15
    assert len(scene.agent.heard) == 5
    scene.carrier.recover()
    scene.work(seconds=30)
    assert [scene.got(phone) for phone in PHONES] == [[f"You said: one {phone}"] for phone in PHONES]


def test_a_key_that_is_revoked_in_the_middle_loses_nothing(scene: Scene) -> None:
    text_all(scene, "one")
    scene.work()
    scene.agent.fail("complete", AGENT_AWAY[0], times=1000)
    scene.agent.fail("get_chat", AGENT_AWAY[0], times=1000)
    text_all(scene, "two")
    scene.work(seconds=60)
    scene.agent.recover()
    scene.work(seconds=30)
    assert [scene.got(phone)[-1] for phone in PHONES] == [f"You said: two {phone}" for phone in PHONES]
    assert len(scene.agent.heard) == 10


def test_what_is_too_old_is_given_up_all_the_same(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="120s")
    scene.agent.fail("create_chat", AGENT_AWAY[0], times=1000)
    text_all(scene, "one")
    scene.work(seconds=150)
    assert [scene.got(phone) for phone in PHONES] == [[scene.rt.settings.fallback_reply]] * 5
    assert not scene.waiting()


def test_an_answer_that_is_too_old_is_given_up_all_the_same(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="120s")
    scene.carrier.fail("send", AccountRefused("suspended", provider="twilio", status=401, code=20003), times=1000)
    text_all(scene, "one")
    scene.work(seconds=150)
    given_up = [row.status for row in scene.rows(Message) if row.reference]
    assert given_up == [MessageStatus.GIVEN_UP] * 5
    assert not scene.waiting()


def test_a_hold_says_whose_it_is_since_when_and_why(scene: Scene) -> None:
    scene.agent.fail("create_chat", AGENT_AWAY[1], times=1000)
    began = scene.clock()
    scene.text("one")
    scene.work(seconds=60)
    with scene.sessions() as session:
        assert held(session) == [Held("retell", "retell (402): trial over", began)]


def test_a_hold_that_nobody_is_left_to_probe_is_lifted(scene: Scene) -> None:
    """The next piece of work finds out by itself; /readyz must not show a fault for ever."""
    with scene.sessions.begin() as session:
        holds.place(session, NotReached("refused", provider="retell"), scene.clock())
    scene.work(seconds=30)
    with scene.sessions() as session:
        assert session.scalars(select(Hold)).all() == []
