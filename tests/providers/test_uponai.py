"""UponAI: what is asked, and what each of its answers means. None of its errors is documented."""

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
from bridge.providers.agents.uponai import parse
from bridge.providers.agents.uponai.client import Account, UponAI
from bridge.providers.errors import (
    AccountRefused,
    ChatEnded,
    NotReached,
    OutcomeUnknown,
    RateLimited,
    RemoteError,
)
from tests.fakes import UPONAI, fake_settings
from tests.vendor import Vendor, vendor

ABOUT = NewChat(7, "+15551230001", "+15550001111", "User: hi\nAgent: hello", turn_id=12)
METADATA = {"sms_user_number": "+15551230001", "sms_agent_number": "+15550001111", "conversation_id": "7"}
METADATA |= {"turn_id": "12"}
KEY = "token_1234567890"
OPEN_CHAT = {"chatId": "chat_1", "agentId": "agent_1", "status": "ongoing", "endedAt": None, "messages": []}
ENDED_CHAT = OPEN_CHAT | {"status": "ended", "endedAt": "2026-11-02T12:00:00.000Z"}
ENDED_WORDS = {"message": "Chat already ended"}
ACCOUNT = Account(KEY, 42, "agent_1", "https://uponai.test", 120)


class Desk:
    """UponAI behind a counter: answers in the given order, and keeps what it was asked."""

    def __init__(self, agent_id: str | None = "agent_1") -> None:
        self.asked: list[httpx.Request] = []
        self.answers: list[httpx.Response | Exception] = []
        account = replace(ACCOUNT, agent_id=agent_id)
        self.agent = UponAI(account, lambda: httpx.MockTransport(self._answer))

    def says(self, status: int, body: object = None, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append(httpx.Response(status, content=raw, headers=named))

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
    agents = build_agents(fake_settings(**UPONAI))
    assert agents.of("uponai").provider == "uponai"
    assert agents.route("+15550001111") == Route(provider="uponai", agent_id="agent_u")
    agents.close()


def test_an_account_does_not_show_its_token() -> None:
    assert KEY not in repr(ACCOUNT)


# -- what is asked -------------------------------------------------------------------------------------------------


def test_a_new_chat_is_told_both_numbers_and_the_conversation(desk: Desk) -> None:
    desk.says(201, OPEN_CHAT)
    assert desk.agent.create_chat(ABOUT).id == "chat_1"
    assert desk.paths == ["POST /api/chats"]
    assert desk.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert desk.bodies == [
        {
            "workspaceId": 42,
            "agent_id": "agent_1",
            "metadata": METADATA,
            "uponai_dynamic_variables": {
                "user_number": "+15551230001",
                "agent_number": "+15550001111",
                "sms_user_number": "+15551230001",
                "sms_agent_number": "+15550001111",
                "previous_conversation": "User: hi\nAgent: hello",
                "team_note": "",
            },
        }
    ]


def test_a_route_names_the_agent(desk: Desk) -> None:
    desk.says(201, OPEN_CHAT)
    desk.agent.create_chat(replace(ABOUT, route=Route(provider="uponai", agent_id="agent_x")))
    assert desk.bodies[0]["agent_id"] == "agent_x"
    assert "agent_version" not in desk.bodies[0]


def test_a_turn_is_said_in_its_chat(desk: Desk) -> None:
    desk.says(201, {"messages": []})
    assert desk.agent.complete("chat_1", "hi") == ()
    assert desk.paths == ["POST /api/chats/chat_1/completions"]
    assert desk.bodies == [{"workspaceId": 42, "content": "hi"}]


def test_a_chat_is_read_and_ended_in_its_workspace(desk: Desk) -> None:
    desk.says(200, OPEN_CHAT)
    desk.says(204, b"")
    desk.agent.get_chat("chat_1")
    desk.agent.end_chat("chat_1")
    assert desk.paths == ["GET /api/chats/chat_1?workspaceId=42", "POST /api/chats/chat_1/end"]
    assert json.loads(desk.asked[1].content) == {"workspaceId": 42}


def test_an_id_can_not_leave_its_place_in_the_address(desk: Desk) -> None:
    desk.says(200, OPEN_CHAT)
    desk.agent.get_chat("../a/b?c#d e")
    assert desk.paths == ["GET /api/chats/..%2Fa%2Fb%3Fc%23d%20e?workspaceId=42"]


def test_the_chats_of_this_agent_are_picked_from_those_of_the_workspace(desk: Desk) -> None:
    foreign = OPEN_CHAT | {"chatId": "chat_9", "agentId": "agent_9"}
    ended = ENDED_CHAT | {"chatId": "chat_2"}
    desk.says(200, {"data": [OPEN_CHAT, "odd", {"chatId": ""}, foreign, ended], "pagination_key": "k"})
    desk.says(200, {"data": [], "pagination_key": None})
    page = desk.agent.list_chats(ongoing_only=True, limit=5000)
    assert [(chat.id, chat.items) for chat in page.chats] == [("chat_1", None)]
    assert page.next == "k"
    assert desk.agent.list_chats(after=page.next).next is None
    assert desk.paths == [
        "GET /api/chats?workspaceId=42&sortOrder=descending&limit=1000",
        "GET /api/chats?workspaceId=42&sortOrder=descending&limit=50&paginationKey=k",
    ]


def test_without_an_agent_for_all_numbers_all_chats_of_the_workspace_are_listed() -> None:
    desk = Desk(agent_id=None)
    desk.says(200, {"data": [OPEN_CHAT, OPEN_CHAT | {"chatId": "chat_9", "agentId": "agent_9"}]})
    assert [chat.id for chat in desk.agent.list_chats().chats] == ["chat_1", "chat_9"]
    desk.agent.close()


@pytest.mark.parametrize("status", [400, 422])
def test_refused_variables_do_not_cost_the_chat(desk: Desk, status: int) -> None:
    desk.says(status, {"message": "user_number is reserved"})
    desk.says(status, {"message": "no variables, please"})
    desk.says(201, OPEN_CHAT)
    assert desk.agent.create_chat(ABOUT).id == "chat_1"
    assert [len(body.get("uponai_dynamic_variables", ())) for body in desk.bodies] == [6, 4, 0]


def test_a_new_chat_gets_the_variables_of_an_operator(desk: Desk) -> None:
    desk.says(201, OPEN_CHAT)
    desk.agent.create_chat(replace(ABOUT, variables={"offer": "two for one"}))
    assert desk.bodies[0]["uponai_dynamic_variables"]["offer"] == "two for one"


# -- what its answers mean -----------------------------------------------------------------------------------------

Call = Callable[[UponAI], object]

CALLS: dict[str, Call] = {
    "create": lambda agent: agent.create_chat(ABOUT),
    "complete": lambda agent: agent.complete("chat_1", "hi"),
    "get": lambda agent: agent.get_chat("chat_1"),
    "end": lambda agent: agent.end_chat("chat_1"),
    "list": lambda agent: agent.list_chats(),
}

CERTAIN: list[tuple[int, type[RemoteError]]] = [
    (301, AccountRefused),
    (307, AccountRefused),
    (401, AccountRefused),
    (402, AccountRefused),
    (403, AccountRefused),
    (429, RateLimited),
]
OPEN = [400, 405, 408, 409, 410, 413, 418, 422, 425, 451, 500, 502, 503, 504, 599]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("status", "expected"), CERTAIN)
def test_some_statuses_mean_a_refusal_to_http_itself(
    desk: Desk, call: str, status: int, expected: type[RemoteError]
) -> None:
    desk.says(status, {"error": "no"})
    with pytest.raises(RemoteError) as caught:
        CALLS[call](desk.agent)
    assert type(caught.value) is expected
    assert not caught.value.maybe_done
    assert (caught.value.provider, caught.value.status) == ("uponai", status)


