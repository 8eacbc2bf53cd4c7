"""Room for the longest address of a sender behind the name of its vendor, in what is on hold."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("holds") as table:
        table.alter_column("scope", type_=sa.String(300), existing_type=sa.String(255), existing_nullable=False)


def downgrade() -> None:
    """Older code knows no senders in here: it would show their numbers. The next piece of work finds out by itself."""
    op.execute("DELETE FROM holds WHERE scope LIKE 'twilio %'")
    with op.batch_alter_table("holds") as table:
        table.alter_column("scope", type_=sa.String(255), existing_type=sa.String(300), existing_nullable=False)
