"""The price of a text: the number of segments that the carrier sends.

One segment holds 140 bytes. The phone joins a longer text again, and the data for that takes space in each part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bridge.lib.phone import RCS, WHATSAPP

OFF_SMS = (WHATSAPP, RCS)
"""Prefixes of addresses on channels without segments."""

BASIC = frozenset(
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ!\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà \n\r"
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
EXTENDED = frozenset("^{}\\[~]|€\f")
"""GSM 03.38, seven bits for each character. A character of the second set needs an escape before it."""

GSM: Mapping[str, int] = dict.fromkeys(BASIC, 1) | dict.fromkeys(EXTENDED, 2)
ALL = BASIC | EXTENDED

GSM_SINGLE, GSM_PART = 160, 153
UCS_SINGLE, UCS_PART = 70, 67
"""Units in a text of one segment, and in each of several."""


class Meter:
    """Count the segments of a growing text."""

    def __init__(self, single: int, part: int) -> None:
        self._single, self._part = single, part
        self._total, self._parts, self._left = 0, 1, part

    def add(self, sizes: Iterable[int]) -> None:
        """Add characters. ``sizes`` are the units of each."""
        for size in sizes:
            self._total += size
            if size > self._left:  # a character is never split, so it starts the next part
                self._parts, self._left = self._parts + 1, self._part
            self._left -= size

    @property
    def segments(self) -> int:
        return 1 if self._total <= self._single else self._parts


def segments(text: str, address: str = "") -> int:
    """Return the segments that the carrier sends and bills for ``text`` to ``address``. An empty text counts as one."""
    if off_sms(address):
        return 1
    if BASIC.issuperset(text):
        return 1 if len(text) <= GSM_SINGLE else -(-len(text) // GSM_PART)
    if ALL.issuperset(text):
        meter, sizes = Meter(GSM_SINGLE, GSM_PART), [GSM[char] for char in text]
    else:
        meter, sizes = Meter(UCS_SINGLE, UCS_PART), ucs(text)
    meter.add(sizes)
    return meter.segments


def ucs(text: str) -> list[int]:
    """Return the UTF-16 code units of each character."""
    return [1 + (char > "\uffff") for char in text]


def off_sms(address: str) -> bool:
    return address.startswith(OFF_SMS)


def is_gsm(text: str) -> bool:
    """Return True if seven bits a character are enough. One character outside the sets makes all of them wide."""
    return ALL.issuperset(text)
