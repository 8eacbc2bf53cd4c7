"""The cost of size: a database with a million conversations beside one that is nearly empty.

The module knows no table. Two people text through the bridge and get answers, and the admin API ends one of the chats.
The stored rows are then copied inside the database: keys are counted on, unique values are made unique, times are moved
back. So the rows are as the bridge writes them, whatever its schema is today.

PostgreSQL's own counters show the cost of each statement before and after. Touched blocks are exact even on a busy
machine; milliseconds are not.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, TypeVar
from urllib.parse import quote
from urllib.request import Request, urlopen

import psycopg
from psycopg import sql

from bench import figures
from bench.figures import Figures
from bench.load import Burst
from bench.products import ADMIN, DATABASE, PRODUCTS, Conditions, Running
from bench.providers import phone_of
from bench.stand import Column, Stand, tell
from testkit.waiting import until

POSTGRES = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "pg_stat_statements.max": "5000",
    "max_wal_size": "8GB",
    "autovacuum_naptime": "10s",
}

TEXTS = 5
"""Texts from each of the two people: ten messages in a conversation."""

ENDED_SHARE = 0.9
"""The share of ended chats. The others go on."""

ENDED_WITHIN, ONGOING_WITHIN = 90 * 24 * 3600, 20 * 3600
"""Seconds. The times of the copies go back no further. A chat that goes on must not be stale."""

RATE, SECONDS = 12.0, 30
IDLE = 62.0
"""Seconds. Every job of the clock that runs each minute has run once."""

LARGE = 10_000
"""Rows. The bridge must never scan a table that has more."""

MATCHES = 9
STATEMENTS_SHOWN = 15

T = TypeVar("T")

Statements = dict[str, tuple[int, float, float]]
"""Calls, milliseconds and blocks for each call, by the shortened statement."""


@dataclass(frozen=True)
class Table:
    """A table with data of a conversation."""

    name: str
    columns: Mapping[str, str]
    """Their types."""
    key: str
    leads_to: Mapping[str, str]
    """Columns that refer to a row of another table, and that table."""
    different: frozenset[str]
    """Text columns without equal values in two rows."""


def grown_beside_empty(conversations: int, conditions: Conditions, runs: int) -> dict[str, list[Figures]]:
    conditions = replace(conditions, callbacks=True, postgres=POSTGRES)
    found: dict[str, list[Figures]] = {"empty": [], "grown": []}
    with Stand(Column("ours", PRODUCTS["ours"], conditions)) as stand:
        address = DATABASE.format(port=stand.now.services["postgres"].port)
        with psycopg.connect(address, autocommit=True) as database:
            database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            people = _two_people(stand.now)
            for _ in range(runs):
                found["empty"].append(_measured(stand, database))
            began = time.monotonic()
            with stand.now.stopped():
                rows = _fill(database, people, conversations)
            tell(f"filled in {time.monotonic() - began:.0f} s: {rows}")
            for _ in range(runs):
                found["grown"].append(_measured(stand, database) | {f"rows of {name}": n for name, n in rows.items()})
    return found


# -- what is measured ----------------------------------------------------------------------------------------------


def _measured(stand: Stand, database: psycopg.Connection) -> Figures:
    """Measure a minute with only the clock, texts with callbacks, and the match of stale chats."""
    stand.now.run(Burst(RATE, 60, callbacks=True, forget=True))  # so that both catch up with the same amount
    scanned = _scans(database)
    at_rest, of_clock = _counted(database, lambda: stand.at_rest(IDLE))
    burst = Burst(RATE, round(RATE * SECONDS), callbacks=True)
    (outcome, cost), of_texts = _counted(database, lambda: stand.measured(burst))
    matches, of_match = _counted(database, lambda: [_stale_match(stand.now.url) for _ in range(MATCHES)])
    return {
        **figures.of_rate(f"{RATE:g}/s", outcome, cost, at_rest),
        **figures.at_rest(at_rest),
        "stale match by the admin API, ms": 1000 * median(matches),
        **_sums("a text", of_texts, outcome.texts),
        **_sums("a minute of the clock", of_clock, IDLE / 60),
        **_sums("a stale match", of_match, MATCHES),
        **{f"sequential scans of {name}": n - scanned.get(name, 0) for name, n in _scans(database).items()},
        **_dearest("a text's", of_texts),
        **_dearest("the clock's", of_clock),
        **_dearest("the match's", of_match),
    }


def _counted(database: psycopg.Connection, work: Callable[[], T]) -> tuple[T, Statements]:
    database.execute("SELECT pg_stat_statements_reset()")
    return work(), _statements(database)


def _sums(what: str, statements: Statements, times: float) -> Figures:
    return {
        f"PostgreSQL: statements {what}": sum(calls for calls, _, _ in statements.values()) / times,
        f"PostgreSQL: ms {what}": sum(calls * ms for calls, ms, _ in statements.values()) / times,
        f"PostgreSQL: blocks {what}": sum(calls * blocks for calls, _, blocks in statements.values()) / times,
    }


def _dearest(whose: str, statements: Statements) -> Figures:
    """Return the statements that touched the most blocks, with the blocks of one call."""
    dearest = sorted(statements.items(), key=lambda each: -each[1][0] * each[1][2])[:STATEMENTS_SHOWN]
    return {f"{whose}, blocks a call: {words}": blocks for words, (_, _, blocks) in dearest}


def _statements(database: psycopg.Connection) -> Statements:
    rows = database.execute(
        "SELECT query, calls, mean_exec_time, (shared_blks_hit + shared_blks_read)::float / calls"
        " FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid"
        " WHERE datname = current_database() AND query !~* 'pg_stat|pg_catalog'"
    )
    found: Statements = {}
    for query, calls, ms, blocks in rows:
        words = _words(query)
        before = found.get(words, (0, 0.0, 0.0))
        total = before[0] + calls
        found[words] = (
            total,
            (before[0] * before[1] + calls * ms) / total,
            (before[0] * before[2] + calls * blocks) / total,
        )
    return found


def _words(query: str) -> str:
    """Return a label for a statement: its beginning, and a hash."""
    whole = " ".join(query.split())
    short = re.sub(r"[|`]", " ", re.sub(r"^(SELECT) .*? (FROM)", r"\1 … \2", whole))
    return f"{short[:70]} [{hashlib.sha256(whole.encode()).hexdigest()[:6]}]"


def _scans(database: psycopg.Connection) -> dict[str, int]:
    """Return the number of full scans of each large table so far."""
    rows = database.execute("SELECT relname, seq_scan FROM pg_stat_user_tables WHERE n_live_tup > %s", (LARGE,))
    return dict(rows.fetchall())


def _stale_match(url: str) -> float:
    began = time.monotonic()
    _admin(url, "/admin/chats/end-stale", {"idle_seconds": 86400, "limit": 1000, "dry_run": True})
    return time.monotonic() - began


def _admin(url: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
    with urlopen(Request(url + path, data, headers)) as answer:
        return json.load(answer)


# -- what is filled in ---------------------------------------------------------------------------------------------


def _two_people(now: Running) -> tuple[str, str]:
    """Return two phones. The chat of the first has ended. An earlier text has proven the bridge."""
    outcome = now.run(Burst(1.0, 2 * TEXTS, "even", callbacks=True, people=2))
    assert outcome.answered == outcome.texts and not outcome.callbacks_failed, outcome
    ended, ongoing = phone_of(2), phone_of(3)
    where = f"/admin/chats?phone={quote(ended)}"
    (chat,) = _admin(now.url, where)["chats"]
    _admin(now.url, f"/admin/chats/{chat['id']}/end", {})
    until(lambda: _admin(now.url, where)["chats"][0]["status"] == "ended", "the first person's chat has ended")
    return ended, ongoing


def _fill(database: psycopg.Connection, people: tuple[str, str], conversations: int) -> dict[str, int]:
    """Copy the conversations. Drop indexes and foreign keys before, and create them again afterwards."""
    tables = list(_tables(database))
    with database.transaction():
        again = _dropped(database, [table.name for table in tables])
    database.execute("SET maintenance_work_mem = '1GB'")
    ended = round(conversations * ENDED_SHARE)
    for phone, copies, back, number in (
        (people[0], ended, ENDED_WITHIN, 3_000_000_000),
        (people[1], conversations - ended, ONGOING_WITHIN, 6_000_000_000),
    ):
        with database.transaction():
            _copy(database, tables, _Copies(phone, copies, back, number))
    for statement in again:
        database.execute(statement)
    for table in tables:
        database.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table.name)))
    database.execute("CHECKPOINT")
    return {table.name: _count(database, table.name) for table in tables}


def _tables(database: psycopg.Connection) -> Iterator[Table]:
    """Yield the conversations and every table that refers to them, each after the tables that it refers to."""
    leads = _foreign_keys(database)
    wanted = {name for pair in leads.items() if pair[1] for name in (pair[0], *pair[1].values())}
    done: list[str] = []
    while left := sorted(wanted - set(done)):
        name = next(n for n in left if set(leads.get(n, {}).values()) - {n} <= set(done))
        done.append(name)
        key, *more = _of_index(database, name, "indisprimary")
        if more:  # labels and the like, which these conversations do not have
            continue
        columns = database.execute(
            "SELECT column_name::text, data_type::text FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'",
            (name,),
        )
        kinds = dict(columns.fetchall())
        unique = [column for column in _of_index(database, name, "indisunique") if _is_text(kinds[column])]
        different = frozenset(column for column in unique if _is_different(database, name, column))
        yield Table(name, kinds, key, leads.get(name, {}), different)


def _foreign_keys(database: psycopg.Connection) -> dict[str, dict[str, str]]:
    rows = database.execute(
        "SELECT t.relname, a.attname, f.relname FROM pg_constraint c"
        " JOIN pg_class t ON t.oid = conrelid JOIN pg_class f ON f.oid = confrelid"
        " JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[1]"
        " WHERE contype = 'f' AND t.relnamespace = 'public'::regnamespace"
    )
    leads: dict[str, dict[str, str]] = {}
    for table, column, other in rows:
        leads.setdefault(table, {})[column] = other
    return leads


def _of_index(database: psycopg.Connection, table: str, which: str) -> list[str]:
    rows = database.execute(
        "SELECT DISTINCT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)"
        f" WHERE indrelid = %s::regclass AND {which}",
        (table,),
    )
    return [name for (name,) in rows]


def _dropped(database: psycopg.Connection, tables: Sequence[str]) -> list[str]:
    """Drop indexes and constraints. Return the statements that create them again, foreign keys last."""
    indexes = database.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = ANY(%s::regclass[]) AND NOT indisprimary"
        " AND indexrelid NOT IN (SELECT conindid FROM pg_constraint WHERE contype = 'u')",
        (list(tables),),
    ).fetchall()
    constraints = database.execute(
        "SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = ANY(%s::regclass[]) AND contype IN ('f', 'u') ORDER BY contype = 'u'",
        (list(tables),),
    ).fetchall()
    for table, name, _ in constraints:
        database.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    put_up = [f"ALTER TABLE {table} ADD CONSTRAINT {name} {words}" for table, name, words in reversed(constraints)]
    return [words for _, words in indexes] + put_up


@dataclass(frozen=True)
class _Copies:
    """The copies of one person's conversation."""

    phone: str
    count: int
    back: int
    number: int
    """The first phone of the copies."""


