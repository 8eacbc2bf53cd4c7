"""The events of the agent's providers over HTTP: the contract's statuses, and what becomes of our chats."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from bridge.chats import ending
from bridge.config import Settings
from bridge.db.engine import Sessions, build_engine, build_sessions
from bridge.db.models import Chat, ChatStatus, Conversation, Message, MessageStatus, Turn, TurnStatus
from bridge.providers.agents.contract import Item, Speaker
from bridge.providers.agents.registry import build_agents
from bridge.providers.errors import OutcomeUnknown
from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.web.agents import MAX_BYTES, PATHS
from bridge.web.app import build_web
from bridge.web.auth import AGENT, declared
from testkit.waiting import until
from tests.databases import database as database_on
from tests.fakes import SETTINGS, UPONAI, FakeAgent, fake_settings
from tests.providers.test_agent_webhooks import GOLDEN, STAMP, THEN
from tests.scene import ANN, BOB, Scene

KEY = "key_of_the_agent"
BADGE = "key_with_the_badge"
OPERATOR = "token-of-the-operator"
GOODBYE = "I close our chat now. Text me any time."
KEYS = {"/retell/events": KEY, "/uponai/events": BADGE}


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    return Scene(sessions, uponai_webhook_key=BADGE, admin_token=OPERATOR)


@pytest.fixture
def web(scene: Scene) -> FlaskClient:
    return scene.web.test_client()


def stamp_of(scene: Scene, seconds: float = 0) -> str:
    return str(int((scene.clock().timestamp() + seconds) * 1000))


def post(
    web: FlaskClient, body: bytes, stamp: str, path: str = "/retell/events", key: str | None = None
) -> TestResponse:
    digest = hmac.new((key or KEYS[path]).encode(), body + stamp.encode(), sha256).hexdigest()
    headers = {"X-Retell-Signature": f"v={stamp},d={digest}"}
    return web.post(path, data=body, content_type="application/json", headers=headers)


def event(kind: str, chat_id: str, **chat: Any) -> bytes:
    return json.dumps({"event": kind, "chat": {"chat_id": chat_id, "chat_status": "ended", **chat}}).encode()


def tell(scene: Scene, web: FlaskClient, kind: str, chat_id: str = "chat_1", seconds: float = 0, **chat: Any) -> None:
    """The event comes, and is answered as if it had done something."""
    answer = post(web, event(kind, chat_id, **chat), stamp_of(scene, seconds))
    assert (answer.status_code, answer.data) == (204, b"")


def end_at_provider(scene: Scene, web: FlaskClient, goodbye: str = "", chat_id: str = "chat_1") -> None:
    """The chat ends there, with the agent's last words, and the event has the whole chat."""
    scene.agent.end(chat_id)
    items = [
        {"role": item.speaker.value, "message_id": item.id, "content": item.content}
        for item in scene.agent.chats[chat_id].items
    ]
    if goodbye:
        items.append({"role": "agent", "message_id": "goodbye", "content": goodbye})
    tell(scene, web, "chat_ended", chat_id, message_with_tool_calls=items)


