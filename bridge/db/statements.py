"""Statements for many items at once, written in SQL once for both databases.

The items are one JSON parameter that the database reads as a table. So the text of a statement is the same for one item
and for a hundred, and is prepared once. In the SQL, ``{name}`` stands for the table of these items, ``:name`` for a
value, and ``{lock c}`` for a lock on the rows of ``c`` that skips locked ones. SQLite needs none: it has one writer.
"""

from __future__ import annotations

import json
import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from sqlalchemy import Connection, Engine

from bridge.db.engine import dbapi_errors, without_transaction
from bridge.db.transaction import Transaction

POSTGRESQL = "postgresql"
DIALECTS = (POSTGRESQL, "sqlite")

_PLACE = re.compile(r"\{(\w+)(?: (\w+))?\}")
_VALUE = re.compile(r"(?<![:\w]):(\w+)")

_WORDS = {
    # name: (PostgreSQL, SQLite)
    "json_array": ("json_build_array", "json_array"),
    "json_rows": ("json_agg", "json_group_array"),
    "greatest": ("greatest", "max"),
}
"""Functions with two names."""

Items = Sequence[Mapping[str, Any]]


class Statement:
    """A statement, with the columns of each table of items: their names and types in PostgreSQL.

    Every item also has ``n``, its position in the list.
    """

    def __init__(self, sql: str, **tables: Mapping[str, str]) -> None:
        self._sql = sql
        self._tables = tables
        self._texts = {dialect: self._text(dialect) for dialect in DIALECTS}

    def run(self, tx: Transaction, **values: Any) -> Sequence[Any]:
        """Execute it with these values and lists of items. Return its rows, if it has any, as named tuples."""
        return self._run(tx.connection, values)

    def run_alone(self, engine: Engine, **values: Any) -> Sequence[Any]:
        """Execute it without a transaction: a query that mostly finds nothing costs one round trip, and not three."""
        with engine.connect() as connection, without_transaction(connection):
            return self._run(connection, values)

    def _run(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        dialect = connection.dialect.name
        return _fetched(connection, _native(dialect, self._texts[dialect]), _bound(dialect, values))

    def on(self, dialect: str) -> str:
        """Return the text for this database, with ``:name`` for the values."""
        return self._texts[dialect]

    def _text(self, dialect: str) -> str:
        return _PLACE.sub(lambda found: self._place(dialect, *found.groups()), self._sql)

    def _place(self, dialect: str, name: str, alias: str | None) -> str:
        if name == "lock":
            return f"FOR UPDATE OF {alias} SKIP LOCKED" if dialect == POSTGRESQL else ""
        if name in _WORDS:
            return _WORDS[name][dialect != POSTGRESQL]
        columns = {"n": "integer", **self._tables[name]}
        if dialect == POSTGRESQL:
            typed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            # PostgreSQL expects a hundred rows of any list. For so many it would rather read all of a table that is
            # small, and it keeps the plan. With an equality, which is always true, it expects one.
            items = f"json_to_recordset(CAST(:{name} AS json)) AS {name}({typed})"
            return f"(SELECT * FROM {items} WHERE n + 0 = n) AS {name}"
        each = ", ".join(f"json_extract(value, '$.{column}') AS {column}" for column in columns)
        return f"(SELECT {each} FROM json_each(:{name})) AS {name}"


def together(tx: Transaction, *statements: Statement, **values: Any) -> Sequence[Any]:
    """Execute statements that don't see each other's changes. Return the rows of the last one.

    PostgreSQL gets them as one statement, so they cost one round trip.
    """
    connection = tx.connection
    dialect = connection.dialect.name
    bound = _bound(dialect, values)
    if dialect == POSTGRESQL:
        return _fetched(connection, _native(dialect, _joined(statements)), bound)
    for statement in statements[:-1]:
        _fetched(connection, statement.on(dialect), bound)
    return _fetched(connection, statements[-1].on(dialect), bound)


def moment(value: Any) -> datetime | None:
    """Return a moment that a statement has read. SQLite and JSON have it as a text."""
    if value is None:
        return None
    read: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def rows_of(value: Any) -> list[Any]:
    """Return the list that ``{json_rows}`` has made."""
    if value is None:
        return []
    read: list[Any] = json.loads(value) if isinstance(value, str) else value
    return read


@cache
def _joined(statements: tuple[Statement, ...]) -> str:
    *first, last = (statement.on(POSTGRESQL) for statement in statements)
    parts = ", ".join(f"part_{number} AS ({text})" for number, text in enumerate(first))
    return f"WITH {parts} {last}" if parts else last


@cache
def _native(dialect: str, text: str) -> str:
    """Return the text in the form of the driver."""
    return _VALUE.sub(r"%(\1)s", text) if dialect == POSTGRESQL else text


def _bound(dialect: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(dialect, value) for name, value in values.items()}


def _value(dialect: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value if dialect == POSTGRESQL else _written(dialect, value)
    if isinstance(value, list):
        return _ENCODERS[dialect].encode([{"n": n, **item} for n, item in enumerate(value)])
    return value


def _written(dialect: str, moment: datetime) -> str:
    """Return the moment as the database's tables have it."""
    at = moment.astimezone(UTC)
    return at.isoformat() if dialect == POSTGRESQL else at.strftime("%Y-%m-%d %H:%M:%S.%f")


_ENCODERS = {dialect: json.JSONEncoder(ensure_ascii=False, default=partial(_written, dialect)) for dialect in DIALECTS}


def _fetched(connection: Connection, sql: str, values: Mapping[str, Any]) -> Sequence[Any]:
    """Execute it on the driver's cursor. SQLAlchemy's result would cost as much as the statement.

    Who listens to SQLAlchemy's events is told of it as of every other statement.
    """
    cursor = connection.connection.cursor()
    for tell in connection.dispatch.before_cursor_execute:
        tell(connection, cursor, sql, values, None, False)
    with dbapi_errors(connection, sql):
        cursor.execute(sql, values)
        for tell in connection.dispatch.after_cursor_execute:
            tell(connection, cursor, sql, values, None, False)
        row = _row_types.get(sql) or _row_types.setdefault(sql, _row_type(cursor.description))
        return [row(each) for each in cursor.fetchall()] if row is not _NO_ROWS else ()


_Row = Callable[[Iterable[Any]], Any]

_row_types: dict[str, _Row] = {}
"""By the text of the statement. There are as many as statements in the code."""

_NO_ROWS: _Row = tuple


def _row_type(description: Sequence[Sequence[Any]] | None) -> _Row:
    if description is None:
        return _NO_ROWS
    kind: Any = namedtuple("Row", [column[0] for column in description])  # type: ignore[misc]
    make: _Row = kind._make
    return make
