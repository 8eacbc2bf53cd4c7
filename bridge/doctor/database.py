"""The database: whether it is there, and at the newest migration, and what it says that providers must still delete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import make_url

from bridge.db.engine import AWAY, unfit
from bridge.db.revisions import at_head, head
from bridge.doctor.clocks import judged
from bridge.doctor.context import Context
from bridge.doctor.findings import Finding, fault, ok, warning
from bridge.operators.failures import NOT_ERASED

SUBJECT = "database"
UPGRADE = "Run: bridge db upgrade (bridge up does so itself)."


def database(context: Context) -> Sequence[Finding]:
    """Check that it can be reached, is at the newest migration and has our time. Warn of what is left to do by hand."""
    if name := missing_file(context.settings.database_url):
        return [fault(SUBJECT, f"the file {name} is not there yet", UPGRADE, code="database-missing")]
    try:
        with context.engine.connect() as connection:
            kind, current = connection.dialect.name, at_head(connection)
            clock = _clock(context, connection)
            not_erased = _not_erased(connection) if current else []
    except AWAY as error:
        return [_away(error)]
    if not current:
        words = f"is not at the newest migration, which is {head()}"
        return [fault(SUBJECT, words, UPGRADE, code="database-old"), *clock]
    return [ok(SUBJECT, f"{kind} answers, and is at the newest migration"), *clock, *not_erased]


def missing_file(url: str) -> str:
    """Return the name of the SQLite file that is not there. To connect would make an empty one."""
    its = make_url(url)
    if its.get_backend_name() != "sqlite" or not its.database or its.database == ":memory:":
        return ""
    path = Path(its.database)
    return "" if path.exists() else path.name


def _away(error: Exception) -> Finding:
    if misfit := unfit(error):
        return fault(SUBJECT, misfit, "Make another database and set DATABASE_URL.", code="database-unfit")
    cause = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines() or [type(error).__name__]
    remedy = "Check DATABASE_URL, and whether the server runs."
    return fault(SUBJECT, f"can't be used: {cause[0]}", remedy, code="database-away")


def _not_erased(connection: Connection) -> list[Finding]:
    number = connection.scalar(select(func.count()).where(NOT_ERASED))
    if not number:
        return []
    words = f"{number} chats or texts of forgotten people are still at a provider"
    remedy = "Delete each there by its id in the table erasures, and then its row."
    return [warning(SUBJECT, words, remedy, code="not-erased")]


def _clock(context: Context, connection: Connection) -> list[Finding]:
    """Compare the clocks. SQLite has none of its own."""
    if connection.dialect.name != "postgresql":
        return []
    before = context.now()
    at = connection.scalar(select(func.clock_timestamp()))
    assert at is not None
    took = context.now() - before
    return [judged("the database", at - (before + took / 2), unsure=took / 2)]
