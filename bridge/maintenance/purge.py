"""The purge: rows that are older than a time are deleted, in small batches.

The clock purges by RETENTION, a few seconds at a time, and the conversations themselves each hour: most of those that
are old may have to stay. The command ``bridge purge`` does it until nothing is left. All may run at once, and be
stopped at any moment: each batch is a transaction of its own, and deletes only rows that nothing needs. It locks the
conversations of its rows first, as every transaction does that changes them. One with work that is due, or that another
transaction has locked, is left for the next time. So a batch waits for nobody, and a new text waits for a batch of some
milliseconds at most.

Which rows: ``bridge.maintenance.purge_kinds``. Opt-outs and the audit stay. What was purged is not fetched again:
``bridge.maintenance.purge_mark``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, or_, select, true, update
from sqlalchemy.orm import Session

from bridge.db.models import Conversation
from bridge.db.statements import POSTGRESQL
from bridge.db.transaction import Transaction
from bridge.maintenance import purge_mark
from bridge.maintenance.purge_kinds import CONVERSATIONS, KINDS, OF_CONVERSATIONS, Kind
from bridge.operators import audit
from bridge.operators.audit import CLOCK, Action, Entry
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

BATCH = 100
"""Rows that one transaction looks at."""

LONGEST_ROUND = timedelta(seconds=5)
"""The longest time of the clock's round. The next one goes on."""

LONGEST_PASS = timedelta(seconds=60)
"""The same for the conversations. A pass looks at all those that must stay, which takes a second for some ten thousand
of them, so the clock makes one only each hour."""

_Row = Row[int, int, datetime]
"""An id, the conversation's and the moment."""

AGENT_NOTES = "notes for the agent"
"""What an operator has told the agent, in the row of the conversation."""


@dataclass(frozen=True)
class Deleted:
    """The rows of one kind that one batch has deleted."""

    name: str
    rows: int


def purge_old(rt: Runtime) -> None:
    """Purge by RETENTION, if that is set, for a few seconds: all but the conversations. The audit has it once a day."""
    _purge(rt, OF_CONVERSATIONS, LONGEST_ROUND)


def purge_conversations(rt: Runtime) -> None:
    """Purge the conversations that have nothing any more."""
    _purge(rt, (CONVERSATIONS,), LONGEST_PASS)


def _purge(rt: Runtime, kinds: Sequence[Kind], longest: timedelta) -> None:
    if rt.settings.retention is None:
        return
    began = rt.now()
    before = began - rt.settings.retention
    with rt.database.transaction() as tx:
        purge_mark.advance(tx, before)
    total = 0
    for batch in batches(rt, before, kinds):
        if batch.rows and not total:
            _note_day(rt, before)
        total += batch.rows
        if rt.now() - began >= longest:
            break
    if total:
        log.info("%s rows from before %s are purged", total, f"{before:%Y-%m-%d %H:%M} UTC")


def begin(rt: Runtime, operator: str, before: datetime) -> None:
    """Record that an operator purges now, and move the mark. Then go through :func:`batches`."""
    with rt.database.transaction() as tx:
        purge_mark.advance(tx, before)
        audit.write(tx, Entry(operator, Action.PURGE, "old texts", details={"before": before.isoformat()}))


def batches(rt: Runtime, before: datetime, kinds: Sequence[Kind] = KINDS) -> Iterator[Deleted]:
    """Delete what is from before this moment, batch by batch. Stop at any of them, and the rest stays."""
    while rows := _forget_agent_notes(rt, before):
        yield Deleted(AGENT_NOTES, rows)
    for kind in kinds:
        for rows in _of_kind(rt, kind, before):
            yield Deleted(kind.name, rows)


def count(rt: Runtime, before: datetime) -> dict[str, int]:
    """Return how many rows of each kind are old enough. Some of them may have to stay, because younger ones need them.

    It reads all old rows once.
    """
    with rt.database.read() as session:
        counted = {kind.name: _count(session, kind, before) for kind in KINDS}
        notes = select(func.count()).select_from(Conversation).where(Conversation.agent_note_at < before)
        return {**counted, AGENT_NOTES: session.scalar(notes) or 0}


def _count(session: Session, kind: Kind, before: datetime) -> int:
    old = select(func.count()).select_from(kind.table).where(kind.is_old(before), _reach(session, kind, before))
    return session.scalar(old) or 0


def _note_day(rt: Runtime, before: datetime) -> None:
    """Record the first round of the day that deletes something."""
    deed = Entry(CLOCK, Action.PURGE, "old texts", details={"before": before.isoformat()}, once=f"purge {before:%F}")
    with rt.database.transaction() as tx:
        audit.write(tx, deed)


