"""The turn, step by step: what is said to the agent, when it is said again, and what goes into the outbox."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from bridge.chats import ending
from bridge.db.engine import Sessions
from bridge.db.models import Chat, ChatStatus, Conversation, Message, MessageStatus, Turn, TurnStatus
from bridge.inbound import receive
from bridge.providers.agents.contract import Item, NewChat, RemoteChat, Speaker
from bridge.providers.carriers.contract import InboundText
from bridge.providers.errors import (
    AccountRefused,
    ChatEnded,
    NotReached,
    OutcomeUnknown,
    RateLimited,
    Refused,
    RemoteError,
)
from bridge.turns.ask import NEW_CHATS
from bridge.turns.process import process_turns
from bridge.turns.reconcile import NO_ANSWER_AFTER
from bridge.turns.rules import MAX_TEXTS
from tests.databases import Unsteady, database
from tests.fakes import FakeAgent
from tests.scene import ANN, BOB, NUMBER, Scene


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions)


def unknown(**kwargs: object) -> RemoteError:
    return OutcomeUnknown("cut off", provider="retell", **kwargs)  # type: ignore[arg-type]


def test_a_text_is_said_and_the_answer_is_sent(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    assert scene.agent.received == ["hello"]
    assert scene.got() == ["You said: hello"]
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED]
    assert [row.status for row in scene.rows(Message)] == [MessageStatus.ANSWERED, MessageStatus.SENT]
    assert not scene.waiting()


def test_a_second_text_goes_into_the_same_chat(scene: Scene) -> None:
    for text in ("one", "two"):
        scene.text(text)
        scene.work()
    assert [chat.received for chat in scene.agent.chats.values()] == [["one", "two"]]


def test_texts_that_wait_are_folded_into_one_turn(scene: Scene) -> None:
    for text in ("one", "two", "three"):
        scene.text(text)
    scene.work()
    assert scene.agent.received == ["one\ntwo\nthree"]
    assert scene.got() == ["You said: one\ntwo\nthree"]


def test_at_most_ten_texts_are_folded(scene: Scene) -> None:
    for n in range(23):
        scene.text(str(n))
    scene.work()
    assert [len(said.split("\n")) for said in scene.agent.received] == [10, 10, 3]
    assert "\n".join(scene.agent.received).split("\n") == [str(n) for n in range(23)]


def test_a_new_chat_is_told_both_numbers_and_the_conversation(scene: Scene) -> None:
    scene.text("hello")
    scene.work()
    [chat] = scene.agent.chats.values()
    [conversation] = scene.rows(Conversation)
    assert (chat.about.user_number, chat.about.agent_number) == (ANN, NUMBER)
    assert (chat.about.conversation_id, chat.about.previous_conversation) == (conversation.id, "")


def test_every_agent_message_is_sent_in_order(scene: Scene) -> None:
    scene.agent.answer = lambda said: ["first", "second", "third"]
    scene.text("hello")
    scene.work()
    assert scene.got() == ["first", "second", "third"]


def test_what_is_not_said_by_the_agent_is_never_sent(scene: Scene) -> None:
    class Talkative(FakeAgent):
        def complete(self, chat_id: str, content: str) -> tuple[Item, ...]:
            spoken = super().complete(chat_id, content)
            return (Item(Speaker.OTHER, "a secret"), *spoken, Item(Speaker.USER, content), Item(Speaker.OTHER, "{}"))

    talkative = Scene(scene.sessions, agent=Talkative())
    talkative.text("hello")
    talkative.work()
    assert talkative.got() == ["You said: hello"]


def test_an_agent_that_says_nothing_is_an_answer_too(scene: Scene) -> None:
    scene.agent.answer = lambda said: []
    scene.text("hello")
    scene.work()
    assert scene.got() == []
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED]


def test_ten_people_at_once_get_each_their_own_answer(scene: Scene) -> None:
    phones = [f"+1555123{n:04}" for n in range(10)]
    for phone in phones:
        scene.text(f"I am {phone}", phone)
    scene.work()
    assert [scene.got(phone) for phone in phones] == [[f"You said: I am {phone}"] for phone in phones]
    assert len(scene.agent.chats) == 10


SURELY_NOT_RECEIVED = [
    NotReached("refused", provider="retell"),
    RateLimited("slow down", provider="retell", status=429, retry_after=3),
    AccountRefused("no such key", provider="retell", status=401),
]


@pytest.mark.parametrize("error", SURELY_NOT_RECEIVED, ids=lambda error: type(error).__name__)
def test_what_was_surely_not_heard_is_said_again_without_a_look(scene: Scene, error: RemoteError) -> None:
    scene.text("hello")
    scene.agent.fail("complete", error, times=2)
    scene.work(seconds=20)
    assert scene.agent.received == ["hello"]
    assert scene.got() == ["You said: hello"]
    assert "get_chat" not in [call for call, _ in scene.agent.calls]


def test_a_vendor_that_asks_to_wait_is_not_asked_sooner(scene: Scene) -> None:
    scene.text("hello")
    scene.agent.fail("complete", RateLimited("slow down", provider="retell", status=429, retry_after=40))
    scene.work(seconds=39)
    assert scene.agent.received == []
    scene.work(seconds=4)
    assert scene.agent.received == ["hello"]


@pytest.mark.parametrize("received", [True, False])
@pytest.mark.parametrize("item_ids", [True, False])
def test_an_unknown_outcome_is_settled_by_a_look(sessions: Sessions, received: bool, item_ids: bool) -> None:
    scene = Scene(sessions, agent=FakeAgent(item_ids=item_ids, greeting="Welcome!"))
    for text in ("ok", "ok"):  # equal texts, of which the first is in the chat already
        scene.text(text)
        scene.agent.fail("complete", unknown(), received=received)
        scene.work_until_idle()
    assert scene.agent.received == ["ok", "ok"]
    assert scene.got() == ["You said: ok", "You said: ok"]


def test_an_answer_after_a_silent_turn_is_not_taken_for_an_older_one(scene: Scene) -> None:
    scene.agent.answer = lambda said: []
    scene.text("ok")
    scene.work()
    scene.agent.answer = lambda said: ["Yes?"]
    scene.text("ok")
    scene.agent.fail("complete", unknown(), received=False)
    scene.work_until_idle()
    assert scene.agent.received == ["ok", "ok"]
    assert scene.got() == ["Yes?"]


def test_what_may_still_be_on_its_way_is_not_said_again(scene: Scene) -> None:
    scene.text("hello")
    scene.agent.fail("complete", unknown(), received=False)
    scene.work(seconds=25)
    assert scene.agent.received == []
    scene.work(seconds=15)
    assert scene.agent.received == ["hello"]


def test_an_agent_that_has_answered_with_an_error_is_asked_again_sooner(scene: Scene) -> None:
    scene.text("hello")
    scene.agent.fail("complete", unknown(status=500), received=False)
    scene.work(seconds=8)
    assert scene.agent.received == ["hello"]


def test_the_bridge_waits_for_an_agent_that_is_still_thinking(scene: Scene) -> None:
    scene.agent.thinks = True
    scene.text("hello")
    scene.work(seconds=300)
    assert scene.got() == []
    scene.agent.finish("chat_1")
    scene.work(seconds=15)
    assert scene.agent.received == ["hello"]
    assert scene.got() == ["You said: hello"]


def test_an_answer_that_still_grows_is_not_taken_in_half(scene: Scene) -> None:
    scene.agent.thinks = True
    scene.text("hello")
    scene.work()
    chat = scene.agent.chats["chat_1"]
    chat.items.append(Item(Speaker.AGENT, "One moment.", "x1"))
    while not any(row.items_at_last_check for row in scene.rows(Turn)):
        scene.tick()
    chat.items.append(Item(Speaker.AGENT, "We are open.", "x2"))
    scene.work_until_idle()
    assert scene.got() == ["One moment.", "We are open."]


def test_an_answer_with_an_open_tool_call_is_not_taken_yet(scene: Scene) -> None:
    scene.agent.thinks = True
    scene.text("hello")
    scene.work()
    chat = scene.agent.chats["chat_1"]
    chat.items += [Item(Speaker.AGENT, "Let me look.", "x1"), Item(Speaker.OTHER, "", "x2", pending=True)]
    scene.work(seconds=60)
    assert scene.got() == []
    chat.items[-1:] = [Item(Speaker.OTHER, "", "x2"), Item(Speaker.AGENT, "Two are free.", "x3")]
    scene.work_until_idle()
    assert scene.got() == ["Let me look.", "Two are free."]


def test_what_was_heard_and_never_answered_is_given_up_and_never_said_again(scene: Scene) -> None:
    scene.agent.thinks = True
    scene.text("hello")
    scene.work(seconds=NO_ANSWER_AFTER.total_seconds() + 60)
    assert scene.agent.received == ["hello"]
    assert scene.got() == [scene.rt.settings.fallback_reply]
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.GIVEN_UP]


def test_after_such_a_turn_the_next_text_goes_into_another_chat(scene: Scene) -> None:
    test_what_was_heard_and_never_answered_is_given_up_and_never_said_again(scene)
    scene.agent.thinks = False
    scene.text("are you there?")
    scene.work_until_idle()
    assert [chat.received for chat in scene.agent.chats.values()] == [["hello"], ["are you there?"]]
    assert scene.got()[1:] == ["You said: are you there?"]
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED, ChatStatus.ONGOING]


def test_a_look_that_fails_is_repeated_and_nothing_is_said_meanwhile(scene: Scene) -> None:
    scene.text("hello")
    scene.agent.fail("complete", unknown(), received=True)
    for error in (*SURELY_NOT_RECEIVED, unknown(status=500), Refused("bad request", provider="retell", status=400)):
        scene.agent.fail("get_chat", error)
    scene.work_until_idle()
    assert scene.agent.received == ["hello"]
    assert scene.got() == ["You said: hello"]


def test_a_provider_that_hides_its_items_is_never_told_twice(sessions: Sessions) -> None:
    scene = Scene(sessions, agent=FakeAgent(), answer_within="15m")
    scene.text("one")
    scene.work()
    scene.agent.shows_items = False
    scene.text("two")
    scene.agent.fail("complete", unknown(), received=True)
    scene.work_until_idle()
    assert scene.agent.received == ["one", "two"]
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED, TurnStatus.GIVEN_UP]


def tool_call_after(scene: Scene, *words: str) -> None:
    """The agent has heard it, says these words and calls for a tool whose result never comes."""
    scene.agent.thinks = True
    scene.text("book a table")
    scene.work()
    said = [Item(Speaker.AGENT, text, f"w{n}") for n, text in enumerate(words)]
    scene.agent.chats["chat_1"].items += [*said, Item(Speaker.OTHER, "", "x1", pending=True)]


def test_words_before_a_tool_call_that_never_ends_are_sent_when_the_chat_has_ended(scene: Scene) -> None:
    tool_call_after(scene, "Let me look.", "One moment.")
    scene.work(seconds=60)
    assert scene.got() == []
    scene.agent.end("chat_1")
    scene.work_until_idle()
    assert scene.agent.received == ["book a table"]
    assert scene.got() == ["Let me look.", "One moment."]
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED]
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED]


def test_words_before_a_tool_call_that_never_ends_are_sent_when_no_tool_runs_for_so_long(scene: Scene) -> None:
    tool_call_after(scene, "Let me look.", "One moment.")
    scene.work(seconds=590)
    assert scene.got() == []
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ASKING]
    scene.work(seconds=NO_ANSWER_AFTER.total_seconds() - 590 + 20)
    assert scene.agent.received == ["book a table"]
    assert scene.got() == ["Let me look.", "One moment."]
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED]


def test_a_tool_that_runs_for_nearly_ten_minutes_is_waited_for(scene: Scene) -> None:
    tool_call_after(scene)
    scene.work(seconds=590)
    assert [call for call, _ in scene.agent.calls].count("complete") == 1
    chat = scene.agent.chats["chat_1"]
    chat.items[-1:] = [Item(Speaker.OTHER, "", "x1"), Item(Speaker.AGENT, "Two are free.", "x2")]
    scene.work_until_idle()
    assert [call for call, _ in scene.agent.calls].count("complete") == 1
    assert scene.got() == ["Two are free."]


def test_what_was_heard_and_answered_with_a_server_fault_is_looked_for(scene: Scene) -> None:
    scene.text("hello")
    scene.agent.fail("complete", unknown(status=500), received=True)
    scene.work_until_idle()
    assert [call for call, _ in scene.agent.calls].count("complete") == 1
    assert scene.agent.received == ["hello"]
    assert scene.got() == ["You said: hello"]


def test_a_chat_that_is_not_found_after_an_unknown_outcome_is_replaced(scene: Scene) -> None:
    """The provider says 404 when it is asked what came of it."""
    scene.text("one")
    scene.work()
    scene.text("two")
    scene.agent.fail("complete", unknown(), received=False)
    scene.wake()
    scene.agent.fail("get_chat", ChatEnded("not found", provider="retell", status=404))
    scene.work_until_idle()
    assert [chat.received for chat in scene.agent.chats.values()] == [["one"], ["two"]]
    assert scene.agent.chats["chat_2"].about.previous_conversation == "User: one\nAgent: You said: one"
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED, ChatStatus.ONGOING]
    assert scene.got() == ["You said: one", "You said: two"]


# -- the order -----------------------------------------------------------------------------------------------------


def caught_up(scene: Scene, body: str, sent_at: datetime) -> None:
    """The carrier's list brings what no webhook did."""
    assert scene.text(body, sent_at=sent_at)


