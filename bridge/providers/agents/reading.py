"""The rules for reading any provider's JSON: ids, roles, and words that must not go to a phone."""

from __future__ import annotations

import logging
import re

from bridge.providers.agents.contract import ChatState
from bridge.providers.http.client import read_json
from bridge.providers.redaction import storable

log = logging.getLogger(__name__)

ROLE = re.compile(r"(?=.{1,30}\Z)[a-z]+(_[a-z0-9]+)*")
"""The form of a role that is safe to log. A sentence may come from a person."""

HANGS_UP = "end_call"
"""The tool with which an agent ends a chat, in spite of its name.

Its arguments may hold a farewell. No provider documents that, so only the content of agent items goes to the phone.
"""

ESCALATES = "escalat"
"""A part of the kind of each tool with which an agent hands a chat to a human."""

HANDOFF_MESSAGE = "handoff_message"
"""The argument of such a tool that has the message to the person. Another tool with it counts as such a tool."""

CLOSED = ("ended", "error")
OPEN = "ongoing"
"""The statuses of a chat that are known."""

LONGEST_ID = 255
"""Characters. A longer id fits no column. Retell's ids have about 40."""


def identifier(value: object) -> str | None:
    """Return an id as a text, or ``None`` if it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_ID:
        return None
    return storable(value)


def content(value: object) -> str:
    return storable(value) if isinstance(value, str) else ""


def is_for_the_phone(words: str) -> bool:
    """Return whether the agent's words may be sent: they are neither blank nor a tool's payload."""
    if _is_payload(words):
        log.warning("an agent item that is a bare JSON object is not sent: a tool's payload has leaked")
        return False
    return bool(words.strip())


def note_role(role: object) -> None:
    """Log a role that is not known, and whose items are not sent."""
    named = isinstance(role, str) and ROLE.fullmatch(role)
    log.warning("an item of an unknown role is not sent: %s", role if named else "not a valid role")


def state(status: object, escalated: object) -> ChatState | None:
    """Read a chat's status. ``None``: it has none.

    A chat of an unknown status may be with a human. A new chat beside it would let the agent answer as well.
    """
    if status in CLOSED:
        return ChatState.ENDED
    if escalated is True:
        return ChatState.WITH_HUMAN
    if not isinstance(status, str):
        return None
    if status == OPEN:
        return ChatState.ONGOING
    log.info("a chat has an unknown status: %s", status if ROLE.fullmatch(status) else "not a valid status")
    return ChatState.WITH_HUMAN


def handoff(kind: object, arguments: object) -> str | None:
    """Return the message to the person of a tool call that hands the chat to a human; empty if it has none.

    ``None``: the call does something else. ``kind`` is the tool's own kind, else its name.
    """
    message = content(_arguments(arguments).get(HANDOFF_MESSAGE))
    if message.strip() and is_for_the_phone(message):
        return message
    return "" if isinstance(kind, str) and ESCALATES in kind.lower() else None


def _arguments(written: object) -> dict[str, object]:
    """Return the arguments of a tool call. They are an object, or an object that is written as JSON."""
    if isinstance(written, str) and HANDOFF_MESSAGE in written:
        try:
            written = read_json(written)
        except ValueError:
            return {}
    return written if isinstance(written, dict) else {}


def _is_payload(words: str) -> bool:
    text = words.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return False
    try:
        return isinstance(read_json(text), dict)
    except ValueError:
        return False
