"""The reader of Retell's JSON: its chats and items as the bridge knows them.

Reading never fails. Fields may be missing, odd or new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bridge.providers.agents import reading
from bridge.providers.agents.contract import ChatState, Item, RemoteChat, Speaker
from bridge.providers.agents.reading import HANGS_UP, content, identifier, is_for_the_phone, note_role
from bridge.providers.agents.steps import steps_of, tool_call

SPEAKERS = {"agent": Speaker.AGENT, "user": Speaker.USER}
TOOL_CALL = "tool_call_invocation"
TOOL_RESULT = "tool_call_result"
SILENT_ROLES = frozenset({TOOL_CALL, TOOL_RESULT, "node_transition", "state_transition", "injected", "sms"})
"""Items of these roles are not sent to the phone. Items of unknown roles are not sent either, but are logged."""


def chat(payload: dict[str, Any]) -> RemoteChat | None:
    """Read a chat object. Return ``None`` if it has no chat id."""
    chat_id = identifier(payload.get("chat_id"))
    if chat_id is None:
        return None
    messages = payload.get("message_with_tool_calls")
    return RemoteChat(
        id=chat_id,
        state=state(payload) or ChatState.WITH_HUMAN,
        items=items(messages) if isinstance(messages, list) else None,
        started_at=_moment(payload.get("start_timestamp")),
    )


def state(payload: Mapping[str, Any]) -> ChatState | None:
    return reading.state(payload.get("chat_status"), payload.get("is_escalated"))


def items(messages: Sequence[Any]) -> tuple[Item, ...]:
    """Read all entries of a chat or of a completion, in order."""
    entries = [entry if isinstance(entry, dict) else {} for entry in messages]
    answered = {identifier(entry.get("tool_call_id")) for entry in entries if entry.get("role") == TOOL_RESULT}
    return tuple(_tool_call(e, answered) if e.get("role") == TOOL_CALL else _item(e) for e in entries)


def _item(entry: dict[str, Any]) -> Item:
    words = content(entry.get("content"))
    name = identifier(entry.get("message_id"))
    return Item(_speaker(entry.get("role"), words), words, name, steps=steps_of(entry))


def _tool_call(entry: dict[str, Any], answered: set[str | None]) -> Item:
    """Read a tool call. Its item has no content: the arguments are private, but for the message of a handoff."""
    call, kind = identifier(entry.get("tool_call_id")), entry.get("type") or entry.get("name")
    hangs_up, message = kind == HANGS_UP, reading.handoff(kind, entry.get("arguments"))
    pending = call is not None and call not in answered and not hangs_up and message is None
    return Item(
        Speaker.OTHER,
        id=identifier(entry.get("message_id")),
        ends_chat=hangs_up,
        pending=pending,
        escalates=message is not None,
        handoff=message or "",
        steps=(tool_call(entry.get("name") or entry.get("type"), entry.get("arguments"), call),),
    )


def _speaker(role: object, words: str) -> Speaker:
    if not isinstance(role, str) or role not in SPEAKERS:
        if not isinstance(role, str) or role not in SILENT_ROLES:
            note_role(role)
        return Speaker.OTHER
    if role == "agent" and not is_for_the_phone(words):
        return Speaker.OTHER
    return SPEAKERS[role]


def _moment(milliseconds: object) -> datetime | None:
    if not isinstance(milliseconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
