"""A human at the agent's provider has the chat: nobody answers beside them, and each text is answered afterwards."""

from __future__ import annotations

import itertools
import logging
from datetime import timedelta

import pytest

from bridge.chats import ending
from bridge.db.engine import Sessions
from bridge.db.models import Chat, ChatStatus, Conversation, Holder, Message, MessageStatus, Turn, TurnStatus
from bridge.inbound import agent_events
from bridge.inbound.holder import LONGEST_PAUSE, SHORTEST_PAUSE
from bridge.maintenance import handoffs, stale_chats
from bridge.providers.agents.contract import ChatState, Item, Speaker
from bridge.providers.agents.webhooks import ChatEvent, EventKind
from bridge.providers.errors import OutcomeUnknown, Refused
from bridge.web.queries import failures
from bridge.web.queries.failures import Kind
from tests.fakes import UPONAI, FakeAgent
from tests.scene import ANN, Scene

CHAT = "chat_1"
NOOR = "Noor will answer you here."


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    """Ann has an answer, and an open chat."""
    scene = Scene(sessions)
    scene.text("hello")
    scene.work()
    return scene


def handoff_reply(scene: Scene) -> str:
    return scene.rt.settings.handoff_reply


def holder(scene: Scene) -> Holder:
    return Holder(scene.rows(Conversation)[0].holder)


def asked(scene: Scene) -> list[str]:
    return [what for call, what in scene.agent.calls if call == "complete"]


def checks(scene: Scene) -> int:
    return sum(call == "get_chat" for call, _ in scene.agent.calls)


def event(scene: Scene, state: ChatState = ChatState.WITH_HUMAN, seconds: float = 0, **more: object) -> None:
    """The provider reports an event of the chat, and signs it so many seconds from now."""
    at = scene.clock() + timedelta(seconds=seconds)
    agent_events.record(scene.rt, ChatEvent(EventKind.ESCALATED, "retell", CHAT, at, state=state, **more))  # type: ignore[arg-type]


# -- how it is noticed ---------------------------------------------------------------------------------------------


def test_a_refused_text_waits_and_is_asked_in_the_same_chat_when_the_human_hands_back(scene: Scene) -> None:
    scene.agent.hand_over(CHAT)
    scene.text("are you there?")
    scene.work(seconds=120)
    assert (holder(scene), scene.got()[1:]) == (Holder.WAITING, [handoff_reply(scene)])
    [_, turn] = scene.rows(Turn)
    assert (turn.status, turn.attempts) == (TurnStatus.WAITING, 0)
    assert scene.agent.asked_beside_a_human == [CHAT]  # once, before anybody knew
    scene.agent.hand_back(CHAT)
    scene.work_until_idle()
    assert (holder(scene), scene.got()[2:]) == (Holder.AGENT, ["You said: are you there?"])
    assert [chat.received for chat in scene.agent.chats.values()] == [["hello", "are you there?"]]


def test_an_unknown_refusal_of_a_chat_that_the_agent_has_is_a_refusal(scene: Scene) -> None:
    scene.agent.fail("complete", Refused("no", provider="retell", status=400))
    scene.text("next")
    scene.work_until_idle()
    assert (holder(scene), scene.got()[1:]) == (Holder.AGENT, ["You said: next"])


def test_texts_that_come_while_a_human_has_the_chat_become_one_turn(scene: Scene) -> None:
    event(scene)
    scene.agent.hand_over(CHAT)
    for body in ("one", "two", "three"):
        scene.text(body)
        scene.work(seconds=40)
    assert asked(scene) == ["hello"]
    assert [row.status for row in scene.rows(Message)][-1] is MessageStatus.WAITING
    scene.agent.hand_back(CHAT)
    scene.work_until_idle()
    assert asked(scene) == ["hello", "one\ntwo\nthree"]
    assert scene.got()[1:] == [handoff_reply(scene), "You said: one\ntwo\nthree"]


def test_an_answer_that_hands_over_sends_the_message_that_stands_beside_it(scene: Scene) -> None:
    scene.agent.answer = lambda said: []
    scene.agent.hands_over_on = {"a human, please": NOOR}
    scene.text("a human, please")
    scene.work_until_idle()
    assert (holder(scene), scene.got()[1:]) == (Holder.WAITING, [NOOR])
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED] * 2


