"""Migrations: upgrade a database to the newest revision."""

from __future__ import annotations

from alembic import command
from alembic.config import Config

from bridge.db.revisions import MIGRATIONS


def upgrade(url: str) -> bool:
    """Run the missing revisions in one transaction. Of two at once, the second waits and finds nothing to do.

    Return False if a newer release has upgraded the database. Then nothing is changed: the code of the release before
    works on it, so that a release can be rolled back.
    """
    config = config_for(url)
    command.upgrade(config, "head")
    return not config.attributes.get("is_newer")


def config_for(url: str) -> Config:
    """Return Alembic's configuration. The address is no option of it, because there a percent sign has a meaning."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["url"] = url
    return config
