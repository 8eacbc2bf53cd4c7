"""Who opted in or out, when, and how: rows are only ever added."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "consents",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("phone", sa.String(255), nullable=False),
        sa.Column("bridge_number", sa.String(255), nullable=False),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("service", sa.String(64)),
        sa.Column("wants_texts", sa.Boolean(), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("cause", sa.String(64), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
    )
    op.create_index("ix_consents_phone", "consents", ["phone", "id"])
    op.create_index("ix_consents_recorded_at", "consents", ["recorded_at", "id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            """
            CREATE FUNCTION consents_are_append_only() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'rows of consents are never changed or deleted'; END $$
            """
        )
        op.execute(
            """
            CREATE TRIGGER consents_are_append_only BEFORE UPDATE OR DELETE ON consents
            FOR EACH ROW EXECUTE FUNCTION consents_are_append_only()
            """
        )
        return
    for deed in ("UPDATE", "DELETE"):
        op.execute(
            f"""
            CREATE TRIGGER consents_refuse_{deed.lower()} BEFORE {deed} ON consents
            BEGIN SELECT RAISE(ABORT, 'rows of consents are never changed or deleted'); END
            """
        )


def downgrade() -> None:
    op.drop_table("consents")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION consents_are_append_only")
