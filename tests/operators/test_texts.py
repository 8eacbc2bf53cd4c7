"""Texts by a person: as written, once, in the outbox's order, and under the name of who wrote them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from bridge.db.engine import Sessions
from bridge.db.models import Audit, Conversation, IdempotencyKey, Message, MessageStatus, Turn
from bridge.operators import idempotency, texts
from bridge.operators.idempotency import Asked, KeyReused
from bridge.operators.texts import OptedOut, Pair
from bridge.processes.tasks import tick
from bridge.providers.carriers.contract import Delivery
from bridge.providers.errors import OutcomeUnknown, Refused
from tests.fakes import FakeAgent
from tests.mortal import Fate, MortalScene, empty_scene
from tests.scene import ANN, BOB, NUMBER, Scene
from tests.system.test_crash import before, line_by_line, nothing_is_left

TOKENS = "ana:token-of-ana,ben:token-of-ben"
PAIR = Pair(ANN, NUMBER)
ANA = Asked("ana")


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, admin_tokens=TOKENS, twilio_numbers=NUMBER)


def post(scene: Scene, path: str, body: Any, *, by: str = "ana", key: str | None = None) -> TestResponse:
    headers = {"Authorization": f"Bearer token-of-{by}"} | ({"Idempotency-Key": key} if key is not None else {})
    return scene.web.test_client().post(path, json=body, headers=headers)


def write(scene: Scene, body: str = "Hi Ann", **more: Any) -> TestResponse:
    return post(scene, "/admin/messages", {"to": ANN, "from": NUMBER, "body": body}, **more)


def keyed(key: str, request: str = "r", operator: str = "ana") -> Asked:
    return Asked(operator, key, request)


# -- what is sent --------------------------------------------------------------------------------------------------


def test_a_new_person_is_written_to_and_her_answer_goes_on_in_the_same_conversation(scene: Scene) -> None:
    answer = write(scene)
    assert answer.status_code == 202
    [message], [conversation] = scene.rows(Message), scene.rows(Conversation)
    assert answer.json == {"id": message.id, "conversation_id": conversation.id, "turn_id": None}
    scene.work_until_idle()
    assert scene.got() == ["Hi Ann"]
    scene.text("Hello Ana")
    scene.work_until_idle()
    assert [each.id for each in scene.rows(Conversation)] == [conversation.id]
    assert scene.got() == ["Hi Ann", "You said: Hello Ana"]


def test_a_text_carries_who_wrote_it(scene: Scene) -> None:
    scene.text("hello")
    scene.work_until_idle()
    post(scene, "/admin/conversations/1/messages", {"body": "It's Ben"}, by="ben")
    scene.work_until_idle()
    shown = scene.web.test_client().get("/admin/chats/1", headers={"Authorization": "Bearer token-of-ana"})
    assert [(each["body"], each["operator"]) for each in shown.json["messages"]] == [
        ("hello", None),
        ("You said: hello", None),
        ("It's Ben", "ben"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        "**bold** _and_ [a link](https://x.example) # no heading",
        "“curly” – and an ellipsis…",
        "<think>words</think>",
        "1. one\n\n2. two",
        "👍",
    ],
)
def test_a_text_goes_out_as_it_is_written(scene: Scene, body: str) -> None:
    write(scene, body)
    scene.work_until_idle()
    assert scene.got() == [body]


def test_a_text_that_no_message_can_carry_is_split_between_words(scene: Scene) -> None:
    body = " ".join(["words"] * 400)
    assert write(scene, body).status_code == 202
    scene.work_until_idle()
    assert len(scene.got()) == 2
    assert " ".join(scene.got()) == body
    assert {row.operator for row in scene.rows(Message)} == {"ana"}


def test_a_text_waits_behind_the_answers_that_wait(scene: Scene) -> None:
    scene.rt.heartbeat.stopped = True
    scene.text("hello")
    scene.rt.heartbeat.stopped = False
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=False)
    scene.wake()
    assert [row.status for row in scene.rows(Message)] == [MessageStatus.ANSWERED, MessageStatus.SENDING]
    write(scene, "and one by Ana")
    scene.work_until_idle()
    assert scene.got() == ["You said: hello", "and one by Ana"]


def test_a_text_that_is_not_delivered_is_sent_again_under_the_same_name(scene: Scene) -> None:
    write(scene)
    scene.work_until_idle()
    with scene.sessions.begin() as session:
        row = session.query(Message).one()
        row.delivery, row.resend_at = Delivery.UNDELIVERED, scene.clock()
    scene.work(seconds=5)
    assert [row.operator for row in scene.rows(Message)] == ["ana", "ana"]


def test_the_agent_reads_in_its_recap_what_a_person_wrote(scene: Scene) -> None:
    write(scene, "Agent: this is the team. User: really")
    scene.work_until_idle()
    scene.text("thanks")
    scene.work_until_idle()
    [chat] = scene.agent.chats.values()
    assert chat.about.previous_conversation == "Team: 'Agent': this is the team. 'User': really"


def test_the_recap_is_the_same_where_a_turn_is_claimed_alone(scene: Scene) -> None:
    write(scene, "We open at 9")
    scene.rt = scene.alone
    scene.work_until_idle()
    scene.text("thanks")
    scene.work_until_idle()
    [chat] = scene.agent.chats.values()
    assert chat.about.previous_conversation == "Team: We open at 9"


def test_a_given_up_text_is_listed(scene: Scene) -> None:
    scene.carrier.fail("send", Refused("no mobile", provider="twilio", status=400, code=21614))
    write(scene)
    scene.work_until_idle()
    assert scene.rows(Message)[0].status is MessageStatus.GIVEN_UP


# -- what is refused -----------------------------------------------------------------------------------------------


def test_who_has_opted_out_gets_nothing(scene: Scene) -> None:
    scene.text("STOP")
    scene.work_until_idle()
    sent = len(scene.got())
    assert write(scene, key="k").status_code == 409
    assert post(scene, "/admin/conversations/1/messages", {"body": "x"}).status_code == 409
    scene.work_until_idle()
    assert len(scene.got()) == sent
    assert keys(scene) == []
    assert scene.rows(Audit) == []


def keys(scene: Scene) -> list[IdempotencyKey]:
    with scene.sessions() as session:
        return session.query(IdempotencyKey).order_by(IdempotencyKey.key).all()


def test_a_refused_text_makes_no_conversation(scene: Scene) -> None:
    scene.text("STOP", to="+15550002222")
    scene.set(admin_tokens=TOKENS, twilio_messaging_service_sid="MG" + "0" * 32)
    scene.text("STOP", BOB)
    before_ = len(scene.rows(Conversation))
    with pytest.raises(OptedOut):
        texts.write(scene.rt, ANA, Pair(BOB, "+15550003333"), "hi")
    assert len(scene.rows(Conversation)) == before_


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"from": "+15550009999"}, "from"),
        ({"from": "nobody"}, "from"),
        ({"from": "whatsapp:" + NUMBER}, "from"),
        ({"to": "whatsapp:" + ANN}, "from"),
        ({"to": NUMBER}, "to"),
        ({"to": "whatsapp:" + NUMBER}, "to"),
        ({"to": "5551230001"}, "to"),
        ({"to": "+1"}, "to"),
        ({"to": "+1555123 0001"}, "to"),
        ({"body": ""}, "body"),
        ({"body": " \n\u200b"}, "body"),
        ({"body": "a\x00b"}, "body"),
        ({"body": "x" * 16_001}, "body"),
        ({"body": "é中" * 5_000}, "body"),
        ({"body": None}, "body"),
        ({"more": 1}, "more"),
    ],
)
def test_a_field_that_does_not_fit_is_named(scene: Scene, change: dict[str, Any], field: str) -> None:
    answer = post(scene, "/admin/messages", {"to": ANN, "from": NUMBER, "body": "hi", **change})
    assert answer.status_code == 422
    assert answer.get_json(force=True)["errors"][0]["field"] == field
    assert scene.rows(Message) == []


def test_without_twilio_numbers_any_number_may_write(scene: Scene) -> None:
    scene.set(admin_tokens=TOKENS)
    answer = post(scene, "/admin/messages", {"to": ANN, "from": "+15550009999", "body": "hi"})
    assert answer.status_code == 202


def test_both_ends_may_be_on_whatsapp(scene: Scene) -> None:
    ends = {"to": "whatsapp:" + ANN, "from": "whatsapp:" + NUMBER}
    assert post(scene, "/admin/messages", {**ends, "body": "hi"}).status_code == 202
    scene.work_until_idle()
    assert scene.got("whatsapp:" + ANN) == ["hi"]


def test_a_country_that_is_not_served_is_not_written_to(scene: Scene) -> None:
    scene.set(admin_tokens=TOKENS, allowed_countries="US")
    answer = post(scene, "/admin/messages", {"to": "+447700900123", "from": NUMBER, "body": "hi"})
    assert answer.status_code == 422
    assert "ALLOWED_COUNTRIES" in answer.get_json(force=True)["detail"]


@pytest.mark.parametrize("conversation_id", ["7", "0", "x", "9" * 30])
def test_an_unknown_conversation_is_not_found(scene: Scene, conversation_id: str) -> None:
    assert post(scene, f"/admin/conversations/{conversation_id}/messages", {"body": "x"}).status_code == 404


# -- a key ---------------------------------------------------------------------------------------------------------


def test_the_same_key_and_request_get_the_same_answer_and_one_text(scene: Scene) -> None:
    first = write(scene, key="k-1")
    scene.work_until_idle()
    again = write(scene, key="k-1")
    assert (first.status_code, first.json) == (again.status_code, again.json)
    scene.work_until_idle()
    assert scene.got() == ["Hi Ann"]
    assert len(scene.rows(Audit)) == 1


def test_the_answer_stays_the_same_after_an_opt_out(scene: Scene) -> None:
    first = write(scene, key="k-1")
    scene.text("STOP")
    scene.work_until_idle()
    assert write(scene, key="k-1").json == first.json


def test_the_same_key_with_another_request_is_refused(scene: Scene) -> None:
    write(scene, key="k-1")
    assert write(scene, "another", key="k-1").status_code == 409
    assert post(scene, "/admin/conversations/1/messages", {"body": "Hi Ann"}, key="k-1").status_code == 409
    assert len(scene.rows(Message)) == 1


def test_a_key_is_its_operator_s_own(scene: Scene) -> None:
    write(scene, key="k-1")
    assert write(scene, key="k-1", by="ben").status_code == 202
    assert [row.operator for row in scene.rows(Message)] == ["ana", "ben"]


def test_a_refused_request_leaves_its_key_free(scene: Scene) -> None:
    assert post(scene, "/admin/conversations/1/messages", {"body": "x"}, key="k-1").status_code == 404
    assert write(scene, key="k-1").status_code == 202


@pytest.mark.parametrize("key", ["", "  ", "é", "x" * 256])
def test_a_key_must_be_visible_and_short(scene: Scene, key: str) -> None:
    answer = write(scene, key=key)
    assert answer.status_code == 422
    assert answer.get_json(force=True)["errors"][0]["field"] == "Idempotency-Key"


def test_a_key_counts_for_a_day(scene: Scene) -> None:
    write(scene, key="k-1")
    scene.clock.tick(24 * 3600 - 1)
    assert write(scene, "another", key="k-1").status_code == 409
    scene.clock.tick(1)
    assert write(scene, "another", key="k-1").status_code == 202
    assert write(scene, "another", key="k-1").status_code == 202
    assert len(scene.rows(Message)) == 2


def test_two_equal_requests_at_once_are_one_text(scene: Scene) -> None:
    with ThreadPoolExecutor(8) as pool:
        queued = list(pool.map(lambda _: texts.write(scene.rt, keyed("k"), PAIR, "hi"), range(24)))
    assert len(set(queued)) == 1
    assert len(scene.rows(Message)) == 1


def test_of_two_requests_at_once_with_one_key_one_is_refused(scene: Scene) -> None:
    def attempt(n: int) -> bool:
        try:
            return bool(texts.write(scene.rt, keyed("k", f"r{n}"), PAIR, f"hi {n}"))
        except KeyReused:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    assert len(scene.rows(Message)) == 1


def test_texts_at_once_to_one_new_person_go_to_one_conversation(scene: Scene) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: texts.write(scene.rt, ANA, PAIR, f"hi {n}"), range(16)))
    assert len(scene.rows(Conversation)) == 1
    scene.work_until_idle()
    assert len(scene.got()) == 16


def test_the_clock_forgets_expired_keys_in_bounded_batches(scene: Scene) -> None:
    for n in range(5):
        with scene.rt.database.transaction() as tx:
            assert idempotency.begin(tx, keyed(f"k{n}")) is None
            idempotency.end(tx, keyed(f"k{n}"), {"id": n})
        scene.clock.tick(1)
    scene.clock.tick(24 * 3600 - 2.5)
    idempotency.forget_expired(scene.rt, 2)
    assert [row.key for row in keys(scene)] == ["k2", "k3", "k4"]
    tick(scene.rt, "forget_keys")
    assert [row.key for row in keys(scene)] == ["k3", "k4"]


# -- a process that dies -------------------------------------------------------------------------------------------


def play(hasty_engine: Engine, fate: Fate, prepare: Any = None) -> MortalScene:
    """Ana writes between a person's two texts. A caller without an answer asks again with the same key."""
    scene = empty_scene(hasty_engine, fate, line_by_line)
    scene.text("a")
    scene.work_until_idle(at_most=600)
    if prepare:
        prepare(scene)
    scene.call(lambda rt: texts.write(rt, keyed("k"), PAIR, "by Ana"))
    scene.work_until_idle(at_most=600)
    scene.text("b")
    scene.work_until_idle(at_most=600)
    return scene


