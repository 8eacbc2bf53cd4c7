"""Failures in the list of operators: its conditions, and how a failure is removed from it.

Trying one again: ``bridge.operators.retry``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, select, update

from bridge.db.models import Base, Direction, Erasure, HandoffNotice, Message, MessageStatus, Turn, TurnStatus, one_of
from bridge.db.transaction import Transaction
from bridge.lib.errors import BridgeError
from bridge.operators import audit
from bridge.operators.audit import Action, Entry
from bridge.providers.carriers.contract import NOT_DELIVERED
from bridge.runtime import Runtime

_SHOWN = Message.dismissed_at.is_(None)
_THE_LAST = Message.resent_as.is_(None)
NO_ANSWER = (Turn.status == TurnStatus.GIVEN_UP) & Turn.dismissed_at.is_(None)
NOT_SENT = (Message.status == MessageStatus.GIVEN_UP) & _SHOWN & (Message.direction == Direction.OUT) & _THE_LAST
UNDELIVERED = one_of(Message.delivery, NOT_DELIVERED) & _SHOWN & _THE_LAST
IGNORED = (Message.status == MessageStatus.IGNORED) & _SHOWN
UNANSWERABLE = (Message.status == MessageStatus.UNANSWERABLE) & _SHOWN
NOT_TOLD = HandoffNotice.given_up_at.is_not(None) & HandoffNotice.dismissed_at.is_(None)
"""The conditions of the list. Each begins with the condition of a partial index, which finds it in a long history."""

NOT_ERASED = Erasure.given_up_at.is_not(None)
"""What a provider still has of a forgotten person. It is counted and not listed: it has no conversation any more."""


class Kind(StrEnum):
    """What an operator can retry or dismiss."""

    TURN = "turn"
    MESSAGE = "message"
    NOTICE = "notice"


WHERE: dict[Kind, tuple[type[Turn] | type[Message] | type[HandoffNotice], tuple[ColumnElement[bool], ...]]] = {
    Kind.TURN: (Turn, (NO_ANSWER,)),
    Kind.MESSAGE: (Message, (NOT_SENT, UNDELIVERED, IGNORED, UNANSWERABLE)),
    Kind.NOTICE: (HandoffNotice, (NOT_TOLD,)),
}
"""The table of each kind, and the conditions of its failures."""


class Unknown(BridgeError):
    """There is no such failure."""


def dismiss(rt: Runtime, operator: str, kind: Kind, id_: int | None, limit: int) -> int:
    """Take one failure, or all of a kind, off the list. Return how many. Raise :class:`Unknown` for no such failure."""
    table, conditions = WHERE[kind]
    with rt.database.transaction() as tx:
        gone: list[int] = []
        for condition in conditions:
            which = condition if id_ is None else condition & (table.id == id_)
            gone += _dismissed(tx, table, which, limit - len(gone))
        if id_ is not None and not gone:
            raise Unknown
        if gone:
            subject = f"{kind} {id_}" if id_ else f"{len(gone)} {kind}s"
            audit.write(tx, Entry(operator, Action.DISMISS, subject, details={"ids": gone}))
    return len(gone)


def _dismissed(tx: Transaction, table: type[Base], which: ColumnElement[bool], limit: int) -> list[int]:
    """Dismiss at most so many. A locked row is being changed, and is left."""
    columns: Any = table
    chosen = select(columns.id).where(which).order_by(columns.id).limit(limit).with_for_update(skip_locked=True).cte()
    gone = update(table).where(columns.id.in_(select(chosen.c.id))).values(dismissed_at=tx.now).returning(columns.id)
    return sorted(tx.session.scalars(gone))
