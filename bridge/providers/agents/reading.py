"""The rules for reading any provider's JSON: ids, roles, and words that must not go to a phone."""

from __future__ import annotations

import logging
import re

from bridge.providers.http.client import read_json
from bridge.providers.redaction import storable

log = logging.getLogger(__name__)

ROLE = re.compile(r"(?=.{1,30}\Z)[a-z]+(_[a-z0-9]+)*")
"""The form of a role that is safe to log. A sentence may come from a person."""

HANGS_UP = "end_call"
"""The tool with which an agent ends a chat, in spite of its name.

Its arguments may hold a farewell. No provider documents that, so only the content of agent items goes to the phone.
"""

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


def _is_payload(words: str) -> bool:
    text = words.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return False
    try:
        return isinstance(read_json(text), dict)
    except ValueError:
        return False
