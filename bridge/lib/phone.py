"""Phone numbers as they may be shown: enough to tell two people apart, too little to call one.

The module masks one address, and everything that looks like a number in foreign text. It also has the patterns of the
two kinds of our own numbers with special rules, and the prefixes of channels. It normalises nothing: an address is
opaque to the bridge.
"""

from __future__ import annotations

import re

HIDDEN = 5
"""Digits of a full number that never appear. So it could belong to any of a hundred thousand people."""

HEAD = 4
"""Leading digits that may appear: the country, and in North America the area."""

TAIL = 2
"""Trailing characters that may appear."""

SHORTEST = 7
"""Digits. Local numbers start here; codes, dates and amounts are mostly shorter."""

SHORTEST_WITH_PLUS = 5
"""Digits. A plus sign reveals a number, however short."""

TOLL_FREE = re.compile(r"\+18(00|33|44|55|66|77|88)[0-9]{7}")
SHORT_CODE = re.compile(r"[0-9]{3,8}")
"""For fullmatch: a toll-free number of North America, and a short code. Both have their own keywords and rates."""

LONGEST_NAME = 11
"""Characters of an alphanumeric sender id."""

WHATSAPP = "whatsapp:"
RCS = "rcs:"
"""The prefixes of addresses on other channels than SMS."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")

_ADDRESS = re.compile(r"(?P<channel>[A-Za-z]{2,10}:)?(?P<rest>.*)", re.DOTALL)

_DIGIT = r"[\d\u00b2\u00b3\u00b9\u2070-\u2079\u2080-\u2089\u2460-\u2468\u24ea]"
"""A digit of any script, also raised, lowered or in a circle."""

_GAP = r"(?:[^\w\n\"+=<>&%@#{}\[\]\u2026]|_){0,4}"
"""The characters between the digits of a number: blanks, dashes, dots, commas, colons, slashes, underscores and
other signs that are no letters."""

_LIST = re.compile(r"[,;:]\s")
LONGEST_LIST = 8
"""Digits. ``12345, 100`` is two figures. A longer run may be a number."""

_QUAD = r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!\d{4})|\b)){4}(?!\.?\d)"
_PRIVATE = r"(?=10\.|127\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.)"
_TIME = r"\d\d:\d\d(?::\d\d(?:[.,]\d{1,6})?)?"
_KEPT = (
    r"(?<![^\W_])(?:[A-Za-z]{2})?(?=[0-9a-f]*[a-f])[0-9a-f]{24,}(?![^\W_])",  # the providers' ids, and our references
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
    rf"\b(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?:[T ]{_TIME})?(?!\d|[ -]\d)",
    rf"(?:(?<=//)|(?<=@)|(?<=at \")){_QUAD}(?::\d{{2,5}}\b)?",  # where a server is
    r"\b(?:127\.0\.0\.1|0\.0\.0\.0)\b(?!\.?\d)(?::\d{2,5}\b)?",
    rf"\b{_PRIVATE}{_QUAD}:\d{{4,5}}\b",
    r"\b\d{1,4}\.\d+s\b",  # how long something took
)
_CANDIDATE = re.compile(
    rf"(?P<kept>{'|'.join(_KEPT)})"
    rf"|(?P<plus>\+|%2[Bb]|\uff0b)?(?P<run>\(?{_DIGIT}(?:{_GAP}{_DIGIT}){{{SHORTEST_WITH_PLUS - 1},}})"
)


_DIGITS = re.compile(_DIGIT)


def masked(address: str) -> str:
    """Return ``whatsapp:+1555…01``: the channel, and a harmless part of the address."""
    parts = _ADDRESS.fullmatch(address)
    assert parts  # it matches everything
    rest = parts["rest"]
    return (parts["channel"] or "") + (_masked_number(rest) if _is_number(rest) else _masked_id(rest))


def is_name(address: str) -> bool:
    """Return True for an alphanumeric sender id such as ``VERIFY``. Carriers bring its texts but send none to it.

    It has a letter, and at most as many characters as GSM allows. A longer address is unknown to us. An address of a
    channel may have any form, and the channel finds its owner.
    """
    return len(address) <= LONGEST_NAME and ":" not in address and any(map(str.isalpha, address))


def without_channel(address: str) -> str:
    """Return the address without its channel: ``whatsapp:+15550001111`` is the number ``+15550001111``."""
    return address.rpartition(":")[2]


def channel_of(address: str) -> str:
    """Return the name of the address's channel: ``sms`` for one without a prefix."""
    return address.rpartition(":")[0] or "sms"


def e164(address: str) -> str | None:
    """Return the number of an address on any channel; ``None`` if it is no complete number, such as a short code."""
    number = without_channel(address)
    return number if _E164.fullmatch(number) else None


def mask_numbers(text: str, *, shortest: int = SHORTEST) -> str:
    """Mask every phone number in foreign text. ``shortest`` applies to plain runs of digits only."""

    def replace(found: re.Match[str]) -> str:
        if found["kept"]:
            return found[0]
        digits = "".join(filter(str.isdigit, found["run"]))
        if len(digits) < _shortest(found, shortest):
            return found[0]
        return _masked_number(("+" if found["plus"] else "") + digits)

    if len(_DIGITS.findall(text)) < SHORTEST_WITH_PLUS:
        return text  # most records of the log; the search for numbers takes ten times as long
    return _CANDIDATE.sub(replace, text)


def _shortest(found: re.Match[str], plain: int) -> int:
    if found["plus"]:
        return SHORTEST_WITH_PLUS
    if found["run"].isdecimal():
        return plain
    return LONGEST_LIST + 1 if _LIST.search(found["run"]) else SHORTEST


def _is_number(text: str) -> bool:
    return text.removeprefix("+").isdecimal()


def _masked_number(number: str) -> str:
    digits = number.removeprefix("+")
    tail = TAIL if len(digits) >= SHORTEST_WITH_PLUS else 0
    head = max(0, min(HEAD, len(digits) - tail - HIDDEN))
    plus = "+" if number.startswith("+") else ""
    return plus + digits[:head] + "…" + digits[len(digits) - tail :]


def _masked_id(text: str) -> str:
    return "…" + text[-TAIL:] if len(text) >= TAIL + HIDDEN else "…"
