"""What a text costs: in how many segments the carrier sends it.

What lives here: the arithmetic of an SMS. One segment holds 140 bytes. The phone puts a longer text together again, and
what it needs for that comes out of each part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bridge.lib.phone import RCS, WHATSAPP

OFF_SMS = (WHATSAPP, RCS)
"""Addresses that begin so are on channels that know no segments."""

BASIC = frozenset(
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ!\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà \n\r"
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
EXTENDED = frozenset("^{}\\[~]|€\f")
"""GSM 03.38, seven bits a character; the second set is written with an escape before it."""

GSM: Mapping[str, int] = dict.fromkeys(BASIC, 1) | dict.fromkeys(EXTENDED, 2)
ALL = BASIC | EXTENDED

GSM_SINGLE, GSM_PART = 160, 153
UCS_SINGLE, UCS_PART = 70, 67
"""Units in a text of one segment, and in each of several."""


class Meter:
    """Counts the segments of a text that grows."""

    def __init__(self, single: int, part: int) -> None:
        self._single, self._part = single, part
        self._total, self._parts, self._left = 0, 1, part

    def add(self, sizes: Iterable[int]) -> None:
        """``sizes``: the units of each of the next characters."""
        for size in sizes:
            self._total += size
            if size > self._left:  # it is not torn: it opens the next part
                self._parts, self._left = self._parts + 1, self._part
            self._left -= size

    @property
    def segments(self) -> int:
        return 1 if self._total <= self._single else self._parts


def segments(text: str, address: str = "") -> int:
    """How many the carrier sends, and bills, for ``text`` to ``address``; an empty text is one too."""
    if off_sms(address):
        return 1
    characters = set(text)
    if characters <= BASIC:
        return 1 if len(text) <= GSM_SINGLE else -(-len(text) // GSM_PART)
    if characters <= ALL:
        meter, sizes = Meter(GSM_SINGLE, GSM_PART), [GSM[char] for char in text]
    else:
        meter, sizes = Meter(UCS_SINGLE, UCS_PART), ucs(text)
    meter.add(sizes)
    return meter.segments


def ucs(text: str) -> list[int]:
    """The UTF-16 code units of each character."""
    return [1 + (char > "\uffff") for char in text]


def off_sms(address: str) -> bool:
    return address.startswith(OFF_SMS)


def is_gsm(text: str) -> bool:
    """Whether seven bits a character are enough. One character that is not in the sets makes all of them wide."""
    return ALL.issuperset(text)
