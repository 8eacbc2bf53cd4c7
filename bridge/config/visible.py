"""The characters of a key, an id or an address: visible ASCII, without quotes around it.

A copy from a web page, a chat or a PDF may contain invisible characters: zero-width characters, a byte order mark,
no-break spaces; or curly quotes. A provider refuses such a key, or no request can be made with it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_QUOTES = "\"'`´‘’‚‛“”„‟«»‹›"

_LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"

_LOOKS_EMPTY = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Invisible characters that have the category of letters and marks."""

_FIX = "copy it again from its source"


def visible(value: object) -> object:
    """Return the value without surrounding blanks. Raise ValueError for an unintended character."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if fault := _fault(text):
        raise ValueError(fault)
    return text


def path(text: str) -> str:
    """Do the same for a possible file name, which may have blanks and letters of every language."""
    if fault := _fault(text, allowed=lambda char: _kind(char) in {"a blank", "a character outside ASCII"}):
        raise ValueError(fault)
    return text


def _fault(text: str, allowed: Callable[[str], bool] = lambda _: False) -> str | None:
    if len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        return "is in quotes; remove them"
    for place, char in enumerate(text, start=1):
        if not "!" <= char <= "~" and not allowed(char):
            return f"has {_kind(char)} as character {place}; {_FIX}"
    return None


def _kind(char: str) -> str:
    if char in _LINE_BREAKS:
        return "a line break"
    if char.isspace():
        return "a blank"
    if not char.isprintable() or char in _LOOKS_EMPTY or unicodedata.category(char) in {"Mn", "Me"}:
        return f"an invisible character (U+{ord(char):04X})"
    return "a character outside ASCII"
