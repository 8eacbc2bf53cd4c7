"""The consent record as rows for a file, with its record in the audit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import select

from bridge.db.models import Consent
from bridge.operators import audit
from bridge.operators.audit import Action, Entry
from bridge.runtime import Runtime

COLUMNS = [column.key for column in Consent.__table__.columns]

PAGE = 500
"""Rows of one read."""


def export(rt: Runtime, operator: str, since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Record the export, and yield the rows that were recorded since then, the oldest first."""
    details = {"since": since.isoformat() if since else None}
    with rt.database.transaction() as tx:
        audit.write(tx, Entry(operator, Action.EXPORT, "consent record", details=details))
    return _rows(rt, since)


def _rows(rt: Runtime, since: datetime | None) -> Iterator[dict[str, Any]]:
    after = 0
    while page := _page(rt, since, after):
        yield from page
        after = page[-1]["id"]


def _page(rt: Runtime, since: datetime | None, after: int) -> list[dict[str, Any]]:
    table = Consent.__table__
    wanted = select(table).where(table.c.id > after).order_by(table.c.id).limit(PAGE)
    if since:
        wanted = wanted.where(table.c.recorded_at >= since)
    with rt.database.read() as session:
        return [dict(row._mapping) for row in session.execute(wanted)]
