"""Runs the revisions: one transaction for all of them, and one release at a time.

`bridge.db.migrate` hands over the address; from the `alembic` command line it comes from the settings.
"""

from __future__ import annotations

from typing import Literal

from alembic import context
from sqlalchemy import Connection, Engine, Enum, text

from bridge.config import DatabaseSettings
from bridge.db.engine import build_engine
from bridge.db.models import Base, UtcDateTime

RELEASE_LOCK = 7_286_374_051
"""Any number will do, as long as nobody else uses it in this database and it never changes."""

RELEASE_TIMEOUT = "10min"
"""How long one statement may take, waiting for another release included."""

LOCK_TIMEOUT = "5s"
"""A change that waits for a table makes everybody behind it wait as well. Rather fail; the release can be run again."""


def _plain(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Writes the types of the models as the columns that they are, so that old revisions outlive their Python."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, Enum):
        return f"sa.String({item.length})"
    return False


def _engine() -> Engine:
    return build_engine(context.config.attributes.get("url") or DatabaseSettings.load().database_url)


def _let_tables_be_rebuilt(connection: Connection) -> None:
    """SQLite alters a table by making it anew, and checked keys would take the drop for deleted rows."""
    # Straight to the driver: within a transaction the pragma does nothing.
    connection.connection.execute("PRAGMA foreign_keys=OFF")


def _one_release_at_a_time(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL statement_timeout = '{RELEASE_TIMEOUT}'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": RELEASE_LOCK})
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))


def _migrate(connection: Connection) -> None:
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        _let_tables_be_rebuilt(connection)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=sqlite,
        render_item=_plain,
        transactional_ddl=True,  # Alembic doubts it for SQLite; with our engine it is true
    )
    with context.begin_transaction():
        if not sqlite:  # there the engine's BEGIN IMMEDIATE is the lock
            _one_release_at_a_time(connection)
        context.run_migrations()


def run() -> None:
    engine = _engine()
    try:
        with engine.connect() as connection:
            _migrate(connection)
    finally:
        engine.dispose()


run()
