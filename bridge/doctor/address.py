"""PUBLIC_URL: whether it leads here, whether Twilio's calls are accepted there, and what the bridge there reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.doctor.context import Context
from bridge.doctor.findings import Finding, fault, ok, warning
from bridge.providers.carriers.twilio.own_address import OwnAddress
from bridge.providers.errors import RemoteError
from bridge.providers.http.client import Answer
from bridge.providers.redaction import safe_words

SUBJECT = "PUBLIC_URL"

START = "Start the bridge, and let the proxy or tunnel of this address lead to it."
OTHER = "Set PUBLIC_URL to the address that leads to the bridge, and let no proxy answer in its place."
REDIRECTED = "Set PUBLIC_URL to the address that it leads to: a redirected webhook loses the text."
REFUSED = (
    "Give it the same PUBLIC_URL, TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN as here, and let no proxy change the path."
)


def address(context: Context) -> Sequence[Finding]:
    """Check one thing after the other. The later ones mean nothing without the earlier."""
    try:
        found = _health(context.address)
        if found.remedy:
            return [found]
        return [found, _identity(context.address), *_readiness(context.address)]
    except RemoteError as error:
        return [fault(SUBJECT, f"can't be called: {error.reason}", START, code="url-away")]


def _health(address: OwnAddress) -> Finding:
    answer = address.health()
    if (answer.payload or {}).get("status") == "ok" and answer.ok:
        return ok(SUBJECT, "is reached")
    return _foreign(answer, "/healthz")


def _foreign(answer: Answer, path: str) -> Finding:
    if 300 <= answer.status < 400:
        return fault(SUBJECT, f"is redirected ({answer.status})", REDIRECTED, code="url-redirected")
    if answer.status >= 502:
        words = f"a proxy answers {answer.status} at {path}, because it finds no bridge"
        return fault(SUBJECT, words, START, code="url-no-bridge")
    return fault(SUBJECT, f"something else than a bridge answers {answer.status} at {path}", OTHER, code="url-foreign")


def _identity(address: OwnAddress) -> Finding:
    """Tell by a signed call whether the bridge there is this one."""
    answer = address.webhook(signed=True)
    if answer.status == 403:
        words = "the bridge there refuses webhooks that are signed with our token"
        return fault(SUBJECT, words, REFUSED, code="url-other-bridge")
    if answer.status != 400 or b"MessageSid" not in answer.body:
        return _foreign(answer, "/twilio/inbound")
    if address.webhook(signed=False).status != 403:
        return fault(SUBJECT, "the bridge there accepts webhooks without a signature", OTHER, code="url-unsigned")
    return ok(SUBJECT, "the bridge there is this one: it accepts our signature and no other")


def _readiness(address: OwnAddress) -> list[Finding]:
    answer = address.readiness()
    faults = (answer.payload or {}).get("faults")
    if not isinstance(faults, list):
        return [_foreign(answer, "/readyz")]
    return [_reported(each) for each in faults if isinstance(each, dict)]


def _reported(its: dict[str, Any]) -> Finding:
    words = safe_words(f"the bridge there reports: {its.get('part')} {its.get('state')}")
    return warning(SUBJECT, words, "GET /readyz with an operator's token has the cause.", code="url-reports")
