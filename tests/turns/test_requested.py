"""A chat that was requested, and of which the bridge never learned: it is searched before another one is requested."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bridge.db.engine import Sessions
from bridge.db.models import Chat, ChatStatus, Turn, TurnStatus
from bridge.db.transaction import Database
from bridge.providers.agents.registry import AGENTS
from bridge.providers.agents.routes import Agents
from bridge.providers.errors import (
    AccountRefused,
    ChatEnded,
    NotReached,
    OutcomeUnknown,
    RateLimited,
    Refused,
    RemoteError,
)
from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.simulator.ledger import ChatOpened
from testkit.waiting import until
from tests.fakes import FakeAgent, FakeClock
from tests.scene import ANN, BOB, FakeHeartbeat, Scene

CUT = OutcomeUnknown("cut", provider="retell")
BROKEN = OutcomeUnknown("HTTP 500", provider="retell", status=500)
NO_LIST = OutcomeUnknown("HTTP 500", provider="retell", status=500)


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


def calls(scene: Scene, *names: str) -> list[str]:
    return [call for call, _ in scene.agent.calls if call in names]


def opened(scene: Scene) -> list[tuple[int, str]]:
    """The turn and the person of each chat at the provider."""
    return [(chat.about.turn_id, chat.about.user_number) for chat in scene.agent.chats.values()]


@pytest.mark.parametrize("error", [CUT, BROKEN], ids=["cut", "500"])
def test_a_chat_whose_answer_was_lost_is_used_and_no_second_one_is_opened(scene: Scene, error: RemoteError) -> None:
    scene.agent.fail("create_chat", error, received=True)
    scene.text("hello")
    assert scene.work_until_idle() <= 5
    assert opened(scene) == [(1, ANN)]
    assert scene.agent.received == ["hello"]
    assert scene.got() == ["You said: hello"]
    assert [(row.provider_chat_id, row.status) for row in scene.rows(Chat)] == [("chat_1", ChatStatus.ONGOING)]
    assert [row.chat_requested_at for row in scene.rows(Turn)] == [None]


@pytest.mark.parametrize(("error", "within"), [(BROKEN, (5, 8)), (CUT, (30, 40))], ids=["500", "cut"])
def test_a_request_that_was_not_carried_out_is_repeated_once_it_can_no_longer_arrive(
    scene: Scene, error: RemoteError, within: tuple[int, int]
) -> None:
    scene.agent.fail("create_chat", error)
    scene.text("hello")
    least, most = within
    assert least <= scene.work_until_idle() <= most
    assert opened(scene) == [(1, ANN)]
    assert calls(scene, "create_chat") == ["create_chat"] * 2
    assert "find_chats" in calls(scene, "find_chats")
    assert scene.got() == ["You said: hello"]


def test_a_chat_that_the_list_shows_late_is_used(scene: Scene) -> None:
    scene.agent.listed_after = timedelta(seconds=12)
    scene.agent.fail("create_chat", CUT, received=True)
    scene.text("hello")
    scene.work_until_idle()
    assert opened(scene) == [(1, ANN)]
    assert scene.got() == ["You said: hello"]


def test_a_chat_that_the_list_shows_much_too_late_is_a_stray_and_the_text_is_asked_once(scene: Scene) -> None:
    scene.agent.listed_after = timedelta(minutes=10)
    scene.agent.fail("create_chat", CUT, received=True)
    scene.text("hello")
    scene.work_until_idle()
    assert opened(scene) == [(1, ANN)] * 2
    assert [chat.received for chat in scene.agent.chats.values()] == [[], ["hello"]]


@pytest.mark.parametrize(
    "error",
    [
        NotReached("refused", provider="retell"),
        RateLimited("busy", provider="retell", status=429),
        AccountRefused("no key", provider="retell", status=401),
        AccountRefused("no agent", provider="retell", status=422, part="agent_1"),
    ],
    ids=["not reached", "429", "401", "422"],
)
def test_what_surely_opened_no_chat_is_repeated_without_a_search(scene: Scene, error: RemoteError) -> None:
    scene.agent.fail("create_chat", error, times=2)
    scene.text("hello")
    scene.work_until_idle()
    assert calls(scene, "find_chats") == []
    assert calls(scene, "create_chat") == ["create_chat"] * 3
    assert scene.got() == ["You said: hello"]


def test_a_refusal_after_an_unknown_outcome_does_not_forget_it(scene: Scene) -> None:
    """The list lags. The second request is refused, and then the list shows what the first one has done."""
    scene.agent.listed_after = timedelta(seconds=31)
    scene.agent.fail("create_chat", CUT, received=True)
    scene.agent.fail("create_chat", RateLimited("busy", provider="retell", status=429, retry_after=10))
    scene.text("hello")
    scene.work_until_idle()
    assert calls(scene, "create_chat") == ["create_chat"] * 2
    assert opened(scene) == [(1, ANN)]
    assert scene.got() == ["You said: hello"]


def test_a_worker_that_is_killed_before_it_stores_the_chat_leaves_it_to_the_next_one(scene: Scene) -> None:
    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    scene.agent.in_next_call(kill)
    scene.text("hello")
    with pytest.raises(Killed):
        scene.wake()
    scene.restart()
    scene.work_until_idle()
    assert opened(scene) == [(1, ANN)]
    assert scene.got() == ["You said: hello"]


def test_only_the_chat_of_this_turn_is_used(scene: Scene) -> None:
    """Others text at the same moment, and this person's old chat has ended just now."""
    scene.text("one")
    scene.work()
    scene.agent.end("chat_1")
    scene.agent.fail("create_chat", CUT)
    scene.text("two")
    scene.text("hi", BOB)
    scene.work_until_idle()
    assert {
        chat.about.user_number: chat.received for chat in scene.agent.chats.values() if chat.received[0] != "one"
    } == {
        ANN: ["two"],
        BOB: ["hi"],
    }


