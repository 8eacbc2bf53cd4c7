"""What every agent keeps, shown on the fake and on the real adapter: so the fake can't lie."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest

from bridge.providers.agents.contract import (
    Agent,
    ChatState,
    Item,
    NewChat,
    Speaker,
    Step,
    ToolCall,
    ToolResult,
    Transition,
)
from bridge.providers.agents.registry import AGENTS
from bridge.providers.agents.retell.client import Retell
from bridge.providers.agents.transcript import NOT_RECEIVED, advance, bookmark, find_turn, handoff
from bridge.providers.agents.uponai.client import UponAI
from bridge.providers.errors import (
    AccountRefused,
    ChatEnded,
    NotReached,
    OutcomeUnknown,
    RateLimited,
    Refused,
    RemoteError,
    WithHuman,
)
from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.simulator.receptionist import HANDOFF
from tests.fakes import UPONAI, FakeAgent, fake_settings
from tests.vendor import closed_port

ABOUT = NewChat(1, "+15551230001", "+15550001111")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
BYE = "bye"
GREETING = "Welcome!"
HUMAN = "a human, please"
BOOK = "Book a table on Friday at 8 pm for two"
WISH = '{"day": "Friday", "time": "8.00 pm", "people": 2}'
"""What the agent tells its tools about that."""


class Stage(Protocol):
    """An agent and the hand behind it."""

    agent: Agent

    def end(self, chat_id: str) -> None:
        """The chat ends by itself."""

    def hand_over(self, chat_id: str, *, flagged: bool) -> None:
        """A human gets the chat: it has a flag for that, or an unknown status."""

    def hand_back(self, chat_id: str) -> None:
        """The agent has the chat again."""

    def hand_over_in_next_answer(self) -> None:
        """The agent hands over with its next answer, to ``HUMAN``, and tells the person so in a tool call."""

    def cut(self, method: str, *, received: bool) -> None:
        """The next call gets no answer."""

    def limit(self, method: str) -> None:
        """The next call is one too many, and may come again after 7 s."""

    def lock_out(self, method: str) -> None:
        """The next call is refused for the key's sake."""

    def do_not_call(self, phone: str) -> bool | None:
        """What the contact of this number says; ``None``: there is none."""


class FakeStage:
    def __init__(self, greeting: str = "", *, item_ids: bool = True) -> None:
        self._agent = FakeAgent(greeting=greeting, item_ids=item_ids)
        self._agent.hangs_up_on = {BYE}
        self._agent.uses_tools_on = {
            BOOK: (
                Transition("welcome", "booking"),
                *(ToolCall("find table", WISH, "c1"), ToolResult("c1", '{"free": 2}', True)),
                *(ToolCall("book table", WISH, "c2"), ToolResult("c2", '{"booked": true}', True)),
            )
        }
        self.agent: Agent = self._agent

    def end(self, chat_id: str) -> None:
        self._agent.end(chat_id)

    def hand_over(self, chat_id: str, *, flagged: bool) -> None:
        self._agent.hand_over(chat_id)

    def hand_back(self, chat_id: str) -> None:
        self._agent.hand_back(chat_id)

    def hand_over_in_next_answer(self) -> None:
        self._agent.answer = lambda said: []
        self._agent.hands_over_on = {HUMAN: HANDOFF}

    def cut(self, method: str, *, received: bool) -> None:
        self._agent.fail(method, OutcomeUnknown("cut", provider="retell"), received=received)

    def limit(self, method: str) -> None:
        self._agent.fail(method, RateLimited("slow down", provider="retell", status=429, retry_after=7))

    def lock_out(self, method: str) -> None:
        self._agent.fail(method, AccountRefused("no such key", provider="retell", status=401))

    def do_not_call(self, phone: str) -> bool | None:
        return self._agent.do_not_call.get(phone)


SIMULATED = {
    "create_chat": "create",
    "complete": "completion",
    "get_chat": "get",
    "end_chat": "end",
    "delete_chat": "delete",
    "list_chats": "list",
    "find_chats": "list",
    "set_do_not_call": "contact_create",
    "draft": "playground",
}


def retell(simulator: Simulator, address: str) -> Agent:
    return Retell.from_settings(
        fake_settings(
            retell_base_url=address,
            retell_api_key=simulator.settings.retell_api_key,
            retell_agent_id=simulator.settings.agent_id,
        )
    )


