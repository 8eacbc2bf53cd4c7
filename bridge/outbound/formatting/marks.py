"""The marks within a text, such as bold, until the phone's form is known.

Private characters stand for the marks while a text is read. At the end they become the phone's own marks. WhatsApp
shows *bold*, _italic_, ~struck~ and `code`. An SMS shows none of them. But a struck word changes the meaning, so its
tildes stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")
"""Characters without a meaning outside the program that made them up. They are removed before ours are inserted."""

_FIRST_GUARD = 0xE100
GUARDS = {ord(char): chr(_FIRST_GUARD + ord(char)) for char in "*_`#[]()<>~|\\+->&!."}
"""Substitutes for characters that are literal and no Markdown."""
OURS = r"\uE000-\uE007\uE100-\uE17F"
"""All of our private characters, for use within the brackets of a pattern."""
_UNGUARDED = {ord(guard): chr(char) for char, guard in GUARDS.items()}


class Mark(Enum):
    """A mark around words. Its value is the code of the private character that opens it."""

    BOLD = 0xE000
    ITALIC = 0xE002
    STRUCK = 0xE004
    CODE = 0xE006

    @property
    def opens(self) -> str:
        return chr(self.value)

    @property
    def closes(self) -> str:
        return chr(self.value + 1)


_SMS = {Mark.STRUCK: "~~"}
_WHATSAPP = {Mark.BOLD: "*", Mark.ITALIC: "_", Mark.STRUCK: "~", Mark.CODE: "`"}
_ANY = re.compile("([\ue000-\ue007])")


@dataclass(frozen=True)
class _Span:
    mark: Mark
    start: int
    end: int


def written(text: str, *, whatsapp: bool) -> str:
    """Return ``text`` with its marks as the phone shows them, and with all guarded characters restored."""
    if PRIVATE.search(text):
        text = _written(text, _WHATSAPP if whatsapp else _SMS) if _ANY.search(text) else text
        text = text.translate(_UNGUARDED)
    return text


def _written(text: str, signs: dict[Mark, str]) -> str:
    bare, spans = _without_marks(text)
    before: dict[int, str] = {}
    behind: dict[int, str] = {}
    for span in spans:  # the inner ones come first
        for start, end in _lines(bare, span) if span.mark in signs else ():
            sign = signs[span.mark]
            if span.mark is Mark.CODE or _would_show(bare, start, end, sign):
                before[start] = sign + before.get(start, "")
                behind[end] = behind.get(end, "") + sign
    places = sorted(before.keys() | behind.keys() | {len(bare)})
    pieces = [bare[: places[0]]]
    for place, following in pairwise([*places, len(bare)]):
        pieces += [behind.get(place, ""), before.get(place, ""), bare[place:following]]
    return "".join(pieces)


def _without_marks(text: str) -> tuple[str, list[_Span]]:
    """Return the text without marks, and their positions. A mark inside another of its kind is ignored."""
    pieces: list[str] = []
    opened: dict[Mark, list[int]] = {mark: [] for mark in Mark}
    spans: list[_Span] = []
    length = 0
    for piece in _ANY.split(text):
        if not _ANY.fullmatch(piece):
            pieces.append(piece)
            length += len(piece)
            continue
        mark = Mark(ord(piece) & ~1)
        if piece == mark.opens:
            opened[mark].append(length)
        elif opened[mark]:
            start = opened[mark].pop()
            if not opened[mark]:
                spans.append(_Span(mark, start, length))
    return "".join(pieces), spans


def _lines(text: str, span: _Span) -> Iterator[tuple[int, int]]:
    """Yield the span in pieces: no mark crosses a line end, nor begins or ends with a blank."""
    start = span.start
    for line in text[span.start : span.end].split("\n"):
        first = start + len(line) - len(line.lstrip())
        last = start + len(line.rstrip())
        if first < last:
            yield first, last
        start += len(line) + 1


def _would_show(text: str, start: int, end: int, sign: str) -> bool:
    """Return True if the phone shows the mark.

    Within a word it stays a character, and the same character inside ends it.
    """
    inside_word = (start > 0 and text[start - 1].isalnum()) or (end < len(text) and text[end].isalnum())
    return not inside_word and sign not in text[start:end]