def test_a_stored_chat_of_the_same_turn_is_not_used_again(scene: Scene) -> None:
    """It fails, and is left; the request for the next one is lost."""
    scene.agent.fail("complete", ChatEnded("Chat already ended", provider="retell", status=400))
    scene.text("hello")
    scene.wake()
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED]
    scene.agent.fail("create_chat", BROKEN)
    scene.work_until_idle()
    assert opened(scene) == [(1, ANN)] * 2
    assert [chat.received for chat in scene.agent.chats.values()] == [[], ["hello"]]
    assert scene.got() == ["You said: hello"]


def test_a_search_that_fails_is_repeated_and_in_the_end_a_chat_is_requested_without_it(scene: Scene) -> None:
    scene.agent.fail("create_chat", CUT)
    scene.agent.fail("find_chats", NO_LIST, times=1000)
    scene.text("hello")
    assert scene.work_until_idle() < 60
    assert len(calls(scene, "find_chats")) == 4
    assert scene.got() == ["You said: hello"]


@pytest.mark.parametrize(
    "error",
    [
        AccountRefused("not allowed", provider="retell", status=403),
        Refused("no such list", provider="retell", status=404),
        NotReached("refused", provider="retell"),
    ],
    ids=["403", "404", "not reached"],
)
def test_a_list_that_cannot_be_read_stops_nobody(scene: Scene, error: RemoteError) -> None:
    """No circuit opens for it: the request for a chat tells whether our account is served."""
    scene.agent.fail("create_chat", CUT)
    scene.agent.fail("find_chats", error, times=1000)
    scene.text("hello")
    assert scene.work_until_idle() < 5
    assert opened(scene) == [(1, ANN)]
    assert scene.got() == ["You said: hello"]


def test_a_chat_that_is_found_and_cannot_be_read_is_read_later(scene: Scene) -> None:
    scene.agent.fail("create_chat", CUT, received=True)
    scene.agent.fail("get_chat", NO_LIST)
    scene.text("hello")
    scene.work_until_idle()
    assert opened(scene) == [(1, ANN)]
    assert scene.got() == ["You said: hello"]


def test_a_text_in_an_open_chat_is_never_searched_for_there(scene: Scene) -> None:
    for body in ("one", "two"):
        scene.agent.fail("complete", CUT)
        scene.text(body)
        scene.work_until_idle()
    assert calls(scene, "find_chats") == []


def test_the_greeting_of_a_chat_that_is_found_counts_as_known(sessions: Sessions) -> None:
    scene = Scene(sessions, agent=FakeAgent(greeting="Welcome!"))
    scene.agent.fail("create_chat", CUT, received=True)
    scene.agent.fail("complete", CUT, received=True)
    scene.text("hello")
    scene.work_until_idle()
    assert scene.got() == ["You said: hello"]
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED]


# -- at the simulated provider --------------------------------------------------------------------------------------


@contextmanager
def simulated(sessions: Sessions, provider: str, **settings: Any) -> Iterator[tuple[Scene, Simulator]]:
    """Yield a scene with the real adapter and the simulated provider, on one clock."""
    clock = FakeClock()
    simulator = Simulator(SimulatorSettings(echo=True, clock=lambda: clock().timestamp(), **settings))
    with serve(simulator) as address:
        known = simulator.settings.agent_at(provider, address)
        scene = Scene(sessions, agent_timeout="1s", **{name.lower(): value for name, value in known.items()})
        scene.clock = clock
        agent = AGENTS[provider](scene.rt.settings)
        scene.rt = replace(
            scene.rt,
            agents=Agents(scene.rt.settings, {provider: agent}),
            database=Database(sessions.kw["bind"], scene.notifier.wake, clock),
            heartbeat=FakeHeartbeat(sessions, clock),
            now=clock,
        )
        yield scene, simulator
        agent.close()


@pytest.mark.parametrize(
    ("provider", "lists_metadata"),
    [("retell", True), ("retell", False), ("uponai", True)],
    ids=["retell", "retell without metadata in the list", "uponai"],
)
@pytest.mark.parametrize("fault", ["agent_cut", "agent_500_after", "agent_garbage", "agent_slow"])
def test_the_same_chat_is_never_created_twice_where_the_list_tells(
    sessions: Sessions, fault: str, provider: str, lists_metadata: bool
) -> None:
    """Each chat that is created runs the agent's pre-session tools."""
    with simulated(sessions, provider, lists_metadata=lists_metadata) as (scene, simulator):
        simulator.faults.next(fault, 1, ["create"], **({"seconds": 1.2} if fault == "agent_slow" else {}))
        scene.text("hello")
        scene.wake()
        until(lambda: simulator.ledger.of(ChatOpened), "the chat is there")
        scene.work_until_idle()
        assert [event.turn for event in simulator.ledger.of(ChatOpened)] == ["1"]
        assert simulator.agent.received() == ["hello"]
        assert scene.got() == ["re: hello"]


@pytest.mark.parametrize("provider", ["retell", "uponai"])
def test_a_list_that_lags_for_a_moment_tells_all_the_same(sessions: Sessions, provider: str) -> None:
    with simulated(sessions, provider, listed_after=8.0) as (scene, simulator):
        simulator.faults.next("agent_cut", 1, ["create"])
        scene.text("hello")
        scene.work_until_idle()
        assert [event.turn for event in simulator.ledger.of(ChatOpened)] == ["1"]
        assert scene.got() == ["re: hello"]