def state(scene: Scene) -> list[list[Any]]:
    """All that the tables hold."""
    return [
        [{name: value for name, value in vars(row).items() if name[0] != "_"} for row in scene.rows(table)]
        for table in (Conversation, Chat, Turn, Message)
    ]


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(PATHS))
def test_an_event_that_is_forged_stale_or_not_signed_is_refused_and_changes_nothing(
    scene: Scene, web: FlaskClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    scene.text("hello")
    scene.work()
    before, body = state(scene), event("chat_ended", "chat_1", transcript="User: hello")
    answers = [
        post(web, body, stamp_of(scene), path, key="somebody else's"),
        post(web, body, stamp_of(scene, -301), path),
        post(web, body, stamp_of(scene, 301), path),
        web.post(path, data=body),
        web.post(path, data=body, headers={"X-Retell-Signature": "schön"}),
        web.post(path),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert {answer.mimetype for answer in answers} == {"text/plain"}
    assert state(scene) == before
    assert caplog.text.count(f"{path} refused with 403") == len(answers)
    assert "hello" not in caplog.text


@pytest.mark.parametrize(("key", "body", "digest"), GOLDEN, ids=["1", "2"])
@pytest.mark.parametrize(
    ("path", "name"), [("/retell/events", "retell_api_key"), ("/uponai/events", "uponai_webhook_key")]
)
def test_what_the_vendor_s_own_library_has_signed_is_taken_and_every_other_byte_refused(
    sessions: Sessions, path: str, name: str, key: str, body: bytes, digest: str
) -> None:
    scene = Scene(sessions, **{name: key})
    scene.clock.tick((THEN - scene.clock()).total_seconds())
    web = scene.web.test_client()

    def status(body: bytes, signature: str) -> int:
        return web.post(path, data=body, headers={"X-Retell-Signature": signature}).status_code

    good = f"v={STAMP},d={digest}"
    assert status(body, good) == 204
    assert status(body + b" ", good) == 403
    assert status(body, good.replace(f"{STAMP}", f"{STAMP + 1}")) == 403
    scene.clock.tick(300.001)
    assert status(body, good) == 403


def test_the_key_of_one_provider_signs_nothing_of_the_other(scene: Scene, web: FlaskClient) -> None:
    body = event("chat_ended", "chat_1")
    assert post(web, body, stamp_of(scene), "/uponai/events", key=KEY).status_code == 403
    assert post(web, body, stamp_of(scene), "/retell/events", key=BADGE).status_code == 403


@pytest.mark.parametrize(
    ("path", "name", "settings"),
    [
        ("/uponai/events", "UPONAI_WEBHOOK_KEY", {}),
        ("/retell/events", "RETELL_API_KEY", {**UPONAI, "retell_api_key": None, "retell_agent_id": None}),
    ],
)
def test_without_a_key_every_event_is_refused_and_the_answer_names_the_setting(
    scene: Scene, path: str, name: str, settings: dict[str, Any]
) -> None:
    web = build_web(replace(scene.rt, settings=fake_settings(**settings))).test_client()
    answer = post(web, event("chat_ended", "chat_1"), stamp_of(scene), path, key="None")
    assert answer.status_code == 403
    assert f"{name} is not set" in answer.text


def test_an_event_may_have_a_long_chat_and_not_one_without_an_end(scene: Scene, web: FlaskClient) -> None:
    def of(size: int) -> bytes:
        frame = len(event("chat_ended", "chat_x", transcript=""))
        return event("chat_ended", "chat_x", transcript="x" * (size - frame))

    assert post(web, of(MAX_BYTES), stamp_of(scene)).status_code == 204
    for size in (MAX_BYTES + 1, 5_000_000):
        assert post(web, of(size), stamp_of(scene)).status_code == 413


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "BREW"])
def test_another_method_is_refused(web: FlaskClient, caplog: pytest.LogCaptureFixture, method: str) -> None:
    for path in PATHS:
        caplog.clear()
        answer = web.open(path, method=method)
        assert (answer.status_code, set(answer.headers["Allow"].split(", "))) == (405, {"OPTIONS", "POST"})
        assert "HTTP POST only" in caplog.text


def test_every_webhook_of_an_agent_s_provider_is_known_to_be_one(web: FlaskClient) -> None:
    app = web.application
    views = [rule for rule in app.url_map.iter_rules() if declared(app.view_functions[rule.endpoint]) == AGENT]
    assert {rule.rule for rule in views} == PATHS


def test_without_the_database_the_provider_is_asked_to_come_again(scene: Scene) -> None:
    nowhere = build_sessions(build_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing"))
    web = build_web(replace(scene.rt, database=database_on(nowhere))).test_client()
    assert post(web, event("chat_ended", "chat_1"), stamp_of(scene)).status_code == 503
    assert post(web, event("chat_started", "chat_1"), stamp_of(scene)).status_code == 204


# -- what changes nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        event("chat_started", "chat_1"),
        event("transcript_updated", "chat_1"),
        event("something_new", "chat_1"),
        event("chat_ended", "chat_of_another_account"),
        event("chat_analyzed", "chat_of_another_account", chat_analysis={"chat_summary": "x"}),
        b'{"event": "call_ended", "call": {"call_id": "chat_1"}}',
        b"[" * 50_000,
        b"",
    ],
    ids=lambda body: body[:40].decode(),
)
def test_an_event_of_no_interest_is_fine_and_changes_nothing(scene: Scene, web: FlaskClient, body: bytes) -> None:
    scene.text("hello")
    scene.work()
    before = state(scene)
    assert post(web, body, stamp_of(scene)).status_code == 204
    assert state(scene) == before