def _copy(database: psycopg.Connection, tables: Sequence[Table], copies: _Copies) -> None:
    """Copy the rows. Copy ``g`` of row ``place`` gets the key ``first + g * rows + place``."""
    known: dict[str, tuple[int, list[int]]] = {}
    for table in tables:
        keys = _keys(database, table, copies.phone, known)
        (last,) = database.execute(f'SELECT max("{table.key}") FROM "{table.name}"').fetchone() or (0,)
        known[table.name] = ((last or 0) + 1, keys)
        for key in keys:
            values = [_value(table, name, copies, known, key) for name in table.columns]
            names = ", ".join(f'"{name}"' for name in table.columns)
            database.execute(
                f'INSERT INTO "{table.name}" ({names}) OVERRIDING SYSTEM VALUE SELECT {", ".join(values)}'
                f' FROM "{table.name}" t, generate_series(0, {copies.count - 1}) g WHERE t."{table.key}" = {key}'
            )
        database.execute(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', '{table.key}'),"
            f' (SELECT max("{table.key}") FROM "{table.name}"))'
        )


def _keys(
    database: psycopg.Connection, table: Table, phone: str, known: Mapping[str, tuple[int, list[int]]]
) -> list[int]:
    """Return this person's rows: by the phone if the table refers to no other, else by its references."""
    if table.leads_to:
        where = [
            f'"{column}" = ANY(ARRAY{known[other][1]}::bigint[])'
            for column, other in table.leads_to.items()
            if other in known
        ]
    else:
        where = [f"\"{name}\" = '{phone}'" for name, kind in table.columns.items() if _is_text(kind)]
    rows = database.execute(f'SELECT "{table.key}" FROM "{table.name}" WHERE {" OR ".join(where)} ORDER BY 1')
    return [key for (key,) in rows]