def _of_kind(rt: Runtime, kind: Kind, before: datetime) -> Iterator[int]:
    """Go once through the old rows of one kind, and yield how many of each batch are deleted.

    Rows that must stay for now are passed over. They may be many: a person who has opted out keeps the conversation.
    """
    with rt.database.read() as session:
        reach = _reach(session, kind, before)
    last = None
    while True:
        found, deleted = _batch(rt, kind, and_(reach, _after(kind, last)), _deletable(kind, before))
        yield deleted
        if len(found) < BATCH:
            return
        last = found[-1]


def _deletable(kind: Kind, before: datetime) -> ColumnElement[bool]:
    return and_(kind.is_old(before), true() if kind.is_free is None else kind.is_free)


def _batch(
    rt: Runtime, kind: Kind, next_ones: ColumnElement[bool], deletable: ColumnElement[bool]
) -> tuple[Sequence[_Row], int]:
    """Look at the next rows, and delete those of them that can be. Return the rows, and how many are deleted.

    No statement reads more rows than these, and what refers to them.
    """
    with rt.database.transaction() as tx:
        _prefer_indexes(tx)
        found = tx.session.execute(_oldest(kind).where(next_ones).limit(BATCH)).all()
        which = and_(kind.id.in_([row.id for row in found]), deletable)
        free = tx.session.execute(_oldest(kind).where(which).order_by(None)).all()
        if not free:
            return found, 0
        idle = _lock_idle(tx, sorted({row.conversation for row in free}))
        ids = [row.id for row in free if row.conversation in idle]
        ids = list(tx.session.scalars(select(kind.id).where(kind.id.in_(ids), which)))  # locked, they change no more
        if ids:
            kind.let_go(tx, ids)
            tx.session.execute(delete(kind.table).where(kind.id.in_(ids)))
        return found, len(ids)


def _prefer_indexes(tx: Transaction) -> None:
    """Have PostgreSQL look at these rows alone. It would rather read a table of some thousand rows as a whole."""
    if tx.connection.dialect.name == POSTGRESQL:
        tx.connection.exec_driver_sql("SET LOCAL enable_seqscan = off")


def _oldest(kind: Kind) -> Select[int, int, datetime]:
    rows: Select[int, int, datetime] = select(
        kind.id.label("id"), kind.conversation_id.label("conversation"), kind.moment.label("moment")
    )
    return rows.order_by(*((kind.moment, kind.id) if kind.has_index else (kind.id,)))


def _lock_idle(tx: Transaction, ids: Sequence[int]) -> set[int]:
    """Lock those of these conversations in which nothing is due."""
    idle = (Conversation.turn_due_at.is_(None), Conversation.delivery_due_at.is_(None))
    theirs = select(Conversation.id).where(Conversation.id.in_(ids), *idle).order_by(Conversation.id)
    return set(tx.session.scalars(theirs.with_for_update(skip_locked=True)))


def _forget_agent_notes(rt: Runtime, before: datetime) -> int:
    """Delete what operators have told the agent on giving a conversation back."""
    with rt.database.transaction() as tx:
        old = select(Conversation.id).where(Conversation.agent_note_at < before).order_by(Conversation.agent_note_at)
        ids = sorted(tx.session.scalars(old.limit(BATCH).with_for_update(skip_locked=True)))
        forgotten = update(Conversation).where(Conversation.id.in_(ids)).values(agent_note=None, agent_note_at=None)
        tx.session.execute(forgotten)
        return len(ids)


# -- where to search -----------------------------------------------------------------------------------------------


def _reach(session: Session, kind: Kind, before: datetime) -> ColumnElement[bool]:
    """Return the condition that bounds the search, so that it never reads the younger rows."""
    return kind.moment < before if kind.has_index else kind.id <= _newest_before(session, kind, before)


def _after(kind: Kind, last: _Row | None) -> ColumnElement[bool]:
    """Return the condition that a row comes after this one in the order of the search."""
    if last is None:
        return true()
    further = kind.id > last.id
    return and_(kind.moment >= last.moment, or_(kind.moment > last.moment, further)) if kind.has_index else further


def _newest_before(session: Session, kind: Kind, before: datetime) -> int:
    """Return the highest id from before this moment, by bisection: the ids grow with time, and need no second index.

    A text that came late from the carrier's list is older than its neighbours. It is found some days later.
    """
    first, last = session.execute(select(func.min(kind.id), func.max(kind.id))).one()
    if first is None or not _is_before(session, kind, first, before):
        return 0
    while first < last:
        middle = (first + last + 1) // 2
        first, last = (middle, last) if _is_before(session, kind, middle, before) else (first, middle - 1)
    return int(first)


def _is_before(session: Session, kind: Kind, row_id: int, before: datetime) -> bool:
    """Return whether the first row from this id on is from before the moment."""
    at: datetime = session.scalars(select(kind.moment).where(kind.id >= row_id).order_by(kind.id).limit(1)).one()
    return at < before
