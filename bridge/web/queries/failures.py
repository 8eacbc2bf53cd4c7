"""The query for failures that an operator should see.

- Turns without an answer.
- Texts that were not sent, or that the carrier accepted and did not deliver.
- Texts of people that were ignored because of a limit.
- Texts from senders that can't receive an answer.
- Conversations in which a task fails again and again, because of a bug or a bad row.
- Conversations that a human at the agent's provider has, and those in which the agent gives no word.
- Contacts at the agent's provider that do not say yet what the person has asked for.
- Notices that a person waits for somebody of the team, which HANDOFF_WEBHOOK has not got.

A person's text that was given up is not listed itself, but its turn is. Of a text that was sent again, only the last
attempt is listed, if it failed too. What an operator has dismissed is not listed. The conditions are those of
``bridge.operators.failures``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    cast,
    exists,
    false,
    func,
    literal,
    null,
    or_,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import Subquery

from bridge.chats import do_not_call, rows
from bridge.config import Settings
from bridge.db.models import Base, ContactUpdate, Conversation, Erasure, HandoffNotice, Message, TaskError, Turn
from bridge.inbound import holder
from bridge.operators.failures import IGNORED, NO_ANSWER, NOT_ERASED, NOT_SENT, NOT_TOLD, UNANSWERABLE, UNDELIVERED
from bridge.providers.carriers.contract import Delivery, FailureClass
from bridge.queues import task_errors
from bridge.runtime import Runtime
from bridge.web.queries.paging import BadCursor, read_cursor, write_cursor

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NOT_WRITTEN = ContactUpdate.error.is_not(None) & (ContactUpdate.attempts >= do_not_call.SHOWN_AFTER)


class Kind(StrEnum):
    CONTACT = "contact"
    MESSAGE = "message"
    NOTICE = "notice"
    SILENT = "silent"
    TASK = "task"
    TURN = "turn"
    WAITING = "waiting"
    WITH_HUMAN = "with_human"


IN_THE_INBOX = frozenset({Kind.WAITING, Kind.WITH_HUMAN})
"""No failures for the console: nothing is broken, and the person is in the inbox already, with a count of their own."""

REMEDIES = {
    Kind.NOTICE: "A person waits for somebody of the team, and HANDOFF_WEBHOOK does not know. Answer the person, and "
    "check the address.",
    Kind.SILENT: "The agent is asked and writes nothing. Read the chat at its provider, and check the agent there.",
    Kind.WAITING: "The person waits for somebody of the team. Take the conversation over, or hand it back.",
    Kind.WITH_HUMAN: "A human at the agent's provider has the chat. Answer there, and hand it back or end it. "
    "Until then the person's texts wait, and each is given up after ANSWER_WITHIN.",
}


@dataclass(frozen=True)
class Failure:
    """One turn, one text or the change of a contact that failed, or one conversation with a fault."""

    kind: Kind
    id: int
    conversation_id: int
    phone: str
    at: datetime
    error: str | None
    error_code: int | None
    delivery: Delivery | None = None
    """How far the carrier brought an accepted text."""
    resend_at: datetime | None = None
    """When the bridge sends it again."""
    failure: FailureClass | None = None
    meaning: str | None = None
    """The meaning of the failure, and how to fix the cause."""
    page: str | None = None
    """The carrier's page about the code."""


@dataclass(frozen=True)
class Counts:
    """The number of failures in the list."""

    turns: int
    not_sent: int
    not_delivered: int
    ignored: int
    unanswerable: int = 0
    contacts: int = 0
    notices: int = 0


@dataclass(frozen=True)
class Page:
    """One page of failures, newest first, and the cursor of the next page."""

    failures: list[Failure]
    next: str | None
    """Pass it as ``cursor`` to get the next page. ``None`` on the last page."""


