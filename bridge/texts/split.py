"""Long texts, cut into parts that one message can carry.

What lives here: where to cut, and nothing about sending. The parts come out whole to the eye: cut between paragraphs,
else lines, else sentences, else words, and only a word that is too long by itself is cut between its characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import regex

LIMIT = 1600
"""UTF-16 code units. Twilio refuses a longer body; an emoji counts as more than one there, and this is how it can."""


class Seam(IntEnum):
    """How well a text may be cut at a place."""

    NONE = 0
    WORD = 1
    SENTENCE = 2
    LINE = 3
    PARAGRAPH = 4


_BLANK = r"[\s\x1c-\x1f]"
"""What ``str.isspace`` says of it: ``regex`` alone leaves out the four separators of old terminals."""

_ENDS = {
    Seam.WORD: regex.compile(rf"{_BLANK}+"),
    Seam.SENTENCE: regex.compile(rf"[.!?…؟।][\p{{Pe}}\p{{Pf}}\"']*{_BLANK}+|[。！？][\p{{Pe}}\p{{Pf}}]*{_BLANK}*"),
    Seam.LINE: regex.compile(rf"\n{_BLANK}*"),
    Seam.PARAGRAPH: regex.compile(rf"\n{_BLANK}*\n{_BLANK}*"),
}
"""What a seam looks like; the cut comes after it. Later ones win where two end at the same place."""


@dataclass(frozen=True)
class _Atom:
    """What is never cut: a character as people see it."""

    text: str
    units: int
    seam: Seam
    """How well the text may be cut behind it."""

    @property
    def blank(self) -> bool:
        return self.text.isspace()


def split(text: str, limit: int = LIMIT) -> list[str]:
    """The parts of ``text`` in order, each as full as a good seam allows, without blanks at their ends."""
    atoms = _stripped(list(_atoms(text, limit)))
    parts, start = [], 0
    while start < len(atoms):
        stop = _cut(atoms, start, limit)
        parts.append("".join(atom.text for atom in _stripped(atoms[start:stop])))
        start = stop
    return parts


def _atoms(text: str, limit: int) -> Iterator[_Atom]:
    seams = {found.end(): seam for seam, end in _ENDS.items() for found in end.finditer(text)}
    for cluster in regex.finditer(r"\X", text):
        *heads, last = _pieces(cluster[0], limit)
        yield from (_Atom(head, units(head), Seam.NONE) for head in heads)
        yield _Atom(last, units(last), seams.get(cluster.end(), Seam.NONE))


def _pieces(cluster: str, limit: int) -> Sequence[str]:
    """Whole, unless no message could ever carry it: a letter under a thousand accents."""
    return [cluster] if units(cluster) <= limit else cluster


def units(text: str) -> int:
    """In UTF-16, as ``LIMIT`` counts them."""
    return len(text) + sum(char > "\uffff" for char in text)


def _cut(atoms: Sequence[_Atom], start: int, limit: int) -> int:
    """Where the part that begins at ``start`` ends: at the latest of the best seams."""
    stop = _fill(atoms, start, limit)
    if stop == len(atoms):
        return stop
    middle = (start + stop) // 2

    def worth(place: int) -> Seam:
        # A better seam is not worth a part that is less than half full.
        seam = atoms[place - 1].seam
        return seam if place > middle else min(seam, Seam.WORD)

    return max(range(stop, start, -1), key=worth)


def _fill(atoms: Sequence[_Atom], start: int, limit: int) -> int:
    """How far a message reaches. Blanks at its end cost nothing: they fall away."""
    room, stop = limit, start
    while stop < len(atoms) and (atoms[stop].blank or atoms[stop].units <= room):
        room -= atoms[stop].units
        stop += 1
    return stop


def _stripped(atoms: list[_Atom]) -> list[_Atom]:
    first, last = 0, len(atoms)
    while first < last and atoms[first].blank:
        first += 1
    while last > first and atoms[last - 1].blank:
        last -= 1
    return atoms[first:last]