def _is_different(database: psycopg.Connection, table: str, column: str) -> bool:
    """Return True if a column of a unique index is unique by itself, not only together with others."""
    row = database.execute(f'SELECT count("{column}") = count(DISTINCT "{column}") FROM "{table}"').fetchone()
    return bool(row and row[0])


def _value(table: Table, name: str, copies: _Copies, known: Mapping[str, tuple[int, list[int]]], key: int) -> str:
    """Return the SQL of a copy's value in this column."""
    column, kind = f't."{name}"', table.columns[name]
    if name == table.key:
        first, keys = known[table.name]
        return f"{first}::bigint + g::bigint * {len(keys)} + {keys.index(key)}"
    if other := table.leads_to.get(name):
        first, keys = known[other]
        return (
            f"{first}::bigint + g::bigint * {len(keys)} + array_position(ARRAY{keys}::bigint[], {column}::bigint) - 1"
        )
    if kind.startswith("timestamp"):
        return f"{column} - (g::bigint * 7 % {copies.back}) * interval '1 second'"
    if _is_text(kind):
        made = f"left(left({column}, 2) || md5({column} || g), length({column}))"
        words = made if name in table.different else column
        return f"CASE WHEN {column} = '{copies.phone}' THEN '+' || ({copies.number} + g::bigint) ELSE {words} END"
    return column


def _is_text(kind: str) -> bool:
    return kind in {"text", "character varying", "character"}


def _count(database: psycopg.Connection, table: str) -> int:
    row = database.execute(f'SELECT count(*) FROM "{table}"').fetchone()
    return row[0] if row else 0
