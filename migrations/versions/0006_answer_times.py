"""How fast people are answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "answer_times",
        sa.Column("which", sa.String(16), primary_key=True),
        sa.Column("up_to", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("texts", sa.BigInteger(), nullable=False),
        sa.Column("milliseconds", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("answer_times")
