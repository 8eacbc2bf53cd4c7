"""The command line: ``bridge …``. The commands stand in ``bridge/commands/``."""

from __future__ import annotations

import click
from sqlalchemy.exc import DBAPIError

from bridge import __version__
from bridge.commands import database, encryption, privacy, serving, setting_up, stale_chats


class Commands(click.Group):
    """The commands. They explain a database that is away or has no tables: a traceback does not help to repair it."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except DBAPIError as error:
            raise click.ClickException(
                f"the database says: {str(error.orig).strip()}\n"
                "Look at DATABASE_URL; a new database is made ready by: bridge db upgrade"
            ) from error


@click.group(cls=Commands)
@click.version_option(__version__)
def main() -> None:
    """An SMS bridge: people text a Twilio number, a chat agent answers them by text."""


@main.group()
def db() -> None:
    """The database."""


db.add_command(database.upgrade)

for command in (
    serving.up,
    serving.demo,
    serving.mcp,
    setting_up.init,
    setting_up.connect,
    setting_up.doctor,
    database.backup,
    stale_chats.end_stale,
    privacy.purge,
    privacy.export,
    privacy.forget,
    privacy.consent,
    encryption.encrypt,
):
    main.add_command(command)
