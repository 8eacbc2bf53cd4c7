"""Retell's contacts. Nobody else fills them in for a chat over the API: such a chat has no number.

    find      GET   /get-contact-by-phone/{number}    200; 404: there is none
    create    POST  /create-contact                   201
    update    PATCH /update-contact/{id}              200

A new chat gets the contact's name, memory and fields as variables, by RETELL_CONTACTS. A failure of that costs nothing
but the short wait for it: the chat is opened without them.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from bridge.lib.phone import e164
from bridge.providers.agents.reading import identifier
from bridge.providers.agents.retell.errors import PROVIDER, refusal, unreadable
from bridge.providers.errors import Refused, RemoteError
from bridge.providers.http.client import Answer, Api
from bridge.providers.redaction import storable

log = logging.getLogger(__name__)

READ_TIMEOUT = 2.0
WRITE_TIMEOUT = 15.0
"""Seconds, for one read before a new chat, and for all calls of one change."""

PAUSE = 30.0
"""Seconds after a failed read in which no contact is read: a slow API must not delay each new chat."""

UNKNOWN = frozenset({404, 422})
"""There is no such contact. 422 is Retell's word for an asset that is not found."""

STANDARD = ("first_name", "last_name", "contact_memory", "do_not_call")

MOST_FIELDS = 50
LONGEST_NAME = 64
LONGEST_VALUE = 2000
"""Custom fields, and characters of a name and of a value: enough for a prompt. Longer values are cut."""

_NAME = re.compile(r"[^\W\d][\w .-]*")
_RETELLS_OWN = re.compile(
    r"current_(?:time|hour|calendar)(?:_.*)?|(?:current|previous)_(?:agent_state|node)|session_(?:type|duration.*)"
    r"|(?:chat|call)_(?:id|type)|direction|(?:user|agent)_number"
)
"""Names that Retell sets itself. Whether a chat may set them is not documented."""


class Contacts:
    """The contacts of one account. Any number of threads may use it."""

    def __init__(self, api: Api, key: str, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._key = key
        self._elapsed = elapsed
        self._paused_until = float("-inf")

    def variables(self, phone: str) -> dict[str, str]:
        """Return the variables of the person's contact; none if there is no contact, or if it can't be read."""
        number = e164(phone)
        if number is None or self._elapsed() < self._paused_until:
            return {}
        try:
            contact = self._find(number, time.monotonic() + READ_TIMEOUT)
        except RemoteError as error:
            self._paused_until = self._elapsed() + PAUSE
            log.warning("contacts can't be read, new chats do without them for %s s: %s", int(PAUSE), error)
            return {}
        return dict(_variables(contact or {}))

    def set_do_not_call(self, phone: str, wanted: bool) -> None:
        """Let the contact say so. A person without a contact gets one only if there is something to forbid."""
        number = e164(phone)
        if number is None:
            raise Refused("the address is no number", provider=PROVIDER)
        deadline = time.monotonic() + WRITE_TIMEOUT
        contact = self._find(number, deadline)
        if contact is not None and bool(contact.get("do_not_call")) is not wanted:
            contact = self._update(contact, number, wanted, deadline)
        if contact is None and wanted:
            new = {"phone_number": number, "do_not_call": True}
            self._checked(self._api.call("POST", "/create-contact", json=new, deadline=deadline), number)

    def _find(self, number: str, deadline: float) -> Mapping[str, Any] | None:
        answer = self._api.call("GET", f"/get-contact-by-phone/{quote(number, safe='')}", deadline=deadline)
        if answer.status in UNKNOWN:
            return None
        contact = self._checked(answer, number).payload
        if contact is None or identifier(contact.get("contact_id")) is None:
            raise unreadable(answer)
        return contact

    def _update(
        self, contact: Mapping[str, Any], number: str, wanted: bool, deadline: float
    ) -> Mapping[str, Any] | None:
        """Change the contact. Return ``None`` if it was deleted meanwhile."""
        path = f"/update-contact/{quote(str(contact['contact_id']), safe='')}"
        answer = self._api.call("PATCH", path, json={"do_not_call": wanted}, deadline=deadline)
        if answer.status in UNKNOWN:
            return None
        self._checked(answer, number)
        return contact

    def _checked(self, answer: Answer, number: str) -> Answer:
        if not answer.ok:
            raise refusal(answer, [self._key, number])
        return answer


def _variables(contact: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the contact's variables. A custom field never replaces a standard one, nor one of Retell's own."""
    for name in STANDARD:
        if words := _words(contact.get(name)):
            yield name, words
    fields = contact.get("custom_fields")
    custom = list(fields.items()) if isinstance(fields, dict) else []
    for name, value in custom[:MOST_FIELDS]:
        if _is_usable(name) and (words := _words(value)):
            yield name, words


def _is_usable(name: str) -> bool:
    named = len(name) <= LONGEST_NAME and _NAME.fullmatch(name)
    return bool(named) and name not in STANDARD and not _RETELLS_OWN.fullmatch(name)


def _words(value: object) -> str:
    """Return the value as a text; empty if it has none. Only texts may be variables."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_words, value)))[:LONGEST_VALUE]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return f"{value:.15g}"
    return storable(value).strip()[:LONGEST_VALUE] if isinstance(value, str) else ""
