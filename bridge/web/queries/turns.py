"""The query for one turn: how far it is, and what the agent has written in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from bridge.db.models import Direction, Message, MessageStatus, Turn, TurnStatus
from bridge.providers.carriers.contract import Delivery
from bridge.runtime import Runtime


@dataclass(frozen=True)
class Written:
    """A text that the agent has written, sent or kept as a draft."""

    id: int
    status: MessageStatus
    body: str
    segments: int | None
    created_at: datetime
    delivery: Delivery | None
    error_code: int | None
    error: str | None
    resent_as: int | None
    """The text that replaces it."""


@dataclass(frozen=True)
class TurnView:
    """One turn as operators see it."""

    id: int
    conversation_id: int
    status: TurnStatus
    created_at: datetime
    settled_at: datetime | None
    error: str | None
    messages: list[Written]
    """In order."""


def get_turn(rt: Runtime, turn_id: int) -> TurnView | None:
    """Return one turn. ``None``: there is none of this id."""
    columns = [getattr(Turn, name) for name in TurnView.__dataclass_fields__ if hasattr(Turn, name)]
    texts = [getattr(Message, name) for name in Written.__dataclass_fields__]
    written = (Message.turn_id == turn_id, Message.direction == Direction.OUT)
    with rt.database.read() as session:
        row = session.execute(select(*columns).where(Turn.id == turn_id)).first()
        found = session.execute(select(*texts).where(*written).order_by(Message.id)).all()
    return None if row is None else TurnView(**row._mapping, messages=[Written(**text._mapping) for text in found])
