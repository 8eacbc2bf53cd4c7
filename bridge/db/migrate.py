"""Brings a database to the newest migration, and tells whether it is there.

The revisions themselves are in ``migrations/``, beside the package.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_MIGRATIONS = Path(__file__).parents[2] / "migrations"


def upgrade(url: str) -> None:
    """Run what is missing, in one transaction. Two at once do no harm: the second waits, and finds nothing to do."""
    config = _config()
    config.attributes["url"] = url
    command.upgrade(config, "head")


def head() -> str:
    """The newest revision of this code."""
    revision = _revisions().get_current_head()
    if revision is None:
        raise LookupError("there are no migrations")
    return revision


def at_head(connection: Connection) -> bool:
    """Has everything been run that this code needs? A database that a newer release took further is fine too."""
    current = MigrationContext.configure(connection).get_current_heads()
    return bool(current) and all(revision == head() or revision not in _known() for revision in current)


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
