"""Drafts on demand: the agent writes what it would answer, and nothing is sent or told to anybody."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from werkzeug.test import TestResponse

from bridge.db.engine import Sessions
from bridge.db.models import Audit, Conversation, Direction, DraftRequest, Holder, Message, MessageStatus
from bridge.maintenance import sweep
from bridge.operators import draft_requests, pausing
from bridge.operators.draft_task import write_draft
from bridge.processes.dispatcher import Dispatcher
from bridge.processes.tasks import TASKS, tick
from bridge.providers.agents.contract import Item, Speaker
from bridge.providers.errors import OutcomeUnknown
from bridge.queues.conversation_queue import QUEUES
from bridge.web.app import build_web
from tests.fakes import DraftWriter
from tests.scene import ANN, NUMBER, Scene

TOKENS = "ana:token-of-ana,ben:token-of-ben"
ON: dict[str, Any] = {"admin_tokens": TOKENS, "drafts": True, "agent_timeout": "1s"}


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    scene = Scene(sessions, **ON)
    scene.text("hello")
    scene.work_until_idle()
    return scene


def call(scene: Scene, method: str, path: str, *, busy: bool = True, key: str = "") -> TestResponse:
    headers = {"Authorization": "Bearer token-of-ana"} | ({"Idempotency-Key": key} if key else {})
    rt = scene.woken_by(DraftWriter(scene.rt)) if busy else scene.rt
    return build_web(rt).test_client().open(path, method=method, headers=headers)


def draft(scene: Scene, **more: Any) -> TestResponse:
    return call(scene, "POST", "/admin/conversations/1/draft", **more)


def add(scene: Scene, direction: Direction, status: MessageStatus, body: str, **more: Any) -> None:
    """Add a text a second after the ones before."""
    scene.clock.tick(1)
    with scene.sessions.begin() as session:
        row = Message(conversation_id=1, direction=direction, status=status, body=body, created_at=scene.clock())
        for name, value in more.items():
            setattr(row, name, value)
        session.add(row)


def history(scene: Scene) -> list[tuple[Speaker, str]]:
    return [(item.speaker, item.content) for item in scene.agent.drafted[-1][1]]


def test_a_draft_has_the_words_of_the_agent_and_is_neither_sent_nor_stored_as_a_text(scene: Scene) -> None:
    before = len(scene.rows(Message))
    answer = draft(scene)
    assert answer.status_code == 200
    assert answer.json == {"id": 1, "messages": [{"body": "You said: hello", "segments": 1}]}
    scene.work_until_idle()
    assert (len(scene.rows(Message)), scene.got()) == (before, ["You said: hello"])
    assert [chat.received for chat in scene.agent.chats.values()] == [["hello"]]
    [(about, _)] = scene.agent.drafted
    assert (about.conversation_id, about.user_number, about.agent_number) == (1, ANN, NUMBER)


def test_the_history_has_all_that_was_said_and_what_still_waits(scene: Scene) -> None:
    add(scene, Direction.OUT, MessageStatus.SENT, "It's Ana", operator="ana")
    add(scene, Direction.OUT, MessageStatus.OUTSIDE, "from a phone")
    add(scene, Direction.OUT, MessageStatus.SENT, "a notice of the bridge")
    add(scene, Direction.OUT, MessageStatus.DRAFT, "an old draft", turn_id=1)
    add(scene, Direction.IN, MessageStatus.HANDLED, "thanks")
    add(scene, Direction.IN, MessageStatus.KEYWORD, "HELP")
    add(scene, Direction.IN, MessageStatus.ANSWERED, "a wish of Ana", operator="ana", instruction={}, turn_id=1)
    add(scene, Direction.IN, MessageStatus.WAITING, "are you there?")
    draft(scene)
    assert history(scene) == [
        (Speaker.USER, "hello"),
        (Speaker.AGENT, "You said: hello"),
        (Speaker.AGENT, "It's Ana"),
        (Speaker.AGENT, "from a phone"),
        (Speaker.USER, "thanks"),
        (Speaker.USER, "are you there?"),
    ]


def test_the_history_ends_with_the_newest_texts_and_has_none_older_than_the_recap(scene: Scene) -> None:
    scene.clock.tick(31 * 24 * 3600)
    for n in range(50):
        add(scene, Direction.IN, MessageStatus.HANDLED, f"text {n}")
    draft(scene)
    assert [body for _, body in history(scene)] == [f"text {n}" for n in range(10, 50)]


def test_a_draft_is_shaped_as_it_would_reach_the_phone(scene: Scene) -> None:
    scene.agent.answer = lambda text: ["**Yes**, at [our site](https://x.example).", " "]
    assert draft(scene).json["messages"] == [{"body": "Yes, at our site (https://x.example).", "segments": 1}]


def test_an_agent_that_writes_nothing_leaves_an_empty_draft(scene: Scene) -> None:
    scene.agent.answer = lambda text: []
    assert draft(scene).json == {"id": 1, "messages": []}


@pytest.mark.parametrize("holder", Holder)
def test_a_draft_is_written_whoever_has_the_conversation(scene: Scene, holder: Holder) -> None:
    scene.change(update(Conversation).values(holder=holder))
    assert draft(scene).status_code == 200
    assert {row.holder for row in scene.rows(Conversation)} == {holder}


def test_a_draft_that_takes_too_long_is_asked_for_later(scene: Scene) -> None:
    answer = draft(scene, busy=False)
    assert (answer.status_code, answer.json) == (202, {"id": 1})
    assert call(scene, "GET", "/admin/draft-requests/1").status_code == 202
    scene.wake()
    later = call(scene, "GET", "/admin/draft-requests/1")
    assert (later.status_code, later.json["messages"][0]["body"]) == (200, "You said: hello")


def test_a_request_whose_wake_up_is_lost_is_found_by_the_sweep(scene: Scene) -> None:
    draft(scene, busy=False)
    scene.notifier.wakeups.clear()
    sweep.sweep(scene.rt)
    scene.wake()
    assert call(scene, "GET", "/admin/draft-requests/1").status_code == 200
    sweep.sweep(scene.rt)
    assert (draft_requests.TASK, 1) not in scene.notifier.wakeups


def test_the_agent_is_asked_once_however_often_workers_are_woken(scene: Scene) -> None:
    draft(scene)
    for _ in range(3):
        write_draft(scene.rt, 1)
    assert len(scene.agent.drafted) == 1


@pytest.mark.parametrize("begun", [False, True])
def test_a_request_without_an_answer_fails_and_is_not_asked_again(scene: Scene, begun: bool) -> None:
    draft(scene, busy=False)
    if begun:  # and the worker dies
        draft_requests.begin(scene.rt, 1)
    scene.clock.tick(62)
    answer = call(scene, "GET", "/admin/draft-requests/1")
    assert (answer.status_code, draft_requests.LOST in answer.json["detail"]) == (502, True)
    scene.wake()
    assert scene.agent.drafted == []


def test_a_worker_that_was_halted_asks_nobody(scene: Scene) -> None:
    scene.rt.heartbeat.stopped = True  # type: ignore[attr-defined]
    write_draft(scene.rt, draft_requests.request(scene.rt, draft_requests.Asked("ana"), 1))
    assert scene.agent.drafted == []


def test_an_error_of_the_provider_is_told(scene: Scene) -> None:
    scene.agent.fail("draft", OutcomeUnknown("HTTP 500", provider="retell", status=500))
    answer = draft(scene)
    assert answer.status_code == 502
    assert "HTTP 500" in answer.json["detail"]


def test_drafts_are_off_by_default(scene: Scene) -> None:
    scene.set(**ON | {"drafts": False})
    answer = draft(scene)
    assert (answer.status_code, answer.json["detail"]) == (409, draft_requests.OFF)
    assert scene.rows(Audit) == []


def test_a_provider_without_drafts_a_pause_and_an_opt_out_are_refused(scene: Scene) -> None:
    scene.agent.writes_drafts = False
    assert draft(scene).json["detail"] == draft_requests.NO_DRAFTS
    scene.agent.writes_drafts = True
    pausing.begin(scene.rt, "ana")
    assert draft(scene).json["detail"] == draft_requests.PAUSED
    pausing.end(scene.rt, "ana")
    scene.text("STOP")
    assert draft(scene).status_code == 409
    assert scene.agent.drafted == []


def test_a_person_who_has_written_nothing_gets_no_draft(sessions: Sessions) -> None:
    scene = Scene(sessions, **ON)
    scene.add(Conversation(phone=ANN, bridge_number=NUMBER, created_at=scene.clock()))
    assert draft(scene).json["detail"] == draft_requests.NOTHING
    assert call(scene, "POST", "/admin/conversations/2/draft").status_code == 404


def test_the_same_key_asks_once(scene: Scene) -> None:
    first, again = (draft(scene, key="k1") for _ in range(2))
    assert first.json == again.json
    assert len(scene.agent.drafted) == 1


def test_the_audit_has_who_asked_and_no_words(scene: Scene) -> None:
    draft(scene)
    [row] = scene.rows(Audit)
    assert (row.operator, row.action, row.subject, row.details) == ("ana", "draft", "draft request 1", {})


def test_a_draft_is_kept_for_ten_minutes(scene: Scene) -> None:
    draft(scene)
    tick(scene.rt, "forget_drafts")
    assert call(scene, "GET", "/admin/draft-requests/1").status_code == 200
    scene.clock.tick(draft_requests.KEPT_FOR / timedelta(seconds=1))
    tick(scene.rt, "forget_drafts")
    assert scene.rows(DraftRequest) == []
    assert call(scene, "GET", "/admin/draft-requests/1").status_code == 404


def test_every_task_that_a_row_is_named_for_has_threads() -> None:
    dispatcher = Dispatcher(1)
    assert dispatcher._threads.keys() == TASKS.keys() >= {queue.task for queue in QUEUES}
    dispatcher.close()


def test_a_tool_s_result_is_no_draft(scene: Scene) -> None:
    scene.agent.draft = lambda about, history: (Item(Speaker.OTHER, "{}"), Item(Speaker.AGENT, "Yes."))  # type: ignore[method-assign]
    assert [each["body"] for each in draft(scene).json["messages"]] == ["Yes."]
