"""What Retell's refusals mean.

What lives here: the tables from Retell's statuses and words to our errors. The calls:
``bridge.providers.agents.retell.client``.
"""

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
    402: AccountRefused,  # the trial is over and nobody pays
    403: AccountRefused,  # the key may not do this
    404: Refused,  # not found
    408: OutcomeUnknown,  # the server waited too long for something: perhaps for itself
    409: OutcomeUnknown,  # something else is going on in this chat, perhaps an earlier try of ours
    422: Refused,  # no such agent or chat under this key
    425: OutcomeUnknown,  # too early, for whatever reason
    429: RateLimited,  # turned away before anybody looked at it
}

BY_CLASS: Meaning = {
    3: AccountRefused,  # the address in the settings leads elsewhere
    4: Refused,  # the request is at fault and will stay so
    5: OutcomeUnknown,  # also a 503 with Retry-After: probably not carried out, but nobody promises it
}
"""Every status that has no line of its own."""

AT_CREATE: Meaning = {404: AccountRefused, 422: AccountRefused}
"""No chat is named there, so what was not found is the agent: it answers no text until that is mended."""

CHAT_UNKNOWN: Meaning = {404: ChatEnded, 422: ChatEnded}
CHAT_ENDED: Meaning = {400: ChatEnded, 409: ChatEnded}
"""How an ended chat refuses is not documented; seen is a 400 with "Chat already ended"."""

FOREIGN: Meaning = {403: OutcomeUnknown}
"""Not in Retell's own form: a firewall on the way did not like this one text, which says nothing about our account."""

ENDED_WORDS = re.compile(r"chat.*\bended", re.IGNORECASE | re.DOTALL)


def refusal(
    answer: Answer, secrets: Sequence[str], special: Meaning | None = None, *, agent_id: str | None = None
) -> RemoteError:
    """The error that an answer stands for; ``special`` is what some statuses mean in this place, of this agent if any.

    Its words are Retell's where the fault is ours: what a broken server says helps nobody.
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
    """The same for a call that names a chat."""
    ended = ENDED_WORDS.search(_message(answer), 0, LONGEST_WORDS)
    return refusal(answer, secrets, {**CHAT_UNKNOWN, **CHAT_ENDED} if ended else CHAT_UNKNOWN)


def unreadable(answer: Answer) -> OutcomeUnknown:
    """A success that can't be understood: what was asked for was probably done."""
    return OutcomeUnknown("its answer is not what its API promises", provider=PROVIDER, status=answer.status)


def _message(answer: Answer) -> str:
    message = (answer.payload or {}).get("message")
    return message if isinstance(message, str) else ""
