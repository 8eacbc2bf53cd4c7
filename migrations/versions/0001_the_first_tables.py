"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
STATE = sa.String(16)


def upgrade() -> None:
    _conversations()
    _chats()
    _turns()
    _messages()
    _workers()
    _circuit_breakers()
    _task_errors()
    _senders()
    _inbound_cursors()
    _opt_outs()
    _contact_updates()
    _audit()
    _idempotency_keys()
    _handoff_notices()
    _draft_requests()
    _sent_cursors()
    _notes_and_tags()
    _canned_replies()
    _read_marks()
    _logins()
    _replaced_webhooks()


def downgrade() -> None:
    for table in (
        "replaced_webhooks",
        "login_limits",
        "console_sessions",
        "read_marks",
        "canned_replies",
        "tags",
        "notes",
        "sent_cursors",
        "draft_requests",
        "handoff_notices",
        "idempotency_keys",
        "audit",
        "contact_updates",
        "opt_outs",
        "inbound_cursors",
        "senders",
        "task_errors",
        "circuit_breakers",
        "workers",
        "messages",
        "turns",
        "chats",
        "conversations",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_is_append_only")


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", ID, primary_key=True),
        sa.Column("bridge_number", sa.String(255), nullable=False),
        sa.Column("phone", sa.String(255), nullable=False),
        sa.Column("service", sa.String(64)),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("turn_due_at", MOMENT),
        sa.Column("turn_lease_token", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("turn_leased_by", sa.String(32)),
        sa.Column("turn_notified_at", MOMENT),
        sa.Column("turn_debounce_deadline", MOMENT),
        sa.Column("delivery_due_at", MOMENT),
        sa.Column("delivery_lease_token", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("delivery_leased_by", sa.String(32)),
        sa.Column("delivery_notified_at", MOMENT),
        sa.Column("limit_notice_at", MOMENT),
        sa.Column("throttled_at", MOMENT),
        sa.Column("holder", STATE, nullable=False, server_default="agent"),
        sa.Column("holder_name", sa.String(255)),
        sa.Column("holder_since", MOMENT),
        sa.Column("holder_reason", sa.Text()),
        sa.Column("holder_until", MOMENT),
        sa.Column("handoff_told_at", MOMENT),
        sa.Column("human_at", sa.String(16)),
        sa.Column("agent_note", sa.Text()),
        sa.Column("agent_note_at", MOMENT),
        sa.Column("silent_turns", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("silent_since", MOMENT),
    )
    _index("uq_conversations_pair", "bridge_number", "phone")
    _index("ix_conversations_phone", "phone")
    _index("ix_conversations_changed_at", "changed_at", "id")
    for column in ("turn_due_at", "turn_leased_by", "delivery_due_at", "delivery_leased_by"):
        _index(f"ix_conversations_{column}", column, where=f"{column} IS NOT NULL")
    _index("ix_conversations_holder", "holder_since", where="holder != 'agent'")
    _index("ix_conversations_held", "holder", "changed_at", "id", where="holder != 'agent'")
    _index("ix_conversations_holder_until", "holder_until", where="holder_until IS NOT NULL")
    _index("ix_conversations_silent", "silent_since", where="silent_since IS NOT NULL")
    _search_index("ix_conversations_backwards", 'reverse((phone)::text) COLLATE "C"')


def _chats() -> None:
    op.create_table(
        "chats",
        sa.Column("id", ID, primary_key=True),
        sa.Column("conversation_id", ID, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("provider_chat_id", sa.String(255), nullable=False),
        sa.Column("agent_id", sa.String(255), nullable=False, server_default=""),
        sa.Column("status", STATE, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("last_activity_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("end_reason", sa.String(64)),
        sa.Column("due_at", MOMENT),
        sa.Column("user_items", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_item_id", sa.String(255)),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("analyzed_at", MOMENT),
        sa.Column("summary", sa.Text()),
        sa.Column("sentiment", sa.String(32)),
        sa.Column("successful", sa.Boolean()),
        sa.Column("cost", sa.Double()),
    )
    _index("ix_chats_conversation_id", "conversation_id")
    _index("uq_chats_provider_chat_id", "provider", "provider_chat_id")
    _index("uq_chats_ongoing", "conversation_id", where="status = 'ongoing'")
    _index("ix_chats_idle", "last_activity_at", where="status = 'ongoing'")
    _index("ix_chats_due_at", "due_at", where="due_at IS NOT NULL")


def _turns() -> None:
    op.create_table(
        "turns",
        sa.Column("id", ID, primary_key=True),
        sa.Column("conversation_id", ID, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("chat_id", ID, sa.ForeignKey("chats.id")),
        sa.Column("status", STATE, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("asked_at", MOMENT),
        sa.Column("chat_requested_at", MOMENT),
        sa.Column("response_received", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("items_at_last_check", sa.Integer()),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failed_at", MOMENT),
        sa.Column("settled_at", MOMENT),
        sa.Column("error", sa.Text()),
        sa.Column("instruction", sa.JSON()),
        sa.Column("draft", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("reopened", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("dismissed_at", MOMENT),
    )
    _index("ix_turns_chat_id", "chat_id")
    _index("ix_turns_conversation_id", "conversation_id", "created_at")
    _index("uq_turns_open", "conversation_id", where="status IN ('waiting', 'asking')")
    _index("ix_turns_given_up", "settled_at", where="status = 'given_up' AND dismissed_at IS NULL")


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", ID, primary_key=True),
        sa.Column("conversation_id", ID, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("turn_id", ID, sa.ForeignKey("turns.id")),
        sa.Column("direction", STATE, nullable=False),
        sa.Column("status", STATE, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("media", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("extras", sa.JSON()),
        sa.Column("reacts_to", ID, sa.ForeignKey("messages.id")),
        sa.Column("segments", sa.Integer()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("carrier_id", sa.String(64)),
        sa.Column("reference", sa.String(32)),
        sa.Column("operator", sa.String(64)),
        sa.Column("instruction", sa.JSON()),
        sa.Column("is_opt_out_confirmation", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("expires_at", MOMENT),
        sa.Column("not_before", MOMENT),
        sa.Column("first_attempt_at", MOMENT),
        sa.Column("attempted_at", MOMENT),
        sa.Column("response_received", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("settled_at", MOMENT),
        sa.Column("delivery", STATE),
        sa.Column("error_code", sa.Integer()),
        sa.Column("error", sa.Text()),
        sa.Column("duplicate_carrier_id", sa.String(64)),
        sa.Column("poll_status_at", MOMENT),
        sa.Column("resend_at", MOMENT),
        sa.Column("resent_as", ID, sa.ForeignKey("messages.id")),
        sa.Column("resends", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("dismissed_at", MOMENT),
    )
    _index("uq_messages_carrier_id", "carrier_id")
    _index("uq_messages_reference", "reference")
    _index("ix_messages_conversation_id", "conversation_id", "id")
    _index("ix_messages_turn_id", "turn_id")
    _index("ix_messages_waiting", "conversation_id", "id", where="status = 'waiting'")
    _index("ix_messages_unsent", "conversation_id", "id", where="status IN ('queued', 'sending')")
    for status in ("given_up", "ignored", "unanswerable"):
        _index(f"ix_messages_{status}", "settled_at", where=f"status = '{status}' AND dismissed_at IS NULL")
    _index("ix_messages_answered_by_us", "conversation_id", "created_at", where="status IN ('refused', 'keyword')")
    failed = "delivery IN ('undelivered', 'failed', 'canceled') AND dismissed_at IS NULL"
    _index("ix_messages_not_delivered", "settled_at", where=failed)
    _index("ix_messages_operator", "conversation_id", "id", where="operator IS NOT NULL OR status = 'outside'")
    for column in ("poll_status_at", "resend_at", "reacts_to"):
        _index(f"ix_messages_{column}", column, where=f"{column} IS NOT NULL")
    for column in ("duplicate_carrier_id", "resent_as"):
        _index(f"uq_messages_{column}", column, where=f"{column} IS NOT NULL")
    _search_index(
        "ix_messages_words",
        "to_tsvector('simple'::regconfig, body)",
        postgresql_using="gin",
        postgresql_where=sa.text("status NOT IN ('waiting', 'in_turn', 'queued', 'sending')"),
    )


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("last_heartbeat_at", MOMENT, nullable=False),
    )


def _circuit_breakers() -> None:
    op.create_table(
        "circuit_breakers",
        sa.Column("scope", sa.String(300), primary_key=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("probe_at", MOMENT, nullable=False),
        sa.Column("probes", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("from_receipt", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("probe_failed", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def _task_errors() -> None:
    op.create_table(
        "task_errors",
        sa.Column("id", ID, primary_key=True),
        sa.Column("task", sa.String(32), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        sa.Column("conversation_id", sa.BigInteger()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("stands_until", MOMENT, nullable=False),
    )
    op.create_index("uq_task_errors", "task_errors", ["task", "row_id"], unique=True)


def _senders() -> None:
    op.create_table(
        "senders",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("free_at", sa.BigInteger(), nullable=False),
        sa.Column("paused_until", MOMENT),
        sa.Column("refusals", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("texts", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("segments", sa.BigInteger(), nullable=False, server_default="0"),
    )


def _inbound_cursors() -> None:
    op.create_table(
        "inbound_cursors",
        sa.Column("bridge_number", sa.String(255), primary_key=True),
        sa.Column("read_until", MOMENT, nullable=False),
    )


def _opt_outs() -> None:
    op.create_table(
        "opt_outs",
        sa.Column("phone", sa.String(255), primary_key=True),
        sa.Column("scope", sa.String(255), primary_key=True),
        sa.Column("service", sa.String(64)),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("cause", sa.String(64), nullable=False),
        sa.Column("ended_at", MOMENT),
    )


def _contact_updates() -> None:
    op.create_table(
        "contact_updates",
        sa.Column("id", ID, primary_key=True),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("phone", sa.String(16), nullable=False),
        sa.Column("conversation_id", ID, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("do_not_call", sa.Boolean(), nullable=False),
        sa.Column("wished_at", MOMENT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("due_at", MOMENT),
        sa.Column("leased", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("lease_token", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("error", sa.Text()),
        sa.Column("given_up_at", MOMENT),
    )
    table = "contact_updates"
    _index("uq_contact_updates_person", "provider", "phone", table=table)
    _index("ix_contact_updates_due_at", "due_at", table=table, where="due_at IS NOT NULL")
    _index("ix_contact_updates_error", "wished_at", table=table, where="error IS NOT NULL")


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("conversation_id", sa.BigInteger()),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("once", sa.String(64)),
    )
    _index("ix_audit_conversation_id", "conversation_id", "id")
    _index("ix_audit_operator", "operator", "id")
    _index("ix_audit_action", "action", "id")
    _index("uq_audit_once", "once")
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


APPEND_ONLY = {
    "postgresql": (
        """
        CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'rows of audit are never changed or deleted'; END $$
        """,
        """
        CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit
        FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()
        """,
    ),
    "sqlite": tuple(
        f"""
        CREATE TRIGGER audit_refuses_{deed.lower()} BEFORE {deed} ON audit
        BEGIN SELECT RAISE(ABORT, 'rows of audit are never changed or deleted'); END
        """
        for deed in ("UPDATE", "DELETE")
    ),
}


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("operator", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("answer", sa.JSON()),
        sa.Column("created_at", MOMENT, nullable=False),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def _handoff_notices() -> None:
    op.create_table(
        "handoff_notices",
        sa.Column("id", ID, primary_key=True),
        sa.Column("conversation_id", ID, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("lease_token", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("error", sa.Text()),
        sa.Column("texted_at", MOMENT),
        sa.Column("told_at", MOMENT),
        sa.Column("given_up_at", MOMENT),
        sa.Column("dismissed_at", MOMENT),
    )
    table, shown = "handoff_notices", "given_up_at IS NOT NULL AND dismissed_at IS NULL"
    _index("uq_handoff_notices_once", "conversation_id", "since", table=table)
    _index("ix_handoff_notices_due_at", "due_at", table=table, where="due_at IS NOT NULL")
    _index("ix_handoff_notices_given_up", "given_up_at", table=table, where=shown)


def _draft_requests() -> None:
    op.create_table(
        "draft_requests",
        sa.Column("id", ID, primary_key=True),
        sa.Column("conversation_id", ID, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("begun_at", MOMENT),
        sa.Column("settled_at", MOMENT),
        sa.Column("messages", sa.JSON()),
        sa.Column("error", sa.Text()),
    )
    _index("ix_draft_requests_created_at", "created_at", table="draft_requests")


def _sent_cursors() -> None:
    op.create_table(
        "sent_cursors",
        sa.Column("bridge_number", sa.String(255), primary_key=True),
        sa.Column("read_until", MOMENT, nullable=False),
    )


def _notes_and_tags() -> None:
    op.create_table(
        "notes",
        sa.Column("id", ID, primary_key=True),
        sa.Column("conversation_id", ID, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    _index("ix_notes_conversation_id", "conversation_id", "id")
    op.create_table(
        "tags",
        sa.Column("conversation_id", ID, sa.ForeignKey("conversations.id"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
    )
    _index("ix_tags_name", "name", "conversation_id")


def _canned_replies() -> None:
    op.create_table(
        "canned_replies",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
    )


def _read_marks() -> None:
    op.create_table(
        "read_marks",
        sa.Column("operator", sa.String(64), primary_key=True),
        sa.Column("conversation_id", ID, sa.ForeignKey("conversations.id"), primary_key=True),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
    )
    _index("ix_read_marks_conversation_id", "conversation_id", table="read_marks")


def _logins() -> None:
    op.create_table(
        "console_sessions",
        sa.Column("token", sa.String(64), primary_key=True),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("credential", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=False),
    )
    _index("ix_console_sessions_operator", "operator", table="console_sessions")
    _index("ix_console_sessions_used_at", "used_at", table="console_sessions")
    op.create_table(
        "login_limits",
        sa.Column("address", sa.String(64), primary_key=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
    )
    _index("ix_login_limits_last_at", "last_at", table="login_limits")


def _replaced_webhooks() -> None:
    op.create_table(
        "replaced_webhooks",
        sa.Column("number_sid", sa.String(64), primary_key=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("application_sid", sa.String(64), nullable=False),
        sa.Column("replaced_at", MOMENT, nullable=False),
    )


def _index(name: str, *columns: str, table: str | None = None, where: str | None = None) -> None:
    """Create an index. Its name has the kind, ``ix`` or ``uq`` (unique), and the table if that is one word."""
    kind, first, _ = name.split("_", 2)
    table = table or first
    only = sa.text(where) if where else None
    op.create_index(name, table, list(columns), unique=kind == "uq", postgresql_where=only, sqlite_where=only)


def _search_index(name: str, expression: str, **more: Any) -> None:
    """Create an index for the search, which only PostgreSQL has."""
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(name, name.split("_")[1], [sa.text(expression)], **more)
