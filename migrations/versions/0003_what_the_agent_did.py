"""Turns have what the agent has done beside writing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("turns", sa.Column("steps", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("turns", "steps")
