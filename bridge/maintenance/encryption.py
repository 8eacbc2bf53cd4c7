"""``bridge encrypt``: every row with words is brought under the first key, or back to plain text.

The rows of each table are read from the newest to the oldest, page by page. Those that are not as they should be are
locked, if nobody else has them, and written again: a few in one transaction, so that the bridge may go on meanwhile. A
row that is as it should be is only read. So whoever stops in the middle begins anew, and finds less to do.

The oldest rows come last. So they tell the doctor whether the work was done to its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, Update, bindparam, func, select, update

from bridge.db.sealed_rows import WORDS, Words
from bridge.db.sealing import Keyring, why_unreadable
from bridge.operators import audit
from bridge.operators.audit import Action, Entry
from bridge.runtime import Runtime

PAGE = 1000
"""Rows of one read."""

BATCH = 100
"""Rows of one transaction that writes."""


@dataclass(frozen=True)
class Page:
    """The rows of one page, and those of them that must stay as they are for now."""

    rows: int
    locked: int
    unreadable: int


@dataclass(frozen=True)
class _Written:
    """The rows of one transaction."""

    rows: int
    unreadable: int


def begin(rt: Runtime, operator: str, target: Keyring) -> None:
    """Record what an operator does. Then go through :func:`pages`. ``target``: it seals as all rows shall be."""
    action = Action.ENCRYPT if target.first else Action.DECRYPT
    with rt.database.transaction() as tx:
        audit.write(tx, Entry(operator, action, "all words", details={"key": target.first}))


def most_rows(rt: Runtime) -> int:
    """Return how many rows all tables with words have at most. To count them would read whole tables."""
    with rt.database.read() as session:
        return sum(session.scalar(select(_most(words))) or 0 for words in WORDS)


def _most(words: Words) -> ColumnElement[int]:
    return func.max(words.key) if isinstance(words.key.type, Integer) else func.count(words.key)


def pages(rt: Runtime, target: Keyring) -> Iterator[Page]:
    """Bring all rows to what ``target`` makes of them, page by page. Stop at any of them, and the rest stays."""
    for words in WORDS:
        before: Any = None
        while rows := _read(rt, words, before):
            yield _brought(rt, words, rows, target)
            before = rows[-1].row_key


def _read(rt: Runtime, words: Words, before: Any) -> Sequence[Row[Any]]:
    query = words.stored().order_by(words.key.desc()).limit(PAGE)
    with rt.database.read() as session:
        return session.execute(query if before is None else query.where(words.key < before)).all()


def _brought(rt: Runtime, words: Words, rows: Sequence[Row[Any]], target: Keyring) -> Page:
    others = [row.row_key for row in rows if any(key != target.first for key in words.keys_of(row))]
    parts = [_write(rt, words, others[n : n + BATCH], target) for n in range(0, len(others), BATCH)]
    written, unreadable = sum(part.rows for part in parts), sum(part.unreadable for part in parts)
    return Page(len(rows), len(others) - written - unreadable, unreadable)


def _write(rt: Runtime, words: Words, keys: Sequence[Any], target: Keyring) -> _Written:
    """Write these rows again. It waits for no lock, and keeps no row that refers to one of them from being inserted."""
    with rt.database.transaction() as tx:
        free = words.stored().where(words.key.in_(keys)).with_for_update(skip_locked=True, key_share=True)
        new = [_sealed(words, row, tx.keyring, target) for row in tx.connection.execute(free)]
        values = [each for each in new if each is not None]
        if values:
            tx.connection.execute(_rewrite(words), values)
        return _Written(len(values), len(new) - len(values))


def _rewrite(words: Words) -> Update:
    stored = {name: bindparam(f"new_{name}", type_=kind.impl_instance) for name, kind in words.kinds.items()}
    return update(words.table).where(words.key == bindparam("row_key")).values(stored)


def _sealed(words: Words, row: Row[Any], keyring: Keyring, target: Keyring) -> dict[str, Any] | None:
    """Return the row's words as they shall be stored; ``None``: some of them can't be decrypted."""
    values: dict[str, Any] = {"row_key": row.row_key}
    for name, kind in words.kinds.items():
        stored = row._mapping[name]
        opened = None if stored is None else kind.open(keyring, stored)
        if why_unreadable(opened, *(opened.values() if isinstance(opened, dict) else ())):
            return None
        values[f"new_{name}"] = None if opened is None else kind.seal(target, opened)
    return values
