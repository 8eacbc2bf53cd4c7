"""The commands that bring a bridge up and find its faults: ``init``, ``connect`` and ``doctor``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import click

from bridge.commands.arguments import Number, usable_settings
from bridge.config import Settings, SettingsError, or_exit, unknown_names
from bridge.config.faults import environment
from bridge.config.values import is_secret
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
from bridge.processes.ping import ask_worker
from bridge.providers.errors import RemoteError
from bridge.setup import dotenv_file, first_run
from bridge.setup.parts import ALL_PARTS


def _settings_as_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command an option for each setting that is no secret. A list of processes shows options to everybody."""
    names = [name for part in ALL_PARTS for name in part.names]
    for name in reversed(names):
        field = Settings.model_fields[name.lower()]
        if not is_secret(field):
            option = click.option(f"--{name.lower().replace('_', '-')}", name.lower(), help=f"{field.description}.")
            command = option(command)
    return command


@click.command()
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


@click.command()
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


@click.command()
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
