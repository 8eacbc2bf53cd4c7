"""What is the same in the app of every test, and is compiled once: the routes and the templates.

To compile them takes longer than most tests do. Flask lets a program name the classes for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule


class CachedRule(Rule):
    """A route. The code that builds its addresses depends on nothing of its app."""

    _cache: ClassVar[dict[tuple[str, str, bool], Callable[..., tuple[str, str]]]] = {}

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        key = (self.rule, repr(self.defaults), append_unknown)
        if key not in self._cache:
            self._cache[key] = super()._compile_builder(append_unknown)
        return self._cache[key]


class CachedTemplates(BytecodeCache):
    """Templates. Jinja compares the source before it takes one from here."""

    def __init__(self) -> None:
        self._cache: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._cache:
            bucket.bytecode_from_string(self._cache[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._cache[bucket.key] = bucket.bytecode_to_string()


def share(app: type[Flask]) -> None:
    """Let all apps of this class share both."""
    app.url_rule_class = CachedRule
    app.jinja_options = {"bytecode_cache": CachedTemplates()}