def test_an_older_text_that_catching_up_brings_is_said_before_the_newer_one_in_one_turn(scene: Scene) -> None:
    sent_at = scene.clock()
    scene.clock.tick(60)
    scene.text("newer")
    caught_up(scene, "older", sent_at)
    scene.work()
    assert scene.agent.received == ["older\nnewer"]


def test_an_older_text_that_catching_up_brings_does_not_wait_for_the_next_turn(scene: Scene) -> None:
    sent_at = scene.clock()
    scene.clock.tick(60)
    for n in range(MAX_TEXTS):
        scene.text(f"newer {n}")
    caught_up(scene, "older", sent_at)
    scene.work()
    said = "\n".join(scene.agent.received).split("\n")
    assert said == ["older", *(f"newer {n}" for n in range(MAX_TEXTS))]
    assert len(scene.agent.received) == 2


def test_an_older_text_that_comes_while_a_newer_one_is_being_said_is_the_next_one(scene: Scene) -> None:
    sent_at = scene.clock()
    scene.clock.tick(60)
    scene.text("newer 0")

    def meanwhile() -> None:
        scene.text("newer 1")
        caught_up(scene, "older", sent_at)

    scene.agent.in_next_call(meanwhile)
    scene.work()
    assert scene.agent.received == ["newer 0", "older\nnewer 1"]