@pytest.mark.parametrize("status", OPEN)
def test_after_any_other_status_the_turn_may_have_been_received(desk: Desk, status: int) -> None:
    desk.says(status, {"error": "no"})
    if status in {410, 422}:
        desk.says(200, OPEN_CHAT)
    with pytest.raises(OutcomeUnknown) as caught:
        desk.agent.complete("chat_1", "hi")
    assert caught.value.maybe_done
    assert caught.value.status == status


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_chat_that_can_not_be_opened_is_the_fault_of_its_agent(desk: Desk, status: int) -> None:
    for _ in range(1 if status == 404 else 3):
        desk.says(status, {"error": "no"})
    with pytest.raises(AccountRefused) as caught:
        desk.agent.create_chat(replace(ABOUT, route=Route(provider="uponai", agent_id="agent_x")))
    assert caught.value.scope == "uponai agent_x"


def test_a_refused_workspace_concerns_the_whole_account(desk: Desk) -> None:
    desk.says(403, {"error": "not your workspace"})
    with pytest.raises(AccountRefused) as caught:
        desk.agent.create_chat(ABOUT)
    assert caught.value.scope == "uponai"


@pytest.mark.parametrize("status", [404, 422])
def test_a_chat_that_is_not_found_has_ended(desk: Desk, status: int) -> None:
    desk.says(status, {"error": "no such chat"})
    with pytest.raises(ChatEnded):
        desk.agent.get_chat("chat_1")


