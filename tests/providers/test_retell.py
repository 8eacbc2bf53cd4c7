"""Retell: what is asked, and what each of its answers means."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Route
from bridge.providers.agents.contract import ChatState, Item, NewChat, Speaker, Step, ToolCall, ToolResult, Transition
from bridge.providers.agents.registry import build_agents
from bridge.providers.agents.retell import parse
from bridge.providers.agents.retell.client import Retell
from bridge.providers.agents.retell.errors import BY_STATUS
from bridge.providers.errors import (
    AccountRefused,
    ChatEnded,
    NotReached,
    OutcomeUnknown,
    RateLimited,
    Refused,
    RemoteError,
    WithHuman,
)
from tests.fakes import fake_settings
from tests.vendor import Vendor, vendor

ABOUT = NewChat(7, "+15551230001", "+15550001111", "User: hi\nAgent: hello", turn_id=12)
ALL_VARIABLES = {
    "user_number": "+15551230001",
    "agent_number": "+15550001111",
    "sms_user_number": "+15551230001",
    "sms_agent_number": "+15550001111",
    "previous_conversation": "User: hi\nAgent: hello",
    "team_note": "",
}
UNRESERVED = {name: value for name, value in ALL_VARIABLES.items() if name not in {"user_number", "agent_number"}}
KEY = "key_1234567890"
OPEN_CHAT = {"chat_id": "chat_1", "agent_id": "agent_1", "chat_status": "ongoing"}


class Desk:
    """Retell behind a counter: answers in the given order, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.answers: list[httpx.Response | Exception] = []
        self.agent = Retell(
            api_key=KEY,
            agent_id="agent_1",
            agent_version="latest_published",
            base_url="https://retell.test",
            timeout=120,
            transport=lambda: httpx.MockTransport(self._answer),
        )

    def says(self, status: int, body: object = None, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append(httpx.Response(status, content=raw, headers=named))

    def refuses(self, status: int, message: str = "no", **headers: str) -> None:
        self.says(status, {"status": "error", "message": message}, **headers)

    def breaks(self, fault: Exception) -> None:
        self.answers.append(fault)

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.asked]

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.asked]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    assert desk.answers == []
    desk.agent.close()


def test_the_settings_build_it() -> None:
    agents = build_agents(fake_settings())
    assert agents.of("retell").provider == "retell"
    agents.close()


# -- what is asked -------------------------------------------------------------------------------------------------


def test_a_new_chat_is_told_both_numbers_and_the_conversation(desk: Desk) -> None:
    desk.says(201, OPEN_CHAT)
    assert desk.agent.create_chat(ABOUT).id == "chat_1"
    assert desk.paths == ["POST /create-chat"]
    assert desk.asked[0].headers["accept-encoding"] == "identity"
    assert desk.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert desk.bodies == [
        {
            "agent_id": "agent_1",
            "agent_version": "latest_published",
            "metadata": {
                "sms_user_number": "+15551230001",
                "sms_agent_number": "+15550001111",
                "conversation_id": "7",
                "turn_id": "12",
            },
            "retell_llm_dynamic_variables": ALL_VARIABLES,
        }
    ]


CREATED_AT = datetime(2026, 11, 2, 12, tzinfo=UTC)
OURS = {"sms_user_number": "+15551230001", "sms_agent_number": "+15550001111", "conversation_id": "7", "turn_id": "12"}


def test_the_chat_of_a_turn_is_searched_from_its_request_on_page_by_page(desk: Desk) -> None:
    mine, foreign = (
        OPEN_CHAT | {"metadata": OURS},
        OPEN_CHAT | {"chat_id": "chat_2", "metadata": OURS | {"turn_id": "1"}},
    )
    desk.says(200, {"items": [foreign, {"chat_id": "chat_3"}], "has_more": True, "pagination_key": "next"})
    desk.says(200, {"items": [mine, "odd", {"metadata": 1}], "has_more": False})
    assert [chat.id for chat in desk.agent.find_chats(ABOUT, CREATED_AT)] == ["chat_1"]
    first, second = desk.bodies
    assert first["filter_criteria"] == {
        "agent": [{"agent_id": "agent_1"}],
        "chat_status": {"type": "enum", "op": "in", "value": ["ongoing"]},
        "start_timestamp": {"type": "number", "op": "ge", "value": int(CREATED_AT.timestamp() * 1000)},
    }
    assert (first["sort_order"], "pagination_key" in first) == ("ascending", False)
    assert second == first | {"pagination_key": "next"}