def list_failures(rt: Runtime, *, limit: int = 50, cursor: str | None = None, without: Collection[Kind] = ()) -> Page:
    """Return one page of failures, newest first. Raise :class:`~bridge.web.queries.paging.BadCursor`."""
    messages = map(_messages, (NOT_SENT, UNDELIVERED, IGNORED, UNANSWERABLE))
    by_holder = {Kind.WAITING: _waiting(), Kind.WITH_HUMAN: _with_human(), Kind.SILENT: _silent(rt.settings)}
    conversations = [query for kind, query in by_holder.items() if kind not in without]
    every = union_all(_turns(), *messages, _tasks(rt.now()), _contacts(), _notices(), *conversations).subquery()
    query = select(every).order_by(every.c.at.desc(), every.c.kind.desc(), every.c.id.desc()).limit(limit + 1)
    if cursor:
        query = _after(query, every, cursor)
    with rt.database.read() as session:
        rows = session.execute(query).all()
        phones = _phones(session, {row.conversation_id for row in rows})
    shown = [_failure(rt, row, phones[row.conversation_id]) for row in rows[:limit]]
    return Page(shown, _cursor(shown[-1]) if len(rows) > limit else None)


def count(session: Session) -> Counts:
    """Count the failures on all pages, without reading their rows."""
    return Counts(
        turns=_count(session, Turn, NO_ANSWER),
        not_sent=_count(session, Message, NOT_SENT),
        not_delivered=_count(session, Message, UNDELIVERED),
        ignored=_count(session, Message, IGNORED),
        unanswerable=_count(session, Message, UNANSWERABLE),
        contacts=_count(session, ContactUpdate, _NOT_WRITTEN),
        notices=_count(session, HandoffNotice, NOT_TOLD),
    )


def count_shown(rt: Runtime, session: Session) -> int:
    """Count what the console lists: all but :data:`IN_THE_INBOX`."""
    counts = count(session)
    messages = counts.not_sent + counts.not_delivered + counts.ignored + counts.unanswerable
    conversations = count_silent(session, rt.settings) + _count_tasks(session, rt.now())
    return counts.turns + messages + counts.contacts + counts.notices + conversations


def _count_tasks(session: Session, now: datetime) -> int:
    listed = select(func.count()).select_from(TaskError)
    listed = listed.join(Conversation, Conversation.id == TaskError.conversation_id)
    return session.scalar(listed.where(task_errors.standing(now))) or 0


def count_with_human(session: Session) -> int:
    return _count(session, Conversation, _is_with_human())


def count_waiting(session: Session) -> int:
    return _count(session, Conversation, holder.for_team())


def count_silent(session: Session, settings: Settings) -> int:
    return _count(session, Conversation, _is_silent(settings))


def count_not_erased(session: Session) -> int:
    return _count(session, Erasure, NOT_ERASED)


def _is_with_human() -> ColumnElement[bool]:
    """A chat that has ended here meanwhile is no human's any more."""
    return holder.at_provider() & exists().where(rows.ongoing_of(Conversation.id))


def _is_silent(settings: Settings) -> ColumnElement[bool]:
    if settings.silent_turns is None:
        return false()
    return Conversation.silent_since.is_not(None) & (Conversation.silent_turns >= settings.silent_turns)


def _count(session: Session, table: type[Base], which: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(table).where(which)) or 0


def _turns() -> Select[*tuple[Any, ...]]:
    at = func.coalesce(Turn.settled_at, Turn.created_at)
    return _listed(Kind.TURN, Turn, at, Turn.error).where(NO_ANSWER)


