"""The webhook of a number: the one that this bridge needs, and what is wrong with another one."""

from __future__ import annotations

from urllib.parse import urlsplit

from bridge.doctor.findings import Finding, Mark, fault, ok, warning
from bridge.lib.phone import mask_numbers
from bridge.providers.carriers.twilio.account import Webhook

INBOUND_PATH = "/twilio/inbound"

OVERRIDES = "rc=5&rp=5xx,ct,rt"
"""Twilio repeats a call up to five times, within its 15 s, also after a 5xx or no answer."""

REPEATED = frozenset({"5xx", "ct", "rt"})


def wanted(public_url: str) -> Webhook:
    """Return the webhook of this bridge."""
    return Webhook(f"{public_url}{INBOUND_PATH}#{OVERRIDES}", "POST")


def judged(subject: str, webhook: Webhook, public_url: str, remedy: str) -> Finding:
    """Judge whether texts come to this bridge, and whether Twilio repeats its call."""
    url, _, overrides = webhook.url.partition("#")
    if webhook.application_sid:
        return fault(subject, "a TwiML app gets its texts", remedy, code="webhook-app")
    if not url:
        return fault(subject, "has no webhook, so nobody gets its texts", remedy, code="webhook-none")
    if url != public_url + INBOUND_PATH:
        return fault(subject, f"its texts go to {shown(webhook)}", remedy, code="webhook-elsewhere")
    if webhook.method.upper() != "POST":
        words = f"its webhook is called by {webhook.method}, and not by POST"
        return fault(subject, words, remedy, code="webhook-method")
    if not _repeats(overrides):
        words = "its webhook has no connection overrides that repeat a failed call"
        return warning(subject, words, remedy, code="webhook-not-repeated")
    return ok(subject, "its texts come here, and a failed call is repeated")


def is_well(webhook: Webhook, public_url: str) -> bool:
    return judged("", webhook, public_url, "").mark is Mark.OK


def shown(webhook: Webhook) -> str:
    """Return it for people: without the password that an address may have, and with masked numbers."""
    if webhook.application_sid:
        return f"the TwiML app {webhook.application_sid}"
    if not webhook.url:
        return "no webhook"
    parts = urlsplit(webhook.url)
    host = parts.netloc.rpartition("@")[2]
    hidden = parts._replace(netloc=f"***@{host}" if host != parts.netloc else host)
    return mask_numbers(f"{webhook.method} {hidden.geturl()}")


def _repeats(overrides: str) -> bool:
    its = dict(pair.split("=", 1) for pair in overrides.split("&") if "=" in pair)
    policies = set(its.get("rp", "").split(","))
    return its.get("rc", "0") not in ("", "0") and ("all" in policies or policies >= REPEATED)
