"""The consent record: who wanted texts or none, when, and how that came to be known.

Each change of an opt-out adds a row in its transaction, and no row is ever changed or deleted: triggers refuse that in
a migrated database. It is the proof that a person wanted it so, so a purge keeps it, and forgetting a person too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bridge.db.models import Consent
from bridge.db.transaction import Transaction

LONGEST_WORDS = 160
"""Characters of the person's text. A keyword is much shorter."""


@dataclass(frozen=True)
class Evidence:
    """How it is known what a person wants."""

    cause: str
    at: datetime
    """When the person wanted it so."""
    channel: str
    words: str = ""
    """The person's text; empty: the carrier has told it."""


def write(tx: Transaction, evidence: Evidence, *, wants_texts: bool, **covered: str | None) -> None:
    """Add a row. It is written at the end of the transaction, and locks nothing.

    ``covered``: the columns that name the person, and the numbers from which texts are wanted or not.
    """
    tx.session.add(
        Consent(
            at=evidence.at,
            recorded_at=tx.now,
            wants_texts=wants_texts,
            channel=evidence.channel,
            cause=evidence.cause,
            words=evidence.words[:LONGEST_WORDS],
            **covered,
        )
    )
