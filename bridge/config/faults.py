"""The reading of the environment, and every fault of it in plain words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dotenv import dotenv_values
from pydantic import BaseModel

from bridge.lib.errors import BridgeError

_BROKERS = ("CELERY_BROKER_URL", "CLOUDAMQP_URL", "REDIS_URL")
"""The first is ours; the others are what a platform sets when a broker is added there."""

EMPTY_COUNTS = object()
"""Marks a field for which empty is a choice. For every other one, empty is the same as not set."""

_PLAIN_WORDS = {
    "missing": "is not set; set it",
    "string_too_short": "is empty; set it",
    "too_short": "is empty; set it",
    "string_too_long": "is too long; the most is {max_length} characters",
    "string_type": "is no text; write it between quotes",
    "int_parsing": "is no whole number; write digits",
    "float_parsing": "is no number; write digits, such as 0.5 or 75",
    "finite_number": "is no number; write digits, such as 0.5 or 75",
    "bool_parsing": "is neither true nor false; write one of them",
    "greater_than": "is too small; it must be more than {gt:g}",
    "greater_than_equal": "is too small; the least is {ge}",
    "less_than_equal": "is too large; the most is {le:.0f}",
    "literal_error": "is none of the choices; write {expected}",
    "value_error": "{error}",
}

Loaded = TypeVar("Loaded")


class SettingsError(BridgeError):
    """The settings can't be used. ``faults`` has one sentence for each, with the way to mend it; never a value."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def or_exit(load: Callable[[], Loaded]) -> Loaded:
    """For a front door: what ``load`` reads, or every fault on the terminal and exit code 2."""
    try:
        return load()
    except SettingsError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)  # noqa: T201 - nothing else is up yet, the log included
        sys.exit(2)


def variable_names(name: str) -> tuple[str, ...]:
    """The environment variables of one field, the first one that is set winning."""
    return _BROKERS if name == "broker_url" else (name.upper(),)


def environment() -> dict[str, str]:
    """The environment, over ``.env`` in the working folder."""
    try:
        # A token may hold a dollar sign: nothing is put in its place.
        written = dotenv_values(".env", interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise SettingsError([".env can't be read; it must be a text file in UTF-8"]) from None
    return {name: text for name, text in written.items() if text is not None} | dict(os.environ)


def found_in(settings: type[BaseModel], environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What is set: for each field the variable and its text."""
    found = {}
    for name, field in settings.model_fields.items():
        keeps_empty = EMPTY_COUNTS in field.metadata
        for variable in variable_names(name):
            text = environ.get(variable, "").strip()
            if text or (keeps_empty and variable in environ):
                found[name] = (variable, text)
                break
    return found


def faults_of(settings: type[BaseModel], names: Mapping[str, str], error: Any) -> list[str]:
    """Sentences that name the variable, what is wrong and how to mend it; never the value. Mostly one."""
    name = str(error["loc"][0])
    variable = names.get(name) or " or ".join(variable_names(name))
    field = settings.model_fields.get(name)
    about = f" ({field.description})" if field and error["type"] != "value_error" else ""
    return [f"{variable} {line}{about}" for line in words(error).splitlines()]


def words(error: Any) -> str:
    """What is wrong with one value and how to mend it, without a name."""
    return _PLAIN_WORDS.get(error["type"], "does not fit").format(**error.get("ctx", {}))
