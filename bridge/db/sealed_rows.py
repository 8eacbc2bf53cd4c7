"""The rows with words as they are stored: which columns are sealed, and under which key each of them is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Row, Select, Table, select, type_coerce
from sqlalchemy.orm import Session

from bridge.db.models import Base
from bridge.db.sealing import SealedJson, SealedText

Kind = SealedText | SealedJson


@dataclass(frozen=True, eq=False)  # compared by identity: comparing columns makes SQL
class Words:
    """A table with words, in some of its columns."""

    table: Table
    kinds: Mapping[str, Kind]
    """The types of these columns, by their names."""

    @property
    def key(self) -> Column[Any]:
        """Return the column that names a row."""
        [its] = self.table.primary_key.columns
        return its

    def stored(self) -> Select[Any]:
        """Select the rows as they are stored: nothing is opened. The name of the row is ``row_key``."""
        kinds = self.kinds.items()
        raw = (type_coerce(self.table.c[name], kind.impl_instance).label(name) for name, kind in kinds)
        return select(self.key.label("row_key"), *raw)

    def keys_of(self, row: Row[Any]) -> list[str | None]:
        """Return under which keys the row's words are. ``None``: they are plain."""
        stored = ((kind, row._mapping[name]) for name, kind in self.kinds.items())
        return [kind.key_of(value) for kind, value in stored if value is not None]


WORDS = tuple(
    Words(table, kinds)
    for table in Base.metadata.sorted_tables
    if (kinds := {column.name: column.type for column in table.columns if isinstance(column.type, Kind)})
)
"""All words that are ever sealed: a new column of such a type is found by itself."""


def sample(session: Session, most: int) -> Counter[str | None]:
    """Count the words under each key, in the oldest and in the newest rows of each table. ``None``: plain.

    ``most``: so many rows are read from either end, so it costs the same in a long history.
    """
    found: Counter[str | None] = Counter()
    for words in WORDS:
        ends = (words.stored().order_by(order).limit(most) for order in (words.key, words.key.desc()))
        rows = {row.row_key: row for end in ends for row in session.execute(end)}  # a short table is all of both
        found.update(key for row in rows.values() for key in words.keys_of(row))
    return found
