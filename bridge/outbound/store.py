"""The statements of status reports, for many at once: the text of each, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.db.statements import Statement
from bridge.db.transaction import Transaction
from bridge.providers.carriers.contract import Delivery, StatusReport


@dataclass(frozen=True)
class ReportedText:
    """The text that a report names, as it was before."""

    id: int
    phone: str
    is_sent: bool
    carrier_id: str | None
    delivery: Delivery | None
    troubled: bool
    """It has an error or is to be sent again, or a circuit is open: the report may change more than this text."""


@dataclass(frozen=True)
class Progress:
    """A text that has come further."""

    text: ReportedText
    delivery: Delivery
    final: bool


_FIND = Statement(
    """
    SELECT reports.n, m.id, c.phone, m.status, m.carrier_id, m.delivery,
        m.error_code IS NOT NULL OR m.resend_at IS NOT NULL OR EXISTS (SELECT 1 FROM circuit_breakers) AS troubled
    FROM {reports} JOIN messages m ON m.reference = reports.reference JOIN conversations c ON c.id = m.conversation_id
    WHERE m.direction = 'out'
    """,
    reports={"reference": "text"},
)

_ADVANCE = Statement(
    """
    WITH free AS (
        SELECT m.id AS message, texts.delivery, texts.final FROM {texts} JOIN messages m ON m.id = texts.id
        WHERE m.status = 'sent' AND m.carrier_id = texts.carrier_id AND m.resend_at IS NULL
            AND (m.delivery = texts.before OR (m.delivery IS NULL AND texts.before IS NULL))
        ORDER BY m.id {lock m})
    UPDATE messages SET delivery = free.delivery,
        poll_status_at = CASE WHEN free.final THEN NULL ELSE poll_status_at END
    FROM free WHERE messages.id = free.message RETURNING id
    """,
    texts={"id": "bigint", "carrier_id": "text", "before": "text", "delivery": "text", "final": "boolean"},
)


def find(tx: Transaction, reports: Sequence[StatusReport]) -> dict[int, ReportedText]:
    """Return the texts that these reports name by our reference, by position."""
    return {
        row.n: ReportedText(
            id=row.id,
            phone=row.phone,
            is_sent=row.status == "sent",
            carrier_id=row.carrier_id,
            delivery=row.delivery and Delivery(row.delivery),
            troubled=bool(row.troubled),
        )
        for row in _FIND.run(tx, reports=[{"reference": each.reference} for each in reports])
    }


def advance(tx: Transaction, progress: Sequence[Progress]) -> set[int]:
    """Record how far these have come. Return the texts that were as before, and that nobody else has locked."""
    if not progress:
        return set()
    texts = [
        {
            "id": each.text.id,
            "carrier_id": each.text.carrier_id,
            "before": each.text.delivery,
            "delivery": each.delivery,
            "final": each.final,
        }
        for each in progress
    ]
    return {row.id for row in _ADVANCE.run(tx, texts=texts)}
