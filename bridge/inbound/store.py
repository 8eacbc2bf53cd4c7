"""Store texts for the agent: the statements for many at once.

Each conversation is locked before its texts are stored, as in ``bridge.inbound.receive``. So the texts of one person
keep their order, and a worker that settles sees each text or finds the queue empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bridge.db.sealing import Keyring
from bridge.db.statements import Statement, together
from bridge.db.transaction import Transaction
from bridge.outbound.opt_outs import OUT_OF_THEM
from bridge.queues.timing import MAX_CLOCK_SKEW


@dataclass(frozen=True)
class Stored:
    """A text that has been stored."""

    conversation_id: int
    text_id: int
    status: str


@dataclass(frozen=True)
class WaitingText:
    """A text for the agent."""

    carrier_id: str
    bridge_number: str
    phone: str
    service: str | None
    body: str
    media: int
    extras: dict[str, str] | None
    created_at: datetime


_PAIR = {"bridge_number": "text", "phone": "text"}
_TEXT = {
    "conversation": "bigint",
    "carrier_id": "text",
    "service": "text",
    "body": "text",
    "media": "integer",
    "extras": "json",
    "created_at": "timestamptz",
}

_OUT = OUT_OF_THEM.format(service="COALESCE(texts.service, c.service)", stands="o.ended_at IS NULL")

_FIND = Statement(
    """
    SELECT texts.n, c.id, EXISTS (SELECT 1 FROM messages m WHERE m.carrier_id = texts.carrier_id) AS known
    FROM {texts} JOIN conversations c ON c.bridge_number = texts.bridge_number AND c.phone = texts.phone
    ORDER BY c.id {lock c}
    """,
    texts={**_PAIR, "carrier_id": "text"},
)

_OPEN = Statement(
    """
    INSERT INTO conversations (bridge_number, phone, created_at, changed_at)
    SELECT texts.bridge_number, texts.phone, :now, :now FROM {texts} WHERE true ORDER BY 1, 2
    ON CONFLICT DO NOTHING RETURNING id, bridge_number, phone
    """,
    texts=_PAIR,
)

_MAKE_DUE = Statement(
    """
    UPDATE conversations SET
        turn_notified_at = CASE WHEN turn_due_at IS NULL THEN NULL ELSE turn_notified_at END,
        turn_due_at = COALESCE(turn_due_at, :due),
        changed_at = :now,
        service = COALESCE(new.service, conversations.service)
    FROM (SELECT texts.conversation, max(texts.service) AS service FROM {texts} GROUP BY texts.conversation) AS new
    WHERE conversations.id = new.conversation
    """,
    texts=_TEXT,
)

_INSERT = Statement(
    f"""
    INSERT INTO messages (conversation_id, direction, status, body, media, extras, carrier_id, created_at)
    SELECT c.id, 'in', CASE WHEN {_OUT}
                            THEN 'opted_out' ELSE 'waiting' END,
        texts.body, texts.media, texts.extras, texts.carrier_id, texts.created_at
    FROM {{texts}} JOIN conversations c ON c.id = texts.conversation WHERE true ORDER BY texts.n
    ON CONFLICT DO NOTHING RETURNING carrier_id, conversation_id, id, status
    """,
    texts=_TEXT,
)


def store(tx: Transaction, texts: Sequence[WaitingText]) -> list[Stored | None]:
    """Store these texts and make their queues due.

    ``None``: nothing was stored. The text is known already, or another transaction has its conversation locked.
    """
    asked = [{"bridge_number": t.bridge_number, "phone": t.phone, "carrier_id": t.carrier_id} for t in texts]
    found = _FIND.run(tx, texts=asked)
    places: dict[int, int] = {row.n: row.id for row in found if not row.known}
    rest = [asked[n] for n in set(range(len(texts))) - {row.n for row in found}]
    opened = _OPEN.run(tx, texts=rest, now=tx.now) if rest else ()
    new = {(row.bridge_number, row.phone): row.id for row in opened}
    places |= {n: new[pair] for n, t in enumerate(texts) if (pair := (t.bridge_number, t.phone)) in new}
    if not places:
        return [None] * len(texts)
    rows = [_row(tx.keyring, texts[n], conversation) for n, conversation in sorted(places.items())]
    stored = together(tx, _MAKE_DUE, _INSERT, texts=rows, now=tx.now, due=tx.now - MAX_CLOCK_SKEW)
    where = {row.carrier_id: Stored(row.conversation_id, row.id, row.status) for row in stored}
    return [where.pop(text.carrier_id, None) for text in texts]  # the second of two equal ones is known by then


def _row(keyring: Keyring, text: WaitingText, conversation: int) -> dict[str, Any]:
    return {
        "conversation": conversation,
        "carrier_id": text.carrier_id,
        "service": text.service,
        "body": keyring.seal(text.body),
        "media": text.media,
        "extras": keyring.seal_json(text.extras),
        "created_at": text.created_at,
    }