def _messages(which: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    return select(
        literal(Kind.MESSAGE.value).label("kind"),
        Message.id,
        Message.conversation_id,
        func.coalesce(Message.settled_at, Message.created_at).label("at"),
        Message.error,
        Message.error_code,
        Message.delivery,
        Message.resend_at,
    ).where(which)


def _tasks(now: datetime) -> Select[*tuple[Any, ...]]:
    listed = _listed(Kind.TASK, TaskError, TaskError.last_at, TaskError.task + ": " + TaskError.error)
    return listed.join(Conversation, Conversation.id == TaskError.conversation_id).where(task_errors.standing(now))


def _with_human() -> Select[*tuple[Any, ...]]:
    since, why = Conversation.holder_since, Conversation.holder_reason
    return _listed(Kind.WITH_HUMAN, Conversation, since, why).where(_is_with_human())


def _waiting() -> Select[*tuple[Any, ...]]:
    since, why = Conversation.holder_since, Conversation.holder_reason
    return _listed(Kind.WAITING, Conversation, since, why).where(holder.for_team())


def _silent(settings: Settings) -> Select[*tuple[Any, ...]]:
    turns = cast(Conversation.silent_turns, Text)
    error = literal("the agent gave no word in the last ") + turns + literal(" turns")
    return _listed(Kind.SILENT, Conversation, Conversation.silent_since, error).where(_is_silent(settings))


def _contacts() -> Select[*tuple[Any, ...]]:
    at = func.coalesce(ContactUpdate.given_up_at, ContactUpdate.wished_at)
    error = "do_not_call is not written: " + ContactUpdate.error
    return _listed(Kind.CONTACT, ContactUpdate, at, error).where(_NOT_WRITTEN)


def _notices() -> Select[*tuple[Any, ...]]:
    error = "the team is not told: " + HandoffNotice.error
    return _listed(Kind.NOTICE, HandoffNotice, HandoffNotice.given_up_at, error).where(NOT_TOLD)


def _listed(kind: Kind, table: type[Base], at: Any, error: Any) -> Select[*tuple[Any, ...]]:
    """Return the columns of a row of this table. Only messages have more; see :func:`_messages`."""
    columns: Any = table
    conversation_id = columns.id if table is Conversation else columns.conversation_id
    return select(
        literal(kind.value).label("kind"),
        columns.id,
        conversation_id.label("conversation_id"),
        at.label("at"),
        error.label("error"),
        null().label("error_code"),
        type_coerce(null(), Message.delivery.type).label("delivery"),
        type_coerce(null(), Message.resend_at.type).label("resend_at"),
    )


def _after(query: Select[*tuple[Any, ...]], every: Subquery, cursor: str) -> Select[*tuple[Any, ...]]:
    """Select the rows after the cursor. A comparison of tuples would not bind each column with its own type."""
    microseconds, kind, row_id = read_cursor(cursor, int, str, int)
    try:
        at = EPOCH + timedelta(microseconds=int(microseconds))
        kind = Kind(str(kind)).value  # a foreign word may be one that no database accepts
    except (OverflowError, ValueError):
        raise BadCursor from None
    older = every.c.at < at
    other_kind = (every.c.at == at) & (every.c.kind < kind)
    same_kind = (every.c.at == at) & (every.c.kind == kind) & (every.c.id < row_id)
    return query.where(or_(older, other_kind, same_kind))


def _cursor(last: Failure) -> str:
    return write_cursor((last.at - EPOCH) // timedelta(microseconds=1), last.kind.value, last.id)


def _phones(session: Session, conversation_ids: Iterable[int]) -> dict[int, str]:
    """Return the phones of one page. A join would read them for every failure there is."""
    rows = session.execute(select(Conversation.id, Conversation.phone).where(Conversation.id.in_(conversation_ids)))
    return {row.id: row.phone for row in rows}


def _failure(rt: Runtime, row: Row[*tuple[Any, ...]], phone: str) -> Failure:
    kind = Kind(row.kind)
    error = row.error and rt.database.keyring.open(row.error)  # why a person waits; a UNION has no type of its own
    told = {"phone": phone, "kind": kind, "error": error, "meaning": REMEDIES.get(kind)}
    failure = Failure(**{**row._mapping, **told})
    if failure.error_code is None and failure.delivery is None:
        return failure
    meaning = rt.carrier.meaning(failure.error_code)
    return replace(failure, failure=meaning.failure, meaning=meaning.sentence, page=meaning.page)