def test_a_message_that_the_agent_has_written_itself_is_sent_once(scene: Scene) -> None:
    scene.agent.answer = lambda said: ["One moment.", f"All right!  {NOOR}"]
    scene.agent.hands_over_on = {"a human, please": NOOR}
    scene.text("a human, please")
    scene.work_until_idle()
    assert (holder(scene), scene.got()[1:]) == (Holder.WAITING, ["One moment.", f"All right!  {NOOR}"])


def test_an_answer_that_hands_over_without_a_message_is_followed_by_the_handoff_reply(scene: Scene) -> None:
    scene.agent.answer = lambda said: ["One moment."]
    scene.agent.hands_over_on = {"a human, please": ""}
    scene.text("a human, please")
    scene.work_until_idle()
    assert (holder(scene), scene.got()[1:]) == (Holder.WAITING, ["One moment.", handoff_reply(scene)])


def test_an_answer_without_a_word_in_a_chat_that_a_human_has_is_their_s(scene: Scene) -> None:
    scene.agent.answer = lambda said: []
    scene.agent.in_next_call(lambda: scene.agent.hand_over(CHAT))
    scene.text("hm")
    scene.work_until_idle()
    assert (holder(scene), scene.got()[1:]) == (Holder.WAITING, [handoff_reply(scene)])
    assert [row.silent_turns for row in scene.rows(Conversation)] == [0]


def test_a_message_that_stands_in_the_chat_and_in_no_answer_is_sent_once(scene: Scene) -> None:
    scene.agent.answer = lambda said: []

    def hands_over() -> None:
        scene.agent.hand_over(CHAT)
        scene.agent.chats[CHAT].items.append(Item(Speaker.AGENT, NOOR, id="m_noor"))

    scene.agent.in_next_call(hands_over)
    scene.text("hm")
    scene.work_until_idle()
    scene.text("hello?")
    scene.work(seconds=60)
    assert (holder(scene), scene.got()[1:]) == (Holder.WAITING, [NOOR, handoff_reply(scene)])


def test_a_message_of_an_agent_that_was_not_asked_is_sent_once(scene: Scene) -> None:
    """It handed over by itself, as after a time."""
    scene.agent.hand_over(CHAT)
    scene.agent.chats[CHAT].items += [
        Item(Speaker.AGENT, NOOR, id="m_noor"),
        Item(Speaker.OTHER, id="m_call", escalates=True, handoff=NOOR),
    ]
    for body in ("one", "two"):
        scene.text(body)
        scene.work(seconds=60)
    assert scene.got()[1:] == [NOOR]


def test_an_empty_handoff_reply_is_silence(sessions: Sessions) -> None:
    scene = Scene(sessions, handoff_reply="")
    scene.agent.answer = lambda said: []
    scene.agent.hands_over_on = {"hello": ""}
    scene.text("hello")
    scene.work_until_idle()
    assert (holder(scene), scene.got()) == (Holder.WAITING, [])


LOST = OutcomeUnknown("cut off", provider="retell")


@pytest.mark.parametrize("message", [NOOR, ""])
def test_a_lost_answer_that_hands_over_is_found_in_the_chat(scene: Scene, message: str) -> None:
    scene.agent.answer = lambda said: ["One moment."]
    scene.agent.hands_over_on = {"a human, please": message}
    scene.agent.fail("complete", LOST, received=True)
    scene.text("a human, please")
    scene.work_until_idle()
    assert scene.got()[1:] == ["One moment.", message or handoff_reply(scene)]
    assert (holder(scene), asked(scene)) == (Holder.WAITING, ["hello", "a human, please"])


def test_a_lost_answer_that_hands_over_is_found_also_when_the_chat_is_back(scene: Scene) -> None:
    scene.agent.answer = lambda said: []
    scene.agent.hands_over_on = {"a human, please": NOOR}
    scene.agent.fail("complete", LOST, received=True)
    scene.text("a human, please")
    scene.wake()
    scene.agent.hand_back(CHAT)
    scene.work_until_idle()
    scene.agent.answer = lambda said: ["I am back."]
    scene.text("next")
    scene.work_until_idle()
    assert (holder(scene), scene.got()[1:]) == (Holder.AGENT, [NOOR, "I am back."])


def test_a_lost_request_is_not_repeated_while_a_human_has_the_chat(scene: Scene) -> None:
    scene.agent.fail("complete", LOST, received=False)
    scene.text("next")
    scene.wake()
    scene.agent.hand_over(CHAT)
    scene.work(seconds=300)
    assert (holder(scene), asked(scene), scene.got()[1:]) == (
        Holder.WAITING,
        ["hello", "next"],
        [handoff_reply(scene)],
    )
    scene.agent.hand_back(CHAT)
    scene.work_until_idle()
    assert scene.agent.received == ["hello", "next"]
    assert scene.got()[2:] == ["You said: next"]


