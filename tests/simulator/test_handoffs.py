"""The hazards of a handoff to a human, between the bridge and the simulated providers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from bridge.db.engine import Sessions
from bridge.db.models import Conversation, Holder
from bridge.providers.agents.contract import ChatState, NewChat
from bridge.providers.agents.registry import AGENTS
from bridge.simulator import Simulator, SimulatorSettings, judge, serve
from bridge.simulator.ledger import HandedBack, HandedOver, Wrong
from bridge.simulator.receptionist import HANDOFF
from tests.fakes import fake_settings
from tests.scene import Scene

HANDOFF_REPLY = fake_settings().handoff_reply


class Stage:
    """A bridge whose agent is simulated. Its clock is the bridge's."""

    def __init__(self, sessions: Sessions, provider: str, stack: ExitStack) -> None:
        simulated = SimulatorSettings(echo=True, clock=lambda: self.scene.clock().timestamp())
        self.simulator = Simulator(simulated)
        address = stack.enter_context(serve(self.simulator))
        known = {name.lower(): value for name, value in simulated.agent_at(provider, address).items()}
        agent = AGENTS[provider](fake_settings(**known))
        stack.callback(agent.close)
        self.scene = Scene(sessions, agent, **known)  # type: ignore[arg-type]

    @property
    def holder(self) -> Holder:
        return Holder(self.scene.rows(Conversation)[0].holder)

    def text(self, body: str, seconds: float = 60) -> None:
        self.scene.text(body)
        self.scene.work(seconds)

    def back(self) -> None:
        self.simulator.faults.next("agent_hands_back")
        self.scene.work_until_idle()


@pytest.fixture(params=["retell", "uponai"])
def stage(request: pytest.FixtureRequest, sessions: Sessions) -> Iterator[Stage]:
    with ExitStack() as stack:
        stage = Stage(sessions, request.param, stack)
        stage.text("hello", 1)
        yield stage


HAZARDS = {
    "agent_hands_over": [HANDOFF],
    "agent_hands_over_in_call": [HANDOFF],
    "agent_hands_over_silently": [HANDOFF_REPLY],
    "agent_status_unknown": [HANDOFF_REPLY],
}


@pytest.mark.parametrize(("fault", "told"), HAZARDS.items())
def test_each_way_to_hand_over_is_met_safely_and_the_conversation_goes_on_by_itself(
    stage: Stage, fault: str, told: list[str]
) -> None:
    stage.simulator.faults.next(fault)
    stage.text("one")
    stage.text("two")
    assert (stage.holder, stage.scene.got()[1:]) == (Holder.WAITING, told)
    stage.back()
    stage.text("three")
    assert stage.holder is Holder.AGENT
    received = [line for turn in stage.simulator.agent.received() for line in turn.split("\n")]
    assert received == ["hello", "one", "two", "three"]
    assert stage.simulator.ledger.of(Wrong) == []
    assert (len(stage.simulator.agent.chats()), stage.scene.got()[-1]) == (1, "re: three")


@pytest.mark.parametrize("fault", HAZARDS)
def test_a_human_gives_the_chat_back_after_so_many_seconds(stage: Stage, fault: str) -> None:
    stage.simulator.faults.next(fault, seconds=90)
    stage.text("one")
    stage.text("two")
    stage.scene.work_until_idle()
    assert (stage.holder, stage.scene.got()[-1]) == (Holder.AGENT, "re: two")
    assert [event.kind for event in stage.simulator.ledger.latest(100) if isinstance(event, HandedOver | HandedBack)]


def test_an_agent_that_gives_no_word_is_counted(stage: Stage) -> None:
    stage.simulator.faults.set("agent_silent")
    for n in range(3):
        stage.text(f"hello {n}", 1)
    assert stage.scene.rows(Conversation)[0].silent_turns == 3
    stage.simulator.faults.clear()
    stage.text("still there?", 1)
    assert stage.scene.rows(Conversation)[0].silent_turns == 0


def asked(agent: object, chat_id: str) -> None:
    with pytest.raises(Exception, match="transferred"):
        agent.complete(chat_id, "hello")  # type: ignore[attr-defined]


def opened(agent: object, chat_id: str) -> None:
    agent.create_chat(NewChat(1, "+15551230001", "+15550001111"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("act", [asked, opened])
def test_the_judge_blames_whoever_asks_beside_a_human_that_was_shown(
    stage: Stage, act: Callable[[object, str], None]
) -> None:
    agent, simulator = stage.scene.agent, stage.simulator
    [chat] = simulator.agent.chats()
    simulator.agent.hand_over(chat, "transferred")
    asked(agent, chat.id)  # nobody could know, and the refusal lets Retell's adapter read the chat
    assert judge(simulator.ledger).beside_human == 0
    assert agent.get_chat(chat.id).state is ChatState.WITH_HUMAN
    act(agent, chat.id)
    assert judge(simulator.ledger).faults["beside_human"] == 1
