"""The recap: what a new chat is told of the conversation so far, as lines of ``User: …`` and ``Agent: …``.

People write what they like, and the agent believes what it is told. So each text is one line behind the name of whoever
wrote it, whatever line breaks it holds, and a name with a colon inside a text is put in quotes: nobody's words can pass
for the other side's. The newest words are there at any length.

The person may have written on another channel before. Told is what was said at the same business, over SMS and RCS, and
over WhatsApp by a setting; nothing that is older than RECAP_WITHIN, when the number may have had another owner.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from bridge.config import Settings
from bridge.db.models import Conversation, Direction, Message, MessageStatus
from bridge.lib.phone import RCS, WHATSAPP, without_channel

ROOM = 2000
"""Characters in all; enough for the thread, small in a prompt."""

TEXTS = 40
"""The newest of each conversation; the limit in characters is usually met before."""

SAID = (MessageStatus.ANSWERED, MessageStatus.SENT, MessageStatus.SENDING, MessageStatus.QUEUED)
"""Not what is still to be said, what was given up, and what was never for the agent."""

SPEAKERS = {Direction.IN: "User", Direction.OUT: "Agent"}

BREAK = " / "
"""In place of line breaks within a text."""

CUT = "… "
"""In place of the beginning of a text that is too long."""

SHORTEST_TAIL = 20
"""Characters. Less of a text says nothing."""

_JOINERS = "\u200c\u200d"
"""Zero-width, and a part of words and of emoji."""

_TAGS = range(0xE0020, 0xE0080)
"""Letters of the flags of England, Scotland and Wales."""


def _name(word: str) -> str:
    """Its letters in both cases and in full width; joiners may stand between them."""
    letters = [f"[{c}{c.upper()}{chr(ord(c) + 0xFEE0)}{chr(ord(c.upper()) + 0xFEE0)}]" for c in word]
    return f"[{_JOINERS}]*".join(letters)


_NAME = re.compile(rf"({'|'.join(_name(each.lower()) for each in SPEAKERS.values())})(?=[\s{_JOINERS}]*[:：﹕︓∶꞉ː︰])")
"""A name that a colon follows."""


def recap(session: Session, settings: Settings, conversation: Conversation, now: datetime) -> str:
    """What a new chat of this conversation is told; nothing where RECAP_WITHIN is empty."""
    if settings.recap_within is None:
        return ""
    since = now - settings.recap_within
    said = [text for each in _same_person(session, settings, conversation) for text in _newest(session, each, since)]
    said.sort(key=lambda text: (text.created_at, text.id), reverse=True)
    return write((SPEAKERS[text.direction], text.body) for text in said[:TEXTS])


def write(said: Iterable[tuple[str, str]]) -> str:
    """The recap of these, each with who said it, the newest first. What came first is what is left out."""
    lines: list[str] = []
    room = ROOM
    for speaker, body in said:
        words = one_line(body)
        line = f"{speaker}: {words}"
        if len(line) > room:
            lines += _tail(speaker, words, room)
            break
        if words:
            lines.append(line)
            room -= len(line) + 1
    return "\n".join(reversed(lines))


def one_line(body: str) -> str:
    """A text as one line without invisible characters, in which no name stands as if somebody began to speak."""
    parts = ("".join(map(_visible, part)).strip() for part in body.splitlines())
    return _NAME.sub(r"'\1'", BREAK.join(filter(None, parts)))


def _visible(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cc":
        return " "
    kept = character in _JOINERS or ord(character) in _TAGS
    return "" if kind == "Cf" and not kept else character


def _tail(speaker: str, words: str, room: int) -> list[str]:
    """The end of a text that does not fit, from a whole word on if there is one soon."""
    head = f"{speaker}: {CUT}"
    if room < len(head) + SHORTEST_TAIL:
        return []
    tail = words[len(head) - room :]
    blank = tail.find(" ", 0, SHORTEST_TAIL)
    tail = tail[blank + 1 :]
    while tail and (tail[0] in _JOINERS or unicodedata.category(tail[0]).startswith("M")):
        tail = tail[1:]  # it belongs to the character that was cut off
    return [head + tail]


def _newest(session: Session, conversation_id: int, since: datetime) -> Sequence[Row[int, datetime, Direction, str]]:
    spoken = (
        Message.conversation_id == conversation_id,
        Message.status.in_(SAID),
        Message.turn_id.is_not(None),
        Message.resent_as.is_(None),  # what went twice was said once
        Message.created_at > since,
    )
    columns = (Message.id, Message.created_at, Message.direction, Message.body)
    return session.execute(select(*columns).where(*spoken).order_by(Message.id.desc()).limit(TEXTS)).all()


# -- the same person at the same business --------------------------------------------------------------------------


def _same_person(session: Session, settings: Settings, conversation: Conversation) -> list[int]:
    """This conversation and the person's others with the same business."""
    addresses = other_addresses(conversation.phone, across_whatsapp=settings.recap_across_whatsapp)
    columns = (Conversation.id, Conversation.bridge_number, Conversation.service)
    known = session.execute(select(*columns).where(Conversation.phone.in_([conversation.phone, *addresses])))
    here = _business(settings, conversation.bridge_number, conversation.service)
    return [row.id for row in known if _business(settings, row.bridge_number, row.service) & here]


def other_addresses(phone: str, *, across_whatsapp: bool) -> list[str]:
    """How the same person is called on the other channels. An address that is no number is known on its own alone."""
    number = without_channel(phone)
    channels = ["", RCS, WHATSAPP] if across_whatsapp else ["", RCS]
    ours = [channel + number for channel in channels]
    return [address for address in ours if address != phone] if number.startswith("+") and phone in ours else []


def _business(settings: Settings, bridge_number: str, service: str | None) -> set[str]:
    """What tells a business: the number or sender, and the messaging service that it belongs to."""
    return {without_channel(bridge_number), service or settings.twilio_messaging_service_sid or ""} - {""}
