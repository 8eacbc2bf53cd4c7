"""The current activity of the bridge, for a live view: the newest texts, turns and chats in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.db.models import OPEN_TURN, UNSENT, Chat, Conversation, Direction, Message, OptOut, Turn
from bridge.inbound import holder
from bridge.runtime import Runtime

NEWEST = 30
"""Rows of each kind in a view."""


@dataclass(frozen=True)
class Activity:
    """One row of the tables in its current state."""

    at: datetime
    phone: str
    kind: str
    state: str
    detail: str


def recent(rt: Runtime) -> list[Activity]:
    """Return the newest rows of all conversations, newest first."""
    with rt.database.read() as session:
        rows = [*_texts(session), *_turns(session, rt.now()), *_chats(session), *_opt_outs(session), *_holders(session)]
    return sorted(rows, key=lambda row: row.at, reverse=True)


def _texts(session: Session) -> list[Activity]:
    newest = select(Message, Conversation.phone).join(Conversation).order_by(Message.id.desc()).limit(NEWEST)
    return [_text(message, phone) for message, phone in session.execute(newest)]


def _text(message: Message, phone: str) -> Activity:
    kind = "text in" if message.direction is Direction.IN else "text out"
    details = [f"attempt {message.attempts}" if message.attempts > 1 else "", message.error or ""]
    details.append(f"to text {message.reacts_to}" if message.reacts_to else "")
    if message.status not in UNSENT:
        details.insert(0, message.delivery or "")
    return Activity(message.settled_at or message.created_at, phone, kind, message.status, _joined(details))


def _turns(session: Session, now: datetime) -> list[Activity]:
    newest = (
        select(Turn, Conversation.phone, Conversation.turn_due_at, Conversation.turn_leased_by)
        .join(Conversation)
        .order_by(Turn.id.desc())
        .limit(NEWEST)
    )
    return [
        Activity(turn.settled_at or turn.created_at, phone, "turn", turn.status, _wait(turn, due_at, worker, now))
        for turn, phone, due_at, worker in session.execute(newest)
    ]


def _wait(turn: Turn, due_at: datetime | None, worker: str | None, now: datetime) -> str:
    details = [f"attempt {turn.attempts}" if turn.attempts > 1 else ""]
    if turn.status in OPEN_TURN:
        details.append("the agent is asked" if worker else "waits")
        if due_at and not worker and due_at > now:
            details.append(f"next try in {(due_at - now).total_seconds():.0f} s")
        details.append(turn.error or "")
    elif turn.error:
        details.append(f"had to wait: {turn.error}")
    return _joined(details)


def _chats(session: Session) -> list[Activity]:
    newest = select(Chat, Conversation.phone).join(Conversation).order_by(Chat.id.desc()).limit(NEWEST)
    return [
        Activity(chat.ended_at or chat.started_at, phone, "chat", chat.status, chat.end_reason or chat.provider)
        for chat, phone in session.execute(newest)
    ]


def _holders(session: Session) -> list[Activity]:
    newest = select(Conversation).where(holder.not_with_agent()).order_by(Conversation.holder_since.desc())
    return [
        Activity(each.holder_since or each.created_at, each.phone, "holder", each.holder, each.holder_reason or "")
        for each in session.scalars(newest.limit(NEWEST))
    ]


def _opt_outs(session: Session) -> list[Activity]:
    newest = select(OptOut).order_by(func.coalesce(OptOut.ended_at, OptOut.since).desc()).limit(NEWEST)
    return [_opt_out(row) for row in session.scalars(newest)]


def _opt_out(row: OptOut) -> Activity:
    if row.ended_at:
        return Activity(row.ended_at, row.phone, "consent", "opted in again", "")
    return Activity(row.since, row.phone, "consent", "opted out", row.cause)


def _joined(details: list[str]) -> str:
    return ", ".join(filter(None, details))