def uponai(simulator: Simulator, address: str) -> Agent:
    return UponAI.from_settings(
        fake_settings(
            agent_provider="uponai",
            uponai_base_url=address,
            uponai_api_key=simulator.settings.uponai_api_key,
            uponai_workspace_id=simulator.settings.uponai_workspace_id,
            uponai_agent_id=simulator.settings.uponai_agent_id,
        )
    )


class SimulatedStage:
    def __init__(self, agent: Agent, simulator: Simulator) -> None:
        self._simulator = simulator
        self.agent = agent

    def end(self, chat_id: str) -> None:
        chat = self._simulator.agent.get(chat_id)
        assert chat
        self._simulator.agent.end(chat, "silence")

    def hand_over(self, chat_id: str, *, flagged: bool) -> None:
        chat = self._simulator.agent.get(chat_id)
        assert chat
        self._simulator.agent.hand_over(chat, "" if flagged else "transferred")

    def hand_back(self, chat_id: str) -> None:
        chat = self._simulator.agent.get(chat_id)
        assert chat
        self._simulator.agent.hand_back(chat)

    def hand_over_in_next_answer(self) -> None:
        self._simulator.faults.next("agent_hands_over_in_call")

    def cut(self, method: str, *, received: bool) -> None:
        self._simulator.faults.next("agent_cut" if received else "agent_cut_before", calls=[SIMULATED[method]])

    def limit(self, method: str) -> None:
        self._simulator.faults.next("agent_429", calls=[SIMULATED[method]], retry_after=7)

    def lock_out(self, method: str) -> None:
        self._simulator.faults.next("agent_401", calls=[SIMULATED[method]])

    def do_not_call(self, phone: str) -> bool | None:
        contact = self._simulator.contacts.find(phone)
        return None if contact is None else contact.get("do_not_call", False)


NewStage = Callable[..., Stage]


FAKES = {"fake": True, "fake without ids": False}

ADAPTERS: dict[str, tuple[Callable[[Simulator, str], Agent], dict[str, Any]]] = {
    "retell": (retell, {}),
    "uponai": (uponai, {}),
    "uponai with the roles of the provider below": (uponai, {"uponai_passes_roles_on": True}),
    "uponai with another refusal of ended chats": (uponai, {"uponai_ended_status": 502}),
}

WITH_IDS = ["fake", "retell"]
WITH_RESULTS = [*FAKES, "retell", "uponai with the roles of the provider below"]
"""Those that show what tools return, and the moves in the agent's flow."""
WITH_CONTACTS = ["fake", "retell"]
WITH_DRAFTS = ["fake", "retell"]
WITH_DELETION = [*FAKES, "retell"]
HISTORY = (
    Item(Speaker.AGENT, GREETING),
    Item(Speaker.USER, "where are you?"),
    Item(Speaker.OTHER, "a tool's result"),
)


@pytest.fixture(params=[*FAKES, *ADAPTERS])
def new_stage(request: pytest.FixtureRequest) -> Iterator[NewStage]:
    with ExitStack() as stack:

        def build(greeting: str = "") -> Stage:
            if request.param in FAKES:
                return FakeStage(greeting, item_ids=FAKES[request.param])
            adapter, settings = ADAPTERS[request.param]
            simulator = Simulator(SimulatorSettings(greeting=greeting, **settings))
            stage = SimulatedStage(adapter(simulator, stack.enter_context(serve(simulator))), simulator)
            stack.callback(stage.agent.close)
            return stage

        yield build


@pytest.fixture
def stage(new_stage: NewStage) -> Stage:
    return new_stage()


def received(agent: Agent, chat_id: str) -> list[str]:
    """What the chat shows of the person."""
    return [item.content for item in agent.get_chat(chat_id).items or () if item.speaker is Speaker.USER]


def spoken(agent: Agent, chat_id: str) -> list[str]:
    return [item.content for item in agent.get_chat(chat_id).items or () if item.speaker is Speaker.AGENT]