# -- chats that end ------------------------------------------------------------------------------------------------


def test_after_an_ended_chat_the_text_is_said_in_a_new_one_that_knows_the_old(scene: Scene) -> None:
    scene.text("my name is Ann")
    scene.work()
    scene.agent.end("chat_1")
    scene.text("who am I?")
    scene.work()
    assert [chat.received for chat in scene.agent.chats.values()] == [["my name is Ann"], ["who am I?"]]
    assert (
        scene.agent.chats["chat_2"].about.previous_conversation
        == "User: my name is Ann\nAgent: You said: my name is Ann"
    )
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED, ChatStatus.ONGOING]
    assert scene.got()[-1] == "You said: who am I?"


def test_a_chat_that_ended_before_it_heard_is_replaced_after_an_unknown_outcome(scene: Scene) -> None:
    scene.text("one")
    scene.work()
    scene.text("two")
    scene.agent.fail("complete", unknown(), received=False)
    scene.wake()
    scene.agent.end("chat_1")
    scene.work_until_idle()
    assert [chat.received for chat in scene.agent.chats.values()] == [["one"], ["two"]]
    assert scene.got() == ["You said: one", "You said: two"]


def test_a_chat_that_ended_after_it_heard_is_taken_at_its_word(scene: Scene) -> None:
    scene.text("one")
    scene.agent.fail("complete", unknown(), received=True)
    scene.wake()
    scene.agent.end("chat_1")
    scene.work_until_idle()
    assert scene.agent.received == ["one"]
    assert scene.got() == ["You said: one"]
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED]


