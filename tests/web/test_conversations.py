"""Conversations for operators: the list with its filters and pages, one with its texts, and why it was not answered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from bridge.db.engine import Sessions
from bridge.db.models import Conversation, Direction, Holder, Message, MessageStatus
from bridge.operators import pausing, texts
from bridge.operators.idempotency import Asked
from bridge.providers.errors import AccountRefused, Refused
from tests.fakes import FakeAgent
from tests.scene import ANN, BOB, NUMBER, Scene

CAT = "whatsapp:+15551230003"


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, admin_tokens="ana:token-of-ana,ben:token-of-ben", twilio_numbers=NUMBER)


def call(scene: Scene, method: str, path: str, *, by: str = "ana", **more: Any) -> TestResponse:
    headers = {"Authorization": f"Bearer token-of-{by}"}
    return scene.web.test_client().open(path, method=method, headers=headers, **more)


def get(scene: Scene, path: str = "", **more: Any) -> Any:
    answer = call(scene, "GET", f"/admin/conversations{path}", **more)
    assert answer.status_code == 200, answer.json
    return answer.json


def phones(page: Any) -> list[str]:
    return [each["phone"] for each in page["conversations"]]


def id_of(scene: Scene, phone: str = ANN) -> int:
    return next(row.id for row in scene.rows(Conversation) if row.phone == phone)


def change(scene: Scene, phone: str = ANN, **values: Any) -> None:
    with scene.sessions.begin() as session:
        pair = session.query(Conversation).filter_by(phone=phone).one()
        for name, value in values.items():
            setattr(pair, name, value)


def give_to(scene: Scene, kind: Holder, phone: str = ANN, **values: Any) -> None:
    change(scene, phone, holder=kind, holder_since=scene.clock(), **values)


@pytest.fixture
def three(scene: Scene) -> Scene:
    """Three people who were answered, Ann first."""
    for phone in (ANN, BOB, CAT):
        scene.clock.tick(60)
        scene.text(f"hello from {phone[-1]}", phone, to=NUMBER if phone != CAT else f"whatsapp:{NUMBER}")
        scene.work_until_idle()
    return scene


# -- the list ------------------------------------------------------------------------------------------------------


def test_the_newest_activity_comes_first(three: Scene) -> None:
    assert phones(get(three)) == [CAT, BOB, ANN]
    three.clock.tick(60)
    three.text("again", ANN)
    assert phones(get(three)) == [ANN, CAT, BOB]


def test_a_conversation_is_shown_with_what_a_list_needs(three: Scene) -> None:
    [shown] = get(three, f"?phone={BOB.replace('+', '%2B')}")["conversations"]
    assert shown["holder"] == {"kind": "agent", "name": None, "since": None, "reason": None, "until": None}
    assert (shown["preview"], shown["unread"], shown["opted_out"], shown["tags"]) == (
        "You said: hello from 2",
        1,
        False,
        [],
    )
    assert shown["last_text_at"]
    assert shown["bridge_number"] == NUMBER


def test_each_page_goes_on_where_the_last_one_ended(three: Scene) -> None:
    first = get(three, "?limit=2")
    rest = get(three, f"?limit=2&cursor={first['next']}")
    assert (phones(first), phones(rest), rest["next"]) == ([CAT, BOB], [ANN], None)


def test_conversations_of_one_moment_are_paged_without_a_gap(three: Scene) -> None:
    for phone in (ANN, BOB, CAT):
        change(three, phone, changed_at=three.clock())
    shown, cursor = [], ""
    for _ in range(3):
        page = get(three, f"?limit=1{cursor}")
        shown += phones(page)
        cursor = f"&cursor={page['next']}"
    assert shown == [CAT, BOB, ANN]


def test_a_filter_shows_the_conversations_of_one_holder(three: Scene) -> None:
    for kind in (Holder.WAITING, Holder.PERSON, Holder.OUTSIDE):
        give_to(three, kind, BOB, holder_name="ana", holder_reason="asked for one")
        [shown] = get(three, f"?holder={kind}")["conversations"]
        assert (shown["phone"], shown["holder"]["kind"], shown["holder"]["name"]) == (BOB, kind, "ana")
        assert phones(get(three, "?holder=agent")) == [CAT, ANN]


NUMBERS = {
    "%2B15551230001": [ANN],
    "+15551230001": [ANN],
    "%2B1 (555) 123-0003": [CAT],
    "0003": [CAT],
    "1230002": [BOB],
    "123-0002": [BOB],
    "5551230001": [ANN],
    "whatsapp:%2B15551230003": [CAT],
    "002": [],
    "9999": [],
    "%25": [],
    "____": [],
}


def test_a_number_is_found_whole_or_by_its_last_digits(three: Scene) -> None:
    assert {number: phones(get(three, f"?phone={number}")) for number in NUMBERS} == NUMBERS


WRONG = (
    "holder=nobody",
    "limit=0",
    "limit=201",
    "q=%20",
    "q=%00",
    "q=!!",
    "tag=%E2%80%AE",
    "cursor=x",
    "phone=&phone=1",
)


def test_a_wrong_query_is_refused(scene: Scene) -> None:
    assert {query: call(scene, "GET", f"/admin/conversations?{query}").status_code for query in WRONG} == dict.fromkeys(
        WRONG, 422
    )


def test_an_opt_out_is_shown(three: Scene) -> None:
    three.text("STOP", BOB)
    assert {each["phone"]: each["opted_out"] for each in get(three)["conversations"]} == {
        ANN: False,
        BOB: True,
        CAT: False,
    }


# -- words ---------------------------------------------------------------------------------------------------------


def test_words_are_found_and_the_newest_hit_comes_first(three: Scene) -> None:
    page = get(three, "?q=HELLO+said")
    assert phones(page) == [CAT, BOB, ANN]
    assert [each["preview"] for each in page["conversations"]] == [f"You said: hello from {n}" for n in (3, 2, 1)]
    assert page["searched"] is None
    three.text("the umbrella", ANN)
    assert phones(get(three, "?q=umbrella")) == [ANN]
    assert phones(get(three, "?q=umbrella+hello")) == []


def test_hits_are_paged_and_each_conversation_comes_once(three: Scene) -> None:
    for n in range(8):
        three.text(f"hello again {n}", BOB)
        three.text(f"hello once more {n}", CAT, to=f"whatsapp:{NUMBER}")
    shown, cursor = [], ""
    for _ in range(9):
        page = get(three, f"?q=hello&limit=1{cursor}")
        shown += phones(page)
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert shown == [CAT, BOB, ANN]


def test_words_and_a_filter_narrow_together(three: Scene) -> None:
    give_to(three, Holder.WAITING, BOB)
    cases = {"&holder=waiting": [BOB], "&holder=agent": [CAT, ANN], "&phone=0001": [ANN], "&tag=x": []}
    assert {more: phones(get(three, f"?q=hello{more}")) for more in cases} == cases


def test_what_is_typed_is_no_pattern(three: Scene) -> None:
    three.text("100% sure_thing", ANN)
    assert phones(get(three, "?q=sure_thing")) == [ANN]
    assert phones(get(three, "?q=h%25o")) == []


# -- one conversation ----------------------------------------------------------------------------------------------


def test_one_conversation_is_shown_with_its_texts_and_chats(three: Scene) -> None:
    shown = get(three, f"/{id_of(three)}")
    assert [(each["author"], each["body"], each["status"]) for each in shown["messages"]] == [
        ("person", "hello from 1", "answered"),
        ("agent", "You said: hello from 1", "sent"),
    ]
    [chat] = shown["chats"]
    assert {each["chat_id"] for each in shown["messages"]} == {chat["id"]}
    assert (shown["unanswered_because"], shown["notes"], shown["earlier"]) == (None, [], None)
    assert shown["messages"][1]["segments"] == 1


def test_texts_come_in_pages_the_newest_first(three: Scene) -> None:
    for n in range(3):
        three.text(f"more {n}")
        three.work_until_idle()
    newest = get(three, f"/{id_of(three)}?limit=5")
    oldest = get(three, f"/{id_of(three)}?limit=5&cursor={newest['earlier']}")
    bodies = [each["body"] for each in oldest["messages"] + newest["messages"]]
    assert bodies == [row.body for row in three.rows(Message) if row.conversation_id == id_of(three)]
    assert (len(newest["messages"]), oldest["earlier"]) == (5, None)


def test_every_kind_of_author_is_shown(three: Scene) -> None:
    texts.write_in(three.rt, Asked("ana"), id_of(three), "it is Ana")
    three.text("", ANN, media=1)
    three.work_until_idle()
    with three.sessions.begin() as session:
        its = {"conversation_id": id_of(three), "direction": Direction.OUT, "created_at": three.clock()}
        session.add(Message(status=MessageStatus.OUTSIDE, body="by another tool", **its))
        session.add(Message(status=MessageStatus.DRAFT, body="not sent", turn_id=1, **its))
    shown = get(three, f"/{id_of(three)}")
    authors = [(each["author"], each["operator"]) for each in shown["messages"]]
    assert authors == [
        ("person", None),
        ("agent", None),
        ("operator", "ana"),
        ("person", None),
        ("bridge", None),
        ("outside", None),
        ("agent", None),
    ]
    assert shown["preview"] == "by another tool"
    assert "only a draft" in shown["messages"][-1]["unanswered_because"]


def test_an_unknown_conversation_is_404(scene: Scene) -> None:
    for id_ in ("999", "0", "x", "9" * 30, "-1"):
        assert call(scene, "GET", f"/admin/conversations/{id_}").status_code == 404


# -- why it was not answered ---------------------------------------------------------------------------------------


def why(scene: Scene) -> str:
    shown = get(scene, f"/{id_of(scene)}")
    of_text = [each["unanswered_because"] for each in shown["messages"] if each["author"] == "person"][-1]
    assert of_text == shown["unanswered_because"]
    return str(shown["unanswered_because"])


def test_the_pause_is_the_reason(three: Scene) -> None:
    pausing.begin(three.rt, "ben")
    three.text("are you there?")
    three.work(seconds=5)
    assert "paused by ben" in why(three)


def test_an_open_circuit_is_the_reason(three: Scene) -> None:
    three.agent.fail("complete", AccountRefused("no credit", provider="retell", status=402), times=3)
    three.text("are you there?")
    three.wake()
    assert "retell serves none of our texts since" in why(three)
    assert "no credit" in why(three)


def test_a_turn_that_was_given_up_is_the_reason(three: Scene) -> None:
    three.agent.fail("complete", Refused("not now", provider="retell", status=400), times=5)
    three.text("are you there?")
    three.work_until_idle()
    assert "given up" in why(three)
    assert "not now" in why(three)


def test_an_answer_that_could_not_be_sent_is_the_reason(three: Scene) -> None:
    three.carrier.fail("send", Refused("no mobile", provider="twilio", status=400, code=21614))
    three.text("are you there?")
    three.work_until_idle()
    assert "could not be sent" in why(three)


def test_an_agent_without_a_word_is_the_reason(sessions: Sessions) -> None:
    agent = FakeAgent(answer=lambda body: [])
    scene = Scene(sessions, agent, admin_tokens="ana:token-of-ana", twilio_numbers=NUMBER)
    agent._now = scene.clock
    scene.text("are you there?")
    scene.work_until_idle()
    assert "gave no word" in why(scene)


def test_an_opt_out_is_the_reason(three: Scene) -> None:
    three.text("STOP")
    three.text("are you there?")
    three.work_until_idle()
    assert "opted out" in why(three)


def test_a_person_who_has_it_is_the_reason_until_they_have_written(three: Scene) -> None:
    three.text("are you there?")
    give_to(three, Holder.PERSON, holder_name="ben")
    assert why(three).startswith("ben has the conversation since")
    texts.write_in(three.rt, Asked("ben"), id_of(three), "yes")
    assert why(three) == "None"
    three.clock.tick(timedelta(minutes=1).total_seconds())
    three.text("and now?")
    assert why(three).startswith("ben has the conversation since")
