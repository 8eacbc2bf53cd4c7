"""Old code on new tables: during a rolling release, and after one is taken back, the release before must work.

So revisions only add. What the release before uses is removed in a later release: see CONTRIBUTING.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from alembic import command
from sqlalchemy import Engine, Inspector, inspect, text

from bridge import __version__
from bridge.db import migrate
from bridge.db.engine import build_engine

RELEASED = {"1.0.0": "0006"}
"""The newest revision of each release."""


@dataclass(frozen=True)
class Column:
    type: str
    nullable: bool
    has_default: bool


@dataclass(frozen=True)
class Table:
    columns: dict[str, Column]
    unique: frozenset[str]
    """The unique keys and indexes. An ON CONFLICT of the old code needs one of them."""
    checks: frozenset[str]
    """The checks and foreign keys, which refuse rows."""


def tables(engine: Engine) -> dict[str, Table]:
    found = inspect(engine)
    return {name: _table(found, name) for name in found.get_table_names() if name != "alembic_version"}


def _table(found: Inspector, name: str) -> Table:
    columns = {
        each["name"]: Column(
            str(each["type"]), each["nullable"], each["default"] is not None or bool(each.get("identity"))
        )
        for each in found.get_columns(name)
    }
    keys = [found.get_pk_constraint(name)["constrained_columns"]]
    keys += [each["column_names"] for each in found.get_unique_constraints(name)]
    indexes = [
        (each["column_names"], sorted(map(str, each.get("dialect_options", {}).values())))
        for each in found.get_indexes(name)
        if each["unique"]
    ]
    checks = [each["sqltext"] for each in found.get_check_constraints(name)]
    checks += [f"{each['constrained_columns']} -> {each['referred_table']}" for each in found.get_foreign_keys(name)]
    return Table(columns, frozenset(map(str, [*keys, *indexes])), frozenset(checks))


def faults(old: dict[str, Table], new: dict[str, Table]) -> list[str]:
    """Return why the code of the old tables may fail on the new ones."""
    found = [f"{name} is gone" for name in old.keys() - new.keys()]
    for name in sorted(old.keys() & new.keys()):
        found += [f"{name}.{fault}" for fault in _faults(old[name], new[name])]
    return found


def _faults(old: Table, new: Table) -> Iterator[str]:
    for name, before in old.columns.items():
        after = new.columns.get(name)
        if after is None:
            yield f"{name} is gone"
        elif not fits(before.type, after.type):
            yield f"{name} was {before.type} and is {after.type}"
        elif before.nullable and not after.nullable:
            yield f"{name} must not be empty any more"
        elif before.has_default and not after.has_default:
            yield f"{name} has no default any more"
    for name in new.columns.keys() - old.columns.keys():
        if not (new.columns[name].nullable or new.columns[name].has_default):
            yield f"{name} is new, and needs a value that the old code does not write"
    yield from (f"{each} is not unique any more" for each in old.unique - new.unique)
    yield from (f"{each} must be unique now" for each in new.unique - old.unique)
    yield from (f"{each} is checked now" for each in new.checks - old.checks)


def fits(before: str, after: str) -> bool:
    """Whether the new type takes all values of the old one, and gives the same ones back."""
    length = re.fullmatch(r"VARCHAR\((\d+)\)", before)
    longer = re.fullmatch(r"VARCHAR\((\d+)\)", after)
    if length and longer:
        return int(longer[1]) >= int(length[1])
    return before == after or bool(length and after == "TEXT") or (before, after) == ("INTEGER", "BIGINT")


@contextmanager
def engine_of(url: str) -> Iterator[Engine]:
    engine = build_engine(url)
    yield engine
    engine.dispose()


def upgraded(url: str, revision: str) -> dict[str, Table]:
    command.upgrade(migrate.config_for(url), revision)
    with engine_of(url) as engine:
        return tables(engine)


@pytest.mark.parametrize("release", RELEASED)
def test_what_was_released_runs_on_the_tables_of_today(bare_database_url: str, release: str) -> None:
    old = upgraded(bare_database_url, RELEASED[release])
    assert len(old) > 10
    assert faults(old, upgraded(bare_database_url, "head")) == [], (
        "a revision after a release may only add; see CONTRIBUTING.md. If this version is not released yet, correct "
        "its revision in RELEASED"
    )


def test_this_version_has_its_revision() -> None:
    assert list(RELEASED)[-1] == __version__, "add it to RELEASED"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ALTER TABLE workers ADD COLUMN more INTEGER", []),
        ("ALTER TABLE workers ADD COLUMN more INTEGER NOT NULL DEFAULT 0", []),
        ("CREATE TABLE more (id INTEGER NOT NULL PRIMARY KEY)", []),
        ("CREATE INDEX more ON opt_outs (cause)", []),
        ("DROP TABLE workers", ["workers is gone"]),
        ("ALTER TABLE opt_outs DROP COLUMN cause", ["opt_outs.cause is gone"]),
        ("ALTER TABLE opt_outs RENAME COLUMN cause TO reason", ["opt_outs.cause is gone", "opt_outs.reason is new"]),
        ("CREATE UNIQUE INDEX more ON opt_outs (cause)", ["must be unique now"]),
        ("ALTER TABLE opt_outs ADD COLUMN more INTEGER REFERENCES messages (id)", ["is checked now"]),
        ("ALTER TABLE opt_outs ADD COLUMN more INTEGER CHECK (more > 0)", ["is checked now"]),
    ],
)
def test_a_change_that_old_code_may_fail_at_is_found(sqlite_url: str, change: str, expected: list[str]) -> None:
    with engine_of(sqlite_url) as engine:
        before = tables(engine)
        with engine.begin() as connection:
            connection.execute(text(change))
        found = faults(before, tables(engine))
    assert len(found) == len(expected)
    assert all(words in fault for words, fault in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Column("INTEGER", True, False), Column("INTEGER", False, False), ["workers.n must not be empty any more"]),
        (Column("INTEGER", False, True), Column("INTEGER", False, False), ["workers.n has no default any more"]),
        (Column("INTEGER", True, False), Column("TEXT", True, False), ["workers.n was INTEGER and is TEXT"]),
        (
            Column("VARCHAR(9)", True, False),
            Column("VARCHAR(8)", True, False),
            ["workers.n was VARCHAR(9) and is VARCHAR(8)"],
        ),
        (Column("VARCHAR(9)", True, False), Column("VARCHAR(10)", True, False), []),
        (Column("VARCHAR(9)", True, False), Column("TEXT", True, False), []),
    ],
)
def test_a_change_of_a_column_is_judged(before: Column, after: Column, expected: list[str]) -> None:
    old, new = ({"workers": Table({"n": column}, frozenset(), frozenset())} for column in (before, after))
    assert faults(old, new) == expected
