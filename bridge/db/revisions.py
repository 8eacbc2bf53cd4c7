"""The revisions of the tables: which ones this code has, and whether a database is at the newest one.

The revisions are in ``migrations/``: in a checkout beside the package, in an installed bridge beside this module. The
name of each file begins with its number. Alembic knows them too, but takes 7 MB in each process that imports it, and
only an upgrade needs it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sqlalchemy import Connection, inspect, text

_INSTALLED = Path(__file__).with_name("migrations")
MIGRATIONS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "migrations"


def head() -> str:
    """Return the newest revision of this code."""
    return max(known())


def at_head(connection: Connection) -> bool:
    """Return whether all revisions of this code were run. The revision of a newer release counts as well."""
    current = _current(connection)
    return current == head() or is_newer(connection)


def is_newer(connection: Connection) -> bool:
    """Return whether this database has a revision of a newer release, which this code does not know."""
    current = _current(connection)
    return current is not None and current not in known()


@cache
def known() -> frozenset[str]:
    """Return all revisions of this code."""
    numbers = frozenset(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    if not numbers:
        raise LookupError(f"there are no migrations in {MIGRATIONS}; install the bridge from its whole repository")
    return numbers


def _current(connection: Connection) -> str | None:
    """Return the revision of this database; ``None`` if no revision was run."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
