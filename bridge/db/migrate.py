"""Migrations: upgrade a database to the newest revision, and check whether it is there.

The revisions are in ``migrations/``: in a checkout beside the package, in an installed bridge beside this module.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_INSTALLED = Path(__file__).with_name("migrations")
_MIGRATIONS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "migrations"


def upgrade(url: str) -> bool:
    """Run the missing revisions in one transaction. Of two at once, the second waits and finds nothing to do.

    Return False if a newer release has upgraded the database. Then nothing is changed: the code of the release before
    works on it, so that a release can be rolled back.
    """
    config = _config()
    config.attributes["url"] = url
    command.upgrade(config, "head")
    return not config.attributes.get("is_newer")


def head() -> str:
    """Return the newest revision of this code."""
    revision = _revisions().get_current_head()
    if revision is None:
        raise LookupError(f"there are no migrations in {_MIGRATIONS}; install the bridge from its whole repository")
    return revision


def at_head(connection: Connection) -> bool:
    """Return whether all revisions of this code were run. The revision of a newer release counts as well."""
    current = MigrationContext.configure(connection).get_current_heads()
    return bool(current) and all(revision == head() or revision not in _known() for revision in current)


def is_newer(connection: Connection) -> bool:
    """Return whether this database has a revision of a newer release, which this code does not know."""
    return not _known().issuperset(MigrationContext.configure(connection).get_current_heads())


@cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in _revisions().walk_revisions())


@cache
def _revisions() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
