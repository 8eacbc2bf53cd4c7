"""The query for the audit: who has done what, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from bridge.db.models import Audit
from bridge.operators.audit import Action
from bridge.runtime import Runtime
from bridge.web.queries.paging import read_cursor, write_cursor


@dataclass(frozen=True)
class Filter:
    """Which rows to show, and from where."""

    operator: str | None = None
    action: Action | None = None
    conversation_id: int | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """One page of the audit, and the cursor of the next page."""

    audit: Sequence[Audit]
    next: str | None


def list_audit(rt: Runtime, wanted: Filter) -> Page:
    """Return one page, newest first. Raise :class:`~bridge.web.queries.paging.BadCursor`."""
    query = select(Audit).order_by(Audit.id.desc()).limit(wanted.limit + 1)
    for column in (Audit.operator, Audit.action, Audit.conversation_id):
        value = getattr(wanted, column.key)
        if value is not None:
            query = query.where(column == value)
    if wanted.cursor:
        query = query.where(Audit.id < read_cursor(wanted.cursor, int)[0])
    with rt.database.read() as session:
        rows = session.scalars(query).all()
    shown = rows[: wanted.limit]
    return Page(shown, write_cursor(shown[-1].id) if len(rows) > wanted.limit else None)