@pytest.mark.parametrize("body", [b"", b"<html>Sorry, you have been blocked</html>", b"[]"])
@pytest.mark.parametrize("call", CALLS)
def test_a_firewall_that_dislikes_one_text_does_not_speak_for_the_account(desk: Desk, call: str, body: bytes) -> None:
    desk.says(403, body)
    if call == "end":
        desk.says(200, OPEN_CHAT)
    with pytest.raises(OutcomeUnknown):
        CALLS[call](desk.agent)


@pytest.mark.parametrize("call", CALLS)
def test_a_rate_limit_says_how_long_to_wait(desk: Desk, call: str) -> None:
    desk.says(429, {}, retry_after="7")
    with pytest.raises(RateLimited) as caught:
        CALLS[call](desk.agent)
    assert caught.value.retry_after == 7


# -- ended chats ---------------------------------------------------------------------------------------------------

ENVELOPES: list[object] = [
    {"message": "Chat already ended"},
    {"error": "chat already ended."},
    {"detail": "The CHAT chat_7f3a has been ENDED"},
    {"error": {"message": "Chat already ended", "code": 12}},
    {"error": 'Request failed: {"status":"error","message":"Chat already ended"}'},
    b"Chat already ended",
]


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500, 502])
@pytest.mark.parametrize("envelope", ENVELOPES, ids=range(len(ENVELOPES)))
def test_an_ended_chat_is_known_by_its_words_and_confirmed_by_the_chat(
    desk: Desk, status: int, envelope: object
) -> None:
    desk.says(status, envelope)
    desk.says(200, ENDED_CHAT)
    with pytest.raises(ChatEnded):
        desk.agent.complete("chat_1", "hi")
    assert desk.paths[1] == "GET /api/chats/chat_1?workspaceId=42"


@pytest.mark.parametrize("status", [404, 410, 422])
def test_a_chat_that_is_gone_is_an_ended_one(desk: Desk, status: int) -> None:
    desk.says(status, {"error": "whatever"})
    desk.says(404, {"error": "whatever"})
    with pytest.raises(ChatEnded):
        desk.agent.complete("chat_1", "hi")


@pytest.mark.parametrize("refused", [(409, ENDED_WORDS), (404, {"error": "whatever"})])
def test_an_ended_chat_that_goes_on_leaves_the_outcome_open(desk: Desk, refused: tuple[int, object]) -> None:
    desk.says(*refused)
    desk.says(200, OPEN_CHAT)
    with pytest.raises(OutcomeUnknown):
        desk.agent.complete("chat_1", "hi")


