"""The commands about the data of people: ``bridge purge`` and ``bridge export``."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import click

from bridge.arguments import Address, Age, usable_settings
from bridge.lib import log as logs
from bridge.lib.phone import masked
from bridge.maintenance import purge as purging
from bridge.operators import people_exports
from bridge.operators.audit import COMMAND
from bridge.operators.people import Person
from bridge.queues.notifier import NullNotifier
from bridge.runtime import Runtime


@contextmanager
def _runtime() -> Iterator[Runtime]:
    settings = usable_settings()
    logs.configure(secrets=logs.secrets_in(settings))
    rt = Runtime.build(settings, NullNotifier(), pool_size=1)
    try:
        yield rt
    finally:
        rt.close()


@click.command()
@click.option("--older-than", type=Age(), required=True, help="Such as 90d; at least 1d.")
@click.option("--dry-run", is_flag=True, help="Only count.")
def purge(older_than: timedelta, dry_run: bool) -> None:
    """Delete texts and all that belongs to them when they are older than this.

    Opt-outs and the audit stay, and so does whatever still has work to be done. The bridge may go on meanwhile.
    """
    with _runtime() as rt:
        before = rt.now() - older_than
        counted = purging.count(rt, before)
        if dry_run:
            click.echo(f"From before {before:%Y-%m-%d %H:%M} UTC. Nothing was deleted.")
            click.echo(_table(counted))
        else:
            click.echo(_table(_purge(rt, before, sum(counted.values()))))


def _purge(rt: Runtime, before: datetime, most: int) -> Counter[str]:
    purging.begin(rt, COMMAND, before)
    deleted: Counter[str] = Counter()
    with click.progressbar(length=most, label="Purging") as bar:
        for batch in purging.batches(rt, before):
            deleted[batch.name] += batch.rows
            bar.update(batch.rows)
    return deleted


def _table(counted: Mapping[str, int]) -> str:
    return "\n".join(f"{rows:>9,}  {name}" for name, rows in counted.items())


@click.command()
@click.argument("number", type=Address())
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A new file that only you can read.")
def export(number: str, output: Path | None) -> None:
    """Write everything that is stored about one person as JSON: on all channels and from all our numbers."""
    with _runtime() as rt:
        person = Person(number)
        exported = people_exports.export(rt, COMMAND, person)
    if people_exports.is_empty(exported):
        raise click.ClickException(f"nothing is stored about {masked(person.number)}")
    written = json.dumps(exported, indent=2, ensure_ascii=False, default=_in_json)
    if output is None:
        click.echo(written)
    else:
        _write_for_owner(output, written + "\n")
        click.echo(f"{len(exported['conversations'])} conversations of {masked(person.number)} are in {output}")


def _in_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _write_for_owner(output: Path, written: str) -> None:
    try:
        opened = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.ClickException(f"{output} can't be made: {error.strerror}; name a new file") from error
    with os.fdopen(opened, "w", encoding="utf-8") as file:
        file.write(written)