def test_a_chat_that_was_closed_while_the_agent_was_thinking_is_no_answer(scene: Scene) -> None:
    scene.agent.thinks = True
    scene.text("one")
    scene.wake()
    scene.agent.end("chat_1")
    scene.work_until_idle()
    assert scene.agent.received == ["one"]
    assert scene.got() == [scene.rt.settings.fallback_reply]
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.GIVEN_UP]


def test_an_agent_that_hung_up_without_a_word_has_answered(scene: Scene) -> None:
    scene.agent.answer = lambda said: []
    scene.agent.hangs_up_on = {"bye"}
    scene.text("bye")
    scene.agent.fail("complete", unknown(), received=True)
    scene.work_until_idle()
    assert scene.got() == []
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED]


def test_a_chat_that_vanished_is_replaced(scene: Scene) -> None:
    scene.text("one")
    scene.work()
    del scene.agent.chats["chat_1"]
    scene.text("two")
    scene.work_until_idle()
    assert scene.got() == ["You said: one", "You said: two"]


def test_an_agent_that_hangs_up_is_met_in_a_new_chat_next_time(scene: Scene) -> None:
    scene.agent.hangs_up_on = {"bye"}
    for text in ("bye", "hello again"):
        scene.text(text)
        scene.work()
    assert [chat.received for chat in scene.agent.chats.values()] == [["bye"], ["hello again"]]
    assert scene.rows(Chat)[0].status is ChatStatus.ENDED