def test_a_chat_of_the_same_name_at_another_provider_is_not_ours(scene: Scene, web: FlaskClient) -> None:
    scene.text("hello")
    scene.work()
    assert post(web, event("chat_ended", "chat_1"), stamp_of(scene), "/uponai/events").status_code == 204
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ONGOING]


# -- the end of a chat ---------------------------------------------------------------------------------------------


def test_after_the_event_the_next_text_opens_a_new_chat_without_a_refused_call(scene: Scene, web: FlaskClient) -> None:
    scene.text("one")
    scene.work()
    end_at_provider(scene, web)
    [chat] = scene.rows(Chat)
    assert (chat.status, chat.end_reason, chat.due_at) == (ChatStatus.ENDED, "ended at the provider", None)
    assert chat.ended_at == scene.clock()
    scene.agent.calls.clear()
    scene.text("two")
    scene.work()
    assert scene.agent.calls == [("create_chat", ANN), ("complete", "two")]
    assert scene.got() == ["You said: one", "You said: two"]


def test_without_the_event_the_next_text_opens_one_after_a_refused_call(scene: Scene) -> None:
    """As it was before there were events."""
    scene.text("one")
    scene.work()
    scene.agent.end("chat_1")
    scene.text("two")
    scene.work()
    assert scene.got() == ["You said: one", "You said: two"]
    assert scene.agent.received == ["one", "two"]


def test_a_repeated_event_changes_nothing_and_ends_no_newer_chat(scene: Scene, web: FlaskClient) -> None:
    scene.text("one")
    scene.work()
    end_at_provider(scene, web)
    scene.text("two")
    scene.work()
    before = state(scene)
    scene.clock.tick(60)
    for _ in range(3):
        end_at_provider(scene, web)
    assert state(scene) == before
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED, ChatStatus.ONGOING]


def test_a_chat_that_is_being_ended_here_needs_no_call_any_more_and_keeps_its_reason(
    scene: Scene, web: FlaskClient
) -> None:
    scene.text("one")
    scene.work()
    ending.end_one(scene.rt, 1)
    end_at_provider(scene, web, GOODBYE)
    [chat] = scene.rows(Chat)
    assert (chat.status, chat.end_reason, chat.due_at) == (ChatStatus.ENDED, ending.BY_OPERATOR, None)
    scene.agent.calls.clear()
    scene.work(seconds=120)
    assert scene.agent.calls == []


@pytest.mark.parametrize("received", [True, False])
def test_a_turn_that_was_being_asked_when_the_chat_ended_is_neither_lost_nor_doubled(
    scene: Scene, web: FlaskClient, received: bool
) -> None:
    scene.text("one")
    scene.work()
    scene.agent.fail("complete", OutcomeUnknown("cut", provider="retell"), received=received)
    scene.text("two")
    scene.work()
    assert scene.rows(Turn)[-1].status is TurnStatus.ASKING
    end_at_provider(scene, web)
    scene.work_until_idle()
    assert scene.agent.received == ["one", "two"]
    assert scene.got() == ["You said: one", "You said: two"]
    assert len(scene.agent.chats) == (1 if received else 2)


def test_an_event_inside_the_agent_s_answer_loses_nothing(scene: Scene, web: FlaskClient) -> None:
    scene.set(send_auto_close_message=True, uponai_webhook_key=BADGE)
    web = scene.web.test_client()
    scene.text("one")
    scene.work()
    scene.agent.in_next_call(lambda: end_at_provider(scene, web, GOODBYE))
    scene.text("two")
    scene.work_until_idle()
    assert scene.got() == ["You said: one", "You said: two"]


# -- the agent's last words ----------------------------------------------------------------------------------------


@pytest.fixture
def sending(scene: Scene) -> FlaskClient:
    """A bridge that sends the agent's last words on."""
    scene.set(send_auto_close_message=True, uponai_webhook_key=BADGE, admin_token=OPERATOR)
    return scene.web.test_client()


def test_the_agent_s_last_words_go_to_the_phone_once(scene: Scene, sending: FlaskClient) -> None:
    scene.text("one")
    scene.work()
    for _ in range(3):
        end_at_provider(scene, sending, GOODBYE)
        scene.work()
    assert scene.got() == ["You said: one", GOODBYE]