def test_a_request_that_a_human_has_received_is_answered_by_them(scene: Scene) -> None:
    scene.agent.thinks = True
    scene.text("next")
    scene.wake()
    scene.agent.hand_over(CHAT)
    scene.work_until_idle()
    assert (holder(scene), scene.got()[1:]) == (Holder.WAITING, [handoff_reply(scene)])
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED] * 2


def test_a_chat_that_hides_its_items_is_neither_asked_again_nor_ended_while_a_human_has_it(sessions: Sessions) -> None:
    agent = FakeAgent()
    scene = Scene(sessions, agent, answer_within="30m", fallback_reply="sorry")
    scene.text("hello")
    scene.work()
    agent.fail("complete", LOST, received=False)
    agent.shows_items = False
    scene.text("next")
    scene.wake()
    agent.hand_over(CHAT)
    scene.work(seconds=900)
    assert (holder(scene), asked(scene)) == (Holder.WAITING, ["hello", "next"])
    scene.work_until_idle()
    assert scene.got()[1:] == [handoff_reply(scene), "sorry"]
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ONGOING]


# -- events --------------------------------------------------------------------------------------------------------


def test_an_event_lets_the_next_text_wait_without_asking(scene: Scene) -> None:
    event(scene)
    event(scene)
    scene.agent.hand_over(CHAT)
    scene.text("next")
    scene.work(seconds=30)
    assert (holder(scene), asked(scene), scene.got()[1:]) == (Holder.WAITING, ["hello"], [handoff_reply(scene)])


def test_an_event_s_message_is_sent_once(scene: Scene) -> None:
    items = (*scene.agent.chats[CHAT].items, Item(Speaker.OTHER, id="m9", escalates=True, handoff=NOOR))
    for _ in range(2):
        event(scene, items=items)
    scene.work_until_idle()
    assert scene.got()[1:] == [NOOR]


def test_an_event_while_a_text_waits_leaves_the_message_to_the_worker(scene: Scene) -> None:
    scene.agent.chats[CHAT].items.append(Item(Speaker.OTHER, id="m9", escalates=True, handoff=NOOR))
    scene.agent.hand_over(CHAT)
    scene.text("next")
    event(scene)
    assert holder(scene) is Holder.WAITING
    scene.work(seconds=60)
    assert (asked(scene), scene.got()[1:]) == (["hello"], [NOOR])


@pytest.mark.parametrize(("message", "last"), [(NOOR, NOOR), ("", "")])
def test_an_event_inside_the_answer_that_hands_over_adds_nothing(scene: Scene, message: str, last: str) -> None:
    scene.agent.answer = lambda said: ["One moment."]
    scene.agent.hands_over_on = {"next": message}
    scene.agent.in_next_call(lambda: event(scene))
    scene.text("next")
    scene.work_until_idle()
    event(scene, seconds=1)
    scene.work_until_idle()
    assert scene.got()[1:] == ["One moment.", last or handoff_reply(scene)]


def test_an_event_from_before_the_chat_came_back_changes_nothing(scene: Scene) -> None:
    event(scene)
    scene.text("next")
    scene.work_until_idle()
    assert holder(scene) is Holder.AGENT
    event(scene, seconds=-1)
    assert (holder(scene), scene.got()[1:]) == (Holder.AGENT, [handoff_reply(scene), "You said: next"])
    event(scene, seconds=1)
    assert holder(scene) is Holder.WAITING


def test_the_end_of_the_chat_gives_the_conversation_back(scene: Scene) -> None:
    event(scene)
    scene.agent.end(CHAT)
    agent_events.record(scene.rt, ChatEvent(EventKind.ENDED, "retell", CHAT, scene.clock()))
    assert holder(scene) is Holder.AGENT
    scene.text("next")
    scene.work_until_idle()
    assert [chat.received for chat in scene.agent.chats.values()] == [["hello"], ["next"]]


# -- while a human has it ------------------------------------------------------------------------------------------


def test_the_pauses_between_two_checks_grow_and_have_an_end(scene: Scene) -> None:
    event(scene)
    scene.agent.hand_over(CHAT)
    scene.text("next")
    scene.wake()
    moments = []
    for _ in range(24):
        before = checks(scene)
        scene.tick(10)
        scene.work()
        while checks(scene) == before:
            scene.tick(10)
        moments.append(scene.clock())
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert min(pauses) >= SHORTEST_PAUSE
    assert max(pauses) <= LONGEST_PAUSE + timedelta(seconds=30)
    assert pauses[-1] > pauses[0]


