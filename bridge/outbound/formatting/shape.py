"""The stages that turn an agent's messages into good SMS, one module each.

    machine, markup   remove words and tags that are meant for programs                 an agent's messages
    plain             removes Markdown, because a phone would show it raw               an agent's messages
    smart             replaces typography that makes every character wide               everything that is sent
    split             cuts long texts into parts that one message can carry             everything that is sent
    segments          counts the segments that the carrier bills                        everything that is sent

This module sets the order, and limits the number of messages. It is pure: no rows, no settings, no sending. The time is
linear in the length, whatever the texts hold. But the longest texts may take a second, so never shape a text while a
transaction is open.
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
from bridge.outbound.formatting.split import LIMIT, Capacity, parts, split

MOST = 10
"""Messages to one phone at a time. Twilio accepts as many replies from a webhook (14109). It is well below the 30 in
30 s at which Twilio assumes that two machines talk to each other (14107). Ten of the longest have 16,000 characters."""

LONGEST = 4 * MOST * LIMIT
"""Characters that are examined, in all texts together. An answer may have five million, but only a part can be sent."""

EACH = 20
"""Extra characters that a text counts for. A short text takes time too."""

CUT = "..."
"""The end of a text that is cut off. The single character for it would make the whole message wide."""


@dataclass(frozen=True)
class Recipient:
    """The phone, and the settings for texts to it."""

    address: str
    smart_encoding: bool = True
    segments_per_text: int = 10
    """Carriers refuse a message with many segments (30019), well below Twilio's own limit."""

    @property
    def capacity(self) -> Capacity:
        """Return the capacity of one message."""
        if off_sms(self.address):
            return Capacity()
        return Capacity(segments=self.segments_per_text, smart=self.smart_encoding)


@dataclass(frozen=True)
class Sms:
    """One message as it will be sent."""

    body: str
    segments: int


@dataclass(frozen=True)
class Shaped:
    """All messages to a phone at one time, in order."""

    messages: Sequence[Sms]
    left_out: bool = False
    """The texts were too long to be sent whole."""


def answer(texts: Iterable[str], to: Recipient, *, join: bool) -> Shaped:
    """Shape an agent's messages of one turn. The result may be empty.

    Words for machines are removed. ``join`` makes one text of all messages.
    """
    sendable, left_out = _sendable(map(without_thoughts, texts))
    whatsapp = to.address.startswith(WHATSAPP)
    words = [plain(text, whatsapp=whatsapp) for text in sendable]
    return _shaped([_together(words)] if join else words, left_out, to)


def shape(texts: Iterable[str], to: Recipient) -> Shaped:
    """Return the messages for ``texts``. Blank texts are dropped, long ones are split.

    More than ``MOST`` parts are joined first. The rest is cut off only if even that is too much.
    """
    return _shaped(*_sendable(texts), to)


def smaller(body: str, to: Recipient, most: int) -> list[Sms]:
    """Return an earlier text in messages of at most so many segments."""
    capacity = replace(to.capacity, segments=most)
    return [_sms(part, to) for part in _encoded(parts(body, capacity), capacity)]


def _sendable(texts: Iterable[str]) -> tuple[list[str], bool]:
    """Return the part of the texts that can be sent at all, and whether more was left."""
    sendable: list[str] = []
    left = LONGEST
    for text in texts:
        if not text.strip():
            continue
        if left <= 0:
            return sendable, True
        sendable.append(text[:left])
        if len(text) > left:
            return sendable, True
        left -= len(text) + EACH
    return sendable, False


def _shaped(texts: Sequence[str], left_out: bool, to: Recipient) -> Shaped:
    capacity = to.capacity
    texts = [text for text in texts if text.strip()]
    bodies = _bodies(texts, capacity) if len(texts) <= MOST else []
    if len(bodies) > MOST or len(texts) > MOST:
        bodies = _bodies([_together(texts)], capacity)
    left_out = left_out or len(bodies) > MOST
    if left_out and bodies:
        last = bodies[:MOST][-1]
        cut = split(last, replace(capacity, spare=len(CUT) + (capacity.segments or 0)))[0] + CUT
        bodies = [*bodies[: MOST - 1][: len(bodies) - 1], cut]
    return Shaped([_sms(body, to) for body in bodies], left_out)


def _bodies(texts: Iterable[str], capacity: Capacity) -> list[str]:
    """Return the bodies, at most one more than enough.

    Encode them before the cut, because encoding makes them longer.
    """
    return list(islice(chain.from_iterable(_cut(text, capacity) for text in texts), MOST + 1))


def _cut(text: str, capacity: Capacity) -> Iterator[str]:
    text = smart(text) if capacity.smart else text
    return _encoded(parts(text, capacity), capacity, unless=text)


def _encoded(cut: Iterable[str], capacity: Capacity, *, unless: str = "") -> Iterator[str]:
    """Encode each part separately too, because only another part may have the emoji. ``unless`` is encoded already."""
    for part in cut:
        encoded = smart(part).strip() if capacity.smart and part != unless else part
        yield encoded if encoded != part and capacity.holds(encoded) else part


def _sms(body: str, to: Recipient) -> Sms:
    return Sms(body, segments(body, to.address))


def _together(texts: Iterable[str]) -> str:
    return "\n\n".join(text.strip() for text in texts if text.strip())