def test_a_list_without_metadata_is_read_chat_by_chat_and_not_for_long(desk: Desk) -> None:
    desk.says(200, {"items": [OPEN_CHAT | {"chat_id": f"chat_{n}"} for n in range(9)], "has_more": False})
    for n in range(5):
        desk.says(200, OPEN_CHAT | {"chat_id": f"chat_{n}", "metadata": OURS if n == 3 else {}})
    assert [chat.id for chat in desk.agent.find_chats(ABOUT, CREATED_AT)] == ["chat_3"]


def test_a_list_without_an_end_is_left_after_ten_pages(desk: Desk) -> None:
    for _ in range(10):
        desk.says(200, {"items": [OPEN_CHAT | {"metadata": {}}], "has_more": True, "pagination_key": "next"})
    assert desk.agent.find_chats(ABOUT, CREATED_AT) == ()


def test_a_route_names_the_agent_and_its_version(desk: Desk) -> None:
    route = Route(provider="retell", agent_id="agent_x", agent_version="3")
    desk.says(201, OPEN_CHAT)
    desk.agent.create_chat(replace(ABOUT, route=route))
    assert (desk.bodies[0]["agent_id"], desk.bodies[0]["agent_version"]) == ("agent_x", 3)


@pytest.mark.parametrize(
    ("status", "scope"), [(404, "retell agent_x"), (422, "retell agent_x"), (401, "retell"), (402, "retell")]
)
def test_an_agent_that_is_not_found_is_no_fault_of_the_account(desk: Desk, status: int, scope: str) -> None:
    for _ in range(3 if status == 422 else 1):
        desk.refuses(status)
    with pytest.raises(AccountRefused) as caught:
        desk.agent.create_chat(replace(ABOUT, route=Route(provider="retell", agent_id="agent_x")))
    assert caught.value.scope == scope


def test_a_numbered_version_is_asked_for_by_number() -> None:
    asked: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["agent_version"])
        return httpx.Response(201, json=OPEN_CHAT)

    for version in ("3", "v_three", "latest"):
        agent = Retell(
            api_key=KEY,
            agent_id="agent_1",
            agent_version=version,
            base_url="https://retell.test",
            timeout=5,
            transport=lambda: httpx.MockTransport(answer),
        )
        agent.create_chat(ABOUT)
        agent.close()
    assert asked == [3, "v_three", "latest"]


def test_a_turn_is_said_in_its_chat(desk: Desk) -> None:
    desk.says(201, {"messages": []})
    assert desk.agent.complete("chat_1", "hi") == ()
    assert desk.paths == ["POST /create-chat-completion"]
    assert desk.bodies == [{"chat_id": "chat_1", "content": "hi"}]


def test_an_id_can_not_leave_its_place_in_the_address(desk: Desk) -> None:
    desk.says(200, OPEN_CHAT)
    desk.agent.get_chat("../a/b?c#d e")
    assert desk.paths == ["GET /get-chat/..%2Fa%2Fb%3Fc%23d%20e"]


def test_the_ongoing_chats_of_this_agent_are_listed_page_by_page(desk: Desk) -> None:
    desk.says(200, {"items": [OPEN_CHAT, "odd", {"chat_id": ""}], "has_more": True, "pagination_key": "chat_1"})
    desk.says(200, {"items": [], "has_more": False, "pagination_key": "chat_0"})
    page = desk.agent.list_chats(ongoing_only=True, limit=5000)
    assert [chat.id for chat in page.chats] == ["chat_1"]
    assert page.next == "chat_1"
    assert desk.agent.list_chats(after=page.next).next is None
    only_ongoing = {"type": "enum", "op": "in", "value": ["ongoing"]}
    assert desk.bodies == [
        {
            "filter_criteria": {"agent": [{"agent_id": "agent_1"}], "chat_status": only_ongoing},
            "sort_order": "descending",
            "limit": 1000,
        },
        {
            "filter_criteria": {"agent": [{"agent_id": "agent_1"}]},
            "sort_order": "descending",
            "limit": 50,
            "pagination_key": "chat_1",
        },
    ]


def test_ending_a_chat_needs_no_body(desk: Desk) -> None:
    desk.says(204, b"")
    desk.agent.end_chat("chat_1")
    assert desk.paths == ["PATCH /end-chat/chat_1"]
    assert desk.asked[0].content == b""


