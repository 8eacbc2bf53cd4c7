"""Phone numbers as they may be shown: enough to tell two people apart, too little to call one.

What lives here: masking one address, and masking whatever looks like a number inside foreign text; the patterns of the
two kinds of our own numbers that have rules of their own; and the prefixes of channels. Nothing else is parsed, and
nothing normalised: an address is opaque to the bridge.
"""

from __future__ import annotations

import re

HIDDEN = 5
"""Of a full number at least so many digits never appear: a hundred thousand people could be meant."""

HEAD = 4
"""Leading digits that may be shown: the country, and in North America the area."""

TAIL = 2
"""Trailing characters that may be shown."""

SHORTEST = 7
"""Digits. Local numbers start here; codes, dates and amounts are mostly shorter."""

SHORTEST_WITH_PLUS = 5
"""Digits. A plus sign gives a number away, however short."""

TOLL_FREE = re.compile(r"\+18(00|33|44|55|66|77|88)[0-9]{7}")
SHORT_CODE = re.compile(r"[0-9]{3,8}")
"""For fullmatch: a toll-free number of North America, and a short code. Keywords and rates differ for both."""

LONGEST_NAME = 11
"""Characters of an alphanumeric sender id."""

WHATSAPP = "whatsapp:"
RCS = "rcs:"
"""How an address on another channel than SMS begins."""

_ADDRESS = re.compile(r"(?P<channel>[A-Za-z]{2,10}:)?(?P<rest>.*)", re.DOTALL)

_GAP = r"[ \t\u00a0\u202f()./\u2010-\u2015-]{0,2}"
_KEPT = (
    r"(?<![^\W_])(?:[A-Za-z]{2})?(?=[0-9a-f]*[a-f])[0-9a-f]{24,}(?![^\W_])",  # the vendors' ids, and our references
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
    r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?",
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?!\.?\d)",  # where a server is
    r"\b\d+\.\d+s\b",  # how long something took
)
_CANDIDATE = re.compile(
    rf"(?P<kept>{'|'.join(_KEPT)})|(?P<plus>\+|%2[Bb])?(?P<run>\(?\d(?:{_GAP}\d){{{SHORTEST_WITH_PLUS - 1},}})"
)


def masked(address: str) -> str:
    """``whatsapp:+1555…01``: the channel, and as much of the address as does no harm."""
    parts = _ADDRESS.fullmatch(address)
    assert parts  # it matches everything
    rest = parts["rest"]
    return (parts["channel"] or "") + (_masked_number(rest) if _is_number(rest) else _masked_id(rest))


def is_name(address: str) -> bool:
    """``VERIFY``, an alphanumeric sender id: carriers bring its texts and take none for it.

    It has a letter, and as many characters as GSM has room for. What is longer is an address that nobody here knows;
    one of a channel may be anything, and the channel finds who it belongs to.
    """
    return len(address) <= LONGEST_NAME and ":" not in address and any(map(str.isalpha, address))


def without_channel(address: str) -> str:
    """``whatsapp:+15550001111`` is the same number as ``+15550001111``."""
    return address.rpartition(":")[2]


def mask_numbers(text: str, *, shortest: int = SHORTEST) -> str:
    """Foreign text with every phone number in it masked. ``shortest`` counts for plain runs of digits only."""

    def replace(found: re.Match[str]) -> str:
        if found["kept"]:
            return found[0]
        digits = "".join(filter(str.isdecimal, found["run"]))
        if len(digits) < _shortest(found, shortest):
            return found[0]
        return _masked_number(("+" if found["plus"] else "") + digits)

    return _CANDIDATE.sub(replace, text)


def _shortest(found: re.Match[str], plain: int) -> int:
    if found["plus"]:
        return SHORTEST_WITH_PLUS
    return plain if found["run"].isdecimal() else SHORTEST


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
