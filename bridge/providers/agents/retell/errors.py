"""The tables from Retell's statuses and words to our errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bridge.providers.errors import AccountRefused, ChatEnded, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.providers.http.client import Answer
from bridge.providers.redaction import LONGEST_WORDS, safe_words

PROVIDER = "retell"

Meaning = Mapping[int, type[RemoteError]]

BY_STATUS: Meaning = {
    400: Refused,  # malformed; an ended chat too, told apart by its words
    401: AccountRefused,  # the key is missing or wrong
    402: AccountRefused,  # the trial is over and unpaid
    403: AccountRefused,  # the key may not do this
    404: Refused,  # not found
    408: OutcomeUnknown,  # the server waited too long, perhaps for itself
    409: OutcomeUnknown,  # another request is running in this chat, perhaps an earlier attempt of ours
    422: Refused,  # no such agent or chat under this key
    425: OutcomeUnknown,  # too early, for whatever reason
    429: RateLimited,  # refused before processing
}

BY_CLASS: Meaning = {
    3: AccountRefused,  # the address in the settings leads elsewhere
    4: Refused,  # the request is at fault and will stay so
    5: OutcomeUnknown,  # also a 503 with Retry-After: probably not carried out, but the API does not promise that
}
"""Every status that ``BY_STATUS`` does not list."""

AT_CREATE: Meaning = {404: AccountRefused, 422: AccountRefused}
"""The call names no chat, so the agent was not found. It answers no text until the operator fixes that."""

CHAT_UNKNOWN: Meaning = {404: ChatEnded, 422: ChatEnded}
CHAT_ENDED: Meaning = {400: ChatEnded, 409: ChatEnded}
"""Retell does not document how it refuses a message to an ended chat. We have seen a 400 with "Chat already ended"."""

FOREIGN: Meaning = {403: OutcomeUnknown}
"""The answer does not have Retell's form.

A firewall on the way refused this one text. That says nothing about our account.
"""

ENDED_WORDS = re.compile(r"chat.*\bended", re.IGNORECASE | re.DOTALL)


def refusal(
    answer: Answer, secrets: Sequence[str], special: Meaning | None = None, *, agent_id: str | None = None
) -> RemoteError:
    """Return the error for an answer. ``special`` overrides the meaning of some statuses for this call.

    ``agent_id`` is the agent that such a status concerns. The reason quotes Retell only if the fault is ours: the words
    of a broken server help no operator.
    """
    by_class = BY_CLASS.get(answer.status // 100, OutcomeUnknown)
    meaning = {**BY_STATUS, **(special or {}), **({} if answer.payload else FOREIGN)}
    words = safe_words(_message(answer), secrets) if answer.status < 500 else ""
    return meaning.get(answer.status, by_class)(
        words or f"HTTP {answer.status}",
        provider=PROVIDER,
        status=answer.status,
        retry_after=answer.retry_after,
        part=agent_id if answer.status in (special or {}) else None,
    )


def chat_refusal(answer: Answer, secrets: Sequence[str]) -> RemoteError:
    """Return the error for an answer to a call that names a chat."""
    ended = ENDED_WORDS.search(_message(answer), 0, LONGEST_WORDS)
    return refusal(answer, secrets, {**CHAT_UNKNOWN, **CHAT_ENDED} if ended else CHAT_UNKNOWN)


def unreadable(answer: Answer) -> OutcomeUnknown:
    """Return the error for a success that the bridge can't read. The request was probably carried out."""
    return OutcomeUnknown("its answer does not have the documented form", provider=PROVIDER, status=answer.status)


def _message(answer: Answer) -> str:
    message = (answer.payload or {}).get("message")
    return message if isinstance(message, str) else ""
