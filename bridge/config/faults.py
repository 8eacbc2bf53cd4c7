"""The reader of the environment, and the words for every fault in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from dotenv import dotenv_values
from pydantic import BaseModel

from bridge.config.files import SUFFIX
from bridge.lib.errors import BridgeError

_NAMES = {
    "broker_url": ("CELERY_BROKER_URL", "CLOUDAMQP_URL", "REDIS_URL"),
    "bridge_url": ("BRIDGE_URL", "PUBLIC_URL"),
}
"""The variables of a field that has several. Of a broker the first name is ours; the platform sets the others."""

EMPTY_COUNTS = object()
"""Marks a field with a meaning for an empty value. For all other fields, empty means not set."""

_PLAIN_WORDS = {
    "missing": "is not set; set it",
    "string_too_short": "is empty; set it",
    "too_short": "is empty; set it",
    "string_too_long": "is too long; the most is {max_length} characters",
    "string_type": "is not a text; put it in quotes",
    "int_parsing": "is not a whole number; write digits",
    "int_parsing_size": "has too many digits",
    "float_parsing": "is not a number; write digits, such as 0.5 or 75",
    "finite_number": "is not a number; write digits, such as 0.5 or 75",
    "bool_parsing": "is neither true nor false; write one of them",
    "greater_than": "is too small; it must be more than {gt:g}",
    "greater_than_equal": "is too small; the least is {ge}",
    "less_than_equal": "is too large; the most is {le:.0f}",
    "literal_error": "is not one of the choices; write {expected}",
    "value_error": "{error}",
}

Loaded = TypeVar("Loaded")


class SettingsError(BridgeError):
    """The settings are unusable. ``faults`` has one sentence with a fix for each fault, and never a value.

    ``hints`` names what may be a setting with a typing error.
    """

    def __init__(self, faults: list[str], hints: Sequence[str] = ()) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
        self.hints = hints


def or_exit(load: Callable[[], Loaded]) -> Loaded:
    """Return the result of ``load``, or print every fault and exit with code 2. For an entry point."""
    try:
        return load()
    except SettingsError as error:
        for fault in (*error.faults, *error.hints):
            print(fault, file=sys.stderr)  # noqa: T201 - nothing else is up yet, the log included
        sys.exit(2)


def variable_names(name: str) -> tuple[str, ...]:
    """Return the environment variables of a field. The first one that is set counts."""
    return _NAMES.get(name, (name.upper(),))


def environment() -> dict[str, str]:
    """Return the environment. It takes precedence over ``.env`` in the working folder."""
    try:
        # A token may contain a dollar sign, so nothing is interpolated.
        written = dotenv_values(".env", interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise SettingsError([".env can't be read; it must be a text file in UTF-8"]) from None
    return {name: text for name, text in written.items() if text is not None} | dict(os.environ)


def found_in(
    settings: type[BaseModel], environ: Mapping[str, str], in_files: Collection[str] = ()
) -> dict[str, tuple[str, str]]:
    """Return the variable and its text for each field that is set. ``in_files``: those whose value a file has."""
    found = {}
    for name, field in settings.model_fields.items():
        keeps_empty = EMPTY_COUNTS in field.metadata
        for variable in variable_names(name):
            text = environ.get(variable, "").strip()
            if text or (keeps_empty and variable in environ):
                found[name] = (variable + SUFFIX if variable in in_files else variable, text)
                break
    return found


def faults_of(settings: type[BaseModel], names: Mapping[str, str], error: Any) -> list[str]:
    """Return sentences with the variable, the fault and the fix, but never the value. Mostly one."""
    name = str(error["loc"][0])
    variable = names.get(name) or " or ".join(variable_names(name))
    field = settings.model_fields.get(name)
    about = f" ({field.description})" if field and error["type"] != "value_error" else ""
    return [f"{variable} {line}{about}" for line in words(error).splitlines()]


def words(error: Any) -> str:
    """Return the fault of one value and the fix, without a name."""
    return _PLAIN_WORDS.get(error["type"], "does not fit").format(**error.get("ctx", {}))
