"""The reader of UponAI's JSON: its chats and items as the bridge knows them.

Reading never fails. Fields may be missing, odd or new. Messages have neither ids nor times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bridge.providers.agents import reading
from bridge.providers.agents.contract import ChatState, Item, RemoteChat, Speaker, ToolCall
from bridge.providers.agents.reading import HANGS_UP, content, identifier, is_for_the_phone, note_role
from bridge.providers.agents.steps import NAMELESS, steps_of, tool_call

SPEAKERS = {"assistant": Speaker.AGENT, "agent": Speaker.AGENT, "user": Speaker.USER}
"""``assistant`` is documented. ``agent`` is the word of the provider below."""

TOOL_CALL = "tool_call_invocation"
TOOL_RESULT = "tool_call_result"
SILENT_ROLES = frozenset(
    {TOOL_CALL, TOOL_RESULT, "tool", "system", "node_transition", "state_transition", "injected", "sms"}
)
"""Items of these roles are not sent to the phone. Items of unknown roles are not sent either, but are logged.

UponAI documents two roles. These are the ones that the provider below may add.
"""


class Call(NamedTuple):
    """A tool call of an item."""

    kind: str
    """The tool's own kind, else its name."""
    arguments: object
    step: ToolCall


def chat(payload: dict[str, Any]) -> RemoteChat | None:
    """Read a chat object. Return ``None`` if it has no chat id."""
    chat_id = identifier(payload.get("chatId"))
    if chat_id is None:
        return None
    messages = payload.get("messages")
    return RemoteChat(
        id=chat_id,
        state=state(payload) or ChatState.WITH_HUMAN,
        items=items(messages) if isinstance(messages, list) else None,
        started_at=_moment(payload.get("startedAt")),
    )


def state(payload: Mapping[str, Any]) -> ChatState | None:
    """Read the state, in the spelling of the API or in that of an event. A chat with an end has ended."""
    if payload.get("endedAt") or payload.get("end_timestamp"):
        return ChatState.ENDED
    status = payload.get("status", payload.get("chat_status"))
    return reading.state(status, payload.get("isEscalated", payload.get("is_escalated")))


def items(messages: Sequence[Any]) -> tuple[Item, ...]:
    """Read all entries of a chat or of a completion, in order.

    A tool call at the very end is pending: the agent goes on after its result.
    """
    found = [_item(entry if isinstance(entry, dict) else {}) for entry in messages]
    return (*(replace(item, pending=False) for item in found[:-1]), *found[-1:])


def _item(entry: dict[str, Any]) -> Item:
    words = content(entry.get("content"))
    calls = list(_tool_calls(entry))
    hangs_up = any(call.kind == HANGS_UP for call in calls)
    handoffs = (reading.handoff(call.kind, call.arguments) for call in calls)
    message = next((found for found in handoffs if found is not None), None)
    shown = "" if entry.get("role") == TOOL_CALL else words  # the arguments are private
    return Item(
        _speaker(entry.get("role"), words),
        shown,
        ends_chat=hangs_up,
        pending=bool(calls) and not hangs_up and message is None,
        escalates=message is not None,
        handoff=message or "",
        steps=tuple(call.step for call in calls) + steps_of(entry),
    )


def _speaker(role: object, words: str) -> Speaker:
    if not isinstance(role, str) or role not in SPEAKERS:
        if not isinstance(role, str) or role not in SILENT_ROLES:
            note_role(role)
        return Speaker.OTHER
    if SPEAKERS[role] is Speaker.AGENT and not is_for_the_phone(words):
        return Speaker.OTHER
    return SPEAKERS[role]


def _tool_calls(entry: dict[str, Any]) -> Iterator[Call]:
    """Yield each tool call of the item. A person's item has none.

    The form of a call is not documented: its name and its arguments may be in an object ``function``.
    """
    if entry.get("role") == "user":
        return
    listed = entry.get("tool_calls")
    calls = [call for call in listed if isinstance(call, dict)] if isinstance(listed, list) else []
    for call in [entry, *calls] if entry.get("role") == TOOL_CALL else calls:
        function = call.get("function")
        inner = function if isinstance(function, dict) else {}
        kind = call.get("type") if call.get("type") != "function" else None
        names = [name for name in (inner.get("name"), call.get("name"), kind) if isinstance(name, str) and name]
        name, arguments = names[0] if names else NAMELESS, inner.get("arguments", call.get("arguments"))
        step = tool_call(name, arguments, call.get("id") or call.get("tool_call_id"))
        yield Call(kind if isinstance(kind, str) and kind else name, arguments, step)


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        return None
