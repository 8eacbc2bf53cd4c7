"""Our adapters and our simulator, held against what Retell and UponAI say about their APIs.

openapi-core judges here, in every run. Prism does it again in ``test_agents_openapi``, over sockets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Required, get_origin, get_type_hints

import httpx
import pytest
import retell
from openapi_spec_validator import validate
from pydantic import BaseModel
from retell.types import (
    ChatListResponse,
    ChatResponse,
    ContactResponse,
    PlaygroundCompletionResponse,
    chat_create_chat_completion_params,
    chat_create_chat_completion_response,
    chat_create_params,
    chat_list_params,
    chat_response,
    contact_create_params,
    contact_update_params,
    playground_completion_params,
)

from bridge.config import Route
from bridge.providers.agents.contract import Agent, Item, NewChat, Speaker
from bridge.providers.agents.registry import AGENTS
from bridge.providers.agents.retell.client import Retell
from bridge.providers.agents.uponai.client import Account, UponAI
from bridge.providers.errors import RemoteError
from bridge.simulator import Simulator, SimulatorSettings
from bridge.simulator.server import build_app
from tests.scene import ANN, NUMBER
from tests.second_opinion.documents import Document, document

PROVIDERS = ["retell", "uponai"]
ADDRESS = "http://localhost"
"""The simulator serves no other name."""
TABLE = "book a table for two tomorrow at 8 pm"
"""The simulated agent calls tools, and changes its node."""
BYE = "bye"
"""It ends the chat."""


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def told(provider: str) -> Document:
    return document(provider)


def test_the_document_is_openapi(told: Document) -> None:
    validate(told.content)


def test_the_document_has_every_call_of_an_adapter(told: Document, provider: str) -> None:
    more = (
        {"delete", "find_contact", "create_contact", "update_contact", "playground"} if provider == "retell" else set()
    )
    assert told.operations == {"create", "completion", "get", "list", "end", *more}


# -- our adapters, between them and our simulator --------------------------------------------------------------------


class Watched(httpx.BaseTransport):
    """Hands on every request to the simulator, and judges it and its answer."""

    def __init__(self, told: Document, simulator: Simulator) -> None:
        self.told = told
        self.inner = httpx.WSGITransport(build_app(simulator))
        self.faults: list[str] = []
        self.seen: set[tuple[str, int]] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        response = self.inner.handle_request(request)
        response.read()
        self.seen.add((self.told.operation_of(request), response.status_code))
        undocumented = response.status_code >= 400 and self.told is document("uponai")
        self.faults += self.told.faults(request, None if undocumented else response)
        # A stream again, as the adapter reads one.
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)


def new_agent(provider: str, simulator: Simulator, transport: httpx.BaseTransport) -> Agent:
    settings = simulator.settings
    if provider == "retell":
        return Retell(
            api_key=settings.retell_api_key,
            agent_id=settings.agent_id,
            agent_version="latest_published",
            base_url=ADDRESS,
            timeout=120,
            transport=lambda: transport,
        )
    account = Account(
        settings.uponai_api_key, settings.uponai_workspace_id, settings.uponai_agent_id, base_url=ADDRESS, timeout=120
    )
    return UponAI(account, lambda: transport)


@contextmanager
def watched(provider: str, **settings: Any) -> Iterator[tuple[Agent, Watched, Simulator]]:
    simulator = Simulator(SimulatorSettings(**settings))
    watched = Watched(document(provider), simulator)
    agent = new_agent(provider, simulator, watched)
    yield agent, watched, simulator
    agent.close()


def about(provider: str, simulator: Simulator, version: str = "latest_published") -> Iterator[NewChat]:
    """New chats of every kind: with and without a recap, of a route, with a version."""
    settings = simulator.settings
    agent_id = settings.agent_id if provider == "retell" else settings.uponai_agent_id
    versions = [version, "3", "prod"] if provider == "retell" else [version]
    yield NewChat(1, ANN, NUMBER)
    yield NewChat(1, f"whatsapp:{ANN}", f"whatsapp:{NUMBER}", "User: hé 👍\nAgent: hello")
    for each in versions:
        route = Route.model_construct(provider=provider, agent_id=agent_id, agent_version=each)
        yield NewChat(1, ANN, NUMBER, route=route)


def test_every_request_and_every_answer_is_one_that_the_document_knows(provider: str) -> None:
    with watched(provider, greeting="Welcome!") as (agent, seen, simulator):
        ids = [agent.create_chat(new).id for new in about(provider, simulator)]
        for said in ("Hé, 10:00 ok? 👍", TABLE, "two\nlines", BYE):
            agent.complete(ids[0], said)
            agent.get_chat(ids[0])
        agent.end_chat(ids[1])
        for ongoing_only in (False, True):
            page = agent.list_chats(ongoing_only=ongoing_only, limit=2)
            agent.list_chats(ongoing_only=ongoing_only, after=page.next)
        agent.list_chats(limit=10**6)
    assert seen.faults == []
    done = {"create": 201, "completion": 201, "get": 200, "list": 200, "end": 204}
    assert seen.seen == set(done.items())


def test_a_draft_is_asked_for_and_given_as_the_document_says() -> None:
    history = (Item(Speaker.AGENT, "Hi"), Item(Speaker.USER, TABLE), Item(Speaker.OTHER, "{}"))
    with watched("retell") as (agent, seen, simulator):
        for new in about("retell", simulator):
            assert agent.draft(replace(new, variables={"offer": "two for one"}), history)
    assert seen.faults == []
    assert seen.seen == {("playground", 201)}


def test_a_chat_is_deleted_as_the_document_says() -> None:
    with watched("retell") as (agent, seen, _):
        chat = agent.create_chat(NewChat(1, ANN, NUMBER))
        agent.delete_chat(chat.id)
        agent.delete_chat(chat.id)
    assert seen.faults == []
    assert {("delete", 204), ("delete", 422)} <= seen.seen


def test_a_chat_id_may_be_anything_that_fits_into_a_path(provider: str) -> None:
    with watched(provider) as (agent, seen, _):
        for chat_id in ("a b", "é?#", "%2F", "a&b=c"):
            for call in (agent.get_chat, agent.end_chat, lambda chat_id: agent.complete(chat_id, "hello")):
                with suppress(RemoteError):
                    call(chat_id)
    assert seen.faults == []


REFUSALS = ["agent_401", "agent_429", "agent_500", "agent_500_after"]


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_refusal_looks_as_the_document_says(fault: str) -> None:
    with watched("retell") as (agent, seen, simulator):
        chat = agent.create_chat(NewChat(1, ANN, NUMBER))
        calls: dict[str, Callable[[], object]] = {
            "create": lambda: agent.create_chat(NewChat(1, ANN, NUMBER)),
            "completion": lambda: agent.complete(chat.id, "hello"),
            "get": lambda: agent.get_chat(chat.id),
            "list": lambda: agent.list_chats(),
            "end": lambda: agent.end_chat(chat.id),
        }
        for name, call in calls.items():
            simulator.faults.next(fault, calls=[name])
            with pytest.raises(RemoteError):
                call()
    assert seen.faults == []
    assert {operation for operation, status in seen.seen if status >= 400} == set(calls)


def test_the_refusal_of_an_ended_or_unknown_chat_looks_as_the_document_says() -> None:
    with watched("retell") as (agent, seen, _):
        chat = agent.create_chat(NewChat(1, ANN, NUMBER))
        agent.end_chat(chat.id)
        agent.end_chat(chat.id)
        for chat_id in (chat.id, "chat_unknown"):
            with pytest.raises(RemoteError):
                agent.complete(chat_id, "hello")
    assert seen.faults == []
    assert {("end", 400), ("completion", 400), ("completion", 422)} <= seen.seen


# -- the judge can fail ----------------------------------------------------------------------------------------------

WRONG: list[tuple[str, str, str, Any]] = [
    ("retell", "POST", "/create-chat", {"agent_id": "a", "content": "hello"}),
    ("retell", "POST", "/create-chat", {"agentId": "a"}),
    ("retell", "POST", "/create-chat", {"agent_id": ""}),
    ("retell", "POST", "/create-chat", {"agent_id": "a", "retell_llm_dynamic_variables": {"n": 1}}),
    ("retell", "POST", "/create-chat", {"agent_id": "a", "agent_version": True}),
    ("retell", "POST", "/create-chat-completion", {"chat_id": "c"}),
    ("retell", "POST", "/create-chat-completion", {"chat_id": "c", "content": None}),
    ("retell", "POST", "/create-chat-completion", {"chat_id": "c", "content": "x", "agent_id": "a"}),
    ("retell", "POST", "/create-chat-completion", {"chat_id": "c", "messages": [{"role": "user", "content": "x"}]}),
    ("retell", "POST", "/v3/list-chats", {"limit": 1001}),
    ("retell", "POST", "/v3/list-chats", {"skip": 1, "pagination_key": "k"}),
    ("retell", "POST", "/v3/list-chats", {"filter_criteria": {"metadata": {"a": 1}}}),
    ("retell", "POST", "/v3/list-chats", {"filter_criteria": {"chat_status": ["ongoing"]}}),
    ("retell", "GET", "/list-chat", None),
    ("retell", "PATCH", "/end-chat", {"chat_id": "c"}),
    ("retell", "POST", "/end-chat/c", None),
    ("retell", "POST", "/agent-playground-completion/a", {"content": "x"}),
    ("retell", "POST", "/agent-playground-completion/a", {"messages": [{"role": "assistant", "content": "x"}]}),
    ("retell", "POST", "/agent-playground-completion/a", {"messages": [], "dynamic_variables": {"n": 1}}),
    ("retell", "GET", "/get-contact-by-phone/5551230001", None),
    ("retell", "POST", "/create-contact", {"first_name": "Ann"}),
    ("retell", "PATCH", "/update-contact/c", {"phone_number": ANN}),
    ("retell", "PATCH", "/update-contact/c", {"do_not_call": "true"}),
    ("uponai", "POST", "/api/chats", {"agent_id": "a"}),
    ("uponai", "POST", "/api/chats", {"workspaceId": "42", "agent_id": "a"}),
    ("uponai", "POST", "/api/chats", {"workspace_id": 42, "agent_id": "a"}),
    ("uponai", "POST", "/api/chats", {"workspaceId": 42, "agent_id": "a", "agent_version": 1}),
    ("uponai", "POST", "/api/chats", {"workspaceId": 42, "agent_id": "a", "retell_llm_dynamic_variables": {}}),
    ("uponai", "POST", "/api/chats/c/completions", {"content": "hello"}),
    ("uponai", "POST", "/api/chats/c/completions", {"workspaceId": 42}),
    ("uponai", "POST", "/api/chats/c/completions", {"workspaceId": 42, "content": "hello", "chat_id": "c"}),
    ("uponai", "POST", "/api/chats/c/end", {}),
    ("uponai", "PATCH", "/api/chats/c/end", {"workspaceId": 42}),
    ("uponai", "GET", "/api/chats/c", None),
    ("uponai", "GET", "/api/chats?workspaceId=mine", None),
    ("uponai", "GET", "/api/chats?workspaceId=42&limit=1001", None),
    ("uponai", "GET", "/api/chats?workspaceId=42&sortOrder=newest", None),
    ("uponai", "POST", "/v3/list-chats", {}),
]


def asked(method: str, path: str, body: Any, key: str | None = "key") -> httpx.Request:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Request(method, f"{ADDRESS}{path}", json=body, headers=headers)


@pytest.mark.parametrize(("provider", "method", "path", "body"), WRONG, ids=str)
def test_a_wrong_request_is_a_fault(provider: str, method: str, path: str, body: Any) -> None:
    assert document(provider).faults(asked(method, path, body))


@pytest.mark.parametrize(
    ("provider", "path", "body"),
    [
        ("retell", "/create-chat-completion", {"chat_id": "c", "content": "x"}),
        ("uponai", "/api/chats/c/completions", {"workspaceId": 42, "content": "x"}),
    ],
)
def test_a_request_without_a_key_is_a_fault(provider: str, path: str, body: Any) -> None:
    assert document(provider).faults(asked("POST", path, body)) == []
    assert document(provider).faults(asked("POST", path, body, key=None))


@pytest.mark.parametrize(
    ("provider", "path", "status", "answer"),
    [
        ("retell", "/create-chat-completion", 200, {"messages": []}),
        ("retell", "/create-chat-completion", 201, {"messages": [{"role": "assistant", "content": "hi"}]}),
        ("retell", "/create-chat-completion", 201, {"messages": [{"role": "agent", "content": "hi", "id": "m"}]}),
        ("retell", "/create-chat-completion", 201, {"messages": [{"role": "agent"}]}),
        ("retell", "/create-chat-completion", 201, {"messages": [], "chat_status": "ended"}),
        ("retell", "/create-chat-completion", 422, {"error": {"message": "no"}}),
        ("uponai", "/api/chats/c/completions", 200, {"messages": []}),
        ("uponai", "/api/chats/c/completions", 201, {"messages": [{"role": "agent", "content": "hi"}]}),
        (
            "uponai",
            "/api/chats/c/completions",
            201,
            {"messages": [{"role": "user", "content": "hi", "message_id": "m"}]},
        ),
        ("uponai", "/api/chats/c/completions", 201, []),
    ],
    ids=str,
)
def test_a_wrong_answer_is_a_fault(provider: str, path: str, status: int, answer: Any) -> None:
    body = {"chat_id": "c", "content": "x"} if provider == "retell" else {"workspaceId": 42, "content": "x"}
    request = asked("POST", path, body)
    assert document(provider).faults(request) == []
    assert document(provider).faults(request, httpx.Response(status, json=answer))


def test_an_adapter_with_a_wrong_field_would_be_noticed(provider: str) -> None:
    class Misspelt(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            body = {**json.loads(request.read()), "message": "hello"}
            return seen.handle_request(httpx.Request(request.method, request.url, headers=_kept(request), json=body))

    simulator = Simulator(SimulatorSettings())
    seen = Watched(document(provider), simulator)
    agent = new_agent(provider, simulator, Misspelt())
    try:
        agent.create_chat(NewChat(1, ANN, NUMBER))
    except RemoteError:
        assert provider == "uponai"
    assert any("'message' was unexpected" in fault for fault in seen.faults)
    agent.close()


def _kept(request: httpx.Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name not in {"content-length", "content-type"}}


# -- Retell's own library --------------------------------------------------------------------------------------------

NEWER = {"Chat": {"is_escalated"}}
"""What came after the release of the library that is installed."""

PARAMETERS = {
    "NewChat": chat_create_params.ChatCreateParams,
    "Completion": chat_create_chat_completion_params.ChatCreateChatCompletionParams,
    "ListChats": chat_list_params.ChatListParams,
    "Filters": chat_list_params.FilterCriteria,
    "Rehearsal": playground_completion_params.PlaygroundCompletionParams,
    "NewContact": contact_create_params.ContactCreateParams,
    "ContactUpdate": contact_update_params.ContactUpdateParams,
}
MODELS: dict[str, type[Any]] = {
    "Chat": ChatResponse,
    "Analysis": chat_response.ChatAnalysis,
    "Cost": chat_response.ChatCost,
    "Page": ChatListResponse,
    "Completed": chat_create_chat_completion_response.ChatCreateChatCompletionResponse,
    "Rehearsed": PlaygroundCompletionResponse,
    "Contact": ContactResponse,
    "Words": chat_response.MessageWithToolCallMessageBase,
    "ToolCall": chat_response.MessageWithToolCallToolCallInvocationMessageBase,
    "ToolResult": chat_response.MessageWithToolCallToolCallResultMessageBase,
    "NodeTransition": chat_response.MessageWithToolCallNodeTransitionMessageBase,
    "StateTransition": chat_response.MessageWithToolCallStateTransitionMessageBase,
    "Injected": chat_response.MessageWithToolCallInjectedMessageBase,
    "Sms": chat_response.MessageWithToolCallSMSMessageBase,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_request_has_the_fields_of_retell_s_library(name: str) -> None:
    hints = get_type_hints(PARAMETERS[name], include_extras=True)
    schema = document("retell").schema(name)
    assert set(schema["properties"]) == set(hints)
    assert set(schema.get("required", ())) == {name for name, hint in hints.items() if get_origin(hint) is Required}


@pytest.mark.parametrize("name", MODELS)
def test_an_answer_has_the_fields_of_retell_s_library(name: str) -> None:
    model: type[BaseModel] = MODELS[name]
    schema = document("retell").schema(name)
    assert set(schema["properties"]) - NEWER.get(name, set()) == set(model.model_fields)
    needed = {name for name, field in model.model_fields.items() if field.is_required()}
    assert set(schema.get("required", ())) == needed


LIBRARY: dict[str, Callable[[retell.Retell], object]] = {
    "create": lambda sdk: sdk.chat.create(
        agent_id="a", agent_version="prod", metadata={"a": 1}, retell_llm_dynamic_variables={"a": "b"}
    ),
    "completion": lambda sdk: sdk.chat.create_chat_completion(chat_id="c", content="hello"),
    "get": lambda sdk: sdk.chat.retrieve("c"),
    "list": lambda sdk: sdk.chat.list(
        filter_criteria={
            "agent": [{"agent_id": "a"}],
            "chat_status": {"type": "enum", "op": "in", "value": ["ongoing"]},
            "start_timestamp": {"type": "number", "op": "ge", "value": 1},
        },
        limit=1000,
        pagination_key="k",
        sort_order="descending",
    ),
    "end": lambda sdk: sdk.chat.end("c"),
    "delete": lambda sdk: sdk.chat.delete("c"),
    "playground": lambda sdk: sdk.playground.completion(
        "a",
        messages=[{"role": "user", "content": "hello"}, {"role": "agent", "content": "hi"}],
        version="latest_published",
        dynamic_variables={"a": "b"},
    ),
    "find_contact": lambda sdk: sdk.contact.get_by_phone(ANN),
    "create_contact": lambda sdk: sdk.contact.create(phone_number=ANN, first_name="Ann", do_not_call=True),
    "update_contact": lambda sdk: sdk.contact.update("c", contact_memory=None, do_not_call=False),
}


@pytest.mark.parametrize("call", LIBRARY)
def test_retell_s_library_asks_as_the_document_says_and_understands_its_examples(call: str) -> None:
    told = document("retell")

    def answer(request: httpx.Request) -> httpx.Response:
        assert told.operation_of(request) == call
        status, example = _example(told, call)
        response = httpx.Response(status, json=example) if example else httpx.Response(status)
        assert told.faults(request, response) == []
        return response

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        sdk = retell.Retell(
            api_key="key", base_url=ADDRESS, http_client=http, max_retries=0, _strict_response_validation=True
        )
        LIBRARY[call](sdk)


def _example(told: Document, call: str) -> tuple[int, Any]:
    """The first answer that is a success."""
    calls = [each for item in told.content["paths"].values() for each in item.values() if isinstance(each, dict)]
    [responses] = [each["responses"] for each in calls if each["operationId"] == call]
    status, answer = next((int(status), answer) for status, answer in responses.items() if status < "3")
    if "$ref" in answer:
        answer = told.content["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return status, answer.get("content", {}).get("application/json", {}).get("example")


def test_every_agent_has_a_document() -> None:
    assert set(AGENTS) == set(PROVIDERS)
