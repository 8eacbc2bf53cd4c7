"""The settings. A wrong one ends the doctor before any check, so here they are complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from bridge.config import Settings
from bridge.config.misspelt import Unknown
from bridge.doctor.context import Context
from bridge.doctor.findings import Finding, ok, warning

SUBJECT = "settings"


def settings(context: Context) -> Sequence[Finding]:
    found = [*unknown(context.unknown_names), *public_url(context), *_advice(context.settings)]
    return found or [ok(SUBJECT, "are complete")]


def unknown(names: Sequence[Unknown]) -> list[Finding]:
    """Tell the names that may be settings with a typing error."""
    return [warning(SUBJECT, each.words, each.remedy, code="setting-unknown") for each in names]


def public_url(context: Context) -> Sequence[Finding]:
    """Check the address by itself, without a call."""
    return [*_unwise(context.settings)]


def _unwise(its: Settings) -> Iterator[Finding]:
    if _is_local(urlsplit(its.public_url).hostname or ""):
        yield warning(
            SUBJECT,
            "PUBLIC_URL is an address of this machine or its network, which Twilio can't reach",
            "Set it to the public https address; on your own machine, to that of a tunnel.",
            code="url-local",
        )
    elif not its.public_url.startswith("https://"):
        yield warning(
            SUBJECT,
            "PUBLIC_URL has no https, so texts cross the network in the clear",
            "Set an https address.",
            code="url-no-https",
        )


def _advice(its: Settings) -> Iterator[Finding]:
    if not its.twilio_numbers:
        yield warning(
            SUBJECT,
            "TWILIO_NUMBERS is empty: texts that came while the bridge was away are not fetched, no number is checked",
            "Set it to the numbers of this bridge.",
            code="no-numbers",
        )
    if not its.operators:
        words = "no ADMIN_TOKEN is set, so /admin and /console are closed"
        yield warning(SUBJECT, words, "Set ADMIN_TOKEN.", code="no-operator")


def _is_local(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