def test_they_do_not_unless_the_setting_says_so(scene: Scene, web: FlaskClient) -> None:
    scene.text("one")
    scene.work()
    end_at_provider(scene, web, GOODBYE)
    scene.work()
    assert scene.got() == ["You said: one"]


def test_a_chat_that_ends_without_a_word_sends_none(scene: Scene, sending: FlaskClient) -> None:
    scene.text("one")
    scene.work()
    end_at_provider(scene, sending)
    scene.work()
    assert scene.got() == ["You said: one"]


@pytest.mark.parametrize("at", ["before", "between"])
def test_who_has_opted_out_gets_no_last_words(scene: Scene, sending: FlaskClient, at: str) -> None:
    scene.text("one")
    scene.work()
    if at == "before":
        scene.text("STOP")
    end_at_provider(scene, sending, GOODBYE)
    if at == "between":
        assert scene.rows(Message)[-1].status is MessageStatus.QUEUED
        scene.text("STOP")
    scene.text("START")
    scene.work_until_idle()
    assert scene.got() == ["You said: one"]


def test_who_has_just_texted_gets_an_answer_and_no_last_words(scene: Scene, sending: FlaskClient) -> None:
    scene.text("one")
    scene.work()
    scene.text("two")
    end_at_provider(scene, sending, GOODBYE)
    scene.work_until_idle()
    assert scene.got() == ["You said: one", "You said: two"]


@pytest.mark.parametrize(
    "new",
    [
        [{"role": "agent", "content": GOODBYE}],
        [{"role": "agent", "message_id": "x", "content": '{"tool": 1}'}],
        [{"role": "tool_call_invocation", "message_id": "x", "name": "end", "content": GOODBYE}],
        [{"role": "injected", "message_id": "x", "content": GOODBYE}],
        [{"role": "user", "message_id": "x", "content": "from elsewhere"}, {"role": "agent", "message_id": "y"}],
    ],
    ids=["without an id", "a payload", "a tool call", "another role", "in answer to somebody else"],
)
def test_what_is_not_surely_the_agent_s_last_word_is_not_sent(
    scene: Scene, sending: FlaskClient, new: list[dict[str, str]]
) -> None:
    scene.text("one")
    scene.work()
    known = [
        {"role": item.speaker.value, "message_id": item.id, "content": item.content}
        for item in scene.agent.chats["chat_1"].items
    ]
    tell(scene, sending, "chat_ended", message_with_tool_calls=[*known, *new])
    scene.work()
    assert scene.got() == ["You said: one"]


@pytest.mark.parametrize("shown", [None, [], [{"role": "agent", "message_id": "x", "content": GOODBYE}]])
def test_nothing_is_sent_of_a_chat_that_is_not_shown_as_a_whole(
    scene: Scene, sending: FlaskClient, shown: list[dict[str, str]] | None
) -> None:
    scene.text("one")
    scene.work()
    tell(scene, sending, "chat_ended", message_with_tool_calls=shown)
    scene.work()
    assert scene.got() == ["You said: one"]


def test_without_message_ids_nothing_is_sent_because_it_may_be_an_answer(sessions: Sessions) -> None:
    agent = FakeAgent(provider="uponai", item_ids=False)
    scene = Scene(sessions, agent=agent, **UPONAI, uponai_webhook_key=BADGE, send_auto_close_message=True)
    scene.text("one")
    scene.work()
    agent.chats["chat_1"].items.append(Item(Speaker.AGENT, GOODBYE))
    items = [{"role": item.speaker.value, "content": item.content} for item in agent.chats["chat_1"].items]
    body = event("chat_ended", "chat_1", message_with_tool_calls=items)
    assert post(scene.web.test_client(), body, stamp_of(scene), "/uponai/events").status_code == 204
    scene.work()
    assert scene.got() == ["You said: one"]
    assert [row.status for row in scene.rows(Chat)] == [ChatStatus.ENDED]


# -- the analysis --------------------------------------------------------------------------------------------------

ANALYSIS = {"chat_summary": "A greeting.", "user_sentiment": "Positive", "chat_successful": True}
COST = {"combined_cost": 1.5}
SHOWN = {"summary": "A greeting.", "sentiment": "Positive", "successful": True, "cost": 1.5}


