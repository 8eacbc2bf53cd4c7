"""Everything about one person, as it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Table

from bridge.db.models import Base
from bridge.lib.phone import masked
from bridge.operators import audit
from bridge.operators.audit import Action, Entry
from bridge.operators.people import AUDIT, BY_NUMBER, CONVERSATIONS, OF_CONVERSATIONS, Person, conversation_ids, rows
from bridge.runtime import Runtime

PAGE = 500
"""Rows of one read. Between two of them other transactions go on: SQLite has one connection."""


def export(rt: Runtime, operator: str, person: Person) -> dict[str, Any]:
    """Return everything about the person, and record that in the audit. ``conversations`` may be empty."""
    with rt.database.transaction() as tx:
        ids = conversation_ids(tx.session, person)
        details = {"conversations": ids}
        audit.write(tx, Entry(operator, Action.EXPORT, f"person {masked(person.number)}", details=details))
    named = {name: list(_rows(rt, Base.metadata.tables[name], person.named_in(name))) for name in BY_NUMBER}
    return {
        "exported_at": rt.now(),
        "number": person.number,
        **named,
        "conversations": [_conversation(rt, conversation_id) for conversation_id in ids],
    }


def is_empty(exported: dict[str, Any]) -> bool:
    """Return whether nothing is stored about the person."""
    return not any(exported[name] for name in (*BY_NUMBER, "conversations"))


def _conversation(rt: Runtime, conversation_id: int) -> dict[str, Any]:
    [whole] = _rows(rt, CONVERSATIONS, CONVERSATIONS.c.id == conversation_id) or [{"id": conversation_id}]
    for table in (*OF_CONVERSATIONS, AUDIT):
        whole[table.name] = _rows(rt, table, table.c.conversation_id == conversation_id)
    return whole


def _rows(rt: Runtime, table: Table, which: ColumnElement[bool]) -> list[dict[str, Any]]:
    """Read the rows, those with a number page by page."""
    return list(_by_page(rt, table, which) if "id" in table.c else _at_once(rt, table, which))


def _at_once(rt: Runtime, table: Table, which: ColumnElement[bool]) -> list[dict[str, Any]]:
    with rt.database.read() as session:
        return list(rows(session, table, which))


def _by_page(rt: Runtime, table: Table, which: ColumnElement[bool]) -> Iterator[dict[str, Any]]:
    after = 0
    while page := _page(rt, table, which & (table.c.id > after)):
        yield from page
        after = page[-1]["id"]


def _page(rt: Runtime, table: Table, which: ColumnElement[bool]) -> list[dict[str, Any]]:
    with rt.database.read() as session:
        return list(rows(session, table, which, PAGE))
