"""Our own numbers: from the way people write them to the way Twilio writes them in ``To``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from bridge.lib.phone import RCS, SHORT_CODE, WHATSAPP, masked

NO_NUMBER = "this is not a phone number; write it like +15550001111"
NO_COUNTRY = "this has no country code; write it like +15550001111"
AN_ID = "this is an id, not a number; write the number, like +15550001111"
A_SERVICE = "this is a messaging service; set it as TWILIO_MESSAGING_SERVICE_SID"

_CHANNELS = {"whatsapp": WHATSAPP, "rcs": RCS, "sms": "", "mms": "", "tel": ""}
_CHANNEL = re.compile(r"(?P<channel>[A-Za-z]+)\s*:\s*(?P<rest>.*)")

_ID = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}")
_SERVICE = re.compile(r"MG[0-9A-Za-z]*", re.IGNORECASE)
_RCS_AGENT = re.compile(r"(?=.*[A-Za-z])[0-9A-Za-z_.-]{3,64}")

_TRUNK_ZERO = re.compile(r"\(\s*0\s*\)")
"""``+44 (0)20 …``: dialed at home, but not from abroad."""

_SEPARATORS = re.compile(r"[\s()\[\]./·\u2010-\u2015\u2212-]")
_ABROAD = re.compile(r"(00|011)(?=[1-9][0-9]{6})")
"""The start of an international call, in most countries and in North America."""

_NORTH_AMERICA = re.compile(r"1[2-9][0-9]{9}")
_ELSEWHERE = re.compile(r"[2-9][0-9]{6,14}")
_SURELY_WITH_COUNTRY = 11
"""Digits. A shorter number without a plus may be a number as dialed at home."""

SHORTEST_AT_HOME = 7
"""Digits of a number as dialed at home."""


def our_address(written: str) -> str:
    """Return ``whatsapp:

    1 (555) 000-1111`` as ``whatsapp:+15550001111``. Raise ValueError if it can't receive texts.
    """
    text = _visible(written)
    channel, rest = _channel_of(text)
    if _SERVICE.fullmatch(rest):
        raise ValueError(A_SERVICE)
    if _ID.fullmatch(rest):
        raise ValueError(AN_ID)
    if channel == RCS and _RCS_AGENT.fullmatch(rest):
        return channel + rest
    if not channel and SHORT_CODE.fullmatch(rest):
        return rest
    return channel + _international(rest)


def our_addresses(text: str) -> tuple[str, ...]:
    """Read addresses that are separated by commas, semicolons or line breaks.

    Raise ValueError with one line for each wrong entry.
    """
    entries = [entry for entry in map(str.strip, re.split(r"[,;\n]", _visible(text, keep="\n"))) if entry]
    faults: list[str] = []
    addresses: list[str] = []
    for place, entry in enumerate(entries, start=1):
        try:
            addresses.append(our_address(entry))
        except ValueError as error:
            faults.append(f"at its entry {place} ({masked(entry)}): {error}")
    if faults:
        raise ValueError("\n".join(faults))
    return tuple(dict.fromkeys(addresses))


def _visible(text: str, keep: str = "") -> str:
    """Remove the invisible marks that address books put around a number, and narrow wide characters."""
    return "".join(_narrow(text, keep)).strip()


def _narrow(text: str, keep: str) -> Iterator[str]:
    for char in unicodedata.normalize("NFKC", text):
        if char in keep or char.isspace() or unicodedata.category(char) not in {"Cc", "Cf", "Mn"}:
            yield str(unicodedata.decimal(char, char))


def _channel_of(text: str) -> tuple[str, str]:
    found = _CHANNEL.fullmatch(text)
    if not found:
        return "", text
    channel = found["channel"].lower()
    if channel not in _CHANNELS:
        raise ValueError(NO_NUMBER)
    return _CHANNELS[channel], found["rest"].removeprefix("//")


def _international(written: str) -> str:
    """Return the number with a plus, as E.164 wants it."""
    digits = _SEPARATORS.sub("", _TRUNK_ZERO.sub("", written))
    plus = digits.startswith("+")
    digits = digits.removeprefix("+")
    if not plus and (abroad := _ABROAD.match(digits)):
        plus, digits = True, digits[abroad.end() :]
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(NO_NUMBER)
    if not plus and (len(digits) < _SURELY_WITH_COUNTRY or digits.startswith("0")):
        raise ValueError(NO_COUNTRY if len(digits) >= SHORTEST_AT_HOME else NO_NUMBER)
    if not (_NORTH_AMERICA if digits.startswith("1") else _ELSEWHERE).fullmatch(digits):
        raise ValueError(NO_NUMBER)
    return f"+{digits}"
