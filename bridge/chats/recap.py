"""The recap: the conversation so far, for a new chat, as lines of ``User: …``, ``Agent: …`` and ``Team: …``.

People may write anything, and the agent believes its recap. So each text is one line behind its author's name, whatever
line breaks it has. A name with a colon inside a text is put in quotes. So no text can pass for the other side's. The
newest text is always in the recap, cut if it is too long.

The person may have written on another channel before. The recap has the texts with the same business over SMS and RCS,
and over WhatsApp by a setting. It has no texts older than RECAP_WITHIN: the number may have had another owner then.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Row, or_, select
from sqlalchemy.orm import Session

from bridge.config import Settings
from bridge.db.models import Conversation, Direction, Message, MessageStatus
from bridge.db.sealing import why_unreadable
from bridge.lib.phone import RCS, WHATSAPP, without_channel

LENGTH = 2000
"""Characters in all: enough to follow the conversation, few in a prompt."""

TEXTS = 40
"""The most texts, of all and of each conversation. The limit in characters usually applies first."""

PART_OF_CONVERSATION = (
    MessageStatus.ANSWERED,
    MessageStatus.HANDLED,
    MessageStatus.SENT,
    MessageStatus.SENDING,
    MessageStatus.QUEUED,
    MessageStatus.OUTSIDE,
)
"""Not in the recap: texts that still wait for the agent, were given up, or were never for the agent."""

BY_PEOPLE = (MessageStatus.HANDLED, MessageStatus.OUTSIDE)
"""Texts that belong to no turn, and are part of the conversation all the same."""

AUTHORS = {Direction.IN: "User", Direction.OUT: "Agent"}
TEAM = "Team"
"""The author of a text that an operator wrote, or somebody with another tool."""

BREAK = " / "
"""In place of line breaks within a text."""

CUT = "… "
"""In place of the beginning of a text that is too long."""

SHORTEST_TAIL = 20
"""Characters. Less of a text says nothing."""

_JOINERS = "\u200c\u200d"
"""Characters without width that are parts of words and of emoji."""

_TAGS = range(0xE0020, 0xE0080)
"""Letters of the flags of England, Scotland and Wales."""


def _name(word: str) -> str:
    """Return a pattern for the word in both cases and in full width, with joiners between its letters."""
    letters = [f"[{c}{c.upper()}{chr(ord(c) + 0xFEE0)}{chr(ord(c.upper()) + 0xFEE0)}]" for c in word]
    return f"[{_JOINERS}]*".join(letters)


_NAME = re.compile(
    rf"({'|'.join(_name(each.lower()) for each in (*AUTHORS.values(), TEAM))})(?=[\s{_JOINERS}]*[:：﹕︓∶꞉ː︰])"
)
"""A name that a colon follows."""


def recap(session: Session, settings: Settings, conversation: Conversation, now: datetime) -> str:
    """Return the recap for a new chat of this conversation; empty if RECAP_WITHIN is empty."""
    if settings.recap_within is None:
        return ""
    since = now - settings.recap_within
    newest = (text for each in _same_person(session, settings, conversation) for text in _newest(session, each, since))
    texts = [text for text in newest if not why_unreadable(text.body)]
    texts.sort(key=lambda text: (text.created_at, text.id), reverse=True)
    return write((_author(text), text.body) for text in texts[:TEXTS])


def _author(text: Row[int, datetime, Direction, str, str | None, MessageStatus]) -> str:
    return TEAM if text.operator or text.status is MessageStatus.OUTSIDE else AUTHORS[text.direction]


def note_of(settings: Settings, conversation: Conversation, now: datetime) -> str:
    """Return the team's note for the agent, as long as a recap would have texts of its time."""
    note, at = conversation.agent_note, conversation.agent_note_at
    if not note or at is None or settings.recap_within is None or at <= now - settings.recap_within:
        return ""
    return "" if why_unreadable(note) else note


def write(texts: Iterable[tuple[str, str]]) -> str:
    """Return the recap of these pairs of author and text, newest first. The oldest texts are left out."""
    lines: list[str] = []
    left = LENGTH
    for author, body in texts:
        words = one_line(body)
        line = f"{author}: {words}"
        if len(line) > left:
            lines += _tail(author, words, left)
            break
        if words:
            lines.append(line)
            left -= len(line) + 1
    return "\n".join(reversed(lines))


def one_line(body: str) -> str:
    """Return the text as one line without invisible characters. A name with a colon in it is put in quotes."""
    parts = ("".join(map(_visible, part)).strip() for part in body.splitlines())
    return _NAME.sub(r"'\1'", BREAK.join(filter(None, parts)))


def _visible(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cc":
        return " "
    kept = character in _JOINERS or ord(character) in _TAGS
    return "" if kind == "Cf" and not kept else character


def _tail(author: str, words: str, left: int) -> list[str]:
    """Return the end of a text that does not fit, from a whole word on if one begins soon."""
    head = f"{author}: {CUT}"
    if left < len(head) + SHORTEST_TAIL:
        return []
    tail = words[len(head) - left :]
    blank = tail.find(" ", 0, SHORTEST_TAIL)
    tail = tail[blank + 1 :]
    while tail and (tail[0] in _JOINERS or unicodedata.category(tail[0]).startswith("M")):
        tail = tail[1:]  # it belongs to the character that was cut off
    return [head + tail]


def _newest(
    session: Session, conversation_id: int, since: datetime
) -> Sequence[Row[int, datetime, Direction, str, str | None, MessageStatus]]:
    part_of_it = (
        Message.conversation_id == conversation_id,
        Message.status.in_(PART_OF_CONVERSATION),
        or_(Message.turn_id.is_not(None), Message.operator.is_not(None), Message.status.in_(BY_PEOPLE)),
        Message.instruction.is_(None),  # the person has not read what an operator says to the agent
        Message.resent_as.is_(None),  # a text that was sent again counts once
        Message.created_at > since,
    )
    columns = (Message.id, Message.created_at, Message.direction, Message.body, Message.operator, Message.status)
    return session.execute(select(*columns).where(*part_of_it).order_by(Message.id.desc()).limit(TEXTS)).all()


# -- the same person at the same business --------------------------------------------------------------------------


def _same_person(session: Session, settings: Settings, conversation: Conversation) -> list[int]:
    """Return the ids of this conversation and of the person's others with the same business."""
    addresses = other_addresses(conversation.phone, across_whatsapp=settings.recap_across_whatsapp)
    columns = (Conversation.id, Conversation.bridge_number, Conversation.service)
    known = session.execute(select(*columns).where(Conversation.phone.in_([conversation.phone, *addresses])))
    here = _business(settings, conversation.bridge_number, conversation.service)
    return [row.id for row in known if _business(settings, row.bridge_number, row.service) & here]


def other_addresses(phone: str, *, across_whatsapp: bool) -> list[str]:
    """Return the person's addresses on the other channels. An address that is no number has none."""
    number = without_channel(phone)
    channels = ["", RCS, WHATSAPP] if across_whatsapp else ["", RCS]
    ours = [channel + number for channel in channels]
    return [address for address in ours if address != phone] if number.startswith("+") and phone in ours else []


def _business(settings: Settings, bridge_number: str, service: str | None) -> set[str]:
    """Return what identifies a business: the number or sender, and its messaging service."""
    return {without_channel(bridge_number), service or settings.twilio_messaging_service_sid or ""} - {""}
