"""What Twilio's refusals mean.

What lives here: the tables from Twilio's error numbers and statuses to our errors. The calls: ``client``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.errors import AccountRefused, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.wire.api import Answer
from bridge.wire.words import safe_words

PROVIDER = "twilio"

Meaning = Mapping[int, type[RemoteError]]

BY_CODE: Meaning = {
    20003: AccountRefused,  # credentials
    20005: AccountRefused,  # the account is not active
    20404: AccountRefused,  # no such account: nothing else is named in the address
    20429: RateLimited,
    20500: OutcomeUnknown,
    20503: OutcomeUnknown,
    14107: RateLimited,  # too many texts between these two numbers in 30 s
    21611: RateLimited,  # the queue of this number is full
    21703: AccountRefused,  # the messaging service has no number
    21704: AccountRefused,  # the messaging service is being set up
    21705: AccountRefused,  # the messaging service is not valid
    30001: RateLimited,  # the queue of the messaging service is full
    30002: AccountRefused,  # the account is suspended
    30022: RateLimited,  # more than the campaign may send
    63017: RateLimited,
    63018: RateLimited,
    63038: RateLimited,  # the account's texts for today are used up
}
"""Twilio's own numbers, as far as they do not mean that this text will never be taken."""

CODES_OF_TEXTS = range(21000, 22000)
"""The others of these speak of one text or one number, whatever the status: 21610 of a person who said STOP."""

BY_STATUS: Meaning = {
    401: AccountRefused,
    402: AccountRefused,
    403: AccountRefused,
    404: AccountRefused,  # as 20404
    408: OutcomeUnknown,
    429: RateLimited,  # never processed
}

BY_CLASS: Meaning = {
    3: AccountRefused,  # the address in the settings leads elsewhere
    4: Refused,  # the text is at fault and will stay so
    5: OutcomeUnknown,  # Twilio itself warns that such a text may have been sent
}

FOREIGN: Meaning = {403: OutcomeUnknown}
"""Not in Twilio's own form: a firewall on the way did not like this one text, which says nothing about our account."""


def refusal(answer: Answer, secrets: Sequence[str]) -> RemoteError:
    """The error that an answer stands for. Its words are Twilio's where the fault is ours."""
    said = answer.payload or {}
    code = said.get("code")
    code = code if isinstance(code, int) and not isinstance(code, bool) else None
    words = safe_words(said.get("message") or said.get("detail") or said.get("title"), secrets)
    return _kind(answer, code)(
        words if words and answer.status < 500 else f"HTTP {answer.status}",
        provider=PROVIDER,
        status=answer.status,
        code=code,
        retry_after=answer.retry_after,
    )


def unreadable(answer: Answer | None) -> OutcomeUnknown:
    """A success that can't be understood: what was asked for was probably done."""
    why = "its answer is not what its API promises"
    return OutcomeUnknown(why, provider=PROVIDER, status=answer.status if answer else None)


def _kind(answer: Answer, code: int | None) -> type[RemoteError]:
    by_class = BY_CLASS.get(answer.status // 100, OutcomeUnknown)
    if answer.status // 100 != 4:
        return by_class
    if code is not None and code in BY_CODE:
        return BY_CODE[code]
    if code in CODES_OF_TEXTS:
        return Refused
    meaning = BY_STATUS if answer.payload else {**BY_STATUS, **FOREIGN}
    return meaning.get(answer.status, by_class)
