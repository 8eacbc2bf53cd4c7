"""How much each sender has sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COUNTERS = ("texts", "segments")


def upgrade() -> None:
    for name in COUNTERS:
        op.add_column("senders", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("senders") as senders:  # an SQLite that can't drop a column makes the table anew
        for name in reversed(COUNTERS):
            senders.drop_column(name)
