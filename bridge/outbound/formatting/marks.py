"""Marks within a text: bold and its like, until it is known what the phone shows of them.

What lives here: private characters that stand for a mark while a text is read, and what becomes of them at the end.
WhatsApp shows *bold*, _italic_, ~struck~ and `code`. An SMS shows nothing of the kind; but that a word is struck out
changes what is said, so those tildes stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")
"""Characters that mean nothing outside the program that made them up. They are taken out before ours are put in."""

_FIRST_GUARD = 0xE100
GUARDS = {ord(char): chr(_FIRST_GUARD + ord(char)) for char in "*_`#[]()<>~|\\+->&!."}
"""For characters that are meant to the letter, and no marks of Markdown."""
OURS = r"\uE000-\uE007\uE100-\uE17F"
"""All of them, within the brackets of a pattern."""
_UNGUARDED = {ord(guard): chr(char) for char, guard in GUARDS.items()}


class Mark(Enum):
    """What is put around words; its number is that of the private character that opens it."""

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
    """``text`` with its marks as the phone shows them, and all that was guarded as it is."""
    if PRIVATE.search(text):
        text = _written(text, _WHATSAPP if whatsapp else _SMS) if _ANY.search(text) else text
        text = text.translate(_UNGUARDED)
    return text


def _written(text: str, signs: dict[Mark, str]) -> str:
    bare, spans = _taken_out(text)
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


def _taken_out(text: str) -> tuple[str, list[_Span]]:
    """The text without marks, and where they stood. One within another of its kind says nothing."""
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
    """No mark reaches over the end of a line, nor begins or ends with a blank."""
    start = span.start
    for line in text[span.start : span.end].split("\n"):
        first = start + len(line) - len(line.lstrip())
        last = start + len(line.rstrip())
        if first < last:
            yield first, last
        start += len(line) + 1


def _would_show(text: str, start: int, end: int, sign: str) -> bool:
    """Within a word a sign stays a sign, and a sign of the same kind inside would end it early."""
    inside_word = (start > 0 and text[start - 1].isalnum()) or (end < len(text) and text[end].isalnum())
    return not inside_word and sign not in text[start:end]
