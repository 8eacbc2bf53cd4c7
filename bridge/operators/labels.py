"""What operators write about conversations: notes, tags, canned replies, and how far each of them has read.

A note is only for operators. The audit shows who has written one, and none of its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update

from bridge.db.engine import insert_if_new
from bridge.db.models import CannedReply, Conversation, Message, Note, ReadMark, Tag
from bridge.db.transaction import Transaction
from bridge.lib.errors import BridgeError
from bridge.lib.phone import mask_numbers
from bridge.operators import audit
from bridge.operators.audit import Action, Entry
from bridge.operators.conversations import UnknownConversation
from bridge.runtime import Runtime

MOST_REPLIES = 500
"""Canned replies. All are in one list."""

MOST_TAGS = 50
"""Tags of one conversation."""

DELETED = {"deleted": True}
"""What the audit shows of a removal."""


class UnknownLabel(BridgeError):
    """There is no such note, tag or canned reply."""


class SomebodyElses(BridgeError):
    """Another operator has written the note."""


class TooMany(BridgeError):
    """There are as many tags, or canned replies, as there may be."""


@dataclass(frozen=True)
class WrittenNote:
    """A note as it is stored."""

    id: int
    operator: str
    created_at: datetime
    body: str


@dataclass(frozen=True)
class Reply:
    """A canned reply as it is stored."""

    name: str
    body: str
    operator: str
    changed_at: datetime


# -- notes ---------------------------------------------------------------------------------------------------------


def add_note(rt: Runtime, operator: str, conversation_id: int, body: str) -> WrittenNote:
    """Write a note. Raise :class:`UnknownConversation`."""
    with rt.database.transaction() as tx:
        _change(tx, conversation_id)
        note = Note(conversation_id=conversation_id, operator=operator, created_at=tx.now, body=body)
        tx.session.add(note)
        tx.session.flush()
        audit.write(tx, Entry(operator, Action.NOTE, f"note {note.id}", conversation_id))
        return WrittenNote(note.id, operator, tx.now, body)


def delete_note(rt: Runtime, operator: str, conversation_id: int, note_id: int) -> None:
    """Delete a note of one's own. Raise :class:`UnknownLabel` or :class:`SomebodyElses`."""
    this = (Note.id == note_id, Note.conversation_id == conversation_id)
    with rt.database.transaction() as tx:
        author = tx.session.scalar(select(Note.operator).where(*this))
        if author is None:
            raise UnknownLabel
        if author != operator:
            raise SomebodyElses(f"{author} has written this note.")
        if tx.session.scalar(delete(Note).where(*this).returning(Note.id)) is not None:
            _change(tx, conversation_id)
            audit.write(tx, Entry(operator, Action.NOTE, f"note {note_id}", conversation_id, DELETED))


# -- tags ----------------------------------------------------------------------------------------------------------


def add_tag(rt: Runtime, operator: str, conversation_id: int, name: str) -> list[str]:
    """Add a tag, unless it is there. Return all. Raise :class:`UnknownConversation` or :class:`TooMany`."""
    with rt.database.transaction() as tx:
        _change(tx, conversation_id)
        tags = _tags(tx, conversation_id)
        if name in tags:
            return tags
        if len(tags) >= MOST_TAGS:
            raise TooMany(f"A conversation has {MOST_TAGS} tags at most.")
        tx.session.add(Tag(conversation_id=conversation_id, name=name))
        tx.session.flush()
        audit.write(tx, Entry(operator, Action.TAG, f"tag {mask_numbers(name)}", conversation_id))
        return _tags(tx, conversation_id)


def remove_tag(rt: Runtime, operator: str, conversation_id: int, name: str) -> list[str]:
    """Remove a tag. Return the others. Raise :class:`UnknownConversation` or :class:`UnknownLabel`."""
    with rt.database.transaction() as tx:
        _change(tx, conversation_id)
        gone = delete(Tag).where(Tag.conversation_id == conversation_id, Tag.name == name).returning(Tag.name)
        if tx.session.scalar(gone) is None:
            raise UnknownLabel
        audit.write(tx, Entry(operator, Action.TAG, f"tag {mask_numbers(name)}", conversation_id, DELETED))
        return _tags(tx, conversation_id)


def _tags(tx: Transaction, conversation_id: int) -> list[str]:
    names = select(Tag.name).where(Tag.conversation_id == conversation_id)
    return sorted(tx.session.scalars(names))


# -- canned replies ------------------------------------------------------------------------------------------------


def list_replies(rt: Runtime) -> Sequence[Reply]:
    """Return all canned replies, by name."""
    with rt.database.read() as session:
        rows = session.scalars(select(CannedReply).order_by(CannedReply.name)).all()
    return [Reply(row.name, row.body, row.operator, row.changed_at) for row in rows]


def save_reply(rt: Runtime, operator: str, name: str, body: str) -> Reply:
    """Write a canned reply, new or in place of the one with this name. Raise :class:`TooMany`."""
    with rt.database.transaction() as tx:
        others = select(func.count()).select_from(CannedReply).where(CannedReply.name != name)
        if (tx.session.scalar(others) or 0) >= MOST_REPLIES:
            raise TooMany(f"There are {MOST_REPLIES} canned replies at most.")
        words: dict[str, Any] = {"body": body, "operator": operator, "changed_at": tx.now}
        row = insert_if_new(tx.session, CannedReply).values(name=name, **words)
        tx.session.execute(row.on_conflict_do_update(index_elements=["name"], set_=words))
        audit.write(tx, Entry(operator, Action.CANNED_REPLY, f"canned reply {mask_numbers(name)}"))
        return Reply(name, body, operator, tx.now)


def delete_reply(rt: Runtime, operator: str, name: str) -> None:
    """Delete a canned reply. Raise :class:`UnknownLabel`."""
    with rt.database.transaction() as tx:
        gone = delete(CannedReply).where(CannedReply.name == name).returning(CannedReply.name)
        if tx.session.scalar(gone) is None:
            raise UnknownLabel
        audit.write(tx, Entry(operator, Action.CANNED_REPLY, f"canned reply {mask_numbers(name)}", details=DELETED))


# -- read marks ----------------------------------------------------------------------------------------------------


def mark_read(rt: Runtime, operator: str, conversation_id: int, message_id: int) -> int:
    """Record that the operator has read up to this text. A mark never goes back. Return the text of the mark.

    A text that is not there counts as the newest before it. Raise :class:`UnknownConversation`.
    """
    seen = select(func.max(Message.id)).where(Message.conversation_id == conversation_id, Message.id <= message_id)
    mine = (ReadMark.operator == operator, ReadMark.conversation_id == conversation_id)
    with rt.database.transaction() as tx:
        if tx.session.scalar(select(Conversation.id).where(Conversation.id == conversation_id)) is None:
            raise UnknownConversation
        newest = tx.session.scalar(seen)
        if newest is not None:
            row = insert_if_new(tx.session, ReadMark)
            row = row.values(operator=operator, conversation_id=conversation_id, message_id=newest)
            row = row.on_conflict_do_update(
                index_elements=["operator", "conversation_id"],
                set_={"message_id": newest},
                where=ReadMark.message_id < newest,
            )
            tx.session.execute(row)
        return tx.session.scalar(select(ReadMark.message_id).where(*mine)) or 0


def _change(tx: Transaction, conversation_id: int) -> None:
    """Lock the conversation, and record that something happened in it. Raise :class:`UnknownConversation`."""
    changed = update(Conversation).where(Conversation.id == conversation_id).values(changed_at=tx.now)
    if tx.session.scalar(changed.returning(Conversation.id)) is None:
        raise UnknownConversation