# -- refused variables ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 422])
def test_refused_variables_do_not_cost_the_chat(desk: Desk, status: int) -> None:
    desk.refuses(status, "user_number is reserved")
    desk.says(201, OPEN_CHAT)
    assert desk.agent.create_chat(ABOUT).id == "chat_1"
    assert [body.get("retell_llm_dynamic_variables") for body in desk.bodies] == [ALL_VARIABLES, UNRESERVED]


def test_at_last_a_chat_is_opened_without_any_variables(desk: Desk) -> None:
    desk.refuses(400, "first")
    desk.refuses(400, "second")
    desk.says(201, OPEN_CHAT)
    assert desk.agent.create_chat(ABOUT).id == "chat_1"
    assert [body.get("retell_llm_dynamic_variables") for body in desk.bodies] == [ALL_VARIABLES, UNRESERVED, None]


def test_an_operator_s_variables_replace_none_of_ours_and_are_never_left_out(desk: Desk) -> None:
    about = replace(ABOUT, variables={"offer": "two for one", "user_number": "+15550000000"})
    for why in ("first", "second", "third"):
        desk.refuses(400, why)
    with pytest.raises(Refused, match="first"):
        desk.agent.create_chat(about)
    offered = [body["retell_llm_dynamic_variables"] for body in desk.bodies]
    assert offered == [{"offer": "two for one", **each} for each in (ALL_VARIABLES, UNRESERVED, {})]


def test_a_refusal_does_not_quote_an_operator_s_variables(desk: Desk) -> None:
    for _ in range(3):
        desk.refuses(400, "bad value: two for one")
    with pytest.raises(Refused) as caught:
        desk.agent.create_chat(replace(ABOUT, variables={"offer": "two for one"}))
    assert "two for one" not in str(caught.value)


def test_a_draft_is_asked_for_with_the_whole_history_and_the_version_in_the_address(desk: Desk) -> None:
    desk.says(200, {"messages": [{"role": "agent", "content": "Yes."}, {"role": "tool_call_result", "content": "{}"}]})
    history = (Item(Speaker.AGENT, "Hi"), Item(Speaker.USER, "Any table?"), Item(Speaker.OTHER, "{}"))
    answer = desk.agent.draft(ABOUT, history)
    assert [item.content for item in answer if item.speaker is Speaker.AGENT] == ["Yes."]
    assert desk.paths == ["POST /agent-playground-completion/agent_1?version=latest_published"]
    messages = [{"role": "agent", "content": "Hi"}, {"role": "user", "content": "Any table?"}]
    assert desk.bodies == [{"messages": messages, "dynamic_variables": ALL_VARIABLES}]


def test_a_draft_without_messages_is_no_draft(desk: Desk) -> None:
    desk.says(201, {"draft": "Yes."})
    with pytest.raises(OutcomeUnknown):
        desk.agent.draft(ABOUT, ())


def test_a_draft_that_is_refused_quotes_no_words_of_the_person(desk: Desk) -> None:
    for _ in range(3):
        desk.refuses(400, "can't read: my secret plan")
    with pytest.raises(Refused) as caught:
        desk.agent.draft(ABOUT, (Item(Speaker.USER, "my secret plan"),))
    assert "secret" not in str(caught.value)


def test_a_chat_that_is_refused_without_variables_too_raises_the_first_error(desk: Desk) -> None:
    for why in ("first", "second", "third"):
        desk.refuses(400, why)
    with pytest.raises(Refused, match="first"):
        desk.agent.create_chat(ABOUT)


def test_a_fault_between_the_tries_is_the_error(desk: Desk) -> None:
    desk.refuses(400, "user_number is reserved")
    desk.refuses(429, "slow down", retry_after="3")
    with pytest.raises(RateLimited):
        desk.agent.create_chat(ABOUT)


# -- what its answers mean -----------------------------------------------------------------------------------------

Call = Callable[[Retell], object]

CALLS: dict[str, Call] = {
    "create": lambda agent: agent.create_chat(ABOUT),
    "complete": lambda agent: agent.complete("chat_1", "hi"),
    "get": lambda agent: agent.get_chat("chat_1"),
    "end": lambda agent: agent.end_chat("chat_1"),
    "list": lambda agent: agent.list_chats(),
}
NAMES_A_CHAT = {"complete", "get", "end"}

