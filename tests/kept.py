"""What is the same in the app of every test, and is compiled once: the routes and the templates.

To compile them takes longer than most tests do. Flask lets a program name the classes for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule


class KeptRule(Rule):
    """A route. The code that builds its addresses depends on nothing of its app."""

    _kept: ClassVar[dict[tuple[str, str, bool], Callable[..., tuple[str, str]]]] = {}

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        key = (self.rule, repr(self.defaults), append_unknown)
        if key not in self._kept:
            self._kept[key] = super()._compile_builder(append_unknown)
        return self._kept[key]


class KeptTemplates(BytecodeCache):
    """Templates. Jinja compares the source before it takes one from here."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


def keep(app: type[Any]) -> None:
    """Let all apps of this class share both."""
    app.url_rule_class = KeptRule
    app.jinja_options = {"bytecode_cache": KeptTemplates()}
