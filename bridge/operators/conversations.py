"""A conversation as an operator changes it: its row, locked, and the holder that may stand against it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from bridge.db.models import Conversation, Holder
from bridge.db.transaction import Transaction
from bridge.lib.errors import BridgeError


class UnknownConversation(BridgeError):
    """There is no such conversation."""


@dataclass(frozen=True)
class HolderNow:
    """The holder of a conversation."""

    kind: Holder
    name: str | None = None
    """WAITING: the provider whose human has the chat; ``None``: the team is wanted. PERSON: the operator."""
    since: datetime | None = None
    reason: str | None = None
    until: datetime | None = None


class HeldBy(BridgeError):
    """Somebody else has the conversation."""

    def __init__(self, now: HolderNow) -> None:
        super().__init__(f"{now.name} has this conversation." if now.name else "Somebody else has this conversation.")
        self.holder = now


def holder_now(pair: Conversation) -> HolderNow:
    """Return the holder that this row has."""
    return HolderNow(pair.holder, pair.holder_name, pair.holder_since, pair.holder_reason, pair.holder_until)


def lock(tx: Transaction, conversation_id: int) -> Conversation:
    """Lock the conversation, and return its row. Raise :class:`UnknownConversation`."""
    pair = tx.session.scalar(select(Conversation).where(Conversation.id == conversation_id).with_for_update())
    if pair is None:
        raise UnknownConversation
    return pair


def has(pair: Conversation, operator: str) -> bool:
    """Return whether this operator has the conversation."""
    return pair.holder is Holder.PERSON and pair.holder_name == operator


def must_have(pair: Conversation, operator: str) -> None:
    """Raise :class:`HeldBy` unless this operator has the conversation."""
    if not has(pair, operator):
        raise HeldBy(holder_now(pair))


def must_be_free(pair: Conversation, operator: str) -> None:
    """Raise :class:`HeldBy` if another operator has the conversation."""
    if pair.holder is Holder.PERSON and not has(pair, operator):
        raise HeldBy(holder_now(pair))