STATUSES: list[tuple[int, type[RemoteError]]] = [
    (301, AccountRefused),
    (307, AccountRefused),
    (400, Refused),
    (401, AccountRefused),
    (402, AccountRefused),
    (403, AccountRefused),
    (405, Refused),
    (408, OutcomeUnknown),
    (409, OutcomeUnknown),
    (413, Refused),
    (425, OutcomeUnknown),
    (429, RateLimited),
    (500, OutcomeUnknown),
    (502, OutcomeUnknown),
    (503, OutcomeUnknown),
    (504, OutcomeUnknown),
    (599, OutcomeUnknown),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("status", "expected"), STATUSES)
def test_every_status_means_one_error(desk: Desk, call: str, status: int, expected: type[RemoteError]) -> None:
    desk.refuses(status)
    if call == "create" and status == 400:
        desk.refuses(400)
        desk.refuses(400)
    if call in {"complete", "end"} and expected is Refused:
        desk.says(200, OPEN_CHAT)
    with pytest.raises(RemoteError) as caught:
        CALLS[call](desk.agent)
    assert type(caught.value) is expected
    assert (caught.value.provider, caught.value.status) == ("retell", status)


@pytest.mark.parametrize("status", [404, 422])
@pytest.mark.parametrize("call", CALLS)
def test_not_found_means_what_was_named(desk: Desk, call: str, status: int) -> None:
    """A chat is gone; without a chat it is the agent, which only the operator can mend; else it is the address."""
    for _ in range(3 if (call, status) == ("create", 422) else 1):
        desk.refuses(status, "Cannot find requested asset under given api key.")
    expected = {"create": AccountRefused, "complete": ChatEnded, "get": ChatEnded, "end": None, "list": Refused}[call]
    if expected is None:
        CALLS[call](desk.agent)
        return
    with pytest.raises(RemoteError) as caught:
        CALLS[call](desk.agent)
    assert type(caught.value) is expected


def test_the_table_says_why_for_every_documented_status() -> None:
    assert {400, 401, 402, 404, 422, 429} <= set(BY_STATUS)


@pytest.mark.parametrize("call", CALLS)
def test_a_rate_limit_says_how_long_to_wait(desk: Desk, call: str) -> None:
    desk.refuses(429, retry_after="7")
    with pytest.raises(RateLimited) as caught:
        CALLS[call](desk.agent)
    assert caught.value.retry_after == 7


def test_a_503_that_asks_to_wait_leaves_the_outcome_open_and_carries_the_wait(desk: Desk) -> None:
    desk.refuses(503, retry_after="7")
    with pytest.raises(OutcomeUnknown) as caught:
        desk.agent.complete("chat_1", "hi")
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("body", [b"", b"<html>Sorry, you have been blocked</html>", b"{}"])
@pytest.mark.parametrize("call", CALLS)
def test_a_firewall_that_dislikes_one_text_does_not_speak_for_the_account(desk: Desk, call: str, body: bytes) -> None:
    desk.says(403, body)
    with pytest.raises(OutcomeUnknown):
        CALLS[call](desk.agent)


ENDED = [
    (400, "Chat already ended"),
    (400, "chat already ended."),
    (400, "The CHAT chat_7f3a has been ENDED"),
    (404, "Chat already ended"),
    (409, "Chat already ended"),
    (422, "Chat already ended"),
    (404, "whatever"),
    (422, "whatever"),
]


@pytest.mark.parametrize(("status", "message"), ENDED)
@pytest.mark.parametrize("call", ["complete", "get"])
def test_an_ended_chat_is_known_by_whatever_wording(desk: Desk, call: str, status: int, message: str) -> None:
    desk.refuses(status, message)
    with pytest.raises(ChatEnded):
        CALLS[call](desk.agent)
    assert len(desk.asked) == 1


@pytest.mark.parametrize(("status", "message"), ENDED)
def test_a_chat_that_has_ended_already_is_ended(desk: Desk, status: int, message: str) -> None:
    desk.refuses(status, message)
    desk.agent.end_chat("chat_1")


