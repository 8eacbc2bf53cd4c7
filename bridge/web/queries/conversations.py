"""The queries for conversations, as operators see them: the list, and one with its texts.

A page of the list costs the same in a long history: each query reads a page by an index, or one entry for each
conversation of the page. The search by words is in ``bridge.web.queries.search``, the texts of a conversation are in
``bridge.web.queries.texts``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, bindparam, func, or_, select, text, type_coerce
from sqlalchemy.orm import Session

from bridge.db.models import Conversation, Holder, Message, MessageStatus, Note, Tag, one_of
from bridge.db.sealing import keyring_of
from bridge.operators.conversations import HolderNow, holder_now
from bridge.outbound import opt_outs
from bridge.runtime import Runtime
from bridge.web.queries import chats, search, texts, unanswered_rows
from bridge.web.queries.chats import ChatWithAnalysis
from bridge.web.queries.paging import BadCursor, read_cursor, write_cursor
from bridge.web.queries.texts import TextView

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PREVIEW = 160
"""Characters of the newest text in the list."""

MOST_UNREAD = 100
"""Unread texts are counted up to here."""

MOST_NOTES = 500
MOST_CHATS = 50
"""The newest notes and chats of one conversation."""

_UNREAD = text("""
    SELECT c.id, (
        SELECT count(*) FROM (
            SELECT m.direction, m.operator FROM messages m WHERE m.conversation_id = c.id AND m.id > coalesce((
                SELECT r.message_id FROM read_marks r WHERE r.operator = :operator AND r.conversation_id = c.id
            ), 0)
            ORDER BY m.id DESC LIMIT :among
        ) AS newer WHERE newer.direction = 'in' AND newer.operator IS NULL
    ) AS unread
    FROM conversations c WHERE c.id IN :ids
