"""Handoffs: the clock lets chats be checked that a human has and in which no text waits. They may be back."""

from __future__ import annotations

from sqlalchemy import select

from bridge.db.models import Conversation
from bridge.inbound import holder
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import TURNS
from bridge.runtime import Runtime

MOST = 500
"""Conversations that are checked at a time. Those with a text that waits are checked anyway, and sooner."""


def check_again(rt: Runtime) -> None:
    """Make the empty queues of these conversations due. Their workers read the chats: ``bridge.turns.handoff``."""
    idle = select(Conversation.id).where(holder.not_with_agent(), Conversation.turn_due_at.is_(None))
    with rt.database.transaction() as tx:
        for conversation_id in sorted(tx.session.scalars(idle.order_by(Conversation.holder_since.desc()).limit(MOST))):
            conversation_queue.make_due(tx, TURNS, conversation_id)
