"""Old texts are purged: a mark of how far, indexes to find them, and on SQLite numbers that never come again."""

from __future__ import annotations

import re
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

DELETED_FROM = (
    "conversations",
    "chats",
    "turns",
    "messages",
    "contact_updates",
    "handoff_notices",
    "draft_requests",
    "notes",
)
"""The tables whose rows are deleted."""

PLAIN = "id INTEGER NOT NULL, "
COUNTED = "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, "
KEY = ", \n\tPRIMARY KEY (id)"
"""The key of a table in SQLite's words: its column in both forms, and the constraint of the first one."""


def upgrade() -> None:
    op.create_table(
        "purged",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("before", MOMENT, nullable=False),
    )
    _number_rows(autoincrement=True)
    _index("ix_chats_ended_at", "chats", "ended_at", partial=True)
    _index("ix_conversations_agent_note_at", "conversations", "agent_note_at", partial=True)
    _index("ix_contact_updates_conversation_id", "contact_updates", "conversation_id")
    _index("ix_contact_updates_wished_at", "contact_updates", "wished_at")


def downgrade() -> None:
    op.drop_index("ix_contact_updates_wished_at", "contact_updates")
    op.drop_index("ix_contact_updates_conversation_id", "contact_updates")
    op.drop_index("ix_conversations_agent_note_at", "conversations")
    op.drop_index("ix_chats_ended_at", "chats")
    _number_rows(autoincrement=False)
    op.drop_table("purged")


def _number_rows(*, autoincrement: bool) -> None:
    """Let SQLite never use a number again. It can't alter that, so the tables are rebuilt. PostgreSQL never does."""
    if op.get_bind().dialect.name == "sqlite":
        for table in DELETED_FROM:
            _rebuild(table, _counted if autoincrement else _plain)


def _counted(shape: str) -> str:
    return shape.replace(PLAIN, COUNTED, 1).replace(KEY, "", 1)


def _plain(shape: str) -> str:
    return shape.replace(COUNTED, PLAIN, 1).removesuffix("\n)") + f"{KEY}\n)"


def _rebuild(table: str, reshaped: Callable[[str], str]) -> None:
    """Make the table anew, as SQLite's documentation shows it. Foreign keys are off meanwhile."""
    made = sa.text("SELECT type, sql FROM sqlite_master WHERE tbl_name = :table AND sql IS NOT NULL")
    parts = op.get_bind().execute(made, {"table": table}).all()
    [shape] = [part.sql for part in parts if part.type == "table"]
    op.execute(reshaped(re.sub(rf'CREATE TABLE "?{table}"?', "CREATE TABLE rebuilt", shape)))
    op.execute(f"INSERT INTO rebuilt SELECT * FROM {table}")  # noqa: S608
    op.execute(f"DROP TABLE {table}")
    op.execute(f"ALTER TABLE rebuilt RENAME TO {table}")
    for part in parts:
        if part.type == "index":
            op.execute(part.sql)


def _index(name: str, table: str, column: str, *, partial: bool = False) -> None:
    only = sa.text(f"{column} IS NOT NULL") if partial else None
    op.create_index(name, table, [column], postgresql_where=only, sqlite_where=only)
