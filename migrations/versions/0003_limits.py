"""Limits for each phone: what they are looked up by, and when the person was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

IGNORED = sa.text("status = 'ignored'")
ANSWERED_BY_US = sa.text("status IN ('refused', 'keyword')")


def upgrade() -> None:
    op.add_column("conversations", sa.Column("noticed_at", sa.DateTime(timezone=True)))
    op.create_index("ix_turns_conversation_id", "turns", ["conversation_id", "created_at"])
    _index("ix_messages_ignored", "settled_at", where=IGNORED)
    _index("ix_messages_answered_by_us", "conversation_id", "created_at", where=ANSWERED_BY_US)


def downgrade() -> None:
    for index, table in (
        ("ix_messages_answered_by_us", "messages"),
        ("ix_messages_ignored", "messages"),
        ("ix_turns_conversation_id", "turns"),
    ):
        op.drop_index(index, table_name=table)
    with op.batch_alter_table("conversations") as table:
        table.drop_column("noticed_at")


def _index(name: str, *columns: str, where: sa.TextClause) -> None:
    op.create_index(name, "messages", list(columns), postgresql_where=where, sqlite_where=where)
