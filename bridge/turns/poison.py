"""Poison messages: a text, or a chat, at which the agent's provider fails each time while it serves others.

Without others to compare, such a text looks like an outage, and in an outage everything waits. So a failure counts only
where somebody else was served meanwhile. The first few that count cost the chat, and the text is asked in a new one;
some more cost the turn. The numbers: ``bridge.turns.values``. What is proven before a text goes to a new chat,
that the old one has not received it: ``bridge.turns.reconcile``.

The proof of service is read in the rows of turns, and only after a failure: an attempt that works costs nothing more.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from bridge.db.models import OPEN_TURN, Chat, Turn, TurnStatus, one_of
from bridge.db.transaction import Transaction

LATELY = timedelta(minutes=10)
"""Service that is longer ago says nothing about the provider's state."""

NEWEST_TURNS = 1000
"""Among so many the proof is looked for, by their ids. The search costs the same however long the history is."""


def count(tx: Transaction, turn: Turn, agent: tuple[str, str]) -> None:
    """The provider has failed at this turn once more. It counts against the turn and its chat if others are served."""
    if _serves_others(tx.session, turn, agent, tx.now):
        turn.failures += 1
        tx.session.execute(update(Chat).where(Chat.id == turn.chat_id).values(failures=Chat.failures + 1))
    turn.failed_at = tx.now


def _serves_others(session: Session, turn: Turn, agent: tuple[str, str], now: datetime) -> bool:
    """Was somebody else asked and answered since this turn failed last?

    Where few people text, one who was served since this turn exists is enough, unless others have failed after that.
    """
    served_at = _last_served(session, turn, agent, max(turn.created_at, now - LATELY))
    if served_at is None:
        return False
    if turn.failed_at is None or served_at > turn.failed_at:
        return True
    others = (one_of(Turn.status, OPEN_TURN), Turn.conversation_id != turn.conversation_id)
    return not session.scalar(select(exists().where(*others, Turn.failed_at > served_at)))


def _last_served(session: Session, turn: Turn, agent: tuple[str, str], since: datetime) -> datetime | None:
    """When the agent was last asked something by somebody else that it has answered."""
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
