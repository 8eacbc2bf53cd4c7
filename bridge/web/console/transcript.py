"""The transcript of a conversation: texts, notes and the chats of the agent, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bridge.db.models import Direction, MessageStatus
from bridge.providers.carriers.contract import NOT_DELIVERED, Delivery
from bridge.web.queries.chats import ChatWithAnalysis
from bridge.web.queries.conversations import NoteView
from bridge.web.queries.texts import Author, TextView


class Kind(StrEnum):
    """What an entry shows. In one moment a chat begins before its texts, and ends after them."""

    CHAT_BEGINS = "chat_begins"
    TEXT = "text"
    NOTE = "note"
    CHAT_ENDS = "chat_ends"


ORDER = {kind: place for place, kind in enumerate(Kind)}


@dataclass(frozen=True)
class Entry:
    """One thing in the transcript."""

    kind: Kind
    at: datetime
    id: int
    text: TextView | None = None
    note: NoteView | None = None
    chat: ChatWithAnalysis | None = None
    new_day: bool = False
    again: bool = False
    """A text by the author of the one before it."""


IN_WORDS = {
    MessageStatus.WAITING: "waits",
    MessageStatus.IN_TURN: "the agent is asked",
    MessageStatus.GIVEN_UP: "given up",
    MessageStatus.CANCELED: "canceled: opted out",
    MessageStatus.IGNORED: "ignored",
    MessageStatus.REFUSED: "answered by the bridge",
    MessageStatus.KEYWORD: "a keyword",
    MessageStatus.REACTION: "a reaction",
    MessageStatus.UNANSWERABLE: "can't be answered",
    MessageStatus.HANDLED: "for the team",
    MessageStatus.OPTED_OUT: "while opted out",
}
OUT_WORDS = {
    MessageStatus.QUEUED: "waits to be sent",
    MessageStatus.SENDING: "is being sent",
    MessageStatus.SENT: "sent",
    MessageStatus.GIVEN_UP: "not sent",
    MessageStatus.CANCELED: "canceled: opted out",
    MessageStatus.DRAFT: "draft, not sent",
    MessageStatus.OUTSIDE: "sent with another tool",
}
DELIVERY_WORDS = {
    Delivery.DELIVERED: "delivered",
    Delivery.READ: "read",
    Delivery.UNDELIVERED: "not delivered",
    Delivery.FAILED: "not delivered",
}
"""The words for how far a text has come. A state without words needs none."""


def state_of(text: TextView) -> str:
    """Return how far the text has come; empty: all is as it should be."""
    if text.direction is Direction.IN:
        return "" if text.author is Author.OPERATOR else IN_WORDS.get(text.status, "")
    if text.status is MessageStatus.SENT and text.delivery in DELIVERY_WORDS:
        return DELIVERY_WORDS[text.delivery]
    if text.status is MessageStatus.DRAFT and text.dismissed_at:
        return "draft, sent below" if text.resent_as else "draft, discarded"
    return OUT_WORDS.get(text.status, "")


def has_failed(text: TextView) -> bool:
    """Return True if the text is a failure that can be tried again."""
    if text.resent_as or text.resend_at:
        return False
    return text.status is MessageStatus.GIVEN_UP or text.delivery in NOT_DELIVERED


def entries(
    texts: Sequence[TextView], notes: Sequence[NoteView], chats: Sequence[ChatWithAnalysis], since: datetime | None
) -> list[Entry]:
    """Return everything since this moment in order. ``None``: since the beginning."""
    every = [*_texts(texts), *_notes(notes), *_chats(chats)]
    shown = [entry for entry in every if entry.kind is Kind.TEXT or since is None or entry.at >= since]
    return list(_marked(sorted(shown, key=lambda entry: (entry.at, ORDER[entry.kind], entry.id))))


def _texts(texts: Sequence[TextView]) -> Iterator[Entry]:
    for text in texts:
        yield Entry(Kind.TEXT, text.created_at, text.id, text=text)


def _notes(notes: Sequence[NoteView]) -> Iterator[Entry]:
    for note in notes:
        yield Entry(Kind.NOTE, note.created_at, note.id, note=note)


def _chats(chats: Sequence[ChatWithAnalysis]) -> Iterator[Entry]:
    for each in chats:
        yield Entry(Kind.CHAT_BEGINS, each.chat.started_at, each.chat.id, chat=each)
        if each.chat.ended_at:
            yield Entry(Kind.CHAT_ENDS, each.chat.ended_at, each.chat.id, chat=each)


def _marked(ordered: Sequence[Entry]) -> Iterator[Entry]:
    before: Entry | None = None
    for entry in ordered:
        new_day = before is None or before.at.date() != entry.at.date()
        same = before and before.text and entry.text and not new_day and _author(before.text) == _author(entry.text)
        yield Entry(entry.kind, entry.at, entry.id, entry.text, entry.note, entry.chat, new_day, bool(same))
        before = entry


def _author(text: TextView) -> tuple[Author, str | None, Direction, bool]:
    return text.author, text.operator, text.direction, text.status is MessageStatus.DRAFT
