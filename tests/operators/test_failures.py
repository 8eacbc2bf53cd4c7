"""Failures that an operator retries or dismisses: nothing is sent or asked twice, and the order stays sensible."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from bridge.db.engine import Sessions
from bridge.db.models import Chat, Conversation, Message, MessageStatus, Turn, TurnStatus
from bridge.inbound import holder
from bridge.operators import failures, retry
from bridge.operators.failures import Kind, Unknown
from bridge.operators.retry import Refused
from bridge.outbound import receipts
from bridge.providers.carriers.contract import Delivery, StatusReport
from bridge.providers.errors import ChatEnded, NotReached, OutcomeUnknown
from bridge.providers.errors import Refused as RefusedByProvider
from tests.mortal import Fate, MortalScene, empty_scene
from tests.scene import ANN, BOB, Scene
from tests.system.test_crash import before, line_by_line, nothing_is_left

FALLBACK = "Sorry"
KEY = {"Authorization": "Bearer token-of-ana"}


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, admin_tokens="ana:token-of-ana", answer_within="20m", fallback_reply=FALLBACK)


def call(scene: Scene, method: str, path: str, **more: Any) -> TestResponse:
    return scene.web.test_client().open(path, method=method, headers=KEY, **more)


def listed(scene: Scene) -> list[tuple[str, int]]:
    shown = call(scene, "GET", "/admin/failures").json["failures"]
    return [(each["kind"], each["id"]) for each in shown]


def refused_by_the_agent(scene: Scene, body: str = "one", phone: str = ANN) -> int:
    """A turn that is given up because the agent refuses it. Return its id."""
    error = RefusedByProvider("no", provider="retell", status=400)
    scene.agent.fail("complete", error, times=2)
    scene.text(body, phone)
    scene.work_until_idle()
    scene.agent.recover()
    [*_, turn] = scene.rows(Turn)
    assert turn.status is TurnStatus.GIVEN_UP
    return int(turn.id)


def refused_by_the_carrier(scene: Scene, phone: str = ANN, body: str = "one") -> int:
    """A text that is given up because the carrier refuses it. Return its id."""
    scene.carrier.fail("send", RefusedByProvider("no mobile", provider="twilio", status=400, code=21614))
    scene.text(body, phone)
    scene.work_until_idle()
    [*_, text] = scene.rows(Message)
    assert text.status is MessageStatus.GIVEN_UP
    return int(text.id)


def answers(scene: Scene, phone: str = ANN) -> list[str]:
    return [body for body in scene.got(phone) if body != FALLBACK]


# -- turns ---------------------------------------------------------------------------------------------------------


def test_a_refused_turn_is_asked_again_and_answered_once(scene: Scene) -> None:
    turn_id = refused_by_the_agent(scene)
    assert listed(scene) == [("turn", turn_id)]
    assert call(scene, "POST", f"/admin/turns/{turn_id}/retry").json == {
        "turns": [turn_id],
        "messages": [],
        "notices": [],
        "left": 0,
    }
    assert listed(scene) == []
    scene.work_until_idle()
    assert scene.got() == [FALLBACK, "You said: one"]
    assert [row.status for row in scene.rows(Turn)] == [TurnStatus.ANSWERED]
    assert call(scene, "POST", f"/admin/turns/{turn_id}/retry").status_code == 409


def test_a_turn_that_was_never_asked_is_asked(scene: Scene) -> None:
    scene.STEP = 10.0  # with a sweep every second this takes a minute
    scene.agent.fail("create_chat", NotReached("down", provider="retell"), times=10_000)
    scene.text("one")
    scene.work_until_idle()
    scene.agent.recover()
    retry.retry_turn(scene.rt, "ana", 1)
    scene.work_until_idle()
    assert answers(scene) == ["You said: one"]


def test_an_answer_that_came_late_is_sent_and_the_agent_is_not_asked_again(scene: Scene) -> None:
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), received=True)
    scene.agent.fail("get_chat", OutcomeUnknown("cut", provider="retell"), times=10_000)
    scene.text("one")
    scene.work_until_idle()
    scene.agent.recover()
    assert scene.got() == [FALLBACK]
    retry.retry_turn(scene.rt, "ana", 1)
    scene.work_until_idle()
    assert scene.agent.received == ["one"]
    assert answers(scene) == ["You said: one"]


def test_a_turn_that_the_agent_received_and_did_not_answer_is_asked_in_a_new_chat(scene: Scene) -> None:
    scene.agent.thinks = True
    scene.text("one")
    scene.work_until_idle()
    assert scene.got() == [FALLBACK]
    scene.agent.thinks = False
    retry.retry_turn(scene.rt, "ana", 1)
    scene.work_until_idle()
    assert scene.agent.received == ["one", "one"]
    assert len(scene.agent.chats) == 2
    assert answers(scene) == ["You said: one"]
    assert not scene.rows(Turn)[0].reopened


def test_a_retried_turn_comes_behind_what_the_agent_had_since_in_a_new_chat(scene: Scene) -> None:
    turn_id = refused_by_the_agent(scene, "one")
    scene.text("two")
    scene.work_until_idle()
    retry.retry_turn(scene.rt, "ana", turn_id)
    scene.text("three")
    scene.work_until_idle()
    assert answers(scene) == ["You said: two", "You said: one", "You said: three"]
    *_, last = scene.agent.chats.values()
    assert last.received == ["one", "three"]
    assert "User: two\nAgent: You said: two" in last.about.previous_conversation
    assert [row.status for row in scene.rows(Chat)].count("ongoing") == 1


def test_while_another_turn_is_open_a_turn_is_not_retried(scene: Scene) -> None:
    turn_id = refused_by_the_agent(scene)
    scene.agent.thinks = True
    scene.text("two")
    scene.work(seconds=1)
    with pytest.raises(Refused, match="Another turn"):
        retry.retry_turn(scene.rt, "ana", turn_id)


def test_a_turn_is_not_retried_while_a_human_has_the_conversation(scene: Scene) -> None:
    """The chat would be ended, and the human is in it."""
    turn_id = refused_by_the_agent(scene)
    scene.text("two")
    scene.work_until_idle()
    with scene.rt.database.transaction() as tx:
        holder.report(scene.rt, tx, 1, "retell")
    with pytest.raises(Refused, match="does not have this conversation"):
        retry.retry_turn(scene.rt, "ana", turn_id)
    assert scene.rows(Chat)[-1].status == "ongoing"


def test_a_turn_of_an_ended_chat_is_asked_again(scene: Scene) -> None:
    turn_id = refused_by_the_agent(scene)
    scene.agent.fail("get_chat", ChatEnded("gone", provider="retell", status=404), times=5)
    retry.retry_turn(scene.rt, "ana", turn_id)
    scene.work_until_idle()
    assert answers(scene) == ["You said: one"]


def test_a_retried_turn_may_be_given_up_again(scene: Scene) -> None:
    turn_id = refused_by_the_agent(scene)
    scene.agent.fail("complete", RefusedByProvider("no", provider="retell", status=400), times=2)
    retry.retry_turn(scene.rt, "ana", turn_id)
    scene.work_until_idle()
    assert scene.rows(Turn)[0].status is TurnStatus.GIVEN_UP
    assert listed(scene) == [("turn", turn_id)]


# -- texts ---------------------------------------------------------------------------------------------------------


def test_a_refused_text_is_sent_again_in_its_place(scene: Scene) -> None:
    message_id = refused_by_the_carrier(scene)
    assert call(scene, "POST", f"/admin/messages/{message_id}/retry").status_code == 202
    scene.work_until_idle()
    assert scene.got() == ["You said: one"]
    assert len(scene.rows(Message)) == 2
    assert call(scene, "POST", f"/admin/messages/{message_id}/retry").status_code == 409


@pytest.mark.parametrize("taken", [True, False])
def test_a_text_that_may_have_reached_the_carrier_is_reconciled_first(scene: Scene, taken: bool) -> None:
    scene.carrier.fail("send", OutcomeUnknown("cut", provider="twilio"), taken=taken)
    scene.carrier.fail("sent_to", OutcomeUnknown("cut", provider="twilio"), times=10_000)
    scene.text("one")
    scene.work_until_idle()
    scene.carrier.recover()
    [_, message] = scene.rows(Message)
    assert message.status is MessageStatus.GIVEN_UP
    retry.retry_message(scene.rt, "ana", message.id)
    scene.work_until_idle()
    assert scene.got() == ["You said: one"]
    assert scene.rows(Message)[1].status is MessageStatus.SENT


def is_undelivered(scene: Scene, code: int = 30005) -> None:
    [*_, row] = [row for row in scene.rows(Message) if row.reference]
    receipts.report(scene.rt, StatusReport(row.reference, row.carrier_id, Delivery.UNDELIVERED, ANN, code))


def test_an_undelivered_text_is_sent_again_as_a_new_one_and_once(scene: Scene) -> None:
    scene.text("one")
    scene.work_until_idle()
    is_undelivered(scene)
    [(_, message_id)] = listed(scene)
    for _ in range(2):
        retry.retry_message(scene.rt, "ana", message_id)
    scene.work(seconds=5)
    assert scene.got() == ["You said: one", "You said: one"]
    with pytest.raises(Refused, match="sent again as message"):
        retry.retry_message(scene.rt, "ana", message_id)
    assert listed(scene) == []


def test_a_text_of_one_segment_that_was_too_large_is_sent_as_it_is(scene: Scene) -> None:
    scene.text("one")
    scene.work_until_idle()
    is_undelivered(scene, 30019)
    [(_, message_id)] = listed(scene)
    retry.retry_message(scene.rt, "ana", message_id)
    scene.work(seconds=5)
    assert scene.got() == ["You said: one", "You said: one"]


@pytest.mark.parametrize("again", [False, True])
def test_nothing_is_retried_for_who_has_opted_out_since(scene: Scene, again: bool) -> None:
    message_id, turn_id = refused_by_the_carrier(scene), refused_by_the_agent(scene, "two")
    scene.text("STOP")
    if again:
        scene.clock.tick(1)
        scene.text("START")
    scene.work_until_idle()
    with pytest.raises(Refused):
        retry.retry_message(scene.rt, "ana", message_id)
    if not again:
        with pytest.raises(Refused):
            retry.retry_turn(scene.rt, "ana", turn_id)


@pytest.mark.parametrize("path", ["/admin/turns/9/retry", "/admin/messages/9/retry", "/admin/messages/x/retry"])
def test_an_unknown_failure_is_not_found(scene: Scene, path: str) -> None:
    assert call(scene, "POST", path).status_code == 404


@pytest.mark.parametrize("message_id", [1, 2])
def test_what_has_not_failed_is_not_retried(scene: Scene, message_id: int) -> None:
    scene.text("one")
    scene.work_until_idle()
    assert call(scene, "POST", f"/admin/messages/{message_id}/retry").status_code == 409


# -- many ----------------------------------------------------------------------------------------------------------


def test_failures_are_retried_together_up_to_a_limit(scene: Scene) -> None:
    turns = [refused_by_the_agent(scene, phone=phone) for phone in (ANN, BOB)]
    texts = [refused_by_the_carrier(scene, phone=phone) for phone in (ANN, BOB)]
    told = call(scene, "POST", "/admin/failures/retry", json={"kind": "message", "limit": 1}).json
    assert told == {"turns": [], "messages": texts[:1], "notices": [], "left": 0}
    told = call(scene, "POST", "/admin/failures/retry", json={}).json
    assert told == {"turns": turns, "messages": texts[1:], "notices": [], "left": 0}
    scene.work_until_idle()
    assert listed(scene) == []
    assert answers(scene, BOB) == ["You said: one"] * 2


def test_of_one_conversation_one_turn_at_a_time_is_retried_the_oldest_first(scene: Scene) -> None:
    first, second = refused_by_the_agent(scene, "one"), refused_by_the_agent(scene, "two")
    assert retry.retry_some(scene.rt, "ana", None, 100) == retry.Retried([first], [], 1)
    scene.work_until_idle()
    assert retry.retry_some(scene.rt, "ana", None, 100) == retry.Retried([second], [], 0)
    scene.work_until_idle()
    assert answers(scene) == ["You said: one", "You said: two"]


def test_a_dismissed_failure_leaves_the_list_and_the_metric(scene: Scene) -> None:
    turn_id, message_id = refused_by_the_agent(scene), refused_by_the_carrier(scene)
    path = "/admin/failures/dismiss"
    assert call(scene, "POST", path, json={"kind": "turn", "id": turn_id}).json == {"dismissed": 1}
    assert listed(scene) == [("message", message_id)]
    metrics = call(scene, "GET", "/metrics").text
    assert 'bridge_given_up{kind="turn"} 0.0' in metrics
    assert 'bridge_given_up{kind="message"} 1.0' in metrics
    assert call(scene, "POST", path, json={"kind": "turn", "id": turn_id}).status_code == 404
    assert call(scene, "POST", path, json={"kind": "message"}).json == {"dismissed": 1}
    assert call(scene, "POST", path, json={"kind": "message"}).json == {"dismissed": 0}
    assert listed(scene) == []


def test_every_kind_of_listed_message_is_dismissed_up_to_a_limit(scene: Scene) -> None:
    refused_by_the_carrier(scene)
    scene.text("two")
    scene.work_until_idle()
    is_undelivered(scene)
    scene.text("code 1", "VERIFY")
    scene.set(admin_tokens="ana:token-of-ana", characters_per_text=3)
    scene.text("too long", BOB)
    assert len(listed(scene)) == 4
    assert failures.dismiss(scene.rt, "ana", Kind.MESSAGE, None, 3) == 3
    assert failures.dismiss(scene.rt, "ana", Kind.MESSAGE, None, 3) == 1
    assert listed(scene) == []


def test_a_dismissed_failure_that_is_retried_and_fails_is_listed_again(scene: Scene) -> None:
    turn_id, message_id = refused_by_the_agent(scene), refused_by_the_carrier(scene)
    for kind in Kind:
        failures.dismiss(scene.rt, "ana", kind, None, 10)
    retry.retry_turn(scene.rt, "ana", turn_id)
    retry.retry_message(scene.rt, "ana", message_id)
    scene.agent.fail("complete", RefusedByProvider("no", provider="retell", status=400), times=2)
    scene.carrier.fail("send", RefusedByProvider("no mobile", provider="twilio", status=400, code=21614))
    scene.work_until_idle()
    assert sorted(listed(scene)) == [("message", message_id), ("turn", turn_id)]


def test_what_is_no_failure_is_not_dismissed(scene: Scene) -> None:
    scene.text("one")
    scene.work_until_idle()
    for kind in Kind:
        with pytest.raises(Unknown):
            failures.dismiss(scene.rt, "ana", kind, 1, 10)


@pytest.mark.parametrize("body", [{}, {"kind": "task"}, {"kind": "turn", "id": 0}, {"kind": "turn", "limit": 0}])
def test_a_wrong_wish_is_refused(scene: Scene, body: dict[str, Any]) -> None:
    assert call(scene, "POST", "/admin/failures/dismiss", json=body).status_code == 422


# -- a process that dies -------------------------------------------------------------------------------------------


def retried(hasty_engine: Engine, fate: Fate) -> MortalScene:
    """A turn and a text that were given up are retried, by somebody who asks again until there is an answer."""
    scene = empty_scene(hasty_engine, fate, line_by_line, fallback_reply="")
    scene.agent.fail("complete", RefusedByProvider("no", provider="retell", status=400), times=2)
    scene.text("a")
    scene.work_until_idle(at_most=600)
    scene.carrier.fail("send", RefusedByProvider("no mobile", provider="twilio", status=400, code=21614))
    scene.text("b")
    scene.work_until_idle(at_most=600)
    for _ in range(2):
        scene.call(lambda rt: retry.retry_some(rt, "ana", None, 10))
        scene.work_until_idle(at_most=600)
    return scene


def test_no_death_doubles_what_is_retried(hasty_engine: Engine) -> None:
    whole = Fate()
    retried(hasty_engine, whole)
    for n in (0, *before(whole)):
        scene = retried(hasty_engine, Fate(n))
        assert sorted(scene.got()) == ["re: a", "re: b"]
        assert sorted(scene.agent.received) == ["a", "b"]
        nothing_is_left(scene)


def test_the_queues_are_empty_after_it(scene: Scene) -> None:
    refused_by_the_agent(scene)
    refused_by_the_carrier(scene)
    retry.retry_some(scene.rt, "ana", None, 100)
    scene.work_until_idle()
    for queue in scene.rows(Conversation):
        assert (queue.turn_due_at, queue.delivery_due_at) == (None, None)
