"""Twilio's count of the segments of a text, and its Smart Encoding."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_BASIC = frozenset(
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ!\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà \n\r"
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_EXTENSION = frozenset("^{}\\[~]|€\f")
"""Two units each."""

_GSM = (160, 153)
_UCS = (70, 67)
"""Units in a single text, and in each part of a longer one."""

_SMART = str.maketrans(
    {
        "“": '"', "”": '"', "„": '"', "‟": '"', "«": '"', "»": '"',
        "‘": "'", "’": "'", "‚": ",", "‛": "'", "`": "'", "´": "'",
        "‐": "-", "‑": "-", "–": "-", "—": "-", "―": "-", "•": "-", "−": "-",
        "…": "...", "⁄": "/", "\t": " ", "\u2028": " ", "\u2029": " ",
        "\u200b": "", "\u2060": "", "\ufeff": "",
    }
)  # fmt: skip
"""Characters that get into texts unnoticed. Twilio knows some more."""


def utf16_units(body: str) -> int:
    return len(body.encode("utf-16-le")) // 2


def segments(body: str) -> int:
    """Return the number of segments if no character is split."""
    gsm = all(char in _BASIC or char in _EXTENSION for char in body)
    single, part = _GSM if gsm else _UCS
    units = [2 if (char in _EXTENSION if gsm else char > "\uffff") else 1 for char in body]
    return 1 if sum(units) <= single else _filled(units, part)


def smart(body: str) -> str:
    """Replace typographic characters with those that every phone knows."""
    plain = body.translate(_SMART)
    return "".join(char if char in _BASIC else _simpler(char) for char in plain)


def _simpler(char: str) -> str:
    """Return the plain form of a wide letter or an odd blank. Other characters stay."""
    plain = unicodedata.normalize("NFKC", char)
    return plain if len(plain) == 1 and plain in _BASIC else char


def _filled(units: Iterable[int], part: int) -> int:
    parts, left = 1, part
    for size in units:
        if size > left:
            parts, left = parts + 1, part
        left -= size
    return parts
