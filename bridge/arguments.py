"""What the commands share: the types of their arguments, and the settings that they begin with."""

from __future__ import annotations

from datetime import timedelta

import click

from bridge.config import Settings, or_exit, parse_age, parse_duration
from bridge.config.numbers import our_address
from bridge.db.engine import must_fit


class Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


class Age(click.ParamType[timedelta]):
    """A duration that is long enough for the purge."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return parse_age(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


class Number(click.ParamType[str]):
    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return our_address(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Address(click.ParamType[str]):
    """The number of a person. An address of a channel that is no number is written as operators see it."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return our_address(str(value))
        except ValueError as error:
            if ":" in str(value):
                return str(value)
            self.fail(str(error), param, ctx)


def usable_settings() -> Settings:
    """Both the settings and the database that they lead to are good, or the process ends."""
    settings = or_exit(Settings.load)
    or_exit(lambda: must_fit(settings.database_url))
    return settings
