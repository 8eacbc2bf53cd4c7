"""The command line: ``bridge …``. The commands stand in ``bridge/commands/``."""

from __future__ import annotations

from importlib import import_module

import click

from bridge import __version__

COMMANDS = {
    "backup": "database:backup",
    "connect": "setting_up:connect",
    "consent": "privacy:consent",
    "db": "database:db",
    "demo": "serving:demo",
    "doctor": "setting_up:doctor",
    "encrypt": "encryption:encrypt",
    "end-stale": "stale_chats:end_stale",
    "export": "privacy:export",
    "forget": "privacy:forget",
    "init": "setting_up:init",
    "mcp": "mcp:mcp",
    "purge": "privacy:purge",
    "up": "serving:up",
}
"""The module of each command and its name there. Only the command that runs is imported: all of them take a second."""


class Commands(click.Group):
    """The commands. They explain a database that is away or has no tables: a traceback does not help to repair it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module, _, name = COMMANDS.get(cmd_name, "").partition(":")
        return getattr(import_module(f"bridge.commands.{module}"), name) if module else None

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except Exception as error:
            from sqlalchemy.exc import DBAPIError  # it takes a third of a second, and most commands do not fail

            if not isinstance(error, DBAPIError):
                raise
            raise click.ClickException(
                f"the database says: {str(error.orig).strip()}\n"
                "Look at DATABASE_URL; a new database is made ready by: bridge db upgrade"
            ) from error


@click.group(cls=Commands)
@click.version_option(__version__)
def main() -> None:
    """An SMS bridge: people text a Twilio number, a chat agent answers them by text."""
