"""The decisions about one conversation, on values: no rows, no statements, no calls.

The common case is decided here, for many conversations in one transaction. Every other case is ``None``, and gets a
transaction of its own in ``bridge.turns.claim`` and ``bridge.turns.settle``.
"""

from __future__ import annotations

from datetime import datetime

from bridge.config import Route, Settings
from bridge.db.sealing import why_unreadable
from bridge.outbound.formatting.shape import Shaped
from bridge.queues.timing import MAX_CLOCK_SKEW
from bridge.turns.store import DueQueue, Outlook, Snapshot

MAX_TEXTS = 10
"""Texts in one turn. An agent can't answer more of them well."""


def answers_counted(settings: Settings) -> int:
    """Return how many answers of the last hour must be counted before a person may be over a limit; 0: none."""
    limits = [limit for limit in (settings.turns_per_hour, settings.turns_per_minute) if limit]
    return min(limits, default=0)


def expiry(snapshot: Snapshot, settings: Settings, route: Route, now: datetime) -> datetime | None:
    """Return when a turn of these texts expires; ``None`` if no turn can simply begin.

    A turn begins if some texts wait, all are the person's and can be read, none has expired, no circuit is open, the
    agent has the chat, the person is far from every limit, and the open chat, if there is one, is with this number's
    agent and has not failed.
    """
    counted = answers_counted(settings)
    special = (
        snapshot.has_open_turn
        or snapshot.queue.throttled
        or snapshot.queue.held
        or snapshot.circuits
        or not 0 < len(snapshot.texts) <= MAX_TEXTS
        or any(text.operator or why_unreadable(text.body) for text in snapshot.texts)
        or (counted and snapshot.recent >= counted)
    )
    chat = snapshot.chat
    if special or (chat and (chat.failures or (chat.provider, chat.agent_id) != (route.provider, route.agent_id))):
        return None
    oldest = min(text.created_at for text in snapshot.texts)
    expires_at = waits_since(oldest, snapshot.queue.held_until) + settings.answer_within
    return expires_at if expires_at > now else None


def waits_since(created_at: datetime, held_until: datetime | None) -> datetime:
    """Return since when a text waits for the agent: while a person had the conversation, it did not."""
    return max(created_at, held_until) if held_until else created_at


def before_due(queue: DueQueue, received_at: datetime) -> float:
    """Return for how many seconds a text waited before its queue was due.

    It waits in a debounce, for an earlier turn, and while a person has the conversation. A queue that an open circuit
    or a pause stops is due. What is due now is dated back by ``MAX_CLOCK_SKEW``; the end of a debounce is not.
    """
    due_at = queue.due_at if queue.debounced else queue.due_at + MAX_CLOCK_SKEW
    return max(0.0, (due_at - received_at).total_seconds())


def may_settle(outlook: Outlook, shaped: Shaped, settings: Settings) -> bool:
    """Return whether the answer can simply be put into the outbox."""
    typing = outlook.more and settings.reply_debounce is not None
    return not (typing or outlook.drafts or shaped.left_out or (shaped.messages and outlook.opted_out))


def may_send(outlook: Outlook, shaped: Shaped) -> bool:
    """Return whether the first text of the answer can be handed to the carrier right away."""
    return bool(shaped.messages) and outlook.delivers_nothing and not outlook.circuits
