"""``bridge init`` as a whole: the settings that are known, the questions or none, and the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from bridge.config import Settings, SettingsError
from bridge.config.files import by_file
from bridge.doctor.findings import Mark
from bridge.setup import dotenv_file
from bridge.setup.dialog import OPERATOR, Dialog, has_operator, new_operator, numbers_of, show
from bridge.setup.parts import Values, checked, faults_of, parts

FILE = Path(".env")

NEXT = """\
Next:
  bridge up               start the bridge on this machine
  bridge connect NUMBER   bring the texts of a number to PUBLIC_URL
  bridge doctor           check everything"""


class Unusable(Exception):
    """A value is wrong, and nobody is there to be asked. What is wrong was shown."""


def ask(known: Mapping[str, str], *, offline: bool) -> Values:
    """Return the settings that a person has typed or kept."""
    if FILE.exists():
        click.confirm(f"{FILE} is there. Change it? Its other lines stay", default=True, abort=True)
    return Dialog(_known(known), offline=offline).ask()


def take(known: Mapping[str, str], *, offline: bool) -> Values:
    """Return the settings that are known already. Raise :class:`SettingsError` or :class:`Unusable`."""
    values = _known(known)
    if faults := faults_of("AGENT_PROVIDER", values["AGENT_PROVIDER"]) or [*_faults(values)]:
        raise SettingsError(faults)
    found = [each for part in parts(values) for each in checked(part, values, offline=offline)]
    show(found)
    if any(each.mark is Mark.FAULT for each in found):
        raise Unusable
    names = [name for part in parts(values) for name in part.names]
    chosen = {name: values[name] for name in names if name in values}
    operator = {} if has_operator(values) else new_operator(OPERATOR)
    return {**_only_number(values, offline=offline), **chosen, **operator}


def write(values: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Write the file, and say what to do next. Return the faults of all other settings."""
    dotenv_file.write(FILE, values)
    click.echo(f"{FILE} is written. Only you can read it.")
    if hidden := [name for name, text in values.items() if environ.get(name, text).strip() != text]:
        click.echo(f"The environment has other values, which count: {', '.join(hidden)}")
    click.echo(NEXT)
    try:
        Settings.load()
    except SettingsError as error:
        return error.faults
    return []


def _known(written: Mapping[str, str]) -> Values:
    """Return the values that are not empty, with the default provider."""
    return {"AGENT_PROVIDER": "retell"} | {name: text.strip() for name, text in written.items() if text.strip()}


def _faults(values: Mapping[str, str]) -> Iterator[str]:
    for part in parts(values):
        for name in part.names:
            optional = by_file(name, values) or (name == "TWILIO_NUMBERS" and name not in values)
            yield from [] if optional else faults_of(name, values.get(name, ""))


def _only_number(values: Mapping[str, str], *, offline: bool) -> Values:
    """Return the number of the account, if there is one only. Others may have another purpose."""
    if values.get("TWILIO_NUMBERS"):
        return {}
    found = numbers_of(values, offline=offline)
    return {"TWILIO_NUMBERS": found[0]} if len(found) == 1 else {}
