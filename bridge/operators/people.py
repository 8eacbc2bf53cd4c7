"""One person in the tables: which rows are about them. The export and ``forget`` both go by this.

A table with a ``conversation_id`` belongs to the person of that conversation. So a new one is found by itself. A test
goes through all tables, and fails if one of them is neither of this kind nor listed as impersonal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, select
from sqlalchemy.orm import Session

from bridge.db.models import Audit, Base, Consent, ContactUpdate, Conversation, OptOut, TaskError
from bridge.lib.phone import RCS, WHATSAPP, e164
from bridge.providers.carriers.spellings import spellings

CONVERSATIONS: Table = Base.metadata.tables[Conversation.__tablename__]
AUDIT: Table = Base.metadata.tables[Audit.__tablename__]

BY_NUMBER = {table.__tablename__: "phone" for table in (OptOut, Consent, ContactUpdate)}
"""Tables that name the person by the number, and their columns."""

OF_CONVERSATIONS: Sequence[Table] = tuple(
    table
    for table in Base.metadata.sorted_tables
    if "conversation_id" in table.c and table.name not in (TaskError.__tablename__, *BY_NUMBER, AUDIT.name)
)
"""Tables with rows of a conversation; each comes after those that it refers to. The errors of tasks have no words."""


@dataclass(frozen=True)
class Person:
    """A person by their number, or by their address if it is no number."""

    address: str

    @property
    def number(self) -> str:
        """The number without a channel."""
        return e164(self.address) or self.address

    @property
    def addresses(self) -> list[str]:
        """The person's addresses on all channels, in every spelling of the number."""
        if e164(self.address) is None:
            return [self.address]
        return [channel + spelled for channel in ("", RCS, WHATSAPP) for spelled in spellings(self.number)]

    def conversations(self) -> ColumnElement[bool]:
        """Return the condition for the person's conversations."""
        return Conversation.phone.in_(self.addresses)

    def named_in(self, table: str) -> ColumnElement[bool]:
        """Return the condition for the person's rows in a table that names the number."""
        column = Base.metadata.tables[table].c[BY_NUMBER[table]]
        return column.in_(self.addresses)


def conversation_ids(session: Session, person: Person) -> list[int]:
    theirs = select(Conversation.id).where(person.conversations()).order_by(Conversation.id)
    return list(session.scalars(theirs))


def rows(
    session: Session, table: Table, which: ColumnElement[bool], most: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield rows as they are stored, by their keys."""
    found = session.execute(select(table).where(which).order_by(*table.primary_key.columns).limit(most))
    return (dict(row._mapping) for row in found)
