"""Run the revisions: all of them in one transaction, and one release at a time.

``bridge.db.migrate`` passes the database's address. On the ``alembic`` command line, the address is in the settings.
"""

from __future__ import annotations

from typing import Literal

from alembic import context
from sqlalchemy import Connection, Engine, Enum, text

from bridge.config import DatabaseSettings
from bridge.db.engine import build_engine
from bridge.db.models import SEARCH_INDEXES, Base, UtcDateTime
from bridge.db.revisions import is_newer

RELEASE_LOCK = 7_286_374_051
"""The key of the advisory lock. It never changes, and no other program may use it in this database."""

RELEASE_TIMEOUT = "10min"
"""The longest time for one statement, and for waiting for another release."""

LOCK_TIMEOUT = "5s"
"""The longest wait for a table. All other work waits behind that change; so it fails, and the release can run again."""


def _plain(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write the models' own types as plain columns, so that old revisions do not depend on today's code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, Enum):
        return f"sa.String({item.length})"
    return False


def _compared(item: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
    """Leave out the indexes of one database: Alembic expects them on both, and does not see a collation."""
    return kind != "index" or name not in SEARCH_INDEXES


def _engine() -> Engine:
    return build_engine(context.config.attributes.get("url") or DatabaseSettings.load().database_url)


def _let_tables_be_rebuilt(connection: Connection) -> None:
    """Switch off foreign keys: SQLite alters a table by rebuilding it, and the drop would count as deleted rows."""
    # On the driver's connection: within a transaction the pragma has no effect.
    connection.connection.execute("PRAGMA foreign_keys=OFF")


def _one_release_at_a_time(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL statement_timeout = '{RELEASE_TIMEOUT}'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": RELEASE_LOCK})
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))


def _stays_as_it_is(connection: Connection) -> bool:
    """Return whether ``migrate.upgrade`` meets the tables of a newer release. Alembic would not know its revision."""
    attributes = context.config.attributes
    attributes["is_newer"] = "url" in attributes and is_newer(connection)
    return bool(attributes["is_newer"])


def _migrate(connection: Connection) -> None:
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        _let_tables_be_rebuilt(connection)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=sqlite,
        render_item=_plain,
        include_object=_compared,
        transactional_ddl=True,  # Alembic has False for SQLite; with our engine it is transactional
    )
    with context.begin_transaction():
        if not sqlite:  # on SQLite the engine's BEGIN IMMEDIATE is the lock
            _one_release_at_a_time(connection)
        if not _stays_as_it_is(connection):
            context.run_migrations()


def run() -> None:
    engine = _engine()
    try:
        with engine.connect() as connection:
            _migrate(connection)
    finally:
        engine.dispose()


run()
