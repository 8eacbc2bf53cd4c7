"""The mark of the purge: texts from before it may be gone, so the carrier's lists must not bring them back.

The mark is committed before the first row is deleted. So whoever first finds that a text is not stored, and then reads
the mark, knows whether the text may have been purged.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from bridge.db.engine import insert_if_new
from bridge.db.models import Purged
from bridge.db.transaction import Transaction

NAME = "texts"

NEVER = datetime.min.replace(tzinfo=UTC)

RECEIVED_AROUND = timedelta(minutes=10)
"""Between the carrier's time of a text from a person and ours: two clocks."""

SENT_AROUND = timedelta(hours=12)
"""The same for a text of ours. The carrier may keep it for ten hours before it sends it."""


def advance(tx: Transaction, before: datetime) -> bool:
    """Move the mark ahead, and never back. Return False if it is there already."""
    row = insert_if_new(tx.session, Purged).values(name=NAME, before=before)
    row = row.on_conflict_do_update(index_elements=[Purged.name], set_={"before": before}, where=Purged.before < before)
    return tx.session.scalar(row.returning(Purged.name)) is not None


def purged_before(tx: Transaction, around: timedelta) -> datetime:
    """Return the carrier's time before which a text may have been purged. Read it after the text was not found."""
    before = tx.session.scalar(select(Purged.before).where(Purged.name == NAME))
    return before + around if before else NEVER