""").bindparams(bindparam("ids", expanding=True))


@dataclass(frozen=True)
class ConversationView:
    """One conversation in the list."""

    id: int
    phone: str
    bridge_number: str
    holder: HolderNow
    changed_at: datetime
    last_text_at: datetime | None
    preview: str | None
    """The beginning of its newest text, or of the text that the search has found."""
    unread: int
    opted_out: bool
    tags: list[str]


@dataclass(frozen=True)
class NoteView:
    """One note of an operator."""

    id: int
    operator: str
    created_at: datetime
    body: str


@dataclass(frozen=True)
class WholeConversation:
    """One conversation with what belongs to it."""

    conversation: ConversationView
    messages: list[TextView]
    """One page, the oldest first. The newest page comes first."""
    earlier: str | None
    """The cursor of the page before; ``None`` on the first page of the conversation."""
    chats: list[ChatWithAnalysis]
    notes: list[NoteView]
    unanswered_because: str | None


@dataclass(frozen=True)
class Filter:
    """Which conversations to list, for whom, and from where."""

    operator: str
    holder: Holder | None = None
    mine: bool | None = None
    """True: only those that this operator has; False: only those that another one has."""
    phone: str | None = None
    q: str | None = None
    tag: str | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """One page of conversations, and the cursor of the next page."""

    conversations: list[ConversationView]
    next: str | None
    searched: str | None = None
    """How far the search by words went; ``None``: through all texts."""


@dataclass(frozen=True)
class Reader:
    """Who reads one conversation, and which page of its texts."""

    operator: str
    limit: int = 50
    cursor: str | None = None


def list_conversations(rt: Runtime, wanted: Filter) -> Page:
    """Return one page, newest activity first; of a search by words, the newest hit first. Raise ``BadCursor``."""
    with rt.database.read() as session:
        if wanted.q:
            return _search(session, wanted)
        query = _filtered(session, select(Conversation), wanted)
        query = query.order_by(Conversation.changed_at.desc(), Conversation.id.desc()).limit(wanted.limit + 1)
        rows = session.scalars(_before(query, wanted.cursor)).all()
        shown = rows[: wanted.limit]
        more = _cursor(shown[-1]) if len(rows) > wanted.limit else None
        return Page(_views(session, wanted.operator, shown), more)


def get_conversation(rt: Runtime, conversation_id: int, reader: Reader) -> WholeConversation | None:
    """Return one conversation with a page of its texts. Raise ``BadCursor``."""
    with rt.database.read() as session:
        row = session.get(Conversation, conversation_id)
        if row is None:
            return None
        [view] = _views(session, reader.operator, [row])
        page = texts.page(rt, session, row, limit=reader.limit, cursor=reader.cursor)
        return WholeConversation(
            conversation=view,
            messages=page.messages,
            earlier=page.earlier,
            chats=chats.of_conversation(session, row.id, MOST_CHATS),
            notes=_notes(session, row.id),
            unanswered_because=unanswered_rows.reason_of_newest(rt, session, row),
        )


# -- the list ------------------------------------------------------------------------------------------------------


def _filtered(session: Session, query: Select[Any], wanted: Filter) -> Select[Any]:
    """Add the conditions. Those with an index of their own write their values out, as its condition does."""
    if wanted.holder is Holder.AGENT:
        query = query.where(Conversation.holder == Holder.AGENT)
    elif wanted.holder:
        query = query.where(one_of(Conversation.holder, (wanted.holder,)), Conversation.holder != Holder.AGENT)
    if wanted.mine is not None:
        mine = Conversation.holder_name == wanted.operator
        query = query.where(mine if wanted.mine else ~mine)
    if wanted.phone:
        query = query.where(search.has_number(session, wanted.phone))
    if wanted.tag:
        query = query.where(Conversation.id.in_(select(Tag.conversation_id).where(Tag.name == wanted.tag)))
    return query


def _before(query: Select[Any], cursor: str | None) -> Select[Any]:
    """Select the rows after the cursor. A comparison of tuples would not bind each column with its own type."""
    if cursor is None:
        return query
    microseconds, row_id = read_cursor(cursor, int, int)
    try:
        at = EPOCH + timedelta(microseconds=int(microseconds))
    except OverflowError:
        raise BadCursor from None
    changed_at = Conversation.changed_at
    older = or_(changed_at < at, (changed_at == at) & (Conversation.id < row_id))
    return query.where(changed_at <= at, older)


def _cursor(last: Conversation) -> str:
    return write_cursor((last.changed_at - EPOCH) // timedelta(microseconds=1), last.id)


def _search(session: Session, wanted: Filter) -> Page:
    """Return the conversations with the newest texts that have these words. The cursor is a text."""
    before = read_cursor(wanted.cursor, int)[0] if wanted.cursor else None
    narrowed = wanted.holder or wanted.phone or wanted.tag
    among = _filtered(session, select(Conversation.id), wanted) if narrowed else None
    few = bool(wanted.phone or wanted.tag or wanted.holder is not Holder.AGENT)
    words = search.Words(wanted.q or "", int(before) if before else None, wanted.limit)
    found = search.newest_with(session, words, among, few=few)
    rows = {row.id: row for row in session.scalars(select(Conversation).where(Conversation.id.in_(found.hits)))}
    shown = [rows[id_] for id_ in found.hits]
    views = _views(session, wanted.operator, shown, newest=found.hits)
    more = write_cursor(found.next_before) if found.next_before else None
    return Page(views, more, found.searched)


def _views(
    session: Session, operator: str, rows: Sequence[Conversation], newest: Mapping[int, int] | None = None
) -> list[ConversationView]:
    """Return the rows with what other tables have about them. ``newest``: the text to show of each."""
    ids = [row.id for row in rows]
    if not ids:
        return []
    last = _newest_texts(session, ids)
    shown = _bodies(session, newest) if newest else {id_: body for id_, (_, body) in last.items()}
    unread, tags, out = _unread(session, operator, ids), _tags(session, ids), _opted_out(session, ids)
    return [
        ConversationView(
            id=row.id,
            phone=row.phone,
            bridge_number=row.bridge_number,
            holder=holder_now(row),
            changed_at=row.changed_at,
            last_text_at=last[row.id][0] if row.id in last else None,
            preview=shown.get(row.id),
            unread=unread[row.id],
            opted_out=row.id in out,
            tags=tags[row.id],
        )
        for row in rows
    ]


def _newest_texts(session: Session, ids: Sequence[int]) -> dict[int, tuple[datetime, str]]:
    """Return the time and the beginning of each conversation's newest text. A draft is none."""
    its = select(func.max(Message.id)).where(Message.conversation_id == Conversation.id)
    newest = its.where(Message.status != MessageStatus.DRAFT).correlate(Conversation).scalar_subquery()
    is_sealed = keyring_of(session.get_bind().dialect).first is not None  # then the database can't cut it
    body = Message.body if is_sealed else type_coerce(func.substr(Message.body, 1, PREVIEW), Message.body.type)
    query = select(Conversation.id, Message.created_at, body)
    rows = session.execute(query.join(Message, Message.id == newest).where(Conversation.id.in_(ids)))
    return {id_: (at, body[:PREVIEW]) for id_, at, body in rows}


def _bodies(session: Session, newest: Mapping[int, int]) -> dict[int, str]:
    query = select(Message.conversation_id, Message.body).where(Message.id.in_(newest.values()))
    return {row.conversation_id: row.body for row in session.execute(query)}


def _unread(session: Session, operator: str, ids: Sequence[int]) -> dict[int, int]:
    """Count what the person wrote since the operator has read it, among twice as many texts of both."""
    rows = session.execute(_UNREAD, {"operator": operator, "ids": list(ids), "among": 2 * MOST_UNREAD})
    return {id_: min(unread, MOST_UNREAD) for id_, unread in rows}


def _tags(session: Session, ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    rows = select(Tag.conversation_id, Tag.name).where(Tag.conversation_id.in_(ids)).order_by(Tag.name)
    for id_, name in session.execute(rows):
        found[id_].append(name)
    return found


def _opted_out(session: Session, ids: Sequence[int]) -> set[int]:
    return set(session.scalars(select(Conversation.id).where(Conversation.id.in_(ids), opt_outs.are_out())))


def _notes(session: Session, conversation_id: int) -> list[NoteView]:
    """Return the newest notes, in order."""
    newest = select(Note.id, Note.operator, Note.created_at, Note.body).where(Note.conversation_id == conversation_id)
    rows = session.execute(newest.order_by(Note.id.desc()).limit(MOST_NOTES)).all()
    return [NoteView(**row._mapping) for row in reversed(rows)]