@pytest.mark.parametrize("ends", [True, False])
def test_a_chat_that_the_human_ends_is_followed_by_a_new_one(scene: Scene, ends: bool) -> None:
    event(scene)
    scene.agent.hand_over(CHAT)
    scene.text("next")
    scene.work(seconds=30)
    scene.agent.end(CHAT) if ends else scene.agent.chats.pop(CHAT)
    scene.work_until_idle()
    assert (holder(scene), scene.got()[-1]) == (Holder.AGENT, "You said: next")
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED, ChatStatus.ONGOING]


def test_what_the_human_and_the_person_wrote_there_is_no_answer_of_the_agent(scene: Scene) -> None:
    event(scene)
    scene.agent.hand_over(CHAT)
    scene.text("next")
    scene.work(seconds=30)
    for n, speaker in enumerate((Speaker.USER, Speaker.AGENT) * 2):
        scene.agent.chats[CHAT].items.append(Item(speaker, "by the human's console", id=f"h{n}"))
    scene.agent.hand_back(CHAT)
    scene.agent.fail("complete", LOST, received=False)
    scene.work_until_idle()
    assert scene.got()[-1] == "You said: next"
    assert scene.agent.chats[CHAT].received.count("next") == 1


def test_a_provider_that_does_not_answer_a_check_changes_nothing(scene: Scene) -> None:
    event(scene)
    scene.agent.fail("get_chat", OutcomeUnknown("cut off", provider="retell"), times=3)
    scene.text("next")
    scene.work(seconds=30)
    assert (holder(scene), asked(scene)) == (Holder.WAITING, ["hello"])
    scene.work_until_idle()
    assert (holder(scene), scene.got()[-1]) == (Holder.AGENT, "You said: next")


def test_a_text_that_waits_too_long_for_the_human_is_given_up_and_names_the_cause(sessions: Sessions) -> None:
    scene = Scene(sessions, answer_within="10m", fallback_reply="sorry")
    scene.text("hello")
    scene.work()
    event(scene)
    scene.agent.hand_over(CHAT)
    scene.text("next")
    scene.work(seconds=300)
    scene.text("and this")
    scene.work_until_idle()
    assert [(row.status, row.error) for row in scene.rows(Turn)[1:]] == [
        (TurnStatus.GIVEN_UP, "there was no answer within ANSWER_WITHIN: a human at the agent's provider had the chat")
    ] * 2
    assert (asked(scene), scene.got()[1:]) == (["hello"], [handoff_reply(scene), "sorry", "sorry"])
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ONGOING]
    scene.agent.hand_back(CHAT)
    scene.text("again")
    scene.work_until_idle()
    assert scene.agent.received == ["hello", "again"]


def test_a_chat_that_a_human_has_is_never_stale(sessions: Sessions) -> None:
    scene = Scene(sessions, stale_after="1h")
    scene.text("hello")
    scene.work()
    event(scene)
    scene.clock.tick(7200)
    stale_chats.end_stale(scene.rt)
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ONGOING]


def test_an_operator_may_end_the_chat_and_the_agent_answers_again(scene: Scene) -> None:
    event(scene)
    scene.agent.hand_over(CHAT)
    ending.end_one(scene.rt, 1)
    scene.work()
    assert listed(scene) == []
    scene.text("next")
    scene.work_until_idle()
    assert (holder(scene), scene.got()[-1]) == (Holder.AGENT, "You said: next")


def test_a_number_that_has_another_agent_now_is_not_kept_waiting(scene: Scene) -> None:
    event(scene)
    scene.agent.hand_over(CHAT)
    scene.set(retell_agent_id="agent_2")
    scene.text("next")
    scene.work_until_idle()
    assert (holder(scene), scene.got()[-1]) == (Holder.AGENT, "You said: next")


def test_a_person_who_has_opted_out_gets_no_handoff_reply(scene: Scene) -> None:
    scene.text("STOP")
    scene.work()
    sent = scene.got()
    event(scene)
    scene.work_until_idle()
    assert (holder(scene), scene.got()) == (Holder.WAITING, sent)


def test_a_second_handoff_is_told_again(scene: Scene) -> None:
    scene.agent.hands_over_on = {"one": NOOR, "two": ""}
    for body in ("one", "two"):
        scene.text(body)
        scene.work_until_idle()
        scene.agent.hand_back(CHAT)
    scene.text("three")
    scene.work_until_idle()
    assert scene.got()[1:] == ["You said: one", NOOR, "You said: two", handoff_reply(scene), "You said: three"]


