"""Texts: what an agent writes becomes a good SMS.

    machine, markup   words and tags that are meant for programs are taken out          what an agent said
    plain             Markdown is taken out, for a phone would show it raw               what an agent said
    smart             typography that makes every character wide is replaced             everything that is sent
    split             long texts are cut into parts that one message can carry           everything that is sent
    segments          what the carrier bills for each of them                            everything that is sent

One module for each of them. What lives here: the order in which they come, and how many messages are enough. Pure: no
rows, no settings, nothing is sent. The time grows with the texts and never faster, whatever they hold; but it may be a
second for the longest, so nothing is shaped while a transaction is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from bridge.lib.phone import WHATSAPP
from bridge.outbound.formatting.machine import without_thoughts
from bridge.outbound.formatting.plain import plain
from bridge.outbound.formatting.segments import off_sms, segments
from bridge.outbound.formatting.smart import smart
from bridge.outbound.formatting.split import LIMIT, Room, parts, split

MOST = 10
"""Messages at once to one phone. So many replies does Twilio itself take from a webhook (14109), and well below the
30 in 30 s at which it sees two machines talking to each other (14107); of the longest ones it is 16,000 characters."""

LONGEST = 4 * MOST * LIMIT
"""Characters that are looked at, of all the texts together. An answer may have five million, of which no more than a
part can be sent."""

EACH = 20
"""A text counts for so many characters more: a short one takes time too."""

CUT = "..."
"""Ends what is cut off. The one character for it would make the whole message wide."""


@dataclass(frozen=True)
class Recipient:
    """The phone, and what the settings say of texts to it."""

    address: str
    smart_encoding: bool = True
    segments_per_text: int = 10
    """Carriers refuse a message of many segments (30019), well before Twilio's own limit."""

    @property
    def room(self) -> Room:
        """What one message can carry."""
        if off_sms(self.address):
            return Room()
        return Room(segments=self.segments_per_text, smart=self.smart_encoding)


@dataclass(frozen=True)
class Sms:
    """One message as it will be sent."""

    body: str
    segments: int


@dataclass(frozen=True)
class Shaped:
    """All that goes to a phone at once, in order."""

    messages: Sequence[Sms]
    left_out: bool = False
    """There was more than anybody would read."""


def answer(texts: Iterable[str], to: Recipient, *, join: bool) -> Shaped:
    """What an agent said in one turn, as it is sent: without what only machines read, and as one text where that is
    wanted. There may be nothing left to say.
    """
    said, left_out = _looked_at(map(without_thoughts, texts))
    whatsapp = to.address.startswith(WHATSAPP)
    words = [plain(text, whatsapp=whatsapp) for text in said]
    return _shaped([_together(words)] if join else words, left_out, to)


def shape(texts: Iterable[str], to: Recipient) -> Shaped:
    """The messages that are sent for ``texts``; blank ones fall away, long ones are split.

    What comes in more than ``MOST`` pieces is joined first. Only what is too much even then is cut off.
    """
    return _shaped(*_looked_at(texts), to)


def smaller(body: str, to: Recipient, most: int) -> list[Sms]:
    """A text that was sent before, in messages of at most so many segments."""
    room = replace(to.room, segments=most)
    return [_sms(part, to) for part in _encoded(parts(body, room), room)]


def _looked_at(texts: Iterable[str]) -> tuple[list[str], bool]:
    """The texts as far as they can be sent in the end, and whether that was not all."""
    looked_at: list[str] = []
    left = LONGEST
    for text in texts:
        if not text.strip():
            continue
        if left <= 0:
            return looked_at, True
        looked_at.append(text[:left])
        if len(text) > left:
            return looked_at, True
        left -= len(text) + EACH
    return looked_at, False


def _shaped(texts: Sequence[str], left_out: bool, to: Recipient) -> Shaped:
    room = to.room
    texts = [text for text in texts if text.strip()]
    bodies = _bodies(texts, room) if len(texts) <= MOST else []
    if len(bodies) > MOST or len(texts) > MOST:
        bodies = _bodies([_together(texts)], room)
    left_out = left_out or len(bodies) > MOST
    if left_out and bodies:
        last = bodies[:MOST][-1]
        cut = split(last, replace(room, spare=len(CUT) + (room.segments or 0)))[0] + CUT
        bodies = [*bodies[: MOST - 1][: len(bodies) - 1], cut]
    return Shaped([_sms(body, to) for body in bodies], left_out)


def _bodies(texts: Iterable[str], room: Room) -> list[str]:
    """One more than enough of them, if there are so many. Encoded before they are cut, for that makes them longer."""
    return list(islice(chain.from_iterable(_cut(text, room) for text in texts), MOST + 1))


def _cut(text: str, room: Room) -> Iterator[str]:
    text = smart(text) if room.smart else text
    return _encoded(parts(text, room), room, unless=text)


def _encoded(cut: Iterable[str], room: Room, *, unless: str = "") -> Iterator[str]:
    """Each part by itself too, where only another one has the emoji; ``unless`` it is this one, which has been."""
    for part in cut:
        encoded = smart(part).strip() if room.smart and part != unless else part
        yield encoded if room.holds(encoded) else part


def _sms(body: str, to: Recipient) -> Sms:
    return Sms(body, segments(body, to.address))


def _together(texts: Iterable[str]) -> str:
    return "\n\n".join(text.strip() for text in texts if text.strip())