def shown(web: FlaskClient, chat_id: int = 1) -> dict[str, Any]:
    answer = web.get(f"/admin/chats/{chat_id}", headers={"Authorization": f"Bearer {OPERATOR}"})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.get_json()
    return found


def test_an_analysis_is_shown_to_operators(scene: Scene, web: FlaskClient) -> None:
    scene.text("hello")
    scene.work()
    assert shown(web)["analysis"] is None
    tell(scene, web, "chat_analyzed", chat_analysis=ANALYSIS, chat_cost=COST)
    found = shown(web)["analysis"]
    assert found.pop("analyzed_at").startswith(scene.clock().isoformat()[:19])
    assert found == SHOWN


def test_an_analysis_may_come_before_the_end_of_the_chat_is_told(scene: Scene, web: FlaskClient) -> None:
    scene.text("hello")
    scene.work()
    tell(scene, web, "chat_analyzed", chat_analysis=ANALYSIS)
    assert scene.rows(Chat)[0].status is ChatStatus.ONGOING
    end_at_provider(scene, web)
    [chat] = scene.rows(Chat)
    assert (chat.status, chat.summary) == (ChatStatus.ENDED, "A greeting.")


def test_of_two_analyses_the_later_one_stays_in_whatever_order_they_come(scene: Scene, web: FlaskClient) -> None:
    scene.text("hello")
    scene.work()
    for seconds, summary in ((0, "first"), (60, "third"), (30, "second"), (60, "third")):
        tell(scene, web, "chat_analyzed", seconds=seconds, chat_analysis={"chat_summary": summary})
    [chat] = scene.rows(Chat)
    assert chat.summary == "third"
    assert abs(chat.analyzed_at - scene.clock()) < timedelta(seconds=61)


def test_an_analysis_of_which_nothing_can_be_read_is_still_one(scene: Scene, web: FlaskClient) -> None:
    scene.text("hello")
    scene.work()
    tell(scene, web, "chat_analyzed", chat_analysis="none")
    found = shown(web)["analysis"]
    assert found.pop("analyzed_at")
    assert set(found.values()) == {None}


def test_an_analysis_touches_its_own_chat_alone(scene: Scene, web: FlaskClient) -> None:
    for phone in (ANN, BOB):
        scene.text("hello", phone)
    scene.work()
    tell(scene, web, "chat_analyzed", "chat_2", chat_analysis=ANALYSIS)
    assert [row.summary for row in scene.rows(Chat)] == [None, "A greeting."]


# -- together with the simulated providers -------------------------------------------------------------------------


@contextmanager
def served(scene: Scene) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, build_web(scene.rt), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


@pytest.mark.parametrize("provider", ["retell", "uponai"])
def test_the_simulated_providers_send_what_the_bridge_understands(sessions: Sessions, provider: str) -> None:
    """A person texts, and is silent for an hour."""
    scene = Scene(sessions)
    known = SimulatorSettings(auto_close_message=GOODBYE, clock=lambda: scene.clock().timestamp())
    simulator = Simulator(known)
    with serve(simulator) as address:
        environ = {**known.agent_at(provider, address), "SEND_AUTO_CLOSE_MESSAGE": "true"}
        least = {name: value for name, value in SETTINGS.items() if not name.startswith("retell")}
        settings = Settings.load(environ, **least)
        scene.rt = replace(scene.rt, settings=settings, agents=build_agents(settings))
        with served(scene) as own:
            simulator.events_url, simulator.uponai_events_url = f"{own}/retell/events", f"{own}/uponai/events"
            scene.text("hello")
            scene.work()
            scene.clock.tick(3600)
            [chat] = simulator.agent.chats()
            until(lambda: scene.rows(Chat)[0].analyzed_at)
        scene.work()
        scene.rt.agents.close()
    [row] = scene.rows(Chat)
    assert (row.provider, row.provider_chat_id) == (provider, chat.id)
    assert (row.status, row.summary, row.successful) == (ChatStatus.ENDED, "Messages of the person: 1.", True)
    by_the_agent = [item["content"] for item in chat.items if item["role"] == "agent"]
    assert len(by_the_agent) == 3, "an answer of two messages, and the last words"
    assert scene.got() == (by_the_agent if provider == "retell" else by_the_agent[:-1])