@pytest.mark.parametrize("more", [{"chat_status": "a new word"}, {"chat_status": ""}, {"is_escalated": True}])
def test_a_refusal_of_a_chat_that_a_human_has_says_so(desk: Desk, more: dict[str, object]) -> None:
    desk.refuses(400, "this conversation was transferred")
    desk.says(200, OPEN_CHAT | more)
    with pytest.raises(WithHuman):
        desk.agent.complete("chat_1", "hi")


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({}, ChatState.ONGOING),
        ({"is_escalated": False}, ChatState.ONGOING),
        ({"is_escalated": "true"}, ChatState.ONGOING),
        ({"is_escalated": True}, ChatState.WITH_HUMAN),
        ({"chat_status": "transferred"}, ChatState.WITH_HUMAN),
        ({"chat_status": "transferred", "is_escalated": False}, ChatState.WITH_HUMAN),
        ({"chat_status": "ended", "is_escalated": True}, ChatState.ENDED),
        ({"chat_status": "error"}, ChatState.ENDED),
    ],
)
def test_the_state_of_a_chat_is_its_end_or_a_human_or_ongoing(
    desk: Desk, more: dict[str, object], state: ChatState
) -> None:
    desk.says(200, OPEN_CHAT | more)
    assert desk.agent.get_chat("chat_1").state is state


CALL = {"role": "tool_call_invocation", "message_id": "m1", "tool_call_id": "c1"}
NOOR = {"handoff_message": "Noor answers you here."}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"type": "escalate", "name": "to the team"}, ""),
        ({"type": "chat_escalation"}, ""),
        ({"name": "Escalate to human"}, ""),
        ({"type": "custom", "name": "escalate ticket"}, None),
        ({"type": "custom", "name": "x", "arguments": json.dumps(NOOR)}, NOOR["handoff_message"]),
        ({"type": "escalate", "arguments": NOOR}, NOOR["handoff_message"]),
        ({"type": "escalate", "arguments": '{"handoff_message": "  "}'}, ""),
        ({"type": "escalate", "arguments": '{"handoff_message": {"a": 1}}'}, ""),
        ({"type": "escalate", "arguments": '{"handoff_message": "{\\"a\\": 1}"}'}, ""),
        ({"type": "escalate", "arguments": '{"handoff_message": "cut'}, ""),
        ({"type": "custom", "arguments": '{"handoff_message": ""}'}, None),
        ({"type": 7, "arguments": 7}, None),
        ({"type": "end_call", "arguments": '{"execution_message": "Bye"}'}, None),
    ],
)
def test_a_tool_call_that_hands_over_is_known_by_its_kind_or_its_message(
    call: dict[str, object], message: str | None
) -> None:
    [item] = parse.items([CALL | call])
    assert (item.escalates, item.handoff, item.content) == (message is not None, message or "", "")


@pytest.mark.parametrize("state", ["ended", "error"])
@pytest.mark.parametrize("call", ["complete", "end"])
def test_a_refusal_in_other_words_is_settled_by_the_chat_itself(desk: Desk, call: str, state: str) -> None:
    desk.refuses(400, "this conversation is over")
    desk.says(200, OPEN_CHAT | {"chat_status": state})
    if call == "end":
        desk.agent.end_chat("chat_1")
    else:
        with pytest.raises(ChatEnded):
            desk.agent.complete("chat_1", "hi")
    assert desk.paths[1] == "GET /get-chat/chat_1"


def test_a_refusal_of_megabytes_is_read_in_no_time(desk: Desk) -> None:
    desk.refuses(400, "chat " * 900_000)
    desk.says(200, OPEN_CHAT)
    start = time.monotonic()
    with pytest.raises(Refused, match="HTTP 400"):
        desk.agent.complete("chat_1", "hi")
    assert time.monotonic() - start < 5


def test_a_refusal_while_the_chat_is_gone_is_an_ended_chat(desk: Desk) -> None:
    desk.refuses(400, "this conversation is over")
    desk.refuses(404)
    with pytest.raises(ChatEnded):
        desk.agent.complete("chat_1", "hi")


def test_a_refusal_that_can_not_be_settled_is_open(desk: Desk) -> None:
    desk.refuses(400, "this conversation is over")
    desk.breaks(httpx.ReadTimeout("late"))
    with pytest.raises(OutcomeUnknown, match="could not be read"):
        desk.agent.complete("chat_1", "hi")


