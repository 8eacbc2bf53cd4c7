"""What the commands share: the types of their arguments, and what they begin with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click

from bridge.config import Settings, or_exit, parse_age, parse_duration
from bridge.config.numbers import our_address
from bridge.db.engine import must_fit
from bridge.lib import log as logs
from bridge.queues.notifier import NullNotifier
from bridge.runtime import Runtime

PORT = click.IntRange(1, 65535)


class Duration(click.ParamType[timedelta]):
    name = "duration"
    _parse = staticmethod(parse_duration)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


class Age(Duration):
    """A duration that is long enough for the purge."""

    _parse = staticmethod(parse_age)


class Number(click.ParamType[str]):
    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return our_address(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Address(Number):
    """The number of a person. An address of a channel that is no number is written as operators see it."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value) if _of_a_channel(str(value)) else super().convert(value, param, ctx)


def _of_a_channel(written: str) -> bool:
    try:
        our_address(written)
    except ValueError:
        return ":" in written
    return False


@contextmanager
def brief_runtime() -> Iterator[Runtime]:
    """Yield the runtime of a command that does one thing and ends."""
    settings = usable_settings()
    logs.configure(secrets=logs.secrets_in(settings))
    rt = Runtime.build(settings, NullNotifier(), pool_size=1)
    try:
        yield rt
    finally:
        rt.close()


def usable_settings() -> Settings:
    """Both the settings and the database that they lead to are good, or the process ends."""
    settings = or_exit(Settings.load)
    or_exit(lambda: must_fit(settings.database_url))
    return settings
