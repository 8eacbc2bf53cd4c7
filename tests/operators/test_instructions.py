"""What an operator says to the agent: a turn of its own, sent or kept as a draft; and the agent that speaks first."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from werkzeug.test import TestResponse

from bridge.db.engine import Sessions
from bridge.db.models import (
    Audit,
    Chat,
    ChatStatus,
    Conversation,
    Holder,
    Message,
    MessageStatus,
    Turn,
    TurnStatus,
)
from bridge.operators import holding
from bridge.operators.holding import HandBack
from bridge.operators.idempotency import Asked
from bridge.operators.instructions import MOST_BYTES
from bridge.operators.texts import Pair
from bridge.providers.errors import OutcomeUnknown, Refused
from bridge.turns.greet import NO_GREETING
from tests.scene import ANN, BOB, NUMBER, Scene

TOKENS = "ana:token-of-ana,ben:token-of-ben"
PAIR = Pair(ANN, NUMBER)
ANA = Asked("ana")
GREETING = "Hello, this is the Harbour Table."


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, admin_tokens=TOKENS, twilio_numbers=NUMBER)


def call(scene: Scene, method: str, path: str, body: Any = None, *, by: str = "ana", key: str = "") -> TestResponse:
    headers = {"Authorization": f"Bearer token-of-{by}"} | ({"Idempotency-Key": key} if key else {})
    return scene.web.test_client().open(path, method=method, json=body, headers=headers)


def say(scene: Scene, content: str, **more: Any) -> TestResponse:
    wishes = {name: more.pop(name) for name in ("send",) if name in more}
    return call(scene, "POST", "/admin/conversations/1/turns", {"content": content, **wishes}, **more)


def start(scene: Scene, *, by: str = "ana", key: str = "", **wish: Any) -> TestResponse:
    body = {"to": ANN, "from": NUMBER, "start_agent": True, **wish}
    given = {name: value for name, value in body.items() if value is not None}
    return call(scene, "POST", "/admin/messages", given, by=by, key=key)


def shown(scene: Scene, turn_id: int) -> Any:
    return call(scene, "GET", f"/admin/turns/{turn_id}").json


def answered_once(scene: Scene) -> None:
    scene.text("hello")
    scene.work_until_idle()


def hold(scene: Scene, holder: Holder, name: str | None = None) -> None:
    scene.change(update(Conversation).values(holder=holder, holder_name=name, holder_since=scene.clock()))


# -- said to the agent ---------------------------------------------------------------------------------------------


def test_an_answer_to_an_operator_goes_to_the_person(scene: Scene) -> None:
    answered_once(scene)
    answer = say(scene, "offer a table at 8")
    assert (answer.status_code, answer.json) == (202, {"turn_id": 2})
    scene.work_until_idle()
    assert scene.agent.received == ["hello", "offer a table at 8"]
    assert scene.got() == ["You said: hello", "You said: offer a table at 8"]
    [chat] = scene.rows(Chat)
    assert {turn.chat_id for turn in scene.rows(Turn)} == {chat.id}


def test_a_draft_is_kept_and_not_sent(scene: Scene) -> None:
    answered_once(scene)
    say(scene, "offer a table at 8", send=False)
    scene.work_until_idle()
    assert scene.got() == ["You said: hello"]
    turn = shown(scene, 2)
    assert turn["status"] == "answered"
    assert [(each["body"], each["status"]) for each in turn["messages"]] == [("You said: offer a table at 8", "draft")]


def test_a_turn_can_be_asked_for_from_the_first_moment_on(scene: Scene) -> None:
    answered_once(scene)
    turn_id = say(scene, "offer a table").json["turn_id"]
    assert shown(scene, turn_id)["status"] == "queued"
    scene.work_until_idle()
    assert [each["body"] for each in shown(scene, turn_id)["messages"]] == ["You said: offer a table"]
    assert [each["body"] for each in shown(scene, 1)["messages"]] == ["You said: hello"]


def test_an_unknown_turn_and_an_unknown_conversation_are_not_found(scene: Scene) -> None:
    assert call(scene, "GET", "/admin/turns/7").status_code == 404
    assert call(scene, "GET", "/admin/turns/x").status_code == 404
    assert say(scene, "hello").status_code == 404


def test_it_is_never_merged_with_the_texts_of_the_person_and_keeps_the_order(scene: Scene) -> None:
    scene.text("a")
    scene.text("b")
    say(scene, "by Ana")
    say(scene, "by Ben", by="ben")
    scene.text("c")
    scene.text("d")
    scene.work_until_idle()
    assert scene.agent.received == ["a\nb", "by Ana", "by Ben", "c\nd"]
    assert {row.status for row in scene.rows(Turn)} == {TurnStatus.ANSWERED}


def test_it_waits_behind_the_turn_that_is_being_asked(scene: Scene) -> None:
    scene.agent.in_next_call(lambda: say(scene, "by Ana"))
    scene.text("a")
    scene.work_until_idle()
    assert scene.agent.received == ["a", "by Ana"]


def test_a_person_s_limits_do_not_count_it_and_do_not_stop_it(sessions: Sessions) -> None:
    scene = Scene(sessions, admin_tokens=TOKENS, turns_per_hour="2")
    answered_once(scene)
    for _ in range(2):
        say(scene, "by Ana")
        scene.wake()
    scene.text("second")
    scene.wake()
    assert scene.agent.received == ["hello", "by Ana", "by Ana", "second"]
    scene.text("third")
    scene.wake()
    assert scene.agent.received[-1] == "second"
    say(scene, "by Ana, beside a limit")
    scene.wake()
    assert scene.agent.received[-1] == "by Ana, beside a limit"
    scene.clock.tick(3600)
    scene.work_until_idle()
    assert scene.agent.received[-1] == "third"


def test_a_flood_that_expires_does_not_take_it_along(sessions: Sessions) -> None:
    scene = Scene(sessions, admin_tokens=TOKENS, turns_per_hour="1", answer_within="10m")
    answered_once(scene)
    scene.text("too many")
    scene.work(seconds=5)
    scene.rt.heartbeat.stopped = True
    say(scene, "by Ana")
    scene.clock.tick(700)
    scene.rt.heartbeat.stopped = False
    scene.work_until_idle()
    by_ana = next(row for row in scene.rows(Message) if row.operator)
    assert by_ana.status is MessageStatus.GIVEN_UP


def test_an_operator_is_not_throttled_by_a_flood_of_their_own(sessions: Sessions) -> None:
    scene = Scene(sessions, admin_tokens=TOKENS, turns_per_minute="2", turns_per_hour="5")
    answered_once(scene)
    for n in range(8):
        say(scene, f"by Ana {n}")
    scene.work(seconds=30)
    assert len(scene.agent.received) == 9


def test_the_recap_of_a_later_chat_has_the_answer_and_not_the_instruction(scene: Scene) -> None:
    answered_once(scene)
    say(scene, "a secret wish")
    say(scene, "another one", send=False)
    scene.agent.answer = lambda text: ["A table is free at 8."]
    scene.work_until_idle()
    scene.agent.end("chat_1")
    scene.text("thanks")
    scene.work_until_idle()
    recap = list(scene.agent.chats.values())[-1].about.previous_conversation
    assert recap == "User: hello\nAgent: You said: hello\nAgent: A table is free at 8."


def test_a_failure_of_it_is_listed_and_tried_again_and_the_person_is_not_told(scene: Scene) -> None:
    answered_once(scene)
    scene.agent.fail("complete", Refused("too long", provider="retell", status=400), times=2)
    say(scene, "offer a table")
    scene.work_until_idle()
    assert shown(scene, 2)["status"] == "given_up"
    assert scene.got() == ["You said: hello"]
    listed = call(scene, "GET", "/admin/failures").json["failures"]
    assert [(each["kind"], each["id"]) for each in listed] == [("turn", 2)]
    assert call(scene, "POST", "/admin/turns/2/retry").status_code == 202
    scene.work_until_idle()
    assert scene.got() == ["You said: hello", "You said: offer a table"]
    assert scene.agent.received.count("offer a table") == 1


def test_it_is_given_up_after_answer_within(scene: Scene) -> None:
    answered_once(scene)
    scene.rt.heartbeat.stopped = True
    say(scene, "offer a table", send=False)
    scene.clock.tick(scene.rt.settings.answer_within.total_seconds())
    scene.rt.heartbeat.stopped = False
    scene.work_until_idle()
    assert shown(scene, 2)["status"] == "given_up"
    assert scene.got() == ["You said: hello"]


def test_an_answer_that_was_lost_is_read_in_the_chat_and_kept_once(scene: Scene) -> None:
    answered_once(scene)
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), received=True)
    say(scene, "offer a table", send=False)
    scene.work_until_idle()
    assert scene.agent.received == ["hello", "offer a table"]
    assert [each["body"] for each in shown(scene, 2)["messages"]] == ["You said: offer a table"]


def test_a_person_who_has_opted_out_gets_nothing(scene: Scene) -> None:
    answered_once(scene)
    scene.rt.heartbeat.stopped = True
    waiting = say(scene, "offer a table").json["turn_id"]
    scene.text("STOP")
    scene.rt.heartbeat.stopped = False
    scene.work_until_idle()
    assert shown(scene, waiting)["status"] == "canceled"
    assert say(scene, "offer a table").status_code == 409
    assert start(scene, new_chat=True).status_code == 409
    assert scene.agent.received == ["hello"]


@pytest.mark.parametrize(
    ("holder", "name", "words"),
    [
        (Holder.WAITING, "retell", "at the agent's provider"),
        (Holder.WAITING, None, "Take the conversation over"),
        (Holder.OUTSIDE, None, "another tool"),
        (Holder.PERSON, "ben", "ben has this conversation"),
    ],
)
@pytest.mark.parametrize("send", [True, False])
def test_who_has_the_conversation_keeps_the_agent_still(
    scene: Scene, holder: Holder, name: str | None, words: str, send: bool
) -> None:
    answered_once(scene)
    hold(scene, holder, name)
    answer = say(scene, "offer a table", send=send)
    assert answer.status_code == 409
    assert words in answer.json["detail"]
    assert len(scene.rows(Turn)) == 1


def test_a_refusal_says_who_has_the_conversation(scene: Scene) -> None:
    answered_once(scene)
    hold(scene, Holder.PERSON, "ana")
    answer = say(scene, "offer a table")
    assert (answer.status_code, answer.json["holder"]["kind"], answer.json["holder"]["name"]) == (409, "person", "ana")


def test_who_has_the_conversation_gets_a_draft_beside_the_texts_that_wait(scene: Scene) -> None:
    answered_once(scene)
    holding.take_over(scene.rt, "ana", 1)
    scene.text("are you there?")
    scene.wake()
    say(scene, "what would you offer?", send=False)
    scene.work_until_idle()
    assert scene.agent.received == ["hello", "what would you offer?"]
    assert [each["status"] for each in shown(scene, 2)["messages"]] == ["draft"]
    assert scene.got() == ["You said: hello"]
    holding.hand_back(scene.rt, "ana", 1, HandBack(answer=True))
    scene.work_until_idle()
    assert scene.agent.received[2:] == ["are you there?"]


def test_what_waits_for_the_agent_at_a_take_over_is_asked_after_the_hand_back(scene: Scene) -> None:
    answered_once(scene)
    say(scene, "offer a table")
    holding.take_over(scene.rt, "ben", 1)
    scene.work_until_idle()
    assert shown(scene, 2)["status"] == "queued"
    holding.hand_back(scene.rt, "ben", 1, HandBack())
    scene.work_until_idle()
    assert scene.got() == ["You said: hello", "You said: offer a table"]


def test_a_draft_that_failed_is_tried_again_by_who_has_the_conversation(scene: Scene) -> None:
    answered_once(scene)
    holding.take_over(scene.rt, "ana", 1)
    scene.agent.fail("complete", Refused("too long", provider="retell", status=400), times=2)
    say(scene, "what would you offer?", send=False)
    scene.work_until_idle()
    assert shown(scene, 2)["status"] == "given_up"
    assert call(scene, "POST", "/admin/turns/2/retry", by="ben").status_code == 409
    assert call(scene, "POST", "/admin/turns/2/retry").status_code == 202
    scene.work_until_idle()
    assert [each["status"] for each in shown(scene, 2)["messages"]] == ["draft"]
    assert scene.got() == ["You said: hello"]


def test_what_an_operator_tells_the_agent_is_not_unread(scene: Scene) -> None:
    answered_once(scene)
    before = call(scene, "GET", "/admin/conversations").json["conversations"][0]["unread"]
    say(scene, "offer a table", send=False)
    scene.work_until_idle()
    assert call(scene, "GET", "/admin/conversations").json["conversations"][0]["unread"] == before == 1


@pytest.mark.parametrize("content", ["", " \n ", "\u200b"])
def test_words_are_needed(scene: Scene, content: str) -> None:
    answered_once(scene)
    answer = say(scene, content)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "content")


def test_the_same_key_says_it_once(scene: Scene) -> None:
    answered_once(scene)
    first, again = (say(scene, "offer a table", key="k1") for _ in range(2))
    assert first.json == again.json
    assert say(scene, "offer two tables", key="k1").status_code == 409
    scene.work_until_idle()
    assert scene.agent.received == ["hello", "offer a table"]


def test_the_audit_names_who_has_said_something_without_the_words(scene: Scene) -> None:
    answered_once(scene)
    say(scene, "a secret wish", send=False)
    start(scene, new_chat=True, content="a secret beginning", dynamic_variables={"offer": "a secret"})
    rows = scene.rows(Audit)
    assert [(row.operator, row.action, row.subject, row.details) for row in rows] == [
        ("ana", "ask_agent", "turn 2", {"message": 3, "send": False}),
        ("ana", "start_agent", "turn 3", {"message": 4, "variables": 1}),
    ]


# -- the agent speaks first ----------------------------------------------------------------------------------------


def greeting(scene: Scene) -> None:
    scene.agent.greeting = GREETING


def test_the_greeting_of_a_new_chat_is_sent_and_the_person_s_answer_goes_to_that_chat(scene: Scene) -> None:
    greeting(scene)
    answer = start(scene, dynamic_variables={"offer": "two for one"})
    assert (answer.status_code, answer.json) == (202, {"id": 1, "conversation_id": 1, "turn_id": 1})
    scene.work_until_idle()
    assert scene.got() == [GREETING]
    scene.text("who is this?")
    scene.work_until_idle()
    [chat] = scene.agent.chats.values()
    assert (chat.received, chat.about.variables) == (["who is this?"], {"offer": "two for one"})
    assert scene.got() == [GREETING, "You said: who is this?"]


def test_the_answer_to_the_first_instruction_is_sent_in_place_of_the_greeting(scene: Scene) -> None:
    greeting(scene)
    start(scene, content="ask for a review", dynamic_variables={"offer": "two for one"})
    scene.work_until_idle()
    assert scene.got() == ["You said: ask for a review"]
    [chat] = scene.agent.chats.values()
    assert chat.about.variables == {"offer": "two for one"}


def test_a_greeting_that_only_the_chat_shows_is_found_there(scene: Scene) -> None:
    """The answer to create-chat has no items."""
    greeting(scene)
    scene.agent.shows_items_at_create = False
    start(scene)
    scene.work_until_idle()
    assert scene.got() == [GREETING]


@pytest.mark.parametrize("received", [True, False])
def test_a_chat_whose_creation_was_cut_is_searched_and_greets_once(scene: Scene, received: bool) -> None:
    greeting(scene)
    scene.agent.fail("create_chat", OutcomeUnknown("cut", provider="retell"), received=received)
    start(scene)
    scene.work_until_idle()
    assert (len(scene.agent.chats), scene.got()) == (1, [GREETING])


def test_an_agent_without_a_greeting_is_a_failure_that_says_how_to_mend_it(scene: Scene) -> None:
    start(scene)
    scene.work_until_idle()
    turn = shown(scene, 1)
    assert (turn["status"], turn["error"], scene.got()) == ("given_up", NO_GREETING, [])
    greeting(scene)
    call(scene, "POST", "/admin/turns/1/retry")
    scene.work_until_idle()
    assert scene.got() == [GREETING]
    assert shown(scene, 1)["status"] == "answered"
    [old, new] = scene.rows(Chat)
    assert (old.status, new.status) == (ChatStatus.ENDING, ChatStatus.ONGOING)


def test_an_active_chat_is_left_only_if_the_operator_says_so(scene: Scene) -> None:
    greeting(scene)
    answered_once(scene)
    refused = start(scene)
    assert refused.status_code == 409
    assert "new_chat" in refused.json["detail"]
    assert start(scene, new_chat=True).status_code == 202
    scene.work_until_idle()
    assert scene.got() == ["You said: hello", GREETING]
    [old, new] = scene.rows(Chat)
    assert (old.status, new.status) == (ChatStatus.ENDED, ChatStatus.ONGOING)
    assert old.end_reason == "an operator has begun another chat"
    assert "User: hello" in scene.agent.chats[new.provider_chat_id].about.previous_conversation


def test_a_stale_chat_is_left_by_itself(scene: Scene) -> None:
    greeting(scene)
    answered_once(scene)
    scene.clock.tick(scene.rt.settings.stale_after.total_seconds())
    assert start(scene).status_code == 202
    scene.work_until_idle()
    assert scene.got()[-1] == GREETING
    assert len(scene.agent.chats) == 2


def test_without_stale_after_no_chat_is_stale(sessions: Sessions) -> None:
    scene = Scene(sessions, admin_tokens=TOKENS, stale_after="")
    answered_once(scene)
    scene.clock.tick(10 * 24 * 3600)
    assert start(scene).status_code == 409


def test_a_text_that_waits_comes_first_and_in_the_old_chat(scene: Scene) -> None:
    greeting(scene)
    answered_once(scene)
    scene.text("one more thing")
    start(scene, new_chat=True)
    scene.work_until_idle()
    assert scene.got() == ["You said: hello", "You said: one more thing", GREETING]
    assert [chat.received for chat in scene.agent.chats.values()] == [["hello", "one more thing"], []]


def test_our_number_is_that_of_the_last_conversation_or_the_only_one(scene: Scene) -> None:
    greeting(scene)
    assert start(scene, to=BOB, **{"from": None}).status_code == 202
    scene.set(admin_tokens=TOKENS, twilio_numbers="+15550001111,+15550002222")
    answer = start(scene, **{"from": None})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "from")
    scene.text("hello", to="+15550002222")
    scene.work_until_idle()
    assert start(scene, new_chat=True, **{"from": None}).status_code == 202
    [mine] = [row for row in scene.rows(Conversation) if row.phone == ANN]
    assert mine.bridge_number == "+15550002222"


@pytest.mark.parametrize(
    ("field", "wish"),
    [
        ("to", {"to": "Ann"}),
        ("from", {"from": "+15559990000"}),
        ("to", {"to": NUMBER}),
        ("start_agent", {"start_agent": False}),
        ("content", {"content": "\u200b"}),
        ("body", {"body": "an exact text"}),
        ("dynamic_variables", {"dynamic_variables": {"user_number": "+15550000000"}}),
        ("dynamic_variables", {"dynamic_variables": {"previous_conversation": "User: yes"}}),
        ("dynamic_variables.n", {"dynamic_variables": {"n": 1}}),
        ("dynamic_variables", {"dynamic_variables": {f"n{n}": "" for n in range(51)}}),
        ("dynamic_variables", {"dynamic_variables": {"n": "é" * (MOST_BYTES // 2)}}),
        ("dynamic_variables", {"dynamic_variables": {"n" * 65: ""}}),
        ("dynamic_variables", {"dynamic_variables": {"": ""}}),
        ("dynamic_variables", {"dynamic_variables": {"{{x}}": ""}}),
    ],
)
def test_a_wish_that_can_t_be_is_refused_for_its_field(scene: Scene, field: str, wish: dict[str, Any]) -> None:
    answer = start(scene, **wish)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"].startswith(field)
    assert scene.rows(Turn) == []


def test_as_many_variables_as_are_allowed_reach_the_agent(scene: Scene) -> None:
    greeting(scene)
    wishes = {f"{n:064}": "v" * 99 for n in range(50)}
    assert start(scene, dynamic_variables=wishes).status_code == 202
    scene.work_until_idle()
    assert [chat.about.variables for chat in scene.agent.chats.values()] == [wishes]


def test_the_same_key_starts_one_chat(scene: Scene) -> None:
    greeting(scene)
    first, again = (start(scene, key="k1") for _ in range(2))
    assert first.json == again.json
    assert start(scene, key="k1", content="hello").status_code == 409
    scene.work_until_idle()
    assert scene.got() == [GREETING]


def test_a_number_that_a_human_has_is_not_greeted(scene: Scene) -> None:
    answered_once(scene)
    hold(scene, Holder.WAITING, "retell")
    assert start(scene, new_chat=True).status_code == 409
