"""The holder of a conversation: the agent, or a human at the agent's provider.

    escalate      AGENT ──> WAITING    its provider has handed the chat to a human; the person is told once
    report        AGENT ──> WAITING    the same, while a turn is open: whoever settles it knows what the person has read
    give_back     WAITING ──> AGENT    the chat is back, or has ended

While the holder is not the agent, texts are stored and wait. ``bridge.turns.handoff`` asks the provider again and again
whether the chat is back. Every function runs in the caller's transaction, with the conversation locked: a crash leaves
either nothing, or the new holder and the message to the person.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, literal

from bridge.db.models import Conversation, Holder
from bridge.db.transaction import Transaction
from bridge.outbound import outbox
from bridge.outbound.formatting.shape import answer
from bridge.outbound.outbox import Draft
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

SHORTEST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=5)
"""The pauses between two checks whether the chat is back. They grow with the time that the human has had it."""

SHARE = 4
"""A pause is a quarter of that time."""


def reason(provider: str) -> str:
    return f"a human at {provider} has the chat"


def not_with_agent() -> ColumnElement[bool]:
    """Return a condition with the value written out, as in the partial index."""
    return Conversation.holder != literal(Holder.AGENT, Conversation.holder.type, literal_execute=True)


def escalate(rt: Runtime, tx: Transaction, conversation_id: int, provider: str, words: str | None) -> None:
    """Record that a human at the provider has the chat, and tell the person, unless both have happened.

    ``words``: what the person must still read. Empty: HANDOFF_REPLY. ``None``: nothing.
    """
    report(tx, conversation_id, provider)
    pair = tx.session.get_one(Conversation, conversation_id)
    if pair.handoff_told_at is not None:
        return
    pair.handoff_told_at = tx.now
    if words is not None:
        _tell(rt, tx, pair, words)


def _tell(rt: Runtime, tx: Transaction, pair: Conversation, words: str) -> None:
    """Put the agent's words into the outbox, or HANDOFF_REPLY if there are none for a phone."""
    shaped = answer([words], outbox.recipient(rt, pair.phone), join=rt.settings.reply_join)
    if shaped.messages:
        outbox.put(tx, pair.id, Draft(shaped, tx.now + rt.settings.answer_within))
    else:
        outbox.put_notice(rt, tx, pair.id, rt.settings.handoff_reply)


def report(tx: Transaction, conversation_id: int, provider: str) -> None:
    """Record that a human at the provider has the chat. What the person has read of that is not known yet."""
    pair = tx.session.get_one(Conversation, conversation_id)
    if pair.holder is not Holder.AGENT:
        return
    pair.holder, pair.holder_name, pair.holder_since = Holder.WAITING, provider, tx.now
    pair.holder_reason, pair.handoff_told_at = reason(provider), None
    log.warning("conversation %s: %s; the agent is not asked until it is back", pair.id, reason(provider))


def give_back(tx: Transaction, conversation_id: int) -> None:
    """Record that the agent answers again."""
    pair = tx.session.get_one(Conversation, conversation_id)
    if pair.holder is Holder.AGENT:
        return
    pair.holder, pair.holder_since = Holder.AGENT, tx.now
    pair.holder_name = pair.holder_reason = pair.handoff_told_at = None
    log.info("conversation %s: the agent answers again", pair.id)


def next_check(since: datetime | None, now: datetime) -> datetime:
    """Return when to ask the provider again."""
    away = now - (since or now)
    return now + max(SHORTEST_PAUSE, min(away / SHARE, LONGEST_PAUSE))
