"""Exports in the audit: who has read everything of a conversation, or all texts of a period."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from bridge.db.models import Conversation
from bridge.operators import audit
from bridge.operators.audit import Action, Entry
from bridge.operators.conversations import UnknownConversation
from bridge.runtime import Runtime


def record_conversation(rt: Runtime, operator: str, conversation_id: int) -> None:
    """Record the export of one conversation. Raise :class:`UnknownConversation`."""
    with rt.database.transaction() as tx:
        if tx.session.scalar(select(Conversation.id).where(Conversation.id == conversation_id)) is None:
            raise UnknownConversation
        audit.write(tx, Entry(operator, Action.EXPORT, f"conversation {conversation_id}", conversation_id))


def record_period(rt: Runtime, operator: str, since: datetime, until: datetime) -> None:
    """Record the export of a period."""
    details = {"since": since.isoformat(), "until": until.isoformat()}
    with rt.database.transaction() as tx:
        audit.write(tx, Entry(operator, Action.EXPORT, "texts of a period", details=details))
