"""Long texts, cut into parts that one message can carry.

What lives here: where to cut, and nothing about sending. The parts come out whole to the eye: cut between paragraphs,
else lines, else sentences, else words, and only a word that is too long by itself is cut between its characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import regex

from bridge.outbound.formatting.segments import (
    GSM,
    GSM_PART,
    GSM_SINGLE,
    UCS_PART,
    UCS_SINGLE,
    Meter,
    is_gsm,
    segments,
    ucs,
)
from bridge.outbound.formatting.smart import plain

LIMIT = 1600
"""UTF-16 code units. Twilio refuses a longer body; an emoji counts as more than one there, and this is how it can."""


@dataclass(frozen=True)
class Room:
    """What one message can carry."""

    units: int = LIMIT
    segments: int | None = None
    """``None`` where the channel knows none."""
    smart: bool = False
    """Typography becomes plain where that makes a part cheaper, so a part may hold more of it."""
    spare: int = 0
    """So many plain characters are to come behind it."""

    def holds(self, text: str) -> bool:
        text += "." * self.spare
        return units(text) <= self.units and (self.segments is None or segments(text) <= self.segments)

    @property
    def narrowest(self) -> int:
        """So many UTF-16 units fit for certain. A wide segment of 67 may have to leave one of them empty."""
        if self.segments is None:
            return self.units
        return min(self.units, UCS_SINGLE if self.segments == 1 else self.segments * (UCS_PART - 1))


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

_CLUSTER = regex.compile(r"[\U0001F1E6-\U0001F1FF]{2}[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]*|\X")
r"""A character as people see it. ``\X`` alone counts the flags before each flag anew: 64,000 of them took 21 s."""


@dataclass(frozen=True, slots=True)
class _Atom:
    """What is never cut: a character as people see it."""

    text: str
    blank: bool
    ucs: Sequence[int]
    """The UTF-16 units of each of its characters."""
    gsm: Sequence[int] | None
    """The same in GSM-7, as it will be written; ``None`` where that can't be."""


@dataclass
class _Part:
    """What one message would carry, while it is filled."""

    room: Room
    units: int = 0
    septets: int | None = 0
    wide: Meter = field(default_factory=lambda: Meter(UCS_SINGLE, UCS_PART))
    narrow: Meter = field(default_factory=lambda: Meter(GSM_SINGLE, GSM_PART))

    def add(self, atom: _Atom) -> None:
        self.units += sum(atom.ucs)
        if self.room.segments is None:
            return
        self.wide.add(atom.ucs)
        if atom.gsm is None or self.septets is None:
            self.septets = None
        else:
            self.septets += sum(atom.gsm)
            self.narrow.add(atom.gsm)

    @property
    def fits(self) -> bool:
        most = self.room.segments
        if most is None:
            return self.units <= self.room.units
        if self.septets is not None and self.septets <= self.room.units and self.narrow.segments <= most:
            return True
        return self.units <= self.room.units and self.wide.segments <= most


def split(text: str, room: Room | None = None) -> list[str]:
    """The parts of ``text`` in order, each as full as a good seam allows, without blanks at their ends."""
    return list(parts(text, room or Room()))


def parts(text: str, room: Room) -> Iterator[str]:
    """The same, one at a time: of an endless text only a few are needed."""
    if text and not text[0].isspace() and not text[-1].isspace() and room.holds(text):
        yield text  # as most texts do
        return
    atoms, seams = _atoms(text, room)
    start, end = _stripped(atoms, 0, len(atoms))
    while start < end:
        stop = _cut(atoms, seams, start, end, room)
        yield "".join(atom.text for atom in atoms[slice(*_stripped(atoms, start, stop))])
        start, _ = _stripped(atoms, stop, end)


def _atoms(text: str, room: Room) -> tuple[list[_Atom], list[Seam]]:
    """And behind each of them, how well the text may be cut there."""
    ends = {found.end(): seam for seam, end in _ENDS.items() for found in end.finditer(text)}
    known: dict[str, _Atom] = {}
    atoms: list[_Atom] = []
    seams: list[Seam] = []
    for cluster in _CLUSTER.finditer(text):
        pieces = _pieces(cluster[0], room)
        atoms += [known.get(piece) or known.setdefault(piece, _atom(piece, room)) for piece in pieces]
        seams += [Seam.NONE] * (len(pieces) - 1)
        seams.append(ends.get(cluster.end(), Seam.NONE))
    return atoms, seams


def _pieces(cluster: str, room: Room) -> Sequence[str]:
    """Whole, unless no message could ever carry it: a letter under a thousand accents."""
    return [cluster] if units(cluster) <= room.narrowest else cluster


def _atom(text: str, room: Room) -> _Atom:
    written = plain(text) if room.smart else text
    gsm = [GSM[char] for char in written] if is_gsm(written) else None
    return _Atom(text, text.isspace(), ucs(text), gsm)


def units(text: str) -> int:
    """In UTF-16, as ``LIMIT`` counts them."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut(atoms: Sequence[_Atom], seams: Sequence[Seam], start: int, end: int, room: Room) -> int:
    """Where the part that begins at ``start`` ends: at the latest of the best seams."""
    stop = _fill(atoms, start, end, room)
    if stop == end:
        return stop
    middle = (start + stop) // 2

    def worth(place: int) -> Seam:
        # A better seam is not worth a part that is less than half full.
        seam = seams[place - 1]
        return seam if place > middle else min(seam, Seam.WORD)

    return max(range(stop, start, -1), key=worth)


def _fill(atoms: Sequence[_Atom], start: int, end: int, room: Room) -> int:
    """How far a message reaches. Blanks at its end cost nothing: they fall away."""
    part, stop = _Part(room), start
    part.add(_atom("." * room.spare, room))
    while stop < end:
        part.add(atoms[stop])
        if not (atoms[stop].blank or part.fits or stop == start):
            break
        stop += 1
    return stop


def _stripped(atoms: Sequence[_Atom], first: int, last: int) -> tuple[int, int]:
    """Without the blanks at both ends."""
    while first < last and atoms[first].blank:
        first += 1
    while last > first and atoms[last - 1].blank:
        last -= 1
    return first, last