@pytest.mark.parametrize("refused", [(404, {"error": "no"}), (422, {"error": "chat failed, then it ended"})])
def test_an_ended_chat_alone_does_not_prove_that_it_refused_the_text(desk: Desk, refused: tuple[int, object]) -> None:
    """The agent may have received the text and ended the chat: the transcript will tell."""
    desk.says(*refused)
    desk.says(200, ENDED_CHAT)
    with pytest.raises(OutcomeUnknown):
        desk.agent.complete("chat_1", "hi")


def test_an_ended_chat_that_can_not_be_read_leaves_the_outcome_open(desk: Desk) -> None:
    desk.says(409, ENDED_WORDS)
    desk.breaks(httpx.ReadTimeout("late"))
    with pytest.raises(OutcomeUnknown, match="could not be read"):
        desk.agent.complete("chat_1", "hi")


@pytest.mark.parametrize("status", [400, 404, 409, 418, 500])
@pytest.mark.parametrize("seen", [(200, ENDED_CHAT), (404, {})])
def test_ending_a_chat_is_done_if_the_chat_takes_no_more_messages(
    desk: Desk, status: int, seen: tuple[int, object]
) -> None:
    desk.says(status, {"error": "no"})
    desk.says(*seen)
    desk.agent.end_chat("chat_1")


@pytest.mark.parametrize("seen", [(200, OPEN_CHAT), (500, {})])
def test_ending_a_chat_is_not_done_as_long_as_it_may_go_on(desk: Desk, seen: tuple[int, object]) -> None:
    desk.says(409, ENDED_WORDS)
    desk.says(*seen)
    with pytest.raises(OutcomeUnknown):
        desk.agent.end_chat("chat_1")


@pytest.mark.parametrize(
    "more",
    [{"status": "ended"}, {"status": "error"}, {"status": "a new word", "endedAt": "2026-11-02T12:00:00Z"}],
)
def test_a_chat_with_an_end_has_ended(desk: Desk, more: dict[str, object]) -> None:
    desk.says(200, OPEN_CHAT | more)
    assert desk.agent.get_chat("chat_1").state is ChatState.ENDED


@pytest.mark.parametrize("more", [{"status": "a new word"}, {"is_escalated": True}, {"isEscalated": True}])
def test_a_chat_of_an_unknown_status_may_be_with_a_human(desk: Desk, more: dict[str, object]) -> None:
    desk.says(200, OPEN_CHAT | more)
    assert desk.agent.get_chat("chat_1").state is ChatState.WITH_HUMAN


def test_a_human_s_chat_does_not_prove_that_it_refused_the_text(desk: Desk) -> None:
    desk.says(404, {"error": "transferred"})
    desk.says(200, OPEN_CHAT | {"status": "transferred"})
    with pytest.raises(OutcomeUnknown):
        desk.agent.complete("chat_1", "hi")


def test_ending_a_human_s_chat_is_not_done_if_it_is_refused(desk: Desk) -> None:
    desk.says(409, {"error": "transferred"})
    desk.says(200, OPEN_CHAT | {"status": "transferred"})
    with pytest.raises(OutcomeUnknown):
        desk.agent.end_chat("chat_1")


@pytest.mark.parametrize("inner", [True, False])
def test_a_tool_call_that_hands_over_is_read_in_either_form(inner: bool) -> None:
    call = {"name": "escalate", "arguments": json.dumps({"handoff_message": "Noor answers you here."})}
    calls = [{"type": "function", "function": call}] if inner else [call]
    [item] = parse.items([{"role": "assistant", "content": "", "tool_calls": calls}])
    assert (item.escalates, item.handoff, item.pending) == (True, "Noor answers you here.", False)


