"""The command line: ``bridge …``. It only composes. The packages below do the work of each command."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import click
from sqlalchemy.exc import DBAPIError

from bridge import __version__, privacy_commands
from bridge.arguments import Duration, Number, usable_settings
from bridge.chats import end_task, ending
from bridge.config import (
    DatabaseSettings,
    Settings,
    SettingsError,
    or_exit,
    unknown_names,
    warn_of_unknown_names,
)
from bridge.config.faults import environment
from bridge.config.values import is_secret
from bridge.db import backup as backups
from bridge.db import migrate
from bridge.db.engine import must_fit
from bridge.doctor import connect as connecting
from bridge.doctor import report
from bridge.doctor import settings as settings_check
from bridge.doctor.connect import CannotConnect
from bridge.doctor.context import Context
from bridge.doctor.findings import fault
from bridge.doctor.run import examine
from bridge.doctor.webhooks import shown
from bridge.lib import log as logs
from bridge.lib.phone import masked
from bridge.operators import chats
from bridge.operators.audit import COMMAND
from bridge.processes import embedded, telemetry
from bridge.processes.ping import ask_worker
from bridge.providers.agents.registry import AGENTS
from bridge.providers.errors import RemoteError
from bridge.queues.notifier import NullNotifier
from bridge.runtime import Runtime
from bridge.setup import dotenv_file, first_run
from bridge.setup.parts import ALL_PARTS

DEFAULT_PORT = 8000
PORT = click.IntRange(1, 65535)

AT_ONCE = 100_000
"""Chats that one call of ``end-stale`` ends; a number that its progress bar can still show."""

NEEDED_BY_MCP = ("mcp", "mcp_types", "uvicorn", "starlette", "anyio")
"""The packages of the extra ``mcp`` that the command imports."""

NO_MCP = (
    "bridge mcp needs packages that are not installed. Install them where the bridge is installed: "
    "python -m pip install 'sms-bridge[mcp]', or in a checkout: .venv/bin/python -m pip install '.[mcp]'"
)


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


@db.command()
def upgrade() -> None:
    """Bring the database to the newest migration."""
    url = or_exit(DatabaseSettings.load).database_url
    or_exit(lambda: must_fit(url))
    if migrate.upgrade(url):
        click.echo(f"The database is at {migrate.head()}.")
    else:
        click.echo("A newer release has upgraded this database. It stays as it is, and this release works on it.")


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, envvar="PORT", help="Where to listen.")
def up(host: str, port: int) -> None:
    """Run everything in one process, with your Twilio number and your agent."""
    settings = usable_settings()
    logs.configure(secrets=logs.secrets_in(settings), form=settings.log_format)
    telemetry.start(settings)
    warn_of_unknown_names()
    try:
        with embedded.running(settings, host, port) as (_, server):
            expected = f"{settings.public_url}/twilio/inbound"
            click.echo(f"The bridge listens on http://{host}:{port} and expects Twilio at {expected}")
            embedded.serve_until_told(server)
    except embedded.CannotRun as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option(
    "--port",
    type=PORT,
    default=DEFAULT_PORT,
    show_default=True,
    help="The phone's; the bridge itself takes a free one.",
)
@click.option("--agent", type=click.Choice(list(AGENTS)), default="retell", show_default=True, help="Its provider.")
@click.option("--browser/--no-browser", default=True, help="Open the phone in a browser.")
def demo(port: int, agent: str, browser: bool) -> None:
    """Text a simulated agent from a phone in your browser. Needs no account and no network."""
    from bridge.processes.demo import run

    logs.configure()
    run(port, agent, open_browser=browser)


@main.command()
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


@main.command()
@click.option(
    "--http",
    "port",
    type=PORT,
    metavar="PORT",
    help="Serve on this port, in place of the client that has started this process.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen with --http.")
def mcp(port: int | None, host: str) -> None:
    """Give the operators' tools to a model, over the Model Context Protocol."""
    try:
        from bridge.mcp import serve
        from bridge.mcp.settings import McpSettings
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in NEEDED_BY_MCP:
            raise
        raise click.ClickException(NO_MCP) from None
    settings = or_exit(McpSettings.load)
    logs.configure(level=logging.WARNING, secrets=logs.secrets_in(settings))
    try:
        serve.over_http(settings, host, port) if port else serve.over_stdio(settings)
    except serve.CannotListen as error:
        raise click.ClickException(str(error)) from error


@main.command("end-stale")
@click.option("--idle", type=Duration(), help="Idle for how long; STALE_AFTER, or 24h, when not given.")
@click.option("--dry-run", is_flag=True, help="Only count.")
def end_stale(idle: timedelta | None, dry_run: bool) -> None:
    """End the chats that nobody uses any more."""
    settings = usable_settings()
    logs.configure(secrets=logs.secrets_in(settings))
    rt = Runtime.build(settings, NullNotifier(), pool_size=1)
    try:
        _end_stale(rt, idle or settings.stale_after or ending.DEFAULT_IDLE, dry_run)
    finally:
        rt.close()


