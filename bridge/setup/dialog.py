"""The questions of ``bridge init`` at a terminal. A wrong answer is told and asked for again; the others are kept."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import click

from bridge.config import Settings
from bridge.config.files import by_file
from bridge.config.values import is_secret
from bridge.doctor import report
from bridge.doctor.findings import Finding, Mark
from bridge.providers.errors import RemoteError
from bridge.setup.parts import NUMBERS, OF_PROVIDER, Part, Values, checked, context_of, faults_of, parts

KEPT = "Enter keeps the one that is known"

OPERATOR = "operator"
"""The name of the first operator, if nobody says another one."""


class Dialog:
    """It asks for one part after the other. ``values``: what is known before, which Enter keeps."""

    def __init__(self, values: Mapping[str, str], *, offline: bool) -> None:
        self._values: Values = dict(values)
        self._offline = offline

    def ask(self) -> Values:
        """Return the values of all settings that were asked for."""
        asked: list[str] = []
        for part in parts(self._values):
            self._ask(part)
            asked += part.names
        return {name: self._values[name] for name in asked if name in self._values} | self._operator()

    def _ask(self, part: Part) -> None:
        if part is NUMBERS:
            self._offer()
        while True:
            for name in part.names:
                if not by_file(name, self._values):  # the file stays the place of this secret
                    self._values[name] = self._answer(name)
            found = checked(part, self._values, offline=self._offline)
            show(found)
            if not _is_bad(part, found) or click.confirm("Keep it all the same?", default=False):
                return

    def _answer(self, name: str) -> str:
        known, hidden = self._values.get(name), _is_secret(name)
        return click.prompt(
            f"{name} ({_about(name)})",
            default=known,
            hide_input=hidden,
            show_default=KEPT if hidden and known else True,
            value_proc=lambda text: _valid(name, text),
        )

    def _offer(self) -> None:
        """Show the numbers of the account. The only one is the default; which of several are meant, nobody knows."""
        found = numbers_of(self._values, offline=self._offline)
        for number in found:
            click.echo(f"  {number} can send and receive texts")
        self._values.setdefault("TWILIO_NUMBERS", found[0] if len(found) == 1 else "")

    def _operator(self) -> Values:
        if has_operator(self._values):
            return {}
        name = click.prompt("Your name at /console", default=OPERATOR, value_proc=_valid_operator)
        click.echo(f"A token for {name} is generated; it will be in .env.")
        return new_operator(name)


def show(found: Sequence[Finding]) -> None:
    if found:
        click.echo("\n".join(report.rows(found)))


def numbers_of(values: Mapping[str, str], *, offline: bool) -> list[str]:
    """Return the numbers of the account that can text; none if they can't be read."""
    if offline:
        return []
    try:
        with context_of({**values, "TWILIO_NUMBERS": ""}) as context:
            return context.twilio.numbers()
    except RemoteError as error:
        click.echo(f"The numbers of the account can't be read: {error.reason}")
        return []


def has_operator(values: Mapping[str, str]) -> bool:
    return any(values.get(name) or by_file(name, values) for name in ("ADMIN_TOKEN", "ADMIN_TOKENS"))


def new_operator(name: str) -> Values:
    """Return the setting of an operator with a new token."""
    return {"ADMIN_TOKENS": f"{name}:{secrets.token_urlsafe(24)}"}


def _is_bad(part: Part, found: Sequence[Finding]) -> bool:
    counts = {Mark.FAULT} if part.at_provider else {Mark.FAULT, Mark.WARNING}
    return any(each.mark in counts for each in found)


def _is_secret(name: str) -> bool:
    return is_secret(Settings.model_fields[name.lower()])


def _about(name: str) -> str:
    about = str(Settings.model_fields[name.lower()].description)
    return f"{about}: {' or '.join(OF_PROVIDER)}" if name == "AGENT_PROVIDER" else about


def _valid(name: str, text: str) -> str:
    """Return the answer without the blanks around it. Raise what click shows before it asks again."""
    answer = text.strip()
    if faults := faults_of(name, answer):
        raise click.UsageError("; ".join(faults))
    return answer


def _valid_operator(name: str) -> str:
    if faults := faults_of("ADMIN_TOKENS", f"{name.strip()}:token"):
        raise click.UsageError("; ".join(faults))
    return name.strip()
