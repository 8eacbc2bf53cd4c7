"""The commands about the data of people: ``bridge purge``, ``bridge export``, ``bridge forget`` and
``bridge consent``."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from bridge.commands.arguments import Address, Age, brief_runtime
from bridge.lib.new_files import new_file_beside, put
from bridge.lib.phone import masked
from bridge.lib.spreadsheets import harmless
from bridge.maintenance import purge as purging
from bridge.operators import consent_exports as recorded
from bridge.operators import erasures, forgetting, people_exports
from bridge.operators.audit import COMMAND
from bridge.operators.forgetting import Found, InWork
from bridge.operators.people import Person
from bridge.runtime import Runtime


@click.command()
@click.option("--older-than", type=Age(), required=True, help="Such as 90d; at least 1d.")
@click.option("--dry-run", is_flag=True, help="Only count.")
def purge(older_than: timedelta, dry_run: bool) -> None:
    """Delete texts and all that belongs to them when they are older than this.

    Opt-outs and the audit stay, and so does whatever still has work to be done. The bridge may go on meanwhile.
    """
    with brief_runtime() as rt:
        before = rt.now() - older_than
        counted = purging.count(rt, before)
        if dry_run:
            click.echo(f"Old enough, from before {before:%Y-%m-%d %H:%M} UTC. Nothing was deleted.")
            click.echo(_table(counted))
        else:
            deleted = _purge(rt, before, sum(counted.values()))
            click.echo(f"Deleted, from before {before:%Y-%m-%d %H:%M} UTC.")
            click.echo(_table(deleted))
            if left := sum(counted.values()) - deleted.total():
                click.echo(f"{left:>9,}  rows are old enough and stay: something of them is unfinished or younger.")


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
    with brief_runtime() as rt:
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
        with new_file_beside(output) as new:
            new.write_text(written, encoding="utf-8")
            put(new, output, replace=False)
    except OSError as error:
        raise click.ClickException(f"{output} can't be made: {error.strerror}; name a new file") from error


@click.command()
@click.argument("number", type=Address())
@click.option("--carrier", is_flag=True, help="Delete the texts at Twilio too, with pictures and files.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@click.option("--dry-run", is_flag=True, help="Only count.")
def forget(number: str, carrier: bool, yes: bool, dry_run: bool) -> None:
    """Delete everything about one person: here, and the chats at the agent's provider.

    An opt-out and the consent record stay, with the number, and so does the audit, without it.
    """
    with brief_runtime() as rt:
        person = Person(number)
        found = forgetting.find(rt, person)
        if found.is_empty:
            what = " ".join([f"there is nothing of {masked(person.number)} to delete.", *_staying(found)])
            raise click.ClickException(what.removesuffix("."))
        click.echo("\n".join([_table(found.rows), *_at_providers(rt, found, carrier)]))
        if dry_run:
            click.echo("Nothing was deleted.")
            return
        if not yes:
            click.confirm(f"Delete all this of {masked(person.number)} for good?", abort=True)
        _forget(rt, person, carrier)


def _at_providers(rt: Runtime, found: Found, carrier: bool) -> Iterator[str]:
    """Yield what happens where, and what this command can't reach."""
    deleting = {provider: rt.agents.can_delete(provider) for provider in found.chats}
    for provider, chats in found.chats.items():
        what = "are deleted there" if deleting[provider] else "are ended there, and can't be deleted by its API"
        yield f"{chats:>9,}  chats at {provider}: they {what}"
    what = "they are deleted there" if carrier else "they stay there, without --carrier"
    yield f"{found.texts:>9,}  texts at {rt.carrier.provider}: {what}"
    yield from _staying(found)


def _staying(found: Found) -> Iterator[str]:
    if found.opted_out:
        yield "The person has opted out. That stays, with the number."
    if found.consents:
        yield f"The consent record has {found.consents} rows of the person. They stay, with the number."


def _forget(rt: Runtime, person: Person, carrier: bool) -> None:
    """What a provider does not delete now is left to the running bridge."""
    try:
        done = forgetting.forget(rt, COMMAND, person, at_carrier=carrier)
    except InWork as error:
        raise click.ClickException(str(error)) from error
    with click.progressbar(done.erasures, label="Deleting at the providers") as bar:
        left = sum(not erasures.erase(rt, row_id) for row_id in bar)
    click.echo(f"Everything about {masked(person.number)} is deleted here.")
    if left:
        click.echo(f"{left} of {len(done.erasures)} at the providers are left to the running bridge.")


@click.command()
@click.option("--csv/--json", "as_csv", default=False, help="For a spreadsheet; or JSON, a row for each change.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Recorded on this day or later (UTC).")
def consent(as_csv: bool, since: datetime | None) -> None:
    """Write who opted out or in, when and how. The numbers are complete: it is the proof of what people wanted."""
    with brief_runtime() as rt:
        rows = recorded.export(rt, COMMAND, since and since.replace(tzinfo=UTC))
        if as_csv:
            writer = csv.DictWriter(sys.stdout, recorded.COLUMNS)
            writer.writeheader()
            writer.writerows({**row, "words": harmless(row["words"])} for row in rows)
        else:
            for row in rows:
                click.echo(json.dumps(row, ensure_ascii=False, default=_in_json))
