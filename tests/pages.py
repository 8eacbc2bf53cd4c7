"""The parts of the documents that are made of the code: `python -m tests.pages` writes them, and a test compares them.

A part stands between `<!-- name -->` and `<!-- /name -->`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from flask import Flask
from pydantic.fields import FieldInfo
from werkzeug.routing import Rule

from bridge.cli import main
from bridge.config import NEEDED_BY, Settings, parse_duration, variable_names
from bridge.queues.notifier import NullNotifier
from bridge.runtime import Runtime
from bridge.web import auth
from bridge.web.app import build_web
from bridge.web.openapi import OPERATIONS
from tests.fakes import SETTINGS

DOCS = Path(__file__).parent.parent / "docs"


def written(page: str, name: str) -> str:
    """Return what the page has between the marks."""
    _, part, _ = re.split(rf"<!-- /?{name} -->\n", (DOCS / page).read_text())
    return str(part).strip()


def write(page: str, name: str, text: str) -> None:
    between = re.compile(rf"(<!-- {name} -->\n).*(<!-- /{name} -->\n)", re.DOTALL)
    whole = between.sub(lambda marks: f"{marks[1]}\n{text}\n\n{marks[2]}", (DOCS / page).read_text())
    (DOCS / page).write_text(whole)


# -- settings ------------------------------------------------------------------------------------------------------

SHORT = {"d": timedelta(days=2), "h": timedelta(hours=1), "m": timedelta(minutes=5), "s": timedelta(seconds=1)}
"""From which length on a duration is shown in a unit: 120s and 24h say more than 2m and 1d."""


def settings() -> str:
    rows = (setting(name, field) for name, field in Settings.model_fields.items())
    return "\n".join(["| name | default | meaning |", "|---|---|---|", *rows])


def default_of(default: Any) -> str:
    if isinstance(default, timedelta):
        unit = next(unit for unit, least in SHORT.items() if default >= least and not default % one(unit))
        return f"`{default // one(unit)}{unit}`"
    return f"`{default}`" if default not in (None, "", (), {}, frozenset()) else ""


def one(unit: str) -> timedelta:
    return parse_duration(f"1{unit}")


def setting(name: str, field: FieldInfo) -> str:
    names = ", else ".join(f"`{variable}`" for variable in variable_names(name))
    default = "**must be set**" if field.is_required() else default_of(field.default)
    if name in NEEDED_BY:
        default = f"**must be set** for `{NEEDED_BY[name]}`"
    return f"| {names} | {default} | {field.description} |"


# -- commands ------------------------------------------------------------------------------------------------------


def commands() -> str:
    return "\n\n".join(described(each) for each in leaves(click.Context(main, info_name="bridge")))


def leaves(ctx: click.Context) -> Iterator[click.Context]:
    """Each command that does something, in the order of ``bridge --help``."""
    if not isinstance(ctx.command, click.Group):
        yield ctx
        return
    for name in ctx.command.list_commands(ctx):
        command = ctx.command.get_command(ctx, name)
        assert command
        yield from leaves(click.Context(command, parent=ctx, info_name=name))


def described(ctx: click.Context) -> str:
    pieces = [each for each in ctx.command.collect_usage_pieces(ctx) if each != "[OPTIONS]" or ctx.command.params]
    usage = " ".join([ctx.command_path, *pieces])
    parts = [f"## {ctx.command_path}", inspect.cleandoc(ctx.command.help or "").replace("\b\n", ""), f"`{usage}`"]
    options = [option(record) for each in ctx.command.params if (record := each.get_help_record(ctx)) and record[1]]
    if options:
        parts.append("\n".join(["| option | meaning |", "|---|---|", *options]))
    return "\n\n".join(parts)


def option(record: tuple[str, str]) -> str:
    names, meaning = (each.replace("|", " or ") for each in record)
    return f"| `{names}` | {meaning} |"


# -- routes --------------------------------------------------------------------------------------------------------

CALLERS = {
    auth.CARRIER: "Twilio, by its signature",
    auth.AGENT: "the agent's provider, by its signature",
    auth.ADMIN: "an operator, by a token",
    auth.OPERATOR: "an operator who has logged in",
    auth.PUBLIC: "everybody",
}


OTHERS = {
    "POST /twilio/inbound": "A person's text",
    "POST /twilio/status": "The status of a text of ours",
    "POST /retell/events": "What becomes of a chat",
    "POST /uponai/events": "What becomes of a chat",
    "GET /": "What this is, and the way to the console",
    "GET /healthz": "Whether the process can answer",
    "GET /readyz": "What is wrong; the causes for operators only",
    "GET /metrics": "Figures for Prometheus; open to everybody with `METRICS_OPEN`",
    "GET /admin/openapi.json": "This API as OpenAPI 3.1",
}
"""What the routes are for that are not in the document of the admin API."""

GROUPS = {"/admin/": "The admin API", "/console/": "The console", "/": "Webhooks, health and metrics"}
"""By the beginning of the path; the first that fits counts."""


def routes() -> str:
    tables: dict[str, list[str]] = {name: [] for name in reversed(GROUPS.values())}
    for path, row in sorted(rows(app())):
        tables[next(name for start, name in GROUPS.items() if path.startswith(start))].append(row)
    head = ["| route | who may call it | what for |", "|---|---|---|"]
    return "\n\n".join(f"## {name}\n\n" + "\n".join([*head, *table]) for name, table in tables.items())


def app() -> Flask:
    """The whole app. Its database is never opened."""
    return build_web(Runtime.build(Settings.load({}, **SETTINGS), NullNotifier(), pool_size=1))


def rows(web: Flask) -> Iterator[tuple[str, str]]:
    """Each path, and its row."""
    purposes = OTHERS | {f"{each.method.upper()} {each.path}": each.summary for each in OPERATIONS}
    for rule in web.url_map.iter_rules():
        route, callers = shown(rule), CALLERS[str(auth.declared(web.view_functions[rule.endpoint]))]
        yield (
            rule.rule,
            f"| `{route}` | {callers} | {purposes.get(route, rule.endpoint.split('.')[-1].replace('_', ' '))} |",
        )


def shown(rule: Rule) -> str:
    """Return the rule as the document of the admin API spells it."""
    path = re.sub(
        r"<(?:\w+:)?(\w+)>", lambda name: "{id}" if re.search(r"id_?$", name[1]) else f"{{{name[1]}}}", rule.rule
    )
    [method] = (rule.methods or set()) - {"HEAD", "OPTIONS"}
    return f"{method} {path}"


PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("settings.md", "settings"): settings,
    ("commands.md", "commands"): commands,
    ("routes.md", "routes"): routes,
}

if __name__ == "__main__":
    for (page, name), text in PARTS.items():
        write(page, name, text())