def test_a_silent_agent_that_has_closed_the_chat_is_met_in_a_new_one(scene: Scene) -> None:
    scene.text("one")
    scene.work()
    scene.agent.answer = lambda said: scene.agent.end("chat_1") or []
    scene.text("bye")
    scene.work()
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED]


def test_new_chats_that_end_at_once_are_tried_again_later_and_not_for_ever(scene: Scene) -> None:
    ended = ChatEnded("Chat already ended", provider="retell", status=400)
    scene.text("one")
    scene.agent.fail("complete", ended, times=NEW_CHATS - 1)
    scene.wake()
    assert len(scene.agent.chats) == 1
    scene.work_until_idle()
    assert scene.agent.received == ["one"]
    assert scene.got() == ["You said: one"]


def test_an_agent_whose_chats_always_end_at_once_does_not_cost_a_chat_after_the_other(scene: Scene) -> None:
    scene.text("one")
    scene.agent.fail("complete", ChatEnded("Chat already ended", provider="retell", status=400), times=1000)
    scene.work_until_idle()
    assert len(scene.agent.chats) == NEW_CHATS
    assert scene.got() == [scene.rt.settings.fallback_reply]


def test_a_text_that_arrives_while_its_chat_is_being_ended_is_answered_in_a_new_one(scene: Scene) -> None:
    scene.text("one")
    scene.work()
    scene.clock.tick(3600)
    ending.end_stale(scene.rt, timedelta(minutes=30))
    scene.text("two")
    scene.work()
    assert [chat.received for chat in scene.agent.chats.values()] == [["one"], ["two"]]
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED, ChatStatus.ONGOING]


# -- giving up -----------------------------------------------------------------------------------------------------


def test_a_refused_turn_is_given_up_at_once_and_the_person_is_told_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.text("one")
    scene.agent.fail("complete", Refused("malformed", provider="retell", status=400))
    scene.work_until_idle()
    assert scene.got() == [scene.rt.settings.fallback_reply]
    [turn] = scene.rows(Turn)
    assert (turn.status, turn.error) == (TurnStatus.GIVEN_UP, "retell (400): malformed")
    told = [(record.levelname, record.message) for record in caplog.records if "given up" in record.message]
    assert told == [("ERROR", "turn 1 given up after 1 attempts: retell (400): malformed")]
    assert scene.rows(Message)[0].status is MessageStatus.GIVEN_UP


