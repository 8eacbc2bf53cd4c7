"""The mark of the purge: texts from before it may be gone, so the carrier's lists must not bring them back.

The mark is committed before the first row is deleted. So whoever first finds that a text is not stored, and then reads
the mark, knows whether the text may have been purged.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import select

from bridge.db.engine import insert_if_new
from bridge.db.models import Purged
from bridge.db.transaction import Transaction
from bridge.providers.carriers.contract import InboundText, SentText

NAME = "texts"

Listed = TypeVar("Listed", InboundText, SentText)
"""A text in one of the carrier's lists."""

RECEIVED_AROUND = timedelta(minutes=10)
"""Between the carrier's time of a text from a person and ours: two clocks."""

SENT_AROUND = timedelta(hours=12)
"""The same for a text of ours. The carrier may keep it for ten hours before it sends it."""


def advance(tx: Transaction, before: datetime) -> bool:
    """Move the mark ahead, and never back. Return False if it is there already."""
    row = insert_if_new(tx.session, Purged).values(name=NAME, before=before)
    row = row.on_conflict_do_update(index_elements=[Purged.name], set_={"before": before}, where=Purged.before < before)
    return tx.session.scalar(row.returning(Purged.name)) is not None


def not_purged(tx: Transaction, unknown: Sequence[Listed], around: timedelta) -> list[Listed]:
    """Return those of the carrier's texts that can't have been purged. Ask after they were not found in the tables."""
    if not unknown:
        return []
    before = tx.session.scalar(select(Purged.before).where(Purged.name == NAME))
    return [text for text in unknown if not before or text.sent_at is None or text.sent_at >= before + around]
