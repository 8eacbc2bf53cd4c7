"""The cutting of long texts into parts that one message can carry.

A cut falls between paragraphs, else lines, else sentences, else words. Only a word that is too long by itself is cut
between its characters. A character as people see it is never cut.
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
"""UTF-16 code units. Twilio refuses a longer body. An emoji counts as more than one character there."""


@dataclass(frozen=True)
class Capacity:
    """The capacity of one message."""

    units: int = LIMIT
    segments: int | None = None
    """``None`` for a channel without segments."""
    smart: bool = False
    """Typography becomes plain where that saves segments, so a part may hold more of it."""
    spare: int = 0
    """Plain characters that will follow the part."""

    def holds(self, text: str) -> bool:
        text += "." * self.spare
        return units(text) <= self.units and (self.segments is None or segments(text) <= self.segments)

    @property
    def narrowest(self) -> int:
        """Return the UTF-16 units that fit in any case. A wide segment of 67 may have to leave one of them empty."""
        if self.segments is None:
            return self.units
        return min(self.units, UCS_SINGLE if self.segments == 1 else self.segments * (UCS_PART - 1))


class Seam(IntEnum):
    """The quality of a place for a cut."""

    NONE = 0
    WORD = 1
    SENTENCE = 2
    LINE = 3
    PARAGRAPH = 4


_BLANK = r"[\s\x1c-\x1f]"
"""The same as ``str.isspace``. ``regex`` alone leaves out the four separators of old terminals."""

_ENDS = {
    Seam.WORD: regex.compile(rf"{_BLANK}+"),
    Seam.SENTENCE: regex.compile(rf"[.!?…؟।][\p{{Pe}}\p{{Pf}}\"']*{_BLANK}+|[。！？][\p{{Pe}}\p{{Pf}}]*{_BLANK}*"),
    Seam.LINE: regex.compile(rf"\n{_BLANK}*"),
    Seam.PARAGRAPH: regex.compile(rf"\n{_BLANK}*\n{_BLANK}*"),
}
"""The pattern of each seam. The cut comes after it. The later one wins if two end at the same place."""

_CLUSTER = regex.compile(r"[\U0001F1E6-\U0001F1FF]{2}[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]*|\X")
r"""A character as people see it. ``\X`` alone counts the flags before each flag again: 64,000 of them took 21 s."""


@dataclass(frozen=True, slots=True)
class _Atom:
    """The unit that is never cut: a character as people see it."""

    text: str
    blank: bool
    ucs: Sequence[int]
    """The UTF-16 units of each of its code points."""
    gsm: Sequence[int] | None
    """The same in GSM-7 after the replacement; ``None`` if GSM-7 lacks it."""


@dataclass
class _Part:
    """The content of one message while it is being filled."""

    capacity: Capacity
    units: int = 0
    septets: int | None = 0
    wide: Meter = field(default_factory=lambda: Meter(UCS_SINGLE, UCS_PART))
    narrow: Meter = field(default_factory=lambda: Meter(GSM_SINGLE, GSM_PART))

    def add(self, atom: _Atom) -> None:
        self.units += sum(atom.ucs)
        if self.capacity.segments is None:
            return
        self.wide.add(atom.ucs)
        if atom.gsm is None or self.septets is None:
            self.septets = None
        else:
            self.septets += sum(atom.gsm)
            self.narrow.add(atom.gsm)

    @property
    def fits(self) -> bool:
        most = self.capacity.segments
        if most is None:
            return self.units <= self.capacity.units
        if self.septets is not None and self.septets <= self.capacity.units and self.narrow.segments <= most:
            return True
        return self.units <= self.capacity.units and self.wide.segments <= most


def split(text: str, capacity: Capacity | None = None) -> list[str]:
    """Return the parts of ``text`` in order, each as full as a good seam allows, without blanks at the ends."""
    return list(parts(text, capacity or Capacity()))


def parts(text: str, capacity: Capacity) -> Iterator[str]:
    """Yield the parts one by one, because only a few of an endless text are needed."""
    if text and not text[0].isspace() and not text[-1].isspace() and capacity.holds(text):
        yield text  # as most texts do
        return
    atoms, seams = _atoms(text, capacity)
    start, end = _stripped(atoms, 0, len(atoms))
    while start < end:
        stop = _cut(atoms, seams, start, end, capacity)
        yield "".join(atom.text for atom in atoms[slice(*_stripped(atoms, start, stop))])
        start, _ = _stripped(atoms, stop, end)


def _atoms(text: str, capacity: Capacity) -> tuple[list[_Atom], list[Seam]]:
    """Return the atoms, and the seam after each of them."""
    ends = {found.end(): seam for seam, end in _ENDS.items() for found in end.finditer(text)}
    known: dict[str, _Atom] = {}
    atoms: list[_Atom] = []
    seams: list[Seam] = []
    for cluster in _CLUSTER.finditer(text):
        pieces = _pieces(cluster[0], capacity)
        atoms += [known.get(piece) or known.setdefault(piece, _atom(piece, capacity)) for piece in pieces]
        seams += [Seam.NONE] * (len(pieces) - 1)
        seams.append(ends.get(cluster.end(), Seam.NONE))
    return atoms, seams


def _pieces(cluster: str, capacity: Capacity) -> Sequence[str]:
    """Return the character whole, unless no message could carry it: a letter with a thousand accents."""
    return [cluster] if units(cluster) <= capacity.narrowest else cluster


def _atom(text: str, capacity: Capacity) -> _Atom:
    written = plain(text) if capacity.smart else text
    gsm = [GSM[char] for char in written] if is_gsm(written) else None
    return _Atom(text, text.isspace(), ucs(text), gsm)


def units(text: str) -> int:
    """Return the UTF-16 units, as ``LIMIT`` counts them."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut(atoms: Sequence[_Atom], seams: Sequence[Seam], start: int, end: int, capacity: Capacity) -> int:
    """Return the end of the part that begins at ``start``: the latest of the best seams."""
    stop = _fill(atoms, start, end, capacity)
    if stop == end:
        return stop
    middle = (start + stop) // 2

    def worth(place: int) -> Seam:
        # A better seam is not worth a part that is less than half full.
        seam = seams[place - 1]
        return seam if place > middle else min(seam, Seam.WORD)

    return max(range(stop, start, -1), key=worth)


def _fill(atoms: Sequence[_Atom], start: int, end: int, capacity: Capacity) -> int:
    """Return how far a message reaches. Blanks at its end cost nothing, because they are removed."""
    part, stop = _Part(capacity), start
    part.add(_atom("." * capacity.spare, capacity))
    while stop < end:
        part.add(atoms[stop])
        if not (atoms[stop].blank or part.fits or stop == start):
            break
        stop += 1
    return stop


def _stripped(atoms: Sequence[_Atom], first: int, last: int) -> tuple[int, int]:
    """Return the range without the blanks at both ends."""
    while first < last and atoms[first].blank:
        first += 1
    while last > first and atoms[last - 1].blank:
        last -= 1
    return first, last
