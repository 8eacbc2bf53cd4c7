"""People are forgotten: what providers still have of them, and the digests of their texts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", ID, primary_key=True),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("remote_id", sa.String(255), nullable=False),
        sa.Column("with_media", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("error", sa.Text()),
        sa.Column("given_up_at", MOMENT),
        sqlite_autoincrement=True,
    )
    _index("ix_erasures_due_at", "due_at")
    _index("ix_erasures_given_up", "given_up_at")
    op.create_table(
        "forgotten_texts",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("forgotten_at", MOMENT, nullable=False),
    )
    op.create_index("ix_forgotten_texts_forgotten_at", "forgotten_texts", ["forgotten_at"])


def downgrade() -> None:
    op.drop_table("forgotten_texts")
    op.drop_table("erasures")


def _index(name: str, column: str) -> None:
    only = sa.text(f"{column} IS NOT NULL")
    op.create_index(name, "erasures", [column], postgresql_where=only, sqlite_where=only)
