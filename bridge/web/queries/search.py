"""Search: conversations by a number, and texts by their words.

A number is found as it is written, or by its last digits. On PostgreSQL both have an index.

Words are searched from the newest text back. The newest texts are read one after the other: a common word is found
there at once. A rare word is found by an index over the words of all texts. SQLite has no such index. There one page
covers some of the newest texts, its answer tells that, and its cursor goes on behind them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.errors import QueryCanceled
from sqlalchemy import ColumnElement, Select, and_, collate, func, literal, select, text, union_all
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from bridge.db.models import IN_WORK, UNSENT, Conversation, Message, MessageStatus, one_of
from bridge.db.sealing import keyring_of
from bridge.lib.phone import RCS, WHATSAPP

FEWEST_DIGITS = 4
"""Fewer last digits would find a large part of all people. A shorter number is found as it is written."""

READ = 10_000
"""The newest texts that are read one after the other."""

READ_WITHOUT_INDEX = 50_000
"""The same if there is no index for the rest."""

MOST_CONVERSATIONS = 1_000
"""The conversations whose texts are read, where the search is for few of them."""

PATIENCE = 2
"""Seconds for the index. A word that was common long ago and is not in the newest texts takes longer."""

SHARE = 4
"""Hits for each conversation of a page: a conversation may have several."""

SEALED = "Words can't be searched, because ENCRYPTION_KEYS is set. Search for a number, or for its last four digits."

_INDEXED = Message.status.not_in([literal(each, Message.status.type, literal_execute=True) for each in IN_WORK])
"""The condition of the index, with its values written out."""

_LETTERS = re.compile(r"[^\W_]+")

_CHANNELS = ("", WHATSAPP, RCS)


@dataclass(frozen=True)
class Words:
    """What to search, from which text back, and how many conversations to find."""

    q: str
    before: int | None
    limit: int
    read: int | None = None
    """How many of the newest texts are read one after the other; ``None``: as many as usual."""


@dataclass(frozen=True)
class Found:
    """The newest text with the words in each conversation, newest first."""

    hits: Mapping[int, int]
    """The text of each conversation, by the conversation."""
    next_before: int | None
    """The text from which the next page goes back; ``None``: there is no more."""
    searched: str | None
    """How far the search went; ``None``: through all texts."""


def has_number(session: Session, number: str) -> ColumnElement[bool]:
    """Return the condition that the person has this number, or one with these last digits."""
    digits = re.sub(r"\D", "", number)
    plain = re.sub(r"[\s()./-]", "", number)
    if plain.startswith("+"):
        return Conversation.phone.in_([channel + plain for channel in _CHANNELS])
    if len(digits) < FEWEST_DIGITS or ":" in plain:
        return Conversation.phone == plain
    if session.get_bind().dialect.name != "postgresql":
        return Conversation.phone.endswith(digits)
    backwards = collate(func.reverse(Conversation.phone), "C")
    first = digits[::-1]
    return (backwards >= first) & (backwards < first[:-1] + chr(ord(first[-1]) + 1))


def newest_with(session: Session, words: Words, among: Select[Any] | None = None, *, few: bool = False) -> Found:
    """Return the conversations whose texts have all the words.

    ``among``: only these conversations. ``few``: they are so few that their texts are read. Nothing is found if texts
    are encrypted.
    """
    if keyring_of(session.get_bind().dialect).first:
        return Found({}, None, SEALED)
    search = _Search(session, words, among)
    if among is not None and few:
        return search.in_few()
    return search.in_all()


_Hit = tuple[int, int]
"""A text, and its conversation."""


class _Search:
    """One search by words."""

    def __init__(self, session: Session, words: Words, among: Select[Any] | None) -> None:
        self._session = session
        self._words = words
        self._among = among
        self._enough = SHARE * (words.limit + 1)
        self._indexed = session.get_bind().dialect.name == "postgresql"

    def in_all(self) -> Found:
        """Read the newest texts. If they have too few hits, ask the index."""
        read = self._words.read or (READ if self._indexed else READ_WITHOUT_INDEX)
        hits = self._hits(self._newest(read))
        if self._is_enough(hits):
            return self._found(hits)
        last = self._last_of(read)
        if last is None:
            return self._found(hits)
        if self._indexed and (all_hits := self._by_index()) is not None:
            return self._found(all_hits)
        return self._found(hits, last, f"This page covers {read:,} texts; its cursor goes on with older ones.")

    def in_few(self) -> Found:
        """Read the texts of these conversations."""
        assert self._among is not None
        newest = self._among.order_by(Conversation.changed_at.desc()).limit(MOST_CONVERSATIONS)
        ids = self._session.scalars(newest).all()
        theirs = self._texts().where(Message.conversation_id.in_(ids), self._has_words(Message.body))
        hits = self._rows(theirs.order_by(Message.id.desc()).limit(self._enough))
        covers = f"Only the {MOST_CONVERSATIONS:,} newest of these conversations were searched."
        return self._found(hits, searched=covers if len(ids) == MOST_CONVERSATIONS else None)

    def _texts(self) -> Select[Any]:
        columns: tuple[Any, ...] = (Message.id, Message.conversation_id)
        query = select(*columns)
        return query.where(Message.id < self._words.before) if self._words.before else query

    def _newest(self, read: int) -> Select[Any]:
        newest = self._texts().add_columns(Message.body).order_by(Message.id.desc()).limit(read).subquery()
        query = select(newest.c.id, newest.c.conversation_id).where(self._has_words(newest.c.body))
        return query.order_by(newest.c.id.desc()).limit(self._enough)

    def _by_index(self) -> Sequence[_Hit] | None:
        """Return the newest hits of all texts; ``None``: that takes too long.

        Texts that wait are not in the index, and have small ones of their own. The index gives its hits in no order.
        The planner would rather read all texts in order, so it must not know of the order.
        """
        waits = [one_of(Message.status, each) for each in ((MessageStatus.WAITING,), UNSENT)]
        has_words = self._has_words(Message.body, by_index=True)
        parts = (self._texts().where(which, has_words) for which in (_INDEXED, *waits))
        every = union_all(*parts).cte("hits").prefix_with("MATERIALIZED")
        query = select(every.c.id, every.c.conversation_id).order_by(every.c.id.desc()).limit(self._enough)
        try:
            with self._session.begin_nested():
                self._session.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}s'"))
                return self._hits(query)
        except OperationalError as error:
            if isinstance(error.orig, QueryCanceled):
                return None
            raise

    def _hits(self, query: Select[Any]) -> Sequence[_Hit]:
        """Return the hits in the conversations that are wanted."""
        if self._among is not None:
            query = query.where(query.selected_columns.conversation_id.in_(self._among))
        return self._rows(query)

    def _rows(self, query: Select[Any]) -> Sequence[_Hit]:
        return [(id_, conversation_id) for id_, conversation_id in self._session.execute(query)]

    def _is_enough(self, hits: Sequence[_Hit]) -> bool:
        return len(hits) >= self._enough or len({conversation_id for _, conversation_id in hits}) > self._words.limit

    def _last_of(self, read: int) -> int | None:
        """Return the oldest text that was read, if there are older ones."""
        older = self._texts().order_by(Message.id.desc()).offset(read - 1).limit(2)
        ids = [id_ for id_, _ in self._rows(older)]
        return ids[0] if len(ids) == 2 else None

    def _found(self, hits: Sequence[_Hit], last: int | None = None, searched: str | None = None) -> Found:
        """Return one page of the conversations, without those that an earlier page has shown."""
        shown_before = self._shown_before({conversation_id for _, conversation_id in hits})
        newest: dict[int, int] = {}
        for id_, conversation_id in hits:
            if conversation_id in newest or conversation_id in shown_before:
                continue
            if len(newest) == self._words.limit:  # the next page begins with this text
                return Found(newest, id_ + 1, None)
            newest[conversation_id] = id_
        more = hits[-1][0] if len(hits) >= self._enough else last
        return Found(newest, more, searched)

    def _shown_before(self, conversation_ids: set[int]) -> set[int]:
        if self._words.before is None:
            return set()
        newer = (Message.conversation_id.in_(conversation_ids), Message.id >= self._words.before)
        query = select(Message.conversation_id).where(*newer, self._has_words(Message.body)).distinct()
        return set(self._session.scalars(query))

    def _has_words(self, body: Any, *, by_index: bool = False) -> ColumnElement[bool]:
        if self._indexed:
            # Without the index: whether the letters are there is found much faster than the words of a text.
            each = [] if by_index else _LETTERS.findall(self._words.q)
            letters = [body.icontains(part, autoescape=True) for part in each]
            words = func.plainto_tsquery(text("'simple'"), self._words.q)
            found: ColumnElement[bool] = func.to_tsvector(text("'simple'::regconfig"), body).op("@@")(words)
            return and_(*letters, found)
        return and_(*(body.icontains(word, autoescape=True) for word in self._words.q.split()))