# -- answers that can't be read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", sorted(set(CALLS) - {"end"}))
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{", b'{"chatId": "x"}', b"\xff\xfe", b"[" * 50_000])
def test_a_success_that_can_not_be_read_leaves_the_outcome_open(desk: Desk, call: str, body: bytes) -> None:
    if (call, body) == ("create", b'{"chatId": "x"}'):
        body = b'{"status": "ongoing"}'
    desk.says(200, body)
    with pytest.raises(OutcomeUnknown, match="does not have the documented form"):
        CALLS[call](desk.agent)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_a_success(desk: Desk, call: str, status: int) -> None:
    desk.says(status, OPEN_CHAT | {"messages": [], "data": []})
    CALLS[call](desk.agent)


@pytest.mark.parametrize("call", CALLS)
def test_the_network_s_faults_come_through(desk: Desk, call: str) -> None:
    desk.breaks(httpx.ConnectError("refused"))
    desk.breaks(httpx.ReadError("reset"))
    for expected in (NotReached, OutcomeUnknown):
        with pytest.raises(expected):
            CALLS[call](desk.agent)


@pytest.mark.parametrize("place", ["message", "error", "detail"])
def test_a_reason_gives_nobody_away(desk: Desk, place: str) -> None:
    said = "my secret is 4711, call +15559998888"
    desk.says(413, {place: f"content {said!r} of +15551230001 is too long, says {KEY}"})
    with pytest.raises(OutcomeUnknown) as caught:
        desk.agent.complete("chat_1", said)
    assert str(caught.value) == "uponai (413): HTTP 413"


@pytest.mark.parametrize(
    "body",
    [
        {"message": "account of +15559998888\nmay not"},
        {"error": "account of +15559998888 may not", "statusCode": 403},
        {"error": {"code": 7, "detail": "account of +15559998888 may not"}},
        {"message": ["odd"], "detail": "account of +15559998888 may not"},
    ],
)
def test_a_reason_holds_the_vendor_s_words_with_numbers_masked(desk: Desk, body: object) -> None:
    desk.says(403, body)
    with pytest.raises(AccountRefused) as caught:
        desk.agent.complete("chat_1", "hi")
    assert caught.value.reason == "account of +1555…88 may not"


def test_what_a_broken_server_says_is_not_passed_on(desk: Desk) -> None:
    desk.says(500, {"error": "stack trace"})
    with pytest.raises(OutcomeUnknown, match="HTTP 500"):
        desk.agent.complete("chat_1", "hi")


# -- the whole-call deadline ---------------------------------------------------------------------------------------


@pytest.fixture
def trickler() -> Iterator[Vendor]:
    with vendor() as told:
        yield told


@pytest.fixture
def hasty(trickler: Vendor) -> Iterator[UponAI]:
    agent = UponAI(replace(ACCOUNT, base_url=trickler.address, timeout=0.3))
    yield agent
    agent.close()


@pytest.mark.parametrize("call", CALLS)
def test_no_call_outlives_the_agent_timeout(trickler: Vendor, hasty: UponAI, call: str) -> None:
    trickler.trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    start = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="no complete answer in time"):
        CALLS[call](hasty)
    assert time.monotonic() - start < 10


def test_the_look_after_a_refusal_counts_against_the_same_deadline(trickler: Vendor, hasty: UponAI) -> None:
    trickler.says(409, ENDED_WORDS)
    trickler.trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    with pytest.raises(OutcomeUnknown, match="could not be read"):
        hasty.complete("chat_1", "hi")


# -- items ---------------------------------------------------------------------------------------------------------

ITEMS: list[tuple[str, object, Item]] = [
    ("assistant", {"role": "assistant", "content": "hi", "name": None, "tool_calls": []}, Item(Speaker.AGENT, "hi")),
    ("agent", {"role": "agent", "content": "hi"}, Item(Speaker.AGENT, "hi")),
    ("user", {"role": "user", "content": "hi"}, Item(Speaker.USER, "hi")),
    ("user without words", {"role": "user", "content": None}, Item(Speaker.USER, "")),
    ("blank", {"role": "assistant", "content": " \n"}, Item(Speaker.OTHER, " \n")),
    ("content list", {"role": "assistant", "content": [{"text": "hi"}]}, Item(Speaker.OTHER)),
    ("payload", {"role": "assistant", "content": ' {"a": 1}\n'}, Item(Speaker.OTHER, ' {"a": 1}\n')),
    ("tool", {"role": "tool", "content": "hi"}, Item(Speaker.OTHER, "hi", steps=(ToolResult(None, "hi"),))),
    ("system", {"role": "system", "content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("transition", {"role": "node_transition"}, Item(Speaker.OTHER)),
    ("new role", {"role": "oracle", "content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("other case", {"role": "Assistant", "content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("role list", {"role": ["assistant"], "content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("no role", {"content": "hi"}, Item(Speaker.OTHER, "hi")),
    ("no object", "hi", Item(Speaker.OTHER)),
    ("an id that is there all the same", {"role": "user", "content": "a", "id": "m1"}, Item(Speaker.USER, "a")),
    ("NUL", {"role": "assistant", "content": "a\x00b"}, Item(Speaker.AGENT, "a\ufffdb")),
    ("odd tool calls", {"role": "assistant", "content": "a", "tool_calls": "x"}, Item(Speaker.AGENT, "a")),
    (
        "private arguments",
        {"role": "tool_call_invocation", "content": "x"},
        Item(Speaker.OTHER, "", pending=True, steps=(ToolCall("a tool"),)),
    ),
]


@pytest.mark.parametrize(("entry", "item"), [row[1:] for row in ITEMS], ids=[row[0] for row in ITEMS])
def test_an_item_says_who_spoke(entry: object, item: Item) -> None:
    assert parse.items([entry]) == (item,)


def calling(*calls: object, **fields: object) -> dict[str, object]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls), **fields}


FOUND = {"name": "find", "arguments": '{"a":1}'}

STEPS: list[tuple[str, dict[str, object], tuple[Step, ...]]] = [
    ("flat", calling({"id": "c1", "type": "custom", **FOUND}), (ToolCall("find", '{"a":1}', "c1"),)),
    (
        "in a function",
        calling({"id": "c1", "type": "function", "function": FOUND}),
        (ToolCall("find", '{"a":1}', "c1"),),
    ),
    ("two", calling({"name": "a"}, {"name": "b", "arguments": {"x": 1}}), (ToolCall("a"), ToolCall("b", '{"x": 1}'))),
    ("by its type", calling({"type": "end_call"}), (ToolCall("end_call"),)),
    ("nameless", calling({}), (ToolCall("a tool"),)),
    ("of a person", calling(FOUND, role="user"), ()),
    ("below", {"role": "tool_call_invocation", "tool_call_id": "c1", **FOUND}, (ToolCall("find", '{"a":1}', "c1"),)),
    ("result", {"role": "tool", "tool_call_id": "c1", "content": "free"}, (ToolResult("c1", "free"),)),
    (
        "result below",
        {"role": "tool_call_result", "tool_call_id": "c1", "successful": True},
        (ToolResult("c1", "", True),),
    ),
    ("move", {"role": "node_transition", "former_node_name": "a", "new_node_name": "b"}, (Transition("a", "b"),)),
]


@pytest.mark.parametrize(("entry", "steps"), [row[1:] for row in STEPS], ids=[row[0] for row in STEPS])
def test_an_item_tells_what_the_agent_did(entry: dict[str, object], steps: tuple[Step, ...]) -> None:
    [item] = parse.items([entry])
    assert item.steps == steps


@pytest.mark.parametrize(
    ("entry", "ends"),
    [
        (calling({"type": "end_call", "name": "goodbye"}), True),
        (calling({"name": "end_call"}), True),
        (calling({"type": "function", "function": {"name": "end_call"}}), True),
        (calling({"name": "find"}, {"name": "end_call"}, content="Bye!"), True),
        ({"role": "tool_call_invocation", "type": "end_call", "name": "bye"}, True),
        (calling({"type": "custom", "name": "end_call"}), False),
        (calling({"type": "function", "function": {"name": "book"}}), False),
        (calling({"name": "end_call"}, role="user"), False),
        (calling("end_call"), False),
        ({"role": "tool_call_result", "type": "end_call"}, False),
        ({"role": "assistant", "content": "end_call"}, False),
    ],
)
def test_the_agent_hangs_up_by_a_tool_call_in_any_form(entry: object, ends: bool) -> None:
    [item] = parse.items([entry])
    assert item.ends_chat is ends


@pytest.mark.parametrize(
    ("entries", "pending"),
    [
        ([calling({"name": "find"}, content="One moment.")], [True]),
        ([calling({"name": "find"}), {"role": "assistant", "content": "Found."}], [False, False]),
        ([calling({"name": "find"}), {"role": "tool", "content": "{}"}], [False, False]),
        ([{"role": "tool_call_invocation", "name": "find"}], [True]),
        ([calling({"name": "end_call"}, content="Bye!")], [False]),
    ],
    ids=["at the end", "replied", "result", "in the words of the provider below", "hanging up"],
)
def test_a_tool_call_at_the_very_end_is_pending(entries: list[object], pending: list[bool]) -> None:
    assert [item.pending for item in parse.items(entries)] == pending


def test_what_is_held_back_is_logged_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        parse.items([{"role": "oracle_2", "content": "secret"}])
        parse.items([{"role": "assistant", "content": '{"secret": 1}'}])
        parse.items([{"role": "my secret is 4711", "content": "secret"}])
        parse.items([{"role": role, "content": "secret"} for role in sorted(parse.SILENT_ROLES)])
    assert len(caplog.records) == 3
    assert "oracle_2" in caplog.text
    assert "secret" not in caplog.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TOOL = st.fixed_dictionaries({}, optional=dict.fromkeys(("type", "name", "function"), JSON))
ENTRY = JSON | st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["assistant", "agent", "user", "tool_call_invocation", "x"]) | JSON,
        "content": JSON,
        "tool_calls": JSON | st.lists(JSON | TOOL, max_size=2),
        **dict.fromkeys(("type", "name", "function"), JSON),
    },
)


@given(st.lists(ENTRY))
def test_no_items_are_too_odd_and_none_is_lost(entries: list[Any]) -> None:
    items = parse.items(entries)
    assert len(items) == len(entries)
    assert all(item.content.strip() for item in items if item.speaker is Speaker.AGENT)
    assert not any(item.pending for item in items[:-1])


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("chatId", "status", "messages", "startedAt", "endedAt"), JSON))
)
def test_no_chat_is_too_odd(payload: dict[str, Any]) -> None:
    chat = parse.chat(payload)
    assert chat is None or 0 < len(chat.id) <= 255


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-11-02T12:00:00.000Z", datetime(2026, 11, 2, 12, tzinfo=UTC)),
        ("2026-11-02T14:00:00+02:00", datetime(2026, 11, 2, 12, tzinfo=UTC)),
        ("2026-11-02T12:00:00", datetime(2026, 11, 2, 12, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        (1790000000000, None),
        (None, None),
    ],
)
def test_a_chat_says_when_it_began(desk: Desk, written: object, moment: datetime | None) -> None:
    desk.says(200, OPEN_CHAT | {"startedAt": written})
    assert desk.agent.get_chat("chat_1").started_at == moment


@pytest.mark.parametrize("shown", [{"messages": None}, {"messages": "odd"}])
def test_a_chat_that_shows_no_items_has_none_to_tell(desk: Desk, shown: dict[str, object]) -> None:
    desk.says(200, OPEN_CHAT | shown)
    assert desk.agent.get_chat("chat_1").items is None