def test_a_text_that_waits_too_long_is_given_up_and_the_next_one_goes_on(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="5m")
    scene.text("one")
    scene.agent.fail("complete", NotReached("refused", provider="retell"), times=10_000)
    scene.work(seconds=330)  # on hold, a line is looked at every 20 s
    assert scene.got() == [scene.rt.settings.fallback_reply]
    scene.agent.recover()
    scene.text("two")
    scene.work_until_idle()
    assert scene.agent.received == ["two"]


def test_a_text_that_is_too_old_does_not_drag_a_fresh_one_along(scene: Scene) -> None:
    long_ago = scene.clock() - timedelta(hours=5)
    for body, sent_at in (("stale", long_ago), ("fresh", scene.clock())):
        receive.receive(scene.rt, InboundText(next(scene.sids), ANN, NUMBER, body, sent_at=sent_at))
    scene.work_until_idle()
    assert scene.agent.received == ["fresh"]
    assert scene.got() == [scene.rt.settings.fallback_reply, "You said: fresh"]


def test_an_empty_fallback_reply_is_silence(sessions: Sessions) -> None:
    scene = Scene(sessions, fallback_reply="")
    scene.text("one")
    scene.agent.fail("complete", Refused("malformed", provider="retell", status=400))
    scene.work_until_idle()
    assert scene.got() == []
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.GIVEN_UP]


def test_a_chat_that_cannot_be_made_costs_no_text(scene: Scene) -> None:
    scene.text("one")
    scene.agent.fail("create_chat", unknown(status=500), times=3)
    scene.work_until_idle()
    assert scene.agent.received == ["one"]
    assert scene.got() == ["You said: one"]


def test_a_new_chat_that_is_somebody_elses_is_never_spoken_in(sessions: Sessions) -> None:
    class Mistaken(FakeAgent):
        mistakes = 0

        def create_chat(self, about: NewChat) -> RemoteChat:
            chat = super().create_chat(about)
            self.mistakes -= 1
            return replace(chat, id="chat_1") if self.mistakes >= 0 else chat

    agent = Mistaken()
    scene = Scene(sessions, agent=agent)
    scene.text("one")
    scene.work()
    agent.mistakes = 2
    scene.text("two", BOB)
    scene.work_until_idle()
    assert agent.chats["chat_1"].received == ["one"]
    assert agent.received == ["one", "two"]
    assert scene.got(BOB) == ["You said: two"]


# -- workers that die or come late ---------------------------------------------------------------------------------


def test_a_worker_that_was_halted_says_nothing_any_more(scene: Scene) -> None:
    scene.text("one")
    scene.rt.heartbeat.stopped = True
    scene.wake()
    assert scene.agent.calls == []
    scene.restart()
    scene.work_until_idle()
    assert scene.got() == ["You said: one"]


def test_a_late_worker_throws_its_answer_away(scene: Scene) -> None:
    """It is halted in the middle of the call; another one takes over, and then it comes back with an answer."""
    late = scene.rt

    def answer(said: str) -> list[str]:
        late.heartbeat.stopped = True
        scene.restart()
        scene.work(seconds=60)
        return [f"You said: {said}"]

    scene.agent.answer = answer
    scene.text("one")
    process_turns(late, 1)
    assert scene.got() == []
    scene.work_until_idle()
    assert scene.agent.received == ["one"]
    assert scene.got() == ["You said: one"]


@pytest.mark.parametrize("done", [True, False], ids=["committed", "rolled back"])
def test_an_answer_in_hand_outlives_a_database_that_fails_twice(scene: Scene, done: bool) -> None:
    """Also where the commit was carried out, and only its outcome was lost."""
    unsteady = Unsteady()
    base = database(scene.sessions, scene.clock, scene.notifier.wake, unsteady.commit)
    scene.rt = replace(scene.rt, database=base)

    def answer(said: str) -> list[str]:
        unsteady.fails(times=2, done=done)
        return [f"You said: {said}"]

    scene.agent.answer = answer
    scene.text("hello")
    scene.wake()
    assert unsteady.left == 0
    assert scene.agent.received == ["hello"]
    assert scene.got() == ["You said: hello"], "at once, by the rings alone"
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED]
    assert "get_chat" not in [call for call, _ in scene.agent.calls]
