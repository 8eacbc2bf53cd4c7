"""Texts: what an agent writes becomes a good SMS.

    plain      Markdown is taken out, for a phone would show it raw                     what an agent said
    smart      typography that makes every character wide is replaced                   everything that is sent
    split      long texts are cut into parts that one message can carry                 everything that is sent
    segments   what the carrier bills for each of them                                  everything that is sent

One module for each of them. What lives here: the order in which they come, and how many messages are enough. Pure: no
rows, no settings, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bridge.texts.plain import plain
from bridge.texts.segments import off_sms, segments
from bridge.texts.smart import smart
from bridge.texts.split import LIMIT, split, units

MOST = 10
"""Messages at once to one phone. So many replies does Twilio itself take from a webhook (14109), and well below the
30 in 30 s at which it sees two machines talking to each other (14107); of the longest ones it is 16,000 characters."""

LONGEST = 4 * MOST * LIMIT
"""Characters that are looked at. An answer may have five million, of which no more than a part can be sent."""

CUT = "..."
"""Ends what is cut off. The one character for it would make the whole message wide."""


@dataclass(frozen=True)
class Sms:
    """One message as it will be sent."""

    body: str
    segments: int


@dataclass(frozen=True)
class Shaped:
    """All that goes to a phone at once, in order."""

    messages: Sequence[Sms]
    left_out: bool
    """There was more than anybody would read."""


def spoken(texts: Iterable[str], *, join: bool) -> list[str]:
    """What an agent said in one turn, as a person reads it: without Markdown, and as one text where that is wanted."""
    words = list(_plain(texts))
    return [_together(words)] if join else words


def shape(texts: Iterable[str], address: str, *, smart_encoding: bool) -> Shaped:
    """The messages that are sent for ``texts``; blank ones fall away, long ones are split.

    What comes in more than ``MOST`` pieces is joined first. Only what is too much even then is cut off.
    """
    texts = list(texts)
    encode = smart if smart_encoding and not off_sms(address) else str
    bodies = _bodies(texts, encode)
    if len(bodies) > MOST:
        texts = [_together(texts)]
        bodies = _bodies(texts, encode)
    left_out = len(bodies) > MOST or any(len(text) > LONGEST for text in texts)
    if left_out and bodies:
        last = bodies[:MOST][-1]
        bodies = [*bodies[: MOST - 1][: len(bodies) - 1], split(last, LIMIT - len(CUT))[0] + CUT]
    return Shaped([Sms(body, segments(body, address)) for body in bodies], left_out)


def _plain(texts: Iterable[str]) -> Iterator[str]:
    """Only so much is read as Markdown as can be sent in the end: reading takes time, also where nothing is found."""
    room = LONGEST
    for text in texts:
        yield plain(text[:room]) + text[room:] if room > 0 else text
        room -= len(text) + 100  # a short one takes time too


def _together(texts: Iterable[str]) -> str:
    return "\n\n".join(text.strip() for text in texts if text.strip())


def _bodies(texts: Iterable[str], encode: Callable[[str], str]) -> list[str]:
    """Encoded before it is cut, for that makes it longer; and each part too, where only another one has the emoji."""
    bodies = []
    for text in texts:
        for part in split(encode(text[:LONGEST])):
            encoded = encode(part).strip()
            bodies.append(encoded if units(encoded) <= LIMIT else part)
    return bodies
