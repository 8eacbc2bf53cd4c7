"""Handoffs: the clock's part.

Chats that a human at the provider has are checked even if no text waits in them: they may be back. A person who has
waited too long for the team is told. A conversation that somebody outside has had long enough goes back to the agent.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select

from bridge.db.models import Conversation, Holder, Message, MessageStatus
from bridge.db.transaction import Transaction
from bridge.inbound import holder
from bridge.inbound.holder import Return
from bridge.outbound import outbox
from bridge.queues import conversation_queue
from bridge.queues.conversation_queue import TURNS
from bridge.runtime import Runtime

MOST = 500
"""Conversations that are checked at a time. Those with a text that waits are checked anyway, and sooner."""


def check_again(rt: Runtime) -> None:
    """Make the empty queues of these conversations due. Their workers read the chats: ``bridge.turns.handoff``."""
    idle = select(Conversation.id).where(holder.at_provider(), Conversation.turn_due_at.is_(None))
    with rt.database.transaction() as tx:
        for conversation_id in sorted(tx.session.scalars(idle.order_by(Conversation.holder_since.desc()).limit(MOST))):
            conversation_queue.make_due(tx, TURNS, conversation_id)


def end_waits(rt: Runtime) -> None:
    """Act on the conversations whose ``holder_until`` has passed, each in a transaction of its own."""
    due = select(Conversation.id).where(Conversation.holder_until <= rt.now()).order_by(Conversation.holder_until)
    with rt.database.read() as session:
        ids = session.scalars(due.limit(MOST)).all()
    for conversation_id in ids:
        with rt.database.transaction() as tx:
            _end_wait(rt, tx, conversation_id)


def _end_wait(rt: Runtime, tx: Transaction, conversation_id: int) -> None:
    locked = select(Conversation).where(Conversation.id == conversation_id).with_for_update(skip_locked=True)
    pair = tx.session.scalar(locked)
    if pair is None or pair.holder_until is None or pair.holder_until > tx.now:
        return
    pair.holder_until = None
    if pair.holder is Holder.OUTSIDE:
        holder.hand_back(rt, tx, conversation_id, Return(_last_from_outside(tx, conversation_id)))
    elif pair.holder is Holder.WAITING:
        outbox.put_notice(rt, tx, conversation_id, rt.settings.handoff_late_reply)
        if rt.settings.handoff_give_back and holder.is_held(pair):
            holder.hand_back(rt, tx, conversation_id, Return(handled_until=None))


def _last_from_outside(tx: Transaction, conversation_id: int) -> datetime | None:
    """Return when somebody outside wrote last. What the person has written since then got no answer."""
    theirs = (Message.conversation_id == conversation_id, Message.status == MessageStatus.OUTSIDE)
    return tx.session.scalar(select(func.max(Message.created_at)).where(*theirs))