def test_without_message_ids_a_human_is_noticed_as_well(sessions: Sessions) -> None:
    scene = Scene(sessions, FakeAgent(provider="uponai", item_ids=False), **UPONAI)
    scene.text("hello")
    scene.work()
    scene.agent.hand_over(CHAT)
    scene.text("next")
    scene.work(seconds=60)
    scene.agent.hand_back(CHAT)
    scene.work_until_idle()
    assert scene.got() == ["You said: hello", handoff_reply(scene), "You said: next"]
    assert scene.agent.received == ["hello", "next"]


def test_a_chat_that_comes_back_while_no_text_waits_is_noticed_by_the_clock(scene: Scene) -> None:
    event(scene)
    scene.agent.hand_over(CHAT)
    for back in (False, True):
        scene.clock.tick(300)
        scene.rt.heartbeat.beat()  # type: ignore[attr-defined]
        if back:
            scene.agent.hand_back(CHAT)
        handoffs.check_again(scene.rt)
        scene.work()
        assert (holder(scene), scene.waiting()) == (Holder.AGENT if back else Holder.WAITING, False)
    before = checks(scene)
    handoffs.check_again(scene.rt)
    scene.work()
    assert (checks(scene), asked(scene), scene.got()[1:]) == (before, ["hello"], [handoff_reply(scene)])


# -- what operators see --------------------------------------------------------------------------------------------


def listed(scene: Scene) -> list[failures.Failure]:
    return [each for each in failures.list_failures(scene.rt).failures if each.kind in failures.REMEDIES]


def test_operators_see_since_when_and_what_to_do_until_the_chat_is_back(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    event(scene)
    scene.agent.hand_over(CHAT)
    scene.text("tangerine")
    scene.work(seconds=60)
    [shown] = listed(scene)
    assert (shown.kind, shown.id, shown.phone) == (Kind.WITH_HUMAN, 1, ANN)
    assert (shown.error, shown.meaning) == ("a human at retell has the chat", failures.REMEDIES[Kind.WITH_HUMAN])
    assert shown.at == scene.clock() - timedelta(seconds=60)
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "conversation 1: a human at retell has the chat; the agent is not asked until it is back"
    ]
    scene.agent.hand_back(CHAT)
    scene.work_until_idle()
    assert listed(scene) == []
    assert "conversation 1: the agent answers again" in caplog.messages
    assert not any("tangerine" in message or ANN in message for message in caplog.messages)


# -- an agent that gives no word -----------------------------------------------------------------------------------


def silent(scene: Scene, turns: int) -> None:
    scene.agent.answer = lambda said: []
    for n in range(turns):
        scene.text(f"hello {n}?")
        scene.work(seconds=1)


def test_an_agent_that_is_silent_for_three_turns_is_told_once_and_asked_all_the_same(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    silent(scene, 2)
    assert listed(scene) == []
    first = scene.clock() - timedelta(seconds=2)
    silent(scene, 3)
    [shown] = listed(scene)
    assert (shown.kind, shown.error) == (Kind.SILENT, "the agent gave no word in the last 5 turns")
    assert (shown.at, holder(scene)) == (first, Holder.AGENT)
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "conversation 1: the agent gives no word, 3 turns in a row"
    ]
    scene.agent.answer = lambda said: ["Here I am."]
    scene.text("still there?")
    scene.work()
    assert (listed(scene), scene.rows(Conversation)[0].silent_turns) == ([], 0)


@pytest.mark.parametrize("speaks", ["NO_RESPONSE_NEEDED", "a word"])
def test_an_answer_between_two_silent_turns_begins_the_count_anew(scene: Scene, speaks: str) -> None:
    silent(scene, 2)
    scene.agent.answer = lambda said: [speaks]
    scene.text("hello?")
    scene.work()
    silent(scene, 2)
    assert listed(scene) == []


@pytest.mark.parametrize("never", ["0", ""])
def test_without_the_setting_nobody_is_told(sessions: Sessions, never: str) -> None:
    scene = Scene(sessions, silent_turns=never)
    silent(scene, 5)
    assert listed(scene) == []


def test_a_silent_agent_that_ends_the_chat_is_not_silent(scene: Scene) -> None:
    scene.agent.answer = lambda said: []
    for n in range(4):
        scene.agent.hangs_up_on.add(f"bye {n}")
        scene.text(f"bye {n}")
        scene.work()
    assert listed(scene) == []
