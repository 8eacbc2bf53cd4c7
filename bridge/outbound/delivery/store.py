"""The statements that settle deliveries which the carrier has accepted, for many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bridge.db.statements import Statement, together
from bridge.db.transaction import Transaction
from bridge.queues.conversation_queue import Lease
from bridge.queues.timing import MAX_CLOCK_SKEW


@dataclass(frozen=True)
class Accepted:
    """A text that the carrier has accepted, under its id."""

    lease: Lease
    message_id: int
    carrier_id: str
    delivery: str
    """The status that the carrier has given it."""


_HELD = Statement(
    """
    SELECT leases.n FROM {leases} JOIN conversations c ON c.id = leases.id
    WHERE c.delivery_lease_token = leases.token AND c.delivery_leased_by = leases.worker
    ORDER BY c.id {lock c}
    """,
    leases={"id": "bigint", "token": "integer", "worker": "text"},
)

_FACTS = Statement(
    """
    SELECT texts.n, EXISTS (
        SELECT 1 FROM messages o
        WHERE o.conversation_id = m.conversation_id AND o.status IN ('queued', 'sending') AND o.id <> m.id) AS more
    FROM {texts} JOIN messages m ON m.id = texts.id
    WHERE m.status = 'sending' AND m.delivery IS NULL AND m.error_code IS NULL
    """,
    texts={"id": "bigint"},
)

_TEXT = {
    "id": "bigint",
    "conversation": "bigint",
    "carrier_id": "text",
    "delivery": "text",
    "more": "boolean",
}

_CLOSE = Statement(
    """
    UPDATE messages SET status = 'sent', carrier_id = texts.carrier_id, delivery = texts.delivery, settled_at = :now,
        error = NULL, resend_at = NULL, poll_status_at = :poll_at
    FROM {texts} WHERE messages.id = texts.id
    """,
    texts=_TEXT,
)

_END_LEASES = Statement(
    """
    UPDATE conversations SET
        delivery_leased_by = NULL,
        changed_at = :now,
        delivery_due_at = CASE WHEN texts.more THEN :due END,
        delivery_notified_at = CASE WHEN texts.more THEN :now ELSE delivery_notified_at END
    FROM {texts} WHERE conversations.id = texts.conversation
    """,
    texts=_TEXT,
)


def settle(tx: Transaction, accepted: Sequence[Accepted], poll_at: datetime) -> list[bool | None]:
    """Record that the carrier has these texts, and end their leases. Return whether another one is due, for each.

    ``None``: nothing is changed. The lease is lost, or the row is locked, or a callback came first.
    """
    leases = [
        {"id": each.lease.conversation_id, "token": each.lease.token, "worker": each.lease.worker} for each in accepted
    ]
    held = sorted(row.n for row in _HELD.run(tx, leases=leases))
    if not held:
        return [None] * len(accepted)
    facts = _FACTS.run(tx, texts=[{"id": accepted[n].message_id} for n in held])
    more = {held[row.n]: bool(row.more) for row in facts}
    texts = [_text(accepted[n], more[n]) for n in sorted(more)]
    if texts:
        together(tx, _CLOSE, _END_LEASES, texts=texts, now=tx.now, due=tx.now - MAX_CLOCK_SKEW, poll_at=poll_at)
    return [more.get(n) for n in range(len(accepted))]


def _text(each: Accepted, more: bool) -> dict[str, Any]:
    return {
        "id": each.message_id,
        "conversation": each.lease.conversation_id,
        "carrier_id": each.carrier_id,
        "delivery": each.delivery,
        "more": more,
    }
