"""The settings that ``bridge init`` asks for, in the order of the questions, and how each is checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bridge.config import Settings, SettingsError
from bridge.config.files import by_file
from bridge.doctor import agents, settings, twilio
from bridge.doctor.context import Check, Context
from bridge.doctor.findings import Finding, fault
from bridge.doctor.run import examine

Values = dict[str, str]
"""Texts by the name of the environment variable."""

NOT_YET = {
    "PUBLIC_URL": "https://not-yet.example",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    **dict.fromkeys(("TWILIO_AUTH_TOKEN", "RETELL_API_KEY", "RETELL_AGENT_ID"), "not-yet"),
    **dict.fromkeys(("UPONAI_API_KEY", "UPONAI_AGENT_ID"), "not-yet"),
    "UPONAI_WORKSPACE_ID": "1",
}
"""Stands for the answers that are still open. The check of a part uses no setting of a later one."""

OF_CHECKS = ("PUBLIC_URL", "AGENT_PROVIDER", "TWILIO_", "RETELL_", "UPONAI_")
"""The beginnings of the settings that a check may use."""


@dataclass(frozen=True)
class Part:
    """Settings that are checked together, as soon as all of them are known."""

    names: tuple[str, ...]
    check: Check | None = None
    at_provider: bool = True
    """The check calls a provider. A check without calls is about the answer alone, so its warnings count too."""


def _numbers(context: Context) -> Sequence[Finding]:
    """Check that the account has them. Their webhooks come later, with ``bridge connect``."""
    found = [each for address in context.settings.twilio_numbers for each in twilio.number(address)(context)]
    return [each for each in found if each.remedy != twilio.CONNECT]


NUMBERS = Part(("TWILIO_NUMBERS",), _numbers)

FIRST = (
    Part(("PUBLIC_URL",), settings.public_url, at_provider=False),
    Part(("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"), twilio.credentials),
    Part(("AGENT_PROVIDER",)),
)

OF_PROVIDER = {
    "retell": (Part(("RETELL_API_KEY",), agents.retell_key), Part(("RETELL_AGENT_ID",), agents.retell_agents)),
    "uponai": (Part(("UPONAI_API_KEY", "UPONAI_WORKSPACE_ID"), agents.uponai_key), Part(("UPONAI_AGENT_ID",))),
}

ALL_PARTS = (*FIRST, *OF_PROVIDER["retell"], *OF_PROVIDER["uponai"], NUMBERS)


def parts(values: Mapping[str, str]) -> Iterator[Part]:
    """Yield the parts one by one. The answer to AGENT_PROVIDER decides about those behind it."""
    yield from FIRST
    yield from OF_PROVIDER[values["AGENT_PROVIDER"]]
    yield NUMBERS


def faults_of(name: str, text: str) -> list[str]:
    """Return what is wrong with this value by itself."""
    try:
        Settings.load({**NOT_YET, name: text})
    except SettingsError as error:
        return [each for each in error.faults if each.startswith(f"{name} ")]
    return []


def checked(part: Part, values: Mapping[str, str], *, offline: bool) -> list[Finding]:
    """Run the check of this part, unless it would call a provider that must not be called."""
    if part.check is None or (offline and part.at_provider):
        return []
    try:
        with context_of(values) as context:
            return examine(context, {", ".join(part.names): part.check})
    except SettingsError as error:
        remedy = "Correct it in .env, or in the environment."
        return [fault("settings", each, remedy, code="settings-wrong") for each in error.faults]


@contextmanager
def context_of(values: Mapping[str, str]) -> Iterator[Context]:
    """Yield the context of the doctor's checks, with the answers so far."""
    known = {name: text for name, text in values.items() if text and name.startswith(OF_CHECKS)}
    not_yet = {name: text for name, text in NOT_YET.items() if not by_file(name, values)}
    context = Context.build(Settings.load(not_yet | known), ping=None)
    try:
        yield context
    finally:
        context.close()
