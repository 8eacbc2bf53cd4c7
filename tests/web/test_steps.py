"""The tools that the agent has called, in one conversation and in its export. The texts of a period have none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from bridge.chats.steps import LONGEST_RESULT
from bridge.db.engine import Sessions
from bridge.db.models import Turn
from bridge.providers.agents.contract import Step, ToolCall, ToolResult, Transition
from bridge.web import conversation_models as models
from tests.scene import ANN, Scene

BOOK = "book a table"
DID: tuple[Step, ...] = (
    Transition("welcome", "booking"),
    ToolCall("find table", '{"day": "Fri"}', "c1"),
    ToolResult("c1", "x" * (LONGEST_RESULT + 5), False),
)
SHOWN = [
    {
        "kind": "transition",
        "name": "booking",
        "origin": "welcome",
        **dict.fromkeys(("arguments", "result", "successful")),
        **dict.fromkeys(("arguments_cut", "result_cut"), 0),
    },
    {
        "kind": "tool_call",
        "name": "find table",
        "origin": None,
        "arguments": '{"day": "Fri"}',
        "arguments_cut": 0,
        "result": "x" * LONGEST_RESULT,
        "result_cut": 5,
        "successful": False,
    },
]


@pytest.fixture
def scene(sessions: Sessions) -> Scene:
    scene = Scene(sessions, admin_tokens="ana:token-of-ana")
    scene.agent.uses_tools_on = {BOOK: DID, f"one more\n{BOOK}": DID}
    return scene


def get(scene: Scene, path: str) -> Any:
    answer = scene.web.test_client().get(path, headers={"Authorization": "Bearer token-of-ana"})
    assert answer.status_code == 200, answer.text
    return answer


def with_steps(messages: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The steps of each text that has some, by its words."""
    return {each["body"]: each["steps"] for each in messages if each["steps"]}


def test_a_conversation_shows_them_at_the_text_that_they_are_about(scene: Scene) -> None:
    for body in ("hello", BOOK, "thanks"):
        scene.text(body)
        scene.work_until_idle()
    messages = get(scene, "/admin/conversations/1").json["messages"]
    assert with_steps(messages) == {BOOK: SHOWN}
    assert {each["steps_left_out"] for each in messages} == {0}


def test_of_several_texts_of_a_turn_the_last_one_has_them_on_whatever_page_it_is(scene: Scene) -> None:
    scene.text("one more")
    scene.text(BOOK)
    scene.work_until_idle()
    page = get(scene, "/admin/conversations/1?limit=1").json
    shown = [with_steps(page["messages"])]
    while page["earlier"]:
        page = get(scene, f"/admin/conversations/1?limit=1&cursor={page['earlier']}").json
        shown.append(with_steps(page["messages"]))
    assert shown == [{}, {BOOK: SHOWN}, {}]


def test_the_export_of_a_conversation_has_them(scene: Scene) -> None:
    scene.text(BOOK)
    scene.work_until_idle()
    exported = get(scene, "/admin/conversations/1/export")
    assert with_steps(exported.json["messages"]) == {BOOK: SHOWN}
    models.ConversationExport.model_validate(exported.json)


def test_nothing_else_has_them(scene: Scene) -> None:
    scene.text(BOOK)
    scene.work_until_idle()
    since = (scene.clock() - timedelta(days=1)).isoformat().replace("+", "%2B")
    elsewhere = ("conversations", "chats", "chats/1", "turns/1", f"export?since={since}", "audit", "failures")
    for path in elsewhere:
        assert "find table" not in get(scene, f"/admin/{path}").text, path
    assert scene.got(ANN) == [f"You said: {BOOK}"]


def test_a_turn_whose_steps_are_erased_shows_none(scene: Scene) -> None:
    scene.text(BOOK)
    scene.work_until_idle()
    scene.change(update(Turn).values(steps=None))
    assert with_steps(get(scene, "/admin/conversations/1").json["messages"]) == {}
