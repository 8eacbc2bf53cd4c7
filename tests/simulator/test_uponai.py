"""The simulated UponAI: the documented calls and shapes, and the settings for what is not documented."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import httpx
import pytest

from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.simulator.ledger import ChatClosed, Received

ANA = "+15551230001"
WORKSPACE = {"workspaceId": 42}

Open = Callable[..., tuple[Simulator, httpx.Client]]


@pytest.fixture
def opened() -> Iterator[Open]:
    with ExitStack() as stack:

        def build(**settings: Any) -> tuple[Simulator, httpx.Client]:
            simulator = Simulator(SimulatorSettings(**settings))
            address = stack.enter_context(serve(simulator))
            headers = {"Authorization": f"Bearer {simulator.settings.uponai_api_key}"}
            return simulator, stack.enter_context(httpx.Client(base_url=address, headers=headers))

        yield build


def created(client: httpx.Client, **more: Any) -> dict[str, Any]:
    answer = client.post("/api/chats", json={**WORKSPACE, "agent_id": "agent_at_uponai", **more})
    assert answer.status_code == 201, answer.text
    chat: dict[str, Any] = answer.json()
    return chat


def said(client: httpx.Client, chat_id: str, content: str) -> list[dict[str, Any]]:
    answer = client.post(f"/api/chats/{chat_id}/completions", json={**WORKSPACE, "content": content})
    assert answer.status_code == 201, answer.text
    messages: list[dict[str, Any]] = answer.json()["messages"]
    return messages


def shown(client: httpx.Client, chat_id: str) -> dict[str, Any]:
    chat: dict[str, Any] = client.get(f"/api/chats/{chat_id}", params=WORKSPACE).json()
    return chat


def test_a_chat_is_answered_in_camel_case_with_dates_and_keeps_what_it_was_told(opened: Open) -> None:
    _, client = opened()
    chat = created(client, metadata={"a": 1}, uponai_dynamic_variables={"sms_user_number": ANA})
    assert {name: chat[name] for name in ("agentId", "status", "endedAt", "messages", "metadata")} == {
        "agentId": "agent_at_uponai",
        "status": "ongoing",
        "endedAt": None,
        "messages": [],
        "metadata": {"a": 1},
    }
    assert chat["uponai_dynamic_variables"] == {"sms_user_number": ANA}
    assert datetime.fromisoformat(chat["startedAt"]).tzinfo
    assert shown(client, chat["chatId"]) == chat


def test_messages_have_the_documented_form_and_neither_ids_nor_times(opened: Open) -> None:
    simulator, client = opened()
    chat_id = created(client, uponai_dynamic_variables={"sms_user_number": ANA})["chatId"]
    answer = said(client, chat_id, "book a table for 4 on Friday at 8")
    assert {message["role"] for message in answer} == {"assistant"}
    assert {frozenset(message) for message in answer} == {frozenset({"role", "content", "name", "tool_calls"})}
    assert any(message["tool_calls"] for message in answer)
    assert shown(client, chat_id)["messages"][1:] == answer
    assert simulator.agent.received(ANA) == ["book a table for 4 on Friday at 8"]


def test_it_may_pass_on_the_roles_of_the_provider_below_but_never_an_id(opened: Open) -> None:
    _, client = opened(uponai_passes_roles_on=True)
    answer = said(client, created(client)["chatId"], "book a table for 4 on Friday at 8")
    assert {message["role"] for message in answer} >= {"agent", "tool_call_invocation", "node_transition"}
    assert not [message for message in answer if {"message_id", "created_timestamp"} & message.keys()]


def test_a_chat_may_show_only_its_newest_messages(opened: Open) -> None:
    _, client = opened(echo=True, uponai_messages_shown=3)
    chat_id = created(client)["chatId"]
    for content in ("one", "two"):
        said(client, chat_id, content)
    assert [message["content"] for message in shown(client, chat_id)["messages"]] == ["re: one", "two", "re: two"]


@pytest.mark.parametrize(("workspace", "status"), [({}, 400), ({"workspaceId": "42"}, 400), ({"workspaceId": 7}, 403)])
def test_every_call_needs_the_workspace(opened: Open, workspace: dict[str, Any], status: int) -> None:
    simulator, client = opened()
    chat_id = created(client)["chatId"]
    posts = [
        client.post("/api/chats", json={**workspace, "agent_id": "agent_at_uponai"}),
        client.post(f"/api/chats/{chat_id}/completions", json={**workspace, "content": "hi"}),
        client.post(f"/api/chats/{chat_id}/end", json=workspace),
        client.patch(f"/api/chats/{chat_id}", json=workspace),
    ]
    assert [answer.status_code for answer in posts] == [status] * 4
    other = {"workspaceId": 7} if workspace else {}
    assert client.get("/api/chats", params=other).status_code == 403
    assert client.get(f"/api/chats/{chat_id}", params=other).status_code == 403
    assert not simulator.ledger.of(Received) + simulator.ledger.of(ChatClosed)


def test_a_field_that_is_not_documented_is_refused(opened: Open) -> None:
    _, client = opened()
    body = {**WORKSPACE, "agent_id": "agent_at_uponai", "agent_version": 3}
    assert client.post("/api/chats", json=body).status_code == 400


@pytest.mark.parametrize("status", [400, 409, 502])
def test_an_ended_chat_takes_no_message_and_says_so_under_any_status(opened: Open, status: int) -> None:
    _, client = opened(uponai_ended_status=status)
    chat_id = created(client)["chatId"]
    ended = client.post(f"/api/chats/{chat_id}/end", json=WORKSPACE)
    assert (ended.status_code, ended.content) == (204, b"")
    refused = client.post(f"/api/chats/{chat_id}/completions", json={**WORKSPACE, "content": "hi"})
    assert (refused.status_code, refused.json()["error"]["message"]) == (status, "Chat already ended")
    assert shown(client, chat_id)["endedAt"]


def test_the_chats_of_each_provider_are_its_own(opened: Open) -> None:
    simulator, client = opened()
    mine = created(client)["chatId"]
    key = {"Authorization": f"Bearer {simulator.settings.retell_api_key}"}
    theirs = client.post("/create-chat", json={"agent_id": "agent_simulated"}, headers=key).json()["chat_id"]
    assert client.get(f"/api/chats/{theirs}", params=WORKSPACE).status_code == 404
    assert client.get(f"/get-chat/{mine}", headers=key).status_code == 422
    assert [chat["chatId"] for chat in client.get("/api/chats", params=WORKSPACE).json()["data"]] == [mine]
    assert client.get("/api/chats", params=WORKSPACE, headers=key).status_code == 401


def test_a_chat_is_updated_with_what_is_sent(opened: Open) -> None:
    _, client = opened()
    chat_id = created(client)["chatId"]
    changes = {"metadata": {"b": 2}, "custom_attributes": {"vip": True}, "override_dynamic_variables": {"x": "y"}}
    chat = client.patch(f"/api/chats/{chat_id}", json={**WORKSPACE, **changes}).json()
    assert (chat["metadata"], chat["customAttributes"]) == ({"b": 2}, {"vip": True})
    assert chat["uponai_dynamic_variables"] == {"x": "y"}


def test_the_environment_of_a_bridge_names_what_the_simulator_takes() -> None:
    settings = SimulatorSettings(more_numbers=("+15550002222",))
    assert settings.agent_at("uponai", "http://x")["UPONAI_WORKSPACE_ID"] == "42"
    both = settings.agents_at_both("http://x")
    assert both["AGENT_PROVIDER"] == "retell"
    assert "+15550002222" in both["AGENT_ROUTES"]
    assert settings.number not in both["AGENT_ROUTES"]
