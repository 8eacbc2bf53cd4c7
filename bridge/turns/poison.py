"""Poison messages: a text, or a chat, at which the agent's provider fails each time while it serves others.

Without others to compare, such a text looks like an outage, and in an outage everything waits. So a failure counts only
if the provider has served another person meanwhile. After a few failures that count, the text is asked in a new chat.
After some more, the turn is given up. The numbers: ``bridge.turns.values`` and ``bridge.chats.rows``. A text goes to a
new chat only once the old one is known not to have received it: ``bridge.turns.reconcile``.

The proof of service is read from the rows of turns, and only after a failure. A successful attempt costs no query.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from bridge.db.models import OPEN_TURN, Chat, Turn, TurnStatus, one_of
from bridge.db.transaction import Transaction

LATELY = timedelta(minutes=10)
"""An older answer says nothing about the provider's state now."""

NEWEST_TURNS = 1000
"""The newest turns, by id, that may have the proof. So the query costs the same however long the history is."""


def count(tx: Transaction, turn: Turn, agent: tuple[str, str]) -> None:
    """Record a failure of the provider. It counts against the turn and its chat if the provider serves others."""
    if _serves_others(tx.session, turn, agent, tx.now):
        turn.failures += 1
        tx.session.execute(update(Chat).where(Chat.id == turn.chat_id).values(failures=Chat.failures + 1))
    turn.failed_at = tx.now


def _serves_others(session: Session, turn: Turn, agent: tuple[str, str], now: datetime) -> bool:
    """Return whether the agent has answered another person who was asked after this turn's last failure.

    Where few people text, one answer since this turn began is enough, unless another turn has failed after it.
    """
    served_at = _last_served(session, turn, agent, max(turn.created_at, now - LATELY))
    if served_at is None:
        return False
    if turn.failed_at is None or served_at > turn.failed_at:
        return True
    others = (one_of(Turn.status, OPEN_TURN), Turn.conversation_id != turn.conversation_id)
    return not session.scalar(select(exists().where(*others, Turn.failed_at > served_at)))


def _last_served(session: Session, turn: Turn, agent: tuple[str, str], since: datetime) -> datetime | None:
    """Return when the newest turn of another person was asked that this agent has answered."""
    provider, agent_id = agent
    newest = select(func.max(Turn.id)).scalar_subquery()
    answered = (
        Turn.id > newest - NEWEST_TURNS,
        Turn.status == TurnStatus.ANSWERED,
        Turn.conversation_id != turn.conversation_id,
        Turn.asked_at > since,
    )
    theirs = (Chat.provider == provider, Chat.agent_id == agent_id)
    return session.scalar(select(func.max(Turn.asked_at)).join(Chat).where(*answered, *theirs))