CALLS: dict[str, Callable[[Agent, str], object]] = {
    "create_chat": lambda agent, chat_id: agent.create_chat(ABOUT),
    "complete": lambda agent, chat_id: agent.complete(chat_id, "hello"),
    "get_chat": lambda agent, chat_id: agent.get_chat(chat_id),
    "end_chat": lambda agent, chat_id: agent.end_chat(chat_id),
    "list_chats": lambda agent, chat_id: agent.list_chats(),
    "find_chats": lambda agent, chat_id: agent.find_chats(ABOUT, LONG_AGO),
}


def test_a_new_chat_is_open_and_empty(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    assert chat.state is ChatState.ONGOING
    assert not chat.items
    assert chat.started_at
    assert chat.started_at.tzinfo
    assert stage.agent.get_chat(chat.id) == chat


def test_a_new_chat_may_hold_a_greeting(new_stage: NewStage) -> None:
    agent = new_stage(greeting=GREETING).agent
    chat = agent.create_chat(ABOUT)
    assert [(item.speaker, item.content) for item in chat.items or ()] == [(Speaker.AGENT, GREETING)]
    assert received(agent, chat.id) == []


def test_what_is_said_is_heard_once_and_what_is_answered_stands_in_the_chat(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    first = stage.agent.complete(chat.id, "hello")
    second = stage.agent.complete(chat.id, "hello")
    assert received(stage.agent, chat.id) == ["hello", "hello"]
    assert any(item.speaker is Speaker.AGENT for item in first)
    shown = stage.agent.get_chat(chat.id).items or ()
    assert [item for item in shown if item.speaker is not Speaker.USER] == [*first, *second]


@pytest.mark.parametrize("new_stage", WITH_IDS, indirect=True)
def test_every_item_has_a_name_of_its_own(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.agent.complete(chat.id, "hello")
    ids = [item.id for item in stage.agent.get_chat(chat.id).items or ()]
    assert None not in ids
    assert len(set(ids)) == len(ids) > 1


@pytest.mark.parametrize("new_stage", sorted({*FAKES, *ADAPTERS} - {*WITH_IDS}), indirect=True)
def test_a_turn_is_found_in_a_chat_whose_items_have_no_names(stage: Stage) -> None:
    """By the position that was counted without looking, and by the words."""
    chat = stage.agent.create_chat(ABOUT)
    before = bookmark(chat.items or ())
    for said in ("hello", "hello", "book a table"):
        assert find_turn(stage.agent.get_chat(chat.id).items, before, said) == NOT_RECEIVED
        answer = stage.agent.complete(chat.id, said)
        found = find_turn(stage.agent.get_chat(chat.id).items, before, said)
        assert (found.received, found.answer) == (True, answer)
        before = advance(before, answer, said)
    assert {item.id for item in stage.agent.get_chat(chat.id).items or ()} == {None}


def test_two_chats_do_not_hear_each_other(stage: Stage) -> None:
    one, other = stage.agent.create_chat(ABOUT), stage.agent.create_chat(ABOUT)
    stage.agent.complete(one.id, "hello")
    assert received(stage.agent, other.id) == []


def test_an_ended_chat_hears_nothing(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.end(chat.id)
    with pytest.raises(ChatEnded):
        stage.agent.complete(chat.id, "hello")
    assert stage.agent.get_chat(chat.id).state is ChatState.ENDED
    assert received(stage.agent, chat.id) == []


def test_an_unknown_chat_is_an_ended_one(stage: Stage) -> None:
    with pytest.raises(ChatEnded):
        stage.agent.complete("chat_unknown", "hello")
    with pytest.raises(ChatEnded):
        stage.agent.get_chat("chat_unknown")
    stage.agent.end_chat("chat_unknown")


def test_a_chat_is_ended_once_and_ending_it_again_is_fine(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.agent.end_chat(chat.id)
    stage.agent.end_chat(chat.id)
    assert stage.agent.get_chat(chat.id).state is ChatState.ENDED


@pytest.mark.parametrize("new_stage", WITH_DELETION, indirect=True)
def test_a_chat_is_deleted_once_and_deleting_it_again_is_fine(stage: Stage) -> None:
    assert stage.agent.deletes_chats
    chat = stage.agent.create_chat(ABOUT)
    stage.agent.complete(chat.id, "hello")
    stage.agent.delete_chat(chat.id)
    stage.agent.delete_chat(chat.id)
    with pytest.raises(ChatEnded):
        stage.agent.get_chat(chat.id)


@pytest.mark.parametrize("new_stage", sorted({*ADAPTERS} - {*WITH_DELETION}), indirect=True)
def test_an_agent_that_deletes_no_chats_refuses_to(stage: Stage) -> None:
    assert not stage.agent.deletes_chats
    chat = stage.agent.create_chat(ABOUT)
    with pytest.raises(Refused):
        stage.agent.delete_chat(chat.id)


@pytest.mark.parametrize("new_stage", WITH_DELETION, indirect=True)
def test_a_deletion_whose_answer_is_lost_was_one(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.cut("delete_chat", received=True)
    with pytest.raises(OutcomeUnknown):
        stage.agent.delete_chat(chat.id)
    stage.agent.delete_chat(chat.id)


def test_an_agent_that_hangs_up_says_so(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    assert not any(item.ends_chat for item in stage.agent.complete(chat.id, "hello"))
    assert any(item.ends_chat for item in stage.agent.complete(chat.id, BYE))
    assert stage.agent.get_chat(chat.id).state is ChatState.ENDED


@pytest.mark.parametrize("flagged", [True, False], ids=["flagged", "of an unknown status"])
def test_a_chat_that_a_human_has_hears_nothing_until_it_is_back(stage: Stage, flagged: bool) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.hand_over(chat.id, flagged=flagged)
    with pytest.raises((WithHuman, OutcomeUnknown)):
        stage.agent.complete(chat.id, "hello")
    shown = stage.agent.get_chat(chat.id)
    assert (shown.state, received(stage.agent, chat.id)) == (ChatState.WITH_HUMAN, [])
    stage.hand_back(chat.id)
    assert stage.agent.get_chat(chat.id).state is ChatState.ONGOING
    stage.agent.complete(chat.id, "hello")
    assert received(stage.agent, chat.id) == ["hello"]


def test_a_chat_that_a_human_has_can_be_ended(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.hand_over(chat.id, flagged=True)
    stage.agent.end_chat(chat.id)
    assert stage.agent.get_chat(chat.id).state is ChatState.ENDED


def steps_in(items: Iterable[Item]) -> list[Step]:
    return [step for item in items for step in item.steps]


def test_the_tools_of_an_answer_are_told_and_the_chat_shows_the_same(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    before = bookmark(chat.items or ())
    items = stage.agent.complete(chat.id, BOOK)
    calls = [step for step in steps_in(items) if isinstance(step, ToolCall)]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("find table", json.loads(WISH)),
        ("book table", json.loads(WISH)),
    ]
    shown = find_turn(stage.agent.get_chat(chat.id).items, before, BOOK).answer
    assert steps_in(shown) == steps_in(items)


def test_no_word_of_a_tool_is_among_the_agents_messages(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    words = [item.content for item in stage.agent.complete(chat.id, BOOK) if item.speaker is Speaker.AGENT]
    assert words
    assert not [each for each in words if "free" in each or "{" in each]
    assert steps_in(stage.agent.complete(chat.id, "hello")) == []


@pytest.mark.parametrize("new_stage", WITH_RESULTS, indirect=True)
def test_each_result_belongs_to_its_call_and_moves_in_the_flow_are_told_too(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    steps = steps_in(stage.agent.complete(chat.id, BOOK))
    names = {step.id: step.name for step in steps if isinstance(step, ToolCall)}
    results = [step for step in steps if isinstance(step, ToolResult)]
    assert [(names[each.call_id], json.loads(each.content), each.successful) for each in results] == [
        ("find table", {"free": 2}, True),
        ("book table", {"booked": True}, True),
    ]
    assert next(step for step in steps if isinstance(step, Transition)) == Transition("welcome", "booking")


def test_an_agent_that_hands_over_says_so_and_the_chat_shows_it(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    before = bookmark(chat.items or ())
    stage.hand_over_in_next_answer()
    items = stage.agent.complete(chat.id, HUMAN)
    assert (handoff(items), any(item.pending for item in items)) == (HANDOFF, False)
    shown = stage.agent.get_chat(chat.id)
    assert shown.state is ChatState.WITH_HUMAN
    assert handoff(find_turn(shown.items, before, HUMAN).answer) == HANDOFF


def test_a_call_that_is_cut_after_it_was_heard_may_have_been_done_and_the_chat_shows_it(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.cut("complete", received=True)
    with pytest.raises(OutcomeUnknown) as caught:
        stage.agent.complete(chat.id, "hello")
    assert caught.value.maybe_done
    assert received(stage.agent, chat.id) == ["hello"]
    assert spoken(stage.agent, chat.id)


def test_a_call_that_is_cut_before_it_was_heard_is_not_repeated(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.cut("complete", received=False)
    with pytest.raises(OutcomeUnknown):
        stage.agent.complete(chat.id, "hello")
    assert received(stage.agent, chat.id) == []


def test_an_end_whose_answer_is_lost_was_an_end(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.cut("end_chat", received=True)
    with pytest.raises(OutcomeUnknown):
        stage.agent.end_chat(chat.id)
    assert stage.agent.get_chat(chat.id).state is ChatState.ENDED


@pytest.mark.parametrize("method", CALLS)
def test_a_rate_limit_does_nothing_and_says_how_long_to_wait(stage: Stage, method: str) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.limit(method)
    with pytest.raises(RateLimited) as caught:
        CALLS[method](stage.agent, chat.id)
    assert caught.value.retry_after == 7
    assert_nothing_was_done(stage.agent, chat.id, caught.value)


@pytest.mark.parametrize("method", CALLS)
def test_a_refused_key_does_nothing_and_speaks_for_the_whole_provider(stage: Stage, method: str) -> None:
    chat = stage.agent.create_chat(ABOUT)
    stage.lock_out(method)
    with pytest.raises(AccountRefused) as caught:
        CALLS[method](stage.agent, chat.id)
    assert caught.value.provider_wide
    assert_nothing_was_done(stage.agent, chat.id, caught.value)


def assert_nothing_was_done(agent: Agent, chat_id: str, error: RemoteError) -> None:
    assert error.worth_retry
    assert not error.maybe_done
    assert error.provider == agent.provider
    assert agent.get_chat(chat_id).state is ChatState.ONGOING
    assert received(agent, chat_id) == []
    assert len(agent.list_chats().chats) == 1


def test_chats_are_listed_newest_first_and_page_by_page(stage: Stage) -> None:
    ids = [stage.agent.create_chat(ABOUT).id for _ in range(5)]
    stage.end(ids[2])
    listed: list[str] = []
    after: str | None = None
    for _ in range(3):
        page = stage.agent.list_chats(limit=2, after=after)
        listed += [chat.id for chat in page.chats]
        after = page.next
    assert listed == ids[::-1]
    assert after is None
    assert all(chat.items is None for chat in stage.agent.list_chats().chats)


def test_the_ongoing_chats_can_be_listed_alone(stage: Stage) -> None:
    ids = [stage.agent.create_chat(ABOUT).id for _ in range(3)]
    stage.end(ids[1])
    page = stage.agent.list_chats(ongoing_only=True)
    assert [chat.id for chat in page.chats] == [ids[2], ids[0]]
    assert {chat.state for chat in page.chats} == {ChatState.ONGOING}


def found(agent: Agent, about: NewChat, since: datetime = LONG_AGO) -> list[str]:
    return [chat.id for chat in agent.find_chats(about, since)]


def test_the_chat_of_a_turn_is_found_among_others(stage: Stage) -> None:
    first, second = replace(ABOUT, turn_id=1), replace(ABOUT, turn_id=2)
    other_phone = replace(first, user_number="+15551230002")
    chats = [stage.agent.create_chat(about).id for about in (first, second, second, other_phone)]
    assert found(stage.agent, first) == chats[:1]
    assert sorted(found(stage.agent, second)) == sorted(chats[1:3])
    assert found(stage.agent, replace(ABOUT, turn_id=3)) == []
    assert {chat.items for chat in stage.agent.find_chats(second, LONG_AGO)} == {None}


def test_a_chat_that_has_ended_or_began_before_is_not_found(stage: Stage) -> None:
    chat = stage.agent.create_chat(ABOUT)
    assert chat.started_at
    assert found(stage.agent, ABOUT, chat.started_at - timedelta(seconds=1)) == [chat.id]
    assert found(stage.agent, ABOUT, chat.started_at + timedelta(seconds=1)) == []
    stage.end(chat.id)
    assert found(stage.agent, ABOUT) == []


def test_a_chat_whose_creation_was_cut_is_found(stage: Stage) -> None:
    stage.cut("create_chat", received=True)
    with pytest.raises(OutcomeUnknown):
        stage.agent.create_chat(ABOUT)
    [chat_id] = found(stage.agent, ABOUT)
    assert stage.agent.get_chat(chat_id).state is ChatState.ONGOING


def test_a_creation_that_was_cut_before_it_arrived_is_not_found(stage: Stage) -> None:
    stage.cut("create_chat", received=False)
    with pytest.raises(OutcomeUnknown):
        stage.agent.create_chat(ABOUT)
    assert found(stage.agent, ABOUT) == []


@pytest.mark.parametrize("new_stage", WITH_CONTACTS, indirect=True)
def test_a_contact_says_what_was_last_asked_however_often(stage: Stage) -> None:
    for wanted in (True, True, False, False, True):
        stage.agent.set_do_not_call(ABOUT.user_number, wanted)
        assert stage.do_not_call(ABOUT.user_number) is wanted
    assert stage.do_not_call("+15551230002") is None


@pytest.mark.parametrize("new_stage", WITH_CONTACTS, indirect=True)
@pytest.mark.parametrize("received", [True, False])
def test_a_change_of_a_contact_whose_answer_is_lost_may_be_repeated(stage: Stage, received: bool) -> None:
    stage.cut("set_do_not_call", received=received)
    with pytest.raises(OutcomeUnknown):
        stage.agent.set_do_not_call(ABOUT.user_number, True)
    stage.agent.set_do_not_call(ABOUT.user_number, True)
    assert stage.do_not_call(ABOUT.user_number) is True


@pytest.mark.parametrize("new_stage", WITH_CONTACTS, indirect=True)
def test_a_change_of_a_contact_may_be_refused_for_the_account(stage: Stage) -> None:
    stage.lock_out("set_do_not_call")
    with pytest.raises(AccountRefused):
        stage.agent.set_do_not_call(ABOUT.user_number, True)
    assert stage.do_not_call(ABOUT.user_number) is None


@pytest.mark.parametrize("new_stage", sorted({*FAKES, *ADAPTERS} - {*WITH_CONTACTS, *FAKES}), indirect=True)
def test_a_provider_without_contacts_refuses(stage: Stage) -> None:
    with pytest.raises(Refused):
        stage.agent.set_do_not_call(ABOUT.user_number, True)


@pytest.mark.parametrize("new_stage", WITH_DRAFTS, indirect=True)
def test_a_draft_has_words_of_the_agent_and_leaves_no_chat(stage: Stage) -> None:
    assert stage.agent.writes_drafts
    items = stage.agent.draft(ABOUT, HISTORY)
    assert [item.content for item in items if item.speaker is Speaker.AGENT]
    assert stage.agent.list_chats().chats == ()


@pytest.mark.parametrize("new_stage", WITH_DRAFTS, indirect=True)
def test_a_draft_may_fail_as_any_call(stage: Stage) -> None:
    stage.limit("draft")
    with pytest.raises(RateLimited):
        stage.agent.draft(ABOUT, HISTORY)
    stage.lock_out("draft")
    with pytest.raises(AccountRefused):
        stage.agent.draft(ABOUT, HISTORY)
    stage.cut("draft", received=True)
    with pytest.raises(OutcomeUnknown):
        stage.agent.draft(ABOUT, HISTORY)


@pytest.mark.parametrize("new_stage", sorted({*FAKES, *ADAPTERS} - {*WITH_DRAFTS, *FAKES}), indirect=True)
def test_a_provider_without_drafts_says_so_and_refuses(stage: Stage) -> None:
    assert not stage.agent.writes_drafts
    with pytest.raises(Refused):
        stage.agent.draft(ABOUT, HISTORY)


@pytest.mark.parametrize("provider", ["retell", "uponai"])
def test_an_agent_that_is_away_has_heard_nothing(provider: str) -> None:
    nobody = f"http://127.0.0.1:{closed_port()}"
    agent = AGENTS[provider](fake_settings(**UPONAI | {"retell_base_url": nobody, "uponai_base_url": nobody}))
    for call in CALLS.values():
        with pytest.raises(NotReached):
            call(agent, "chat_1")
    agent.close()
