"""The conversation so far as messages, for a draft of the agent: what the person and our side have written, in order.

Other than the recap, it has what waits for an answer, and the team's texts as the agent's own. The limits are the
recap's: so many texts, and none older than RECAP_WITHIN, or than a day if that is empty.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.chats.recap import TEXTS
from bridge.config import Settings
from bridge.db.models import WRITTEN_BY_PEOPLE, Direction, Message, MessageStatus
from bridge.db.sealing import why_unreadable
from bridge.providers.agents.contract import Item, Speaker

WITHOUT_RECAP = timedelta(days=1)

THEIRS = (
    MessageStatus.WAITING,
    MessageStatus.IN_TURN,
    MessageStatus.ANSWERED,
    MessageStatus.HANDLED,
    MessageStatus.GIVEN_UP,
)
OURS = (MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.OUTSIDE)
"""Not in it: texts that were never for the agent, drafts, and notices of the bridge itself."""

SPEAKERS = {Direction.IN: Speaker.USER, Direction.OUT: Speaker.AGENT}


def history(session: Session, settings: Settings, conversation_id: int, now: datetime) -> tuple[Item, ...]:
    """Return the messages of this conversation, the oldest first."""
    theirs = (Message.direction == Direction.IN) & Message.status.in_(THEIRS) & Message.instruction.is_(None)
    by_whom = Message.turn_id.is_not(None) | WRITTEN_BY_PEOPLE
    ours = (Message.direction == Direction.OUT) & Message.status.in_(OURS) & by_whom
    part_of_it = (
        Message.conversation_id == conversation_id,
        theirs | ours,
        Message.resent_as.is_(None),  # a text that was sent again counts once
        Message.created_at > now - (settings.recap_within or WITHOUT_RECAP),
    )
    newest = select(Message.direction, Message.body, Message.created_at, Message.id).where(*part_of_it)
    rows = session.execute(newest.order_by(Message.id.desc()).limit(TEXTS)).all()
    rows = sorted(rows, key=lambda row: (row.created_at, row.id))
    shown = (row for row in rows if row.body.strip() and not why_unreadable(row.body))
    return tuple(Item(SPEAKERS[row.direction], row.body) for row in shown)
