"""``bridge db upgrade`` and ``bridge backup``."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.config import DatabaseSettings, or_exit
from bridge.db import backup as backups
from bridge.db import migrate, revisions
from bridge.db.engine import must_fit


@click.group()
def db() -> None:
    """The database."""


@db.command()
def upgrade() -> None:
    """Bring the database to the newest migration."""
    url = or_exit(DatabaseSettings.load).database_url
    or_exit(lambda: must_fit(url))
    if migrate.upgrade(url):
        click.echo(f"The database is at {revisions.head()}.")
    else:
        click.echo("A newer release has upgraded this database. It stays as it is, and this release works on it.")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def backup(file: Path, force: bool) -> None:
    """Copy the SQLite database to FILE, also while the bridge runs."""
    url = or_exit(DatabaseSettings.load).database_url
    try:
        size = backups.back_up(url, file, replace=force)
    except backups.CannotBackUp as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{file} is a checked copy of the database, of {size:,} bytes.")
