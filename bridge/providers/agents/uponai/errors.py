"""The tables from UponAI's statuses and words to our errors.

UponAI documents no error at all: neither statuses nor bodies. It is a layer over another provider, and such layers pass
errors on in envelopes and statuses of their own. So a status means a refusal only where HTTP leaves no other reading.
After any other one the request may have been carried out, and the bridge reads the chat before it asks again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.providers.errors import AccountRefused, ChatEnded, OutcomeUnknown, RateLimited, RemoteError
from bridge.providers.http.client import Answer
from bridge.providers.redaction import LONGEST_WORDS, safe_words

PROVIDER = "uponai"

Meaning = Mapping[int, type[RemoteError]]

BY_STATUS: Meaning = {
    401: AccountRefused,  # the token is missing or wrong
    402: AccountRefused,  # not paid
    403: AccountRefused,  # the token may not do this, or not in this workspace
    429: RateLimited,  # refused before processing
}

BY_CLASS: Meaning = {3: AccountRefused}
"""The address in the settings leads elsewhere."""

AT_CREATE: Meaning = {400: AccountRefused, 404: AccountRefused, 422: AccountRefused}
"""The call has nothing but the agent, the workspace and our own words: the first two are at fault."""

CHAT_UNKNOWN: Meaning = {404: ChatEnded, 422: ChatEnded}
"""For the call that reads a chat."""

MAY_MEAN_UNKNOWN = frozenset({404, 410, 422})
"""For other calls that name a chat. Reading it decides."""

FOREIGN: Meaning = {403: OutcomeUnknown}
"""The answer is no JSON object. A firewall on the way refused this one text. That says nothing about our account."""

ENDED_WORDS = re.compile(r"\bchat\b[^.!?]{0,80}?\b(?:already|been|has|is|was)\s+ended\b", re.IGNORECASE)
"""Strict. If an ended chat is refused in other words, the bridge reads the chat, and that costs a second."""

PLACES = ("message", "error", "detail")
"""Where the words of an error may be, the likeliest first. The value may be an object with one of them again."""


def refusal(
    answer: Answer, secrets: Sequence[str], special: Meaning | None = None, *, agent_id: str | None = None
) -> RemoteError:
    """Return the error for an answer. ``special`` overrides the meaning of some statuses for this call.

    ``agent_id`` is the agent that such a status concerns.
    """
    by_class = BY_CLASS.get(answer.status // 100, OutcomeUnknown)
    meaning = {**BY_STATUS, **(special or {}), **({} if answer.payload else FOREIGN)}
    words = safe_words(_words(answer.payload), secrets) if answer.status < 500 else ""
    return meaning.get(answer.status, by_class)(
        words or f"HTTP {answer.status}",
        provider=PROVIDER,
        status=answer.status,
        retry_after=answer.retry_after,
        part=agent_id if answer.status in (special or {}) else None,
    )


def says_ended(answer: Answer) -> bool:
    """Return whether the words say, under any status, that the chat has ended."""
    return bool(ENDED_WORDS.search(answer.body[:LONGEST_WORDS].decode(errors="replace")))


def unreadable(answer: Answer) -> OutcomeUnknown:
    """Return the error for a success that the bridge can't read. The request was probably carried out."""
    return OutcomeUnknown("its answer does not have the documented form", provider=PROVIDER, status=answer.status)


def _words(payload: dict[str, Any] | None) -> str:
    for place in PLACES:
        value = (payload or {}).get(place)
        if isinstance(value, dict):
            value = next((value[inner] for inner in PLACES if isinstance(value.get(inner), str)), None)
        if isinstance(value, str) and value:
            return value
    return ""
