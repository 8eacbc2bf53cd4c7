"""The mapping from Twilio's refusals to our errors, by code and status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.providers.carriers.contract import TREATMENTS
from bridge.providers.carriers.twilio.error_codes import CODES_OF_TEXTS, MEANINGS, meaning
from bridge.providers.errors import AccountRefused, OutcomeUnknown, RateLimited, Refused, RemoteError
from bridge.providers.http.client import Answer
from bridge.providers.redaction import safe_words

PROVIDER = "twilio"

Errors = Mapping[int, type[RemoteError]]

BY_STATUS: Errors = {
    401: AccountRefused,
    402: AccountRefused,
    403: AccountRefused,
    404: AccountRefused,  # the address names only the account
    408: OutcomeUnknown,
    429: RateLimited,  # never processed
}

BY_CLASS: Errors = {
    3: AccountRefused,  # the address in the settings leads elsewhere
    4: Refused,  # the text is at fault and will stay so
    5: OutcomeUnknown,  # Twilio itself warns that such a text may have been sent
}

LARGEST_CODE = 999_999_999
"""Twilio's codes have five digits. A larger number fits no column."""

FOREIGN: Errors = {403: OutcomeUnknown}
"""The answer does not have Twilio's form.

A firewall on the way refused this one text. That says nothing about our account.
"""


def refusal(
    answer: Answer, secrets: Sequence[str], *, sender: str | None = None, numbers: Sequence[str] = ()
) -> RemoteError:
    """Return the error for an answer. The reason quotes Twilio only if the fault is ours.

    ``sender`` and ``numbers`` belong to the refused text, if the call was for one.
    """
    payload = answer.payload or {}
    code = error_code(payload.get("code"))
    words = safe_words(payload.get("message") or payload.get("detail") or payload.get("title"), secrets, numbers)
    kind = _kind(answer, code)
    sender_only = kind.provider_wide and meaning(code).treatment.sender_only
    return kind(
        words if words and answer.status < 500 else f"HTTP {answer.status}",
        provider=PROVIDER,
        status=answer.status,
        code=code,
        retry_after=answer.retry_after,
        part=sender if sender_only else None,
    )


def error_code(value: object) -> int | None:
    """Return one of Twilio's own codes, or ``None`` for any other value."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= LARGEST_CODE else None


def unreadable(answer: Answer | None) -> OutcomeUnknown:
    """Return the error for a success that the bridge can't read. The request was probably carried out."""
    why = "its answer does not have the documented form"
    return OutcomeUnknown(why, provider=PROVIDER, status=answer.status if answer else None)


def _kind(answer: Answer, code: int | None) -> type[RemoteError]:
    by_class = BY_CLASS.get(answer.status // 100, OutcomeUnknown)
    if answer.status // 100 != 4:
        return by_class
    if code in MEANINGS:
        return TREATMENTS[MEANINGS[code].failure].refused
    if code in CODES_OF_TEXTS:
        return Refused
    by_status = BY_STATUS if answer.payload else {**BY_STATUS, **FOREIGN}
    return by_status.get(answer.status, by_class)
