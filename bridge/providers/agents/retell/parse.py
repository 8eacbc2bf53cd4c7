"""The reader of Retell's JSON: its chats and items as the bridge knows them.

Reading never fails. Fields may be missing, odd or new.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bridge.providers.agents.contract import ChatState, Item, RemoteChat, Speaker
from bridge.providers.http.client import read_json
from bridge.providers.redaction import storable

log = logging.getLogger(__name__)

SPEAKERS = {"agent": Speaker.AGENT, "user": Speaker.USER}
TOOL_CALL = "tool_call_invocation"
TOOL_RESULT = "tool_call_result"
SILENT_ROLES = frozenset({TOOL_CALL, TOOL_RESULT, "node_transition", "state_transition", "injected", "sms"})
"""Items of these roles are not sent to the phone. Items of unknown roles are not sent either, but are logged."""

ROLE = re.compile(r"(?=.{1,30}\Z)[a-z]+(_[a-z0-9]+)*")
"""The form of a role that is safe to log. A sentence may come from a person."""

HANGS_UP = "end_call"
"""The tool with which the agent ends a chat, in spite of its name.

Its arguments may hold a farewell. Retell does not document that, so only the content of agent items goes to the phone.
"""

LONGEST_ID = 255
"""Characters. A longer id fits no column. Retell's ids have about 40."""


def chat(payload: dict[str, Any]) -> RemoteChat | None:
    """Read a chat object. Return ``None`` if it has no chat id."""
    chat_id = _id(payload.get("chat_id"))
    if chat_id is None:
        return None
    messages = payload.get("message_with_tool_calls")
    return RemoteChat(
        id=chat_id,
        state=ChatState.ONGOING if payload.get("chat_status") == "ongoing" else ChatState.ENDED,
        items=items(messages) if isinstance(messages, list) else None,
        started_at=_moment(payload.get("start_timestamp")),
    )


def items(messages: Sequence[Any]) -> tuple[Item, ...]:
    """Read all entries of a chat or of a completion, in order."""
    entries = [entry if isinstance(entry, dict) else {} for entry in messages]
    answered = {_id(entry.get("tool_call_id")) for entry in entries if entry.get("role") == TOOL_RESULT}
    return tuple(_tool_call(e, answered) if e.get("role") == TOOL_CALL else _item(e) for e in entries)


def _item(entry: dict[str, Any]) -> Item:
    content = entry.get("content")
    content = storable(content) if isinstance(content, str) else ""
    return Item(_speaker(entry.get("role"), content), content, _id(entry.get("message_id")))


def _tool_call(entry: dict[str, Any], answered: set[str | None]) -> Item:
    """Read a tool call without its content: the arguments are private."""
    call = _id(entry.get("tool_call_id"))
    hangs_up = (entry.get("type") or entry.get("name")) == HANGS_UP
    pending = call is not None and call not in answered and not hangs_up
    return Item(Speaker.OTHER, id=_id(entry.get("message_id")), ends_chat=hangs_up, pending=pending)


def _speaker(role: object, content: str) -> Speaker:
    if not isinstance(role, str) or role not in SPEAKERS:
        _note(role)
        return Speaker.OTHER
    if role == "agent" and not content.strip():
        return Speaker.OTHER
    if role == "agent" and _is_payload(content):
        log.warning("an agent item that is a bare JSON object is not sent: a tool's payload has leaked")
        return Speaker.OTHER
    return SPEAKERS[role]


def _note(role: object) -> None:
    if not isinstance(role, str) or role not in SILENT_ROLES:
        named = isinstance(role, str) and ROLE.fullmatch(role)
        log.warning("an item of an unknown role is not sent: %s", role if named else "not a valid role")


def _is_payload(content: str) -> bool:
    text = content.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return False
    try:
        return isinstance(read_json(text), dict)
    except ValueError:
        return False


def _id(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_ID:
        return None
    return storable(value)


def _moment(milliseconds: object) -> datetime | None:
    if not isinstance(milliseconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
