"""What a text costs: in how many segments the carrier sends it.

What lives here: the arithmetic of an SMS. One segment holds 140 bytes. The phone puts a longer text together again, and
what it needs for that comes out of each part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bridge.phone import RCS, WHATSAPP

OFF_SMS = (WHATSAPP, RCS)
"""Addresses that begin so are on channels that know no segments."""

BASIC = frozenset(
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ!\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà \n\r"
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
EXTENDED = frozenset("^{}\\[~]|€\f")
"""GSM 03.38, seven bits a character; the second set is written with an escape before it."""

_GSM: Mapping[str, int] = dict.fromkeys(BASIC, 1) | dict.fromkeys(EXTENDED, 2)

GSM_SINGLE, GSM_PART = 160, 153
UCS_SINGLE, UCS_PART = 70, 67
"""Units in a text of one segment, and in each of several."""


def segments(text: str, address: str = "") -> int:
    """How many the carrier sends, and bills, for ``text`` to ``address``; an empty text is one too."""
    if off_sms(address):
        return 1
    if is_gsm(text):
        return _parts([_GSM[char] for char in text], GSM_SINGLE, GSM_PART)
    return _parts([1 + (char > "\uffff") for char in text], UCS_SINGLE, UCS_PART)


def off_sms(address: str) -> bool:
    return address.startswith(OFF_SMS)


def is_gsm(text: str) -> bool:
    """Whether seven bits a character are enough. One character that is not in the sets makes all of them wide."""
    return _GSM.keys() >= set(text)


def _parts(units: Iterable[int], single: int, part: int) -> int:
    units = list(units)
    if sum(units) <= single:
        return 1
    parts, room = 1, part
    for size in units:
        if size > room:  # it is not torn: it opens the next part
            parts, room = parts + 1, part
        room -= size
    return parts