def _end_stale(rt: Runtime, idle: timedelta, dry_run: bool) -> None:
    """What the provider does not end now is left to the running bridge."""
    stale = chats.end_stale(rt, COMMAND, idle, limit=AT_ONCE, dry_run=dry_run)
    if dry_run:
        click.echo(f"{stale.matched} chats are stale. Nothing was ended.")
        return
    with click.progressbar(stale.chat_ids, label="Ending stale chats") as bar:
        for chat_id in bar:
            end_task.end_chat(rt, chat_id)
    left = sum(ending.ending(rt, chat_id) is not None for chat_id in stale.chat_ids)
    click.echo(f"{stale.matched - left} chats ended." + (f" {left} are left to the running bridge." if left else ""))


def _settings_as_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command an option for each setting that is no secret. A list of processes shows options to everybody."""
    names = [name for part in ALL_PARTS for name in part.names]
    for name in reversed(names):
        field = Settings.model_fields[name.lower()]
        if not is_secret(field):
            option = click.option(f"--{name.lower().replace('_', '-')}", name.lower(), help=f"{field.description}.")
            command = option(command)
    return command


@main.command()
@click.option("--yes", is_flag=True, help="Ask nothing: options, the environment and .env have the values.")
@click.option("--offline", is_flag=True, help="Do not check the answers at the providers.")
@_settings_as_options
@click.pass_context
def init(ctx: click.Context, /, yes: bool, offline: bool, **options: str | None) -> None:
    """Ask for the settings that are needed, check each at its provider, and write them into .env.

    With --yes, keys and tokens come from the environment. Nothing is written after a fault: the exit code is 1 for one
    that a provider reports, and 2 for a wrong value.
    """
    environ = or_exit(environment)
    known = environ | {name.upper(): text for name, text in options.items() if text is not None}
    try:
        values = or_exit(lambda: (first_run.take if yes else first_run.ask)(known, offline=offline))
        faults = first_run.write(values, os.environ)
    except first_run.Unusable:
        ctx.exit(1)
    except dotenv_file.NotWritten as error:
        raise click.ClickException(str(error)) from error
    except (click.Abort, KeyboardInterrupt):
        raise click.ClickException("nothing was written") from None
    for fault_of_others in faults:
        click.echo(fault_of_others, err=True)
    ctx.exit(2 if faults else 0)


main.add_command(privacy_commands.purge)
main.add_command(privacy_commands.export)
main.add_command(privacy_commands.forget)
main.add_command(privacy_commands.consent)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check everything that the bridge needs. Each fault comes with its remedy.

    The exit code is 1 for a fault, and 2 for wrong settings. Warnings do not count.
    """
    shown = report.as_json if as_json else report.as_text
    try:
        settings = Settings.load()
        must_fit(settings.database_url)
    except SettingsError as error:
        wrong = [fault("settings", each, "", code="settings-wrong") for each in error.faults]
        click.echo(shown([*wrong, *settings_check.unknown(unknown_names(environment()))]))
        ctx.exit(2)
    logs.configure(level=logging.CRITICAL, secrets=logs.secrets_in(settings))
    ping = partial(ask_worker, settings.broker_url, settings.redis_tls_verify) if settings.broker_url else None
    found = examine(replace(Context.build(settings, ping), unknown_names=unknown_names(environment())))
    click.echo(shown(found))
    ctx.exit(report.exit_code(found))


@main.command()
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER...", type=Number())
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--restore", is_flag=True, help="Put back what was there before the last connect.")
def connect(numbers: tuple[str, ...], dry_run: bool, restore: bool) -> None:
    """Let Twilio bring the texts of your numbers to PUBLIC_URL."""
    settings = usable_settings()
    logs.configure(level=logging.WARNING, secrets=logs.secrets_in(settings))
    with connecting.Site.of(settings) as site:
        made = [_connect(site, number, dry_run=dry_run, restore=restore) for number in numbers]
    raise SystemExit(0 if all(made) else 1)


def _connect(site: connecting.Site, number: str, *, dry_run: bool, restore: bool) -> bool:
    """Show the change before it is made. Return False if it can't be made."""
    try:
        change = connecting.plan_restore(site, number) if restore else connecting.plan(site, number)
        click.echo(f"{masked(number)}\n  before  {shown(change.before)}")
        if change.after == change.before:
            click.echo("  Nothing is to be done.")
            return True
        after = change.after if dry_run else connecting.carry_out(site, change)
        click.echo(f"  after   {shown(after)}" + ("  (not done)" if dry_run else ""))
    except (CannotConnect, RemoteError) as error:
        click.echo(f"{masked(number)}: {error}", err=True)
        return False
    return True