@pytest.mark.parametrize("call", sorted(set(CALLS) - {"end"}))
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{", b"{}", b"\xff\xfe", b"[" * 50_000])
def test_a_success_that_can_not_be_read_leaves_the_outcome_open(desk: Desk, call: str, body: bytes) -> None:
    if (call, body) == ("get", b"{}"):
        body = b'{"chat_id": "chat_1"}'
    desk.says(200, body)
    with pytest.raises(OutcomeUnknown, match="does not have the documented form"):
        CALLS[call](desk.agent)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_a_success(desk: Desk, call: str, status: int) -> None:
    desk.says(status, OPEN_CHAT | {"messages": [], "items": []})
    CALLS[call](desk.agent)


@pytest.mark.parametrize("call", CALLS)
def test_the_network_s_faults_come_through(desk: Desk, call: str) -> None:
    desk.breaks(httpx.ConnectError("refused"))
    desk.breaks(httpx.ReadError("reset"))
    for expected in (NotReached, OutcomeUnknown):
        with pytest.raises(expected):
            CALLS[call](desk.agent)


def test_a_reason_gives_nobody_away(desk: Desk) -> None:
    said = "my secret is 4711, call +15559998888"
    desk.refuses(413, f"content {said!r} of +15551230001 is too long, says {KEY}")
    desk.says(200, OPEN_CHAT)
    with pytest.raises(Refused) as caught:
        desk.agent.complete("chat_1", said)
    assert str(caught.value) == "retell (413): HTTP 413"


def test_a_reason_holds_the_vendor_s_words_with_numbers_masked(desk: Desk) -> None:
    desk.refuses(403, "account 87654321 of +15559998888\nmay not do this")
    with pytest.raises(AccountRefused) as caught:
        desk.agent.complete("chat_1", "hi")
    assert caught.value.reason == "account 8…21 of +1555…88 may not do this"


def test_what_a_broken_server_says_is_not_passed_on(desk: Desk) -> None:
    desk.refuses(500, "stack trace")
    with pytest.raises(OutcomeUnknown, match="HTTP 500"):
        desk.agent.complete("chat_1", "hi")


# -- the whole-call deadline ---------------------------------------------------------------------------------------


@pytest.fixture
def trickler() -> Iterator[Vendor]:
    with vendor() as told:
        yield told


@pytest.fixture
def hasty(trickler: Vendor) -> Iterator[Retell]:
    agent = Retell(api_key=KEY, agent_id="agent_1", agent_version="3", base_url=trickler.address, timeout=0.3)
    yield agent
    agent.close()


@pytest.mark.parametrize("call", CALLS)
def test_no_call_outlives_the_agent_timeout(trickler: Vendor, hasty: Retell, call: str) -> None:
    trickler.trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    start = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="no complete answer in time"):
        CALLS[call](hasty)
    assert time.monotonic() - start < 10


def test_the_look_after_a_refusal_counts_against_the_same_deadline(trickler: Vendor, hasty: Retell) -> None:
    trickler.says(400, {"message": "no"})
    trickler.trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    with pytest.raises(OutcomeUnknown, match="could not be read"):
        hasty.complete("chat_1", "hi")


# -- items ---------------------------------------------------------------------------------------------------------


def test_the_documented_example_gives_two_texts_in_order() -> None:
    call = {"role": "tool_call_invocation", "message_id": "m41", "tool_call_id": "c9", "type": "custom", "name": "find"}
    items = parse.items(
        [
            {**call, "arguments": '{"day":"Fri"}'},
            {"role": "tool_call_result", "message_id": "m42", "tool_call_id": "c9", "content": '{"free":2}'},
            {"role": "node_transition", "message_id": "m43", "former_node_name": "search", "new_node_name": "offer"},
            {"role": "agent", "message_id": "m44", "content": "Yes, two are left.", "created_timestamp": 1},
            {"role": "agent", "message_id": "m45", "content": "Shall I hold one for you?"},
        ]
    )
    assert items == (
        Item(Speaker.OTHER, "", "m41", steps=(ToolCall("find", '{"day":"Fri"}', "c9"),)),
        Item(Speaker.OTHER, '{"free":2}', "m42", steps=(ToolResult("c9", '{"free":2}'),)),
        Item(Speaker.OTHER, "", "m43", steps=(Transition("search", "offer"),)),
        Item(Speaker.AGENT, "Yes, two are left.", "m44"),
        Item(Speaker.AGENT, "Shall I hold one for you?", "m45"),
    )


ITEMS: list[tuple[str, object, Item]] = [
    ("agent", {"role": "agent", "content": "hi"}, Item(Speaker.AGENT, "hi")),
    ("user", {"role": "user", "content": "hi"}, Item(Speaker.USER, "hi")),
    ("user without words", {"role": "user", "content": None}, Item(Speaker.USER, "")),
    ("blank agent", {"role": "agent", "content": " \n"}, Item(Speaker.OTHER, " \n")),
    ("agent null", {"role": "agent", "content": None}, Item(Speaker.OTHER)),
    ("agent list", {"role": "agent", "content": ["hi"]}, Item(Speaker.OTHER)),
    ("agent without content", {"role": "agent"}, Item(Speaker.OTHER)),
    ("payload", {"role": "agent", "content": ' {"a": 1}\n'}, Item(Speaker.OTHER, ' {"a": 1}\n')),
    ("almost payload", {"role": "agent", "content": "{name}"}, Item(Speaker.AGENT, "{name}")),
    ("a list is no payload", {"role": "agent", "content": "[1]"}, Item(Speaker.AGENT, "[1]")),
    ("sms", {"role": "sms", "content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("injected", {"role": "injected", "content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("new role", {"role": "oracle", "content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("assistant", {"role": "assistant", "content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("role list", {"role": ["agent"], "content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("no role", {"content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("no object", "hi", Item(Speaker.OTHER)),
    ("null", None, Item(Speaker.OTHER)),
    ("id number", {"role": "user", "content": "a", "message_id": 12}, Item(Speaker.USER, "a", "12")),
    ("id odd", {"role": "user", "content": "a", "message_id": {"a": 1}}, Item(Speaker.USER, "a")),
    ("id too long", {"role": "user", "content": "a", "message_id": "m" * 256}, Item(Speaker.USER, "a")),
    ("NUL", {"role": "agent", "content": "a\x00b"}, Item(Speaker.AGENT, "a\ufffdb")),
    ("half a pair", {"role": "agent", "content": "a\ud83d"}, Item(Speaker.AGENT, "a\ufffd")),
    ("extra fields", {"role": "agent", "content": "a", "new": {"b": 1}}, Item(Speaker.AGENT, "a")),
]


@pytest.mark.parametrize(("entry", "item"), [row[1:] for row in ITEMS], ids=[row[0] for row in ITEMS])
def test_an_item_says_who_spoke(entry: object, item: Item) -> None:
    assert parse.items([entry]) == (item,)


def call(**fields: object) -> dict[str, object]:
    return {"role": "tool_call_invocation", **fields}


def result(**fields: object) -> dict[str, object]:
    return {"role": "tool_call_result", **fields}


STEPS: list[tuple[str, dict[str, object], tuple[Step, ...]]] = [
    ("call", call(name="find", arguments='{"a":1}', tool_call_id="c1"), (ToolCall("find", '{"a":1}', "c1"),)),
    ("call by its type", call(type="end_call"), (ToolCall("end_call"),)),
    ("call without a name", call(name=["x"]), (ToolCall("a tool"),)),
    ("arguments as an object", call(name="a", arguments={"ü": [1]}), (ToolCall("a", '{"ü": [1]}'),)),
    ("half a pair in them", call(name="a", arguments={"x": "\ud83d"}), (ToolCall("a", '{"x": "\ufffd"}'),)),
    ("NUL in them", call(name="a\x00", arguments="\x00"), (ToolCall("a\ufffd", "\ufffd"),)),
    ("result", result(tool_call_id="c1", content="free", successful=False), (ToolResult("c1", "free", False),)),
    ("odd result", result(tool_call_id={}, content=[1], successful="yes"), (ToolResult(None, "[1]"),)),
    ("node", {"role": "node_transition", "former_node_name": "a", "new_node_name": "b"}, (Transition("a", "b"),)),
    ("state", {"role": "state_transition", "new_state_name": "b"}, (Transition("", "b"),)),
    ("the same node", {"role": "node_transition", "former_node_name": "a", "new_node_name": "a"}, ()),
    ("nameless node", {"role": "node_transition", "new_node_id": "n1"}, ()),
    ("message", {"role": "agent", "content": "hi", "name": "find"}, ()),
]


@pytest.mark.parametrize(("entry", "steps"), [row[1:] for row in STEPS], ids=[row[0] for row in STEPS])
def test_an_item_tells_what_the_agent_did(entry: dict[str, object], steps: tuple[Step, ...]) -> None:
    [item] = parse.items([entry])
    assert item.steps == steps


def test_an_item_is_shown_without_the_words_of_tools() -> None:
    items = parse.items([call(name="find", arguments="secret"), result(content="secret")])
    assert "secret" not in repr([item.steps for item in items])


@pytest.mark.parametrize(
    ("entry", "ends"),
    [
        (call(type="end_call", name="goodbye"), True),
        (call(name="end_call"), True),
        (call(type=None, name="end_call"), True),
        (call(type="custom", name="end_call"), False),
        (call(type="custom", name="book"), False),
        ({"role": "tool_call_result", "type": "end_call"}, False),
        ({"role": "agent", "content": "end_call"}, False),
    ],
)
def test_the_agent_hangs_up_by_the_type_of_a_call_else_by_its_name(entry: object, ends: bool) -> None:
    [item] = parse.items([entry])
    assert item.ends_chat is ends


@pytest.mark.parametrize(
    ("entries", "pending"),
    [
        ([call(tool_call_id="c1")], [True]),
        ([call(tool_call_id="c1"), {"role": "tool_call_result", "tool_call_id": "c1"}], [False, False]),
        ([call(tool_call_id="c1"), {"role": "tool_call_result", "tool_call_id": "c2"}], [True, False]),
        ([call(tool_call_id="c1", type="end_call")], [False]),
        ([call()], [False]),
    ],
    ids=["no result", "result", "result of another", "hanging up", "without an id"],
)
def test_a_call_without_its_result_is_pending(entries: list[object], pending: list[bool]) -> None:
    assert [item.pending for item in parse.items(entries)] == pending


def test_what_is_held_back_is_logged_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        parse.items([{"role": "oracle_2", "content": "secret"}])
        parse.items([{"role": "agent", "content": '{"secret": 1}'}])
        parse.items([call(name="secret", arguments="secret")])
        parse.items([{"role": role, "content": "secret"} for role in sorted(parse.SILENT_ROLES)])
    assert len(caplog.records) == 2
    assert "oracle_2" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "role",
    [
        "my name is Mary",
        "oracle +15551230001",
        "Mary",
        "+15551230001",
        "15551230001",
        "m.poppins@x.example",
        "ünter",
        "oracle\n",
        "a" * 31,
        "",
        " ",
        7,
        None,
        ["agent"],
        {"role": "agent"},
    ],
)
def test_a_role_that_does_not_look_like_one_is_not_logged(role: object, caplog: pytest.LogCaptureFixture) -> None:
    parse.items([{"role": role, "content": "hi"}])
    [record] = caplog.records
    assert record.getMessage() == "an item of an unknown role is not sent: not a valid role"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ENTRY = JSON | st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["agent", "user", "tool_call_invocation", "tool_call_result", "x"]) | JSON,
        **dict.fromkeys(("content", "message_id", "tool_call_id", "type", "name"), JSON),
    },
)


@given(st.lists(ENTRY))
def test_no_items_are_too_odd_and_none_is_lost(entries: list[Any]) -> None:
    items = parse.items(entries)
    assert len(items) == len(entries)
    assert all(item.content.strip() for item in items if item.speaker is Speaker.AGENT)


CHAT_FIELDS = ("chat_id", "chat_status", "message_with_tool_calls", "start_timestamp")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(CHAT_FIELDS, JSON)))
def test_no_chat_is_too_odd(payload: dict[str, Any]) -> None:
    chat = parse.chat(payload)
    assert chat is None or 0 < len(chat.id) <= 255


def test_a_chat_says_its_state_its_items_and_its_start(desk: Desk) -> None:
    items = [{"role": "user", "content": "hi", "message_id": "m1"}]
    desk.says(200, OPEN_CHAT | {"message_with_tool_calls": items, "start_timestamp": 1790000000000})
    chat = desk.agent.get_chat("chat_1")
    assert (chat.id, chat.state) == ("chat_1", ChatState.ONGOING)
    assert chat.items == (Item(Speaker.USER, "hi", "m1"),)
    assert chat.started_at == datetime.fromtimestamp(1790000000, UTC)


@pytest.mark.parametrize("shown", [{}, {"message_with_tool_calls": None}])
def test_a_chat_that_shows_no_items_has_none_to_tell(desk: Desk, shown: dict[str, object]) -> None:
    desk.says(200, OPEN_CHAT | shown)
    assert desk.agent.get_chat("chat_1").items is None


def test_a_chat_that_shows_an_empty_list_has_no_items(desk: Desk) -> None:
    desk.says(200, OPEN_CHAT | {"message_with_tool_calls": []})
    assert desk.agent.get_chat("chat_1").items == ()


def test_a_new_chat_may_hold_a_greeting(desk: Desk) -> None:
    desk.says(201, OPEN_CHAT | {"message_with_tool_calls": [{"role": "agent", "content": "Welcome!"}]})
    assert desk.agent.create_chat(ABOUT).items == (Item(Speaker.AGENT, "Welcome!"),)