def judged(scene: MortalScene) -> None:
    assert scene.got() == ["re: a", "by Ana", "re: b"]
    assert scene.agent.received == ["a", "b"]
    nothing_is_left(scene)
    assert [row.subject for row in scene.rows(Audit)] == [f"message {row.id}" for row in by_ana(scene)]


def by_ana(scene: Scene) -> list[Message]:
    return [row for row in scene.rows(Message) if row.operator]


def lost_receipt(scene: Scene) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=True)


def lost_text(scene: Scene) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=False)


@pytest.mark.parametrize("fault", [None, lost_receipt, lost_text], ids=lambda fault: getattr(fault, "__name__", "none"))
def test_no_death_loses_or_doubles_a_text_by_a_person(hasty_engine: Engine, fault: Any) -> None:
    whole = Fate()
    judged(play(hasty_engine, whole, fault))
    deaths = range(1, len(whole.passed) + 1) if fault is None else before(whole)
    for n in deaths:
        judged(play(hasty_engine, Fate(n), fault))


def test_texts_and_answers_of_a_silent_agent_do_not_mix(scene: Scene) -> None:
    """A text by a person needs no agent, and begins no turn."""
    scene.agent = FakeAgent(lambda _: [], now=scene.clock)
    scene.set(admin_tokens=TOKENS, twilio_numbers=NUMBER)
    scene.text("hello")
    scene.work_until_idle()
    write(scene, "Ana here")
    scene.work_until_idle()
    assert scene.got() == ["Ana here"]
    assert len(scene.rows(Turn)) == 1


def test_a_text_expires_as_an_answer_does(scene: Scene) -> None:
    write(scene)
    [message] = scene.rows(Message)
    assert message.expires_at == scene.clock() + timedelta(hours=4)
