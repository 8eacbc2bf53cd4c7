"""Who answers a person: operators take a conversation over, leave it to the team, and hand it back to the agent.

Of two operators who take a conversation over at once, one has it. The other one is told who that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.db.models import (
    OPEN_TURN,
    WRITTEN_BY_PEOPLE,
    Conversation,
    Direction,
    Holder,
    Message,
    MessageStatus,
    Turn,
    one_of,
)
from bridge.db.transaction import Transaction
from bridge.inbound import holder
from bridge.inbound.holder import Return
from bridge.operators import audit, conversations
from bridge.operators.audit import Action, Entry
from bridge.operators.conversations import HeldBy, HolderNow, holder_now
from bridge.runtime import Runtime


@dataclass(frozen=True)
class HandBack:
    """How an operator gives the agent a conversation back."""

    note: str | None = None
    """A sentence for the agent."""
    answer: bool = False
    """The agent answers what came meanwhile. Else that counts as answered."""
    since_our_text: bool = False
    """With ``answer``: only what came after the newest text by a person of the business. They have seen the rest."""


def take_over(rt: Runtime, operator: str, conversation_id: int, *, force: bool = False) -> HolderNow:
    """Give the conversation to this operator. ``force``: also if another operator has it.

    Raise :class:`HeldBy` or :class:`~bridge.operators.conversations.UnknownConversation`.
    """
    with rt.database.transaction() as tx:
        pair = conversations.lock(tx, conversation_id)
        if not force:
            conversations.must_be_free(pair, operator)
        if not conversations.has(pair, operator):
            before = pair.holder_name if pair.holder is Holder.PERSON else pair.holder.value
            holder.assign(tx, conversation_id, operator)
            _record(tx, Action.TAKE_OVER, operator, pair, {"from": before})
        return holder_now(pair)


def hand_to_team(rt: Runtime, operator: str, conversation_id: int, reason: str) -> HolderNow:
    """Let the conversation wait for somebody of the team. Raise the same errors."""
    with rt.database.transaction() as tx:
        pair = conversations.lock(tx, conversation_id)
        conversations.must_be_free(pair, operator)
        if pair.holder is not Holder.WAITING:
            holder.ask_for_team(rt, tx, conversation_id, reason)
            _record(tx, Action.HAND_TO_TEAM, operator, pair, {})
        return holder_now(pair)


def hand_back(rt: Runtime, operator: str, conversation_id: int, how: HandBack) -> HolderNow:
    """Let the agent answer again. Raise the same errors.

    Only a human at the agent's provider can give their chat back, so then it is theirs.
    """
    with rt.database.transaction() as tx:
        pair = conversations.lock(tx, conversation_id)
        conversations.must_be_free(pair, operator)
        if holder.is_at_provider(pair):
            raise HeldBy(holder_now(pair))
        if pair.holder is not Holder.AGENT:
            holder.hand_back(rt, tx, conversation_id, Return(_handled_until(tx, pair, how), how.note))
            _record(tx, Action.HAND_BACK, operator, pair, {"answer": how.answer, "note": bool(how.note)})
        return holder_now(pair)


def count_unanswered(rt: Runtime, conversation_id: int) -> int:
    """Count the texts that ``HandBack(answer=True, since_our_text=True)`` gives to the agent."""
    turn = select(Turn.id).where(Turn.conversation_id == conversation_id, Turn.status.in_(OPEN_TURN))
    here = (Message.conversation_id == conversation_id, Message.direction == Direction.IN, Message.operator.is_(None))
    with rt.database.read() as session:
        since = _our_newest(session, conversation_id)
        new = (*here, Message.created_at > since) if since else here
        waiting = select(func.count()).where(*new, one_of(Message.status, (MessageStatus.WAITING,)))
        asked = select(func.count()).where(*new, Message.turn_id.in_(turn), Message.status == MessageStatus.IN_TURN)
        return (session.scalar(waiting) or 0) + (session.scalar(asked) or 0)


def _handled_until(tx: Transaction, pair: Conversation, how: HandBack) -> datetime | None:
    if not how.answer:
        return tx.now
    return _our_newest(tx.session, pair.id) if how.since_our_text else None


def _our_newest(session: Session, conversation_id: int) -> datetime | None:
    """Return when a person of the business has last written here, at the bridge or with another tool."""
    here = (Message.conversation_id == conversation_id, Message.direction == Direction.OUT, WRITTEN_BY_PEOPLE)
    return session.scalar(select(Message.created_at).where(*here).order_by(Message.id.desc()).limit(1))


def _record(tx: Transaction, action: Action, operator: str, pair: Conversation, details: dict[str, object]) -> None:
    audit.write(tx, Entry(operator, action, f"conversation {pair.id}", pair.id, details))
