"""The replacement of typography that costs money: curly quotes, dashes and similar characters become plain ones.

One curly quote makes every character of a text wide, and the text more than twice as expensive. The plain substitute
reads the same. Nothing with a meaning is replaced: no accents, no fractions, no degrees.
"""

from __future__ import annotations

import re
import unicodedata

from bridge.outbound.formatting.segments import is_gsm, segments

SISTERS: dict[str, str] = {
    "'": "\u2018\u2019\u201a\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02bd\u02c8\u2039\u203a\u275b\u275c\uff07`\u00b4",
    '"': "\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u275d\u275e\u301d\u301e\u301f\uff02\u02ba",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u2e3a\u2e3b\ufe58\ufe63\uff0d"
    + "\u2022\u2023\u2219\u00b7\u25aa\u25ab\u25cf\u25cb\u25e6\u25a0\u25a1\u2b24",
    " ": "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\t",
    "": "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufe0e\ufe0f",
    "\n": "\u0085\u2028\u2029\v",
    "...": "\u2026\u22ef",
    "..": "\u2025",
    "/": "\u2044\u2215",
    "*": "\u2217\u204e",
    ":": "\u2236\ua789",
    "~": "\u223c\u02dc",
    "|": "\u2223\u00a6",
    "<": "\u27e8",
    ">": "\u27e9",
    "x": "\u00d7",
    "->": "\u2192\u27a1\u279c\u2794",
    "<-": "\u2190",
    "=>": "\u21d2",
    "<=": "\u2264",
    ">=": "\u2265",
    "!!": "\u203c",
    "?!": "\u2048",
    "!?": "\u2049",
}
"""The plain text, and the characters that it replaces."""

_BETWEEN = re.compile(r"[\W_]+")

_TABLE = str.maketrans({char: plain for plain, chars in SISTERS.items() for char in chars})


def smart(text: str) -> str:
    """Return ``text`` in GSM-7 if that needs no more segments and loses nothing; else unchanged.

    An emoji or a ç keeps the text wide anyway. Then its quotes stay curly, and cost nothing.
    """
    if is_gsm(text):
        return text
    swapped = plain(text)
    cheaper = swapped.strip() and is_gsm(swapped) and segments(swapped) <= segments(text)
    return swapped if cheaper else text


def plain(text: str) -> str:
    """Replace all typography, whether that saves anything or not."""
    # To a carrier, an e and a separate accent are two characters. Composed, they are one GSM character.
    return unicodedata.normalize("NFC", text).translate(_TABLE)


def skeleton(text: str) -> str:
    """Return the part of a text that stays the same after any replacement of typography.

    These are its letters and digits, and the gaps between them. Carriers have their own tables, and do not publish them
    completely.
    """
    shown = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return _BETWEEN.sub(" ", shown).strip()
